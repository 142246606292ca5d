"""How far a test face lies from what training has shown: distance to the span of the 3D morphable model.

The model (:mod:`vrnlib.baselines.morphable`) is the linear summary of training's faces. A true shape is
brought onto it by turns: similarity (pose and size are not shape), then least squares for the coefficients,
along the normals at the nearest vertices. What remains is

- `residual`: mean height of the true points over the best model face, over the outer interocular distance, as
  in Eq. 2: no fitting of this model can have a smaller error after alignment, whatever it sees;
- `typicality`: root mean square of the coefficients in standard deviations, 1 for training's own faces.

Nearest points, not known correspondences, for all databases alike: a scan has none. A face can slide along
itself for free, so the residual is a little smaller than with correspondences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vrnlib.baselines.morphable import Morphable
from vrnlib.databases.landmark_transfer import similarity
from vrnlib.errors import VrnError
from vrnlib.faces import rotation_matrix
from vrnlib.render import vertex_normals

POINTS = 1500
"""True points that take part, evenly out of all."""
STEPS = 12
PRIOR = 1.0
"""mm^2: how much a squared standard deviation costs, as in :meth:`Morphable.project`."""
_DOWN = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Distance:
    """See the module. `identity` (I,) and `expression` (J,) are the coefficients in standard deviations."""

    residual: float
    typicality: float
    identity: np.ndarray
    expression: np.ndarray


class Span:
    """The model, made ready for many faces."""

    def __init__(self, model: Morphable) -> None:
        both = np.concatenate([model.identity_basis, model.expression_basis])
        moved = [model.surface(b.reshape(-1, 3), 1)[0] for b in both]
        self.basis = np.stack(moved).astype(np.float64)  # (K, N, 3) of the face surface, cut finer
        mean, self.faces = model.surface(model.mean, 1)
        self.mean = mean.astype(np.float64)
        self.corners = model.mean[model.landmarks[[36, 45]]].astype(np.float64)
        self.identities = len(model.identity_basis)

    def distance(self, points: np.ndarray, eyes: np.ndarray, pose: np.ndarray) -> Distance:
        """Distance of one true face to the model.

        Parameters
        ----------
        points : (P, 3) true points, eyes : (2, 3) outer eye corners, both in the crop's frame (x right, y
            down, z towards the viewer), pixels.
        pose : (3,) pitch, yaw, roll in radians, from where the search begins.

        Raises
        ------
        VrnError : not finite, or fewer than 100 points.
        """
        points, eyes = np.asarray(points, np.float64), np.asarray(eyes, np.float64)
        if points.ndim != 2 or len(points) < 100 or not np.isfinite(points).all():
            raise VrnError(f"the distance of a shape needs 100 finite points or more, got {points.shape}")
        pixels = float(np.linalg.norm(eyes[0] - eyes[1]))
        scale = float(np.linalg.norm(self.corners[0] - self.corners[1])) / pixels  # millimetres a pixel
        some = points[:: max(1, len(points) // POINTS)]
        true = (some - eyes.mean(0)) * _DOWN * scale @ rotation_matrix(*pose) + self.corners.mean(0)
        shape, a = self.mean, np.zeros(len(self.basis))
        for _ in range(STEPS):
            near, normals, height = self._heights(true, shape)
            factor, turn, shift = similarity(true, true - normals * height[:, None])
            true, scale = factor * true @ turn.T + shift, scale * factor
            near, normals, _ = self._heights(true, shape)
            design = np.einsum("knc,nc->kn", self.basis[:, near], normals)
            target = ((true - self.mean[near]) * normals).sum(1)
            a = np.linalg.solve(design @ design.T + PRIOR * np.eye(len(a)), design @ target)
            shape = self.mean + np.tensordot(a, self.basis, 1)
        away = np.abs(self._heights(true, shape)[2])
        typical = float(np.sqrt((a**2).mean()))
        return Distance(
            float(away.mean() / (pixels * scale)), typical, a[: self.identities], a[self.identities :]
        )

    def _heights(self, true: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # nearest vertex of each point, its normal, and the point's height over the plane through it
        _, near = cKDTree(shape).query(true)
        normals = vertex_normals(shape, self.faces)[near]
        return near, normals, ((true - shape[near]) * normals).sum(1)
