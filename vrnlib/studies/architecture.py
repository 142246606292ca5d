"""What stacking, residual modules and the hourglass buy (the figure is shown in `notebooks/03_train_vrn`).

Jackson et al. 2017 vary these in the thesis that extends the paper, at full size, and find them nearly equal
(NME .0621 to .0639); "without residual" and "without hourglass" nobody has measured. Here each is changed
alone, at a small fixed number of faces, from one hourglass of wiring ``low`` with one module a place:

- ``chain`` replaces the hourglass by as many residual modules in a row at constant resolution: the same
  number of parameters, no pooling, so no view of the whole face;
- ``no-residual`` leaves out the additions of the residual modules (where a module widens the features, its
  1x1 convolution beside it), with nearly the same number of parameters.

    python -m vrnlib.studies architecture --out results/studies
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from vrnlib import batches
from vrnlib.hourglass import Hourglass, Residual
from vrnlib.loss import slices_loss
from vrnlib.networks import VRN, parameter_count
from vrnlib.studies import small
from vrnlib.studies.arms import Run
from vrnlib.studies.small import Budget, Faces, Say

Make = Callable[[Budget], VRN]


def _plain(**changes: object) -> Make:
    return lambda budget: VRN(**asdict(budget.architecture(**changes)))


def chained(budget: Budget) -> VRN:
    """The baseline with each hourglass replaced by as many residual modules at constant resolution."""
    network = VRN(**asdict(budget.architecture()))
    f = budget.features
    for stack in network.stacks:
        count = sum(isinstance(m, Residual) for m in stack[0].modules())  # type: ignore[index]
        stack[0] = nn.Sequential(*(Residual(f, f, f // 2) for _ in range(count)))  # type: ignore[index]
    return network


def unadded(budget: Budget) -> VRN:
    """The baseline with every residual module replaced by its bottleneck alone."""
    network = VRN(**asdict(budget.architecture()))

    def strip(module: nn.Module) -> None:
        for name, part in list(module.named_children()):
            if isinstance(part, Residual):
                setattr(module, name, part.bottleneck)
            else:
                strip(part)

    strip(network)
    return network


ARMS: dict[str, tuple[str, Make]] = {
    "baseline": ("1 hourglass, 1 module a place", _plain()),
    "stacks-2": ("2 hourglasses", _plain(stacks=2)),
    "stacks-4": ("4 hourglasses", _plain(stacks=4)),
    "modules-2": ("2 modules a place", _plain(modules=2)),
    "modules-3": ("3 modules a place", _plain(modules=3)),
    "skip": ("released wiring (skip)", _plain(wiring="skip")),
    "chain": ("a chain, no hourglass", chained),
    "no-residual": ("no residual additions", unadded),
}
"""Label for figures, and how it is made."""
LABELS = {name: label for name, (label, _) in ARMS.items()}


def residual_modules(network: nn.Module) -> int:
    """How many residual modules a network has."""
    return sum(isinstance(m, Residual) for m in network.modules())


def lowest_side(network: VRN, size: int) -> int:
    """Side in cells of the smallest feature map on the way of an image of `size` pixels."""
    sides: list[int] = []
    hooks = [
        m.register_forward_hook(lambda _m, _x, y: sides.append(y.shape[-1]))
        for m in network.modules()
        if isinstance(m, (nn.Conv2d, nn.MaxPool2d, Hourglass))
    ]
    training = network.training
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    network.train(training)
    return min(sides)


def train_plain(model: VRN, budget: Budget, faces: Faces, say: Say, seed: int, **how: Any) -> Run:
    """Train a network on images alone, the faces in the order of `seed`, and score it.

    `how` goes to :func:`vrnlib.studies.small.fit`.
    """

    def loss_of(batch: dict[str, Tensor], _: int) -> Tensor:
        image, volume = batches.unpack(batch, budget.depth)
        return slices_loss(model.slices(image), volume)

    report = small.fit(model, budget, faces, small.order(budget, seed), loss_of, say, **how)
    model.eval()
    scores = small.score(lambda _, image: model.slices(image), budget, faces.test())
    shape = {"residual_modules": residual_modules(model), "lowest_side": lowest_side(model, budget.size)}
    return {**report, **shape, "parameters": parameter_count(model), "test": {"image": scores}}


def train_arm(budget: Budget, faces: Faces, say: Say, name: str, seed: int) -> Run:
    """Train one network from one seed and score it."""
    torch.manual_seed(seed)
    return train_plain(ARMS[name][1](budget), budget, faces, say, seed)
