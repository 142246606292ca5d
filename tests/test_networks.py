"""The network's shape, its parameters counted, its wiring probed, its files damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from vrnlib import networks
from vrnlib.errors import VrnError
from vrnlib.networks import VRN, Hourglass, Residual, parameter_count
from vrnlib.params import PROFILES


def small(**changes: object) -> VRN:
    torch.manual_seed(0)
    tiny = {"features": 8, "modules": 1, "stacks": 2, "levels": 2, "depth": 6, "wiring": "low"}
    return VRN(**{**tiny, **changes}).eval()  # type: ignore[arg-type]


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


@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_profiles_map_an_image_to_a_volume(name: str) -> None:
    p = PROFILES[name]
    model = VRN.of_profile(p).eval()
    with torch.no_grad():
        volume = model.probabilities(torch.rand(1, 3, p.size, p.size))
    assert volume.shape == (1, p.depth, p.size, p.size)
    assert 0 <= volume.min() < volume.max() <= 1


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


def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = small(in_channels=5, wiring="skip", stem=4)
    path = networks.save(model, tmp_path / "net.safetensors", {"profile": "x", "size": 32, "iou": 0.5})
    loaded, meta = networks.load(path)
    assert meta == {"profile": "x", "size": 32, "iou": 0.5}
    assert loaded.architecture == model.architecture
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
