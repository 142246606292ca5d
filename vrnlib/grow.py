"""A larger network that starts from the weights of a smaller one, after Net2Net (Chen et al. 2016).

A network of the paper's size trains ten times slower than the `laptop` one, and both see the same faces. So
it need not start from nothing:

* *wider*: every channel is repeated, and those who read it share its weight among the copies. The function
  stays the same; the shares are random, so that the copies do not stay equal in training.
* *more modules*: those that the smaller network lacks start as the identity (their last convolution is zero).
* *more slices*: the volume's slices lie at the same places of a face, so new ones are interpolated.
* *more levels*: an hourglass of the smaller network becomes the innermost part of the larger one. With an
  image of twice the size it works on the very grid that it was trained for: 24 cells across the crop. What is
  around it starts as the identity in both branches; this changes the function, and so does the larger image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor, nn

from vrnlib.errors import VrnError
from vrnlib.hourglass import Hourglass, Residual
from vrnlib.networks import Network

_SHARES = (0.25, 0.75)
"""A copy's part of a weight, before the parts are made to add up to one: unequal, none near zero."""


def grow(source: Network, target: Network, seed: int = 0) -> None:
    """Let `target` start from the weights of `source`, a network of the same kind that is nowhere larger.

    With the same number of levels, `target` then computes what `source` does (slices interpolated); a
    refinement that only one of them has is left out.

    Parameters
    ----------
    source, target : networks of one kind and wiring; the widths of `target` are whole multiples, and if both
        have a refinement, it has as many modules.
    seed : of the random shares.

    Raises
    ------
    VrnError : `target` is not a larger `source`; nothing was changed.
    """
    small, large = source.architecture, target.architecture
    same = replace(
        small, features=large.features, modules=large.modules, levels=large.levels, depth=large.depth,
        stem=large.stem, refine=large.refine,
    )  # fmt: skip
    stems = [a.stem or a.features // 4 for a in (large, small)]
    larger = large.modules >= small.modules and large.levels >= small.levels
    whole = large.features % small.features == 0 and stems[0] * small.features == stems[1] * large.features
    refined = small.refine == large.refine or 0 in (small.refine, large.refine)
    if same != large or not larger or not whole or not refined:
        raise VrnError(
            f"{large} cannot grow from {small}: kind, wiring, stacks and input must be the same, features "
            "and stem the same multiple, modules and levels no fewer, refine the same or 0"
        )
    generator = torch.Generator().manual_seed(seed)
    heads = {id(m.head[-1]) for m in target.modules() if hasattr(m, "head")}
    with torch.no_grad():
        for old, new in _pairs(source, target):
            if old is None:
                _as_identity(new)
            elif isinstance(new, nn.BatchNorm2d):
                _repeat_norm(old, new)
            else:
                _repeat_convolution(old, new, generator, slices=id(new) in heads)


def _pairs(old: nn.Module, new: nn.Module) -> Iterator[tuple[nn.Module | None, nn.Module]]:
    # Layers with weights that correspond; a residual module with no counterpart is yielded with None.
    if isinstance(new, Hourglass):
        if _levels(new) > _levels(old):
            yield from ((None, m) for part in (new.up, new.low) for m in part if isinstance(m, Residual))
            yield from _pairs(old, _inner(new))
            return
        for part in ("up", "low"):
            yield from _aligned(getattr(old, part), getattr(new, part))
    elif isinstance(new, (nn.Conv2d, nn.BatchNorm2d)):
        yield old, new
    else:
        left_out = ("lateral", "refine") if not _both_refine(old, new) else ()
        for name, child in new.named_children():
            if name not in left_out:
                yield from _pairs(getattr(old, name), child)


def _aligned(old: nn.Sequential, new: nn.Sequential) -> Iterator[tuple[nn.Module | None, nn.Module]]:
    # Runs of residual modules are matched from their beginning, what stands between them one to one.
    runs = [[list(g) for _, g in groupby(part, lambda m: isinstance(m, Residual))] for part in (old, new)]
    for few, many in zip(*runs, strict=True):
        for index, module in enumerate(many):
            if index < len(few):
                yield from _pairs(few[index], module)
            else:
                yield None, module


def _both_refine(old: nn.Module, new: nn.Module) -> bool:
    return hasattr(old, "refine") and hasattr(new, "refine")


def _inner(hourglass: Hourglass) -> Hourglass | None:
    return next((m for part in (hourglass.up, hourglass.low) for m in part if isinstance(m, Hourglass)), None)


def _levels(hourglass: Hourglass) -> int:
    inner = _inner(hourglass)
    return 1 if inner is None else 1 + _levels(inner)


def _as_identity(module: Residual) -> None:
    nn.init.zeros_(module.bottleneck[-1].weight)
    nn.init.zeros_(module.bottleneck[-1].bias)


def _repeat_norm(old: nn.BatchNorm2d, new: nn.BatchNorm2d) -> None:
    times = new.num_features // old.num_features
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(new, name).copy_(getattr(old, name).repeat(times))


def _repeat_convolution(old: nn.Conv2d, new: nn.Conv2d, generator: torch.Generator, *, slices: bool) -> None:
    weight, bias = old.weight, old.bias
    if slices:
        weight, bias = (_interpolated(t, new.out_channels) for t in (weight, bias))
    weight = weight.repeat(new.out_channels // len(weight), 1, 1, 1)
    times = new.in_channels // old.in_channels
    low, high = _SHARES
    shares = torch.rand((times, *weight.shape[:2]), generator=generator) * (high - low) + low
    shares = shares / shares.sum(0)
    new.weight.copy_(torch.cat([weight * s[:, :, None, None] for s in shares], 1))
    new.bias.copy_(bias.repeat(new.out_channels // len(bias)))


def _interpolated(rows: Tensor, count: int) -> Tensor:
    """(d, ...) -> (count, ...): `count` slices that divide the same depth as the d given ones."""
    place = ((torch.arange(count) + 0.5) * len(rows) / count - 0.5).clamp(0, len(rows) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(rows) - 1)
    part = (place - below).reshape(-1, *[1] * (rows.ndim - 1))
    return rows[below] * (1 - part) + rows[above] * part
