"""A contact sheet of a database: to see whether pictures, landmarks and meshes belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vrnlib.errors import VrnError
from vrnlib.provenance import replacing
from vrnlib.render import rasterise, vertex_normals
from vrnlib.voxel import isosurface

_MESH = np.array([120, 190, 255], np.float32)  # RGB
_ZOOM = 2


def tile(sample: dict[str, np.ndarray]) -> np.ndarray:
    """A sample -> (2 S, 6 S, 3) uint8 RGB: the picture, the landmarks on it, the surface of the volume
    over it.
    """
    size = sample["image"].shape[0]
    big = cv2.resize(sample["image"], None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
    return np.concatenate([big, _dots(big, sample["landmarks"]), _meshed(big, sample["volume"], size)], 1)


def _dots(big: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    out = big.copy()
    radius = max(1, big.shape[0] // 128)
    for x, y in (landmarks + 0.5) * _ZOOM - 0.5:
        cv2.circle(out, (round(float(x)), round(float(y))), radius, (40, 230, 60), -1, cv2.LINE_AA)
    return out


def _meshed(big: np.ndarray, volume: np.ndarray, size: int) -> np.ndarray:
    vertices, faces = isosurface(_smooth(volume))
    vertices = (vertices + [0.5, 0.5, 0]) * _ZOOM - [0.5, 0.5, 0]
    tri, bary, _ = rasterise(vertices, faces, size * _ZOOM, size * _ZOOM)
    normals = vertex_normals(vertices, faces)
    seen = tri >= 0
    f = faces[tri[seen]]
    wb, wc = bary[seen][:, :1], bary[seen][:, 1:]
    n = normals[f[:, 0]] * (1 - wb - wc) + normals[f[:, 1]] * wb + normals[f[:, 2]] * wc
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-6)
    light = np.array([-0.4, -0.5, 0.77], np.float32)
    shade = 0.25 + 0.75 * np.clip(np.abs(n[:, 2:]) * 0.3 + (n * np.sign(n[:, 2:])) @ light[:, None], 0, 1)
    out = big.astype(np.float32)
    out[seen] = 0.3 * out[seen] + 0.7 * shade * _MESH
    return np.clip(out, 0, 255).astype(np.uint8)


def _smooth(volume: np.ndarray) -> np.ndarray:
    """A binary volume blurred a little, so that its surface shows shape and not steps."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume.astype(np.float32), 0.8)


def contact_sheet(database: Any, count: int = 12, columns: int = 2) -> np.ndarray:
    """`count` samples, spread over a database, as one picture (H, W, 3) uint8 RGB.

    Raises
    ------
    VrnError : a bad item (unless the database skips them), or `count` below 1.
    """
    if count < 1:
        raise VrnError(f"a contact sheet needs at least one sample, got {count}")
    numbers = np.unique(np.linspace(0, len(database) - 1, min(count, len(database))).astype(int))
    tiles = [tile(database[int(n)]) for n in numbers]
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    gap = 4
    padded = [cv2.copyMakeBorder(t, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=(255,) * 3) for t in tiles]
    rows = [np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows)


def write_sheet(path: str | Path, database: Any, count: int = 12, columns: int = 2) -> Path:
    """Write :func:`contact_sheet` as a PNG; returns the path.

    Raises
    ------
    VrnError : see :func:`contact_sheet`; the name does not end in .png, or the folder can't be written to.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise VrnError(f"cannot write '{path}': the contact sheet is a PNG, give a name that ends in .png")
    sheet = contact_sheet(database, count, columns)
    good, data = cv2.imencode(".png", sheet[..., ::-1])
    if not good:
        raise VrnError(f"cannot encode the contact sheet '{path}'")
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return path
