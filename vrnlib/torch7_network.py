"""The network of a Torch7 file as a list of steps, and the architecture read off them.

A step is a layer, or a sum of branches that start from the same input: Torch7's ConcatTable followed by
CAddTable. Nested Sequentials are spliced in, and Identity is no step at all; so two trees of modules that
compute the same give the same steps. `vrnlib.convert` compares them with the steps of our own network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

from vrnlib import torch7
from vrnlib.errors import VrnError
from vrnlib.torch7 import T7File, Table, TorchObject

MAX_MODULES = 20_000
"""Modules of a file, each counted as often as it is used; the released network has 1,340."""
MAX_NESTING = 100
"""Levels of containers; the released network has about twenty."""

_KINDS = {
    "SpatialConvolution": "convolution", "SpatialConvolutionMM": "convolution",
    "SpatialBatchNormalization": "batch normalisation", "ReLU": "ReLU", "SpatialMaxPooling": "max-pooling",
    "SpatialUpSamplingNearest": "nearest enlargement", "SpatialUpSamplingBilinear": "bilinear enlargement",
    "Sigmoid": "sigmoid", "CAddTable": "CAddTable",
}  # fmt: skip
_STEM = ("convolution", "batch normalisation", "ReLU", "sum", "max-pooling", "sum", "sum")
_HEAD = ("convolution", "batch normalisation", "ReLU", "convolution")


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. `place` is its path in the tree it comes from, `module` the object there."""

    kind: str
    place: str
    module: Any


@dataclass(frozen=True, eq=False)
class Sum:
    """Branches that start from the same input and are added; an empty branch is the identity."""

    place: str
    branches: list[list[Layer | Sum]]
    kind: str = "sum"


Step = Layer | Sum


class Stored:
    """The module tree of a file.

    Attributes
    ----------
    path : Path
        Of the file.
    steps : list of Step
        What the network computes. A place is "module 8.2.1" for ``model:get(8):get(2):get(1)``.
    modules : list of (str, TorchObject)
        Every module with its place, in the order of the tree.

    Raises
    ------
    VrnError : the file holds something else than modules that a VRN is made of.
    """

    def __init__(self, file: T7File) -> None:
        self.path = file.path
        self.modules: list[tuple[str, TorchObject]] = []
        self.steps = self._paired(self._flat(file.root, (), 0), last=True)

    def fail(self, place: str, expected: str, found: str) -> NoReturn:
        """Refuse the network because of what is at `place`."""
        raise VrnError(f"{self.path} is not a VRN: at {place}, expected {expected}, found {found}")

    def _flat(self, module: Any, path: tuple[int, ...], nesting: int) -> list[Step]:
        """A module as steps, where a ConcatTable is not yet paired with its CAddTable."""
        place = f"module {'.'.join(map(str, path))}" if path else "the root"
        if not isinstance(module, TorchObject):
            self.fail(place, "a module such as nn.Sequential", describe(module))
        self.modules.append((place, module))
        if nesting > MAX_NESTING:
            self.fail(place, f"at most {MAX_NESTING} levels of modules", "more (does one hold itself?)")
        if len(self.modules) > MAX_MODULES:
            self.fail(place, f"at most {MAX_MODULES} modules", "more")
        package, _, name = module.class_name.rpartition(".")
        if package not in ("nn", "cudnn") or name not in (*_KINDS, "Identity", "Sequential", "ConcatTable"):
            self.fail(place, "a module of nn or cudnn that a VRN is made of", describe(module))
        if name == "Identity":
            return []
        if name in _KINDS:
            return [Layer(_KINDS[name], place, module)]
        children = module.get("modules")
        if not isinstance(children, Table):
            self.fail(place, "its table 'modules'", describe(children))
        parts = [self._flat(m, (*path, i), nesting + 1) for i, m in enumerate(children.sequence(), 1)]
        if name == "Sequential":
            return [step for part in parts for step in part]
        return [Sum(place, [self._paired(part) for part in parts], "ConcatTable")]

    def _paired(self, steps: list[Step], last: bool = False) -> list[Step]:
        """Each ConcatTable and the CAddTable after it become one sum."""
        paired: list[Step] = []
        rest = iter(steps)
        for step in rest:
            if step.kind == "CAddTable":
                before = say(paired[-1] if paired else None)
                self.fail(step.place, "a ConcatTable before the CAddTable", before)
            if not isinstance(step, Sum):
                paired.append(step)
                continue
            single = len(step.branches) == 1
            add = next(rest, None)
            # at its end the released network has a ConcatTable alone: it answers with a list of one
            if not (add is None and last and single) and (add is None or add.kind != "CAddTable"):
                self.fail(step.place, "a CAddTable after the ConcatTable", say(add))
            paired += step.branches[0] if single else [Sum(step.place, step.branches)]
        return paired


def describe(value: Any) -> str:
    """What a value of a file is, for messages: its class, or the value itself."""
    if isinstance(value, TorchObject):
        return ascii(value.class_name)[1:-1]
    if isinstance(value, (Table, torch7.Tensor, torch7.Storage, torch7.Function)):
        return f"a {type(value).__name__.lower()}"
    return "nothing" if value is None else f"{integral(value)!a:.40}"


def say(step: Step | None) -> str:
    """What a step is, for messages."""
    if step is None:
        return "nothing"
    if isinstance(step, Sum):
        return f"a {'sum' if step.kind == 'sum' else step.kind} of {len(step.branches)} branches"
    if step.kind != "convolution":
        return step.kind
    m = step.module
    if isinstance(m, nn.Conv2d):
        return f"a convolution {m.in_channels} -> {m.out_channels}, {m.kernel_size[1]}x{m.kernel_size[0]}"
    cin, cout, kw, kh = (describe(m.get(name)) for name in ("nInputPlane", "nOutputPlane", "kW", "kH"))
    return f"a convolution {cin} -> {cout}, {kw}x{kh}"


def integral(value: Any) -> Any:
    """Lua has floats only: 3.0 -> 3; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def mismatch(stored: Stored, steps: list[Step], i: int, expected: str) -> NoReturn:
    """Step `i` is not what it should be, or is missing."""
    if i < len(steps):
        stored.fail(steps[i].place, expected, say(steps[i]))
    stored.fail(f"the end, after {steps[-1].place}" if steps else "a branch", expected, "nothing")


# ---- which architecture
# -----------------------------------------------------------------------------------------------------------


def architecture(stored: Stored) -> dict[str, Any]:
    """The arguments of our `VRN` for the stored network.

    They are read off its outline: whether every layer fits is for the comparison with that VRN to say.

    Raises
    ------
    VrnError : the outline is not that of a VRN.
    """
    steps = stored.steps
    _expect(stored, _STEM, 0)
    after = len(_STEM)
    while after < len(steps) and isinstance(steps[after], Sum):
        after += 1
    stacks = steps[len(_STEM) : after]
    if not stacks:
        mismatch(stored, steps, after, "a stack of hourglasses (a sum)")
    _expect(stored, _HEAD, after)
    modules, levels, wiring = first = _hourglass(stored, stacks[0])
    for stack in stacks:
        if (other := _hourglass(stored, stack)) != first:
            stored.fail(stack.place, f"{_outline(*first)} as in the first stack", _outline(*other))
    # our network is built from these numbers: they must not ask for more than the file has
    blocks = len(stacks) * (levels * 3 * modules + modules + (levels - 1) * (wiring == "skip"))
    if blocks > len(stored.modules):
        expected = f"{len(stacks)} x {_outline(*first)}, which are {blocks} residual modules,"
        stored.fail(stacks[0].place, expected, f"{len(stored.modules)} modules of any kind")
    stem = _channels(stored, steps[0], "nOutputPlane")
    features = _channels(stored, steps[after], "nInputPlane")
    if features % 4:
        stored.fail(steps[after].place, "a number of channels that is a multiple of 4", str(features))
    return {
        "features": features,
        "modules": modules,
        "stacks": len(stacks),
        "levels": levels,
        "depth": _channels(stored, steps[after + len(_HEAD) - 1], "nOutputPlane"),
        "wiring": wiring,
        "in_channels": _channels(stored, steps[0], "nInputPlane"),
        "stem": None if stem * 4 == features else stem,
    }


def _expect(stored: Stored, kinds: tuple[str, ...], start: int) -> None:
    """The steps from `start` must be of these kinds."""
    steps = stored.steps
    for i, kind in enumerate(kinds, start):
        if i >= len(steps) or steps[i].kind != kind:
            mismatch(stored, steps, i, f"a {kind} as step {i + 1} of a VRN")


def _outline(modules: int, levels: int, wiring: str) -> str:
    return f"an hourglass of {levels} levels with {modules} residual modules a place, wiring '{wiring}'"


def _hourglass(stored: Stored, stack: Step) -> tuple[int, int, str]:
    """(modules, levels, wiring) of the hourglass that a stack begins with."""
    branches = [b for b in stack.branches if b] if isinstance(stack, Sum) else []
    if len(branches) != 1 or not _pooled(branches[0][0]):
        expected = "the identity plus a branch that begins with an hourglass (a sum with a pooled branch)"
        stored.fail(stack.place, expected, " plus ".join(say(b[0]) for b in branches) or "no layer")
    modules, levels, wiring = 0, 0, "skip"  # with one level both wirings are the same
    hourglass: Step | None = branches[0][0]
    while isinstance(hourglass, Sum):
        low = _pooled(hourglass)
        up = next((b for b in hourglass.branches if b is not low), [])
        inner = next((step for step in up if _pooled(step)), None)
        if levels == 0:
            modules = up.index(inner) if inner else len(up)
        if inner is None and (inner := next((step for step in low or [] if _pooled(step)), None)):
            wiring = "low"
        levels, hourglass = levels + 1, inner
    if not modules:
        stored.fail(branches[0][0].place, "residual modules in the branch that is not pooled", "none")
    return modules, levels, wiring


def _pooled(step: Step) -> list[Step] | None:
    """The pooled branch of an hourglass; None if the step is none."""
    branches = step.branches if isinstance(step, Sum) else []
    return next((b for b in branches if b and b[0].kind == "max-pooling"), None)


def _channels(stored: Stored, step: Step, name: str) -> int:
    """A number of channels of a convolution."""
    value = integral(step.module.get(name)) if isinstance(step, Layer) else None
    if not isinstance(value, int) or not 1 <= value <= 1 << 16:
        stored.fail(step.place, f"'{name}', a number of channels", describe(value))
    return value
