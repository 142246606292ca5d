"""The study of detectors: its rows are kept, a new network comes in, the verdict follows from the numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from vrnlib import detect, detector_study, networks
from vrnlib.detect import plots, verdict
from vrnlib.detect.calibrate import calibrate
from vrnlib.detect.interface import Landmarks, Pair, Scored
from vrnlib.detect.scenes import chosen, scene
from vrnlib.errors import VrnError


def save(kind, folder, seed=0):
    import torch

    torch.manual_seed(seed)
    model = networks.build(networks.Architecture(8, 1, 1, 2, 34, "low", kind=kind))
    path = networks.save(model, folder / f"{kind}-laptop.safetensors", {"size": 32})
    return path


@cache
def small(index: int, harsh: bool = True):
    """A scene of a third of the size, kept."""
    return scene(index, 96, harsh)


class Half:
    """Finds the truth, two pixels too low, in plain pictures only."""

    name = "half"

    def __init__(self):
        self.looked = 0

    def _truth(self, image):
        indices = chosen(3, 0, verdict.BANDS)
        pairs = [(small(i, harsh=harsh), harsh) for i in indices for harsh in (False, True)]
        return next((s.landmarks, harsh) for s, harsh in pairs if s.image is image)

    def boxes(self, image):
        self.looked += 1
        truth, harsh = self._truth(image)
        return [] if harsh else [Scored((*map(float, truth.min(0)), *map(float, truth.max(0))), 1.0)]

    def points(self, image, box, reference):
        return Landmarks(self._truth(image)[0] + [0, 2], np.full(68, 0.5))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Two runs: with a VRN alone, then with a Guided too."""
    folder = tmp_path_factory.mktemp("study")
    half = Half()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_study, "DETECTORS", ("truth", "half"))
        patch.setattr(detect, "DETECTORS", {"half": lambda weights: Pair("half", half, half)})
        patch.setattr(detector_study, "LEVELS", {"shift": (0.1,), "noise": (0.05,)})
        patch.setattr(detector_study, "POINTS", 200)
        patch.setattr(detector_study, "scene", small)
        detect._get.cache_clear()
        save("vrn", folder)
        runs = [detector_study.run(folder / "out", 3, 3, checkpoints=folder, say=lambda _: None)]
        rows = [detector_study.read_rows(folder / "out" / "swap.csv")]
        looked = [half.looked]
        detector_study.run(folder / "out", 3, 3, checkpoints=folder, say=lambda _: None)
        looked.append(half.looked)
        save("guided", folder, 1)
        runs.append(detector_study.run(folder / "out", 3, 3, checkpoints=folder, say=lambda _: None))
        rows.append(detector_study.read_rows(folder / "out" / "swap.csv"))
        detect._get.cache_clear()
    return folder / "out", runs, rows, looked


def test_a_study_measures_what_it_was_shown(ran):
    out, (first, second), (rows, _), _ = ran
    own = [r for r in rows if r["detector"] == "half"]
    assert len(own) == 6 and [r["found"] for r in own] == ["1", "0"] * 3
    assert first["detectors"]["half"]["found"]["plain"]["mean"] == 1
    assert first["detectors"]["half"]["found"]["harsh"]["mean"] == 0
    for r in own:
        assert (r["nme"] == "") == (r["found"] == "0")
        if r["found"] == "1":
            s = small(int(r["index"]), harsh=False)
            eyes = np.linalg.norm(s.eyes[0] - s.eyes[1])
            assert float(r["landmark_error"]) == pytest.approx(2 / eyes, rel=1e-3)
            assert float(r["crop_scale"]) == pytest.approx(1, abs=1e-4)
            side = np.sqrt(np.prod(np.ptp(s.landmarks, axis=0)))
            assert float(r["crop_y"]) == pytest.approx(-2 / side, rel=1e-3)
    assert first["not_run"]["guided"] == "no checkpoint" and "guided" not in second["not_run"]
    assert set(second["jitter"]) == {"vrn", "guided", "guided-given"}
    for name in ("found", "cost", "jitter"):
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert second["provenance"]["params"]["scenes"] == 3
    assert "half" in verdict.describe(second)


def test_rows_that_are_there_are_kept_and_a_new_network_comes_in(ran):
    _, _, (rows, more), looked = ran
    assert looked[0] == looked[1] == 6  # the second run looked at nothing
    assert [r for r in more if r["network"].startswith("vrn:")] == rows
    assert len(more) == 3 * len(rows)
    given = {
        (r["index"], r["condition"], r["detector"]): r["nme"]
        for r in more
        if r["network"].startswith("guided-given")
    }
    assert len(given) == len(rows)


def test_the_study_without_networks_or_scenes(tmp_path):
    with pytest.raises(VrnError, match="no network in"):
        detector_study.run(tmp_path, checkpoints=tmp_path)
    with pytest.raises(VrnError, match="at least 3 scenes"):
        detector_study.run(tmp_path, 2, checkpoints=tmp_path)
    assert detector_study.main(["--out", str(tmp_path), "--checkpoints", str(tmp_path)]) == 2


def made_up(cost: float, spread: float, share: float) -> list[dict]:
    """Rows of a truth with an NME of 0.06 and of a detector that costs `cost` and finds `share`."""
    rng, rows = np.random.default_rng(0), []
    for i in range(120):
        yaw, own = (i % 3) * 30 + 10, 0.06 + 0.01 * rng.standard_normal()
        common = {
            "index": str(i), "condition": "plain", "yaw": yaw, "network": "vrn:x", "boxes": 1, "score": 1,
            "confidence": 0.5, "landmark_error": 0.1, "crop_scale": 1, "crop_x": 0, "crop_y": 0, "seconds": 1,
        }  # fmt: skip
        seen = i // 3 % 20 < 20 * share
        rows.append({**common, "detector": "truth", "found": 1, "nme": own})
        nme = own + cost + spread * rng.standard_normal() if seen else ""
        rows.append({**common, "detector": "dlib", "found": int(seen), "nme": nme})
    return rows


@pytest.mark.parametrize(
    ("cost", "spread", "share", "where", "whether"),
    [
        (0.002, 0.005, 1.0, "supported", "supported"),
        (0.050, 0.005, 1.0, "contradicted", "supported"),
        (0.030, 0.050, 1.0, "undecided", "supported"),
        (0.002, 0.005, 0.5, "supported", "contradicted"),
        (0.002, 0.005, 0.9, "supported", "undecided"),
    ],
)
def test_the_words_of_the_verdict(cost, spread, share, where, whether):
    result = verdict.summarise(made_up(cost, spread, share), [])
    found = result["verdict"]
    assert (found["where_found"], found["whether_found"]) == (where, whether)
    low, high = found["costs"]["dlib"]["interval"]
    assert low < cost + 0.01 and high > cost - 0.01
    for name in ("found", "cost"):
        assert plots.FIGURES[name](result).axes


def test_calibration_of_what_is_known(monkeypatch):
    """A box finder that is off in the same way in every picture is set right; the others say why not."""
    import vrnlib.detect.calibrate as module

    class Off:
        def boxes(self, image):
            low, high = TRUTH[image.tobytes()].min(0), TRUTH[image.tobytes()].max(0)
            side = np.sqrt(np.prod(high - low))
            low, high = low + [0.02 * side, 0.1 * side], high + [0.02 * side, 0.1 * side]
            return [Scored((*map(float, low), *map(float, high)), 1.0), Scored((0.0, 0.0, 9.0, 9.0), 9.0)]

    TRUTH = {}

    def noted(index, harsh):
        s = small(index, harsh=harsh)
        TRUTH[s.image.tobytes()] = s.landmarks
        return s

    def absent(*_):
        raise VrnError("the weights are not here: fetch them")

    for name in ("LbpBoxes", "BlazeBoxes", "FanPoints", "DlibPoints", "MeshPoints", "NetworkPoints"):
        monkeypatch.setattr(module, name, absent)
    monkeypatch.setattr(module, "HogBoxes", Off)
    monkeypatch.setattr(module, "scene", noted)
    former = {"boxes": {"lbp": {"scale": 0.9}}, "landmarks": {}, "facemesh": [1, 2]}
    result = calibrate(5, former=former)
    hog = result["boxes"]["hog"]
    assert hog["scale"] == pytest.approx(1) and hog["shift"] == [0.0, pytest.approx(-0.1, abs=1e-6)]
    assert hog["shift_x_measured"] == pytest.approx(-0.02, abs=1e-6) and hog["found"] == 5
    assert result["boxes"]["lbp"] == {"scale": 0.9} and result["facemesh"] == [1, 2]  # kept
    assert result["not_run"]["network"] == "the weights are not here"
