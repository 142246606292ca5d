"""The loss against its plain form, the order of the data, and runs that are killed, stopped, changed and
spoilt.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vrnlib import batches, checkpoint, loss, networks
from vrnlib.checkpoint import State, read_log
from vrnlib.commands.train import gather
from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.estimate import estimate
from vrnlib.landmarks import targets
from vrnlib.loss import slices_loss, voxel_loss
from vrnlib.loss_columns import PRODUCT, exp_minus
from vrnlib.networks import VRN, Architecture, Heads, enlarge
from vrnlib.objective import inputs, losses, validate
from vrnlib.params import PROFILES
from vrnlib.recipe import EPOCH
from vrnlib.train import TrainParams, learning_rate, main, make_fabric, train

QUIET: dict[str, Any] = {
    "threads": 1, "workers": 0, "log_steps": 5, "validation_faces": 8, "precision": "32-true",
}  # fmt: skip
"""float32 on every machine, so that thresholds mean one thing."""


class Balls:
    """Stand-in for faces: a bright disc in the image where the volume holds a ball."""

    def __init__(self, size: int, depth: int, seed: int) -> None:
        self.size, self.depth, self.seed = size, depth, seed

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        x, y = rng.uniform(10, self.size - 10, 2)
        rows, columns, depths = np.ogrid[: self.size, : self.size, : self.depth]
        inside = (rows - y) ** 2 + (columns - x) ** 2 + ((depths - self.depth / 2) / 2) ** 2 < 64
        image = rng.integers(0, 60, (self.size, self.size, 3)).astype(np.uint8)
        image[inside.any(2)] += 150
        # sixty-eight points on a circle round the ball
        angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        landmarks = np.stack([x + 6 * np.cos(angles), y + 6 * np.sin(angles)], 1).astype(np.float32)
        volume = inside.astype(np.uint8).transpose(2, 0, 1)
        eyes = np.array([[x - 6, y, 0], [x + 6, y, 0]], np.float32)
        return {"image": image, "volume": volume, "landmarks": landmarks, "eyes": eyes}


def run(out: Path, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    params = TrainParams.of("smoke", seed=seed, **{**QUIET, "max_faces": 80, **changes})
    data = [Balls(params.size, params.depth, s) for s in (seed, 99)]
    return train(params, out, dataset=data[0], validation=data[1], say=lambda line: None)


def weights(out: Path) -> dict[str, torch.Tensor]:
    manifest = json.loads((out / "checkpoint.json").read_text())
    return networks.load(out / "checkpoint" / manifest["files"]["model"])[0].state_dict()


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


# ---- loss
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("depth", "cells"), [(10, 6), (10, 24), (PRODUCT, 3), (2 * PRODUCT + 7, 6)])
def test_fast_loss_and_gradient_equal_the_plain_ones(channels_last: bool, depth: int, cells: int) -> None:
    torch.manual_seed(0)
    order = torch.channels_last if channels_last else torch.contiguous_format
    x = (torch.randn(3, depth, cells, cells + 1) * 8).contiguous(memory_format=order).requires_grad_()
    target = (torch.rand(3, 24, 26, depth) > 0.7).to(torch.uint8).permute(0, 3, 1, 2)
    plain = voxel_loss(enlarge(x, target.shape[2:]), target)
    (expected,) = torch.autograd.grad(plain * 3, x)
    for compute in (loss._on_processor, loss._face_by_face):
        total, gradient = compute(x.detach(), target)
        assert total.item() == pytest.approx(plain.item() * target.numel(), rel=1e-5)
        assert torch.allclose(gradient * 3 / target.numel(), expected, rtol=1e-4, atol=1e-9)
    fast = slices_loss(x, target)
    (got,) = torch.autograd.grad(fast * 3, x)
    assert fast.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-9)


def test_loss_is_log_two_for_a_network_that_does_not_know() -> None:
    target = torch.ones(1, 2, 8, 8, dtype=torch.uint8)
    assert slices_loss(torch.zeros(1, 2, 2, 2), target).item() == pytest.approx(np.log(2))
    assert slices_loss(torch.full((1, 2, 2, 2), 200.0), target).item() == 0
    assert slices_loss(torch.full((1, 2, 2, 2), -200.0), target).item() == pytest.approx(200)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("wanted", [0, 1])
def test_a_logit_that_is_not_finite_reaches_the_loss(bad: float, wanted: int) -> None:
    logits = torch.zeros(2, 40, 4, 4)
    logits[1, 17, 2, 2] = bad
    value = slices_loss(logits, torch.full((2, 40, 16, 16), wanted, dtype=torch.uint8))
    assert not torch.isfinite(value)


def test_the_exponential_of_the_fast_loss() -> None:
    a = np.concatenate([np.linspace(0, 3, 3001), np.linspace(3, 83, 801)]).astype(np.float32)
    got = np.array([exp_minus(x) for x in a])
    # the argument itself is rounded: its relative error times its size
    assert np.all(np.abs(got / np.exp(-a.astype(np.float64)) - 1) < 4e-7 + 1e-7 * a)
    assert 0 < exp_minus(np.float32(1e30)) < 1e-36


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)])
@pytest.mark.parametrize("kind", ["vrn", "guided"])
def test_the_network_really_trains_in_the_precision_that_the_run_names(
    tmp_path: Path, precision: str, dtype: torch.dtype, kind: str
) -> None:
    params = TrainParams.of("smoke", kind=kind, max_faces=8, **{**QUIET, "precision": precision})
    model, seen = networks.build(params.architecture), set()
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(lambda part, _, out: seen.add((part.training, out.dtype)))
    balls = Balls(params.size, params.depth, 0)
    train(params, tmp_path, model=model, dataset=balls, validation=balls)
    assert seen == {(True, dtype), (False, dtype)}  # while it trains, and in validation


# ---- data
# ------------------------------------------------------------------------------------------------------------


def taken(order: batches.Order, n: int) -> list[int]:
    stream = iter(order)
    return [i for _ in range(n) for i in next(stream)]


def test_a_run_may_go_on_with_a_refinement_but_not_without_it(tmp_path: Path) -> None:
    run(tmp_path)
    before = weights(tmp_path)
    run(tmp_path, max_faces=84, refine=1, learning_rate=1e-9)
    after = weights(tmp_path)
    assert after.keys() > before.keys()
    assert torch.allclose(after["head.1.bias"], before["head.1.bias"], atol=1e-5)
    assert read_log(tmp_path / "log.jsonl")[-3]["changed"]["refine"] == [0, 1]
    with pytest.raises(VrnError, match="another network"):
        run(tmp_path, max_faces=88)


def test_order_shows_every_sample_once_a_block_and_resumes_anywhere() -> None:
    whole = taken(batches.Order(3, 0, 16), 2 * batches.SHUFFLE // 16)
    assert sorted(whole) == list(range(2 * batches.SHUFFLE))
    assert max(whole[: batches.SHUFFLE]) < batches.SHUFFLE
    assert taken(batches.Order(3, 3040, 16), 10) == whole[3040:3200]  # across the border of two blocks
    assert taken(batches.Order(3, 5, 7), 3) == whole[5:26]
    assert taken(batches.Order(4, 0, 16), 10) != whole[:160]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_share_the_batches_of_one(processes: int) -> None:
    whole = iter(batches.Order(0, 36, 12))
    shares = [iter(batches.Order(0, 36, 12, (r, processes))) for r in range(processes)]
    for _ in range(5):
        assert [i for share in shares for i in next(share)] == next(whole)


def test_order_mixes_people() -> None:
    people = [len({i // 12 for i in taken(batches.Order(0, start, 16), 1)}) for start in range(0, 480, 16)]
    assert min(people) >= 10


def test_batches_survive_packing() -> None:
    data = Balls(32, 34, 0)
    (batch,) = batches.first(data, 3, 4, workers=0)
    image, volume = batches.unpack(batch, 34)
    assert image.shape == (3, 3, 32, 32)
    assert volume.shape == (3, 34, 32, 32)
    assert volume.is_contiguous(memory_format=torch.channels_last)
    for i in range(3):
        assert np.array_equal(volume[i].numpy(), data[i]["volume"])
        assert np.allclose(image[i].numpy() * 255, data[i]["image"].transpose(2, 0, 1), atol=1e-4)


# ---- parameters
# ------------------------------------------------------------------------------------------------------


def test_the_papers_recipe_to_the_letter() -> None:
    params = gather("vrn", "paper", "synth-lp", None, None, None, "paper", [])
    assert EPOCH == 61_225
    at = {epoch: learning_rate(params, State(position=epoch * EPOCH)) for epoch in (0, 39, 40, 49)}
    assert list(at.values()) == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
    assert (params.size, params.depth, params.features, params.refine) == (192, 200, 256, 0)
    augment = SynthLP(seed=params.seed).augment
    assert asdict(augment) == {
        "rotation": 45.0, "translation": 15.0, "scale": (0.85, 1.15), "flip": 0.2, "gain": (0.6, 1.4)
    }  # fmt: skip


def test_words_of_the_command_line_become_parameters() -> None:
    words = ("smoke", "synth-lp", 2.0, None, 0.5, "laptop", ["learning_rate=3e-4", "lr_drop=[0.5]"])
    params = gather("guided", *words)
    assert (params.kind, params.max_minutes, params.max_faces) == ("guided", 2.0, 30612)
    assert (params.learning_rate, params.lr_drop) == (3e-4, (0.5,))
    assert gather("guided", "paper", *words[1:]).modules == 4
    short = gather("vrn", "laptop", "synth-lp", None, 1000, None, "laptop", [])
    rates = [learning_rate(short, State(position=n)) for n in (0, 59, 60, 999)]
    assert rates == pytest.approx([4e-4, 4e-4, 2e-4, 4e-4 / 2**7])
    assert gather("vrn", "paper", *words[1:]).modules == 3
    for wrong, message in [
        (("gided", *words), "unknown network 'gided' .did you mean 'guided'"),
        (("vrn", "smoke", "synth-lp", None, None, None, "laptop", []), "how long"),
        (("vrn", "smoke", "synth-lp", None, 5, 5.0, "laptop", []), "two words for one thing"),
        (("vrn", "smoke", "synth-lp", None, 5, None, "2017", []), "unknown recipe '2017'"),
        (("vrn", "smoke", "synth-lp", None, 5, None, "laptop", ["kind=guided"]), "without -p"),
        (("vrn", "smoke", "synth-lp", None, None, float("nan"), "laptop", []), "positive number"),
        (("vrn", "smoke", "synth-lp", float("inf"), None, None, "laptop", []), "positive and finite"),
        (("vrn", "smoke", "synth-lp", None, 5, None, "laptop", ["learning_rat=1"]), "did you mean"),
    ]:
        with pytest.raises(VrnError, match=message):
            gather(*wrong)


def test_estimate_counts_what_the_released_network_costs() -> None:
    params = TrainParams.of("paper", max_faces=EPOCH)
    cost = estimate(params, steps=0)
    assert cost.parameters == 19_184_968
    assert cost.forward == pytest.approx(2 * 24.47e9, rel=0.002)  # counted on the conversion of the .t7 file
    assert cost.step == pytest.approx(3 * cost.forward, rel=0.01)  # gradients of weights, and of inputs
    assert cost.faces_per_second is None
    lines = "\n".join(cost.lines(params, processes=2, tflops=cost.step / 1e12))
    assert "3 faces at once" in lines and "2.0 faces/s, 8.50 hours an epoch" in lines
    for processes, message in ((4, "cannot be cut into 4 equal pieces"), (0, "at least one process")):
        with pytest.raises(VrnError, match=message):
            estimate(params, steps=0, processes=processes)


def test_estimate_leaves_out_a_detector_that_does_not_learn(tmp_path: Path) -> None:
    params = TrainParams.of("smoke", kind="guided", max_faces=8)
    detector = networks.build(replace(params.architecture, kind="landmarks"))
    file = networks.save(detector, tmp_path / "detector.safetensors", {})
    both, volume = (estimate(p, steps=1) for p in (params, replace(params, detector=str(file))))
    alone = estimate(replace(params, kind="landmarks"), steps=0)
    assert both.step - volume.step == pytest.approx(alone.step, rel=0.05)
    assert volume.faces_per_second > 0


def test_learning_rate_drops_at_fractions_and_at_numbers_of_faces() -> None:
    params = TrainParams.of("smoke", max_faces=1000, lr_drop=[0.5, 800], learning_rate=1e-3)
    rates = [learning_rate(params, State(position=n)) for n in (0, 499, 500, 799, 800)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    timed = replace(params, max_faces=None, max_minutes=2.0, lr_drop=(0.5,))
    assert [learning_rate(timed, State(seconds=s)) for s in (59, 60)] == pytest.approx([1e-3, 1e-4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "no end"),
        ({"max_faces": 10, "learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"max_faces": -5}, "max_faces = -5"),
        ({"max_faces": 10, "lr_drop": (0.5, -1.0)}, "lr_drop"),
        ({"max_faces": 10, "learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"max_faces": "many"}, "max_faces"),
        ({"max_faces": 10, "precision": "bf16"}, "bf16-mixed"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(VrnError, match=message):
        TrainParams.of("smoke", **changes)


# ---- runs
# ------------------------------------------------------------------------------------------------------------


def test_training_learns_and_leaves_a_complete_folder(tmp_path: Path) -> None:
    metrics = run(tmp_path / "run", max_faces=480, learning_rate=3e-3, lr_drop=[0.7])
    rows = read_log(tmp_path / "run" / "log.jsonl")
    losses = [row["loss"] for row in rows if row["event"] == "train"]
    assert losses[-1] < 0.25 * losses[0]
    assert metrics["validation"]["iou"] > 0.3
    assert metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [row["event"] for row in rows if row["event"] != "train"] == ["phase", "validate"]
    rates = [row["learning_rate"] for row in rows if row["event"] == "train"]
    assert [rates[0], rates[-1]] == pytest.approx([3e-3, 3e-4])
    names = {p.name for p in (tmp_path / "run").iterdir()}
    files = {"params.json", "provenance.json", "metrics.json", "log.jsonl", "checkpoint.json", "checkpoint"}
    assert names == files | {"vrn-smoke.safetensors", "curves.png"}
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.width > picture.height > 100
    model, meta = networks.load(tmp_path / "run" / "vrn-smoke.safetensors")
    assert (meta["profile"], meta["size"], meta["faces"], meta["run"]) == ("smoke", 32, 480, "run")
    assert model.architecture.features == 16


def test_a_continued_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "whole", max_faces=80, lr_drop=[60])
    run(tmp_path / "parts", max_faces=40, lr_drop=[60])
    run(tmp_path / "parts", max_faces=80, lr_drop=[60])
    assert same(tmp_path / "whole", tmp_path / "parts")
    phases = [row for row in read_log(tmp_path / "parts" / "log.jsonl") if row["event"] == "phase"]
    assert [row["changed"] for row in phases] == [{}, {"max_faces": [40, 80]}]
    run(tmp_path / "other", max_faces=80, lr_drop=[60], seed=1)
    assert not same(tmp_path / "whole", tmp_path / "other")


def test_validation_in_half_precision_leaves_the_training_as_it_was(tmp_path: Path) -> None:
    half = {"max_faces": 40, "lr_drop": [30], "precision": "bf16-mixed"}
    run(tmp_path / "whole", **half)
    assert not torch.is_autocast_enabled("cpu")
    run(tmp_path / "often", **half, validate_minutes=1e-9)
    assert same(tmp_path / "whole", tmp_path / "often")
    validated = [row for row in read_log(tmp_path / "often" / "log.jsonl") if row["event"] == "validate"]
    assert len(validated) == 10


def test_workers_do_not_change_the_result(tmp_path: Path) -> None:
    run(tmp_path / "none", max_faces=24)
    run(tmp_path / "two", max_faces=24, workers=2)
    assert same(tmp_path / "none", tmp_path / "two")


def test_kept_batches_change_no_result_and_leave_no_path_in_the_record(tmp_path: Path) -> None:
    run(tmp_path / "plain", max_faces=24)
    for out in ("first", "second"):
        run(tmp_path / out, max_faces=24, data_tag="balls", keep=str(tmp_path / "kept"))
        assert same(tmp_path / "plain", tmp_path / out)
        assert "kept" not in "".join(p.read_text() for p in (tmp_path / out).glob("*.json*"))
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 6
    run(tmp_path / "other", max_faces=24, data_tag="others", keep=str(tmp_path / "kept"))
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 12
    with pytest.raises(VrnError, match="name it with data_tag"):
        run(tmp_path / "third", max_faces=24, keep=str(tmp_path / "kept"))


@pytest.mark.parametrize("kind", ["multitask", "guided", "landmarks"])
def test_every_head_learns(tmp_path: Path, kind: str) -> None:
    metrics = run(tmp_path, kind=kind, max_faces=240, learning_rate=3e-3, log_steps=20)
    rows = read_log(tmp_path / "log.jsonl")
    first, *_, last = (row for row in rows if row["event"] == "train")
    # half of a landmark loss stays: targets between 0 and 1 have an entropy of their own
    assert last["loss"] < 0.7 * first["loss"]
    if kind == "landmarks":
        assert "iou" not in metrics["validation"]
    else:
        assert last["loss_volume"] < 0.6 * first["loss_volume"]
        assert last["loss_heatmaps"] < 0.7 * first["loss_heatmaps"]
        assert last["loss"] == pytest.approx(last["loss_volume"] + last["loss_heatmaps"])
    (batch,) = batches.first(Balls(32, 34, 99), 8, 8, workers=0)
    fresh = validate(networks.build(TrainParams.of("smoke", kind=kind, max_faces=1).architecture), [batch])
    assert metrics["validation"]["landmark_error"] < 0.5 * fresh["landmark_error"]
    assert metrics["best_landmark_error"] == metrics["validation"]["landmark_error"]
    assert ("iou_true_landmarks" in metrics["validation"]) == (kind == "guided")
    model, meta = networks.load(tmp_path / f"{kind}-smoke.safetensors")
    assert (model.architecture.kind, meta["profile"]) == (kind, "smoke")
    if kind == "guided":  # its detector is there alone
        alone, _ = networks.load(tmp_path / "landmarks-smoke.safetensors")
        image = torch.from_numpy(Balls(32, 34, 5)[0]["image"]).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            assert torch.equal(alone.eval().slices(image), model.eval().heads(image).heatmaps)


def test_guided_learns_its_volume_from_the_true_landmarks() -> None:
    torch.manual_seed(0)
    params = TrainParams.of("smoke", kind="guided", max_faces=1)
    model = networks.build(params.architecture)
    (batch,) = batches.first(Balls(params.size, params.depth, 0), 4, 4, workers=0)
    image, volume, landmarks = inputs(batch, params.architecture)
    parts = losses(model, params.architecture, image, volume, landmarks)
    heads = model.heads(image, landmarks)
    assert parts["volume"].item() == pytest.approx(slices_loss(heads.volume, volume).item(), rel=1e-4)
    assert set(parts) == {"volume", "heatmaps"}
    # the volume's loss reaches the volume part alone: no gradient flows through the points
    parts["volume"].backward(retain_graph=True)
    assert all(p.grad is None for p in model.landmarks.parameters())
    parts["heatmaps"].backward()
    assert all(p.grad is not None for p in model.landmarks.parameters())
    moved = losses(model, params.architecture, image, volume, landmarks.flip(0))
    assert moved["volume"].item() != parts["volume"].item()
    del batch["landmarks"]
    with pytest.raises(VrnError, match="guided network learns from them"):
        inputs(batch, params.architecture)


def test_validation_scores_a_perfect_network_perfectly() -> None:
    data = SynthLP(32, 34, seed=3, augment=False, truth=True)
    held_out = batches.first(data, 3, 2, workers=0)
    packed = [inputs(batch, Architecture(depth=34, kind="multitask")) for batch in held_out]
    answers = iter(packed)

    class Oracle(torch.nn.Module):
        architecture = Architecture(depth=34, kind="multitask")

        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def heads(self, image: torch.Tensor) -> Heads:
            known, volume, landmarks = next(answers)
            assert torch.equal(image, known)
            maps = targets(landmarks, 32, 32).clamp(1e-7, 1 - 1e-7)
            return Heads(volume.float() * 40 - 20, torch.logit(maps))

    scores = validate(Oracle(), held_out, nme_faces=3)  # type: ignore[arg-type]
    assert scores["iou"] == 1
    assert scores["landmark_error"] == pytest.approx(0, abs=1e-3)
    assert scores["nme"] < 0.09  # what 32 pixels cost
    assert "nme" not in validate(Oracle(), [], nme_faces=3)  # type: ignore[arg-type]


def test_pieces_of_a_batch_have_the_gradient_of_the_whole(tmp_path: Path) -> None:
    # one step from the same weights: with batch normalisation off, cutting the batch changes nothing
    results = []
    for pieces in (1, 2):
        torch.manual_seed(0)
        params = TrainParams.of("smoke", **{**QUIET, "max_faces": 4, "accumulate": pieces})
        model = networks.build(params.architecture)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0
                module.forward = lambda x: x * 0.5  # type: ignore[method-assign]
        data = Balls(32, 34, 0)
        train(params, tmp_path / str(pieces), model=model, dataset=data, validation=data, say=lambda _: None)
        results.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys() and len(results[0]) > 50
    scale = max(g.abs().max() for g in results[0].values())
    for name, whole in results[0].items():
        assert torch.allclose(results[1][name], whole, atol=1e-4 * scale), name


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VrnError, match="batch of 4 cannot be cut into 3 equal pieces"):
        run(tmp_path, accumulate=3)
    assert TrainParams.of("smoke", max_faces=1, batch_size=24, accumulate=3).share(4) == 6


def start(out: Path, faces: int, kind: str = "vrn") -> subprocess.Popen[str]:
    """This file as a program: a run that checkpoints at every step, in a process that can be killed."""
    command = [sys.executable, __file__, str(out), str(faces), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (out / "checkpoint.json").exists():
            reached = json.loads((out / "checkpoint.json").read_text())["state"]["step"]
            if reached >= step:
                return int(reached)
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.01)
    raise AssertionError("the run did not get going")


@pytest.mark.parametrize("kind", ["vrn", "guided"])
def test_a_killed_run_goes_on_to_bit_identical_weights(tmp_path: Path, kind: str) -> None:
    run(tmp_path / "whole", max_faces=120, kind=kind)
    out = tmp_path / "killed"
    process = start(out, 120, kind)
    reached = wait_for_step(out, 4, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert reached < 30
    run(out, max_faces=120, kind=kind)
    assert same(tmp_path / "whole", out)
    steps = [row["step"] for row in read_log(out / "log.jsonl") if row["event"] == "train"]
    assert steps == sorted(set(steps))
    assert len(list((out / "checkpoint").iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_politely(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, 100_000)
    wait_for_step(tmp_path, 3, process)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert "the same command goes on from there" in text
    assert "Traceback" not in text
    assert read_log(tmp_path / "log.jsonl")[-1]["event"] == "stop"
    assert not (tmp_path / "metrics.json").exists()
    weights(tmp_path)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, max_faces=8)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert run(tmp_path, max_faces=8) == first
    assert run(tmp_path, max_faces=8, learning_rate=1.0) == first  # there is nothing left to learn with it
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_folder_that_cannot_be_one_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(VrnError, match="file"):
            run(out, max_faces=8)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_keeps_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, max_faces=8)
    good = weights(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "to_bytes", full)
    with pytest.raises(VrnError, match=r"No space left on device\): make room"):
        run(tmp_path, max_faces=40)
    assert all(torch.equal(value, good[name]) for name, value in weights(tmp_path).items())


def test_what_changes_in_a_run_is_said(tmp_path: Path) -> None:
    run(tmp_path, max_faces=8)
    params, said = TrainParams.of("smoke", **QUIET, max_faces=12, learning_rate=3e-4), []
    data = Balls(params.size, params.depth, 0)
    train(params, tmp_path, dataset=data, validation=data, say=said.append)
    assert "learning_rate is 0.0003 from here on, it was 0.0001" in said


def test_data_shown_names_each_data_once() -> None:
    rows = [("a", 100), ("a", 200), ("b", 300), ("b", 450)]
    log = [{"event": "train", "data": data, "faces": faces} for data, faces in rows]
    assert checkpoint.data_shown([{"event": "phase"}, *log]) == "a for 200 faces, then b"
    assert checkpoint.data_shown(log[2:]) == "b"
    assert checkpoint.data_shown([]) == "nothing"


@pytest.mark.parametrize("more", [{}, {"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "interactive"}])
def test_an_allocation_without_srun_is_said_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name, value in {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", **more}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VrnError, match=r"4 tasks .* srun"):
        make_fabric("32-true")


@pytest.mark.parametrize("changes", [{"features": 8}, {"wiring": "skip"}, {"depth": 32}, {"seed": 5}])
def test_another_network_or_seed_is_another_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(tmp_path, max_faces=8)
    before = (tmp_path / "checkpoint.json").read_text()
    with pytest.raises(VrnError, match=r"choose another folder"):
        run(tmp_path, max_faces=16, **changes)
    assert (tmp_path / "checkpoint.json").read_text() == before


def test_a_new_run_refuses_a_used_folder(tmp_path: Path) -> None:
    run(tmp_path, max_faces=8)
    with pytest.raises(VrnError, match="already holds a run"):
        train(TrainParams.of("smoke", max_faces=8), tmp_path, resume=False, dataset=[], validation=[])


def test_a_loss_that_is_not_a_number_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, max_faces=8)
    good = weights(tmp_path)
    params = TrainParams.of("smoke", max_faces=40, **QUIET)
    model, data = VRN.of_profile(PROFILES["smoke"]), Balls(params.size, params.depth, 0)
    with torch.no_grad():
        model.head[1].bias.fill_(float("nan"))
    with pytest.raises(VrnError, match=r"became nan at step 1; nothing was saved yet.*lower learning rate"):
        train(params, tmp_path / "other", model=model, dataset=data, validation=data, say=lambda line: None)
    with pytest.raises(VrnError, match=r"became (nan|inf)|not written"):
        run(tmp_path, max_faces=400, learning_rate=1e30)
    assert all(torch.equal(value, good[name]) for name, value in weights(tmp_path).items())


@pytest.mark.parametrize("file", ["checkpoint.json", "model", "optimiser"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, file: str) -> None:
    run(tmp_path, max_faces=8)
    path = tmp_path / file if "." in file else next((tmp_path / "checkpoint").glob(f"{file}*"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VrnError, match=path.name):
        run(tmp_path, max_faces=16)


def test_a_log_cut_short_by_a_crash_can_be_read(tmp_path: Path) -> None:
    run(tmp_path, max_faces=8)
    log = tmp_path / "log.jsonl"
    rows = read_log(log)
    log.write_text(log.read_text() + '{"event": "train", "st')
    assert read_log(log) == rows


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--out", str(tmp_path), "--max-faces", "0"]) == 2
    assert "error: training parameters: max_faces = 0" in capsys.readouterr().err
    assert main(["--profile", "smok", "--out", str(tmp_path)]) == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err


if __name__ == "__main__":
    train(
        TrainParams.of(
            "smoke", **QUIET, max_faces=int(sys.argv[2]), checkpoint_minutes=1e-6, kind=sys.argv[3]
        ),
        sys.argv[1],
        dataset=Balls(32, 34, 0),
        validation=Balls(32, 34, 99),
        say=lambda line: print(line, flush=True),
    )
