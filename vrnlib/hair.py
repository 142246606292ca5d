"""Hair and beards made of locks: ribbons that grow from the scalp, are combed and fall
(`notebooks/01_face_databases`).

A lock is a ribbon of a few millimetres, the finest thing that the network's window can show. Model frame:
millimetres, x to the viewer's right, y up, z towards the viewer, origin between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vrnlib.faces import load_basis
from vrnlib.skin import noise_tables
from vrnlib.surface import HAIRLINE, HAIRLINE_CURVE, NOISE_U, NOISE_V, SIDE, scalp_depth

ROWS = 6
"""Cross-sections of a lock."""


@dataclass(frozen=True)
class HairStyle:
    """How hair is cut and combed; lengths in millimetres.

    Parameters
    ----------
    length : of the locks on top and behind.
    side_length : of those that grow below the temples.
    lift : distance of the outer locks from the skin.
    width : of a lock.
    crown : (3,) direction from the middle of the skull to the point that hair is combed away from.
    parting : x of the parting; hair on either side falls to its own side. None combs by the crown alone.
    curl : 0 straight .. 1 woolly.
    gravity : 0 stands .. 1 falls at once.
    fringe : mm above the eyes that hair before the face may reach down to.
    seed : of the locks' own unevenness.
    """

    length: float
    side_length: float
    lift: float
    width: float
    crown: tuple[float, float, float]
    parting: float | None
    curl: float
    gravity: float
    fringe: float
    seed: int
    count: int


class Locks(NamedTuple):
    """Ribbons: (N, 3) vertices, faces, canonical coordinates (across, along, shade), tangents, (N,) sky
    seen."""

    vertices: np.ndarray
    faces: np.ndarray
    canon: np.ndarray
    tangent: np.ndarray
    occlusion: np.ndarray


def sample_style(rng: np.random.Generator) -> HairStyle:
    """Draw a style: cropped, combed, swept back, fringed, bobbed, long, woolly."""
    kind = rng.choice(5, p=[0.3, 0.28, 0.22, 0.12, 0.08])
    parting = None if rng.random() < 0.45 else float(rng.normal(0, 22))
    crown = np.array([rng.normal(0, 0.15), 1.0, rng.uniform(-0.75, 0.1)])
    curl, gravity = rng.uniform(0.0, 0.25), rng.uniform(0.12, 0.3)
    if kind == 0:  # cropped
        length = rng.uniform(10, 28)
        side, lift, width = length * rng.uniform(0.3, 0.9), rng.uniform(2, 7), rng.uniform(4, 7)
    elif kind == 1:  # combed
        length = rng.uniform(30, 75)
        side, lift, width = rng.uniform(8, 30), rng.uniform(4, 14), rng.uniform(5, 9)
    elif kind == 2:  # long
        length = rng.uniform(150, 300)
        side, lift, width = length * rng.uniform(0.7, 1.0), rng.uniform(5, 14), rng.uniform(9, 15)
        crown[2], gravity = rng.uniform(-0.2, 0.5), rng.uniform(0.25, 0.5)
    elif kind == 3:  # bobbed
        length = rng.uniform(95, 150)
        side, lift, width = length * rng.uniform(0.7, 1.0), rng.uniform(7, 18), rng.uniform(8, 13)
        crown[2], gravity = rng.uniform(-0.2, 0.4), rng.uniform(0.3, 0.5)
    else:  # woolly
        length = rng.uniform(15, 60)
        side, lift, width = length * rng.uniform(0.5, 1.0), length * 0.5, rng.uniform(6, 10)
        curl, gravity, parting = 1.0, 0.0, None
    if rng.random() < 0.2 and kind != 4:
        curl = rng.uniform(0.3, 0.8)
    fringe = rng.uniform(12, 40) if rng.random() < 0.3 else rng.uniform(40, 70)
    return HairStyle(
        float(length), float(side), float(lift), float(width), tuple(float(c) for c in crown), parting,
        float(curl), float(gravity), float(fringe), int(rng.integers(2**31)), int(rng.integers(180, 260)),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _candidates() -> np.ndarray:
    # Vertices where hair can ever grow, in an order that spreads: each next one is far from those before.
    basis = load_basis()
    skin = np.unique(basis.faces[basis.part == 0])
    p = basis.template[skin]
    head = skin[(scalp_depth(p, 44.0, 40.0, -38.0) > 0) & (p[:, 1] > -80)]
    return _spread(basis.template[head], head)


@lru_cache(maxsize=1)
def _chin() -> np.ndarray:
    # Vertices where a full beard grows, spread likewise.
    basis = load_basis()
    skin = np.unique(basis.faces[basis.part == 0])
    x, y, z = basis.template[skin].T
    low = (y < -70 - 0.5 * np.maximum(0, 20 - abs(x))) & (y > -115) & (z > -60)
    side = (y < -40 + 0.9 * (abs(x) - 60)) & (abs(x) > 42) & (z > -52) & (y > -110)
    lips = basis.lips[skin] > 0.05
    chosen = skin[(low | side) & ~lips & (np.hypot(x / 26, (y + 72) / 12) > 1)]
    return _spread(basis.template[chosen], chosen)


def _spread(points: np.ndarray, ids: np.ndarray, count: int = 420) -> np.ndarray:
    # Farthest-point order of the first `count`.
    chosen = [0]
    far = np.linalg.norm(points - points[0], axis=1)
    for _ in range(min(count, len(ids)) - 1):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return ids[chosen]


def skull_of(head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle (3,) and radii (3,) of an ellipsoid around the skull of a head (V, 3), mm."""
    skull = head[load_basis().template[:, 1] > 20]
    low, high = skull.min(0), skull.max(0)
    half = (high[0] - low[0]) / 2
    middle = np.array([0, high[1] - half - 4, (low[2] + high[2]) / 2])
    return middle, np.array([half, half + 4, (high[2] - low[2]) / 2])


def scalp_cap(head: np.ndarray, normals: np.ndarray, thickness: float, values: np.ndarray) -> np.ndarray:
    """The head (V, 3) with its scalp lifted unevenly along the normals, about `thickness` mm: what locks
    lie on.
    """
    canon = load_basis().template
    depth = scalp_depth(canon, values[HAIRLINE], values[HAIRLINE_CURVE], values[SIDE])
    t = np.clip((depth - 2) / 22, 0, 1)
    row, column = (canon[:, 1] + values[NOISE_V]).astype(int), (canon[:, 0] + values[NOISE_U]).astype(int)
    lift = thickness * t * t * (3 - 2 * t) * (1 + 0.25 * noise_tables()[row & 255, column & 255, 0])
    return head + normals * lift[:, None].astype(np.float32)


def hair_locks(
    head: np.ndarray, normals: np.ndarray, style: HairStyle, values: np.ndarray, below: float | None = None
) -> Locks:
    """Locks of a head (V, 3) with unit normals (V, 3); under headwear only those that grow below `below` mm
    over the eyes.
    """
    rng = np.random.default_rng(style.seed)
    basis = load_basis()
    ids = _candidates()[: style.count]
    depth = scalp_depth(basis.template[ids], values[HAIRLINE], values[HAIRLINE_CURVE], values[SIDE])
    grows = (depth > -2) & (True if below is None else basis.template[ids, 1] < below)
    ids, depth = ids[grows], depth[grows]
    n = len(ids)
    middle, radii = skull_of(head)
    canon = basis.template[ids]
    roots = head[ids] - normals[ids] * 1.0
    outward = normals[ids]
    top = np.clip((canon[:, 1] - 15) / 40, 0, 1)
    length = (style.side_length + (style.length - style.side_length) * top) * rng.uniform(0.75, 1.15, n)
    length *= np.clip(0.35 + depth / 16, 0.35, 1)
    # combed direction: away from the crown over the skull, or to either side of the parting
    crown = middle + radii * np.array(style.crown) / np.linalg.norm(style.crown)
    flow = roots - crown
    if style.parting is not None:
        flow = flow * [0.5, 0.5, 0.5] + np.sign(roots[:, :1] - style.parting + 1e-3) * [[55.0, -25.0, 8.0]]
    flow -= outward * (flow * outward).sum(1, keepdims=True)
    flow /= np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 1e-6)
    flow += rng.normal(0, 0.1 + 0.9 * style.curl, (n, 3))
    if style.curl > 0.9:
        flow += outward * 1.2
    lift = style.lift * rng.uniform(0.35, 1.1, n) * np.clip(0.3 + depth / 25, 0.3, 1)
    return _grow(rng, roots, outward, flow, length, lift, style, middle, radii)


def beard_locks(head: np.ndarray, normals: np.ndarray, length: float, seed: int) -> Locks:
    """A full beard of locks `length` mm long."""
    rng = np.random.default_rng(seed)
    ids = _chin()[:130]
    roots, outward = head[ids], normals[ids]
    n = len(ids)
    chin = np.clip((-load_basis().template[ids, 1] - 45) / 45, 0.2, 1)
    flow = outward * 0.5 + [0, -1.0, 0.05] + rng.normal(0, 0.18, (n, 3))
    style = HairStyle(length, length, 3.0, 7.0, (0, 1, 0), None, 0.25, 0.3, -1e3, seed, n)
    return _grow(
        rng, roots - outward, outward, flow, length * chin * rng.uniform(0.6, 1.1, n), 3.0 * chin, style
    )


def _grow(
    rng: np.random.Generator, roots: np.ndarray, outward: np.ndarray, flow: np.ndarray, length: np.ndarray,
    lift: np.ndarray, style: HairStyle, middle: np.ndarray | None = None, radii: np.ndarray | None = None,
) -> Locks:  # fmt: skip
    # Follow every lock from its root; the skull, an ellipsoid, pushes it out.
    n = len(roots)
    point, direction = roots.copy(), flow / np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 1e-6)
    step = (length / (ROWS - 1))[:, None]
    path = np.empty((ROWS, n, 3))
    path[0] = roots
    fall = np.array([0, -style.gravity, 0])
    for r in range(1, ROWS):
        moved = point + direction * step
        if middle is not None:
            offset = moved - middle
            # below the skull's middle hair hangs outside a cylinder
            flat = np.where(offset[:, 1:2] < 0, [1.0, 0.0, 1.0], 1.0)
            reach = np.sqrt(((offset * flat / (radii + lift[:, None])) ** 2).sum(1, keepdims=True))
            push = np.maximum(1 / np.maximum(reach, 1e-3) - 1, 0) * np.minimum(r / 2, 1)
            moved = moved + offset * flat * push
            # before the face hair ends above the brows or slides to the side
            front = (moved[:, 2] > -12) & (moved[:, 1] < style.fringe)
            keep = point.copy()
            keep[:, 0] += np.sign(point[:, 0] + 1e-3) * 0.3
            moved = np.where(front[:, None], keep, moved)
        else:
            moved = moved + outward * (lift / ROWS)[:, None]
        direction = moved - point
        size = np.linalg.norm(direction, axis=1, keepdims=True)
        direction = np.where(size > 1e-3, direction / np.maximum(size, 1e-6), direction) + fall * np.clip(
            step / 14, 0.6, 5
        )
        direction += rng.normal(0, 0.05 + 0.75 * style.curl, (n, 3))
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
        path[r] = point = moved
    tangent = np.gradient(path, axis=0)
    size = np.linalg.norm(tangent, axis=2, keepdims=True)
    tangent = np.where(size > 1e-3, tangent / np.maximum(size, 1e-6), [0, -1.0, 0])
    facing = (path - middle) / radii if middle is not None else np.broadcast_to(outward, path.shape)
    facing = facing + rng.normal(0, 0.15, (1, n, 3))
    across = np.cross(tangent, facing)
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-6)
    t = np.linspace(0, 1, ROWS)[:, None]
    width = style.width * rng.uniform(0.8, 1.7, n) * (1 - 0.7 * t**3)
    half = across * width[..., None] / 2
    vertices = np.stack([path - half, path + half], 2)  # (ROWS, n, 2, 3)
    canon = np.empty(vertices.shape)
    canon[..., 0] = (rng.uniform(0, 256, n)[None, :, None] + np.stack([-width, width], -1) / 2) % 512 + 512
    canon[..., 1] = (t * length)[..., None] + rng.uniform(0, 256, n)[None, :, None]
    canon[..., 2] = rng.uniform(0.7, 1.25, n)[None, :, None] * (0.75 + 0.25 * t)[..., None]
    sky = np.broadcast_to((0.4 + 0.5 * t)[..., None], vertices.shape[:3])
    return Locks(
        vertices.reshape(-1, 3).astype(np.float32),
        _faces(n),
        canon.reshape(-1, 3).astype(np.float32),
        np.repeat(tangent[:, :, None], 2, 2).reshape(-1, 3).astype(np.float32),
        sky.reshape(-1).astype(np.float32),
    )


@lru_cache(maxsize=64)
def _faces(n: int) -> np.ndarray:
    # (F, 3) int32 of n ribbons; vertices in the order (row, lock, side)
    row, lock = np.meshgrid(np.arange(ROWS - 1), np.arange(n), indexing="ij")
    a = (row * n + lock) * 2
    below = a + 2 * n
    both = [np.stack([a, below, a + 1], -1), np.stack([a + 1, below, below + 1], -1)]
    return np.concatenate([b.reshape(-1, 3) for b in both]).astype(np.int32)
