"""Rigid iterative closest point (ICP): which vertex belongs to which point (taught in
`notebooks/06_evaluate_nme`).

A volume has no fixed vertices, so the error of Jackson et al. (ICCV 2017, Eq. 2) needs a correspondence. The
authors found it with MATLAB's `pcregrigid`, point to point (issues 143 and 144 of
github.com/AaronJackson/vrn), kept the pairs and threw the moved mesh away. ICP (Besl and McKay 1992) pairs
each point with the nearest vertex, moves all points rigidly as near to their partners as possible (least
squares), and repeats.

Here the *truth* (19,000 points) looks for partners among the *predicted* vertices (some 70,000), so each
point of the face region has exactly one, as Eq. 2 sums. Moving the truth onto the prediction or the
prediction onto the truth gives the same pairs, since a rigid motion keeps distances; one index over vertices
that do not move (`vrnlib.nearest`) then serves all iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vrnlib.nearest import Nearest, checked, new_state, search

MAX_ITERATIONS = 50
"""ICP stops here, converged or not."""
TOLERANCE = 1e-4
"""Of the moving points' extent (translation) and in radians (rotation): the mean change of the last three
iterations below which ICP has converged."""


@dataclass(frozen=True)
class Motion:
    """A similarity ``p' = scale * rotation @ p + translation``; `scale` is 1 for a rigid motion.

    Attributes
    ----------
    rotation : (3, 3) float, a proper rotation.
    translation : (3,) float, units of the points.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float = 1.0

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Move points (N, 3): (N, 3) float64."""
        return points @ (self.scale * self.rotation.T) + self.translation

    def inverse(self) -> Motion:
        """The motion that takes everything back."""
        back = self.rotation.T / self.scale
        return Motion(self.rotation.T, -back @ self.translation, 1 / self.scale)

    @property
    def degrees(self) -> float:
        """Angle of the rotation, 0..180."""
        return float(np.rad2deg(_angle(self.rotation)))


STILL = Motion(np.eye(3), np.zeros(3))
"""The motion that moves nothing."""


@dataclass(frozen=True)
class Registration:
    """What ICP found.

    Attributes
    ----------
    motion : Motion, moving points -> fixed vertices.
    matches : (M,) int64, the fixed vertex nearest to each moved point.
    distances : (M,) float, from the moved points to them.
    iterations : how often the motion was estimated.
    converged : whether it stopped by tolerance and not by the number of iterations.
    """

    motion: Motion
    matches: np.ndarray
    distances: np.ndarray
    iterations: int
    converged: bool


def fit(points: np.ndarray, targets: np.ndarray, scale: bool = False) -> Motion:
    """Least-squares motion of points (N, 3) onto targets (N, 3), row by row (Kabsch 1976; with `scale`
    Umeyama 1991). Never a reflection.
    """
    points = np.ascontiguousarray(points, np.float64)
    return _solve(_moments(points, targets, np.arange(len(points)), points[0], targets[0]), scale)


def _solve(moments: tuple[np.ndarray, np.ndarray, np.ndarray, float], scale: bool) -> Motion:
    a, b, covariance, spread = moments
    u, s, vt = np.linalg.svd(covariance)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt)) or 1])
    rotation = (vt.T * sign) @ u.T
    factor = float((s * sign).sum()) / spread if scale and spread > 0 else 1.0
    return Motion(rotation, b - factor * rotation @ a, factor)


def register(
    moving: np.ndarray,
    fixed: np.ndarray | Nearest,
    *,
    start: Motion = STILL,
    scale: bool = False,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Registration:
    """Iterative closest point: moves points onto the nearest vertices of a cloud.

    It has converged when, in the mean over the last three iterations (fewer at first), the centroid moved by
    less than `tolerance` times the largest extent of the moving points and the rotation changed by less than
    `tolerance` radians (with `scale`: rotation and relative growth together). MATLAB's rule is of this form,
    with a translation in the data's units, measured at the origin; ours depends on neither. The pairs are
    looked up once more in the final position.

    Parameters
    ----------
    moving : (M, 3) float; fixed : (V, 3) float, or an index over it that is there already.
    start : where the moving points begin.
    scale : also estimate a scale. The paper's protocol does not.
    tolerance : 0 runs all iterations.

    Raises
    ------
    VrnError : a wrong shape, no points, or NaN.
    """
    moving = checked(moving, "moving points")
    index = fixed if isinstance(fixed, Nearest) else Nearest(fixed)
    vertices, grid = index.sorted, index.grid
    limit = tolerance * float(np.ptp(moving, axis=0).max())
    centre, zero = moving.mean(0), vertices[0]
    radius = float(np.linalg.norm(moving - centre, axis=1).mean())
    # neighbours in space are neighbours in memory: twice as fast
    order = np.lexsort(np.floor((start.apply(moving) - index.origin) / index.cell).T[::-1])
    moving = moving[order]
    matches = np.full(len(moving), -1, np.int64)
    state, distances = new_state(len(moving)), np.empty(len(moving))
    motion, converged, moved = start, False, np.inf
    changes: list[tuple[float, float]] = []
    while len(changes) < max_iterations and not converged:
        search(motion.apply(moving), matches, distances, state, moved, *grid)
        former, motion = motion, _solve(_moments(moving, vertices, matches, centre, zero), scale)
        step = float(np.linalg.norm(motion.apply(centre) - former.apply(centre)))
        turn = _angle(motion.rotation @ former.rotation.T)
        grown = abs(motion.scale / former.scale - 1)
        changes.append((step, turn + grown))
        moved = step + (turn + grown) * radius
        mean_step, mean_turn = np.mean(changes[-3:], axis=0)
        converged = bool(mean_step < limit and mean_turn < tolerance)
    search(motion.apply(moving), matches, distances, state, np.inf, *grid)
    back = np.argsort(order)
    return Registration(motion, index.order[matches][back], distances[back], len(changes), converged)


def _angle(rotation: np.ndarray) -> float:
    # radians; from sine and cosine, since the cosine alone is blind to small angles
    sine = np.linalg.norm(rotation - rotation.T) / 8**0.5
    return float(np.arctan2(sine, (np.trace(rotation) - 1) / 2))


@numba.njit(cache=True, nogil=True)
def _moments(points, vertices, matches, zero_p, zero_q):
    # Centroids, covariance (3, 3) and spread of points and partners, in one pass; sums are taken about two
    # points nearby, lest digits be lost far from the origin.
    n = points.shape[0]
    p, q, a, b, cov, spread = np.zeros(3), np.zeros(3), np.empty(3), np.empty(3), np.zeros((3, 3)), 0.0
    for k in range(n):
        for i in range(3):
            a[i], b[i] = points[k, i] - zero_p[i], vertices[matches[k], i] - zero_q[i]
            p[i] += a[i]
            q[i] += b[i]
            spread += a[i] * a[i]
        for i in range(3):
            for j in range(3):
                cov[i, j] += a[i] * b[j]
    for i in range(3):
        spread -= p[i] * p[i] / n
        for j in range(3):
            cov[i, j] -= p[i] * q[j] / n
    return p / n + zero_p, q / n + zero_q, cov, spread
