"""The camera of every sample: from a model's millimetres to the pixels of the crop, without perspective.

``(x, y, z) -> scale * (R p) * (1, -1, 1) + offset``. Model frame: millimetres, x to the viewer's right, y up,
z towards the viewer. Crop frame: pixels, x right, y down, z towards the viewer (see :mod:`vrnlib.voxel`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.databases.sample import FRONT_MARGIN
from vrnlib.errors import VrnError
from vrnlib.faces import rotation_matrix
from vrnlib.voxel import Grid

_DOWN = np.array([1.0, -1.0, 1.0])  # y up -> y down
_STEPS = 30


@dataclass(frozen=True)
class WeakPerspective:
    """Scaled orthographic projection that keeps depth.

    Parameters
    ----------
    scale : pixels a millimetre, > 0.
    rotation : (3, 3), determinant 1, acts on column vectors of the model frame.
    offset : (3,) pixels, where the model's origin lands; its z is free, since no picture shows it.
    """

    scale: float
    rotation: np.ndarray
    offset: np.ndarray

    @classmethod
    def from_angles(
        cls, scale: float, pose: np.ndarray, offset: np.ndarray | tuple[float, ...] = (0.0, 0.0, 0.0)
    ) -> WeakPerspective:
        """From `pose`, (3,) pitch, yaw, roll in radians in 300W-LP's order; `offset` (2,) or (3,) pixels."""
        full = np.zeros(3)
        full[: len(offset)] = offset
        return cls(float(scale), rotation_matrix(*pose), full)

    @classmethod
    def normalised(cls, landmarks: np.ndarray, pose: np.ndarray, size: int) -> WeakPerspective:
        """The paper's crop of a head in a pose, without augmentation: the camera of such samples.

        Parameters
        ----------
        landmarks : (68, 3) mm, model frame; pose : (3,) radians; size : of the window in pixels.
        """
        rotation = rotation_matrix(*pose)
        crop = Crop.from_landmarks(((landmarks @ rotation.T) * _DOWN)[:, :2], size)
        return cls(crop.scale, rotation, np.array([*crop.offset, 0.0]))

    @classmethod
    def fit(
        cls, points: np.ndarray, pixels: np.ndarray, weights: np.ndarray | None = None
    ) -> WeakPerspective:
        """The camera that brings points nearest to their pixels in the least squares sense; offset z is 0.

        A linear affine camera is brought to the nearest scaled rotation, then refined by Gauss-Newton.

        Parameters
        ----------
        points : (N, 3) mm, N >= 4, not in one plane; pixels : (N, 2).
        weights : (N,) >= 0, of the squared distances.

        Raises
        ------
        VrnError : wrong shapes, values that are not finite, or points that are too few or in one plane.
        """
        points, pixels = np.asarray(points, np.float64), np.asarray(pixels, np.float64)
        w = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
        if points.shape != (len(pixels), 3) or pixels.shape[1:] != (2,) or w.shape != (len(points),):
            raise VrnError(
                f"a pose needs points (N, 3) and as many pixels (N, 2), got {points.shape}, {pixels.shape}"
            )
        if not (np.isfinite(points).all() and np.isfinite(pixels).all() and np.isfinite(w).all()):
            raise VrnError("points or pixels for a pose hold NaN or infinite values: check the landmarks")
        root = np.sqrt(w / max(w.sum(), 1e-12))[:, None]
        middle, centre = (root**2 * points).sum(0), (root**2 * pixels).sum(0)
        a, b = root * (points - middle), root * (pixels - centre) * [1, -1]
        singular = np.linalg.svd(a, compute_uv=False)
        if len(points) < 4 or singular[-1] < 1e-4 * singular[0]:
            raise VrnError("a pose needs at least four points that do not lie in one plane")
        affine = np.linalg.lstsq(a, b, rcond=None)[0].T  # (2, 3)
        u, s, vt = np.linalg.svd(affine, full_matrices=False)
        if s[0] < 1e-12:
            raise VrnError("all pixels for a pose coincide: check the landmarks")
        first = u @ vt
        rotation, scale = np.stack([*first, np.cross(*first)]), float(s.mean())
        for _ in range(_STEPS):
            turned = a @ rotation.T
            residual = (b - scale * turned[:, :2]).T.ravel()
            x, y, z = turned.T
            none = np.zeros_like(x)
            # small turns about x, y, z: d(x, y) = (wy z - wz y, wz x - wx z); then the logarithm of scale
            jacobian = scale * np.concatenate([np.stack([none, z, -y, x], 1), np.stack([-z, none, x, y], 1)])
            step = np.linalg.lstsq(jacobian, residual, rcond=None)[0]
            rotation, scale = _turn(step[:3]) @ rotation, scale * float(np.exp(np.clip(step[3], -1, 1)))
            if np.abs(step).max() < 1e-12:
                break
        xy = centre - (middle @ rotation.T)[:2] * [scale, -scale]
        return cls(scale, rotation, np.array([*xy, 0.0]))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Model millimetres (..., 3) -> pixels of the crop (..., 3), float64."""
        return (np.asarray(points) @ self.rotation.T) * (_DOWN * self.scale) + self.offset

    def invert(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 3) -> model millimetres (..., 3); the inverse of :meth:`apply`."""
        return ((np.asarray(pixels) - self.offset) / (_DOWN * self.scale)) @ self.rotation

    @property
    def pose(self) -> np.ndarray:
        """(3,) pitch, yaw, roll in radians: the inverse of :func:`vrnlib.faces.rotation_matrix`."""
        r = self.rotation
        yaw = np.arcsin(np.clip(-r[0, 2], -1, 1))
        return np.array([np.arctan2(r[1, 2], r[2, 2]), yaw, np.arctan2(r[0, 1], r[0, 0])])

    def in_front(self, vertices: np.ndarray, grid: Grid) -> WeakPerspective:
        """The same view, with the z of `offset` such that the front-most of `vertices` (N, 3) mm lies where
        samples have it: `FRONT_MARGIN` behind the front of the volume.
        """
        z = self.apply(vertices)[:, 2].max()
        front = float(grid.z_of(grid.depth - 1)) - FRONT_MARGIN * (grid.size / REFERENCE_SIZE)
        return replace(self, offset=self.offset + [0.0, 0.0, front - z])


def _turn(w: np.ndarray) -> np.ndarray:
    # rotation vector -> matrix (Rodrigues)
    angle = float(np.linalg.norm(w))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = w / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
