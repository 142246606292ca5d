"""Cumulative error curves, and the error broken down by yaw, expression and distance from training.

All from kept rows: nothing here predicts. The distance of a face is that of its true shape to the span of the
3D morphable model (`vrnlib.table1.span`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from vrnlib import scores
from vrnlib.table1.store import Store

MOST, POINTS = 0.25, 51
"""Largest threshold of a curve, and how many there are."""
DISTANCE_BINS = 4
"""Bins of the distance to the model's span, equally full over all databases together."""


def curve(store: Store, indices: Sequence[int], error: str = "nme") -> dict[str, list[float]]:
    """Share (0..1) of the faces with at most each error; failed faces count as beyond all."""
    thresholds, share = scores.cumulative_curve(store.column(error, indices), MOST, POINTS)
    return {"thresholds": np.round(thresholds, 4).tolist(), "shares": np.round(share, 4).tolist()}


def breakdown(store: Store, indices: Sequence[int], error: str = "nme") -> dict[str, Any]:
    """Curve, shares below usual errors, summaries by absolute yaw and by expression, of one method."""
    values, people = store.column(error, indices), store.column("identity", indices).tolist()
    expressions = store.column("expression", indices).tolist()
    out: dict[str, Any] = {
        "curve": curve(store, indices, error),
        "shares": scores.shares(values),
        "by_yaw": scores.by_yaw(values, store.column("yaw", indices), groups=people),
    }
    if len(set(expressions)) > 1:
        out["by_expression"] = scores.by_label(values, expressions, groups=people)
    return out


def edges(distances: Sequence[float] | np.ndarray, bins: int = DISTANCE_BINS) -> np.ndarray:
    """Edges (bins + 1,) that split distances into equally full bins; the outer ones hold all."""
    d = np.asarray(distances, np.float64)
    inner = np.quantile(d, np.linspace(0, 1, bins + 1))
    inner[0], inner[-1] = d.min(), np.nextafter(d.max(), np.inf)
    return np.unique(inner)


def by_distance(
    rows: Sequence[tuple[Store, Mapping[int, float], Sequence[int], str]],
    bounds: np.ndarray,
    error: str = "nme",
) -> list[dict[str, Any]]:
    """The error of one method within each band of distance, over several databases together.

    Parameters
    ----------
    rows : of each database the store of the method, distance by index, the indices, the database's name.
    bounds : of the bands, increasing (see :func:`edges`).

    Returns
    -------
    A `scores.summary` a band, with `low`, `high`; persons of different databases are different.
    """
    values, people, distances = [], [], []
    for store, distance, indices, database in rows:
        known = [i for i in indices if i in distance and i in store.rows]
        values += store.column(error, known).tolist()
        people += [f"{database} {p}" for p in store.column("identity", known)]
        distances += [distance[i] for i in known]
    v, d, p = np.array(values), np.array(distances), np.array(people, object)
    out = []
    for low, high in pairwise(bounds):
        inside = (d >= low) & (d < high) if len(d) else np.zeros(0, bool)
        summary = scores.summary(v[inside], groups=p[inside].tolist())
        out.append({"low": float(low), "high": float(high), **summary})
    return out
