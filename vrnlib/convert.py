"""Turn the authors' released network, a Torch7 file, into a checkpoint of ours.

``vrn convert vrn-unguided.t7 --out vrn.safetensors``, then ``vrn reconstruct --network vrn.safetensors``.

The stored network and our `VRN` of the same architecture are both written as lists of steps
(`vrnlib.torch7_network`) and walked together: each layer must meet one of its kind and shape. Weights are
never assigned by their order: every block of an hourglass has the same shape, so that the other wiring would
accept them all and be silently wrong (`vrnlib.networks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vrnlib import __version__, networks, torch7
from vrnlib.errors import VrnError
from vrnlib.networks import VRN, Architecture, Hourglass, Residual
from vrnlib.torch7 import T7File
from vrnlib.torch7_network import Layer, Step, Stored, Sum, architecture, describe, integral, mismatch, say

CONVERTER = 1
"""Version of this conversion, written into the checkpoints."""


@dataclass(frozen=True, eq=False)
class Conversion:
    """A converted network: `model` in evaluation mode, what its checkpoint says, and a report for people."""

    model: VRN
    meta: dict[str, Any]
    summary: str


def convert(path: str | Path, out: str | Path) -> Path:
    """Write the network of a Torch7 file as a checkpoint.

    Parameters
    ----------
    path : the authors' ``vrn-unguided.t7``, or another VRN saved by Torch7.
    out : the ``.safetensors`` file to write.

    Raises
    ------
    VrnError : as `read`, and if `out` is not a name for a checkpoint or cannot be written.
    """
    return write(path, out)[0]


def write(path: str | Path, out: str | Path | None) -> tuple[Path, Conversion]:
    """As `convert`, and returns what was read too; without `out` the checkpoint goes beside the file."""
    if out is not None:
        _check_target(path, Path(out))
    conversion = read(path)
    target = Path(out) if out is not None else Path(path).with_suffix(".safetensors")
    _check_target(path, target)
    return networks.save(conversion.model, target, conversion.meta), conversion


def _check_target(path: str | Path, out: Path) -> None:
    if out.suffix != ".safetensors" or out.is_dir():
        raise VrnError(f"'{out}' cannot be the checkpoint: give a file name that ends in .safetensors")
    if out.resolve() == Path(path).resolve():
        raise VrnError(f"'{out}' would overwrite the network that is read: choose another name")


def read(path: str | Path) -> Conversion:
    """Read a VRN from a Torch7 file.

    Understood are the classes of nn and cudnn, tensors of any float type on CPU or GPU, 2-D weights of
    SpatialConvolutionMM, and old batch normalisations with ``running_std`` = 1/sqrt(variance + eps). The
    sigmoid at the end must be there and is left out: our networks answer with logits.

    Raises
    ------
    VrnError : `torch7.load` refuses the file, or it is not a VRN: the message says at which module, what was
        expected and what was found. "module 8.2.1" is ``model:get(8):get(2):get(1)`` in Torch7. Or the file
        is too small for the weights of its layers.
    """
    file = torch7.load(path)
    stored = Stored(file)
    with torch.device("meta"):  # shapes only: every weight comes from the file
        model = VRN(**architecture(stored))
    _check_size(file, model)
    state: dict[str, Tensor] = {
        name: torch.zeros((), dtype=torch.long)
        for name in model.state_dict()
        if name.endswith("num_batches_tracked")
    }
    _match(_ours(model), stored.steps, stored, state)
    model.load_state_dict(state, assign=True)
    return Conversion(model.eval(), _meta(file, model, stored), _summary(file, model, stored))


def _check_size(file: T7File, model: VRN) -> None:
    """A small file may use one module very often, and each use would be a copy of its weights."""
    # biases and affine parts may be missing; two bytes, a Half, are the smallest real number
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    if 2 * weights > file.size:
        raise VrnError(
            f"{file.path} is not a VRN: its convolutions have {weights} weights, more than its {file.size} "
            "bytes can hold: fetch it again, or save the network without layers that share weights"
        )


# ---- our network as steps, and both walked together
# -----------------------------------------------------------------------------------------------------------


def _ours(model: VRN) -> list[Step]:
    """Our network as steps; the place of a layer is its name in the state dict."""
    steps = _module(model.stem, "stem")
    for i, stack in enumerate(model.stacks):
        steps.append(Sum(f"stacks.{i}", [[], _module(stack, f"stacks.{i}")]))
    steps += _module(model.head, "head")
    return [*steps, Layer("bilinear enlargement", "the enlargement", None), Layer("sigmoid", "the end", None)]


def _module(module: nn.Module, name: str) -> list[Step]:
    if isinstance(module, nn.Sequential):
        return [step for key, child in module.named_children() for step in _module(child, f"{name}.{key}")]
    if isinstance(module, Residual):
        branches = {"bottleneck": module.bottleneck, "skip": module.skip}
        return [Sum(name, [_module(branch, f"{name}.{key}") for key, branch in branches.items()])]
    if isinstance(module, Hourglass):
        branches = {"up": module.up, "low": module.low}
        return [Sum(name, [_module(branch, f"{name}.{key}") for key, branch in branches.items()])]
    if isinstance(module, nn.Identity):
        return []
    kinds = {nn.Conv2d: "convolution", nn.BatchNorm2d: "batch normalisation", nn.ReLU: "ReLU",
             nn.MaxPool2d: "max-pooling", nn.Upsample: "nearest enlargement"}  # fmt: skip
    return [Layer(kinds[type(module)], name, module)]


def _match(ours: Sequence[Step], theirs: Sequence[Step], stored: Stored, state: dict[str, Tensor]) -> None:
    """Walk two lists of steps together and collect our state dict from theirs."""
    for i, (own, step) in enumerate(zip_longest(ours, theirs)):
        if own is None or step is None or own.kind != step.kind:
            expected = "the end of the branch" if own is None else f"{say(own)} (our {own.place})"
            mismatch(stored, theirs, i, expected)
        if isinstance(own, Sum):
            _match_branches(own, step, stored, state)
        elif own.kind in _TAKE:
            _TAKE[own.kind](own, step, stored, state)


def _match_branches(own: Sum, step: Sum, stored: Stored, state: dict[str, Tensor]) -> None:
    """A sum has no order: branches belong together that begin with the same kind of layer."""
    by_start = {_start(b): b for b in step.branches}
    expected = [_start(b) for b in own.branches]
    if len(step.branches) != len(expected) or set(expected) != by_start.keys():
        wanted, found = (", ".join(sorted(names)) for names in (expected, map(_start, step.branches)))
        stored.fail(step.place, f"branches that begin with {wanted} (our {own.place})", f"{found}")
    for branch in own.branches:
        _match(branch, by_start[_start(branch)], stored, state)


def _start(branch: Sequence[Step]) -> str:
    return branch[0].kind if branch else "nothing (the identity)"


def _check(own: Layer, step: Layer, stored: Stored, missing: dict[str, int], **expected: int) -> None:
    """The numbers of a layer must be ours; `missing` says what a field that is not there means."""
    for name, value in expected.items():
        found = step.module.get(name, missing.get(name))
        if integral(found) != value or isinstance(found, bool):
            wanted = f"{own.kind} with {name} = {value} (our {own.place})"
            stored.fail(step.place, wanted, f"{name} = {describe(found)}")


def _take_convolution(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    conv: nn.Conv2d = own.module
    (kh, kw), (dh, dw), (ph, pw) = conv.kernel_size, conv.stride, conv.padding
    padding = step.module.get("padding", 0)  # one number for both sides, in old files
    missing = {
        "dW": 1,
        "dH": 1,
        "padW": padding,
        "padH": padding,
        "groups": 1,
        "dilationW": 1,
        "dilationH": 1,
    }
    planes = {"nInputPlane": conv.in_channels, "nOutputPlane": conv.out_channels}
    _check(own, step, stored, missing, **planes, kW=kw, kH=kh, dW=dw, dH=dh, padW=pw, padH=ph, groups=1,
           dilationW=1, dilationH=1)  # fmt: skip
    shape = tuple(conv.weight.shape)
    flat = (shape[0], shape[1] * kh * kw)  # SpatialConvolutionMM
    state[f"{own.place}.weight"] = _tensor(own, step, stored, "weight", shape, flat).reshape(shape)
    if step.module.get("bias") is None:
        state[f"{own.place}.bias"] = torch.zeros(shape[0])
    else:
        state[f"{own.place}.bias"] = _tensor(own, step, stored, "bias", shape[:1])


def _take_normalisation(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    norm: nn.BatchNorm2d = own.module
    shape, module = (norm.num_features,), step.module
    eps = module.get("eps", 1e-5)
    if not isinstance(eps, float) or not 0 <= eps < 1:
        stored.fail(step.place, "'eps' between 0 and 1", describe(eps))
    for name, constant in (("weight", 1.0), ("bias", 0.0)):  # missing without affine = true
        missing = module.get(name) is None
        value = torch.full(shape, constant) if missing else _tensor(own, step, stored, name, shape)
        state[f"{own.place}.{name}"] = value
    state[f"{own.place}.running_mean"] = _tensor(own, step, stored, "running_mean", shape)
    if module.get("running_var") is None and module.get("running_std") is not None:
        std = _tensor(own, step, stored, "running_std", shape).double()
        if not (std > 0).all():
            stored.fail(step.place, "a 'running_std' above 0", f"{std.min():g}")
        variance = std**-2 - norm.eps
    else:  # our layer adds its own eps: what differs goes into the variance
        variance = _tensor(own, step, stored, "running_var", shape).double() + (eps - norm.eps)
    if not (variance > -norm.eps).all() or not variance.float().isfinite().all():
        stored.fail(step.place, "variances of 0 or more", f"{variance.min():g} to {variance.max():g}")
    state[f"{own.place}.running_var"] = variance.float()


def _take_pooling(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    # whatever ceil_mode says: the sides are even
    _check(
        own, step, stored, {"dW": 2, "dH": 2, "padW": 0, "padH": 0}, kW=2, kH=2, dW=2, dH=2, padW=0, padH=0
    )


def _take_nearest(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    _check(own, step, stored, {}, scale_factor=2)


def _take_bilinear(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    _check(own, step, stored, {}, scale_factor=4)


def _take_relu(own: Layer, step: Layer, stored: Stored, state: dict[str, Tensor]) -> None:
    _check(own, step, stored, {"threshold": 0, "val": 0}, threshold=0, val=0)


_TAKE = {
    "convolution": _take_convolution,
    "batch normalisation": _take_normalisation,
    "max-pooling": _take_pooling,
    "nearest enlargement": _take_nearest,
    "bilinear enlargement": _take_bilinear,
    "ReLU": _take_relu,
}


def _tensor(own: Layer, step: Layer, stored: Stored, name: str, *shapes: tuple[int, ...]) -> Tensor:
    """A field as float32 tensor of one of `shapes`, all values finite."""
    value = step.module.get(name)
    expected = f"'{name}' of shape {' or '.join(map(str, shapes))} (our {own.place})"
    if not isinstance(value, torch7.Tensor):
        stored.fail(step.place, expected, describe(value))
    if value.shape not in shapes:
        stored.fail(step.place, expected, f"shape {value.shape}")
    try:
        array = value.array()
    except VrnError as error:
        stored.fail(step.place, expected, str(error))
    if array.dtype.kind != "f":
        stored.fail(step.place, f"{expected} of real numbers", value.class_name)
    with np.errstate(over="ignore"):  # infinite is refused below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        stored.fail(step.place, f"{expected} of finite numbers", "NaN, or numbers beyond float32")
    return torch.from_numpy(array)


# ---- what is said about it
# -----------------------------------------------------------------------------------------------------------


def _training(stored: Stored) -> tuple[int, int]:
    """Batch normalisations that were saved in training mode, and all of them."""
    flags = [m.get("train") for _, m in stored.modules if m.class_name.endswith("BatchNormalization")]
    return sum(flag is True for flag in flags), len(flags)


def _meta(file: T7File, model: VRN, stored: Stored) -> dict[str, Any]:
    training, of = _training(stored)
    meta: dict[str, Any] = {
        "source": {"file": file.path.name, "sha256": file.sha256, "bytes": file.size},
        "converter": {"version": CONVERTER, "vrnlib": __version__},
        "stored_in_training_mode": f"{training} of {of} batch normalisations",
    }
    if model.architecture == Architecture():
        meta = {"profile": "paper", "size": 192, **meta}
    return meta


def _summary(file: T7File, model: VRN, stored: Stored) -> str:
    a = model.architecture
    classes = Counter(ascii(m.class_name)[1:-1] for _, m in stored.modules)
    weights = [w for _, m in stored.modules if isinstance(w := m.get("weight"), torch7.Tensor)]
    training, of = _training(stored)
    like = "the released VRN-unguided" if a == Architecture() else "a VRN, not of the released size"
    lines = [
        f"{file.path}: {file.size} bytes, sha256 {file.sha256}",
        f"{len(stored.modules)} modules: {', '.join(f'{n} {name}' for name, n in sorted(classes.items()))}",
        f"weights: {networks.parameter_count(model)} in {', '.join(sorted({w.class_name for w in weights}))}",
        f"{like}: {a.stacks} stacks of {a.levels} levels, {a.modules} residual modules a place, "
        f"{a.features} features, {a.depth} slices, wiring '{a.wiring}'",
        f"batch normalisation: {training} of {of} saved in training mode",
    ]  # fmt: skip
    if training:
        lines.append(
            "  there Torch7 uses the statistics of the image itself; vrnlib always uses the stored ones"
        )
    if file.long_bytes == 4:
        lines.append("written on a machine with 4-byte longs (Windows)")
    if file.unread:
        lines.append(f"{file.unread} bytes after the network were not read")
    return "\n".join(lines)
