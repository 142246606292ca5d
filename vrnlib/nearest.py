"""Exact nearest neighbours of points among vertices or on triangles, made for ICP (taught in
`notebooks/06_evaluate_nme`).

The index is a uniform grid, two or three vertices wide. In the repeated queries of ICP the former partner
bounds the search; and a point remembers its nearest few vertices and how far away all others are, so that
while it moves little, only those few are looked at. Every answer is what brute force would give; among
vertices equally near it is the lowest number.
"""

from __future__ import annotations

import numba
import numpy as np

from vrnlib.errors import VrnError

_CELLS = 2_000_000  # at most so many cells: 8 MB
_RIVALS = 32  # a point remembers at most so many
_REACH = 6  # a query looks this many cells around itself; farther ones go through the blocks
_BLOCK = 8  # cells along each side of a block


class Nearest:
    """Exact nearest vertices: ``Nearest(vertices).query(points)``.

    Raises
    ------
    VrnError : vertices are not (V, 3) with V > 0, or not finite.
    """

    def __init__(self, vertices: np.ndarray) -> None:
        self.vertices = checked(vertices, "vertices")
        sample = self.vertices[:: max(1, len(self.vertices) // 4096)]
        # a stray vertex must not blow up the grid: what lies outside is counted into the border cells
        low, high = np.quantile(sample, [0.01, 0.99], axis=0)
        extent = np.maximum(high - low, 1e-9 * max(float(np.abs(self.vertices).max()), 1e-6))
        area = 2 * (extent[0] * extent[1] + extent[1] * extent[2] + extent[2] * extent[0])
        cell = max(2.5 * float(np.sqrt(area / len(self.vertices))), float(extent.max()) / 1000)
        cell = max(cell, float(np.prod(extent / cell + 3) / _CELLS) ** (1 / 3) * cell)
        self.origin, self.cell = low - cell, cell
        self.shape = np.ceil(extent / cell).astype(np.int64) + 2
        self.start, self.order = _sorted_cells(self.vertices, self.origin, 1 / cell, self.shape)
        # vertices in the order of their cells: what is near in space is near in memory
        self.sorted = self.vertices[self.order]
        self.place = np.empty_like(self.order)  # of each vertex in that order
        self.place[self.order] = np.arange(len(self.order))
        grid = (self.sorted, self.order, self.start, self.origin, self.cell, self.shape)
        self.grid = (*grid, *_blocks(self.sorted, self.start, self.shape))

    def query(self, points: np.ndarray, guess: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """For each point (M, 3) its nearest vertex: number (M,) int64 and distance (M,) float.

        Parameters
        ----------
        guess : (M,) int, vertices that are probably near: only makes it faster.
        """
        points = np.ascontiguousarray(points, np.float64)
        index = np.full(len(points), -1, np.int64) if guess is None else self.place[guess]
        distances = np.empty(len(points))
        search(points, index, distances, new_state(len(points), 0), np.inf, *self.grid)
        return self.order[index], distances


def nearest_on_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of the triangles to each point (M, 3): positions (M, 3) and distances (M,), exact.

    Parameters
    ----------
    vertices : (V, 3) float; faces : (F, 3) int. Slow where a few triangles are far larger than the others.

    Raises
    ------
    VrnError : no triangles, an index out of range, NaN.
    """
    points, vertices = checked(points, "points"), checked(vertices, "vertices")
    faces = np.ascontiguousarray(faces, np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise VrnError(f"a surface needs triangles (F, 3) with F > 0, got shape {faces.shape}")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise VrnError(f"faces point at vertex {int(faces.max())}, but there are {len(vertices)}")
    corners = vertices[faces]  # (F, corner, 3)
    centroids = corners.mean(1)
    reach = float(
        np.linalg.norm(corners - centroids[:, None], axis=2).max()
    )  # of a triangle from its centroid
    grid = Nearest(centroids)
    first, _ = grid.query(points)
    found = _surface_query(points, first, corners, reach, *grid.grid[1:6])
    return found, np.linalg.norm(found - points, axis=1)


def checked(points: np.ndarray, name: str) -> np.ndarray:
    """Points as contiguous float64 (N, 3); VrnError if they are empty, of another shape or not finite."""
    points = np.ascontiguousarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise VrnError(f"{name} must be (N, 3) with N > 0, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise VrnError(f"{name} hold NaN or infinite coordinates")
    return points


def new_state(n: int, rivals: int = _RIVALS) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.empty((n, 3)), np.empty((n, rivals), np.int32), np.zeros(n, np.int32), np.zeros(n)


@numba.njit(cache=True, nogil=True)
def _cell_of(value, origin, inverse, count):
    # clamp before the conversion: a stray point may not fit into an integer
    return int(min(max((value - origin) * inverse, 0.0), count - 1.0))


@numba.njit(cache=True, nogil=True)
def _sorted_cells(points, origin, inverse, shape):
    # Counting sort by cell, z fastest: where each cell begins, and the vertices (ascending in a cell).
    n = points.shape[0]
    cells = np.empty(n, np.int32)
    start = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int32)
    for i in range(n):
        x = _cell_of(points[i, 0], origin[0], inverse, shape[0])
        y = _cell_of(points[i, 1], origin[1], inverse, shape[1])
        cells[i] = (x * shape[1] + y) * shape[2] + _cell_of(points[i, 2], origin[2], inverse, shape[2])
        start[cells[i] + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    fill = start[:-1].copy()
    order = np.empty(n, np.int64)
    for i in range(n):
        order[fill[cells[i]]] = i
        fill[cells[i]] += 1
    return start, order


@numba.njit(cache=True, nogil=True)
def _blocks(points, start, shape):
    # Occupied blocks of cells: their first cell, and the box around the vertices that are in them.
    nx, ny, nz = (shape[0] - 1) // _BLOCK + 1, (shape[1] - 1) // _BLOCK + 1, (shape[2] - 1) // _BLOCK + 1
    first = np.empty((nx * ny * nz, 3), np.int64)
    box = np.empty((nx * ny * nz, 2, 3))
    n = 0
    for b in range(nx * ny * nz):
        bx, by, bz = b // (ny * nz) * _BLOCK, b // nz % ny * _BLOCK, b % nz * _BLOCK
        box[n, 0], box[n, 1] = np.inf, -np.inf
        for x in range(bx, min(bx + _BLOCK, shape[0])):
            for y in range(by, min(by + _BLOCK, shape[1])):
                line = (x * shape[1] + y) * shape[2]
                for i in range(start[line + bz], start[line + min(bz + _BLOCK, shape[2])]):
                    for a in range(3):
                        box[n, 0, a] = min(box[n, 0, a], points[i, a])
                        box[n, 1, a] = max(box[n, 1, a], points[i, a])
        if box[n, 0, 0] <= box[n, 1, 0]:
            first[n] = np.array([bx, by, bz])
            n += 1
    return first[:n].copy(), box[:n].copy()


@numba.njit(cache=True, nogil=True)
def _scan(x, y, z, best, who, points, order, begin, end):
    for i in range(begin, end):
        a, b, c = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
        d = a * a + b * b + c * c
        if d < best or (d == best and order[i] < order[who]):
            best, who = d, i
    return best, who


@numba.njit(cache=True, nogil=True)
def _gap(value, i, origin, cell, count):
    # Squared distance along one axis to cell i; cells at the border reach to infinity.
    low = -np.inf if i == 0 else origin + (i - 1e-9) * cell
    high = np.inf if i == count - 1 else origin + (i + 1 + 1e-9) * cell
    gap = max(low - value, value - high, 0.0)
    return gap * gap


@numba.njit(cache=True, nogil=True)
def _around(x, y, z, best, who, margin, rivals, points, order, start, origin, cell, shape):
    # All cells that reach into the ball around (x, y, z) which the best distance so far and the margin span.
    # Vertices in the ball are collected as rivals; the last value counts them, and is too large if there are
    # more than fit.
    inverse, spanned, count = 1 / cell, best, 0
    r = np.sqrt(best) * (1 + 1e-12) + margin + 1e-9 * cell
    y0, y1 = _cell_of(y - r, origin[1], inverse, shape[1]), _cell_of(y + r, origin[1], inverse, shape[1])
    x0, x1 = _cell_of(x - r, origin[0], inverse, shape[0]), _cell_of(x + r, origin[0], inverse, shape[0])
    ball = r * r
    for i in range(x0, x1 + 1):
        gx = _gap(x, i, origin[0], cell, shape[0])
        for j in range(y0, y1 + 1):
            left = ball - gx - _gap(y, j, origin[1], cell, shape[1])
            if left < 0:
                continue
            line, r = (i * shape[1] + j) * shape[2], np.sqrt(left)
            begin = start[line + _cell_of(z - r, origin[2], inverse, shape[2])]
            end = start[line + _cell_of(z + r, origin[2], inverse, shape[2]) + 1]
            for v in range(begin, end):
                a, b, c = points[v, 0] - x, points[v, 1] - y, points[v, 2] - z
                d = a * a + b * b + c * c
                if d <= ball:
                    if d < best or (d == best and order[v] < order[who]):
                        best, who = d, v
                    if count < rivals.shape[0]:
                        rivals[count] = v
                    count += 1
            if best < spanned:
                spanned = best
                ball = (np.sqrt(best) * (1 + 1e-12) + margin + 1e-9 * cell) ** 2
    return best, who, count


@numba.njit(cache=True, nogil=True)
def _first(x, y, z, points, order, start, origin, cell, shape):
    # Some vertex nearby: the nearest in growing cubes of cells, until one is met.
    inverse = 1 / cell
    cx = _cell_of(x, origin[0], inverse, shape[0])
    cy = _cell_of(y, origin[1], inverse, shape[1])
    cz = _cell_of(z, origin[2], inverse, shape[2])
    best, who = np.inf, -1
    for s in range(_REACH + 1):
        z0, z1 = max(cz - s, 0), min(cz + s, shape[2] - 1)
        for i in range(max(cx - s, 0), min(cx + s, shape[0] - 1) + 1):
            for j in range(max(cy - s, 0), min(cy + s, shape[1] - 1) + 1):
                line = (i * shape[1] + j) * shape[2]
                begin, end = start[line + z0], start[line + z1 + 1]
                best, who = _scan(x, y, z, best, who, points, order, begin, end)
        if who >= 0:
            break
    return best, who


@numba.njit(cache=True, nogil=True)
def _far(x, y, z, best, who, points, order, start, shape, first, box):
    # A point far from all vertices: block by block, the nearest block first.
    n = first.shape[0]
    gap = np.empty(n)
    for b in range(n):
        a = max(box[b, 0, 0] - x, x - box[b, 1, 0], 0.0)
        c = max(box[b, 0, 1] - y, y - box[b, 1, 1], 0.0)
        d = max(box[b, 0, 2] - z, z - box[b, 1, 2], 0.0)
        gap[b] = (a * a + c * c + d * d) * (1 - 1e-12)
    nearest = np.argmin(gap)
    for t in range(-1, n):
        b = nearest if t < 0 else t
        if gap[b] > best or t == nearest:
            continue
        for i in range(first[b, 0], min(first[b, 0] + _BLOCK, shape[0])):
            for j in range(first[b, 1], min(first[b, 1] + _BLOCK, shape[1])):
                line = (i * shape[1] + j) * shape[2]
                begin, end = start[line + first[b, 2]], start[line + min(first[b, 2] + _BLOCK, shape[2])]
                best, who = _scan(x, y, z, best, who, points, order, begin, end)
    return best, who


@numba.njit(cache=True, nogil=True)
def search(targets, index, distance, state, moved, points, order, start, origin, cell, shape, first, box):
    # The nearest vertex of each target: writes its place in `points` into `index`, which holds guesses or -1,
    # and its distance. `state` remembers the last search for a target: where it was, its rivals and how many,
    # and how far away all other vertices are. They can have come nearer by no more than the target has moved
    # since; if the nearest rival is nearer than that, there is nothing to search for.
    asked, rivals, count, others = state
    for k in range(targets.shape[0]):
        x, y, z, who = targets[k, 0], targets[k, 1], targets[k, 2], index[k]
        if who >= 0:
            a, b, c = points[who, 0] - x, points[who, 1] - y, points[who, 2] - z
            best = a * a + b * b + c * c
            for i in range(count[k]):
                v = rivals[k, i]
                a, b, c = points[v, 0] - x, points[v, 1] - y, points[v, 2] - z
                d = a * a + b * b + c * c
                if d < best or (d == best and order[v] < order[who]):
                    best, who = d, v
            if count[k] > 0:
                a, b, c = asked[k, 0] - x, asked[k, 1] - y, asked[k, 2] - z
                nearer = others[k] - np.sqrt(a * a + b * b + c * c)
                if nearer > 0 and best < nearer * nearer * (1 - 1e-9):
                    index[k], distance[k] = who, np.sqrt(best)
                    continue
        else:
            best, who = _first(x, y, z, points, order, start, origin, cell, shape)
        if best <= (_REACH * cell) ** 2:
            # so wide that half of the places for rivals are taken where vertices lie on a surface; but if
            # targets move farther than that between queries, no rivals are collected
            margin = min(0.5 * cell, 0.01 * rivals.shape[1] * cell * cell / (np.sqrt(best) + 0.1 * cell))
            margin = margin if margin > 1.5 * moved else 0.0
            best, who, n = _around(
                x, y, z, best, who, margin, rivals[k], points, order, start, origin, cell, shape
            )
            asked[k, 0], asked[k, 1], asked[k, 2] = x, y, z
            count[k] = n if margin > 0 and n <= rivals.shape[1] else 0
            others[k] = np.sqrt(best) + margin
        else:
            best, who = _far(x, y, z, best, who, points, order, start, shape, first, box)
            count[k] = 0
        index[k], distance[k] = who, np.sqrt(best)


@numba.njit(cache=True, nogil=True)
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(cache=True, nogil=True)
def _on_triangle(p, a, b, c):
    # Nearest point of a triangle: inside of it if the foot of the perpendicular is, else on one of its sides.
    u, v, w = b - a, c - a, p - a
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    wu, wv = _dot(w, u), _dot(w, v)
    area = uu * vv - uv * uv
    if area > 1e-14 * uu * vv:
        s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
        if s >= 0 and t >= 0 and s + t <= 1:
            return a + s * u + t * v
    best, found = np.inf, a
    for k in range(3):
        begin = a if k == 0 else (b if k == 1 else c)
        side = (b if k == 0 else (c if k == 1 else a)) - begin
        length = _dot(side, side)
        t = min(max(_dot(p - begin, side) / length, 0.0), 1.0) if length > 0 else 0.0
        q = begin + t * side
        d = _dot(q - p, q - p)
        if d < best:
            best, found = d, q
    return found


@numba.njit(cache=True, nogil=True)
def _surface_query(points, first, corners, reach, order, start, origin, cell, shape):
    # A triangle nearer than the best so far has its centroid within that distance plus `reach`.
    out = np.empty_like(points)
    inverse = 1 / cell
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(points.shape[0]):
        p = points[k]
        found = _on_triangle(p, corners[first[k], 0], corners[first[k], 1], corners[first[k], 2])
        best = np.sqrt(_dot(found - p, found - p))
        r = (best + reach) * (1 + 1e-9)
        for a in range(3):
            low[a] = _cell_of(p[a] - r, origin[a], inverse, shape[a])
            high[a] = _cell_of(p[a] + r, origin[a], inverse, shape[a])
        for i in range(low[0], high[0] + 1):
            gx = _gap(p[0], i, origin[0], cell, shape[0])
            for j in range(low[1], high[1] + 1):
                gy = gx + _gap(p[1], j, origin[1], cell, shape[1])
                line = (i * shape[1] + j) * shape[2]
                for c in range(low[2], high[2] + 1):
                    if start[line + c] == start[line + c + 1]:
                        continue
                    if gy + _gap(p[2], c, origin[2], cell, shape[2]) > (best + reach) ** 2:
                        continue
                    for m in range(start[line + c], start[line + c + 1]):
                        f = order[m]
                        q = _on_triangle(p, corners[f, 0], corners[f, 1], corners[f, 2])
                        d = np.sqrt(_dot(q - p, q - p))
                        if d < best:
                            best, found = d, q
        out[k] = found
    return out
