"""A sample from a face surface of any topology (used by :mod:`vrnlib.databases.mapped_scans`).

:mod:`vrnlib.databases.sample` does the same for heads of our own basis; here nothing depends on a topology,
and how the picture is drawn is the caller's: a function of the camera. Model frame: millimetres, x to the
viewer's right, y up, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vrnlib import camera
from vrnlib.appearance import to_linear
from vrnlib.databases.posed import Posed, sample, window
from vrnlib.databases.sample import SUPERSAMPLING
from vrnlib.faces import face_solid, rotation_matrix
from vrnlib.render import rasterise, vertex_normals
from vrnlib.variation import EVERYTHING, TRAINING, factors, streams
from vrnlib.voxel import Grid

_DOWN = np.array([1.0, -1.0, 1.0])  # y up -> y down
LUMA = np.array([0.3, 0.59, 0.11], np.float32)
"""Weights of linear R, G, B in luminance."""


@dataclass(frozen=True)
class Surface:
    """A face in the model frame.

    Parameters
    ----------
    vertices : (S, 3) float, the open face surface; `solid` : (M, 3) int into [surface; its copy moved back],
        as :func:`vrnlib.voxel.solid_faces` makes it.
    landmarks : (68, 3) float, the iBUG points.
    points : (P, 3) float, ground truth of the face region.
    """

    vertices: np.ndarray
    solid: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Camera:
    """Weak perspective, model millimetres -> pixels of a `size` x `size` picture."""

    rotation: np.ndarray  # (3, 3), model frame -> x right, y up, z towards the viewer
    scale: float  # pixels a millimetre
    centre: tuple[float, float]  # pixel of the model's origin
    size: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """Model millimetres (..., 3) -> pixels (..., 3), y down; z from the origin's."""
        return (points @ self.rotation.T) * (_DOWN * self.scale) + [*self.centre, 0]

    def enlarged(self, factor: int) -> Camera:
        """The same view with `factor` samples along each side of a pixel."""
        x, y = ((v + 0.5) * factor - 0.5 for v in self.centre)
        return Camera(self.rotation, self.scale * factor, (x, y), self.size * factor)


def surface_sample(
    surface: Surface,
    pose: np.ndarray,
    grid: Grid,
    picture: Callable[[Camera], np.ndarray],
    truth: bool = False,
) -> dict[str, np.ndarray]:
    """One sample without augmentation; see :mod:`vrnlib.databases` for what is returned.

    Parameters
    ----------
    pose : (3,) pitch, yaw, roll in radians.
    picture : camera -> (S, S, 3) uint8 RGB.
    truth : also return `points` and `eyes`.
    """
    rotation = rotation_matrix(*pose)
    turn = rotation.T * _DOWN  # the picture's unit is the millimetre
    landmarks = surface.landmarks @ turn
    face = Posed(
        face_solid(surface.vertices) @ turn,
        surface.solid,
        landmarks,
        pose,
        surface.points @ turn if truth else None,
        landmarks[[36, 45]] if truth else None,
    )
    view = window(landmarks, grid.size, None, np.random.default_rng(0))  # no augmentation: nothing is drawn
    x, y = view.matrix[:, 2].tolist()
    return sample(face, lambda w: picture(Camera(rotation, w.scale, (x, y), w.size)), grid, view)


def photograph(
    drawn: np.ndarray, background: np.ndarray, gain: float, rng: np.random.Generator
) -> np.ndarray:
    """Put what was drawn before a background, expose and develop it with training's camera.

    Parameters
    ----------
    drawn : (k S, k S, 4) float32, linear RGB and coverage, `SUPERSAMPLING` samples a pixel's side.
    background : (S, S, 3) sRGB 0..1.
    gain : exposure, a factor of what was drawn.

    Returns
    -------
    (S, S, 3) uint8.
    """
    size, k = len(background), SUPERSAMPLING
    drawn = drawn.reshape(size, k, size, k, 4).mean((1, 3))
    behind = (1 - drawn[..., 3:]) * to_linear(np.clip(background, 0, 1))
    linear = (drawn[..., :3] * gain + behind).astype(np.float32)
    return camera.develop(linear, streams(rng, *factors()), np.ones(3), EVERYTHING, TRAINING)


def textured(
    view: Camera, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, texture: np.ndarray,
    lamp: np.ndarray, relief: float, tint: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Draw a mesh with a photographed texture that already holds its own light, and shade it a little more.

    Parameters
    ----------
    vertices : (V, 3) mm; faces : (F, 3) int.
    uv : (F, 3, 2), texture coordinates of each corner, 0..1, v upwards.
    texture : (H, W, 3) uint8 sRGB.
    lamp : (3,) unit direction in the camera frame (x right, y up).
    relief : how much a surface facing the lamp is brighter than one edge-on, relative to the mean; 0 leaves
        the texture as it is.
    tint : (3,) linear factors of R, G, B.

    Returns
    -------
    (view.size, view.size, 4) float32: linear RGB and coverage.
    """
    pixels = view.project(vertices)
    tri, bary, _ = rasterise(pixels, faces, view.size, view.size)
    seen = tri >= 0
    weights = np.stack([1 - bary.sum(-1), bary[..., 0], bary[..., 1]], -1)[seen]
    corners = tri[seen]
    at = np.einsum("nk,nkc->nc", weights, uv[corners])
    height, width = texture.shape[:2]
    x = np.clip(at[:, 0] * width - 0.5, 0, width - 1.001)
    y = np.clip((1 - at[:, 1]) * height - 0.5, 0, height - 1.001)
    ix, iy = x.astype(int), y.astype(int)
    fx, fy = (x - ix)[:, None], (y - iy)[:, None]
    texels = [texture[iy + j, ix + i].astype(np.float32) / 255 for j in (0, 1) for i in (0, 1)]
    albedo = to_linear(
        (1 - fy) * ((1 - fx) * texels[0] + fx * texels[1]) + fy * ((1 - fx) * texels[2] + fx * texels[3])
    )
    normals = vertex_normals((vertices @ view.rotation.T).astype(np.float32), faces)
    n = np.einsum("nk,nkc->nc", weights, normals[faces[corners]])
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-6)
    light = np.clip((n @ lamp + 0.4) / 1.4, 0, None)  # wrapped: skin scatters
    shade = 1 + relief * (light - light.mean())
    out = np.zeros((view.size, view.size, 4), np.float32)
    out[seen, :3] = albedo * np.clip(shade, 0.1, None)[:, None] * tint
    out[seen, 3] = 1
    return out
