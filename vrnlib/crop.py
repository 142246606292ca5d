"""The similarity between a photograph and the network's window (taught in `notebooks/00_start_here`).

Frames. *Image frame*: pixels, x right, y down, integer coordinates at pixel centres; z in pixels of the same
scale, positive towards the viewer. *Network frame*: the same axes in a `size` x `size` window. Jackson et al.
normalise every face so that the geometric mean of the width and height of its 68-landmark box is 90 px in a
window of 192 px (reference code, `run.m`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vrnlib.errors import VrnError

REFERENCE_SIZE = 192
"""Side of the paper's window in pixels."""
REFERENCE_BOX = 90.0
"""Geometric mean of the sides of the landmark box inside the paper's window, in pixels."""


@dataclass(frozen=True)
class Crop:
    """Image pixels -> network pixels: ``p' = scale * p + offset``, ``z' = scale * z``; exactly invertible.

    Parameters
    ----------
    scale : network pixels per image pixel, > 0.
    offset : (x, y) in network pixels.
    size : side of the square window in network pixels.
    """

    scale: float
    offset: tuple[float, float]
    size: int

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray, size: int = REFERENCE_SIZE) -> Crop:
        """The paper's normalisation: landmark box centred, ``sqrt(w h)`` of the box = 90/192 of the window.

        Parameters
        ----------
        landmarks : (68, 2) float, image pixels (any number of points >= 2 works).

        Raises
        ------
        VrnError : points are not (N, 2), not finite, or their box has no area.
        """
        points = np.asarray(landmarks, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] < 2 or len(points) < 2 or not np.isfinite(points).all():
            raise VrnError(
                f"landmarks must be finite with shape (68, 2), got {points.shape}: check the detector"
            )
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        width, height = high - low
        if width * height <= 0:
            raise VrnError(
                f"the landmark box is {width:g} x {height:g} px, it has no area: check the landmarks"
            )
        scale = REFERENCE_BOX * size / REFERENCE_SIZE / float(np.sqrt(width * height))
        offset = (size - 1) / 2 - scale * (low + high) / 2
        return cls(scale, (float(offset[0]), float(offset[1])), size)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Image frame -> network frame; points (..., 2) or (..., 3), same shape and floating type out."""
        points = np.asarray(points)
        out = points * points.dtype.type(self.scale) if points.dtype.kind == "f" else points * self.scale
        out[..., 0] += self.offset[0]
        out[..., 1] += self.offset[1]
        return out

    def invert(self, points: np.ndarray) -> np.ndarray:
        """Network frame -> image frame; the exact inverse of :meth:`apply`."""
        out = np.array(points, dtype=np.result_type(points, np.float32))
        out[..., 0] -= self.offset[0]
        out[..., 1] -= self.offset[1]
        return out / out.dtype.type(self.scale)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Resample (H, W, 3) uint8 to the (size, size, 3) uint8 window; outside the photograph is black.

        A window much smaller than its source would alias, so the photograph is first shrunk by area
        averaging.
        """
        scale, (tx, ty) = self.scale, self.offset
        if scale < 0.5:
            # cv2's area resize keeps pixel areas: centre p of the source lands at (p + .5) * f - .5
            shrunk = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
            fx, fy = shrunk.shape[1] / image.shape[1], shrunk.shape[0] / image.shape[0]
            matrix = np.array(
                [
                    [scale / fx, 0, tx + scale * (0.5 / fx - 0.5)],
                    [0, scale / fy, ty + scale * (0.5 / fy - 0.5)],
                ]
            )
            image = shrunk
        else:
            matrix = np.array([[scale, 0, tx], [0, scale, ty]])
        return cv2.warpAffine(
            image, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
