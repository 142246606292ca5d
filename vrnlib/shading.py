"""The light of synthetic photographs (taught in `notebooks/01_face_databases`).

A scene is rasterised, :mod:`vrnlib.surface` says what each pixel shows, and here lamps, their shadows and
the sky
are added up. Light scatters under skin: its irradiance is blurred by a few millimetres, most in red. Light is
linear; :func:`vrnlib.camera.develop` turns it into 8-bit sRGB. Camera frame: x right, y up, z towards the
viewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numba
import numpy as np

from vrnlib import surface as s
from vrnlib.faces import load_basis
from vrnlib.render import rasterise, vertex_normals
from vrnlib.skin import MAP_SCALE, MAP_X, MAP_Y, front_map, noise_tables

if TYPE_CHECKING:
    from vrnlib.appearance import Light
    from vrnlib.props import Scene

SHADOW_SIZE = 128
"""Side of a shadow map in pixels."""
SHADOW_EXTENT = 340.0
"""What it covers, millimetres around the model's origin."""
SHADOWED_LAMPS = 2
"""So many lamps, the first ones, cast shadows."""
SCATTER = (2.6, 1.1)
"""SD of the scattering under skin of red light, and of green and blue, millimetres."""


def visible(
    scene: Scene, rotation: np.ndarray, scale: float, centre: tuple[float, float], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The triangle seen in every pixel. Teeth are drawn only where the inside of the mouth is seen, so they
    can't come through lips or cheeks.

    Parameters
    ----------
    rotation, scale, centre, size : as in :func:`shade`.

    Returns
    -------
    tri (size, size) int32, -1 where nothing is seen; bary (size, size, 2) float32, weights of the triangle's
    second and third corner; posed (N, 3) float32, the vertices in the camera frame, millimetres.
    """
    posed = scene.vertices @ rotation.T.astype(np.float32)
    pixels = np.empty_like(posed)
    pixels[:, 0] = posed[:, 0] * scale + centre[0]
    pixels[:, 1] = centre[1] - posed[:, 1] * scale
    pixels[:, 2] = posed[:, 2] * scale
    first, last = scene.teeth
    tri, bary, depth = rasterise(pixels, scene.faces, size, size, skip=(first, last), cull=scene.culled)
    if last > first:
        behind, weights, near = rasterise(pixels, scene.faces[first:last], size, size)
        rows, columns = np.nonzero(behind >= 0)
        seen = tri[rows, columns]
        part = scene.part[seen]
        mouth = (seen >= 0) & ((part == s.TONGUE) | ((part == s.CAVITY) & (seen < scene.culled)))
        mouth &= scene.canon[scene.faces[seen, 0], 1] < -30
        mouth &= near[rows, columns] > depth[rows, columns]
        rows, columns = rows[mouth], columns[mouth]
        tri[rows, columns] = behind[rows, columns] + first
        bary[rows, columns] = weights[rows, columns]
    return tri, bary, posed


def labels(
    scene: Scene, rotation: np.ndarray, scale: float, centre: tuple[float, float], size: int
) -> np.ndarray:
    """What every pixel shows: (size, size) int16, SKIN .. CLOTH of :mod:`vrnlib.surface`, -1 for nothing."""
    tri = visible(scene, rotation, scale, centre, size)[0]
    return np.where(tri >= 0, scene.part[tri].astype(np.int16), np.int16(-1))


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
    return exposed(scene, rotation, scale, centre, light, size)[0]


def exposed(
    scene: Scene, rotation: np.ndarray, scale: float, centre: tuple[float, float], light: Light, size: int
) -> tuple[np.ndarray, float]:
    """:func:`shade`, and the mean luminance of the skin in the picture (0 where none is seen)."""
    tri, bary, posed = visible(scene, rotation, scale, centre, size)
    pixels = np.flatnonzero(tri >= 0)
    look = scene.look
    normals = vertex_normals(posed, scene.faces)
    tangent = scene.tangent @ rotation.T.astype(np.float32)
    buffer = np.empty((len(pixels), s.N_COLUMNS), np.float32)
    s.surface(
        pixels, tri.ravel(), bary.reshape(-1, 2), scene.faces, scene.part, posed, normals, tangent,
        scene.canon,
        scene.occlusion, scene.lips, look.skin, look.lips, look.hair, look.iris, look.cloth, look.hat,
        look.values,
        noise_tables(), front_map(), np.array([MAP_X, MAP_Y, MAP_SCALE]), rotation.astype(np.float32),
        scene.eyes, scene.lids, light.gloss, buffer,
    )  # fmt: skip
    maps, frames = _shadow_maps(scene, posed, light)
    irradiance, glare = np.empty((len(pixels), 3), np.float32), np.empty((len(pixels), 3), np.float32)
    _light(
        pixels, buffer, light.lamps, ambient_terms(light), light.shadow, light.penumbra, light.shininess,
        maps, frames, SHADOW_SIZE / SHADOW_EXTENT, irradiance, glare,
    )  # fmt: skip
    soft = _scattered(pixels, buffer, irradiance, size, light.scatter * scale)
    out = np.zeros((size * size, 4), np.float32)
    shine = 1.0 if light.gloss > 0 else 0.0
    bright = _compose(pixels, buffer, irradiance, glare, soft, size, shine, tri.ravel(), scene.part, out)
    return out.reshape(size, size, 4), bright


def ambient_terms(light: Light) -> np.ndarray:
    """The sky as a polynomial of the normal: (9, 3) float32 for 1, x, y, z, xy, xz, yz, z^2, x^2 - y^2
    (spherical harmonics up to order two).
    """
    out = light.environment.astype(np.float32).copy()
    out[0] += (light.sky + light.ground) / 2
    out[2] += (light.sky - light.ground) / 2
    return out


def _shadow_maps(scene: Scene, posed: np.ndarray, light: Light) -> tuple[np.ndarray, np.ndarray]:
    # Depth seen from the first lamps (L, SIZE, SIZE) and the rotations (L, 3, 3) camera -> lamp. Glasses
    # and hands cast none.
    lamps = light.lamps[:SHADOWED_LAMPS] if light.shadow > 0 else light.lamps[:0]
    maps = np.zeros((len(lamps), SHADOW_SIZE, SHADOW_SIZE), np.float32)
    frames = np.zeros((len(lamps), 3, 3), np.float32)
    k = np.float32(SHADOW_SIZE / SHADOW_EXTENT)
    for i, lamp in enumerate(lamps):
        axis = lamp[:3]
        side = np.cross([0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0], axis)
        side /= np.linalg.norm(side)
        frames[i] = np.stack([side, np.cross(axis, side), axis])
        seen = (posed @ frames[i].T) * k
        seen[:, 0] += SHADOW_SIZE / 2
        seen[:, 1] = SHADOW_SIZE / 2 - seen[:, 1]
        depth = rasterise(seen, scene.faces, SHADOW_SIZE, SHADOW_SIZE, skip=scene.teeth, cull=scene.culled)[2]
        maps[i] = depth[::-1]
    return maps, frames


def _scattered(
    pixels: np.ndarray, buffer: np.ndarray, irradiance: np.ndarray, size: int, scale: float
) -> np.ndarray:
    # Irradiance under the skin at half the resolution, (size / 2, size / 2, 3); empty where there is no
    # scattering.
    if scale * max(SCATTER) < 0.5:
        return np.zeros((0, 0, 3), np.float32)
    weighted = np.zeros((size * size, 4), np.float32)
    _weigh(pixels, buffer, irradiance, weighted)
    half = cv2.resize(weighted.reshape(size, size, 4), (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    red, rest = (cv2.GaussianBlur(half, (0, 0), max(sd * scale / 2, 0.3)) for sd in (SCATTER[0], SCATTER[1]))
    out = rest[..., :3] / np.maximum(rest[..., 3:], 1e-4)
    out[..., 0] = red[..., 0] / np.maximum(red[..., 3], 1e-4)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _weigh(pixels, buffer, irradiance, out):
    for n in range(pixels.shape[0]):
        soft = buffer[n, 15]
        for c in range(3):
            out[pixels[n], c] = irradiance[n, c] * soft
        out[pixels[n], 3] = soft


@numba.njit(cache=True, nogil=True, fastmath=True)
def _compose(pixels, buffer, irradiance, glare, soft, size, shine, tri, part, out):
    # Colour and coverage into `out` (size^2, 4); returns the mean luminance of what is skin (part 0).
    total, count = 0.0, 0
    for n in range(pixels.shape[0]):
        at = pixels[n]
        weight = buffer[n, 15] if soft.shape[0] > 0 else np.float32(0)
        y, x = at // size // 2, at % size // 2
        for c in range(3):
            r = irradiance[n, c]
            if weight > 0:
                r += weight * (soft[y, x, c] - r)
            out[at, c] = buffer[n, 6 + c] * r + shine * glare[n, c]
        out[at, 3] = 1.0
        if part[tri[at]] == 0:
            total += 0.3 * out[at, 0] + 0.59 * out[at, 1] + 0.11 * out[at, 2]
            count += 1
    return total / max(count, 1)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _light(
    pixels, buffer, lamps, ambient, shadow, penumbra, shininess, maps, frames, k, irradiance, glare
):  # fmt: skip
    # Light arriving at each covered pixel and light that it mirrors, (N, 3) both.
    size = maps.shape[1]
    one = np.float32(1)
    wide = np.float32((24.0 / (shininess + 4.0)) ** 0.25)  # 1 in the middle
    r, g = np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(pixels.shape[0]):
        b = buffer[n]
        nx, ny, nz = b[3], b[4], b[5]
        ao, spec, soft = b[12], b[13], b[15]
        rough = b[14] * wide
        a2 = rough * rough * rough * rough
        hair = b[9] != 0 or b[10] != 0 or b[11] != 0
        for c in range(3):
            sky = (
                ambient[0, c] + ambient[1, c] * nx + ambient[2, c] * ny + ambient[3, c] * nz
                + ambient[4, c] * nx * ny + ambient[5, c] * nx * nz + ambient[6, c] * ny * nz
                + ambient[7, c] * nz * nz + ambient[8, c] * (nx * nx - ny * ny)
            )  # fmt: skip
            sky = max(sky, np.float32(0.02)) * ao
            # light bounces within folds of the skin and comes out red
            r[c] = sky * (one + (0.25 if c == 0 else 0.0) * soft * (one - ao))
            edge = one - max(nz, np.float32(0))
            g[c] = 0.6 * spec * sky * (0.04 + edge * edge * edge * edge)
        for q in range(lamps.shape[0]):
            lx, ly, lz = lamps[q, 0], lamps[q, 1], lamps[q, 2]
            ndl = nx * lx + ny * ly + nz * lz
            if ndl < -0.3 and not hair:
                continue
            lit = one
            if q < maps.shape[0]:
                qx = frames[q, 0, 0] * b[0] + frames[q, 0, 1] * b[1] + frames[q, 0, 2] * b[2]
                qy = frames[q, 1, 0] * b[0] + frames[q, 1, 1] * b[1] + frames[q, 1, 2] * b[2]
                qz = frames[q, 2, 0] * b[0] + frames[q, 2, 1] * b[1] + frames[q, 2, 2] * b[2]
                # a texel is some millimetres wide: a grazed surface must not shade itself
                steep = np.sqrt(max(np.float32(0), one - ndl * ndl)) / max(ndl, np.float32(0.15))
                bias = (qz + 1.5 + (1.6 + 0.6 * penumbra) * steep) * k
                hits = 0
                taps = 0
                for v in range(-1, 2):
                    for u in range(-1, 2):
                        if u * v != 0:
                            continue
                        ix = int(qx * k + size * 0.5 + 0.5 + u * penumbra * k)
                        iy = int(qy * k + size * 0.5 - 0.5 + v * penumbra * k)
                        taps += 1
                        if 0 <= ix < size and 0 <= iy < size and maps[q, iy, ix] > bias:
                            hits += 1
                lit = one - shadow * hits / taps
            if hair:  # Kajiya and Kay: a thread shines in a ring
                tl = b[9] * lx + b[10] * ly + b[11] * lz
                tv = b[11]
                sl = np.sqrt(max(np.float32(0), one - tl * tl))
                sv = np.sqrt(max(np.float32(0), one - tv * tv))
                d = (0.35 * sl + 0.65 * max(np.float32(0), (ndl + np.float32(0.25)) * np.float32(0.8))) * lit
                ring = max(np.float32(0), sl * sv - tl * tv)
                ring = ring * ring * ring * ring
                ring = ring * ring
                shine = 0.5 * spec * ring * ring * lit * max(np.float32(0), ndl + np.float32(0.3))
                for c in range(3):
                    r[c] += lamps[q, 3 + c] * d
                    g[c] += lamps[q, 3 + c] * shine * (0.3 * b[6 + c] / (b[7] + np.float32(0.02)) + 0.3)
                continue
            wrap = np.float32(0.06) + np.float32(0.12) * soft
            for c in range(3):
                w = wrap if c == 0 else wrap * np.float32(0.45)
                r[c] += lamps[q, 3 + c] * lit * max(np.float32(0), (ndl + w) / (one + w))
            if ndl > 0 and spec > 0:
                hx, hy, hz = lx, ly, lz + one
                hn = one / max(np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(1e-3))
                ndh = max(np.float32(0), (nx * hx + ny * hy + nz * hz) * hn)
                ldh = max(np.float32(0), (lx * hx + ly * hy + lz * hz) * hn)
                t = ndh * ndh * (a2 - one) + one
                f = one - ldh
                fresnel = 0.04 + 0.96 * f * f * f * f * f
                # GGX with a simple visibility term, in units of a white diffuse surface
                shine = spec * fresnel * a2 / (t * t) / (0.2 + 0.8 * max(nz, ndl)) * ndl * lit
                shine = min(0.6 * shine, np.float32(2.0))
                for c in range(3):
                    g[c] += lamps[q, 3 + c] * shine
        for c in range(3):
            irradiance[n, c] = r[c]
            glare[n, c] = g[c]


def lid_heights(head: np.ndarray) -> np.ndarray:
    """Height of the upper lid of the right and the left eye and the eye's middle x: (2, 2) float32, model
    mm.
    """
    p = head[load_basis().landmarks]
    return np.array(
        [[p[[37, 38], 1].mean(), p[36:42, 0].mean()], [p[[43, 44], 1].mean(), p[42:48, 0].mean()]], np.float32
    )
