"""The ablation of appearance (`benchmarks/appearance_ablation.py`): its arms, its resuming, its numbers."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.errors import VrnError
from vrnlib.runs import fill_runs
from vrnlib.variation import factors
from vrnlib.voxel import Grid

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


photographs = load("appearance_photographs")
ablation = load("appearance_ablation")
TINY = {"size": 32, "features": 16}


def test_every_factor_is_in_exactly_one_group() -> None:
    counts = Counter(factor for group in ablation.GROUPS.values() for factor in group)
    assert counts == Counter(factors())


def test_an_arm_lacks_its_group_and_nothing_else() -> None:
    arms = ablation.arms()
    assert list(arms)[:3] == ["full", "nothing", "again"] and len(arms) == 3 + len(ablation.GROUPS)
    off = {arm: {f for f in factors() if not getattr(v, f)} for arm, v in arms.items()}
    assert off["full"] == off["again"] == set() and off["nothing"] == set(factors())
    for group, names in ablation.GROUPS.items():
        assert off[f"no-{group}"] == set(names)


def test_arms_see_the_same_shapes_in_the_same_order() -> None:
    arms = ablation.arms()
    seen = {
        arm: ablation.Repeated(SynthLP(32, 34, seed=5, variation=arms[arm]), 6, start=100)
        for arm in ("full", "no-surroundings", "nothing")
    }
    grid, differ = Grid(32, 34), Counter()
    for number in (0, 1, 4, 5):
        full = seen["full"][number]
        for arm, data in seen.items():
            sample = data[number]
            assert np.array_equal(fill_runs(sample["runs"], grid), fill_runs(full["runs"], grid))
            differ[arm] += not np.array_equal(sample["image"], full["image"])
    assert differ == {"full": 0, "no-surroundings": 4, "nothing": 4}


def test_repeated_faces_come_back_and_show_every_person_in_other_poses() -> None:
    class Numbers:
        asked: list[int]

        def __init__(self) -> None:
            self.asked = []

        def __getitem__(self, index: int) -> dict[str, Any]:
            self.asked.append(index)
            return {"image": np.full((2, 2, 3), index, np.int64), "volume": np.zeros((2, 2, 2), np.uint8)}

    numbers = Numbers()
    data = ablation.Repeated(numbers, 7, start=10)
    first = [int(data[i]["image"][0, 0, 0]) for i in range(7)]
    again = [int(data[i]["image"][0, 0, 0]) for i in range(7, 21)]
    assert again == first * 2 and len(numbers.asked) == 7  # drawn once
    assert len(set(first)) == 7
    assert [i // POSES_PER_FACE for i in first] == [10, 10, 10, 11, 11, 11, 12]


def test_a_finished_arm_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ablation.train_arm("base", tmp_path, 0, 16, 1, None, **TINY)
    arm = ablation.train_arm("no-hair", tmp_path, 0, 16, 2, base, **TINY)
    before = base.read_bytes(), arm.read_bytes()
    assert before[0] != before[1]

    calls = []

    def refuse(params: Any, out: Path, **others: Any) -> dict[str, Any]:
        calls.append(Path(out).name)
        return {"finished": True}

    monkeypatch.setattr(ablation, "train", refuse)
    assert ablation.train_arm("base", tmp_path, 0, 16, 1, None, **TINY) == base
    assert ablation.train_arm("no-hair", tmp_path, 0, 16, 2, base, **TINY) == arm
    assert calls == [] and (base.read_bytes(), arm.read_bytes()) == before
    (arm.parent / "metrics.json").unlink()  # what an interrupted run lacks
    ablation.train_arm("no-hair", tmp_path, 0, 16, 2, base, **TINY)
    assert calls == ["no-hair"]


def rows(errors: np.ndarray, pictures: int = 1, name: str = "synth-wild") -> list[dict[str, Any]]:
    return [
        {"set": name, "index": i, "person": i // pictures, "yaw": 0.0, "nme": float(e), "iou": 0.5}
        for i, e in enumerate(errors)
    ]


def test_differences_have_the_right_sign_and_are_paired() -> None:
    rng = np.random.default_rng(0)
    full = rng.uniform(0.05, 0.5, 60)  # faces differ far more than the arms do
    worse, better = full + rng.normal(0.01, 0.002, 60), full - rng.normal(0.01, 0.002, 60)
    up = ablation.paired(rows(worse), rows(full), "synth-wild", "nme")
    down = ablation.paired(rows(better), rows(full), "synth-wild", "nme")
    assert up["difference"] == pytest.approx(np.mean(worse - full))
    assert 0.008 < up["difference_interval"][0] < up["difference_interval"][1] < 0.012
    assert down["difference_interval"][1] < 0
    assert up["interval"][1] - up["interval"][0] > 5 * np.ptp(up["difference_interval"])
    own = rows(full)
    assert "difference" not in ablation.paired(own, own, "synth-wild", "nme")


def test_pictures_of_one_person_are_not_independent() -> None:
    rng = np.random.default_rng(1)
    change = np.repeat(rng.normal(0, 0.02, 6), 10)  # a person's pictures change together
    full = rng.uniform(0.1, 0.2, 60)
    alone = ablation.paired(rows(full + change), rows(full), "synth-wild", "nme")
    persons = ablation.paired(rows(full + change, 10), rows(full, 10), "synth-wild", "nme")
    assert persons["persons"] == 6
    assert np.ptp(persons["difference_interval"]) > 2 * np.ptp(alone["difference_interval"])


def test_failures_are_counted_and_other_pictures_refused() -> None:
    full, lost = np.full(8, 0.1), np.full(8, 0.12)
    lost[2] = np.nan
    row = ablation.paired(rows(lost), rows(full), "synth-wild", "nme")
    assert row["left_out"] == 1 and row["failed"] == 1
    assert row["difference"] == pytest.approx(0.02)
    nothing = ablation.paired(rows(np.full(8, np.nan)), rows(full), "synth-wild", "nme")
    assert nothing["difference"] is None and nothing["mean"] is None
    with pytest.raises(VrnError, match=r"synth-wild.*scores\.json"):
        ablation.paired(rows(full[:7]), rows(full), "synth-wild", "nme")


def test_seeds_are_averaged_by_picture() -> None:
    mean = ablation.over_seeds([rows(np.array([0.1, 0.2])), rows(np.array([0.3, 0.2]))])
    assert [r["nme"] for r in mean] == pytest.approx([0.2, 0.2])
    assert [r["person"] for r in mean] == [0, 1]


def test_the_outline_is_where_the_volume_ends() -> None:
    y, x = np.mgrid[:96, :96]
    disc = (np.hypot(x - 47.5, y - 47.5) < 20).astype(np.float32)
    volume = np.repeat(disc[None], 8, 0)
    turn = np.linspace(0, np.pi, 68)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    for gap in (0.0, 3.0):
        landmarks = 47.5 + (20 + gap) * circle
        d = np.linalg.norm(landmarks[36] - landmarks[45])
        assert photographs.outline_distance(volume, landmarks) * d == pytest.approx(gap, abs=0.6)
    assert np.isnan(photographs.outline_distance(np.zeros((8, 96, 96)), landmarks))


def test_a_fit_to_landmarks_is_near_the_true_volume() -> None:
    data = SynthLP(48, 50, seed=21, augment=False)
    found = []
    for index in range(0, 40 * POSES_PER_FACE, POSES_PER_FACE):
        sample = data[index]
        if abs(sample["pose"][1]) < 0.6:
            volume = photographs.fit_volume(sample["landmarks"].astype(np.float64), Grid(48, 50))
            found.append(photographs.metrics.iou(volume, sample["volume"]))
        if len(found) == 3:
            break
    assert len(found) == 3 and min(found) > 0.75


def test_consistency_is_blind_to_a_constant_answer_and_sees_a_brightness_reader() -> None:
    sample = SynthLP(32, 34, seed=22, augment=False)[0]
    image, landmarks = sample["image"], sample["landmarks"].astype(np.float64)
    y, x = np.mgrid[:32, :32]
    disc = np.hypot(x - 15.5, y - 15.5) < 9
    constant = np.repeat(disc[None], 34, 0).astype(np.float32)
    blind = photographs.measures(lambda _: constant, image, landmarks, constant)
    assert blind["flip"] == 0 and blind["photometry"] == 0 and blind["agreement"] == 1

    def reader(window: np.ndarray) -> np.ndarray:
        return np.repeat((window.mean(-1) > 100)[None], 34, 0).astype(np.float32)

    seen = photographs.measures(reader, image, landmarks, constant)
    assert seen["flip"] == 0 and seen["photometry"] > 0.1 and seen["agreement"] < 1


def test_changes_keep_the_scene() -> None:
    image = SynthLP(32, 34, seed=23, augment=False)[0]["image"]
    for name, change in photographs.CHANGES.items():
        changed = change(image.astype(np.float64)).astype(np.uint8)
        assert changed.shape == image.shape and not np.array_equal(changed, image), name
        # the same picture still: edges stay where they are
        a, b = (x.astype(float).mean(-1).ravel() for x in (image, changed))
        assert np.corrcoef(a, b)[0, 1] > 0.6, name


def test_stream_growth_of_memory() -> None:
    stream = load("stream")
    flat = stream.growth([(60.0 * i, 500.0) for i in range(10)])
    leak = stream.growth([(60.0 * i, 500.0 + i) for i in range(10)])
    assert flat["trend of the second half, MB an hour"] == pytest.approx(0, abs=1e-6)
    assert leak["trend of the second half, MB an hour"] == pytest.approx(60)
    assert leak["growth in the second half, MB"] == 4
    assert stream.growth([(0.0, 1.0)])["growth in the second half, MB"] is None
    before = stream.cpu_seconds()
    sum(i * i for i in range(300_000))
    assert stream.cpu_seconds() > before
