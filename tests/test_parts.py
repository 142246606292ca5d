"""VRN-Guided's detector: taken out of a run, put into a network, fixed while the volume learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_train import run, weights

from vrnlib import networks, parts
from vrnlib.checkpoint import read_log
from vrnlib.errors import VrnError


def pieces(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_detector_taken_out_of_a_guided_run_learns_what_it_would_have_learned_inside(
    tmp_path: Path,
) -> None:
    run(tmp_path / "guided", kind="guided", max_faces=40)
    parts.detector_run(tmp_path / "guided", tmp_path / "landmarks")
    run(tmp_path / "guided", kind="guided", max_faces=80)
    record = run(tmp_path / "landmarks", kind="landmarks", max_faces=80)
    assert record["faces"] == 80
    assert "iou" not in record["validation"]
    inside = pieces(weights(tmp_path / "guided"), "landmarks.")
    assert equal(inside, weights(tmp_path / "landmarks"))
    first = read_log(tmp_path / "landmarks" / "log.jsonl")[0]
    assert first["source"] == "guided"
    assert first["faces"] == 40


def test_around_a_fixed_detector_the_volume_learns_as_it_would_have(tmp_path: Path) -> None:
    steady = {"kind": "guided", "lr_drop": (1000.0,)}
    run(tmp_path / "both", max_faces=40, **steady)
    detector = tmp_path / "both" / "landmarks-smoke.safetensors"
    run(tmp_path / "fixed", max_faces=24, **steady)
    run(tmp_path / "fixed", max_faces=40, **steady, detector=str(detector))
    one, other = weights(tmp_path / "both"), weights(tmp_path / "fixed")
    assert equal(pieces(one, "volume."), pieces(other, "volume."))
    given = networks.load(detector)[0].state_dict()
    assert equal(pieces(other, "landmarks."), given)
    model, meta = networks.load(tmp_path / "fixed" / "guided-smoke.safetensors")
    assert meta["detector"]["faces"] == 40
    image = torch.rand(1, 3, 32, 32)
    assert model.heads(image).heatmaps is not None  # it still finds landmarks for itself


def test_join_replaces_the_detector_alone_and_says_whose_it_is(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        run(tmp_path / name, seed=seed, kind="guided", max_faces=16)
    a, b = tmp_path / "a" / "guided-smoke.safetensors", tmp_path / "b" / "landmarks-smoke.safetensors"
    assert parts.main(["join", str(a), str(b), str(tmp_path / "ab.safetensors")]) == 0
    joined, meta = networks.load(tmp_path / "ab.safetensors")
    assert equal(pieces(joined.state_dict(), "landmarks."), networks.load(b)[0].state_dict())
    assert equal(pieces(joined.state_dict(), "volume."), pieces(networks.load(a)[0].state_dict(), "volume."))
    assert meta["run"] == "a"
    assert meta["detector"]["run"] == "b"


def test_what_has_no_detector_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "vrn", max_faces=8)
    run(tmp_path / "guided", kind="guided", max_faces=8)
    file = tmp_path / "vrn" / "vrn-smoke.safetensors"
    guided = tmp_path / "guided" / "guided-smoke.safetensors"
    for words, message in (
        (["detector", tmp_path / "vrn", tmp_path / "new"], "kind vrn"),
        (["detector", tmp_path / "nothing", tmp_path / "new"], "holds no run"),
        (["detector", tmp_path / "guided", tmp_path / "vrn"], "already holds a run"),
        (["join", file, guided, tmp_path / "new.safetensors"], "kind vrn, not guided"),
        (["join", guided, file, tmp_path / "new.safetensors"], "cannot be the detector"),
    ):
        assert parts.main([str(word) for word in words]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("new*"))
    with pytest.raises(VrnError, match="detector is for guided networks"):
        run(tmp_path / "other", kind="vrn", detector=str(file))
    assert json.loads((tmp_path / "vrn" / "checkpoint.json").read_text())["params"]["detector"] == ""


def test_only_a_detector_that_learned_in_the_run_is_taken_out_of_it(tmp_path: Path) -> None:
    run(tmp_path / "guided", kind="guided", max_faces=8, guidance="detected")
    parts.detector_run(tmp_path / "guided", tmp_path / "landmarks")
    params = json.loads((tmp_path / "landmarks" / "checkpoint.json").read_text())["params"]
    assert (params["kind"], params["detector"], params["guidance"]) == ("landmarks", "", "true")
    detector = str(tmp_path / "guided" / "landmarks-smoke.safetensors")
    run(tmp_path / "fixed", kind="guided", max_faces=8, detector=detector)
    with pytest.raises(VrnError, match=f"fixed: its detector was given .*: take the file {detector}"):
        parts.detector_run(tmp_path / "fixed", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_guided_by_detected_landmarks_it_learns_another_volume_and_leaves_a_fixed_detector_alone(
    tmp_path: Path,
) -> None:
    steady = {"kind": "guided", "lr_drop": (1000.0,)}
    run(tmp_path / "both", max_faces=24, **steady)
    detector = tmp_path / "both" / "landmarks-smoke.safetensors"
    for name in ("true", "detected"):
        run(tmp_path / name, max_faces=24, **steady, detector=str(detector), guidance=name)
    one, other = weights(tmp_path / "true"), weights(tmp_path / "detected")
    assert not equal(pieces(one, "volume."), pieces(other, "volume."))
    given = networks.load(detector)[0].state_dict()
    assert equal(pieces(other, "landmarks."), given)
    assert not any("loss_heatmaps" in row for row in read_log(tmp_path / "detected" / "log.jsonl"))
    with pytest.raises(VrnError, match="must be one of 'true', 'detected'"):
        run(tmp_path / "other", **steady, guidance="detektet")
