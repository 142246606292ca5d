"""What the camera sees of a head's surface: colour, gloss and relief of every pixel, before light
(`notebooks/01_face_databases`).

Colours are computed from *canonical coordinates* (the template's millimetres, x right, y up, z forward,
carried
along by every vertex), so brows, irises, stubble or hairline need no texture map and deform with the face.
:mod:`vrnlib.shading` lights the result. Camera frame: x right, y up, z towards the viewer.
"""

from __future__ import annotations

import numba
import numpy as np

# What a triangle belongs to; those from TEETH on are thin sheets. The first four are FaceBasis.part.
SKIN, CAVITY, EYEBALL, TONGUE, TEETH, HAIR, HAT, CLOTH = range(8)

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
MOTTLE = 11  # unevenness of the skin's colour
BLUSH = 12  # of cheeks, nose and chin
LINER = 13  # darkness of lashes and the lid's rim
PUPIL = 14  # radius, mm
NOISE_U = 15  # offset into the noise, pixels of its 256
NOISE_V = 16
CIRCLES = 17  # darkness under and beside the eyes
HAIR_NOISE = 18  # strength of the streaks
SCALP = 19  # how densely the scalp is covered, 0 bald
FOLDS = 20  # depth of the folds, 0 a child .. 1 old
RELIEF = 21  # slope of the skin's small unevenness
BROW_ARCH = 22  # mm by which the ends of the brow fall
TEETH_SHADE = 23  # 0 white .. 1 yellow
STRIPES = 24  # pattern of the clothes: 0 plain
COLLAR = 25  # half the opening of a collar, radians; 0 none
TIE = 26  # 1 with a tie
N_VALUES = 27

# Columns of the buffer that `surface` fills, one row a covered pixel.
POSITION, NORMAL, ALBEDO, TANGENT = 0, 3, 6, 9  # three each; the tangent is 0 but on hair
OPEN, GLOSS, ROUGH, SOFT = 12, 13, 14, 15  # sky seen, strength and width of the highlight, scattering
N_COLUMNS = 16


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
def scalp_depth(canon, hairline, curve, side):
    """Where hair grows: canon (V, 3) canonical mm -> (V,) float64 millimetres inside the hairline."""
    out = np.zeros(canon.shape[0])
    for i in range(canon.shape[0]):
        out[i] = _hair_mask(canon[i, 0], canon[i, 1], canon[i, 2], hairline, curve, side, 0.0)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def surface(
    pixels, tri, bary, faces, part, position, normal, tangent, canon, occlusion, lips_mask,
    skin, lips, hair, iris, cloth, hat, v, noise, front, front_frame, axes, eyes, lids, gloss, out,
):  # fmt: skip
    """Fill `out` (N, N_COLUMNS) float32 for the N covered `pixels` (flat indices of `tri`).

    `axes` (3, 3) are the model's axes in the camera frame (columns), `lids` (2, 2) the upper lids' heights
    along the model's y and x of the eyes' middles; the rest as in Scene and Look.
    """
    a = np.empty(3, np.float32)
    mx, my, ms = front_frame[0], front_frame[1], front_frame[2]
    mh, mw = front.shape[0], front.shape[1]
    for n in range(pixels.shape[0]):
        at = pixels[n]
        f = tri[at]
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        wb, wc = bary[at, 0], bary[at, 1]
        wa = np.float32(1) - wb - wc
        p = part[f]
        nx = wa * normal[i, 0] + wb * normal[j, 0] + wc * normal[k, 0]
        ny = wa * normal[i, 1] + wb * normal[j, 1] + wc * normal[k, 1]
        nz = wa * normal[i, 2] + wb * normal[j, 2] + wc * normal[k, 2]
        inv = 1.0 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
        if nz < 0 and p >= TEETH:  # thin sheets have two sides
            inv = -inv
        nx, ny, nz = nx * inv, ny * inv, nz * inv
        for c in range(3):
            out[n, POSITION + c] = wa * position[i, c] + wb * position[j, c] + wc * position[k, c]
            out[n, TANGENT + c] = 0.0
        x = wa * canon[i, 0] + wb * canon[j, 0] + wc * canon[k, 0]
        y = wa * canon[i, 1] + wb * canon[j, 1] + wc * canon[k, 1]
        z = wa * canon[i, 2] + wb * canon[j, 2] + wc * canon[k, 2]
        ao = wa * occlusion[i] + wb * occlusion[j] + wc * occlusion[k]
        spec, rough, soft = gloss, 0.52, 0.0
        if p == SKIN:
            u = x / (abs(x) + abs(z + 90.0) + 1e-3)  # around the head, mm: the angle's cheap cousin
            if z < -90.0:
                u = (2.0 - abs(u)) * (1.0 if x > 0 else -1.0)
            u = u * 141.0 + v[NOISE_U]
            t = y + v[NOISE_V]
            iu, iv = int(u) & 255, int(t) & 255
            n0, n1 = noise[iv, iu, 0], noise[iv, iu, 1]
            ru, rv = int(u * 3) & 255, int(t * 3) & 255
            n2 = noise[rv, ru, 2]
            ax = abs(x)
            soft = 1.0
            m = 1.0 + v[MOTTLE] * (0.5 * n0 + 0.4 * n1 + 0.3 * n2)
            red = 0.25 * _smooth(64.0, 80.0, ax) + v[MOTTLE] * n1
            gx, gy = v[RELIEF] * noise[rv, ru, 4], v[RELIEF] * noise[rv, ru, 5]
            dark = 1.0
            lash = np.float32(0)
            if z > -36.0:
                ix, iy = int((x - mx) * ms), int((y - my) * ms)
                if 0 <= ix < mw and 0 <= iy < mh:
                    gx += v[FOLDS] * front[iy, ix, 0]
                    gy += v[FOLDS] * front[iy, ix, 1]
                    dark -= 0.22 * v[FOLDS] * front[iy, ix, 2]
                    lash = front[iy, ix, 3]
                    red += v[BLUSH] * front[iy, ix, 4]
                    dark -= v[CIRCLES] * front[iy, ix, 5]
                    spec *= 1.0 + 0.7 * _smooth(14.0, 6.0, ax) * _smooth(-46.0, -30.0, y)  # an oily T
            if v[FRECKLES] > 0 and n2 > 1.0 and y < 30 and y > -60 and z > -50:
                dark *= 1 - v[FRECKLES] * 0.5
            a[0] = skin[0] * m * dark * (1 + 0.10 * red)
            a[1] = skin[1] * m * dark * (1 - 0.38 * red)
            a[2] = skin[2] * m * dark * (1 - 0.34 * red)
            l = wa * lips_mask[i] + wb * lips_mask[j] + wc * lips_mask[k]
            l = _smooth(0.25, 0.8, l)
            if l > 0:
                lines = 1 + 0.10 * n2 + 0.05 * n1
                for c in range(3):
                    a[c] += l * (lips[c] * lines - a[c])
                spec += (0.12 + 0.5 * gloss) * l
                rough -= 0.12 * l
            # beard, moustache
            b = 0.0
            if y < 8 and z > -75 and (y < -14 or z < -38):
                edge = y + 62.0 + v[BEARD_HEIGHT] - 0.62 * max(0.0, ax - 22.0)
                edge -= 60.0 * _smooth(-38.0, -56.0, z)  # up to the sideburns
                cheek = _smooth(-3.0, 12.0, -edge + 3 * n1 + n2)
                b = v[BEARD] * cheek * _smooth(-75, -60, z) * _smooth(-126.0, -112.0, y + 0.3 * n0)
                lip_hair = (
                    _smooth(-45.0, -50.0, y)
                    * _smooth(33.0, 24.0, ax + 0.4 * abs(y + 56))
                    * _smooth(100.0, 80.0, -y)
                    * (1 - 0.5 * _smooth(4.0, 1.0, ax))
                )
                b = max(b, v[MOUSTACHE] * lip_hair)
                b *= (1 - l) * min(1.0, max(0.0, 1 + v[STUBBLE_NOISE] * (0.25 * n2 + 0.25 * n1 - 0.2)))
            # brows: a band of slanted hairs around the line through the brow landmarks
            if 5 < ax < 58 and 5 < y < 40:
                s = (ax - 30.0) / 21.0
                line = 21.0 + v[BROW_HEIGHT] - v[BROW_ARCH] * s * s * (1.0 if s > 0 else 0.7) + 0.9 * s
                thick = v[BROW_THICKNESS] * (1.0 - 0.5 * max(0.0, s)) * _smooth(60.0, 44.0, ax)
                slant = int((y + 0.7 * ax) * 1.2 + v[NOISE_V]) & 255
                hairs = noise[int((ax - 0.6 * y) * 1.6 + v[NOISE_U]) & 255, slant, 3]
                across = abs(y - line) / max(thick, 0.3)
                b = max(
                    b,
                    v[BROW_OPACITY]
                    * _smooth(1.35, 0.45, across + 0.12 * hairs)
                    * _smooth(5.5, 14.0, ax)
                    * _smooth(55.0, 46.0, ax)
                    * (0.82 + 0.18 * hairs),
                )
            if v[SCALP] > 0:
                s = _hair_mask(x, y, z, v[HAIRLINE], v[HAIRLINE_CURVE], v[SIDE], 3.5 * n1 + 1.5 * n2)
                b = max(b, v[SCALP] * _smooth(-3.0, 7.0, s))
            b = min(1.0, max(0.0, b))
            if b > 0:
                streak = 1 + v[HAIR_NOISE] * 0.6 * noise[int(t * 0.7) & 255, int(u * 2) & 255, 3]
                for c in range(3):
                    a[c] += b * (hair[c] * max(0.2, streak) - a[c])
                spec *= 1 - 0.8 * b
                soft *= 1 - 0.7 * b
                gx += 0.25 * b * n2
            if lash > 0:
                s = v[LINER] * lash
                for c in range(3):
                    a[c] *= 1 - s
                spec *= 1 - 0.7 * s
            nx -= gx * axes[0, 0] + gy * axes[0, 1]
            ny -= gx * axes[1, 0] + gy * axes[1, 1]
            nz -= gx * axes[2, 0] + gy * axes[2, 1]
            inv = 1.0 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
            nx, ny, nz = nx * inv, ny * inv, nz * inv
            ao = ao * (0.45 + 0.55 * ao)
        elif p == CAVITY:
            if y > -30:  # eye socket: the lid's wet inner rim
                for c in range(3):
                    a[c] = skin[c] * (0.7 - 0.55 * v[LINER])
                ao = min(ao, 0.6)
            else:
                d = 0.5 + 0.5 * _smooth(-10.0, 22.0, z)
                a[0], a[1], a[2] = d * 0.17 * (0.4 + skin[0]), d * 0.035, d * 0.035
                ao = min(ao, 0.25 + 0.25 * _smooth(0.0, 24.0, z))
        elif p == EYEBALL:
            e = 0 if x < 0 else 1
            r = np.sqrt((x - eyes[e, 0]) ** 2 + (y - eyes[e, 1]) ** 2)
            if z < eyes[e, 2]:
                r = 99.0
            if r < v[PUPIL]:
                a[0] = a[1] = a[2] = 0.004
            elif r < 5.9:
                s = (0.4 if r > 5.0 else 0.85 + 0.2 * _smooth(3.0, 4.6, r)) * (
                    1
                    + 0.2
                    * noise[int(r * 4) & 255, int(np.arctan2(y - eyes[e, 1], x - eyes[e, 0]) * 12) & 255, 2]
                )
                a[0], a[1], a[2] = iris[0] * s, iris[1] * s, iris[2] * s
            else:
                s = 1.0 - 0.25 * _smooth(7.0, 13.0, r)
                a[0], a[1], a[2] = 0.60 * s, 0.53 * s * s, 0.48 * s * s
            # under the upper lid the ball lies in its shadow
            height = (
                out[n, POSITION] * axes[0, 1]
                + out[n, POSITION + 1] * axes[1, 1]
                + out[n, POSITION + 2] * axes[2, 1]
            )
            ao = 0.25 + 0.5 * _smooth(0.0, 7.5, lids[e, 0] - height)
            spec, rough = 0.5, 0.26
        elif p == TONGUE:
            s = 1 + 0.1 * noise[int(y * 3) & 255, int(x * 3) & 255, 2]
            a[0], a[1], a[2] = 0.36 * s, 0.11 * s, 0.11 * s
            ao, spec, soft = 0.15 + 0.3 * _smooth(-10.0, 20.0, z), 0.25, 0.7
        elif p == TEETH:
            # canonical y: 0 the cutting edge, positive towards the gum
            gum = _smooth(8.0, 9.6, abs(y) + 0.8 * np.cos(x * 0.8))
            gap = abs((abs(x) % 7.4) - 3.7) if abs(x) > 0.01 else 0.0
            s = 1 - 0.3 * _smooth(0.9, 0.1, 3.7 - gap)
            a[0] = (0.68 - 0.06 * v[TEETH_SHADE]) * s
            a[1] = (0.64 - 0.12 * v[TEETH_SHADE]) * s
            a[2] = (0.56 - 0.24 * v[TEETH_SHADE]) * s
            a[0] += gum * (0.42 - a[0])
            a[1] += gum * (0.14 - a[1])
            a[2] += gum * (0.14 - a[2])
            depth = ao * (1.0 - 0.6 * _smooth(6.0, 26.0, abs(x))) * (1 - 0.35 * _smooth(2.0, 9.0, abs(y)))
            for c in range(3):  # lamps reach them no better than the sky does
                a[c] *= depth
            ao = 0.75
            spec, rough, soft = 0.3 * depth, 0.3, 0.4
        elif p == HAIR:
            streak = 1 + v[HAIR_NOISE] * noise[int(y * 0.5) & 255, int(x * 2.0) & 255, 3]
            for c in range(3):
                a[c] = hair[c] * max(0.25, streak) * z  # z carries the lock's own shade
                out[n, TANGENT + c] = wa * tangent[i, c] + wb * tangent[j, c] + wc * tangent[k, c]
            spec = gloss
        else:
            q = cloth if p == CLOTH else hat
            weave = (
                1
                + 0.06 * noise[int(y * 2) & 255, int(x * 2) & 255, 2]
                + 0.10 * noise[int(y) & 255, int(x) & 255, 0]
            )
            w = 0
            if v[STRIPES] > 0 and p == CLOTH:
                w = 1 if (int((y + 500) * v[STRIPES]) & 1) else 0
            if p == CLOTH and v[COLLAR] > 0 and z > 0:
                # canonical x: angle around the body in degrees, y: below the neck in mm
                half = v[COLLAR] * max(0.0, 1 + y / 95.0)
                if abs(x) < half:
                    w = 2
                    if v[TIE] > 0 and abs(x) < 5.0 + 0.05 * -y:
                        w = 3
                elif abs(x) < half + 2.0:
                    weave *= 0.6
            for c in range(3):
                a[c] = q[w, c] * weave if p == CLOTH else q[0, c] * weave
            spec, rough = 0.12 * gloss, 0.6
        out[n, NORMAL], out[n, NORMAL + 1], out[n, NORMAL + 2] = nx, ny, nz
        out[n, ALBEDO], out[n, ALBEDO + 1], out[n, ALBEDO + 2] = (
            max(a[0], 0.0),
            max(a[1], 0.0),
            max(a[2], 0.0),
        )
        out[n, OPEN], out[n, GLOSS], out[n, ROUGH], out[n, SOFT] = ao, spec, rough, soft
