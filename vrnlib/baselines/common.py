"""What all baselines on the morphable model share: the mesh they answer with, and how it is placed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vrnlib.baselines.morphable import Morphable
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.errors import VrnError
from vrnlib.params import depth_of
from vrnlib.voxel import Grid


class NotRunError(VrnError):
    """A method can't run here (no checkpoint, no network, no package); tables say "not run" and why."""


@dataclass(frozen=True)
class Mesh:
    """A reconstruction in the crop's frame, as :func:`vrnlib.voxel.isosurface` returns it.

    Parameters
    ----------
    vertices : (V, 3) float32, pixels, x right, y down, z towards the viewer.
    faces : (F, 3) int32; the normal ``(b - a) x (c - a)``, computed from these coordinates, points outwards.
    """

    vertices: np.ndarray
    faces: np.ndarray


def posed_mesh(model: Morphable, vertices: np.ndarray, camera: WeakPerspective, size: int) -> Mesh:
    """The face surface of a model's face in the crop, its front where samples have theirs.

    Parameters
    ----------
    vertices : (V, 3) mm; camera : to pixels of the crop, its z is set here; size : of the window.
    """
    fine, faces = model.surface(vertices)
    camera = camera.in_front(fine, Grid(size, depth_of(size)))
    # y turned down is a reflection: the triangles must turn too
    return Mesh(camera.apply(fine).astype(np.float32), np.ascontiguousarray(faces[:, ::-1]))


def checked_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """(68, 2) float64 landmarks, or a VrnError that says what is wrong with them."""
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise VrnError(
            f"a fit needs 68 finite landmarks (68, 2) in pixels of the crop, got shape {landmarks.shape}"
        )
    extent = np.linalg.svd(landmarks - landmarks.mean(0), compute_uv=False)
    if extent[1] < 1e-2 * max(extent[0], 1e-6):
        raise VrnError("the landmarks lie on a line or a point: no face can be fitted to them")
    return landmarks
