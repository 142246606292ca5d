"""From errors of faces to what a table says: intervals, curves, breakdowns, comparisons (taught in
`notebooks/06_evaluate_nme`).

A face without a result is NaN. It is counted as failed, never silently averaged away: means leave it out and
say so, cumulative curves count it as worse than any threshold.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from vrnlib.errors import VrnError

YAW_EDGES = (0.0, 30.0, 60.0, 90.0)
"""Edges of the bands of absolute yaw in degrees, as AFLW2000-3D is usually reported."""
SHARE_LEVELS = (0.05, 0.08, 0.10)
"""NME below which the share of faces is told."""


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    level: float = 0.95,
    n: int = 2000,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> tuple[float, float]:
    """Confidence interval of the mean by the percentile bootstrap: (low, high).

    The faces are drawn again `n` times, with replacement. The interval says how far the mean would move with
    other faces of the same kind, not with another training run. Twenty images of one person are not twenty
    independent faces: with `groups` (one label a face, such as the identity) whole persons are drawn (cluster
    bootstrap), and the interval becomes as wide as it should be.

    Raises
    ------
    VrnError : no values, one is not finite, or not one group a value.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise VrnError(f"an interval needs a list of finite values, got shape {values.shape}")
    low, high = np.quantile(_means(values, n, seed, groups), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _means(
    values: np.ndarray, n: int, seed: int, groups: Sequence[Hashable] | np.ndarray | None
) -> np.ndarray:
    # Means of n bootstrap samples.
    rng = np.random.default_rng(seed)
    if groups is None:
        return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(n)])
    if len(groups) != len(values):
        raise VrnError(f"need one group a value, got {len(groups)} groups for {len(values)} values")
    _, label = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    counts, sums = np.bincount(label), np.bincount(label, values)
    drawn = rng.integers(len(counts), size=(n, len(counts)))
    return sums[drawn].sum(1) / counts[drawn].sum(1)


def summary(
    values: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> dict[str, Any]:
    """Errors of many faces -> `faces`, `failed`, `mean`, `interval` (of the mean), `median`.

    With no result at all the numbers are None. `groups` as in `bootstrap_interval`.
    """
    values = np.asarray(values, dtype=np.float64)
    fine = np.isfinite(values)
    good = values[fine]
    counts = {"faces": len(values), "failed": len(values) - len(good)}
    if not len(good):
        return {**counts, "mean": None, "interval": None, "median": None}
    if groups is not None:
        groups = [g for g, ok in zip(groups, fine, strict=True) if ok]
    interval = bootstrap_interval(good, level, seed=seed, groups=groups)
    return {**counts, "mean": float(good.mean()), "interval": interval, "median": float(np.median(good))}


def shares(
    values: Sequence[float] | np.ndarray, levels: Sequence[float] = SHARE_LEVELS
) -> dict[str, float | None]:
    """Share (0..1) of all faces with an error below each level, by the level as text, "0.05"."""
    values = np.asarray(values, dtype=np.float64)
    return {f"{x:.2f}": float((values < x).mean()) if len(values) else None for x in levels}


def cumulative_curve(
    values: Sequence[float] | np.ndarray, most: float = 0.2, points: int = 201
) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative error curve: thresholds 0..`most`, and the share (0..1) of faces with at most that error.

    Raises
    ------
    VrnError : no faces.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise VrnError("a curve needs at least one face")
    thresholds = np.linspace(0, most, points)
    good = np.sort(values[np.isfinite(values)])
    return thresholds, np.searchsorted(good, thresholds, side="right") / len(values)


def by_yaw(
    values: Sequence[float] | np.ndarray,
    yaw_degrees: Sequence[float] | np.ndarray,
    edges: Sequence[float] = YAW_EDGES,
    *,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
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
    rows = []
    for i in range(len(edges) - 1):
        own = None if groups is None else [g for g, b in zip(groups, band, strict=True) if b == i]
        part = summary(values[band == i], seed=seed, groups=own)
        rows.append({"low": float(edges[i]), "high": float(edges[i + 1]), **part})
    return rows


def by_label(
    values: Sequence[float] | np.ndarray,
    labels: Sequence[Hashable],
    *,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """`summary` for each label, such as the expression or the identity, in alphabetical order.

    Raises
    ------
    VrnError : not one label a value.
    """
    values = np.asarray(values, dtype=np.float64)
    names = np.asarray([str(x) for x in labels])
    if names.shape != values.shape:
        raise VrnError(f"need one label a value, got {len(names)} labels for {len(values)} values")
    rows = {}
    for name in sorted(set(names.tolist())):
        own = None if groups is None else [g for g, n in zip(groups, names, strict=True) if n == name]
        rows[name] = summary(values[names == name], seed=seed, groups=own)
    return rows


def compare(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    n: int = 2000,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> dict[str, Any]:
    """Two methods on the same faces: is the difference of their means more than chance?

    Faces that either method failed on are left out, and counted.

    Returns
    -------
    faces, left_out : how many.
    difference : mean of a - b; negative if `a` is better. interval : by paired bootstrap (of persons, with
    `groups`); it does not hold 0 where the difference is clear.
    t, p : paired t-test, two-sided, as in Jackson's thesis; None where all differences are equal.
    It takes faces as independent, so with several images a person p is too small; look at the interval.

    Raises
    ------
    VrnError : the lists differ in length, or fewer than 2 faces have both results.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise VrnError(f"a paired comparison needs the same faces twice, got {a.shape} and {b.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 2:
        raise VrnError(f"only {int(both.sum())} faces have both results: at least 2 are needed")
    difference = a[both] - b[both]
    if groups is not None:
        groups = [g for g, ok in zip(groups, both, strict=True) if ok]
    test = stats.ttest_rel(a[both], b[both]) if np.ptp(difference) > 0 else None
    return {
        "faces": int(both.sum()),
        "left_out": int((~both).sum()),
        "difference": float(difference.mean()),
        "interval": bootstrap_interval(difference, level, n, seed, groups),
        "t": None if test is None else float(test.statistic),
        "p": None if test is None else float(test.pvalue),
    }
