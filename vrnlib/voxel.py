"""Meshes to volumes and back (taught in `notebooks/02_volumes`).

The network frame, said once and used everywhere: a `size` x `size` window, x right, y down, integer
coordinates at pixel centres, z in the same pixels, positive towards the viewer, orthographic. A volume is an
array (D, H, W): depth, row, column. Voxels are half a pixel deep (the authors' targets are "x2 in z"); z = 0
lies in the middle of the depth axis::

      viewer                      seen from the side (one row of pixels, y fixed)
        |                          d = D-1  +--+--+--+--+  z = +(D-1)/4      front, nearest the viewer
        v  looks along -z                   |  |##|  |  |
     +--------> x (column)                  |##|##|##|  |  z = 0  (between d = D/2-1 and D/2)
     |                                      |##|##|##|  |
     |  image                      d = 0    +--+--+--+--+  z = -(D-1)/4      back
     v                                       0  1  2  3   x, column index = pixel centre
     y (row)
                                   z = (d - (D - 1) / 2) / 2         d = 2 z + (D - 1) / 2

The face solid (Jackson et al. Sec. 3.1, "filled" meshes): the face surface, a copy of it moved straight back
onto a plane in the face's own frame (:func:`vrnlib.faces.face_solid`), and a wall between their borders. It
is closed whatever the surface, and poses by a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vrnlib.errors import VrnError
from vrnlib.runs import Runs, fill_runs, one_body

__all__ = [
    "VOXEL_DEPTH",
    "Grid",
    "border_edges",
    "column_runs",
    "fill_runs",
    "isosurface",
    "smooth",
    "one_body",
    "solid_faces",
    "voxelise",
    "winding",
]

VOXEL_DEPTH = 0.5
"""Depth of a voxel in pixels."""
_SNAP = 2.0**14
"""x and y are rounded to 1/16384 px: every edge test below is then exact in float64, no column can leak."""


@dataclass(frozen=True)
class Grid:
    """A volume's shape: `depth` slices of `size` x `size` pixels; the paper's is Grid(192, 200)."""

    size: int = 192
    depth: int = 200

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.depth, self.size, self.size)

    def z_of(self, d: np.ndarray | float) -> np.ndarray | float:
        """Depth index (may be fractional) -> z in pixels."""
        return (d - (self.depth - 1) / 2) * VOXEL_DEPTH

    def d_of(self, z: np.ndarray | float) -> np.ndarray | float:
        """z in pixels -> fractional depth index."""
        return z / VOXEL_DEPTH + (self.depth - 1) / 2


def border_edges(faces: np.ndarray) -> np.ndarray:
    """Edges (E, 2) int of (F, 3) triangles that belong to one triangle only, in its direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    n = int(edges.max(initial=0)) + 1
    forward, backward = edges[:, 0] * n + edges[:, 1], edges[:, 1] * n + edges[:, 0]
    return edges[~np.isin(forward, backward)]


def solid_faces(surface_faces: np.ndarray, n_vertices: int) -> np.ndarray:
    """Triangles of the solid over vertices ``[surface; surface moved back]``: front, reversed back, wall.

    Parameters
    ----------
    surface_faces : (F, 3) int, an oriented surface, with or without border.
    n_vertices : number of vertices of the surface.

    Returns
    -------
    (2 F + 2 E, 3) int32, closed and consistently oriented (E border edges).
    """
    a, b = border_edges(surface_faces).T
    wall = np.concatenate(
        [np.stack([b, a, a + n_vertices], 1), np.stack([b, a + n_vertices, b + n_vertices], 1)]
    )
    return np.concatenate([surface_faces, surface_faces[:, ::-1] + n_vertices, wall]).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _left_of(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> bool:
    # Is p left of a->b? Ties are broken as if p were moved by (eps, eps^2): each pixel centre then lies in
    # exactly one triangle of a fan, whatever vertex or edge it hits (Edelsbrunner & Muecke's simulation of
    # simplicity).
    e = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    if e != 0.0:
        return e > 0.0
    if by != ay:
        return by < ay
    return bx > ax


@numba.njit(cache=True, nogil=True)
def _collect(xy, z, faces, size, pixel, depth, sign):
    # Rasterise all triangles; returns the number of crossings (may exceed the capacity: then the caller grows
    # the arrays).
    count = 0
    capacity = pixel.shape[0]
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = xy[i, 0], xy[i, 1], xy[j, 0], xy[j, 1], xy[k, 0], xy[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(size - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(size - 1, int(np.floor(max(ay, by, cy))))
        up = area > 0.0
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                if (
                    _left_of(ax, ay, bx, by, x, y) == up
                    and _left_of(bx, by, cx, cy, x, y) == up
                    and _left_of(cx, cy, ax, ay, x, y) == up
                ):
                    if count < capacity:
                        wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                        wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                        pixel[count] = y * size + x
                        depth[count] = z[i] + wb * (z[j] - z[i]) + wc * (z[k] - z[i])
                        sign[count] = 1 if up else -1
                    count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _runs(pixel, depth, sign, count, size, n_depth):
    # Sort each column's crossings by depth and walk the winding number -> half-open runs of voxel indices.
    start = np.zeros(size * size + 1, np.int32)
    for c in range(count):
        start[pixel[c] + 1] += 1
    for p in range(size * size):
        start[p + 1] += start[p]
    fill = start[:-1].copy()
    zs = np.empty(count, np.float64)
    ss = np.empty(count, np.int8)
    for c in range(count):
        p = pixel[c]
        at = fill[p]
        first = start[p]
        while at > first and zs[at - 1] > depth[c]:
            zs[at] = zs[at - 1]
            ss[at] = ss[at - 1]
            at -= 1
        zs[at] = depth[c]
        ss[at] = sign[c]
        fill[p] += 1
    column = np.empty(count // 2 + 1, np.int32)
    begin = np.empty(count // 2 + 1, np.int16)
    end = np.empty(count // 2 + 1, np.int16)
    n = 0
    half = (n_depth - 1) / 2
    for p in range(size * size):
        winding = 0
        low = 0.0
        for c in range(start[p], start[p + 1]):
            before = winding
            winding += ss[c]
            if before == 0 and winding != 0:
                low = zs[c]
            elif before != 0 and winding == 0:
                # voxel centres d with low <= z(d) < high
                d0 = max(0, int(np.ceil(low / VOXEL_DEPTH + half)))
                d1 = min(n_depth, int(np.ceil(zs[c] / VOXEL_DEPTH + half)))
                if d1 > d0 and n > 0 and column[n - 1] == p and end[n - 1] == d0:
                    end[n - 1] = d1  # a part of the other orientation follows without a gap
                elif d1 > d0:
                    column[n] = p
                    begin[n] = d0
                    end[n] = d1
                    n += 1
    return column[:n], begin[:n], end[:n]


@numba.njit(cache=True, nogil=True)
def _wind(out, pixel, depth, sign, count):
    half = (out.shape[1] - 1) / 2
    for c in range(count):
        # seen from behind, a triangle that turns its face to the viewer is the way out
        d = max(0, int(np.ceil(depth[c] / VOXEL_DEPTH + half)))
        out[pixel[c], d:] -= sign[c]


def column_runs(vertices: np.ndarray, faces: np.ndarray, grid: Grid) -> Runs:
    """The exact compact form of a voxelised closed mesh: runs of filled voxels along depth.

    Parameters
    ----------
    vertices : (V, 3) float, network frame, pixels (may reach out of the window: what lies outside is cut
    off). faces : (F, 3) int, closed; orientation must be consistent, outward or inward. grid : the volume's
    shape.

    Returns
    -------
    Runs (see :mod:`vrnlib.runs`): a voxel is filled where the winding number at its centre is not 0.

    Raises
    ------
    VrnError : wrong shapes, an index out of range, or NaN or infinite vertices.
    """
    return _runs(*_crossings(vertices, faces, grid), grid.size, grid.depth)


def winding(vertices: np.ndarray, faces: np.ndarray, grid: Grid) -> np.ndarray:
    """Winding number of a closed mesh at each voxel centre: (D, H, W) int8, a view of (H, W, D) memory.

    0 outside, 1 inside a mesh whose signed volume, computed from these coordinates, is positive (-1 if it is
    negative), 2 where two parts overlap. Parameters and errors as in :func:`column_runs`.
    """
    pixel, depth, sign, count = _crossings(vertices, faces, grid)
    out = np.zeros((grid.size * grid.size, grid.depth), np.int8)
    _wind(out, pixel, depth, sign, count)
    return out.reshape(grid.size, grid.size, grid.depth).transpose(2, 0, 1)


def _crossings(
    vertices: np.ndarray, faces: np.ndarray, grid: Grid
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    # Where the lines through pixel centres cross the mesh: pixel, z and direction of each, and their number.
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise VrnError(
            f"a mesh needs vertices (V, 3) and faces (F, 3), got {vertices.shape} and {faces.shape}"
        )
    if not np.isfinite(vertices).all():
        raise VrnError(
            f"{int((~np.isfinite(vertices)).any(1).sum())} vertices are NaN or infinite: clean the mesh first"
        )
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise VrnError(
            f"faces point at vertex {int(faces.max())}, but there are {len(vertices)} (counting from 0)"
        )
    xy = np.round(vertices[:, :2].astype(np.float64) * _SNAP) / _SNAP
    z = vertices[:, 2].astype(np.float64)
    faces = np.ascontiguousarray(faces, np.int32)
    capacity = 8 * grid.size * grid.size
    while True:
        pixel, depth = np.empty(capacity, np.int32), np.empty(capacity, np.float64)
        sign = np.empty(capacity, np.int8)
        count = _collect(xy, z, faces, grid.size, pixel, depth, sign)
        if count <= capacity:
            return pixel, depth, sign, count
        capacity = count


def voxelise(vertices: np.ndarray, faces: np.ndarray, grid: Grid) -> np.ndarray:
    """Closed mesh -> binary volume (Sec. 3.1: "assigning a value of 1 to all points enclosed by the 3D facial
    scan").

    Shapes, frame and errors as in :func:`column_runs`. Returns (D, H, W) bool.
    """
    return fill_runs(column_runs(vertices, faces, grid), grid).view(np.bool_)


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a volume before its surface is taken, against the terraces that a coarse network leaves where the
    surface is steep (asked for by users of the released network: "blocky mesh").

    Parameters
    ----------
    volume : (D, H, W) float32 0..1.
    sigma : of the Gaussian in pixels, along all three axes; 0 changes nothing.

    Returns
    -------
    (D, H, W) float32; `volume` itself if `sigma` is 0.

    Raises
    ------
    VrnError : `sigma` is negative or not finite.
    """
    from scipy.ndimage import gaussian_filter

    if not 0 <= sigma < np.inf:
        raise VrnError(f"the blur is {sigma:g} pixels, it must be 0 or more")
    if sigma == 0:
        return volume
    columns = np.ascontiguousarray(volume.transpose(1, 2, 0), np.float32)  # no copy for a network's volume
    widths = (sigma, sigma, sigma / VOXEL_DEPTH)
    return gaussian_filter(columns, widths, mode="nearest", truncate=3).transpose(2, 0, 1)


def isosurface(volume: np.ndarray, level: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Volume -> triangle mesh by marching cubes (Lewiner's variant in scikit-image) at sub-voxel precision.

    Parameters
    ----------
    volume : (D, H, W) float 0..1 or bool. Outside the volume counts as empty, so the surface is closed at its
    borders. level : isovalue, between 0 and 1.

    Returns
    -------
    vertices : (V, 3) float32, network frame, pixels: x right, y down, z towards the viewer.
    faces : (F, 3) int32, oriented so that the signed volume computed from these coordinates is positive.

    Raises
    ------
    VrnError : not three-dimensional, or nothing reaches the level (an empty reconstruction).
    """
    from skimage.measure import marching_cubes

    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise VrnError(f"a volume has three axes (depth, row, column), got shape {volume.shape}")
    filled = volume > level
    if not filled.any():
        raise VrnError(
            f"the volume is empty at level {level:g} (highest value {float(volume.max()):.3f}): "
            "no face to show"
        )
    box: list[tuple[int, int]] = []  # depth last, within the rows and columns that were found
    outline = filled.any(0)
    for axis, line in ((1, outline.any(1)), (2, outline.any(0))):
        where = np.flatnonzero(line)
        box.append((max(0, where[0] - 1), min(volume.shape[axis], where[-1] + 2)))
    (top, bottom), (left, right) = box
    where = np.flatnonzero(filled[:, top:bottom, left:right].any((1, 2)))
    box.insert(0, (max(0, where[0] - 1), min(len(volume), where[-1] + 2)))
    cut = volume[tuple(slice(a, b) for a, b in box)].astype(np.float32)
    padded = np.pad(cut, 1)  # a rim of zeros closes the surface where it touches the border
    points, faces, _, _ = marching_cubes(padded, level)
    points += np.array([a - 1 for a, _ in box], np.float32)
    d, row, column = points.T
    z = (d - (volume.shape[0] - 1) / 2) * VOXEL_DEPTH
    return np.stack([column, row, z], 1).astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32)
