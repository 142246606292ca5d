"""Marching cubes (Lorensen and Cline 1987), compiled: one sweep through the volume, a closed surface.

The table of cases is not typed in but derived. A cube's eight corners are inside or outside; on each of its six faces the surface
leaves segments between the edges whose ends differ; joined at the edges they form loops, and each loop is cut into
triangles. A face with two inside corners across a diagonal is ambiguous: here the inside corners are always cut off from one
another. The decision looks at nothing but that face, so both cubes that share it agree, and the surface has no holes.

Corner numbers are bits: corner = d + 2 * row + 4 * column, each 0 or 1.
"""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

# An edge joins two corners that differ in one bit. In order of direction: along d, along row, along column.
_EDGES = [(c, c | bit) for bit in (1, 2, 4) for c in range(8) if not c & bit]
_MAX_TRIANGLES = 5


def _face_cycles() -> list[list[int]]:
    """The corners of the six faces, each in the order that is counter-clockwise seen from outside, in (d, row, column)."""
    cycles = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        low = [0, u, u | v, v]  # counter-clockwise seen from +axis
        high = [c | 1 << axis for c in low]
        cycles += [low[::-1], high]
    return cycles


def _loops(inside: int) -> list[list[int]]:
    """The closed polygons of one case, as edge numbers, with the outside on the side of the normal in (d, row, column)."""
    number = {frozenset(e): i for i, e in enumerate(_EDGES)}
    follow: dict[int, int] = {}
    for cycle in _face_cycles():
        crossed = [(number[frozenset((a, b))], bool(inside >> b & 1)) for a, b in pairwise([*cycle, cycle[0]])
                   if (inside >> a ^ inside >> b) & 1]
        # walking round the face: an edge where we enter the inside, and the next one, where we leave it, cut off the corners
        # between them; so inside corners across a diagonal are separated
        for i, (edge, entering) in enumerate(crossed):
            if entering:
                follow[edge] = crossed[(i + 1) % len(crossed)][0]
    loops = []
    while follow:
        start, edge = next(iter(follow.items()))
        loop = [start]
        del follow[start]
        while edge != start:
            loop.append(edge)
            edge = follow.pop(edge)
        loops.append(loop)
    return loops


def _table() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Triangles of every case: (256, 5, 3) edge numbers and (256,) how many."""
    triangles = np.zeros((256, _MAX_TRIANGLES, 3), np.int8)
    count = np.zeros(256, np.int8)
    for case in range(256):
        fans = [(loop[0], b, a) for loop in _loops(case) for a, b in pairwise(loop[1:])]  # (column, row, d) mirrors
        count[case] = len(fans)
        triangles[case, : len(fans)] = np.array(fans, np.int8).reshape(-1, 3)
    return triangles, count


_TRIANGLES, _COUNT = _table()


@numba.njit(cache=True, nogil=True)
def _sweep(volume, inside, level, table, count, points, faces):
    """Fill `points` and `faces` as far as they reach; returns how many there are of each.

    Every cube makes the vertices on the three edges that meet in its last corner, 7. The other nine edges are last edges of
    cubes swept before, because nothing is inside at the border. So two slices of vertex numbers are all the memory needed.
    """
    depth, height, width = volume.shape
    along_d = np.zeros((height, width), np.int32)
    along_r = np.zeros((2, height, width), np.int32)
    along_c = np.zeros((2, height, width), np.int32)
    edge = np.empty(12, np.int32)
    nv, nf = 0, 0
    for d in range(depth - 1):
        low, high = d & 1, 1 - (d & 1)
        for r in range(height - 1):
            case = 0
            for c in range(width - 1):
                # the four corners at column c are those that were at c + 1
                case = (
                    case >> 4
                    | inside[d, r, c + 1] << 4
                    | inside[d + 1, r, c + 1] << 5
                    | inside[d, r + 1, c + 1] << 6
                    | inside[d + 1, r + 1, c + 1] << 7
                )
                if case == 0 or case == 255:
                    continue
                last = case >> 7
                if last != (case >> 6 & 1):
                    if nv < len(points):
                        a, b = volume[d, r + 1, c + 1], volume[d + 1, r + 1, c + 1]
                        points[nv, 0], points[nv, 1], points[nv, 2] = d + (level - a) / (b - a), r + 1, c + 1
                    along_d[r + 1, c + 1] = nv
                    nv += 1
                if last != (case >> 5 & 1):
                    if nv < len(points):
                        a, b = volume[d + 1, r, c + 1], volume[d + 1, r + 1, c + 1]
                        points[nv, 0], points[nv, 1], points[nv, 2] = d + 1, r + (level - a) / (b - a), c + 1
                    along_r[high, r, c + 1] = nv
                    nv += 1
                if last != (case >> 3 & 1):
                    if nv < len(points):
                        a, b = volume[d + 1, r + 1, c], volume[d + 1, r + 1, c + 1]
                        points[nv, 0], points[nv, 1], points[nv, 2] = d + 1, r + 1, c + (level - a) / (b - a)
                    along_c[high, r + 1, c] = nv
                    nv += 1
                n = count[case]
                if nf + n <= len(faces):
                    # in the order of _EDGES
                    edge[0], edge[1] = along_d[r, c], along_d[r + 1, c]
                    edge[2], edge[3] = along_d[r, c + 1], along_d[r + 1, c + 1]
                    edge[4], edge[5] = along_r[low, r, c], along_r[high, r, c]
                    edge[6], edge[7] = along_r[low, r, c + 1], along_r[high, r, c + 1]
                    edge[8], edge[9] = along_c[low, r, c], along_c[high, r, c]
                    edge[10], edge[11] = along_c[low, r + 1, c], along_c[high, r + 1, c]
                    for t in range(n):
                        faces[nf + t, 0] = edge[table[case, t, 0]]
                        faces[nf + t, 1] = edge[table[case, t, 1]]
                        faces[nf + t, 2] = edge[table[case, t, 2]]
                nf += n
    return nv, nf


def marching_cubes(
    volume: NDArray[np.floating], level: float, outside: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The isosurface of a volume, as a closed indexed triangle mesh at sub-voxel precision.

    Parameters
    ----------
    volume : (D, H, W) float, any memory layout
        Above `level` is inside.
    level : float
    outside : float
        What the volume is beyond its border, not above `level`: the surface is closed there.

    Returns
    -------
    points : (V, 3) float32
        Coordinates (d, row, column) in voxels, the centre of the first voxel at 0; each on a grid edge whose ends differ.
        None occurs twice.
    faces : (F, 3) int32
        Oriented outwards if the coordinates are taken as (column, row, d): a signed volume in that order is positive.
    """
    filled = volume > level
    start, box = [], []
    for axes in ((1, 2), (0, 2), (0, 1)):
        where = np.flatnonzero(filled.any(axes))
        if not len(where):
            return np.empty((0, 3), np.float32), np.empty((0, 3), np.int32)
        filled = filled.take(range(where[0], where[-1] + 1), axis=len(start))
        start.append(where[0])
        box.append((where[0], where[-1] + 1))
    # one voxel of rim: the outer values next to the surface fix its place
    shape = [b - a + 2 for a, b in box]
    cut = np.full(shape, outside, np.float32)
    source = tuple(slice(max(a - 1, 0), min(b + 1, n)) for (a, b), n in zip(box, volume.shape, strict=True))
    target = tuple(slice(s.start - a + 1, s.stop - a + 1) for s, (a, _) in zip(source, box, strict=True))
    cut[target] = volume[source]
    inside = (cut > np.float32(level)).view(np.uint8)
    size = int(inside.sum())
    # a guess, from the surface of a solid of this size; the sweep says how many there are, and rarely runs twice
    points = np.empty((round(16 * size ** (2 / 3)) + 64, 3), np.float32)
    faces = np.empty((2 * len(points), 3), np.int32)
    nv, nf = _sweep(cut, inside, np.float32(level), _TRIANGLES, _COUNT, points, faces)
    if nv > len(points) or nf > len(faces):
        points, faces = np.empty((nv, 3), np.float32), np.empty((nf, 3), np.int32)
        _sweep(cut, inside, np.float32(level), _TRIANGLES, _COUNT, points, faces)
    return points[:nv] + np.array(start, np.float32) - 1, faces[:nf].copy()
