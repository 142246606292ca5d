"""The review's Figure 9, drawn: original mesh, corrected mesh, voxels (`notebooks/09_dynamic_labelling`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vrnlib import labelling
from vrnlib.figures import NEUTRAL, PALETTE, mesh_view
from vrnlib.voxel import VOXEL_DEPTH, isosurface

_SIDES = (
    ((1, 0, 0), ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1))),
    ((-1, 0, 0), ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0))),
    ((0, 1, 0), ((0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0))),
    ((0, -1, 0), ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1))),
    ((0, 0, 1), ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))),
    ((0, 0, -1), ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0))),
)  # outward step and corners of a voxel's six sides, each (depth, row, column)


def voxel_surface(filled: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The outside of a binary volume as it is, cube by cube.

    Parameters
    ----------
    filled : (D, H, W) bool

    Returns
    -------
    vertices : (V, 3) float32, network frame, pixels; a corner of two sides occurs twice.
    faces : (F, 3) int32; two for each side of a voxel that faces an empty one.
    """
    filled = np.asarray(filled, bool)
    padded = np.pad(filled, 1)
    corners = []
    for step, square in _SIDES:
        beyond = padded[tuple(slice(1 + s, n + 1 + s) for s, n in zip(step, filled.shape, strict=True))]
        at = np.argwhere(filled & ~beyond)  # (N, 3) depth, row, column
        corners.append(at[:, None] + np.array(square) - 0.5)
    points = np.concatenate(corners).reshape(-1, 3)
    z = (points[:, 0] - (filled.shape[0] - 1) / 2) * VOXEL_DEPTH
    first = 4 * np.arange(len(points) // 4, dtype=np.int32)[:, None]
    faces = np.concatenate([first + [0, 2, 1], first + [0, 3, 2]])
    return np.stack([points[:, 2], points[:, 1], z], 1).astype(np.float32), faces.astype(np.int32)


def body_colours(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Plaster for the largest body of a mesh, vermilion for all others: (V, 3) uint8."""
    label = labelling.labels(len(vertices), faces)
    sizes = np.bincount(label[faces[:, 0]], minlength=len(vertices))
    plaster, bump = np.rint(255 * NEUTRAL), [int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5)]
    return np.where((label == sizes.argmax())[:, None], plaster, bump).astype(np.uint8)


def figure_9(
    volume: NDArray[np.floating], level: float = 0.5, *, turn: float = 30, size: int = 220
) -> list[NDArray[np.uint8]]:
    """Original mesh with its bumps coloured, corrected mesh, binary voxels: three (size, size, 3) pictures.

    Parameters
    ----------
    volume : (D, H, W) float 0..1. level : isovalue. turn : degrees about the vertical axis.

    Raises
    ------
    VrnError : nothing reaches the level.
    """
    vertices, faces = isosurface(volume, level)
    kept, kept_faces, _ = labelling.largest_body(vertices, faces)
    cubes, sides = voxel_surface(np.asarray(volume) > level)
    options = {
        "turn": turn,
        "size": size,
        "centre": (vertices.min(0) + vertices.max(0)) / 2,
        "extent": float(np.linalg.norm(np.ptp(vertices, axis=0)) * 0.85),
    }
    return [
        mesh_view(vertices, faces, body_colours(vertices, faces), **options),
        mesh_view(kept, kept_faces, body_colours(kept, kept_faces), **options),
        mesh_view(cubes, sides, **options),
    ]
