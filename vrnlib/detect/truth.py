"""Detectors for experiments: one that knows the answer, and answers disturbed on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vrnlib.detect.interface import Box, Detection, Landmarks, Reference
from vrnlib.errors import VrnError


class TruthDetector:
    """Knows the landmarks of a drawn picture; the picture itself is not looked at.

    Parameters
    ----------
    landmarks : (68, 2) image pixels, or several of them.
    """

    name = "truth"

    def __init__(self, landmarks: NDArray[np.floating] | Sequence[NDArray[np.floating]]) -> None:
        known = np.asarray(landmarks, np.float32)
        self._known = known[None] if known.ndim == 2 else known
        if self._known.ndim != 3 or self._known.shape[1:] != (68, 2) or not np.isfinite(self._known).all():
            raise VrnError(f"the true landmarks are (68, 2) or (N, 68, 2) and finite, got {known.shape}")

    def boxes(self, image: NDArray[np.uint8]) -> list[tuple[Box, float]]:
        """The boxes of the true landmarks, score ``inf``."""
        return [(d.box, d.score) for d in self.detect(image)]

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `vrnlib.detect.Detector`: every face, in the order given."""
        return [
            Detection(
                (*map(float, p.min(0)), *map(float, p.max(0))),
                float("inf"),
                p,
                np.ones(68, np.float32),
                self.name,
            )
            for p in self._known
        ]

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> Landmarks:
        """Of the known faces, the one whose middle is nearest to the box's."""
        middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        middles = (self._known.min(1) + self._known.max(1)) / 2
        nearest = self._known[np.linalg.norm(middles - middle, axis=1).argmin()]
        return Landmarks(nearest, np.ones(68, np.float32))


def jitter(
    found: Detection,
    rng: np.random.Generator,
    *,
    shift: float = 0.0,
    scale: float = 0.0,
    noise: float = 0.0,
) -> Detection:
    """A detection with errors made on purpose. All zero: the detection itself.

    Parameters
    ----------
    shift : SD of the move of the crop, along x and y each, in sides (``sqrt(w h)``) of the landmark box.
    scale : SD of the logarithm of the crop's size.
    noise : SD of each landmark, along x and y each, in sides of the landmark box. The crop follows from the
        disturbed landmarks, as it would with a detector of that precision.
    """
    if min(shift, scale, noise) < 0:
        raise VrnError(f"jitter is not negative, got shift {shift}, scale {scale}, noise {noise}")
    draws = rng.standard_normal(3), rng.standard_normal((68, 2))  # drawn always: levels share their draws
    if not (shift or scale or noise):
        return found
    low, high = found.landmarks.min(0), found.landmarks.max(0)
    side = float(np.sqrt(np.prod(np.asarray(high - low, np.float64))))
    old = found.reference
    moved = Reference(
        old.scale * float(np.exp(scale * draws[0][2])),
        (old.shift[0] + shift * float(draws[0][0]), old.shift[1] + shift * float(draws[0][1])),
    )
    points = (found.landmarks + noise * side * draws[1]).astype(np.float32)
    return replace(found, landmarks=points, reference=moved)
