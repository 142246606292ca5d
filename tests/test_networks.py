"""The network's shape, its parameters counted, its wiring probed, its files damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from vrnlib import networks, weights
from vrnlib.errors import VrnError
from vrnlib.landmarks import decode
from vrnlib.networks import (
    KINDS,
    VRN,
    Architecture,
    Guided,
    Hourglass,
    LandmarkNetwork,
    Multitask,
    Network,
    Residual,
    parameter_count,
)
from vrnlib.params import PROFILES

TINY = {"features": 8, "modules": 1, "stacks": 2, "levels": 2, "depth": 6, "wiring": "low"}


def small(kind: str = "vrn", **changes: object) -> Network:
    torch.manual_seed(0)
    return KINDS[kind](**{**TINY, **changes}).eval()


def count(**arguments: object) -> int:
    with torch.device("meta"):
        return parameter_count(VRN(**arguments))  # type: ignore[arg-type]


def test_the_default_is_the_released_network() -> None:
    assert count() == 19_184_968


@pytest.mark.parametrize(
    ("arguments", "millions"),
    [
        ({"modules": 4, "stacks": 2}, 24.98),
        ({"modules": 3, "stacks": 3}, 28.76),
        ({"modules": 2, "stacks": 4}, 26.96),
        ({"modules": 8, "stacks": 1}, 23.99),
        ({"features": 384, "modules": 8, "stacks": 1, "stem": 64}, 53.3),
        ({"features": 128, "modules": 8, "stacks": 1, "stem": 64}, 6.3),
        ({"features": 64, "modules": 8, "stacks": 1, "stem": 64}, 1.86),
    ],
)
def test_the_thesis_table_of_guided_networks_comes_out(arguments: dict[str, int], millions: float) -> None:
    assert count(in_channels=71, **arguments) / 1e6 == pytest.approx(millions, abs=0.05)


def test_blocks_of_an_hourglass_follow_the_formula() -> None:
    with torch.device("meta"):
        blocks = [m for m in Hourglass(256, 3, 4, "skip").modules() if isinstance(m, Residual)]
        paper = [m for m in Hourglass(256, 3, 4, "low").modules() if isinstance(m, Residual)]
    assert len(blocks) == 13 * 3 + 3  # and one after it: 13 M + 4 per stack
    assert len(paper) == 13 * 3
    assert {parameter_count(b) for b in blocks} == {214_528}


def test_layers_of_the_released_network_in_number() -> None:
    with torch.device("meta"):
        modules = list(VRN().modules())
    kinds = {kind: sum(isinstance(m, kind) for m in modules) for kind in
             (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU, torch.nn.MaxPool2d, torch.nn.Upsample,
             Residual)}  # fmt: skip
    assert list(kinds.values()) == [276, 273, 273, 9, 8, 89]
    assert sum(m.num_features for m in modules if isinstance(m, torch.nn.BatchNorm2d)) == 46_208


@pytest.mark.parametrize(("wiring", "sides"), [("low", {12, 6, 3}), ("skip", {12})])
def test_lowest_resolution_of_each_wiring(wiring: str, sides: set[int]) -> None:
    seen = set()
    hourglass = Hourglass(8, 1, 3, wiring)  # type: ignore[arg-type]
    for module in hourglass.modules():
        if isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_hook(lambda m, i, out: seen.add(out.shape[-1]))
    assert hourglass(torch.zeros(1, 8, 24, 24)).shape == (1, 8, 24, 24)
    assert seen == sides


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROFILES)
def test_shapes_of_every_network_at_every_profile(name: str, kind: str) -> None:
    p = PROFILES[name]
    with torch.device("meta"):  # shapes without computing
        model, image = KINDS[kind].of_profile(p), torch.rand(2, 3, p.size, p.size)
        volume, heatmaps = model.heads(image)
    cells = p.size // (2 if p.refine else 4)
    assert (volume is None) == (kind == "landmarks")
    assert (heatmaps is None) == (kind == "vrn")
    assert volume is None or volume.shape == (2, p.depth, cells, cells)
    assert heatmaps is None or heatmaps.shape == (2, 68, cells, cells)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_answer_with_probabilities(kind: str) -> None:
    model, x = small(kind), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        answer, heads = model.probabilities(x), model.heads(x)
    assert answer.shape == (2, 68 if kind == "landmarks" else 6, 32, 32)
    assert 0 <= answer.min() < answer.max() <= 1
    logits = networks.enlarge(heads.heatmaps if kind == "landmarks" else heads.volume, x.shape[2:])
    assert torch.allclose(torch.logit(answer), logits, atol=1e-4)


def test_parts_of_the_paper_networks_in_number() -> None:
    paper = PROFILES["paper"]
    with torch.device("meta"):
        multitask, guided = Multitask.of_profile(paper), Guided.of_profile(paper)
        single = VRN.of_profile(paper)
        stack = parameter_count(single.stacks[0])
    assert parameter_count(guided.volume) / 1e6 == pytest.approx(24.98, abs=0.005)
    assert guided.architecture.modules == 4
    assert (guided.volume.stem[0].in_channels, guided.volume.head[1].out_channels) == (71, 200)
    # the detector: three channels in place of 71, 68 maps in place of 200 slices
    difference = 68 * 64 * 49 + (200 - 68) * (256 + 1)
    assert parameter_count(guided.volume) - parameter_count(guided.landmarks) == difference
    # three hourglasses instead of two, and another head of 68 maps
    head = 256 * 257 + 2 * 256 + 68 * 257
    assert parameter_count(multitask) == parameter_count(single) + stack + head
    assert sum(isinstance(m, Hourglass) for m in multitask.modules()) == 3 * 4
    assert sum(isinstance(m, torch.nn.MaxPool2d) for m in guided.modules()) == 2 * 9


def test_both_tails_of_multitask_share_their_beginning() -> None:
    model, x = small("multitask").train(), torch.rand(2, 3, 32, 32)
    for head, own, other in ((0, model.volume, model.heatmaps), (1, model.heatmaps, model.volume)):
        model.zero_grad(set_to_none=True)
        model.heads(x)[head].sum().backward()
        assert all(p.grad is not None for p in (*model.stem.parameters(), *own.parameters()))
        assert all(p.grad is not None for p in model.shared.parameters())
        assert all(p.grad is None for p in other.parameters())


def test_guided_is_guided_by_given_landmarks_and_else_by_its_own() -> None:
    model, x = small("guided"), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found, confidence = model.landmarks.detect(x)
        own, maps = model.heads(x)
        assert torch.equal(model.heads(x, found).volume, own)
        other = model.heads(x, (found + 9) % 32)
        assert not torch.allclose(other.volume, own, atol=1e-4)
        assert torch.equal(other.heatmaps, maps)  # what it detects does not depend on what it is given
        assert torch.equal(networks.enlarge(own, x.shape[2:]), model(x))
    assert found.shape == (2, 68, 2) and confidence.shape == (2, 68)
    assert torch.equal(found, decode(maps, 32)[0])


def test_a_guided_volume_sees_image_and_landmarks_where_they_are() -> None:
    model = small("guided", wiring="skip", levels=1)
    seen = []
    model.volume.stem[0].register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    x, landmarks = torch.rand(1, 3, 32, 32), torch.full((1, 68, 2), 5.0)
    landmarks[0, 7] = torch.tensor([20.0, 11.0])  # x, y
    with torch.no_grad():
        model.heads(x, landmarks)
    (stack,) = seen
    assert stack.shape == (1, 71, 32, 32)
    assert torch.equal(stack[:, :3], x)
    assert divmod(int(stack[0, 3 + 7].argmax()), 32) == (11, 20)
    assert stack[0, 3 + 7].max() == 1
    assert stack[0, 3 + 7, 11, 21] == pytest.approx(0.6065, abs=1e-3)  # sigma is one pixel


def field(model: Network, size: int) -> int:
    """How many pixels of a row can change the cell in the middle: the receptive field, by gradient."""
    x = torch.rand(1, 3, size, size, requires_grad=True)
    cells = model.slices(x)
    cells[0, :, cells.shape[2] // 2, cells.shape[3] // 2].sum().backward()
    return int((x.grad.abs().sum((0, 1, 2)) > 0).sum())


def test_receptive_field_by_gradient() -> None:
    # a ReLU that is closed everywhere would hide a path: several draws, the widest counts
    def widest(**changes: object) -> int:
        tiny = {"features": 16, "modules": 1, "stacks": 1, "depth": 4}
        fields = []
        for seed in range(3):
            torch.manual_seed(seed)
            fields.append(field(VRN(**{**tiny, **changes}).eval(), 192))
        return max(fields)

    # by hand: a 3x3 on the 48x48 grid adds 8 pixels, on the 24x24 grid 16; the deepest path of "skip" pools
    # once a nesting, of "low" down to 3x3, whose cells each see the whole window
    one_up, one_low = widest(wiring="skip", levels=1), widest(wiring="low", levels=1)
    assert one_up == one_low  # the innermost hourglass is the same
    assert widest(wiring="low", levels=4) == 192
    assert one_low < widest(wiring="low", levels=2) < 192
    assert one_up < widest(wiring="skip", levels=4) < 192
    stem = 7 + 2 * 2 + 2 + 2 * (4 * 2)  # 7x7; 3x3 at step 2; pool; two 3x3 at step 4
    after = 8 + 8  # the module behind the hourglass, and a cell of the pool beside its own
    pooled = 3 * 2 * 8 - 4  # three modules on the pooled grid, up to the border of the pooled cell
    assert stem + pooled <= one_low <= stem + pooled + 2 * after


def test_enlarging_keeps_the_corners() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    y = networks.enlarge(x, torch.Size([4 * x.shape[2], 4 * x.shape[3]]))
    assert y.shape == (1, 1, 12, 12)
    assert torch.equal(y[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]], x[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]])
    assert torch.allclose(y[0, 0, 0], torch.linspace(0, 2, 12))  # not so with align_corners=False


def test_memory_order_does_not_change_the_result() -> None:
    model, x = small(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        plain = model(x)
        model = model.to(memory_format=torch.channels_last)
        assert torch.allclose(model(x.contiguous(memory_format=torch.channels_last)), plain, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 30, 32), (1, 4, 32, 32), (3, 32, 32)])
def test_an_image_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(VrnError, match="multiple of 16"):
        small()(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"features": 6}, {"modules": 0}, {"wiring": "both"}])
def test_an_impossible_network_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(VrnError, match="no such network"):
        small(**wrong)


# ---- files
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    model = small(kind, in_channels=5, wiring="skip", stem=4, refine=1, sigma=2.0)
    path = networks.save(model, tmp_path / "net.safetensors", {"profile": "x", "size": 32, "iou": 0.5})
    loaded, meta = networks.load(path)
    assert meta == {"profile": "x", "size": 32, "iou": 0.5}
    assert loaded.architecture == model.architecture
    assert type(loaded) is KINDS[kind]
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_half_precision_file_is_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    model = small(features=32)
    full = networks.save(model, tmp_path / "full.safetensors", {})
    half = networks.save(model, tmp_path / "half.safetensors", {}, half=True)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(networks.load(half)[0](x), model(x), atol=1e-2)
    assert all(p.dtype == torch.float32 for p in networks.load(half)[0].parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_bad_weights_are_not_written_and_the_former_file_stays(tmp_path: Path, bad: float) -> None:
    model = small()
    path = networks.save(model, tmp_path / "net.safetensors", {})
    before = path.read_bytes()
    with torch.no_grad():
        model.head[1].weight[0, 0] = bad
    with pytest.raises(VrnError, match=r"not written: 'head\.1\.weight'"):
        networks.save(model, path, {}, half=True)
    assert path.read_bytes() == before


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "text":
        path.write_text("<html>404 not found</html>")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "bit":
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 64]) + content[-4:])
    else:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
        tensors = load_file(path)
        architecture = json.loads(header["architecture"])
        if how == "foreign":
            header = {"format": "pt"}
        elif how == "other network":
            header["architecture"] = json.dumps({**architecture, "depth": 7})
        elif how == "unknown field":
            header["architecture"] = json.dumps({**architecture, "attention": True})
        elif how == "header":
            header["meta"] = "{"
        elif how == "missing":
            del tensors["head.1.bias"]
        elif how == "extra":
            tensors["head.2.bias"] = torch.zeros(1)
        save_file(tensors, path, metadata=header)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "cut short"),
        ("text", "not a readable"),
        ("empty", "not a readable"),
        ("bit", "checksum"),
        ("foreign", "not a network of vrnlib"),
        ("other network", r"should be \(7,"),
        ("unknown field", "attention"),
        ("header", "header is damaged"),
        ("missing", r"'head\.1\.bias'"),
        ("extra", r"'head\.2\.bias'"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, how: str, message: str) -> None:
    path = networks.save(small(), tmp_path / "net.safetensors", {})
    damaged(path, how)
    with pytest.raises(VrnError, match=message) as error:
        networks.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VrnError, match="no such checkpoint"):
        networks.load(tmp_path / "none.safetensors")


def test_refinement_starts_as_the_plain_network() -> None:
    plain, refined = small(), small(refine=2)
    refined.load_state_dict({**refined.state_dict(), **plain.state_dict()})
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        coarse, fine = plain.eval().slices(x), refined.eval().slices(x)
        assert fine.shape == (2, coarse.shape[1], 16, 16)
        assert torch.allclose(fine, networks.enlarge(coarse, fine.shape[2:]), atol=1e-5)
        refined.lateral.weight.normal_()
        assert not torch.allclose(refined.slices(x), fine, atol=1e-3)


def test_files_from_before_there_were_kinds_can_be_read(tmp_path: Path) -> None:
    path = networks.save(small(), tmp_path / "net.safetensors", {})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    old = json.loads(header["architecture"])
    for name in ("kind", "sigma", "refine"):
        del old[name]
    save_file(load_file(path), path, metadata={**header, "architecture": json.dumps(old)})
    assert networks.load(path)[0].architecture == Architecture(**TINY)


def test_a_run_may_start_from_other_weights(tmp_path: Path) -> None:
    path = networks.save(small(), tmp_path / "vrn.safetensors", {})
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        refined = weights.start_from(path, Architecture(**TINY, refine=1)).eval()
        coarse = small().slices(x)
        assert torch.allclose(refined.slices(x), networks.enlarge(coarse, (16, 16)), atol=1e-5)
    with pytest.raises(VrnError, match=r"vrn\.safetensors cannot be the start .*features=12"):
        weights.start_from(path, Architecture(**{**TINY, "features": 12}))


def test_a_landmark_network_becomes_the_detector_of_a_guided_one(tmp_path: Path) -> None:
    detector = small("landmarks")
    assert isinstance(detector, LandmarkNetwork)
    path = networks.save(detector, tmp_path / "landmarks.safetensors", {})
    torch.manual_seed(5)
    guided = weights.start_from(path, Architecture(**TINY, kind="guided"))
    for name, value in detector.state_dict().items():
        assert torch.equal(guided.landmarks.state_dict()[name], value), name
    with pytest.raises(VrnError, match="cannot be the start"):
        weights.start_from(path, Architecture(**TINY, kind="multitask"))
