"""Projected Normalised Coordinate Code: what the current fit looks like, as a picture
(`notebooks/07_baselines`).

Zhu et al., *Face Alignment Across Large Poses* (CVPR 2016), Eqs. 5 and 6: each vertex gets its place on the
mean face as a colour,

    NCC_d = (S_d - min S_d) / (max S_d - min S_d),    d = x, y, z

and the mesh of the current parameters is drawn with these colours by a z-buffer. A network that sees image
and PNCC together sees where each part of the model lies now, and where it should.

Vertices are in the crop's voxel frame (:mod:`vrnlib.voxel`): pixels, x right, y down, z towards the viewer.
"""

from __future__ import annotations

import numba
import numpy as np

from vrnlib.errors import VrnError


def ncc(mean: np.ndarray) -> np.ndarray:
    """Normalised coordinate code of a mean face (Eq. 5).

    Parameters
    ----------
    mean : (V, 3) vertices, any unit.

    Returns
    -------
    (V, 3) float32, each coordinate 0..1 over the vertices.

    Raises
    ------
    VrnError : not (V, 3), not finite, or flat along an axis.
    """
    mean = np.asarray(mean, np.float64)
    if mean.ndim != 2 or mean.shape[1] != 3 or not len(mean) or not np.isfinite(mean).all():
        raise VrnError(f"NCC: the mean face must be finite vertices (V, 3), got shape {mean.shape}")
    low, extent = mean.min(0), np.ptp(mean, axis=0)
    if (extent <= 0).any():
        raise VrnError("NCC: the mean face is flat along an axis, its coordinates can't be normalised")
    return ((mean - low) / extent).astype(np.float32)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(vertices, faces, codes, image, depth):
    # image (3, S, S), depth (S, S), both filled here
    size = depth.shape[0]
    depth[:] = -np.inf
    image[:] = 0
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        bx, by, bz = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        cx, cy, cz = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        # clamped as floats: a vertex of a lost fit may lie beyond what an int holds
        x0 = int(np.ceil(min(max(min(ax, bx, cx), 0.0), float(size))))
        x1 = int(np.floor(max(min(max(ax, bx, cx), size - 1.0), -1.0)))
        y0 = int(np.ceil(min(max(min(ay, by, cy), 0.0), float(size))))
        y1 = int(np.floor(max(min(max(ay, by, cy), size - 1.0), -1.0)))
        if x0 > x1 or y0 > y1:
            continue
        area = np.float64(bx - ax) * (cy - ay) - np.float64(by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        inv = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * np.float64(cy - ay) - (y - ay) * np.float64(cx - ax)) * inv
                wc = ((y - ay) * np.float64(bx - ax) - (x - ax) * np.float64(by - ay)) * inv
                wa = 1.0 - wb - wc
                if wa >= -1e-6 and wb >= -1e-6 and wc >= -1e-6:
                    z = wa * az + wb * bz + wc * cz
                    if z > depth[y, x]:
                        depth[y, x] = z
                        for c in range(3):
                            image[c, y, x] = wa * codes[i, c] + wb * codes[j, c] + wc * codes[k, c]


@numba.njit(cache=True, nogil=True)
def _draw_all(vertices, faces, codes, images):
    depth = np.empty(images.shape[2:], np.float32)
    for n in range(len(vertices)):
        _draw(vertices[n], faces, codes, images[n], depth)


def pncc(vertices: np.ndarray, faces: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    """Draw fits with the colours of the mean face (Eq. 6).

    Parameters
    ----------
    vertices : (N, V, 3) or (V, 3), pixels of the window.
    faces : (F, 3) int, both sides are seen.
    codes : (V, 3) colours, see `ncc`.
    size : side of the window in pixels.

    Returns
    -------
    (N, 3, size, size) or (3, size, size) float32, 0..1; 0 where no triangle is.

    Raises
    ------
    VrnError : shapes that do not belong together, or vertices that are not finite.
    """
    vertices = np.asarray(vertices)
    many = vertices if vertices.ndim == 3 else vertices[None]
    if many.ndim != 3 or many.shape[1:] != codes.shape:
        raise VrnError(f"PNCC: vertices {vertices.shape} and codes {codes.shape} do not belong together")
    if not np.isfinite(many).all():
        raise VrnError("PNCC: vertices are not finite: the fit has diverged")
    images = np.empty((len(many), 3, size, size), np.float32)
    _draw_all(
        np.ascontiguousarray(many, np.float32),
        np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(codes, np.float32),
        images,
    )
    return images if vertices.ndim == 3 else images[0]
