"""Drawn photographs for detectors: a person of `synth-wild` in a picture larger than the network's window.

The window of a test sample has the face in its middle at a fixed size, so that there is nothing to detect. A
scene shows the same person, expression, pose, light, occluder and camera faults, but the face stands anywhere
and has any size within bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vrnlib.appearance import sample_light
from vrnlib.databases import wild
from vrnlib.databases.nuisance import CAMERA, OCCLUDERS
from vrnlib.databases.sample import _photograph, _view, face_points
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis
from vrnlib.variation import EVERYTHING, TRAINING

SIZE = 288
"""Side of a scene in pixels."""
BOX = (92.0, 124.0)
"""Bounds of ``sqrt(w h)`` of the landmark box in pixels."""
PLACE = 0.1
"""The middle of the landmark box lies within so many sides of the picture from the picture's middle."""
SCENES = "scenes-1"
"""Changes whenever the same index would give another scene."""


@dataclass(frozen=True)
class Scene:
    """A drawn photograph and what is true of it; image frame, pixels, z towards the viewer, origin anywhere.

    Attributes
    ----------
    image : (SIZE, SIZE, 3) uint8 RGB
    landmarks : (68, 2) float32
    points : (P, 3) float32, the face region
    eyes : (2, 3) float32, outer eye corners
    pose : (3,) pitch, yaw, roll, degrees
    index : the person, of `synth-wild`
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    points: NDArray[np.float32]
    eyes: NDArray[np.float32]
    pose: NDArray[np.float64]
    index: int


def scene(index: int, size: int = SIZE, harsh: bool = True) -> Scene:
    """The scene of person `index` of `synth-wild` (0 to 1999), always the same.

    Parameters
    ----------
    harsh : with the person's occluder, harsh light and camera faults; else a picture like those of training,
        less glasses and occluders.

    Raises
    ------
    VrnError : there is no such person.
    """
    if not 0 <= index < len(wild.SynthWild()):
        raise VrnError(f"scenes are 0 to {len(wild.SynthWild()) - 1}, asked for {index}")
    plan, basis = wild._plan(index), load_basis()
    rng = np.random.default_rng((wild.SEED, 4, index))
    head, unit = plan.head(), size / SIZE
    view = _view(head, plan.pose, size)
    box, place = rng.uniform(*BOX) * unit, rng.uniform(-PLACE, PLACE, 2) * size
    factor = box / _side(view.project(head[basis.landmarks])[0])
    middle = (size - 1) / 2
    centre = tuple(float(middle + factor * (c - middle) + p) for c, p in zip(view.centre, place, strict=True))
    view = replace(view, scale=view.scale * factor, centre=centre)
    landmarks = view.project(head[basis.landmarks])[0].astype(np.float32)
    if harsh:
        image = _photograph(head, plan.person.look, plan.light, view, size, rng, EVERYTHING, TRAINING)
        if plan.occluder:
            image = OCCLUDERS[plan.occluder](image, landmarks, rng)
        for name in plan.faults:
            image = CAMERA[name][1](image, landmarks, rng)
    else:
        plain = replace(EVERYTHING, glasses=False, occluders=False)
        light = sample_light(np.random.default_rng((wild.SEED, 5, index)))
        image = _photograph(head, plan.person.look, light, view, size, rng, plain, TRAINING)
    ids, weights = face_points()
    points = view.frame(np.einsum("pki,pk->pi", head[ids], weights), 0.0).astype(np.float32)
    eyes = view.frame(head[basis.landmarks[[36, 45]]], 0.0).astype(np.float32)
    return Scene(image, landmarks, points, eyes, np.rad2deg(plan.pose), index)


def chosen(count: int, first: int = 0, bands: Sequence[tuple[float, float]] | None = None) -> list[int]:
    """Indices of scenes from person `first` on: the next `count`; or with `bands` of absolute yaw in degrees
    as many in each band, about `count` in all.
    """
    if bands is None:
        return list(range(first, first + count))
    data, out = wild.SynthWild(), []
    for low, high in bands:
        own, index = [], first
        while len(own) < -(-count // len(bands)):
            if low <= abs(data.info(index)["yaw"]) < high:
                own.append(index)
            index += 1
        out += own
    return sorted(out)


def _side(points: NDArray[np.floating]) -> float:
    """``sqrt(w h)`` of the box of points (N, 2)."""
    return float(np.sqrt(np.prod(np.ptp(np.asarray(points, np.float64), axis=0))))
