"""Dynamic labelling on voxels: keep the face before there is a mesh (`notebooks/09_dynamic_labelling`).

The review (Sec. 3.1) calls this "complex and heavy" and turns to the mesh. It need not be: the fragments are
runs of filled voxels along depth (:mod:`vrnlib.runs`), a few thousand where there are a million voxels, and
two runs of neighbouring columns touch if they overlap in depth. Bodies are then united as on a mesh.

What differs from the mesh: a cavity inside of a body is a body of its own on the mesh and none here; and
bodies are measured by their volume here, by their triangles there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from vrnlib.errors import VrnError, did_you_mean
from vrnlib.runs import Runs, runs_of

Connectivity = Literal[6, 26]
"""Voxels are neighbours if they share a side (6), or a side, an edge or a corner (26)."""
POLICIES = ("largest", "all", "landmarks", "min-share")
MIN_SHARE = 0.1
"""What ``min-share`` alone means: bodies of a tenth of the largest one's volume or more stay."""


@dataclass(frozen=True)
class Policy:
    """Which bodies stay: `name` is one of :data:`POLICIES`, `share` is for ``min-share``."""

    name: str = "largest"
    share: float = MIN_SHARE


def parse_policy(text: str | Policy) -> Policy:
    """``largest``, ``all``, ``landmarks``, ``min-share`` or ``min-share=0.05`` -> Policy.

    Raises
    ------
    VrnError : anything else, or a share outside of 0..1.
    """
    if isinstance(text, Policy):
        return text
    name, equals, number = str(text).strip().partition("=")
    if name not in POLICIES:
        raise VrnError(
            f"unknown choice of bodies '{text}'{did_you_mean(name, POLICIES)}: use {', '.join(POLICIES)} or "
            "min-share=0.05"
        )
    if not equals:
        return Policy(name)
    try:
        share = float(number)
    except ValueError:
        share = float("nan")
    if name != "min-share" or not 0 <= share <= 1:
        raise VrnError(
            f"cannot read the choice of bodies '{text}': only min-share takes a number, between 0 and 1 "
            "(a share of the largest body)"
        )
    return Policy(name, share)


@numba.njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] >= 0:
        if parent[parent[i]] >= 0:  # path halving
            parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def _label_runs(column, begin, end, height, width, reach, sizes, steps):
    # Body number of each run, 0.. in the order in which bodies begin; sizes[b] becomes its voxels. A negative
    # parent is a root and minus the voxels of its tree (union by size). `reach` is 1 with 26 neighbours.
    n = column.shape[0]
    start = np.zeros(height * width + 1, np.int64)
    for r in range(n):
        start[column[r] + 1] += 1
    for p in range(height * width):
        start[p + 1] += start[p]
    parent = np.empty(n, np.int64)
    for r in range(n):
        parent[r] = -(np.int64(end[r]) - np.int64(begin[r]))
    for p in range(height * width):
        if start[p] == start[p + 1]:
            continue
        y, x = p // width, p % width
        # half of the neighbours: the others have met this column already
        for side in range(steps.shape[0]):
            qy, qx = y + steps[side, 0], x + steps[side, 1]
            if qy >= height or qx < 0 or qx >= width:
                continue
            q = qy * width + qx
            r, s = start[p], start[q]
            while r < start[p + 1] and s < start[q + 1]:  # both are sorted by depth
                if begin[s] < end[r] + reach and begin[r] < end[s] + reach:
                    a, b = _root(parent, r), _root(parent, s)
                    if a != b:
                        if parent[a] > parent[b]:
                            a, b = b, a
                        parent[a] += parent[b]
                        parent[b] = a
                if end[r] < end[s]:
                    r += 1
                else:
                    s += 1
    number = np.full(n, -1, np.int64)
    body = np.empty(n, np.int32)
    count = 0
    for r in range(n):
        a = _root(parent, r)
        if number[a] < 0:
            number[a] = count
            sizes[count] = -parent[a]
            count += 1
        body[r] = number[a]
    return body, count


@numba.njit(cache=True, nogil=True)
def _paint(out, column, begin, end, value):
    for r in range(column.shape[0]):
        out[column[r], begin[r] : end[r]] = value[r]


_HALF = {
    6: np.array([[0, 1], [1, 0]]),
    26: np.array([[0, 1], [1, -1], [1, 0], [1, 1]]),
}  # (row, column) steps to those neighbours of a pixel column that come after it


def _bodies(filled: NDArray[np.bool_], connectivity: int) -> tuple[Runs, np.ndarray, np.ndarray]:
    # (runs, body of each run from 0, voxels of each body)
    filled = np.asarray(filled)
    if filled.ndim != 3:
        raise VrnError(f"a volume has three axes (depth, row, column), got shape {filled.shape}")
    if connectivity not in _HALF:
        raise VrnError(f"voxels have 6 or 26 neighbours, not {connectivity}")
    if max(filled.shape) > 32767:
        raise VrnError(f"the volume {filled.shape} is too large: at most 32,767 voxels along an axis")
    if not filled.size:
        none = np.empty(0, np.int32)
        return (none, none.astype(np.int16), none.astype(np.int16)), none, np.empty(0, np.int64)
    runs = runs_of(filled if filled.dtype == np.bool_ else filled != 0)
    sizes = np.zeros(len(runs[0]), np.int64)
    reach = 1 if connectivity == 26 else 0
    body, count = _label_runs(*runs, *filled.shape[1:], reach, sizes, _HALF[connectivity])
    return runs, body, sizes[:count]


def label_voxels(
    filled: NDArray[np.bool_], connectivity: Connectivity = 26
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Label the bodies of a binary volume.

    Parameters
    ----------
    filled : (D, H, W) bool; fastest if depth columns are contiguous, as in what networks return.
    connectivity : 6 or 26 neighbours. With 26, no cell of the marching cubes holds two bodies.

    Returns
    -------
    labels : (D, H, W) int32, 0 where empty; bodies are numbered from 1, column by column.
    sizes : (N,) int64, voxels of body 1, 2, ...

    Raises
    ------
    VrnError : not three axes, or another connectivity.
    """
    runs, body, sizes = _bodies(filled, connectivity)
    depth, height, width = np.shape(filled)
    out = np.zeros((height * width, depth), np.int32)
    _paint(out, *runs, body + np.int32(1))
    return out.reshape(height, width, depth).transpose(2, 0, 1), sizes


def body_sizes(filled: NDArray[np.bool_], connectivity: Connectivity = 26) -> NDArray[np.int64]:
    """Voxels of each body, the largest first: (N,) int64. Errors as in `label_voxels`."""
    return np.sort(_bodies(filled, connectivity)[2])[::-1]


def keep_bodies(
    volume: NDArray[np.floating],
    level: float = 0.5,
    bodies: str | Policy = "largest",
    landmarks: NDArray[np.floating] | Sequence[Sequence[float]] | None = None,
    connectivity: Connectivity = 26,
) -> tuple[NDArray[np.floating], int]:
    """Empty the voxels of stray bodies, so that the isosurface shows those that stay and nothing else.

    Parameters
    ----------
    volume : (D, H, W) float 0..1, bool or 0/1.
    level : isovalue; filled is ``> level``.
    bodies : ``largest``; ``all`` (nothing is removed); ``min-share=0.1`` (bodies of at least that share of
        the largest one's volume); ``landmarks`` (the body that is seen at most of the landmarks: for a window
        in which something else is larger than the face).
    landmarks : (68, 2) pixels of the window, x right, y down; for ``landmarks``.
    connectivity : 6 or 26 neighbours.

    Returns
    -------
    volume : the same array if nothing is removed, else a copy with 0 in the bodies removed. With 26
        neighbours the isosurface of what stays does not change.
    removed : int, how many bodies.

    Raises
    ------
    VrnError : an unknown choice, or ``landmarks`` without landmarks or with none on a body.
    """
    policy = parse_policy(bodies)
    volume = np.asarray(volume)
    if policy.name == "all":
        return volume, 0
    runs, body, sizes = _bodies(volume > level, connectivity)
    if not len(sizes):
        return volume, 0
    if policy.name == "landmarks":
        stays = np.zeros(len(sizes), bool)
        stays[_body_at(runs, body, len(sizes), volume.shape, landmarks)] = True
    elif policy.name == "min-share":
        stays = sizes >= policy.share * sizes.max()
    else:
        stays = np.arange(len(sizes)) == sizes.argmax()
    if stays.all():
        return volume, 0
    depth, height, width = volume.shape
    # a copy with contiguous depth columns, whatever the order of the original
    out = np.array(volume.transpose(1, 2, 0), order="C").reshape(height * width, depth)
    go = ~stays[body]
    column, begin, end = (part[go] for part in runs)
    _paint(out, column, begin, end, np.zeros(len(column), out.dtype))
    return out.reshape(height, width, depth).transpose(2, 0, 1), int(np.count_nonzero(~stays))


def _body_at(runs: Runs, body: np.ndarray, count: int, shape: tuple[int, ...], landmarks: object) -> int:
    # The body that is front-most at most of the landmarks.
    if landmarks is None:
        raise VrnError(
            "to keep the body that holds the landmarks, landmarks are needed: give them, or keep the largest"
        )
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise VrnError(f"landmarks must be finite points (N, 2) in pixels, got shape {points.shape}")
    _, height, width = shape
    x, y = np.rint(points[:, 0]).astype(np.int64), np.rint(points[:, 1]).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at = y[inside] * width + x[inside]
    # runs are sorted by column, then by depth, and depth grows towards the viewer: the last one is seen
    last = np.searchsorted(runs[0], at, side="right") - 1
    hit = (last >= 0) & (runs[0][np.maximum(last, 0)] == at)
    if not hit.any():
        raise VrnError(
            "no body lies at any of the landmarks: check that they belong to this window, or keep the largest"
        )
    return int(np.bincount(body[last[hit]], minlength=count).argmax())
