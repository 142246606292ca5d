"""Volumes as runs of filled voxels: the exact compact form that samples, batches and shards share
(`notebooks/02_volumes`).

A binary volume (D, H, W) of a face is a few thousand pixel columns, most of them filled from one depth to
another. Runs say just that, in three arrays sorted by column and then by depth:

========= ============ ================================================================
column    (R,) int32   row * size + column of the pixel
begin     (R,) int16   first filled depth index
end       (R,) int16   the index after the last filled one: ``begin <= d < end``
========= ============ ================================================================

Runs of one column neither overlap nor touch, so that equal volumes have equal runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from vrnlib.voxel import Grid

Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""column (R,) int32, begin (R,) int16, end (R,) int16."""
SPECK = 0.01
"""Bodies with less than this share of the largest one's voxels are specks (:func:`one_body`)."""


@numba.njit(cache=True, nogil=True)
def _fill(out, column, begin, end):
    for r in range(column.shape[0]):
        out[column[r], begin[r] : end[r]] = 1


def fill_runs(runs: Runs, grid: Grid, out: np.ndarray | None = None) -> np.ndarray:
    """Runs -> (D, H, W) uint8 0/1; a view of (H, W, D) memory, so a depth column is contiguous.

    `out` (H * W, D) uint8, if given, is that memory.
    """
    if out is None:
        out = np.empty((grid.size * grid.size, grid.depth), np.uint8)
    out[:] = 0
    _fill(out, *runs)
    return out.reshape(grid.size, grid.size, grid.depth).transpose(2, 0, 1)


@numba.njit(cache=True, nogil=True)
def _scan(words, flat, depth, column, begin, end):
    # Runs of ones in flat memory, cut at every `depth` bytes; eight equal bytes are passed at once. Returns
    # their number, which may exceed the capacity: then the caller grows the arrays.
    full = np.uint64(0x0101010101010101)
    n, start = 0, -1
    total = flat.shape[0]
    capacity = column.shape[0]
    at = 0
    while at <= total:
        if at % 8 == 0 and at + 8 <= total:
            word = words[at // 8]
            if (word == 0 and start < 0) or (word == full and start >= 0):
                at += 8
                continue
        filled = at < total and flat[at] != 0
        if filled and start < 0:
            start = at
        elif not filled and start >= 0:
            while start < at:  # a run that goes on in the next column is two
                p = start // depth
                stop = min(at, (p + 1) * depth)
                if n < capacity:
                    column[n], begin[n], end[n] = p, start - p * depth, stop - p * depth
                n += 1
                start = stop
            start = -1
        at += 1
    return n


def runs_of(volume: np.ndarray) -> Runs:
    """(D, H, W) bool or uint8 0/1 -> its runs, the inverse of :func:`fill_runs`; fast if depth columns are
    contiguous.
    """
    flat = np.ascontiguousarray(volume.transpose(1, 2, 0)).reshape(-1).view(np.uint8)
    words = flat[: len(flat) // 8 * 8].view(np.uint64)
    capacity = 2 * volume.shape[1] * volume.shape[2]
    while True:
        column, begin, end = (np.empty(capacity, t) for t in (np.int32, np.int16, np.int16))
        count = _scan(words, flat, volume.shape[0], column, begin, end)
        if count <= capacity:
            return column[:count].copy(), begin[:count].copy(), end[:count].copy()
        capacity = count


def mirror_runs(runs: Runs, size: int) -> Runs:
    """Runs of the left-right mirrored volume of `size` columns."""
    column, begin, end = runs
    mirrored = column + (size - 1 - 2 * (column % size))
    order = np.argsort(mirrored, kind="stable")  # runs of a column keep their order
    return mirrored[order].astype(np.int32), begin[order], end[order]


@numba.njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def _join(parent, i, j):
    i, j = _root(parent, i), _root(parent, j)
    if i != j:
        parent[max(i, j)] = min(i, j)


@numba.njit(cache=True, nogil=True)
def _starts(column, pixels):
    start = np.zeros(pixels + 1, np.int32)
    for p in column:
        start[p + 1] += 1
    for p in range(pixels):
        start[p + 1] += start[p]
    return start


@numba.njit(cache=True, nogil=True)
def _bodies(column, begin, end, size):
    # Root run of each run's body; runs of side-by-side columns touch where they overlap in depth.
    start = _starts(column, size * size)
    parent = np.arange(column.shape[0])
    for r in range(column.shape[0]):
        p = column[r]
        for q in (p + 1, p + size):
            if q >= size * size or (q == p + 1 and q % size == 0):
                continue
            for s in range(start[q], start[q + 1]):
                if begin[s] < end[r] and begin[r] < end[s]:
                    _join(parent, r, s)
    for r in range(column.shape[0]):
        parent[r] = _root(parent, r)
    return parent


@numba.njit(cache=True, nogil=True)
def _enclosed(column, begin, end, size):
    # Is the gap behind run r, up to the next run of its column, shut off from the outside? Node `outside` is
    # the air; what lies before a column's first run and after its last one is open to it.
    n = column.shape[0]
    outside = 0
    start = _starts(column, size * size)
    parent = np.arange(n + 1)  # node r + 1 is the gap behind run r
    for r in range(n - 1):
        if column[r + 1] != column[r]:
            continue
        low, high = end[r], begin[r + 1]
        p = column[r]
        for side in range(4):
            q = p + (1, -1, size, -size)[side]
            at_edge = (side == 0 and q % size == 0) or (side == 1 and p % size == 0)
            if at_edge or q < 0 or q >= size * size or start[q] == start[q + 1]:
                _join(parent, outside, r + 1)
                continue
            first, last = start[q], start[q + 1] - 1
            if low < begin[first] or high > end[last]:
                _join(parent, outside, r + 1)
            for s in range(first, last):
                if end[s] < high and low < begin[s + 1]:
                    _join(parent, s + 1, r + 1)
    shut = np.zeros(n, np.bool_)
    for r in range(n - 1):
        shut[r] = column[r + 1] == column[r] and _root(parent, r + 1) != outside
    return shut


def one_body(runs: Runs, grid: Grid) -> Runs:
    """Runs without specks and without enclosed holes.

    A sharp edge thinner than a voxel breaks into single voxels, and lips that nearly touch enclose single
    empty ones. Both are artefacts of sampling a solid that has neither. Neighbours are voxels that share a
    side (6-connected), for the body and for the air. Bodies below :data:`SPECK` of the largest are dropped,
    then every hole that no path of empty voxels joins to the outside is filled. A large part that the window
    cuts off stays.
    """
    column, begin, end = runs
    if not len(column):
        return runs
    body = _bodies(column, begin, end, grid.size)
    voxels = np.bincount(body, (end - begin).astype(np.float64))
    keep = voxels[body] >= SPECK * voxels.max()
    column, begin, end = column[keep], begin[keep], end[keep]
    shut = _enclosed(column, begin, end, grid.size)  # such a run goes on to the end of the next one
    first = np.flatnonzero(~np.r_[False, shut[:-1]])
    return column[first], begin[first], end[~shut]
