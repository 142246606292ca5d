"""The studies: what differs between their networks, and how their numbers are put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.heatmaps import heatmaps_batch
from vrnlib.networks import VRN, build, parameter_count
from vrnlib.recipe import TrainParams
from vrnlib.studies import architecture, departures, guidance, lesson, small
from vrnlib.studies.arms import difference, finished, over_seeds, run_all
from vrnlib.studies.command import STUDIES, main
from vrnlib.studies.small import Budget

TINY = Budget(
    size=32, features=8, levels=1, faces=16, detector_faces=8, detector_passes=1, batch_size=8, test_faces=8,
    nme_faces=2, seeds=2,
)  # fmt: skip
OPTIONS = [
    "--size=32", "--features=8", "--levels=1", "--faces=16", "--detector-faces=8", "--detector-passes=1",
    "--batch-size=8", "--test-faces=8", "--nme-faces=2", "--seeds=2",
]  # fmt: skip


def window(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(count, 3, 32, 32), torch.rand(count, 68, 2) * 31


@pytest.mark.parametrize("name", guidance.ARMS)
def test_every_arm_guides_its_volume(name: str) -> None:
    """The landmarks change the answer of every arm but the control's."""
    torch.manual_seed(1)
    model = guidance.GuidedVRN(TINY.architecture(), guidance.ARMS[name]).eval()
    image, points = window()
    with torch.inference_mode():
        here, there, nowhere = (model.slices(image, p) for p in (points, points.flip(1), None))
    assert here.shape == (2, TINY.depth, 8, 8)
    assert torch.equal(here, there) == (name == "none")
    assert torch.equal(here, nowhere) == (name == "none")


def test_the_arms_differ_in_one_thing() -> None:
    for name, arm in guidance.ARMS.items():
        base = vars(guidance.ARMS[arm.against])
        changed = [k for k, v in vars(arm).items() if v != base[k] and k not in ("label", "against")]
        assert len(changed) == (0 if name == "paper" else 1), name


def test_a_departure_is_undone_alone() -> None:
    base = departures.network(TINY, departures.ARMS["baseline"]).architecture
    for name, arm in departures.ARMS.items():
        shape = departures.network(TINY, arm).architecture
        changed = [k for k, v in vars(shape).items() if v != vars(base)[k]]
        other = (arm.schedule is not departures.halved) + (not arm.half)
        assert len(changed) + other == (name != "baseline"), name
    rates = [4e-4 * departures.halved(p) for p in (0, 0.1, 0.6, 0.99)]
    assert rates == pytest.approx([4e-4, 2e-4, 1e-4, 3.125e-6])
    assert [4e-4 * departures.paper(p) for p in (0, 0.79, 0.81)] == pytest.approx([1e-4, 1e-4, 1e-5])


def test_encodings_hold_what_they_say() -> None:
    image, points = window()
    paper, summed, coordinates = (
        guidance.GuidedVRN(TINY.architecture(), guidance.ARMS[name]).encode(points, image)
        for name in ("paper", "summed", "coordinates")
    )
    assert torch.equal(paper, heatmaps_batch(points, 32, 1.0))
    assert torch.allclose(summed, paper.sum(1, keepdim=True))
    assert coordinates.shape == (2, 136, 32, 32)
    assert torch.allclose((coordinates[:, ::2, 5, 7] + 1) * 31 / 2, points[:, :, 0], atol=1e-4)
    assert (coordinates.std((2, 3)) < 1e-6).all()  # one value a channel


def test_guidance_at_the_input_is_the_papers_network() -> None:
    """71 channels, and nothing else beside a VRN."""
    model = guidance.GuidedVRN(TINY.architecture(), guidance.ARMS["paper"])
    assert parameter_count(model) == parameter_count(VRN(8, 1, 1, 1, TINY.depth, "low", 71))


def test_test_conditions() -> None:
    truth, found = torch.zeros(1, 68, 2), torch.ones(1, 68, 2)
    assert guidance.given("empty", truth, found) is None
    assert guidance.given("predicted", truth, found) is found
    assert guidance.given("shifted", truth, found)[0, 0].tolist() == [guidance.SHIFT, 0]
    noisy = [guidance.given("noise 2", truth.repeat(50, 1, 1), found, 5, k) for k in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    assert noisy[0].std().item() == pytest.approx(2, rel=0.05)


def test_a_chain_has_the_hourglass_parameters_and_no_pooling() -> None:
    base, chain = (architecture.ARMS[name][1](TINY) for name in ("baseline", "chain"))
    assert parameter_count(base) == parameter_count(chain)
    assert architecture.residual_modules(base) == architecture.residual_modules(chain)
    assert architecture.lowest_side(base, 32) == 4 and architecture.lowest_side(chain, 32) == 8


def test_without_additions_there_is_no_residual_module() -> None:
    model = architecture.unadded(TINY)
    assert architecture.residual_modules(model) == 0
    assert model(window()[0]).shape == (2, TINY.depth, 32, 32)


def test_architecture_arms_have_their_modules() -> None:
    count = {k: architecture.residual_modules(make(TINY)) for k, (_, make) in architecture.ARMS.items()}
    stem = 3
    in_stack = count["baseline"] - stem
    assert count["stacks-2"] == 2 * in_stack + stem and count["stacks-4"] == 4 * in_stack + stem
    assert count["modules-2"] - count["baseline"] == count["modules-3"] - count["modules-2"] == 4  # up, 3 low


def test_orders_are_permutations_and_the_detectors_faces_are_others() -> None:
    numbers, other = small.order(TINY, 0), small.detector_order(TINY, 0)
    assert sorted(numbers) == [0, 1] and other == [2]
    assert any(small.order(Budget(), 0) != small.order(Budget(), s) for s in (1, 2))


def test_interval_over_seeds_is_students() -> None:
    out = over_seeds([1.0, 2.0, 3.0])
    assert out["mean"] == 2
    assert out["interval"] == pytest.approx([2 - 4.3027 / np.sqrt(3), 2 + 4.3027 / np.sqrt(3)], abs=1e-3)
    assert over_seeds([1.0])["interval"] is None
    same = difference([0.5, 0.6, 0.4], [0.4, 0.5, 0.3])  # the seeds differ, the difference does not
    assert same["clear"] and same["mean"] == pytest.approx(0.1)
    assert not difference([0.5, 0.3], [0.4, 0.4])["clear"]
    with pytest.raises(VrnError, match="at least one"):
        over_seeds([])


def test_runs_resume_arm_by_arm(tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []

    def train(name: str, seed: int) -> dict:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((name, seed))
        return {"test": {"true": {"iou": [0.5, float("nan")], "nme": []}}}

    with pytest.raises(KeyboardInterrupt):
        run_all(["a", "b"], 2, train, tmp_path, {"size": (1, 2)}, say=lambda _: None)
    assert done == [("a", 0), ("b", 0), ("a", 1)] and finished(["a", "b"], 2, tmp_path) == 1
    done.clear()
    runs = run_all(["a", "b"], 2, train, tmp_path, {"size": (1, 2)}, say=lambda _: None)
    assert done == [("b", 1)] and [len(r) for r in runs.values()] == [2, 2]
    with pytest.raises(VrnError, match="another budget"):
        run_all(["a"], 1, train, tmp_path, {"size": (3, 4)}, say=lambda _: None)


@pytest.mark.parametrize("study", ["guidance", "architecture", "departures"])
def test_a_study_from_its_command(study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything once, tiny: training, tests, summary, figure, resume."""
    command = [study, f"--out={tmp_path / 'out'}", f"--work={tmp_path}", *OPTIONS]
    assert main(command) == 0
    content = json.loads((tmp_path / "out" / f"{study}.json").read_text())
    assert content["seeds"] == 2 and content["budget"]["size"] == 32
    assert (tmp_path / "out" / f"{study}.png").read_bytes()[1:4] == b"PNG"
    rows = (tmp_path / "out" / f"{study}.csv").read_text().splitlines()
    printed = capsys.readouterr().out
    assert all(line in printed for line in content["conclusion"])
    if study == "guidance":
        names = STUDIES[study].arms
        tested = [len(guidance.conditions(name)) for name in names]
        shown = content["arms"]["paper"]["test"]["true"]["over_control"]["mean"]
        assert any(f"{shown:+.3f}" in line for line in content["conclusion"])
    else:
        names = {"architecture": architecture, "departures": departures}[study].ARMS
        tested = [1] * len(names)
        assert all(a["label"] in " ".join(content["conclusion"]) for a in content["arms"].values())
    assert list(content["arms"]) == list(names) and len(rows) == 1 + 2 * sum(tested)
    assert main([*command, "--summary"]) == 0
    assert "seed 0" not in capsys.readouterr().out  # nothing was trained again


def test_stages_are_one_run(tmp_path: Path) -> None:
    """A network that is stopped to be asked learns what an uninterrupted one learns."""
    world = lesson.Recycled(SynthLP(32, 34, seed=3, augment=False), 6)
    plan = TrainParams.of(
        "smoke", kind="guided", features=8, batch_size=4, learning_rate=1e-3, max_faces=16, workers=0,
        threads=1, validation_faces=4, nme_faces=0, lr_drop=(0.75,), precision="32-true", data_tag="x",
    )  # fmt: skip
    watched = world.samples[:2]
    ends = [
        lesson.learn(plan, tmp_path / str(k), world, world, watched, stages, say=lambda _: None)
        for k, stages in enumerate([[4, 16], [16]])
    ]
    for a, b in zip(*(end.model.state_dict().values() for end in ends), strict=True):
        assert torch.equal(a, b)
    staged = ends[0]
    assert staged.stages == [0, 4, 16] and [r["faces"] for r in staged.of("validate")] == [4, 16]
    assert [a.volume.shape for a in staged.answers] == [(2, 34, 32, 32)] * 3
    assert lesson.stop(staged, watched, 1).shape == (64, 4 * 64 + 3 * 2, 3)
    assert lesson.trained(tmp_path / "none.safetensors", staged.model, 32)[:2] == (staged.model, 32)


def test_true_landmarks_guide_what_is_asked() -> None:
    model = build(TrainParams.of("smoke", kind="guided", max_faces=8, workers=0).architecture)
    sample = SynthLP(32, 34, seed=3, augment=False)[0]
    own, told = (lesson.ask(model, [sample["image"]], x) for x in (None, sample["landmarks"][None]))
    assert np.array_equal(own.landmarks, told.landmarks) and not np.array_equal(own.volume, told.volume)


def test_occlusion_finds_what_matters() -> None:
    """An answer that reads one pixel changes where that pixel is hidden, and nowhere else."""
    image = np.full((32, 32, 3), 200, np.uint8)
    found = lesson.occlusion(lambda w: np.array([float(x[4, 28, 0]) != 200 for x in w]), image, 8, 8)
    assert found.shape == (4, 4) and found[0, 3] == 1 and found.sum() == 1
    bright = lesson.heat(found, image).astype(int).sum(2)
    assert np.unravel_index(bright.argmax(), bright.shape)[0] < 8


def test_feature_maps_come_at_every_scale() -> None:
    model = build(TrainParams.of("smoke", max_faces=8, workers=0).architecture)
    image = np.zeros((32, 32, 3), np.uint8)
    maps = lesson.feature_maps(model, model.stacks[0], lambda: lesson.ask(model, [image]))
    assert [m.shape[1] for m in maps] == [8, 4, 2, 4, 8]
    assert lesson.components(maps[0], 48).shape == (48, 48, 3)


def test_a_summary_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guidance", f"--work={tmp_path}", "--summary"]) == 2
    assert "no seed" in capsys.readouterr().err
    assert main(["guidance", f"--work={tmp_path}", "--faces=20"]) == 2
    assert "multiple" in capsys.readouterr().err
