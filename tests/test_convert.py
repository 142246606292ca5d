"""The conversion of Torch7 networks: the same function, whatever the layout; and refusals that say where."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer
from t7_writer import Layout, Obj, Store, View, dump, random_vrn
from torch import Tensor
from typer.testing import CliRunner

from vrnlib import convert, networks, torch7
from vrnlib.commands.convert import convert as command
from vrnlib.errors import VrnError
from vrnlib.networks import VRN
from vrnlib.reconstruct import Network
from vrnlib.torch7 import TorchObject

SMALL = {"features": 8, "modules": 1, "stacks": 2, "levels": 2, "depth": 6}


def evaluate(module: TorchObject, x: Any) -> Any:
    """The stored tree, executed as Torch7 does it in evaluation mode: the truth to compare with."""

    def values(name: str) -> Tensor:
        return torch.from_numpy(module.get(name).array()).float()

    name = module.class_name.split(".")[1]
    if name == "Sequential":
        for child in module.get("modules").sequence():
            x = evaluate(child, x)
        return x
    if name == "ConcatTable":
        return [evaluate(child, x) for child in module.get("modules").sequence()]
    if name == "CAddTable":
        return torch.stack(x).sum(0)
    if name == "Identity":
        return x
    if name == "ReLU":
        return x.clamp(min=0)
    if name == "Sigmoid":
        return 1 / (1 + (-x).exp())
    if name in ("SpatialConvolution", "SpatialConvolutionMM"):
        numbers = ("nOutputPlane", "nInputPlane", "kH", "kW")
        weight = values("weight").reshape([int(module.get(n)) for n in numbers])
        stride, padding = (
            tuple(int(module.get(f"{p}{s}", module.get("padding"))) for s in "HW") for p in ("d", "pad")
        )
        return F.conv2d(x, weight, values("bias") if module.get("bias") else None, stride, padding)
    if name == "SpatialBatchNormalization":
        eps = module.get("eps")
        inverse = (
            values("running_std") if module.get("running_std") else (values("running_var") + eps) ** -0.5
        )
        y = (x - values("running_mean")[:, None, None]) * inverse[:, None, None]
        if module.get("weight") is None:
            return y
        return y * values("weight")[:, None, None] + values("bias")[:, None, None]
    if name == "SpatialMaxPooling":
        return torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
    factor = int(module.get("scale_factor"))
    if name == "SpatialUpSamplingNearest":
        return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    assert name == "SpatialUpSamplingBilinear"
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Write a tree as a file."""

    def write(tree: Any, name: str = "network.t7", **options: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(dump(tree, **options))
        return path

    return write


def same_function(path: Path, tolerance: float = 1e-5) -> networks.VRN:
    """The converted network, after comparing it with the stored tree."""
    model = convert.read(path).model
    channels = model.architecture.in_channels
    x = torch.rand(1, channels, 2 * model.multiple, model.multiple, generator=torch.manual_seed(1))
    with torch.no_grad():
        (expected,) = evaluate(torch7.load(path).root, x)  # a list of one
        got = model.probabilities(x)
    assert expected.std() > 0.01
    assert got.shape == expected.shape and torch.allclose(got, expected, atol=tolerance)
    return model


@pytest.mark.parametrize("wiring", ["skip", "low"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modules": 3, "levels": 1, "stacks": 1},
        {"modules": 2, "levels": 3},
        {"stem": 6, "in_channels": 5},
    ],
)
def test_every_architecture_is_recognised(stored, wiring, changes):
    arguments = {**SMALL, "wiring": wiring, **changes}
    if arguments["levels"] == 1:
        arguments["wiring"] = "skip"  # the same network
    ours = random_vrn(**arguments)
    model = same_function(stored(Layout().network(ours)))
    assert model.architecture == ours.architecture and not model.training
    got = model.state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(got[name], value), name


def test_the_wirings_differ():
    """Else the tests above could not tell one from the other."""
    low, skip = (VRN(**{**SMALL, "levels": 3, "wiring": w}) for w in ("low", "skip"))
    assert networks.parameter_count(low) != networks.parameter_count(skip)


@pytest.mark.parametrize(
    "options", [{"cuda": True}, {"long": 4}, {"cuda": True, "long": 4}], ids=["cuda", "windows", "both"]
)
def test_cudnn_classes_and_files_of_other_machines(stored, options):
    path = stored(Layout("cudnn").network(random_vrn(**SMALL)), **options)
    same_function(path)
    assert ("4-byte longs" in convert.read(path).summary) == ("long" in options)


def reordered(tree: Any) -> Any:
    """Branches of every sum the other way round, and Sequentials wrapped in one more: the same function."""
    if isinstance(tree, Obj) and isinstance(tree.fields, dict) and "modules" in tree.fields:
        children = [reordered(child) for child in tree.fields["modules"]]
        if tree.name == "nn.ConcatTable":
            children.reverse()
        wrapped = Obj("nn.Sequential", {"modules": [Obj("nn.Identity"), *children]})
        tree.fields["modules"] = children if tree.name == "nn.ConcatTable" else [wrapped]
    return tree


@pytest.mark.parametrize("wiring", ["skip", "low"])
def test_structure_counts_and_not_order(stored, wiring):
    ours = random_vrn(**{**SMALL, "wiring": wiring, "levels": 3})
    model = same_function(stored(reordered(Layout().network(ours))))
    assert torch.equal(model.state_dict()["stacks.1.0.up.0.bottleneck.2.weight"],
                       ours.state_dict()["stacks.1.0.up.0.bottleneck.2.weight"])  # fmt: skip


def old_fields(name: str, fields: dict[str, Any]) -> None:
    """As files before 2016 have them."""
    if name == "SpatialBatchNormalization":
        fields["running_std"] = (fields.pop("running_var") + fields["eps"]) ** -0.5
    elif name == "SpatialConvolution":
        fields["weight"] = fields["weight"].reshape(len(fields["weight"]), -1)
        if fields["padW"] == fields["padH"]:
            fields["padding"] = fields.pop("padW")
            del fields["padH"]


def odd_values(name: str, fields: dict[str, Any]) -> None:
    """Another eps, no bias, no affine part, double and half precision, weights as strided views."""
    if name == "SpatialBatchNormalization":
        fields["eps"] = 1e-3
        fields["running_mean"] = fields["running_mean"].astype(np.float64)
        if fields["weight"].size == 4:
            fields["weight"] = fields["bias"] = None
            fields["affine"] = False
    elif name == "SpatialConvolution":
        if fields["kW"] == 3:
            fields["bias"] = None
        w = fields["weight"].astype(np.float16)
        # strided: the last side first in memory, after three values of something else
        store = Store(np.concatenate([np.zeros(3, np.float16), w.transpose(3, 2, 1, 0).reshape(-1)]))
        strides = [int(np.prod(w.shape[:i], dtype=int)) for i in range(4)]
        fields["weight"] = View(store, w.shape, tuple(strides), 4)


@pytest.mark.parametrize("change", [old_fields, odd_values])
def test_other_forms_of_the_same_layers(stored, change):
    same_function(stored(Layout(change=change).network(random_vrn(**SMALL))))


def test_the_class_of_old_convolutions(stored):
    tree = Layout(change=old_fields).network(random_vrn(**SMALL))
    assert tree.fields["modules"][0].name == "nn.SpatialConvolution"
    tree.fields["modules"][0].name = "nn.SpatialConvolutionMM"
    same_function(stored(tree))


@pytest.mark.parametrize("train", [True, False])
def test_the_mode_it_was_saved_in_is_reported(stored, train):
    done = convert.read(stored(Layout(train=train).network(random_vrn(**SMALL))))
    n = sum(isinstance(m, torch.nn.BatchNorm2d) for m in done.model.modules())
    assert done.meta["stored_in_training_mode"] == f"{n if train else 0} of {n} batch normalisations"
    assert ("statistics of the image itself" in done.summary) == train
    assert not done.model.training


def test_the_released_network(stored, tmp_path):
    """Full size: 19.2 million weights, the layers of the public file in number, our checkpoint at the end."""
    ours = random_vrn()
    path = stored(Layout("cudnn").network(ours), "vrn-unguided.t7", cuda=True)
    done = convert.read(path)
    assert done.model.architecture == networks.Architecture()
    counts = ("276 cudnn.SpatialConvolution", "273 cudnn.SpatialBatchNormalization", "100 nn.ConcatTable",
              "99 nn.CAddTable", "89 nn.Identity", "9 cudnn.SpatialMaxPooling", "19184968 in")  # fmt: skip
    for count in counts:
        assert count in done.summary
    got = done.model.state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(got[name], value), name
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        (expected,) = evaluate(torch7.load(path).root, x)
        assert torch.allclose(done.model.probabilities(x), expected, atol=1e-4)
    assert (done.meta["profile"], done.meta["size"]) == ("paper", 192)


def test_the_checkpoint_can_be_used(stored, tmp_path):
    ours = random_vrn(**SMALL)
    path = stored(Layout().network(ours))
    out = convert.convert(path, tmp_path / "vrn.safetensors")
    model, meta = networks.load(out)
    assert meta["source"] == {
        "file": "network.t7",
        "sha256": torch7.load(path).sha256,
        "bytes": path.stat().st_size,
    }
    assert meta["converter"]["version"] == convert.CONVERTER
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(x), ours(x), atol=1e-5)
    window = np.zeros((32, 32, 3), np.uint8)
    assert Network(model, 32, meta).predict(window).shape == (6, 32, 32)


def test_the_command(stored, tmp_path):
    app = typer.Typer()
    app.command()(command)
    path = stored(Layout().network(random_vrn(**SMALL)))
    done = CliRunner().invoke(app, [str(path), "--out", str(tmp_path / "a.safetensors")])
    assert done.exit_code == 0 and "wiring 'skip'" in done.output and "a.safetensors" in done.output
    assert CliRunner().invoke(app, [str(path)]).exit_code == 0
    assert networks.load(tmp_path / "network.safetensors")[0].architecture.features == 8


def test_targets_that_cannot_be(stored, tmp_path):
    path = stored(Layout().network(random_vrn(**SMALL)), "network.safetensors")
    content = path.read_bytes()
    for out, message in ((tmp_path / "vrn.pth", "ends in .safetensors"), (path, "would overwrite")):
        with pytest.raises(VrnError, match=message):
            convert.convert(path, out)
    with pytest.raises(VrnError, match="would overwrite"):
        command(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]


# ---- refusals
# -----------------------------------------------------------------------------------------------------------


def small_tree(change: Any = None) -> Obj:
    return Layout(change=change).network(random_vrn(**SMALL, wiring="skip"))


def at(tree: Obj, place: str) -> Obj:
    """The module of a place such as "8.2.1"."""
    for i in place.split("."):
        tree = tree.fields["modules"][int(i) - 1]
    return tree


def field(place: str, **values: Any) -> Callable[[Obj], None]:
    """Change fields of one module."""

    def change(tree: Obj) -> None:
        at(tree, place).fields.update(values)

    return change


def layer(place: str, name: str) -> Callable[[Obj], None]:
    """Change the class of one module."""

    def change(tree: Obj) -> None:
        at(tree, place).name = name

    return change


def without(place: str) -> Callable[[Obj], None]:
    """Remove one module."""

    def change(tree: Obj) -> None:
        parent, _, i = place.rpartition(".")
        del (at(tree, parent) if parent else tree).fields["modules"][int(i) - 1]

    return change


def bad(value: float, shape: tuple[int, ...] = (8,)) -> np.ndarray:
    return np.full(shape, value, np.float32)


# The first stack is module 8. Of its branch 8.2, 8.2.1 and 8.2.2 are the hourglass, 8.2.4 the first CBR.
REFUSED = [
    (field("1", kW=5), "module 1, expected convolution with kW = 7 .our stem.0., found kW = 5"),
    (field("1", dW=1), "module 1, expected convolution with dW = 2"),
    (field("1", padH=0), "module 1, expected convolution with padH = 3 .*, found padH = 0"),
    (field("1", groups=2), "module 1, expected convolution with groups = 1"),
    (field("1", dilationW=2), "dilationW = 1 .*, found dilationW = 2"),
    (field("1", nInputPlane=4), "'weight' of shape .2, 4, 7, 7. or .2, 196. .our stem.0., found shape .2, 3"),
    (field("1", nInputPlane=float("nan")), "module 1, expected 'nInputPlane', a number of .*, found nan"),
    (field("1", nOutputPlane=1e300), "module 1, expected 'nOutputPlane'"),
    (field("1", weight="w"), "module 1, expected 'weight' .*, found 'w'"),
    (field("1", weight=None), "module 1, expected 'weight' .*, found nothing"),
    (field("1", weight=bad(1, (2, 3, 49))), "found shape .2, 3, 49."),
    (field("1", weight=bad(np.nan, (2, 3, 7, 7))), "module 1, expected 'weight' .* finite .*, found NaN"),
    (field("1", weight=np.full((2, 3, 7, 7), 1e300)), "beyond float32"),
    (field("1", weight=np.ones((2, 3, 7, 7), np.int64)), "of real numbers, found torch.LongTensor"),
    (field("1", weight=View(Store(bad(1, (1,))), (2, 3, 7, 7), (0, 0, 0, 0))), "repeats the 1 values"),
    (field("2", running_var=bad(-1, (2,))), "module 2, expected variances of 0 or more, found -1"),
    (field("2", running_var=None, running_std=bad(0, (2,))), "module 2, expected a 'running_std' above 0"),
    (field("2", running_var=None, running_std=bad(1e-30, (2,))), "module 2, expected variances"),
    (field("2", running_var=None), "module 2, expected 'running_var' .*, found nothing"),
    (field("2", running_mean=bad(np.inf, (2,))), "module 2, .*finite numbers"),
    (field("2", eps="x"), "module 2, expected 'eps' between 0 and 1, found 'x'"),
    (field("3", threshold=0.1), "module 3, expected ReLU with threshold = 0"),
    (field("5", kW=3), "module 5, expected max-pooling with kW = 2"),
    (layer("3", "nn.PReLU"), "module 3, expected a module of nn or cudnn that .*, found nn.PReLU"),
    (layer("3", "evil.ReLU"), "module 3, .*, found evil.ReLU"),
    (layer("3", "nn.Sigmoid"), "module 3, expected a ReLU as step 3 of a VRN, found sigmoid"),
    (without("5"), "module 5.1, expected a max-pooling as step 5 of a VRN, found a sum of 2 branches"),
    (without("12"), "the end, after module 10, expected a convolution as step 10 of a VRN, found nothing"),
    (without("12.1.4"), "after module 12.1.3, expected sigmoid .our the end., found nothing"),
    (field("12.1.3", scale_factor=2), "module 12.1.3, expected bilinear enlargement with scale_factor = 4"),
    (layer("12.1.3", "nn.SpatialUpSamplingNearest"), "module 12.1.3, expected bilinear enlargement"),
    (without("8.2.5"), "after module 8.2.4.3, expected a convolution 8 -> 8, 1x1 .our stacks.0.3.0."),
    (without("8.2.2"), "module 8.2.1, expected a CAddTable after the ConcatTable, found a ConcatTable"),
    (without("9"), "module 8, expected a CAddTable after the ConcatTable, found a ConcatTable"),
    (without("8"), "module 8, expected a ConcatTable before the CAddTable, found a sum of 2 branches"),
    (without("8.1"), "module 10, expected the|module 8|a convolution|hourglass"),
    (layer("8.1", "nn.ReLU"), "module 8, expected the identity plus a branch that begins with an hourglass"),
    (without("8.2.1.2.4"), "after module 8.2.1.2.3.1, expected nearest enlargement .our stacks.0.0.low.3."),
    (without("8.2.1.2.2"), "module 8.2.1.2.3, expected a sum of 2 .*low.2., found nearest"),
    (without("8.2.1.2.1"), "module 8, expected the identity plus a branch that begins with an hourglass"),
    (without("10.2.1.1.1"), "module 10.2.1, expected residual modules in the branch that is not pooled"),
    (field("8.2.1.1", modules=7), "module 8.2.1.1, expected its table 'modules', found 7"),
    (field("8.2.1.1", modules=["x"]), "module 8.2.1.1.1, expected a module such as nn.Sequential, found 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_does_not_match_is_named_with_its_place(stored, change, message):
    tree = small_tree()
    change(tree)
    with pytest.raises(VrnError, match=message) as caught:
        convert.read(stored(tree))
    assert "network.t7 is not a VRN: at " in str(caught.value)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


def test_a_textbook_hourglass_in_the_other_order_is_not_taken_for_ours(stored):
    """A residual module moved from one branch to the other: all shapes fit, all counts are right."""
    tree = small_tree()
    up, low = (at(tree, f"8.2.1.{i}").fields["modules"] for i in (1, 2))
    low.insert(1, up.pop(0))
    with pytest.raises(VrnError, match="is not a VRN: at module"):
        convert.read(stored(tree))


@pytest.mark.parametrize(
    "root", [None, 3.0, "x", {"model": {}}, np.ones(3), Obj("nn.Sequential", {"modules": []})]
)
def test_other_things_than_networks(stored, root):
    with pytest.raises(VrnError, match="is not a VRN"):
        convert.read(stored(root))


def test_modules_within_themselves_and_very_often(stored):
    loop = Obj("nn.Sequential", {})
    loop.fields["modules"] = [loop]
    with pytest.raises(VrnError, match="does one hold itself"):
        convert.read(stored(loop))
    tree = Obj("nn.Sequential", {"modules": []})
    for _ in range(60):  # 2**60 modules, were they counted by their paths
        tree = Obj("nn.Sequential", {"modules": [tree, tree]})
    with pytest.raises(VrnError, match="at most 20000 modules, found more"):
        convert.read(stored(tree))


def test_a_small_file_that_uses_one_module_very_often_is_refused_before_weights_are_copied(
    stored, monkeypatch
):
    tree = Layout().network(random_vrn(32, 12, 1, 1, 6))
    up, low = (at(tree, f"8.2.1.{i}").fields["modules"] for i in (1, 2))
    up[:] = up[:1] * len(up)
    low[1:-1] = up[:1] * len(low[1:-1])  # all but the pooling and the enlargement
    monkeypatch.setattr(torch7.Tensor, "array", lambda _: pytest.fail("weights were copied"))
    with pytest.raises(VrnError, match=r"network.t7 is not a VRN: its convolutions have \d+ weights, more"):
        convert.read(stored(tree))


def test_an_outline_that_asks_for_a_giant_network_is_refused_before_it_is_built(stored):
    """Few modules in the file, but stacks times levels times modules of them in ours."""
    tree = small_tree()
    modules = tree.fields["modules"]
    relu, pool = modules[2], modules[4]

    def sums(*branches: list[Obj]) -> list[Obj]:
        parts = [Obj("nn.Sequential", {"modules": b}) for b in branches]
        return [Obj("nn.ConcatTable", {"modules": parts}), Obj("nn.CAddTable")]

    glass: list[Obj] = sums([relu], [pool])
    for _ in range(9):
        glass = sums([relu, *glass], [pool])
    modules[7:11] = sums([], sums([*[relu] * 80, *glass], [pool])) * 3
    with pytest.raises(
        VrnError, match="expected 3 x an hourglass of 11 levels with 80 .*, found .* of any kind"
    ):
        convert.read(stored(tree))


def test_damaged_files_are_converted_or_refused(stored, tmp_path):
    """Cut at 200 places, and 200 times a few bytes changed, mostly where no weights are."""
    content = dump(Layout().network(random_vrn(4, 1, 1, 1, 1)), cuda=True)
    path, rng = tmp_path / "damaged.t7", random.Random(0)
    for _ in range(200):
        path.write_bytes(content[: rng.randrange(len(content))])
        with pytest.raises(VrnError):
            convert.read(path)
    accepted = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 5, 50))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            convert.read(path)
            accepted += 1
        except VrnError as error:
            assert len(str(error)) < 1000
    assert accepted < 200
