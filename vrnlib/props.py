"""What a head wears: teeth, hair, headwear, clothes (taught in `notebooks/01_face_databases`).

Props are drawn with the head but are never part of the face solid. Model frame: millimetres, x to the
viewer's right, y up, z towards the viewer, origin between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vrnlib.faces import load_basis
from vrnlib.hair import beard_locks, hair_locks, scalp_cap, skull_of
from vrnlib.render import vertex_normals
from vrnlib.shading import lid_heights
from vrnlib.skin import noise_tables
from vrnlib.surface import CLOTH, EYEBALL, HAIR, HAIRLINE, HAT, NOISE_U, NOISE_V, SCALP, TEETH

if TYPE_CHECKING:
    from vrnlib.appearance import Look

_TEETH_COLUMNS = 13
_SHELL_ROWS, _SHELL_COLUMNS = 12, 32


@dataclass(frozen=True)
class Headwear:
    """A shell around the skull.

    Parameters
    ----------
    kind : "beanie", "cap", "hat" or "hood" (also a head scarf).
    edge : mm above the eyes of its lower edge at the front.
    loose : mm between skull and cloth.
    brim : mm, of cap and hat.
    opening : half the opening of a hood, radians.
    """

    kind: str
    edge: float
    loose: float
    brim: float
    opening: float


@dataclass(frozen=True)
class Sheet:
    """Something thin: n vertices and int32 triangles; the rest as in :class:`Scene`, None for a plain
    default."""

    part: int
    vertices: np.ndarray
    faces: np.ndarray
    canon: np.ndarray
    tangent: np.ndarray | None = None
    occlusion: np.ndarray | None = None


@dataclass(frozen=True)
class Scene:
    """A head ready to be drawn: N vertices of the head, the teeth, then of what else it wears; M triangles.

    Parameters
    ----------
    vertices : (N, 3) float32, model millimetres.
    faces : (M, 3) int32.
    part : (M,) uint8, SKIN .. CLOTH of :mod:`vrnlib.surface`.
    canon : (N, 3) float32, canonical millimetres (of locks and clothes: coordinates along them).
    tangent : (N, 3) float32, direction of the hair, 0 elsewhere.
    occlusion, lips : (N,) float32, share of the sky seen and share of lip, 0..1.
    look : the colours.
    teeth : first and last + 1 of the triangles of the teeth.
    culled : number of the head's triangles, which close and are never seen from behind.
    eyes : (2, 3) float32, axis of the right and the left eyeball (x, y) and z from which an iris may be
        drawn, canonical millimetres.
    lids : (2, 2) float32, height of the upper lids and x of the eyes, model millimetres.
    """

    vertices: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    canon: np.ndarray
    tangent: np.ndarray
    occlusion: np.ndarray
    lips: np.ndarray
    look: Look
    teeth: tuple[int, int]
    culled: int
    eyes: np.ndarray = field(repr=False)
    lids: np.ndarray = field(repr=False)

    def wearing(self, sheets: list[Sheet]) -> Scene:
        """The scene with more sheets."""
        if not sheets:
            return self
        first = np.cumsum([len(self.vertices), *(len(sheet.vertices) for sheet in sheets)])
        count = sum(len(sheet.vertices) for sheet in sheets)

        def joined(name: str, default: np.ndarray) -> np.ndarray:
            parts = [getattr(sheet, name) for sheet in sheets]
            return np.concatenate([getattr(self, name), *(default[: len(v.vertices)] if p is None else p
                                   for p, v in zip(parts, sheets, strict=True))])  # fmt: skip

        faces = [sheet.faces + np.int32(n) for sheet, n in zip(sheets, first, strict=False)]
        part = [np.full(len(sheet.faces), sheet.part, np.uint8) for sheet in sheets]
        none = np.zeros((count, 3), np.float32)
        return replace(
            self,
            vertices=joined("vertices", none),
            faces=np.concatenate([self.faces, *faces]),
            part=np.concatenate([self.part, *part]),
            canon=joined("canon", none),
            tangent=joined("tangent", none),
            occlusion=joined("occlusion", np.full(count, 0.9, np.float32)),
            lips=np.concatenate([self.lips, none[:, 0]]),
        )


def dress(head: np.ndarray, look: Look) -> Scene:
    """Add teeth, hair, beard and headwear to a head (V, 3) in model millimetres. The face solid is never
    taken from the result.
    """
    basis = load_basis()
    head = np.asarray(head, np.float32)
    normals = vertex_normals(head, basis.faces)
    haired = look.style is not None and look.values[SCALP] > 0
    vertices = scalp_cap(head, normals, look.hair_thickness, look.values) if haired else head
    teeth, teeth_canon, teeth_faces, lit = dental_arches(head)
    n = len(vertices)
    scene = Scene(
        vertices=np.concatenate([vertices, teeth]).astype(np.float32),
        faces=np.concatenate([basis.faces, teeth_faces + n]).astype(np.int32),
        part=np.concatenate([basis.part, np.full(len(teeth_faces), TEETH, np.uint8)]),
        canon=np.concatenate([basis.template, teeth_canon]).astype(np.float32),
        tangent=np.zeros((n + len(teeth), 3), np.float32),
        occlusion=np.concatenate([basis.occlusion, lit]),
        lips=np.concatenate([basis.lips, np.zeros(len(teeth), np.float32)]),
        look=look,
        teeth=(len(basis.faces), len(basis.faces) + len(teeth_faces)),
        culled=len(basis.faces),
        eyes=_eye_centres(),
        lids=lid_heights(head),
    )
    wear, sheets = look.headwear, []
    if haired and not (wear and wear.kind == "hood"):
        style = replace(look.style, lift=1.0) if wear else look.style  # headwear presses hair down
        locks = hair_locks(head, normals, style, look.values, wear.edge - 12 if wear else None)
        if style.length > 80:
            sheets.append(_curtain(head, look))
        sheets.append(Sheet(HAIR, *locks))
    if look.beard_length > 0:
        locks = beard_locks(head, normals, look.beard_length, look.seed)
        sheets.append(Sheet(HAIR, *locks))
    if wear:
        sheets.append(Sheet(HAT, *_headwear(head, look, wear)))
    return scene.wearing(sheets)


def clothe(scene: Scene, head: np.ndarray, turn: np.ndarray, build: tuple[float, float, float]) -> Scene:
    """Put a clothed upper body under the head.

    Parameters
    ----------
    head : (V, 3) model millimetres.
    turn : (3, 3), body frame -> model frame; the head turns on the neck.
    build : factors of the shoulders' width and slope, and the collar's height in mm.
    """
    basis = load_basis()
    rim = head[basis.template[:, 1] < -112]
    middle = rim.mean(0)
    rx, rz = (rim[:, 0].max() - rim[:, 0].min()) / 2, (rim[:, 2].max() - rim[:, 2].min()) / 2
    wide, slope, collar = build
    rings = np.array([  # y, half width, half depth, shift forward
        [collar, rx + 5, rz + 6, 2], [collar * 0.4 - 4, rx + 7, rz + 8, 2], [-12, rx + 16, rz + 14, 0],
        [-24, 100 * wide, 68, -4], [-24 - 14 * slope, 140 * wide, 78, -6], [-30 - 30 * slope, 172 * wide,
        86, -6],
        [-52 - 40 * slope, 192 * wide, 94, -4], [-110 - 40 * slope, 200 * wide, 108, 0], [-420, 205 * wide,
        120, 0],
    ])  # fmt: skip
    az = np.linspace(-np.pi, np.pi, _SHELL_COLUMNS, endpoint=False)
    y, half_x, half_z, shift = (rings[:, i, None] for i in range(4))
    x, z = half_x * np.sin(az), half_z * np.cos(az) + shift
    # folds of the cloth, more where it hangs
    u, v = (np.degrees(az) * 0.5 + scene.look.values[NOISE_U]).astype(int), np.arange(len(rings))
    folds = noise_tables()[(v[:, None] * 9) & 255, u[None] & 255, 1] * np.linspace(0, 5, len(rings))[:, None]
    points = np.stack([x, np.broadcast_to(y, x.shape), z + folds], -1).reshape(-1, 3)
    canon = np.stack(
        [np.broadcast_to(np.degrees(az), x.shape), np.broadcast_to(y - collar, x.shape), np.cos(az) + 0 * x],
        -1,
    ).reshape(-1, 3)
    sky = np.broadcast_to(np.linspace(0.5, 0.95, len(rings))[:, None], x.shape).reshape(-1).astype(np.float32)
    points = (points @ turn.T + middle).astype(np.float32)
    return scene.wearing([Sheet(CLOTH, points, _grid(len(rings)), canon.astype(np.float32), None, sky)])


def dental_arches(head: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two arches of teeth behind the lips of a head (V, 3) in model millimetres.

    They are laid through the mouth's own corners and slit, so that they stay inside whatever the jaw does:
    the upper arch hangs on the upper jaw (nose base), the lower follows the chin.

    Returns
    -------
    (52, 3) model mm; (52, 3) canonical coordinates: x from the middle, y from the cutting edge towards the
    gum (upper positive, lower negative), both mm; (48, 3) int32; (52,) share of the light that the parted
    lips let in, 0..1.
    """
    basis, n = load_basis(), _TEETH_COLUMNS
    p, q = head[basis.landmarks], basis.template[basis.landmarks]
    across = np.linspace(-1, 1, n)
    corner = np.where(across[:, None] < 0, p[60], p[64])  # inner corners of the mouth
    middle = (p[48, 0] + p[54, 0] + 2 * p[51, 0]) / 4
    half = np.clip(0.9 * np.abs(corner[:, 0] - middle), 12, 24)
    front = min(p[61:64, 2].min(), p[65:68, 2].min()) - 4.0  # behind both lips
    back = np.minimum(corner[:, 2] - 4.0, front - 3.0)
    x = middle + across * half
    z = front + (back - front) * np.abs(across) ** 2.2
    upper = p[33, 1] - (q[33, 1] - q[62, 1]) - 4.5 + 0.25 * (p[62, 1] - p[33, 1] + q[33, 1] - q[62, 1])
    lower = p[8, 1] - q[8, 1] + q[62, 1] - 5.0
    upper = max(upper, lower + 0.3)
    bow = 1.5 * across**2
    rows = [
        np.stack([x, upper + 11 + 0 * x, z - 1.0], 1), np.stack([x, upper + bow, z], 1),
        np.stack([x, lower + bow, z - 2.0], 1), np.stack([x, lower - 11 + 0 * x, z - 3.0], 1),
    ]  # fmt: skip
    flat = across * 26
    canon = [np.stack([flat, np.full(n, e), 0 * flat], 1) for e in (11.0, 0.0, 0.0, -11.0)]
    above, below = p[[60, 61, 62, 63, 64]], p[[60, 67, 66, 65, 64]]
    gap = np.interp(x, above[:, 0], above[:, 1]) - np.interp(x, below[:, 0], below[:, 1])
    lit = np.clip((gap - 1.0) / 6.0, 0.08, 1).astype(np.float32)
    return np.concatenate(rows), np.concatenate(canon), _teeth_faces(), np.tile(lit, 4)


@lru_cache(maxsize=1)
def _teeth_faces() -> np.ndarray:
    faces, n = [], _TEETH_COLUMNS
    for r in (0, 2):
        for i in range(n - 1):
            a, b, c, d = r * n + i, r * n + i + 1, (r + 1) * n + i, (r + 1) * n + i + 1
            faces += [(a, c, b), (b, c, d)]
    return np.array(faces, np.int32)


def _curtain(head: np.ndarray, look: Look) -> Sheet:
    # What fills the gaps between the locks of long hair: a hood of hair under them.
    style = look.style
    opening = 1.15 + 0.35 * (style.seed % 97) / 97
    under = Headwear("hood", float(look.values[HAIRLINE]) + 6, 0.2 * style.lift, 0.0, opening)
    vertices, faces, canon = _headwear(head, look, under, -0.75 * style.length)
    canon[:, 0] *= np.float32(2)
    canon[:, 2] = 0.7  # darker than the locks before it
    down = np.tile(np.float32([[0, -1, 0]]), (len(vertices), 1))
    return Sheet(HAIR, vertices, faces, canon, down, np.full(len(vertices), 0.5, np.float32))


def _headwear(
    head: np.ndarray, look: Look, wear: Headwear, hem: float = -150.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Vertices, triangles and canonical coordinates of the shell; a hood ends `hem` mm from the eyes.
    middle, radii = skull_of(head)
    radii = radii + wear.loose + (look.hair_thickness if look.style else 0)
    az = np.linspace(-np.pi, np.pi, _SHELL_COLUMNS, endpoint=False)
    away = np.abs(az)
    if wear.kind == "hood":
        t = np.clip((away - wear.opening) / 0.55, 0, 1)
        edge = wear.edge + (hem - wear.edge) * t * t * (3 - 2 * t)
    else:
        drop = {"beanie": 45.0, "cap": 12.0, "hat": 6.0}[wear.kind]
        edge = wear.edge - drop * (1 - np.cos(az)) / 2
    top = middle[1] + radii[1]
    rows = np.sin(np.linspace(0, 1, _SHELL_ROWS) * np.pi / 2)[:, None] ** 1.3
    y = top + (edge - top) * rows
    reach = np.sqrt(np.clip(1 - ((y - middle[1]) / radii[1]) ** 2, 0, 1))
    if wear.kind == "hat":  # a stiff crown
        reach = np.maximum(reach, 0.86 * np.clip(rows * 6, 0, 1))
    reach = np.where(y < middle[1], 1.0, reach)
    u, v = (az * 12 + look.values[NOISE_U]).astype(int), (rows * 40 + look.values[NOISE_V]).astype(int)
    reach = reach * (1 + 0.02 * noise_tables()[v & 255, u[None] & 255, 1])
    x, z = reach * radii[0] * np.sin(az), middle[2] + reach * radii[2] * np.cos(az)
    if wear.brim > 0:  # one more ring: all round, or a peak before the forehead
        out = wear.brim * (np.clip((np.cos(az) - 0.25) / 0.5, 0, 1) if wear.kind == "cap" else 1.0)
        x = np.vstack([x, x[-1] + out * np.sin(az) * 0.8])
        z = np.vstack([z, z[-1] + out * np.cos(az)])
        y = np.vstack([y, y[-1] - 0.14 * out + 0.2 * out * np.sin(az) ** 2 * (wear.kind == "hat")])
    vertices = np.stack([x, np.broadcast_to(y, x.shape), z], -1).reshape(-1, 3).astype(np.float32)
    return vertices, _grid(len(x)), vertices * np.float32([1, 1, 0]) + np.float32([256, 256, 0])


@lru_cache(maxsize=8)
def _grid(rows: int) -> np.ndarray:
    # (F, 3) int32: closed rings of _SHELL_COLUMNS vertices, the first on top
    faces = []
    for r in range(rows - 1):
        for i in range(_SHELL_COLUMNS):
            a, b = r * _SHELL_COLUMNS + i, r * _SHELL_COLUMNS + (i + 1) % _SHELL_COLUMNS
            c, d = a + _SHELL_COLUMNS, b + _SHELL_COLUMNS
            faces += [(a, c, b), (b, c, d)]
    return np.array(faces, np.int32)


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
