"""Landmarks scored on cases with a known answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vrnlib import evaluate_landmarks, networks
from vrnlib.errors import VrnError


def test_known_errors_and_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jaw_off(window: np.ndarray, truth: np.ndarray) -> np.ndarray:
        moved = truth.copy()
        moved[:17] += [3, 4]
        return moved

    asked = {"perfect": (96, lambda window, truth: truth), "jaw": (96, jaw_off)}
    monkeypatch.setattr(evaluate_landmarks, "methods", lambda folder: asked)
    result = evaluate_landmarks.evaluate(tmp_path, tmp_path, 12, ("synth-lp",))["synth-lp"]
    assert result["perfect"]["all"]["mean"] == 0
    assert result["jaw"]["inner"]["mean"] == 0
    # 17 of 68 points are 5 pixels off
    from vrnlib.databases.testsets import open_test_set

    test = open_test_set("synth-lp", 96, 100, 12, evaluate_landmarks.TEST_SEED)
    apart = [float(np.linalg.norm(np.diff(test.data[i]["eyes"], axis=0))) for i in test.indices]
    assert result["jaw"]["all"]["mean"] == pytest.approx(np.mean([1.25 / d for d in apart]), rel=1e-4)
    assert sum(band["faces"] for band in result["jaw"]["by_yaw"]) == 12
    assert len((tmp_path / "errors.csv").read_text().splitlines()) == 1 + 2 * 12
    shown = evaluate_landmarks.table({"synth-lp": result})
    assert all(len(row) == len(evaluate_landmarks.COLUMNS) for row in shown)


def test_the_networks_at_hand_and_dlib_are_asked(tmp_path: Path) -> None:
    architecture = networks.Architecture(16, 1, 1, 2, 10, "low", kind="landmarks")
    torch.manual_seed(0)
    networks.save(networks.build(architecture), tmp_path / "landmarks-laptop.safetensors", {"size": 32})
    asked = evaluate_landmarks.methods(tmp_path)
    assert list(asked) == ["landmarks-laptop", "landmarks-laptop, mirrored", "dlib"]
    window = np.zeros((32, 32, 3), np.uint8)
    truth = np.random.default_rng(0).uniform(4, 28, (68, 2)).astype(np.float32)
    for size, find in asked.values():
        assert size == 32
        assert np.asarray(find(window, truth)).shape == (68, 2)


def test_the_usual_box_undoes_the_reference() -> None:
    from vrnlib.detect.calibration import reference

    truth = np.random.default_rng(1).uniform(20, 70, (68, 2))
    low, high = reference("boxes", "hog").apply(*np.array(evaluate_landmarks.usual_box(truth)).reshape(2, 2))
    side = np.sqrt(np.prod(truth.max(0) - truth.min(0)))
    assert high - low == pytest.approx([side, side])
    assert (high + low) / 2 == pytest.approx((truth.min(0) + truth.max(0)) / 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"faces": 1}, "at least 2"), ({"databases": ("synth-ip",)}, "did you mean")],
)
def test_bad_requests(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(VrnError, match=message):
        evaluate_landmarks.evaluate(tmp_path / "out", tmp_path, **given)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_one_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_landmarks, "methods", None)  # would fail
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(VrnError, match="not a folder; choose another"):
            evaluate_landmarks.evaluate(out, tmp_path)
