"""How far a reconstruction is from the truth (taught in `notebooks/03_train_vrn`).

The normalised mean error of Jackson et al. 2017, Eq. 2: the mean distance between corresponding points of
truth and reconstruction, divided by the 3-D distance between the outer eye corners of the truth. A volume has
no fixed vertices, so correspondence has to be found: here each point of the truth is given the nearest vertex
of the isosurface. Another correspondence (iterative closest point, the paper's) is another array of vertex
numbers, handed to `nme` as `matches`; the error is always measured on vertices that were not moved by it.

Under an orthographic camera depth has no origin, so z is aligned first: only shifted, never scaled or turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from vrnlib.errors import VrnError

YAW_EDGES = (0.0, 30.0, 60.0, 90.0)
"""Edges of the bands of absolute yaw in degrees, as AFLW2000-3D is usually reported."""


def interocular(eyes: np.ndarray | Sequence[Sequence[float]] | float) -> float:
    """Outer interocular distance d of Eq. 2 from two outer eye corners (2, 3), or d itself.

    Raises
    ------
    VrnError : not two 3-D points, or the distance is not a positive number.
    """
    corners = np.asarray(eyes, dtype=np.float64)
    if corners.shape not in ((), (2, 3)):
        raise VrnError(f"the eyes are two outer corners (2, 3) or their distance, got shape {corners.shape}")
    d = float(corners) if corners.ndim == 0 else float(np.linalg.norm(corners[0] - corners[1]))
    if not (np.isfinite(d) and d > 0):
        raise VrnError(f"the interocular distance is {d:g}: check the eye corners")
    return d


def nearest(vertices: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each point of the truth (M, 3) the number of the nearest of the vertices (V, 3): (M,) int."""
    return cKDTree(vertices).query(truth)[1]


def depth_shift(
    vertices: np.ndarray, truth: np.ndarray, d: float, matches: np.ndarray | None = None
) -> float:
    """What to add to the reconstruction's z so that its mean depth over corresponding points is the truth's.

    The plain means of both meshes would not do: the isosurface of a solid has a back and walls, the truth is
    a surface. So the mean is taken over pairs. With given `matches` that is all. Without, the pairs depend on
    the shift: we start where the two front surfaces lie at the same depth (median over the cells of a grid in
    x, y that both cover), and repeat pairing and shifting until the shift moves by less than d / 10,000.

    Parameters
    ----------
    vertices, truth : (V, 3) and (M, 3) float, same frame, z along the viewing direction.
    d : interocular distance, same units; sets the scale of the grid's cells (d / 25) and of the tolerance.
    matches : (M,) int, optional.
    """
    if matches is not None:
        return float((truth[:, 2] - vertices[matches, 2]).mean())
    shift = _front_shift(vertices, truth, d / 25)
    tree = cKDTree(vertices)
    for _ in range(30):
        pairs = tree.query(truth - [0, 0, shift])[1]
        former, shift = shift, float((truth[:, 2] - vertices[pairs, 2]).mean())
        if abs(shift - former) < d * 1e-4:
            break
    return shift


def _front_shift(vertices: np.ndarray, truth: np.ndarray, cell: float) -> float:
    # Difference of the two front depth maps, on square cells; plain means if the two do not overlap at all.
    origin = truth[:, :2].min(0)
    cell = max(cell, float(np.ptp(truth[:, :2], axis=0).max()) / 1000)  # a bound on memory
    extent = np.floor((truth[:, :2].max(0) - origin) / cell).astype(np.int64) + 1
    maps = np.full((2, *extent), -np.inf)
    for depth, points in zip(maps, (truth, vertices), strict=True):
        at = np.floor((points[:, :2] - origin) / cell).astype(np.int64)
        inside = ((at >= 0) & (at < extent)).all(1)
        np.maximum.at(depth, tuple(at[inside].T), points[inside, 2])
    both = np.isfinite(maps).all(0)
    if not both.any():
        return float(truth[:, 2].mean() - vertices[:, 2].mean())
    return float(np.median(maps[0][both] - maps[1][both]))


def point_errors(
    vertices: np.ndarray,
    truth: np.ndarray,
    eyes: np.ndarray | Sequence[Sequence[float]] | float,
    *,
    matches: np.ndarray | None = None,
    align_z: bool = True,
) -> np.ndarray:
    """Distance of each point of the truth to its partner over the interocular distance, (M,); see `nme`."""
    vertices, truth = _points(vertices, "reconstruction"), _points(truth, "truth")
    d = interocular(eyes)
    if matches is not None and np.shape(matches) != (len(truth),):
        raise VrnError(
            f"matches must name one vertex for each of the {len(truth)} points of the truth, "
            f"got shape {np.shape(matches)}"
        )
    if align_z:
        vertices = vertices + [0, 0, depth_shift(vertices, truth, d, matches)]
    if matches is None:
        matches = nearest(vertices, truth)
    return np.linalg.norm(vertices[matches] - truth, axis=1) / d


def nme(
    vertices: np.ndarray,
    truth: np.ndarray,
    eyes: np.ndarray | Sequence[Sequence[float]] | float,
    *,
    matches: np.ndarray | None = None,
    align_z: bool = True,
) -> float:
    """Normalised mean error (Eq. 2) of one face: 0.05 is 5 % of the distance between the outer eye corners.

    Parameters
    ----------
    vertices : (V, 3) float, the reconstruction's vertices; any frame, the same as the truth's (z along the
        viewing direction).
    truth : (M, 3) float, points of the true face region (the authors use about 19,000).
    eyes : (2, 3) outer eye corners of the truth (iBUG 37 and 46), or their distance.
    matches : (M,) int, the vertex that belongs to each point; None takes the nearest (after alignment in z).
    align_z : shift the reconstruction in z first, see `depth_shift`.

    Raises
    ------
    VrnError : a wrong shape, an empty or not finite mesh, eye corners that coincide.
    """
    return float(point_errors(vertices, truth, eyes, matches=matches, align_z=align_z).mean())


def iou(volume: np.ndarray, truth: np.ndarray, level: float = 0.5) -> float:
    """Intersection over union of two volumes, 0..1; filled is ``> level``. Two empty volumes score 1.

    Raises
    ------
    VrnError : the shapes differ.
    """
    volume, truth = np.asarray(volume), np.asarray(truth)
    if volume.shape != truth.shape:
        raise VrnError(f"volumes of different shapes cannot be compared: {volume.shape} and {truth.shape}")
    a, b = (v if v.dtype == np.bool_ else v > level for v in (volume, truth))
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95, n: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of the mean by the percentile bootstrap: (low, high).

    The faces are drawn again `n` times, with replacement. The interval says how far the mean would move with
    other faces of the same kind, not with another training run.

    Raises
    ------
    VrnError : no values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise VrnError(f"an interval needs a list of finite values, got shape {values.shape}")
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(n)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary(values: Sequence[float] | np.ndarray, *, level: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Errors of many faces -> `faces`, `failed`, `mean`, `interval` (of the mean), `median`.

    NaN marks a face without result: it is counted in `failed`, never silently averaged away. With no result
    at all the numbers are None.
    """
    values = np.asarray(values, dtype=np.float64)
    good = values[np.isfinite(values)]
    counts = {"faces": len(values), "failed": len(values) - len(good)}
    if not len(good):
        return {**counts, "mean": None, "interval": None, "median": None}
    interval = bootstrap_interval(good, level, seed=seed)
    return {**counts, "mean": float(good.mean()), "interval": interval, "median": float(np.median(good))}


def by_yaw(
    values: Sequence[float] | np.ndarray,
    yaw_degrees: Sequence[float] | np.ndarray,
    edges: Sequence[float] = YAW_EDGES,
    *,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """`summary` for each band of absolute yaw: rows with `low`, `high` (degrees) and the summary's fields.

    A band is ``low <= |yaw| < high``; the last includes its upper edge.

    Raises
    ------
    VrnError : lengths differ, edges do not increase, or a yaw lies outside of the edges (a face would be
    lost).
    """
    values, yaw = np.asarray(values, dtype=np.float64), np.abs(np.asarray(yaw_degrees, dtype=np.float64))
    edges = np.asarray(edges, dtype=np.float64)
    if values.shape != yaw.shape or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise VrnError(
            f"need one yaw a value and increasing edges, got {values.shape} values, {yaw.shape} yaws, "
            f"edges {edges.tolist()}"
        )
    # the last edge gets the float32 noise of an angle of exactly 90 degrees
    outside = ~((yaw >= edges[0]) & (yaw <= edges[-1] + 1e-3))
    if outside.any():
        raise VrnError(
            f"{int(outside.sum())} faces have a yaw outside of {edges[0]:g}..{edges[-1]:g} degrees: "
            "widen the edges"
        )
    band = np.clip(np.searchsorted(edges, yaw, side="right") - 1, 0, len(edges) - 2)
    return [
        {"low": float(edges[i]), "high": float(edges[i + 1]), **summary(values[band == i], seed=seed)}
        for i in range(len(edges) - 1)
    ]


def _points(points: np.ndarray, name: str) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise VrnError(f"the {name} must be points (N, 3) with N > 0, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise VrnError(f"the {name} holds NaN or infinite coordinates")
    return points
