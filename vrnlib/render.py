"""Z-buffer rasteriser and vertex normals, for synthetic photographs and figures (taught in
`notebooks/01_face_databases`).
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rasterise(vertices, faces, height, width, first, last, cull, tri, bary, depth):
    for f in range(faces.shape[0]):
        if first <= f < last:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, za = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        bx, by, zb = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        cx, cy, zc = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        if x0 > x1 or y0 > y1:
            continue
        area = np.float64(bx - ax) * (cy - ay) - np.float64(by - ay) * (cx - ax)
        if abs(area) < 1e-9 or (f < cull and area > 0):
            continue
        inv = 1.0 / area
        step_b, step_c = (cy - ay) * inv, (ay - by) * inv
        for y in range(y0, y1 + 1):
            wb = ((x0 - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inv
            wc = ((bx - ax) * (y - ay) - (by - ay) * (x0 - ax)) * inv
            for x in range(x0, x1 + 1):
                wa = 1.0 - wb - wc
                if wa >= -1e-6 and wb >= -1e-6 and wc >= -1e-6:
                    z = wa * za + wb * zb + wc * zc
                    if z > depth[y, x]:
                        depth[y, x] = z
                        tri[y, x] = f
                        bary[y, x, 0] = wb
                        bary[y, x, 1] = wc
                wb += step_b
                wc += step_c


def rasterise(
    vertices: np.ndarray,
    faces: np.ndarray,
    height: int,
    width: int,
    *,
    skip: tuple[int, int] = (0, 0),
    cull: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Front-most triangle per pixel (orthographic camera, viewer at +z).

    Parameters
    ----------
    vertices : (V, 3) float32, pixels: x right, y down, z towards the viewer.
    faces : (F, 3) int32.
    skip : first and last + 1 of the triangles to leave out.
    cull : so many triangles, the first ones, are of closed surfaces and left out where they face away.

    Returns
    -------
    tri (H, W) int32, index of the visible triangle or -1; bary (H, W, 2) float32, weights of its second and
    third corner; depth (H, W) float32, z of the surface, -inf where nothing is seen.
    """
    tri = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    depth = np.full((height, width), -np.inf, np.float32)
    vertices, faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
    _rasterise(vertices, faces, height, width, *skip, cull, tri, bary, depth)
    return tri, bary, depth


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3) float32, by the right-hand rule on the numbers of `vertices`."""
    out = np.zeros((len(vertices), 3), np.float32)
    _accumulate_normals(
        np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32), out
    )
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


@numba.njit(cache=True, nogil=True)
def _accumulate_normals(vertices, faces, out):
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        ux, uy, uz = vertices[j, 0] - ax, vertices[j, 1] - ay, vertices[j, 2] - az
        vx, vy, vz = vertices[k, 0] - ax, vertices[k, 1] - ay, vertices[k, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
