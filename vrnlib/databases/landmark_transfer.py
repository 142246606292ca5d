"""Our mean face laid onto a mesh of another topology, to carry landmarks and canonical coordinates over (used
by :mod:`vrnlib.databases.mapped_scans`).

The steps are the usual ones (Amberg et al., CVPR 2007): a similarity from a few anchors, similarity ICP, then
non-rigid ICP whose stiffness is lowered in stages. The deformed mean face afterwards lies on the target, and
what is known on one is read off at the nearest surface point of the other. Frames: both meshes in
millimetres, x to the viewer's right, y up, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from vrnlib.render import vertex_normals
from vrnlib.voxel import border_edges

STIFFNESS = (30.0, 10.0, 3.0, 1.0, 0.3)
"""Weight of smoothness against closeness, stage by stage."""
ROUNDS = 4
"""Correspondences are looked for this often in every stage."""


@dataclass(frozen=True)
class Target:
    """A surface ready for nearest-point queries: vertices (V, 3) float64 and faces (F, 3) int32."""

    vertices: np.ndarray
    faces: np.ndarray

    def __post_init__(self) -> None:
        corners = self.vertices[self.faces]
        object.__setattr__(self, "_corners", corners)
        object.__setattr__(self, "_tree", cKDTree(corners.mean(1)))
        object.__setattr__(self, "_normals", vertex_normals(self.vertices, self.faces))
        border = np.zeros(len(self.vertices), bool)
        border[border_edges(self.faces).ravel()] = True
        object.__setattr__(self, "_border", border)

    def nearest(self, points: np.ndarray, candidates: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nearest surface point of each of (N, 3): its triangle (N,) int, barycentric weights (N, 3), and
        whether it lies on the surface's border (N,) bool. Triangles are looked for among the `candidates`
        with the nearest centroids.
        """
        from trimesh.triangles import closest_point, points_to_barycentric

        k = min(candidates, len(self.faces))
        ids = self._tree.query(points, k=k)[1].reshape(len(points), k)
        flat = self._corners[ids.ravel()]
        close = closest_point(flat, np.repeat(points, k, 0)).reshape(len(points), k, 3)
        best = ((close - points[:, None]) ** 2).sum(2).argmin(1)
        rows = np.arange(len(points))
        triangle = ids[rows, best]
        weights = points_to_barycentric(self._corners[triangle], close[rows, best])
        weights = np.clip(np.nan_to_num(weights, nan=1 / 3), 0, 1)
        weights /= weights.sum(1, keepdims=True)
        corner_on_border = self._border[self.faces[triangle]] & (weights > 1e-6)
        on_border = (corner_on_border | (weights <= 1e-6)).all(1)
        return triangle, weights, on_border

    def at(self, triangle: np.ndarray, weights: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """Values (V, C) given at the vertices (default: positions), interpolated to points (N, C)."""
        values = self.vertices if values is None else values
        return np.einsum("nk,nkc->nc", weights, values[self.faces[triangle]])

    def normals(self, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unit normals (N, 3) at points of the surface."""
        n = self.at(triangle, weights, self._normals.astype(np.float64))
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Least-squares similarity (Umeyama 1991) of (N, 3) onto (N, 3): scale, rotation (3, 3), translation
    (3,); ``target = scale * source @ rotation.T + translation``.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * flip) @ vt
    scale = float((s * flip).sum() / (a**2).sum())
    return scale, rotation, target.mean(0) - scale * source.mean(0) @ rotation.T


def _moved(points: np.ndarray, transform: tuple[float, np.ndarray, np.ndarray]) -> np.ndarray:
    scale, rotation, translation = transform
    return scale * points @ rotation.T + translation


def align(
    source: np.ndarray, faces: np.ndarray, target: Target, anchors: np.ndarray, places: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Similarity of a face surface onto a target: from anchors, then by ICP on the nearer 80 % of the pairs.

    Parameters
    ----------
    source : (S, 3) mm; faces : (G, 3) int, its triangles.
    anchors : (A,) int, vertices of the source; places : (A, 3) where they lie on the target.

    Returns
    -------
    scale, rotation (3, 3), translation (3,).
    """
    transform = similarity(source[anchors], places)
    for _ in range(20):
        moved = _moved(source, transform)
        place, good = _pairs(moved, vertex_normals(moved, faces), target, 15.0)
        distance = np.linalg.norm(place - moved, axis=1)
        good &= distance <= np.quantile(distance[good], 0.8)
        transform = similarity(
            np.concatenate([source[good], source[anchors]]), np.concatenate([place[good], places])
        )
    return transform


def _pairs(
    points: np.ndarray, normals: np.ndarray, target: Target, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    # Nearest places (N, 3), and which of them count: near, facing the same way, not on the target's border.
    triangle, weights, on_border = target.nearest(points)
    place = target.at(triangle, weights)
    facing = (normals * target.normals(triangle, weights)).sum(1) > 0.6
    return place, facing & ~on_border & (np.linalg.norm(place - points, axis=1) < reach)


def _laplacian(faces: np.ndarray, n: int) -> scipy.sparse.csc_matrix:
    # uniform weights, rows normalised
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    ones = np.ones(len(a))
    adjacency = scipy.sparse.coo_matrix((ones, (a, b)), (n, n)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    degree = np.asarray(adjacency.sum(1)).ravel()
    return (scipy.sparse.identity(n) - scipy.sparse.diags(1 / np.maximum(degree, 1)) @ adjacency).tocsc()


def register(
    source: np.ndarray, faces: np.ndarray, target: Target, anchors: np.ndarray, places: np.ndarray,
    reach: float = 12.0, anchor_weight: float = 3.0,
) -> np.ndarray:  # fmt: skip
    """Lay a face surface onto a target: :func:`align`, then non-rigid ICP.

    The displacement's Laplacian is held small, so what finds no partner (beyond the target's border, in a
    hole) follows its neighbours. Anchors weigh `anchor_weight` times an ordinary vertex and stay to the end.

    Parameters
    ----------
    source : (S, 3) mm; faces : (G, 3) int, oriented like the target's.
    anchors : (A,) int, vertices of the source; places : (A, 3) where they lie on the target.
    reach : mm within which a partner is accepted.

    Returns
    -------
    (S, 3) float64, the deformed surface.
    """
    start = _moved(source, align(source, faces, target, anchors, places))
    n = len(start)
    smooth = _laplacian(faces, n)
    smooth = (smooth.T @ smooth).tocsc()
    points = start.copy()
    for stiffness in STIFFNESS:
        for _ in range(ROUNDS):
            place, good = _pairs(points, vertex_normals(points, faces), target, reach)
            weight = good.astype(np.float64)
            pull = weight[:, None] * (place - start)
            np.add.at(weight, anchors, anchor_weight)
            np.add.at(pull, anchors, anchor_weight * (places - start[anchors]))
            # a whisper of rest position keeps the system regular where nothing pulls
            system = stiffness * 30 * smooth + scipy.sparse.diags(weight + 1e-4)
            points = start + splu(system.tocsc()).solve(pull)
    return points


def warp(controls: np.ndarray, places: np.ndarray, points: np.ndarray, smoothing: float = 1.0) -> np.ndarray:
    """Move points (N, 3) as the controls (C, 3) -> places (C, 3) tell: a biharmonic spline (kernel |r|) with
    an affine part, which also goes on sensibly outside the controls.
    """
    spline = RBFInterpolator(controls, places - controls, kernel="linear", smoothing=smoothing, degree=1)
    return points + spline(points)
