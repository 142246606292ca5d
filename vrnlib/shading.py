"""The per-pixel shader of synthetic photographs (taught in `notebooks/01_face_databases`).

Colours are computed from *canonical coordinates* (the template's millimetres, x right, y up, z forward,
carried along by every vertex), so brows, irises, stubble or hairline need no texture map and deform with the
face. Light is linear; :func:`vrnlib.camera.develop` turns it into 8-bit sRGB. Camera frame here: x right, y
up, z towards the viewer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numba
import numpy as np

from vrnlib.render import rasterise, vertex_normals

if TYPE_CHECKING:
    from vrnlib.appearance import Light
    from vrnlib.props import Scene

# What a triangle belongs to; those from TEETH on are thin sheets. The first four are FaceBasis.part.
SKIN, CAVITY, EYEBALL, TONGUE, TEETH, HAIR = range(6)

# Entries of Look.values: lengths in canonical millimetres, strengths 0..1. They stand in the kernel's own
# file because numba's cache notices changes of that file only.
BROW_THICKNESS = 0  # mm
BROW_OPACITY = 1
BROW_HEIGHT = 2  # mm above the usual place
MOUSTACHE = 3  # density
BEARD = 4  # density
BEARD_HEIGHT = 5  # mm by which the beard's upper edge lies lower than usual
STUBBLE_NOISE = 6  # unevenness of the beard
HAIRLINE = 7  # mm above the eyes, in the middle of the forehead
HAIRLINE_CURVE = 8  # mm by which the hairline falls 60 mm to the side
SIDE = 9  # z of the sideburns' front edge, mm
FRECKLES = 10
MOTTLE = 11  # unevenness of the skin
BLUSH = 12  # of cheeks and nose
LINER = 13  # darkness of the lid's rim
PUPIL = 14  # radius, mm
NOISE_U = 15  # offset into the noise, pixels of its 256
NOISE_V = 16
LID_SHADE = 17
HAIR_NOISE = 18  # strength of the streaks
SCALP = 19  # 1 hair on the scalp, 0 bald
N_VALUES = 20

SHADOW_SIZE = 128
"""Side of the shadow map in pixels; it covers 360 mm."""


@lru_cache(maxsize=1)
def noise_tables() -> np.ndarray:
    """(256, 256, 4) float32 tileable noise of unit variance: broad, medium, fine, hair (streaks along v)."""
    rng = np.random.default_rng(7)
    out = []
    for sx, sy in ((14, 14), (4, 4), (1.2, 1.2), (1.2, 14)):
        tiled = np.tile(rng.normal(size=(256, 256)), (3, 3))
        n = cv2.GaussianBlur(tiled, (0, 0), sigmaX=sx, sigmaY=sy)[256:512, 256:512]
        out.append((n - n.mean()) / n.std())
    return np.stack(out, -1).astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _smooth(a, b, x):
    t = min(1.0, max(0.0, (x - a) / (b - a)))
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _hair_mask(x, y, z, hairline, curve, side, wobble):
    # signed millimetres inside the hair-bearing scalp, canonical coordinates
    front = y - (hairline - curve * (x / 60.0) ** 2) + wobble
    sides = min(side - z + wobble, y + 12.0 + wobble)
    back = min(-82.0 - z, y + 62.0 + wobble)
    if abs(x) > 69.0 and -95.0 < z < -50.0 and -48.0 < y < 14.0:
        return -9.0  # ears
    return max(front, max(sides, back))


@numba.njit(cache=True, nogil=True)
def scalp_mask(canon, hairline, curve, side):
    """Where hair grows: canon (V, 3) canonical mm -> (V,) float64, 0 bare skin .. 1 scalp."""
    out = np.zeros(canon.shape[0])
    for i in range(canon.shape[0]):
        inside = _hair_mask(canon[i, 0], canon[i, 1], canon[i, 2], hairline, curve, side, 0.0)
        out[i] = _smooth(-2.0, 14.0, inside)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade(
    tri, bary, faces, part, position, normal, canon, occlusion, lips_mask,
    skin, lips, hair, iris, v, lamps, sky, ground, shadow_strength, gloss, shininess,
    noise, to_light, shadow_map, shadow_scale, eyes, out,
):  # fmt: skip
    # Colour every covered pixel of `out` (H, W, 4); arguments as in Scene, Look, Light and `shade`.
    h, w = tri.shape
    n_lamps = lamps.shape[0]
    size = shadow_map.shape[0]
    a = np.empty(3, np.float32)
    for py in range(h):
        for px in range(w):
            f = tri[py, px]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            wb, wc = bary[py, px, 0], bary[py, px, 1]
            wa = 1 - wb - wc
            nx = wa * normal[i, 0] + wb * normal[j, 0] + wc * normal[k, 0]
            ny = wa * normal[i, 1] + wb * normal[j, 1] + wc * normal[k, 1]
            nz = wa * normal[i, 2] + wb * normal[j, 2] + wc * normal[k, 2]
            inv = 1.0 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
            if nz < 0 and part[f] >= TEETH:  # thin sheets have two sides
                inv = -inv
            nx, ny, nz = nx * inv, ny * inv, nz * inv
            x = wa * canon[i, 0] + wb * canon[j, 0] + wc * canon[k, 0]
            y = wa * canon[i, 1] + wb * canon[j, 1] + wc * canon[k, 1]
            z = wa * canon[i, 2] + wb * canon[j, 2] + wc * canon[k, 2]
            ao = wa * occlusion[i] + wb * occlusion[j] + wc * occlusion[k]
            u = np.arctan2(x, z + 90.0) * 90.0 + v[NOISE_U]
            t = y + v[NOISE_V]
            iu, iv = int(u) & 255, int(t) & 255
            n0, n1 = noise[iv, iu, 0], noise[iv, iu, 1]
            n2 = noise[int(t * 3) & 255, int(u * 3) & 255, 2]
            spec = gloss
            p = part[f]
            if p == SKIN:
                m = 1.0 + v[MOTTLE] * (0.6 * n0 + 0.4 * n1 + 0.25 * n2)
                ax = abs(x)
                blush = v[BLUSH] * (
                    np.exp(-((ax - 38) ** 2 + (y + 32) ** 2) / 500.0)
                    + np.exp(-(x * x + (y + 34) ** 2) / 120.0)
                )
                a[0] = skin[0] * m
                a[1] = skin[1] * m * (1 - 0.5 * blush)
                a[2] = skin[2] * m * (1 - 0.45 * blush)
                lid = v[LID_SHADE] * np.exp(-((ax - 31) ** 2 / 260.0 + (y - 6) ** 2 / 40.0))
                dark = 1.0 - lid
                if v[FRECKLES] > 0 and n2 > 1.1 and y < 25 and y > -45:
                    dark *= 1 - v[FRECKLES] * 0.6
                for c in range(3):
                    a[c] *= dark
                l = wa * lips_mask[i] + wb * lips_mask[j] + wc * lips_mask[k]
                l = _smooth(0.3, 0.7, l)
                if l > 0:
                    for c in range(3):
                        a[c] += l * (lips[c] * (1 + 0.1 * n1) - a[c])
                    spec += 0.15 * l
                # beard and moustache
                b = 0.0
                if y < -20 and z > -75:
                    edge = y + 62.0 + v[BEARD_HEIGHT] - 0.62 * max(0.0, ax - 22.0)
                    cheek = _smooth(0.0, 9.0, -edge + 3 * n1)
                    b = v[BEARD] * cheek * _smooth(-75, -60, z)
                    lip_hair = (
                        _smooth(-46.0, -50.0, y)
                        * _smooth(31.0, 24.0, ax + 0.4 * abs(y + 56))
                        * _smooth(100.0, 80.0, -y)
                    )
                    b = max(b, v[MOUSTACHE] * lip_hair)
                    uneven = 1 - v[STUBBLE_NOISE] + v[STUBBLE_NOISE] * (0.5 + 0.6 * n2)
                    b *= (1 - l) * min(1.0, max(0.0, uneven))
                # brows: a band around the line through the brow landmarks
                if 6 < ax < 56 and 8 < y < 38:
                    s = (ax - 30.0) / 21.0
                    line = 21.0 + v[BROW_HEIGHT] - 5.0 * s * s * (1.0 if s > 0 else 0.75) + 0.9 * s
                    thick = v[BROW_THICKNESS] * (1 - 0.45 * max(0.0, s)) * 0.75
                    b = max(
                        b,
                        v[BROW_OPACITY]
                        * _smooth(thick + 1.3, thick - 0.9, abs(y - line) + 0.6 * n2)
                        * _smooth(7.0, 11.0, ax)
                        * _smooth(53.0, 46.0, ax),
                    )
                if v[SCALP] > 0:
                    s = _hair_mask(x, y, z, v[HAIRLINE], v[HAIRLINE_CURVE], v[SIDE], 2.5 * n1 + 0.8 * n2)
                    b = max(b, _smooth(-2.0, 3.0, s))
                if b > 0:
                    streak = 1 + v[HAIR_NOISE] * 0.5 * noise[int(t * 0.7) & 255, int(u * 2) & 255, 3]
                    for c in range(3):
                        a[c] += b * (hair[c] * max(0.15, streak) - a[c])
                    spec *= 1 - 0.6 * b
            elif p == CAVITY:
                if y > -30:  # eye socket: the lid's wet inner rim
                    for c in range(3):
                        a[c] = skin[c] * (0.75 - 0.55 * v[LINER])
                    ao = min(ao, 0.7)
                else:
                    a[0], a[1], a[2] = 0.16 * (0.3 + skin[0]), 0.03, 0.03
                    ao = min(ao, 0.25)
            elif p == EYEBALL:
                e = 0 if x < 0 else 1
                r = np.sqrt((x - eyes[e, 0]) ** 2 + (y - eyes[e, 1]) ** 2)
                if z < eyes[e, 2]:
                    r = 99.0
                if r < v[PUPIL]:
                    a[0] = a[1] = a[2] = 0.004
                elif r < 5.9:
                    s = (0.55 if r > 5.0 else 1.0) * (1 + 0.15 * n2)
                    a[0], a[1], a[2] = iris[0] * s, iris[1] * s, iris[2] * s
                else:
                    a[0], a[1], a[2] = 0.62, 0.57, 0.53
                ao = 0.62
                spec = 0.5
            elif p == TONGUE:
                a[0], a[1], a[2] = 0.35, 0.10, 0.10
                ao = 0.45
            elif p == TEETH:
                a[0], a[1], a[2] = 0.66, 0.62, 0.52
                ao = 0.55 - 0.012 * abs(x)
                spec += 0.1
            else:
                streak = 1 + v[HAIR_NOISE] * noise[int(y * 0.35 + v[NOISE_V]) & 255, int(u * 2.2) & 255, 3]
                for c in range(3):
                    a[c] = hair[c] * max(0.12, streak)
                ao = 0.85
                spec = 0.5 * gloss
            up = 0.5 + 0.5 * ny
            r0 = ao * (sky[0] * up + ground[0] * (1 - up))
            r1 = ao * (sky[1] * up + ground[1] * (1 - up))
            r2 = ao * (sky[2] * up + ground[2] * (1 - up))
            cr, cg, cb = a[0] * r0, a[1] * r1, a[2] * r2
            for q in range(n_lamps):
                lx, ly, lz = lamps[q, 0], lamps[q, 1], lamps[q, 2]
                ndl = nx * lx + ny * ly + nz * lz
                visible = 1.0
                if q == 0 and shadow_strength > 0:
                    X = wa * position[i, 0] + wb * position[j, 0] + wc * position[k, 0]
                    Y = wa * position[i, 1] + wb * position[j, 1] + wc * position[k, 1]
                    Z = wa * position[i, 2] + wb * position[j, 2] + wc * position[k, 2]
                    qx = to_light[0, 0] * X + to_light[0, 1] * Y + to_light[0, 2] * Z
                    qy = to_light[1, 0] * X + to_light[1, 1] * Y + to_light[1, 2] * Z
                    qz = to_light[2, 0] * X + to_light[2, 1] * Y + to_light[2, 2] * Z
                    sx, sy, sz = qx * shadow_scale + size / 2, qy * shadow_scale + size / 2, qz * shadow_scale
                    ix, iy = int(sx), int(sy)
                    if 0 <= ix < size - 1 and 0 <= iy < size - 1:
                        fx, fy = sx - ix, sy - iy
                        bias = sz + (3.0 + 5.0 * (1.0 - max(0.0, ndl))) * shadow_scale
                        lit = 0.0
                        lit += (1 - fx) * (1 - fy) * (1.0 if shadow_map[iy, ix] < bias else 0.0)
                        lit += fx * (1 - fy) * (1.0 if shadow_map[iy, ix + 1] < bias else 0.0)
                        lit += (1 - fx) * fy * (1.0 if shadow_map[iy + 1, ix] < bias else 0.0)
                        lit += fx * fy * (1.0 if shadow_map[iy + 1, ix + 1] < bias else 0.0)
                        visible = 1 - shadow_strength * (1 - lit)
                # light that scatters under the skin softens and reddens the terminator: wrapped diffuse,
                # widest in red
                soft = 0.22 if p in (SKIN, TONGUE) else 0.1
                d0 = max(0.0, (ndl + soft) / (1 + soft)) * visible
                d1 = max(0.0, (ndl + 0.5 * soft) / (1 + 0.5 * soft)) * visible
                d2 = max(0.0, (ndl + 0.35 * soft) / (1 + 0.35 * soft)) * visible
                hx, hy, hz = lx, ly, lz + 1.0
                hn = 1.0 / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
                ndh = max(0.0, (nx * hx + ny * hy + nz * hz) * hn)
                s = spec * 0.35 * ndh**shininess * visible if ndl > 0 else 0.0
                cr += lamps[q, 3] * (a[0] * d0 + s)
                cg += lamps[q, 4] * (a[1] * d1 + s)
                cb += lamps[q, 5] * (a[2] * d2 + s)
            out[py, px, 0], out[py, px, 1], out[py, px, 2], out[py, px, 3] = cr, cg, cb, 1.0


def shade(
    scene: Scene, rotation: np.ndarray, scale: float, centre: tuple[float, float], light: Light, size: int
) -> np.ndarray:
    """Draw a scene with a weak-perspective camera.

    Parameters
    ----------
    rotation : (3, 3), model frame -> camera frame (x right, y up, z towards the viewer).
    scale : pixels per millimetre.
    centre : (x, y) pixel of the model's origin, x right, y down.
    size : side of the square image in pixels.

    Returns
    -------
    (size, size, 4) float32: linear RGB (may exceed 1) and coverage 0 or 1.
    """
    posed = scene.vertices @ rotation.T.astype(np.float32)
    x, y = posed[:, 0] * scale + centre[0], centre[1] - posed[:, 1] * scale
    tri, bary, _ = rasterise(np.stack([x, y, posed[:, 2] * scale], 1), scene.faces, size, size)
    normals = vertex_normals(posed, scene.faces)
    # self-shadow of the first lamp: a depth map seen from it
    axis = light.lamps[0, :3]
    side = np.cross([0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0], axis)
    side /= np.linalg.norm(side)
    to_light = np.stack([side, np.cross(axis, side), axis]).astype(np.float32)
    shadow_scale = SHADOW_SIZE / 360.0
    if light.shadow > 0:
        q = (posed @ to_light.T) * np.float32(shadow_scale)
        q[:, :2] += SHADOW_SIZE / 2
        _, _, shadow_map = rasterise(q, scene.faces, SHADOW_SIZE, SHADOW_SIZE)
    else:
        shadow_map = np.zeros((1, 1), np.float32)
    out = np.zeros((size, size, 4), np.float32)
    look = scene.look
    _shade(
        tri, bary, scene.faces, scene.part, posed, normals, scene.canon, scene.occlusion, scene.lips,
        look.skin, look.lips, look.hair, look.iris, look.values,
        light.lamps, light.sky, light.ground, light.shadow, light.gloss, light.shininess,
        noise_tables(), to_light, shadow_map, shadow_scale, scene.eyes, out,
    )  # fmt: skip
    return out
