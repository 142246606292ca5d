"""Landmarks as pictures: one Gaussian a channel, what VRN-Guided reads and VRN-Multitask answers with.

Jackson et al. Sec. 3.3 and 3.4: "each landmark is represented by a Gaussian in a separate channel", sigma 1,
"approximate diameter of 6 pixels". Drawn after 2D-FAN's convention: a patch of 6 sigma + 1 pixels each way
(7 x 7 for sigma 1) round the pixel nearest to the landmark, 1 at that pixel, 0 outside the patch; what
reaches over the border is cut off, and a landmark whose patch lies outside altogether leaves its channel
empty. :func:`heatmaps` draws one face in NumPy, for data workers; :func:`heatmaps_batch` a batch in PyTorch
on any device.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from vrnlib.errors import VrnError


def heatmaps(landmarks: np.ndarray, size: int, sigma: float = 1.0) -> np.ndarray:
    """Landmarks of one face -> heat-maps.

    Parameters
    ----------
    landmarks : (K, 2) float, x right and y down, pixels of the window; may lie outside it. K is 68 here.
    size : side of the window in pixels.
    sigma : standard deviation of the Gaussian in pixels.

    Returns
    -------
    (K, size, size) float32, 0..1: channel, row, column.

    Raises
    ------
    VrnError : wrong shape, NaN or infinite landmarks, `size` or `sigma` not positive.
    """
    points = np.asarray(landmarks, np.float64)
    _check(points.shape, points.ndim == 2, size, sigma)
    if not np.isfinite(points).all():
        raise VrnError("a landmark is NaN or infinite: its heat-map can't be drawn")
    out = np.zeros((len(points), size, size), np.float32)
    _draw(out, _nearest(points, size, sigma), _profile(sigma))
    return out


def heatmaps_batch(landmarks: Tensor, size: int, sigma: float = 1.0) -> Tensor:
    """Landmarks of a batch -> heat-maps, equal to :func:`heatmaps` of each face.

    Parameters
    ----------
    landmarks : (N, K, 2) float tensor on any device, x right and y down, pixels.
    size, sigma : as in :func:`heatmaps`.

    Returns
    -------
    (N, K, size, size) float32, on the device of `landmarks`.

    Raises
    ------
    VrnError : wrong shape, `size` or `sigma` not positive; NaN or infinite landmarks, which are looked for on
    the CPU only, because the answer would make a graphics card wait.
    """
    _check(tuple(landmarks.shape), landmarks.ndim == 3, size, sigma)
    if landmarks.device.type == "cpu" and not torch.isfinite(landmarks).all():
        raise VrnError("a landmark is NaN or infinite: its heat-map can't be drawn")
    profile = torch.from_numpy(_profile(sigma)).to(landmarks.device)
    radius = len(profile) // 2
    # a Gaussian is the product of one along x and one along y: (N, K, size) each
    away = torch.arange(size, device=landmarks.device) - torch.floor(landmarks.double() + 0.5)[..., None]
    inside = away.abs() <= radius  # (N, K, 2, size)
    one = torch.where(inside, profile[(away.clamp(-radius, radius) + radius).long()], 0.0)
    return one[:, :, 1, :, None] * one[:, :, 0, None, :]


def _check(shape: tuple[int, ...], right: bool, size: int, sigma: float) -> None:
    if not right or shape[-1] != 2:
        raise VrnError(f"landmarks are (K, 2), or (N, K, 2) for a batch, not {shape}")
    if size < 1 or not sigma > 0:
        raise VrnError(f"heat-maps need a positive size and sigma, not {size} and {sigma}")


def _profile(sigma: float) -> np.ndarray:
    # The Gaussian along one axis of the patch: (2 r + 1,) float32, r = 3 sigma rounded up, 1 in the middle.
    radius = int(np.ceil(3 * sigma))
    return np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2)).astype(np.float32)


def _nearest(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    # Nearest pixel, halves upwards; far-away landmarks are brought near, still outside, to fit an integer.
    beyond = np.ceil(3 * sigma) + 2
    return np.floor(np.clip(points, -beyond, size + beyond) + 0.5).astype(np.int64)


@numba.njit(cache=True, nogil=True)
def _draw(out, pixels, profile):
    radius, size = profile.shape[0] // 2, out.shape[1]
    for k in range(out.shape[0]):
        x, y = pixels[k, 0], pixels[k, 1]
        for row in range(max(0, y - radius), min(size, y + radius + 1)):
            for column in range(max(0, x - radius), min(size, x + radius + 1)):
                out[k, row, column] = profile[row - y + radius] * profile[column - x + radius]
