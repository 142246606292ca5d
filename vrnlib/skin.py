"""Maps of a face's skin in canonical coordinates: folds, creases, redness, pores
(`notebooks/01_face_databases`).

A face in the network's window has one to two pixels for three millimetres: single hairs and pores can't be
seen, folds,
lash lines and redness can. The maps are drawn once a process and shared by all faces; a :class:`Look` weighs
them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from vrnlib.faces import load_basis

# The front map: canonical x, y (mm) of its corner, and texels a millimetre.
MAP_X, MAP_Y, MAP_SCALE, MAP_WIDTH, MAP_HEIGHT = -64.0, -116.0, 1.5, 192, 300
FOLD_X, FOLD_Y, FOLD_DARK, LASH, RED, CIRCLES = range(6)
"""Channels of the front map: slopes of the folds, their darkness, the lash lines and lid crease, redness,
the dark under the eyes."""
N_CHANNELS = 6

# Folds of the right half of a face, canonical mm: points, width, depth. Read off the template.
_FOLDS = (
    (((-17, -37), (-24, -45), (-31, -57), (-34, -70)), 2.6, 1.3),  # beside nose and mouth
    (((-29, -73), (-31, -84)), 2.2, 0.6),  # down from the corner of the mouth
    (((-14, -87), (-6, -85), (0, -84.5)), 2.6, 0.7),  # above the chin
    (((-16, -7), (-22, -12), (-32, -14), (-43, -9)), 2.0, 0.7),  # under the eye
    (((-52, 3), (-61, 8)), 1.2, 0.5),
    (((-52, 0), (-62, -2)), 1.2, 0.5),
    (((-51, -4), (-59, -11)), 1.2, 0.4),  # crow's feet
    (((-5, 11), (-6, 26)), 1.4, 0.6),  # between the brows
    (((-40, 36), (-24, 40), (0, 38)), 1.7, 0.5),
    (((-42, 46), (-24, 50), (0, 48)), 1.7, 0.6),
    (((-38, 56), (-22, 59), (0, 58)), 1.7, 0.4),  # forehead
)


@lru_cache(maxsize=1)
def noise_tables() -> np.ndarray:
    """(256, 256, 6) float32 tileable noise of unit variance: broad, medium, fine, hair (streaks along v),
    and the two slopes of the medium one.
    """
    rng = np.random.default_rng(7)
    out = []
    for sx, sy in ((14, 14), (4, 4), (1.2, 1.2), (1.2, 14)):
        tiled = np.tile(rng.normal(size=(256, 256)), (3, 3))
        n = cv2.GaussianBlur(tiled, (0, 0), sigmaX=sx, sigmaY=sy)[256:512, 256:512]
        out.append((n - n.mean()) / n.std())
    rough = cv2.GaussianBlur(np.tile(rng.normal(size=(256, 256)), (3, 3)), (0, 0), 1.6)
    for axis in (1, 0):
        slope = np.gradient(rough, axis=axis)[256:512, 256:512]
        out.append(slope / slope.std())
    return np.stack(out, -1).astype(np.float32)


@lru_cache(maxsize=1)
def front_map() -> np.ndarray:
    """(MAP_HEIGHT, MAP_WIDTH, N_CHANNELS) float32; row 0 is the lowest, strengths 0..1, slopes mm a mm."""
    p = load_basis().template[load_basis().landmarks]
    x = MAP_X + np.arange(MAP_WIDTH) / MAP_SCALE
    y = MAP_Y + np.arange(MAP_HEIGHT) / MAP_SCALE
    x, y = np.meshgrid(-np.abs(x), y)
    out = np.zeros((MAP_HEIGHT, MAP_WIDTH, N_CHANNELS), np.float32)
    height = np.zeros_like(x)
    for points, width, depth in _FOLDS:
        groove = np.exp(-((_distance(x, y, np.array(points, float)) / width) ** 2))
        height -= depth * groove
        out[..., FOLD_DARK] = np.maximum(out[..., FOLD_DARK], depth * groove)
    slope_y, slope_x = np.gradient(height, 1 / MAP_SCALE)
    out[..., FOLD_X], out[..., FOLD_Y] = slope_x, slope_y
    upper, lower = p[[36, 37, 38, 39], :2], p[[36, 41, 40, 39], :2]
    lash = np.exp(-((_distance(x, y, upper) / 1.5) ** 2))
    crease = np.exp(-((_distance(x, y, upper + [0, 5.0]) / 1.4) ** 2))
    under = np.exp(-((_distance(x, y, lower) / 1.2) ** 2))
    out[..., LASH] = np.maximum(lash, np.maximum(0.4 * crease, 0.35 * under))
    eye = p[36:42, :2].mean(0)
    dx, dy = x - eye[0], y - eye[1]
    out[..., CIRCLES] = np.exp(-(((dx - 6) / 17) ** 2) - ((dy + 8) / 8) ** 2) + 0.6 * np.exp(
        -(((dx - 12) / 8) ** 2) - ((dy - 6) / 9) ** 2
    )
    nose, wing = p[30], p[31]
    out[..., RED] = (
        np.exp(-((x - nose[0]) ** 2 + (y - nose[1]) ** 2) / 150)
        + 0.8 * np.exp(-((x - wing[0]) ** 2 + (y - wing[1] - 4) ** 2) / 60)
        + np.exp(-((x + 38) ** 2 + (y + 30) ** 2) / 500)
        + 0.5 * np.exp(-((x / 14) ** 2) - ((y + 102) / 10) ** 2)
    )
    return out


def _distance(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    # From every texel to a polyline (P, 2), mm.
    best = np.full(x.shape, np.inf)
    for a, b in pairwise(points):
        d = b - a
        t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / (d @ d), 0, 1)
        best = np.minimum(best, np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1]))
    return best
