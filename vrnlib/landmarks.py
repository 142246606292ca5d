"""Landmarks and the heat-maps that a network answers with: targets, decoding, error.

The maps that *guide* a network are drawn by :mod:`vrnlib.heatmaps`.

Points are (x, y) in pixels of a square window, pixel centres at integers. A heat-map may have fewer cells
than the window has pixels; then their corners are aligned, as in `vrnlib.networks.enlarge`: cell k of C lies
at pixel k (S - 1) / (C - 1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vrnlib.errors import VrnError

EYE_CORNERS = (36, 45)
"""The outer eye corners (iBUG 37 and 46)."""


def targets(landmarks: Tensor, size: int, cells: int, sigma: float = 1.0) -> Tensor:
    """What a heat-map head of `cells` x `cells` should answer: Gaussians of height 1, `sigma` in cells.

    The peak lies where the landmark does, also between cells: on cells of four pixels the nearest one, which
    is what :func:`vrnlib.heatmaps.heatmaps` takes, would be off by one and a half pixels on average.

    Parameters
    ----------
    landmarks : (N, K, 2) float, pixels of a `size` x `size` window. One outside leaves what reaches in.

    Returns
    -------
    (N, K, cells, cells) float32.
    """
    place = landmarks.float() * ((cells - 1) / (size - 1))
    away = torch.arange(cells, device=landmarks.device) - place[..., None]  # (N, K, 2, cells)
    profile = torch.exp(-(away**2) / (2 * sigma**2))
    return profile[:, :, 1, :, None] * profile[:, :, 0, None, :]  # rows are y


def decode(logits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Heat-maps -> points: the highest cell, refined between cells.

    Along each axis a parabola goes through the logarithms of the peak and its two neighbours; of a Gaussian
    that is the exact centre. On the border there is no second neighbour, and the cell stays.

    Parameters
    ----------
    logits : (N, K, C, C) float, before the sigmoid.
    size : side of the window in pixels.

    Returns
    -------
    landmarks : (N, K, 2) float32, pixels of the window.
    confidence : (N, K) float32, 0..1: the height of the peak.
    """
    rows, columns = logits.shape[2:]
    heights = F.logsigmoid(logits.detach().float()).flatten(2)  # (N, K, C * C)
    best, index = heights.max(2)
    cell = torch.stack([index % columns, index // columns], 2)  # (N, K, 2): x, y
    place = cell.float()
    for axis, step, count in ((0, 1, columns), (1, columns, rows)):
        before = heights.gather(2, (index - step).clamp(min=0)[..., None])[..., 0]
        after = heights.gather(2, (index + step).clamp(max=rows * columns - 1)[..., None])[..., 0]
        inside = (cell[..., axis] > 0) & (cell[..., axis] < count - 1)
        bend = (2 * best - before - after).clamp(min=1e-6)  # a peak is not lower than its neighbours
        offset = ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
        place[..., axis] += torch.where(inside, offset, 0.0)
    scale = torch.tensor([(size - 1) / (columns - 1), (size - 1) / (rows - 1)], device=logits.device)
    return place * scale, best.exp()


def landmark_error(predicted: Tensor, truth: Tensor, eyes: Tensor | None = None) -> Tensor:
    """Mean distance of the landmarks of each face over its outer interocular distance: (N,) float.

    Parameters
    ----------
    predicted, truth : (N, 68, 2), any unit, the same.
    eyes : (N, 2, 3) or (N, 2, 2), optional
        The true outer eye corners, same unit. With depth, a face in profile keeps its interocular distance;
        None takes the corners of `truth`, and a profile is punished for its pose.

    Raises
    ------
    VrnError : the shapes differ, or two eye corners coincide.
    """
    if predicted.shape != truth.shape or truth.ndim != 3:
        raise VrnError(
            f"landmarks (N, 68, 2) are compared with as many, got {tuple(predicted.shape)} and "
            f"{tuple(truth.shape)}"
        )
    corners = truth[:, list(EYE_CORNERS)] if eyes is None else eyes
    distance = (corners[:, 0] - corners[:, 1]).norm(dim=-1)
    if not (distance > 0).all():
        raise VrnError("the outer eye corners of a face coincide: its landmark error is not defined")
    return (predicted - truth).norm(dim=-1).mean(1) / distance
