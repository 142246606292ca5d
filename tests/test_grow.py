"""Larger networks that start from smaller ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vrnlib import networks, weights
from vrnlib.errors import VrnError
from vrnlib.grow import grow
from vrnlib.networks import Architecture, Network, build

SMALL = Architecture(features=8, modules=1, stacks=2, levels=2, depth=6, wiring="low")


def trained(architecture: Architecture) -> Network:
    """A network whose statistics and scales are no longer the initial ones."""
    torch.manual_seed(0)
    model = build(architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def images(side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wiring", ["low", "skip"])
@pytest.mark.parametrize("kind", networks.KINDS)
@torch.no_grad()
def test_wider_and_deeper_is_the_same_function(kind: str, wiring: str) -> None:
    small = trained(replace(SMALL, kind=kind, wiring=wiring, refine=1))
    large = build(replace(small.architecture, features=24, modules=3)).eval()
    before = large.heads(images())
    grow(small, large)
    for mine, other, fresh in zip(small.heads(images()), large.heads(images()), before, strict=True):
        if mine is not None:
            assert torch.allclose(mine, other, atol=1e-4 * float(mine.abs().max()))
            assert not torch.allclose(mine, fresh, atol=0.1 * float(mine.abs().max()))


@torch.no_grad()
def test_copies_of_a_channel_part_in_training() -> None:
    small, large = trained(SMALL), build(replace(SMALL, features=16))
    grow(small, large)
    with torch.enable_grad():
        large.train()(images()).square().mean().backward()
    first = large.stacks[0][1].bottleneck[2]  # 1x1, 16 channels in, 8 out, of which 4 are copies
    assert torch.allclose(first.weight.sum(1), small.stacks[0][1].bottleneck[2].weight.sum(1).repeat(2, 1, 1))
    assert not torch.allclose(first.weight.grad[:4], first.weight.grad[4:], rtol=0.01)


@torch.no_grad()
def test_slices_stay_where_they_are_in_the_face() -> None:
    small, large = trained(SMALL), build(replace(SMALL, depth=12))
    grow(small, large)
    few, many = small.heads(images()).volume, large.eval().heads(images()).volume
    assert torch.allclose(many[:, 1], 0.75 * few[:, 0] + 0.25 * few[:, 1], atol=1e-5)
    assert torch.allclose(many[:, 2], 0.25 * few[:, 0] + 0.75 * few[:, 1], atol=1e-5)
    assert torch.allclose(many[:, [0, -1]], few[:, [0, -1]], atol=1e-5)


@torch.no_grad()
def test_a_smaller_hourglass_works_inside_on_its_own_grid() -> None:
    small, large = trained(SMALL), build(replace(SMALL, levels=3)).eval()
    grow(small, large)
    x = torch.rand(1, 8, 16, 16)
    inside = small.stacks[0][0](nn.functional.max_pool2d(x, 2))
    outside = x + nn.functional.interpolate(inside, scale_factor=2)
    assert torch.allclose(large.stacks[0][0](x), outside, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": 12},
        {"features": 16, "refine": 1},
        {"features": 16, "refine": 3},
        {"features": 4},
        {"levels": 1},
        {"kind": "landmarks"},
        {"wiring": "skip"},
        {"stacks": 1},
    ],
)
def test_what_cannot_grow_is_refused_and_left_as_it_was(changes: dict[str, object]) -> None:
    small = replace(SMALL, refine=2)
    large = build(replace(small, **changes))
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(VrnError, match=r"cannot grow from .*features=8"):
        grow(trained(small), large)
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
@torch.no_grad()
def test_a_refinement_that_only_one_has_is_left_out(before: int, after: int) -> None:
    small = trained(replace(SMALL, refine=before))
    large = build(replace(SMALL, features=16, refine=after)).eval()
    grow(small, large)
    parts = [nn.Sequential(m.stem, *m.stacks, m.head[0]).eval() for m in (small, large)]
    mine, other = (part(images()) for part in parts)
    assert torch.allclose(mine.repeat(1, 2, 1, 1), other, atol=1e-4 * float(mine.abs().max()))
    if after:
        assert not large.lateral.weight.any()  # it starts without effect


def test_a_run_starts_from_the_file_of_a_smaller_network(tmp_path: Path) -> None:
    path = networks.save(trained(SMALL), tmp_path / "vrn.safetensors", {})
    large = weights.start_from(path, replace(SMALL, features=16, levels=3, depth=12))
    assert torch.equal(large.stem[0].weight, networks.load(path)[0].stem[0].weight.repeat(2, 1, 1, 1))
