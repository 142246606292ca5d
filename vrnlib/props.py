"""What a head wears: teeth, a cap of hair and long hair (taught in `notebooks/01_face_databases`).

Props are drawn with the head but are never part of the face solid. Model frame: millimetres, x to the
viewer's right, y up, z towards the viewer, origin between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vrnlib.faces import load_basis
from vrnlib.render import vertex_normals
from vrnlib.shading import (
    EYEBALL,
    HAIR,
    HAIRLINE,
    HAIRLINE_CURVE,
    NOISE_U,
    NOISE_V,
    SCALP,
    SIDE,
    TEETH,
    noise_tables,
    scalp_mask,
)

if TYPE_CHECKING:
    from vrnlib.appearance import Look

_TEETH_COLUMNS = 13
_SHELL_ROWS, _SHELL_COLUMNS = 22, 36


@dataclass(frozen=True)
class Scene:
    """A head ready to be drawn: N vertices of the head, then of the teeth, then of long hair; M triangles.

    Parameters
    ----------
    vertices : (N, 3) float32, model millimetres.
    faces : (M, 3) int32.
    part : (M,) uint8, SKIN .. HAIR of :mod:`vrnlib.shading`.
    canon : (N, 3) float32, canonical millimetres.
    occlusion, lips : (N,) float32, share of the sky seen and share of lip, 0..1.
    look : the colours.
    eyes : (2, 3) float32, axis of the right and the left eyeball (x, y) and z from which an iris may be
        drawn, canonical millimetres.
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
    basis = load_basis()
    vertices = _cap(head, look)
    teeth, teeth_faces = _dental_arches()
    n = len(vertices)
    all_vertices, all_faces = [vertices, _moved(teeth, head)], [basis.faces, teeth_faces + n]
    part = [basis.part, np.full(len(teeth_faces), TEETH, np.uint8)]
    canon = [basis.template, teeth]
    if look.long_hair is not None:
        shell, shell_faces = _long_hair(head, look)
        all_vertices.append(shell)
        canon.append(shell)
        all_faces.append(shell_faces + n + len(teeth))
        part.append(np.full(len(shell_faces), HAIR, np.uint8))
    count = sum(map(len, all_vertices))
    occlusion, lips = np.ones(count, np.float32), np.zeros(count, np.float32)
    occlusion[:n], lips[:n] = basis.occlusion, basis.lips
    return Scene(
        vertices=np.concatenate(all_vertices).astype(np.float32),
        faces=np.concatenate(all_faces).astype(np.int32),
        part=np.concatenate(part),
        canon=np.concatenate(canon).astype(np.float32),
        occlusion=occlusion,
        lips=lips,
        look=look,
        eyes=_eye_centres(),
    )


def _cap(head: np.ndarray, look: Look) -> np.ndarray:
    # Short hair: the scalp lifted along its normals, unevenly.
    values, basis = look.values, load_basis()
    if not (look.hair_thickness > 0 and values[SCALP]):
        return head
    canon = basis.template
    mask = scalp_mask(canon, values[HAIRLINE], values[HAIRLINE_CURVE], values[SIDE])
    row, column = (canon[:, 1] + values[NOISE_V]).astype(int), (canon[:, 0] + values[NOISE_U]).astype(int)
    lift = look.hair_thickness * mask * (1 + 0.25 * noise_tables()[row & 255, column & 255, 0])
    return head + vertex_normals(head, basis.faces) * lift[:, None].astype(np.float32)


@lru_cache(maxsize=1)
def _dental_arches() -> tuple[np.ndarray, np.ndarray]:
    # Two rows of the upper teeth, then two of the lower, behind the slit of the mouth:
    # (52, 3) float32 canonical mm, (48, 3) int32.
    basis, n = load_basis(), _TEETH_COLUMNS
    _, y_lip, z_lip = basis.template[basis.landmarks[62]]
    x = np.linspace(-22, 22, n)
    rows = []
    for top, bottom in ((4.0, -5.5), (-5.0, -13.0)):  # mm above the slit
        z = z_lip - 5.0 - 0.022 * x**2 - (1.5 if top < 0 else 0)
        rows += [np.stack([x, np.full(n, y_lip + dy), z], 1) for dy in (top, bottom)]
    faces = []
    for r in (0, 2):
        for i in range(n - 1):
            a, b, c, d = r * n + i, r * n + i + 1, (r + 1) * n + i, (r + 1) * n + i + 1
            faces += [(a, c, b), (b, c, d)]
    return np.concatenate(rows).astype(np.float32), np.array(faces, np.int32)


def _moved(teeth: np.ndarray, head: np.ndarray) -> np.ndarray:
    # Upper teeth follow the base of the nose, lower teeth the chin: canonical -> model mm.
    basis, n = load_basis(), _TEETH_COLUMNS
    upper, lower = basis.landmarks[33], basis.landmarks[8]
    out = teeth.copy()
    out[: 2 * n] += head[upper] - basis.template[upper]
    out[2 * n :] += head[lower] - basis.template[lower]
    return out


@lru_cache(maxsize=1)
def _shell_faces() -> np.ndarray:
    # (F, 3) int32: a grid of _SHELL_ROWS rings of _SHELL_COLUMNS vertices
    faces = []
    for r in range(_SHELL_ROWS - 1):
        for i in range(_SHELL_COLUMNS):
            a, b = r * _SHELL_COLUMNS + i, r * _SHELL_COLUMNS + (i + 1) % _SHELL_COLUMNS
            c, d = a + _SHELL_COLUMNS, b + _SHELL_COLUMNS
            faces += [(a, c, b), (b, c, d)]
    return np.array(faces, np.int32)


def _long_hair(head: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray]:
    # A shell around the skull that falls to `length` below the eyes and is open at the front.
    length, extra, opening = look.long_hair
    skull = head[load_basis().template[:, 1] > 20]
    rx, rz = np.abs(skull[:, 0]).max() + extra, (skull[:, 2].max() - skull[:, 2].min()) / 2 + extra
    cz, top = (skull[:, 2].max() + skull[:, 2].min()) / 2 - 6, skull[:, 1].max() + extra * 0.6
    middle = top - rx
    az = np.linspace(0, 2 * np.pi, _SHELL_COLUMNS, endpoint=False)  # 0 = front
    t = np.linspace(0, 1, _SHELL_ROWS)[:, None]
    # a dome over the skull (t < 0.5), a widening curtain below
    arc = np.clip(t / 0.5, 0, 1) * np.pi / 2
    dome, curtain = middle + (top - middle) * np.cos(arc), middle + (t - 0.5) / 0.5 * (-length - middle)
    y = np.where(t < 0.5, dome, curtain)
    ring = np.where(t < 0.5, np.sin(arc), 1.0 + 0.12 * (t - 0.5))
    row, column = (t * 120 + look.values[NOISE_V]).astype(int), (az * 20 + look.values[NOISE_U]).astype(int)
    rough = 1 + 0.05 * noise_tables()[row % 256, column[None] % 256, 0]
    x = ring * rough * rx * np.sin(az)[None]
    z = cz + ring * rough * rz * np.cos(az)[None]
    vertices = np.stack([x, np.broadcast_to(y, x.shape), z], -1).reshape(-1, 3).astype(np.float32)
    azimuth = np.abs((np.tile(az, _SHELL_ROWS) + np.pi) % (2 * np.pi) - np.pi)
    closed = (vertices[:, 1] > look.values[HAIRLINE] + 8) | (azimuth > opening)
    faces = _shell_faces()
    return vertices, faces[closed[faces].all(1)]


@lru_cache(maxsize=1)
def _eye_centres() -> np.ndarray:
    # Scene.eyes: x < 0 first; z is the middle of the eyeball's front half
    basis = load_basis()
    ball = np.unique(basis.faces[basis.part == EYEBALL])
    out = []
    for side in (-1, 1):
        p = basis.template[ball[np.sign(basis.template[ball, 0]) == side]]
        x, y = (p[:, 0].min() + p[:, 0].max()) / 2, (p[:, 1].min() + p[:, 1].max()) / 2
        out.append([x, y, p[:, 2].max() - 7.0])
    return np.array(out, np.float32)
