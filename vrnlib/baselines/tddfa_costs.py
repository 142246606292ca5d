"""The three costs of 3DDFA (Zhu et al., CVPR 2016, Sec. 3.4; `notebooks/07_baselines`).

============ =============================================================================================
`pdc`        Parameter Distance Cost (Eq. 7): every parameter counts alike.
`vdc`        Vertex Distance Cost (Eq. 8): what is wanted in the end, but badly conditioned.
`wpdc`       Weighted Parameter Distance Cost (Eqs. 9 and 10): each parameter's error weighs what it does to
             the vertices. The weights are constants of each step, not differentiated.
============ =============================================================================================

Parameter distances are taken in whitened parameters, as the authors' released code takes them. All functions
return one cost a sample; `truth` and `estimate` are parameter vectors (N, P) of
:mod:`vrnlib.baselines.tddfa_model`, `scale` (P,) what whitens them (their standard deviations).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vrnlib.baselines.tddfa_model import POSE, Shapes, posing

Cost = Callable[[Shapes, Tensor, Tensor, Tensor], Tensor]


def pdc(shapes: Shapes, estimate: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """Sum of squared differences of the whitened parameters, (N,)."""
    return ((estimate - truth) / scale).square().sum(1)


def vdc(shapes: Shapes, estimate: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """Mean squared distance of the vertices in pixels^2, (N,). `scale` is not used."""
    return (shapes.vertices(estimate) - shapes.vertices(truth)).square().sum(2).mean(1)


def wpdc(shapes: Shapes, estimate: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """Sum of squared differences of the whitened parameters, each times its weight, (N,)."""
    weights = wpdc_weights(shapes, estimate.detach(), truth)
    return (weights * ((estimate - truth) / scale).square()).sum(1)


COSTS: dict[str, Cost] = {"pdc": pdc, "vdc": vdc, "wpdc": wpdc}
"""By name, as ``--cost`` takes it."""


def wpdc_weights(shapes: Shapes, estimate: Tensor, truth: Tensor) -> Tensor:
    """How far the vertices are from the truth when one parameter is the estimate's and all others are true.

    ``w_i = |V(p^{de,i}) - V(p*)| / Z`` with Z the largest of a sample, so that weights are 0..1. All vertices
    count; the norms are computed without moving any: a shape coefficient moves them by ``f |component|``, a
    translation all alike, and an element of the quaternion by a 3x3 matrix, for which the vertices' 3x3
    moment matrix is enough.

    Parameters
    ----------
    estimate, truth : (N, P), not whitened.

    Returns
    -------
    (N, P) float32, 0..1; 0 everywhere if the estimate is the truth.
    """
    difference = estimate - truth
    count = len(shapes.mean)
    points = shapes.shape(truth)
    moment = points.transpose(1, 2) @ points  # (N, 3, 3)
    true = posing(truth[:, :4])
    norms = torch.empty_like(difference)
    for i in range(4):
        q = truth[:, :4].clone()
        q[:, i] = estimate[:, i]
        change = posing(q) - true
        square = torch.einsum("nij,njk,nik->n", change, moment, change)
        norms[:, i] = square.clamp(min=0).sqrt()
    norms[:, 4:POSE] = difference[:, 4:POSE].abs() * count**0.5
    f = truth[:, :4].square().sum(1, keepdim=True)
    norms[:, POSE:] = f * difference[:, POSE:].abs() * shapes.components.flatten(1).norm(dim=1)
    return norms / norms.amax(1, keepdim=True).clamp(min=1e-12)
