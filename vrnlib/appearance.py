"""How a synthetic face looks: skin, eyes, hair, light and camera (taught in `notebooks/01_face_databases`).

Colours are computed per pixel from *canonical coordinates* (the template's millimetres, carried along by
every vertex), so brows, irises, stubble or hairline need no texture map and deform with the face. Light is
linear; the camera turns it into 8-bit sRGB. Camera frame here: x right, y up, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numba
import numpy as np

from vrnlib.faces import load_basis
from vrnlib.render import rasterise, vertex_normals

SKIN, CAVITY, EYEBALL, TONGUE, TEETH, HAIR = range(6)
# Ten tones from very light to very dark skin (Monk's scale, sRGB); people are drawn between neighbours.
_TONES = np.array([
    [246, 237, 228], [243, 231, 219], [238, 218, 196], [234, 205, 175], [215, 180, 145],
    [175, 130, 95], [140, 98, 70], [100, 66, 50], [70, 52, 42], [52, 40, 35],
]) / 255.0  # fmt: skip
_HAIR = (
    np.array(
        [
            [15, 12, 10],
            [35, 24, 18],
            [62, 42, 28],
            [95, 66, 42],
            [140, 105, 65],
            [190, 155, 105],
            [120, 55, 30],
            [150, 148, 145],
            [215, 213, 210],
        ]
    )
    / 255.0
)
_IRIS = (
    np.array([[60, 38, 24], [80, 55, 32], [95, 85, 50], [75, 100, 115], [95, 120, 100], [35, 24, 18]]) / 255.0
)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> linear light 0..1 (power 2.2)."""
    return np.power(srgb, 2.2)


@dataclass(frozen=True)
class Look:
    """Everything about a person's surface that is not shape; colours are linear RGB 0..1."""

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    values: np.ndarray  # see `_V`
    hair_thickness: float  # mm of the cap over the scalp; 0 is shaven
    long_hair: (
        tuple[float, float, float] | None
    )  # length below the eyes mm, extra thickness mm, half-opening of the front rad


@dataclass(frozen=True)
class Light:
    """Lamps and sky in the camera frame; each lamp is direction (3), linear RGB (3)."""

    lamps: np.ndarray  # (L, 6)
    sky: np.ndarray  # (3,) from above
    ground: np.ndarray  # (3,) from below
    shadow: float  # 0 none .. 1 full self-shadow of the first lamp
    gloss: float  # specular strength
    shininess: float = 20.0


# indices into Look.values
_V = {name: i for i, name in enumerate([
    "brow_thickness", "brow_opacity", "brow_height", "moustache", "beard", "beard_height", "stubble_noise", "hairline",
    "hairline_curve", "side", "freckles", "mottle", "blush", "liner", "pupil", "u0", "v0", "lid_shade", "hair_noise", "scalp",
])}  # fmt: skip


def sample_look(rng: np.random.Generator) -> Look:
    """Draw skin over the full human range, hair, brows, beard, eyes, make-up."""
    t = rng.uniform(0, len(_TONES) - 1)
    i = min(int(t), len(_TONES) - 2)
    srgb = _TONES[i] * (1 - t + i) + _TONES[i + 1] * (t - i)
    srgb = np.clip(srgb * rng.normal(1, 0.05) * rng.normal(1, 0.035, 3), 0.03, 0.97)
    skin = to_linear(srgb)
    lips = skin * np.array([0.95, rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.8)])
    if rng.random() < 0.12:  # lipstick
        lips = to_linear(np.array([rng.uniform(0.4, 0.85), rng.uniform(0.05, 0.3), rng.uniform(0.1, 0.4)]))
    # dark skin goes with dark hair more often than not, but not always
    pool = len(_HAIR) if t < 5 or rng.random() < 0.15 else 3
    hair = to_linear(np.clip(_HAIR[rng.integers(pool)] * rng.uniform(0.7, 1.3), 0, 1))
    iris = to_linear(
        _IRIS[rng.integers(len(_IRIS)) if t < 5 else rng.choice([0, 1, 5])] * rng.uniform(0.7, 1.3)
    )
    v = np.zeros(len(_V), np.float32)
    bearded = rng.random() < 0.3
    draws = {
        "brow_thickness": rng.uniform(2.0, 5.5), "brow_opacity": rng.uniform(0.25, 0.95), "brow_height": rng.normal(0, 1.2),
        "moustache": rng.uniform(0, 0.9) if bearded else 0.0, "beard": rng.uniform(0.1, 0.95) if bearded else rng.choice([0, 0.12]),
        "beard_height": rng.uniform(-8, 8), "stubble_noise": rng.uniform(0.1, 0.6), "hairline": rng.uniform(44, 84),
        "hairline_curve": rng.uniform(0, 30), "side": rng.uniform(-56, -38), "freckles": rng.uniform(0.2, 0.8) if rng.random() < 0.15 else 0.0,
        "mottle": rng.uniform(0.03, 0.16), "blush": rng.uniform(0, 0.35), "liner": rng.uniform(0.0, 0.8), "pupil": rng.uniform(1.5, 3.0),
        "u0": rng.uniform(0, 256), "v0": rng.uniform(0, 256), "lid_shade": rng.uniform(0, 0.3), "hair_noise": rng.uniform(0.15, 0.6),
        "scalp": 1.0 if rng.random() < 0.88 else 0.0,
    }  # fmt: skip
    for name, value in draws.items():
        v[_V[name]] = value
    thickness = 0.0 if rng.random() < 0.2 else rng.uniform(2, 26) * rng.uniform(0.3, 1)
    long_hair = None
    if v[_V["scalp"]] and rng.random() < 0.4:
        long_hair = (rng.uniform(-10, 200), rng.uniform(4, 26), rng.uniform(0.9, 1.5))
    return Look(*(a.astype(np.float32) for a in (skin, lips, hair, iris)), v, thickness, long_hair)


def sample_light(rng: np.random.Generator) -> Light:
    """Draw one to three lamps and a sky: soft or harsh, tinted, from anywhere on the viewer's side and a
    little behind.
    """
    n = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    direction = rng.normal(size=(n, 3)) * [1.0, 0.7, 0.6] + [0, 0.35, 0.55]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    warm = np.exp(rng.normal(0, 0.12, (n, 1)) * np.array([1, 0, -1]))
    power = rng.uniform(0.3, 1.3, (n, 1)) * np.array([1.0, 0.5, 0.4])[:n, None]
    tint = np.exp(rng.normal(0, 0.15, 3) * rng.choice([0.3, 1.0]))
    ambient = rng.uniform(0.12, 0.8)
    return Light(
        np.concatenate([direction, power * warm], 1).astype(np.float32), (ambient * tint).astype(np.float32),
        (ambient * rng.uniform(0.3, 0.9) * tint).astype(np.float32), float(rng.choice([0.0, rng.uniform(0.4, 1.0)], p=[0.35, 0.65])),
        float(rng.uniform(0.0, 0.35)), float(rng.uniform(6, 40)),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    # (256, 256, 4) tileable noise, unit variance: broad, medium, fine, and streaks along v (for hair)
    rng = np.random.default_rng(7)
    out = []
    for sx, sy in ((14, 14), (4, 4), (1.2, 1.2), (1.2, 14)):
        n = cv2.GaussianBlur(np.tile(rng.normal(size=(256, 256)), (3, 3)), (0, 0), sigmaX=sx, sigmaY=sy)[
            256:512, 256:512
        ]
        out.append((n - n.mean()) / n.std())
    return np.stack(out, -1).astype(np.float32)


@lru_cache(maxsize=1)
def _props() -> dict[str, np.ndarray]:
    # Static triangles that are not part of the head: dental arches (moved by two anchors) and a grid for long hair.
    basis = load_basis()
    origin = basis.template
    lips_upper, chin = basis.landmarks[33], basis.landmarks[8]
    arch = np.linspace(-22, 22, 13)
    z_lip = origin[basis.landmarks[62], 2]
    y_lip = origin[basis.landmarks[62], 1]
    rows = []
    for top, bottom in (
        (4.0, -5.5),
        (-5.0, -13.0),
    ):  # upper and lower teeth, relative to the slit of the mouth
        for dy in (top, bottom):
            rows.append(
                np.stack(
                    [arch, np.full(13, y_lip + dy), z_lip - 5.0 - 0.022 * arch**2 - (1.5 if top < 0 else 0)],
                    1,
                )
            )
    teeth = np.concatenate(rows).astype(np.float32)
    quads = []
    for r in (0, 2):
        for i in range(12):
            a, b, c, d = r * 13 + i, r * 13 + i + 1, (r + 1) * 13 + i, (r + 1) * 13 + i + 1
            quads += [(a, c, b), (b, c, d)]
    grid = []
    for r in range(_SHELL_ROWS - 1):
        for i in range(_SHELL_COLUMNS):
            a, b = r * _SHELL_COLUMNS + i, r * _SHELL_COLUMNS + (i + 1) % _SHELL_COLUMNS
            c, d = a + _SHELL_COLUMNS, b + _SHELL_COLUMNS
            grid += [(a, c, b), (b, c, d)]
    return {
        "teeth": teeth,
        "teeth_faces": np.array(quads, np.int32),
        "anchors": np.array([lips_upper, chin]),
        "grid": np.array(grid, np.int32),
    }


_SHELL_ROWS, _SHELL_COLUMNS = 22, 36


def _long_hair(head: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray]:
    # A shell around the skull that falls to `length` below the eyes and is open at the front.
    length, extra, opening = look.long_hair
    skull = head[load_basis().template[:, 1] > 20]
    rx, rz = np.abs(skull[:, 0]).max() + extra, (skull[:, 2].max() - skull[:, 2].min()) / 2 + extra
    cz, top = (skull[:, 2].max() + skull[:, 2].min()) / 2 - 6, skull[:, 1].max() + extra * 0.6
    middle = top - rx
    az = np.linspace(0, 2 * np.pi, _SHELL_COLUMNS, endpoint=False)  # 0 = front
    t = np.linspace(0, 1, _SHELL_ROWS)[:, None]
    arc = np.clip(t / 0.5, 0, 1) * np.pi / 2
    y = np.where(
        t < 0.5, middle + (top - middle) * np.cos(arc), middle + (t - 0.5) / 0.5 * (-length - middle)
    )
    ring = np.where(t < 0.5, np.sin(arc), 1.0 + 0.12 * (t - 0.5))
    noise = _noise()
    rough = (
        1
        + 0.05
        * noise[
            (t * 120 + look.values[_V["v0"]]).astype(int) % 256,
            (az * 20 + look.values[_V["u0"]]).astype(int)[None] % 256,
            0,
        ]
    )
    x = ring * rough * rx * np.sin(az)[None]
    z = cz + ring * rough * rz * np.cos(az)[None]
    vertices = np.stack([x, np.broadcast_to(y, x.shape), z], -1).reshape(-1, 3).astype(np.float32)
    faces = _props()["grid"]
    azimuth = np.abs((np.tile(az, _SHELL_ROWS) + np.pi) % (2 * np.pi) - np.pi)
    hairline = look.values[_V["hairline"]] + 8
    closed = (vertices[:, 1] > hairline) | (azimuth > opening)
    return vertices, faces[closed[faces].all(1)]


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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade(tri, bary, faces, part, position, normal, canon, occlusion, lips_mask, skin, lips, hair, iris, v, lamps, sky, ground,
           shadow_strength, gloss, shininess, noise, to_light, shadow_map, shadow_scale, eyes, out):  # fmt: skip
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
            if nz < 0 and part[f] >= 4:  # thin sheets have two sides
                inv = -inv
            nx, ny, nz = nx * inv, ny * inv, nz * inv
            x = wa * canon[i, 0] + wb * canon[j, 0] + wc * canon[k, 0]
            y = wa * canon[i, 1] + wb * canon[j, 1] + wc * canon[k, 1]
            z = wa * canon[i, 2] + wb * canon[j, 2] + wc * canon[k, 2]
            ao = wa * occlusion[i] + wb * occlusion[j] + wc * occlusion[k]
            u = np.arctan2(x, z + 90.0) * 90.0 + v[15]
            t = y + v[16]
            iu, iv = int(u) & 255, int(t) & 255
            n0, n1 = noise[iv, iu, 0], noise[iv, iu, 1]
            n2 = noise[int(t * 3) & 255, int(u * 3) & 255, 2]
            spec = gloss
            p = part[f]
            if p == 0:
                m = 1.0 + v[11] * (0.6 * n0 + 0.4 * n1 + 0.25 * n2)
                ax = abs(x)
                blush = v[12] * (
                    np.exp(-((ax - 38) ** 2 + (y + 32) ** 2) / 500.0)
                    + np.exp(-(x * x + (y + 34) ** 2) / 120.0)
                )
                a[0] = skin[0] * m
                a[1] = skin[1] * m * (1 - 0.5 * blush)
                a[2] = skin[2] * m * (1 - 0.45 * blush)
                lid = v[17] * np.exp(-((ax - 31) ** 2 / 260.0 + (y - 6) ** 2 / 40.0))
                dark = 1.0 - lid
                if v[10] > 0 and n2 > 1.1 and y < 25 and y > -45:
                    dark *= 1 - v[10] * 0.6
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
                    cheek = _smooth(0.0, 9.0, -(y + 62.0 + v[5] - 0.62 * max(0.0, ax - 22.0)) + 3 * n1)
                    b = v[4] * cheek * _smooth(-75, -60, z)
                    lip_hair = (
                        _smooth(-46.0, -50.0, y)
                        * _smooth(31.0, 24.0, ax + 0.4 * abs(y + 56))
                        * _smooth(100.0, 80.0, -y)
                    )
                    b = max(b, v[3] * lip_hair)
                    b *= (1 - l) * min(1.0, max(0.0, 1 - v[6] + v[6] * (0.5 + 0.6 * n2)))
                # brows: a band around the line through the brow landmarks
                if 6 < ax < 56 and 8 < y < 38:
                    s = (ax - 30.0) / 21.0
                    line = 21.0 + v[2] - 5.0 * s * s * (1.0 if s > 0 else 0.75) + 0.9 * s
                    thick = v[0] * (1 - 0.45 * max(0.0, s)) * 0.75
                    b = max(
                        b,
                        v[1]
                        * _smooth(thick + 1.3, thick - 0.9, abs(y - line) + 0.6 * n2)
                        * _smooth(7.0, 11.0, ax)
                        * _smooth(53.0, 46.0, ax),
                    )
                if v[19] > 0:
                    s = _hair_mask(x, y, z, v[7], v[8], v[9], 2.5 * n1 + 0.8 * n2)
                    b = max(b, _smooth(-2.0, 3.0, s))
                if b > 0:
                    streak = 1 + v[18] * 0.5 * noise[int(t * 0.7) & 255, int(u * 2) & 255, 3]
                    for c in range(3):
                        a[c] += b * (hair[c] * max(0.15, streak) - a[c])
                    spec *= 1 - 0.6 * b
            elif p == 1:
                if y > -30:  # eye socket: the lid's wet inner rim
                    for c in range(3):
                        a[c] = skin[c] * (0.75 - 0.55 * v[13])
                    ao = min(ao, 0.7)
                else:
                    a[0], a[1], a[2] = 0.16 * (0.3 + skin[0]), 0.03, 0.03
                    ao = min(ao, 0.25)
            elif p == 2:
                e = 0 if x < 0 else 1
                r = np.sqrt((x - eyes[e, 0]) ** 2 + (y - eyes[e, 1]) ** 2)
                if z < eyes[e, 2]:
                    r = 99.0
                if r < v[14]:
                    a[0] = a[1] = a[2] = 0.004
                elif r < 5.9:
                    s = (0.55 if r > 5.0 else 1.0) * (1 + 0.15 * n2)
                    a[0], a[1], a[2] = iris[0] * s, iris[1] * s, iris[2] * s
                else:
                    a[0], a[1], a[2] = 0.62, 0.57, 0.53
                ao = 0.62
                spec = 0.5
            elif p == 3:
                a[0], a[1], a[2] = 0.35, 0.10, 0.10
                ao = 0.45
            elif p == 4:
                a[0], a[1], a[2] = 0.66, 0.62, 0.52
                ao = 0.55 - 0.012 * abs(x)
                spec += 0.1
            else:
                streak = 1 + v[18] * noise[int(y * 0.35 + v[16]) & 255, int(u * 2.2) & 255, 3]
                for c in range(3):
                    a[c] = hair[c] * max(0.12, streak)
                ao = 0.85
                spec = 0.5 * gloss
            up = 0.5 + 0.5 * ny
            r0, r1, r2 = (
                ao * (sky[0] * up + ground[0] * (1 - up)),
                ao * (sky[1] * up + ground[1] * (1 - up)),
                ao * (sky[2] * up + ground[2] * (1 - up)),
            )
            cr, cg, cb = a[0] * r0, a[1] * r1, a[2] * r2
            for q in range(n_lamps):
                lx, ly, lz = lamps[q, 0], lamps[q, 1], lamps[q, 2]
                ndl = nx * lx + ny * ly + nz * lz
                visible = 1.0
                if q == 0 and shadow_strength > 0:
                    X = wa * position[i, 0] + wb * position[j, 0] + wc * position[k, 0]
                    Y = wa * position[i, 1] + wb * position[j, 1] + wc * position[k, 1]
                    Z = wa * position[i, 2] + wb * position[j, 2] + wc * position[k, 2]
                    sx = (
                        to_light[0, 0] * X + to_light[0, 1] * Y + to_light[0, 2] * Z
                    ) * shadow_scale + size / 2
                    sy = (
                        to_light[1, 0] * X + to_light[1, 1] * Y + to_light[1, 2] * Z
                    ) * shadow_scale + size / 2
                    sz = (to_light[2, 0] * X + to_light[2, 1] * Y + to_light[2, 2] * Z) * shadow_scale
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
                # light that scatters under the skin softens and reddens the terminator: wrapped diffuse, widest in red
                soft = 0.22 if p == 0 or p == 3 else 0.1
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


@dataclass(frozen=True)
class Scene:
    """A posed head ready to be drawn: vertices in camera millimetres (y up), head first, then teeth and long
    hair.
    """

    vertices: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    canon: np.ndarray
    occlusion: np.ndarray
    lips: np.ndarray
    look: Look
    eyes: np.ndarray = field(repr=False)


def dress(head: np.ndarray, look: Look) -> Scene:
    """Add teeth and hair to a head (V, 3) in model millimetres. The face solid is never taken from the
    result.
    """
    basis, props = load_basis(), _props()
    canon = basis.template
    vertices = head
    if look.hair_thickness > 0 and look.values[_V["scalp"]]:
        v = look.values
        mask = _scalp(canon, v[_V["hairline"]], v[_V["hairline_curve"]], v[_V["side"]])
        noise = _noise()[
            (canon[:, 1] + v[_V["v0"]]).astype(int) & 255, (canon[:, 0] + v[_V["u0"]]).astype(int) & 255, 0
        ]
        lift = look.hair_thickness * mask * (1 + 0.25 * noise)
        vertices = head + vertex_normals(head, basis.faces) * lift[:, None].astype(np.float32)
    upper, lower = props["anchors"]
    teeth = props["teeth"].copy()
    teeth[:26] += head[upper] - canon[upper]
    teeth[26:] += head[lower] - canon[lower]
    n = len(vertices)
    all_vertices, all_faces = [vertices, teeth], [basis.faces, props["teeth_faces"] + n]
    part = [basis.part, np.full(len(props["teeth_faces"]), TEETH, np.uint8)]
    extra_canon = [canon, props["teeth"]]
    if look.long_hair is not None:
        shell, shell_faces = _long_hair(head, look)
        all_vertices.append(shell)
        extra_canon.append(shell)
        all_faces.append(shell_faces + n + len(teeth))
        part.append(np.full(len(shell_faces), HAIR, np.uint8))
    count = sum(map(len, all_vertices))
    ones, zeros = np.ones(count, np.float32), np.zeros(count, np.float32)
    ones[:n], zeros[:n] = basis.occlusion, basis.lips
    return Scene(
        np.concatenate(all_vertices).astype(np.float32), np.concatenate(all_faces).astype(np.int32), np.concatenate(part),
        np.concatenate(extra_canon).astype(np.float32), ones, zeros, look, _eye_centres(),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _eye_centres() -> np.ndarray:
    # (2, 3): axis of each eyeball in canonical coordinates (x < 0 first); z is the middle of the front half
    basis = load_basis()
    ball = np.unique(basis.faces[basis.part == EYEBALL])
    out = []
    for side in (-1, 1):
        p = basis.template[ball[np.sign(basis.template[ball, 0]) == side]]
        out.append(
            [(p[:, 0].min() + p[:, 0].max()) / 2, (p[:, 1].min() + p[:, 1].max()) / 2, p[:, 2].max() - 7.0]
        )
    return np.array(out, np.float32)


@numba.njit(cache=True, nogil=True)
def _scalp(canon, hairline, curve, side):
    out = np.zeros(canon.shape[0])
    for i in range(canon.shape[0]):
        out[i] = _smooth(
            -2.0, 14.0, _hair_mask(canon[i, 0], canon[i, 1], canon[i, 2], hairline, curve, side, 0.0)
        )
    return out


def shade(
    scene: Scene, rotation: np.ndarray, scale: float, centre: tuple[float, float], light: Light, size: int
) -> np.ndarray:
    """Draw a scene with a weak-perspective camera.

    Parameters
    ----------
    rotation : (3, 3), model frame -> camera frame (x right, y up, z towards the viewer).
    scale : pixels per millimetre; centre : pixel of the model's origin.
    size : side of the square image in pixels.

    Returns
    -------
    (size, size, 4) float32: linear RGB (may exceed 1) and coverage 0 or 1.
    """
    posed = scene.vertices @ rotation.T.astype(np.float32)
    pixels = np.stack(
        [posed[:, 0] * scale + centre[0], centre[1] - posed[:, 1] * scale, posed[:, 2] * scale], 1
    )
    tri, bary, _ = rasterise(pixels, scene.faces, size, size)
    normals = vertex_normals(posed, scene.faces)
    # self-shadow of the first lamp: a depth map seen from it
    axis = light.lamps[0, :3]
    side = np.cross([0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0], axis)
    side /= np.linalg.norm(side)
    to_light = np.stack([side, np.cross(axis, side), axis]).astype(np.float32)
    shadow_size, shadow_scale = 128, 128 / 360.0
    if light.shadow > 0:
        q = (posed @ to_light.T) * np.float32(shadow_scale)
        q[:, :2] += shadow_size / 2
        _, _, shadow_map = rasterise(q, scene.faces, shadow_size, shadow_size)
    else:
        shadow_map = np.zeros((1, 1), np.float32)
    out = np.zeros((size, size, 4), np.float32)
    k = scene.look
    _shade(tri, bary, scene.faces, scene.part, posed, normals, scene.canon, scene.occlusion, scene.lips, k.skin, k.lips, k.hair, k.iris,
           k.values, light.lamps, light.sky, light.ground, light.shadow, light.gloss, light.shininess, _noise(), to_light, shadow_map,
           shadow_scale, scene.eyes, out)  # fmt: skip
    return out
