"""Face databases behind one interface; the embedded default is drawn on the fly (taught in
`notebooks/01_face_databases`).

A sample is a dictionary, everything in the network frame of a `size` x `size` window (see
:mod:`vrnlib.voxel`):

========== ============================ =====================================================================
image      (S, S, 3) uint8              RGB
volume     (D, S, S) uint8 0/1          the face solid; memory order is (row, column, depth)
landmarks  (68, 2) float32              projections of the 3-D iBUG points, pixels
pose       (3,) float32                 pitch, yaw, roll, radians (300W-LP order)
points     (P, 3) float32, `truth` only ground-truth points of the face region, pixels
eyes       (2, 3) float32, `truth` only outer eye corners (iBUG 37 and 46), pixels
========== ============================ =====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vrnlib.appearance import Light, Look, dress, sample_light, sample_look, shade, to_linear
from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.faces import (
    MIRROR_68,
    face_solid,
    load_basis,
    rotation_matrix,
    sample_expression,
    sample_identity,
)
from vrnlib.voxel import Grid, column_runs, fill_runs

DATA_VERSION = "synth-lp-1"
"""Changes whenever the same (seed, index) would give another sample."""
POSES_PER_FACE = 12
"""300W-LP profiles each face to 10-15 poses."""
FRONT_MARGIN = 3.0
"""The front-most point of the face solid lies this many 192-frame pixels behind the front of the volume."""
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Augmentation:
    """Jackson et al. Sec. 3.5, in 192-frame units; the colour gain's range is in the thesis."""

    rotation: float = 45.0  # degrees, +-
    translation: float = 15.0  # pixels, +-
    scale: tuple[float, float] = (0.85, 1.15)
    flip: float = 0.2
    gain: tuple[float, float] = (0.6, 1.4)


@lru_cache(maxsize=2)
def face_points(count: int = 19000) -> tuple[np.ndarray, np.ndarray]:
    """Fixed points of the face region in correspondence on all faces: (P, 3) vertex ids, (P, 3) barycentric
    weights.

    The region follows the authors' evaluation mask (19,618 of 53,215 BFM vertices, x within +-64 mm): the
    face surface without its sides. Points are spread evenly by area on the mean face, with a fixed seed.
    """
    basis = load_basis()
    surface = basis.mean[basis.surface]
    faces = basis.surface_faces[(np.abs(surface[basis.surface_faces][..., 0]) < 64).all(1)]
    a, b, c = (surface[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    rng = np.random.default_rng(0)
    which = rng.choice(len(faces), count, p=area / area.sum())
    u, v = np.sort(rng.random((2, count)), axis=0)
    return basis.surface[faces[which]], np.stack([u, v - u, 1 - v], 1).astype(np.float32)


@lru_cache(maxsize=1)
def _photographs() -> list[np.ndarray]:
    # Backgrounds: photographs without people that scikit-image ships, at three scales.
    from skimage import data

    names = [
        "coffee",
        "chelsea",
        "rocket",
        "hubble_deep_field",
        "brick",
        "grass",
        "gravel",
        "coins",
        "retina",
        "immunohistochemistry",
        "moon",
        "page",
        "clock",
    ]
    out = []
    for name in names:
        picture = getattr(data, name)()
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, 2)
        for side in (160, 320):
            scale = side / min(picture.shape[:2])
            out.append(cv2.resize(picture[..., :3], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return out


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    # A (size, size, 3) float32 0..1 background: photograph, smooth gradient, plain wall or blotches.
    kind = rng.random()
    if kind < 0.55:
        pictures = _photographs()
        p = pictures[rng.integers(len(pictures))]
        y, x = (int(rng.integers(0, max(1, p.shape[i] - size))) for i in (0, 1))
        out = cv2.resize(p[y : y + size, x : x + size], (size, size)).astype(np.float32) / 255
        if rng.random() < 0.5:
            out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 4))
        out = out[:, ::-1] if rng.random() < 0.5 else out
        return np.clip(out * rng.uniform(0.4, 1.3) * rng.normal(1, 0.1, 3), 0, 1).astype(np.float32)
    corners = rng.random((2, 2, 3)).astype(np.float32)
    if kind < 0.8:
        corners = corners * 0.35 + rng.random(3).astype(np.float32) * 0.65
    cells = 2 if kind < 0.9 else int(rng.integers(3, 12))
    grid = (
        corners
        if cells == 2
        else np.clip(rng.random(3) * 0.6 + 0.5 * rng.random((cells, cells, 3)), 0, 1).astype(np.float32)
    )
    return cv2.resize(
        grid,
        (size, size),
        interpolation=cv2.INTER_CUBIC
        if cells == 2
        else int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST])),
    )


def _torso(
    background: np.ndarray, rng: np.random.Generator, neck: np.ndarray, width: float, angle: float
) -> np.ndarray:
    # Shoulders and clothes behind the head; `neck` (2,) px is the middle of the neck's lower rim, `width` the head's width px.
    size = background.shape[0]
    half, drop, collar = (
        width * rng.uniform(0.95, 1.4),
        width * rng.uniform(0.15, 0.45),
        width * rng.uniform(0.3, 0.42),
    )
    shape = np.array(
        [
            [-collar, -drop * 0.5],
            [-collar * 1.6, 0],
            [-half, drop],
            [-half * 1.15, 9 * width],
            [half * 1.15, 9 * width],
            [half, drop],
            [collar * 1.6, 0],
            [collar, -drop * 0.5],
        ]
    )
    c, s = np.cos(angle), np.sin(angle)
    points = shape @ np.array([[c, s], [-s, c]]) + neck + [0, -width * rng.uniform(0.0, 0.12)]
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    colour = rng.random(3) * rng.uniform(0.2, 1)
    cloth = colour * (1 + 0.15 * rng.normal()) + (
        0.25 * (_texture(rng, size) - 0.5) if rng.random() < 0.5 else 0
    )
    return background + mask[..., None] * (np.clip(cloth, 0, 1).astype(np.float32) - background)


def _occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Something in front of the face: a disc, a bar or a few fingers, plain or textured.
    size = image.shape[0]
    mask = np.zeros((size, size), np.float32)
    at = rng.uniform(0.15, 0.85, 2) * size
    kind = rng.random()
    if kind < 0.45:
        cv2.ellipse(
            mask,
            (int(at[0]), int(at[1])),
            tuple(int(v) for v in rng.uniform(0.04, 0.16, 2) * size),
            rng.uniform(0, 180),
            0,
            360,
            1.0,
            -1,
            cv2.LINE_AA,
        )
        colour = rng.random(3)
    elif kind < 0.7:
        direction = rng.normal(size=2)
        direction *= size / np.linalg.norm(direction)
        cv2.line(
            mask,
            *(tuple(int(v) for v in at + s * direction) for s in (-1, 1)),
            1.0,
            int(rng.uniform(0.03, 0.12) * size),
            cv2.LINE_AA,
        )
        colour = rng.random(3)
    else:  # fingers come in from the edge
        side = rng.uniform(0, 2 * np.pi)
        root = size / 2 + size * 0.75 * np.array([np.cos(side), np.sin(side)])
        thick = rng.uniform(0.045, 0.075) * size
        for i in range(int(rng.integers(2, 5))):
            across = np.array([-np.sin(side), np.cos(side)]) * (i - 1.5) * thick * 1.05
            tip = at + across + rng.normal(0, 0.02, 2) * size
            cv2.line(
                mask,
                tuple(int(v) for v in root + across),
                tuple(int(v) for v in tip),
                1.0,
                max(1, int(thick)),
                cv2.LINE_AA,
            )
        colour = sample_look(rng).skin ** (1 / 2.2) * rng.uniform(0.6, 1.1)
    fill = colour.astype(np.float32) * (1 + 0.25 * (_texture(rng, size) - 0.5))
    return image + cv2.GaussianBlur(mask, (0, 0), 0.5)[..., None] * (np.clip(fill, 0, 1) - image)


def _glasses(image: np.ndarray, rng: np.random.Generator, head: np.ndarray, project) -> np.ndarray:
    # Frames in front of the eyes, with temples to the ears; `project` maps model millimetres (N, 3) to pixels (N, 2) and depth.
    basis = load_basis()
    l = basis.landmarks
    colour = tuple(float(v) for v in (rng.random(3) * rng.uniform(0, 0.5)))
    dark = rng.uniform(0.3, 0.95) if rng.random() < 0.25 else 0.0  # sunglasses
    thickness = max(1, int(round(rng.uniform(0.006, 0.018) * image.shape[0])))
    w, h, round_ = rng.uniform(21, 27), rng.uniform(15, 22), rng.uniform(2, 5)
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    outline = np.stack(
        [
            np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / round_) * w,
            np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / round_) * h,
            0 * t,
        ],
        1,
    )
    forward = np.array([0, 0, rng.uniform(9, 15)])
    canvas = np.ascontiguousarray(image)
    centres = [head[l[a : a + 6]].mean(0) * [1.05, 1, 1] + forward + [0, -3, 0] for a in (36, 42)]
    depths = [float(project(c[None])[1][0]) for c in centres]
    for i in np.argsort(depths):
        c, side = centres[i], (-1, 1)[i]
        lens = project(c + outline)[0]
        area = cv2.contourArea(lens.astype(np.float32), True)
        if (
            area * np.sign(cv2.contourArea(outline[:, :2].astype(np.float32), True)) > 0
            and depths[i] < max(depths) - 40
        ):
            continue  # the far lens of a profile hides behind the nose
        fixed = [np.round(lens * 16).astype(np.int32)]
        if dark:
            layer = canvas.copy()
            cv2.fillPoly(layer, fixed, colour, cv2.LINE_AA, 4)
            canvas = canvas + dark * (layer - canvas)
        cv2.polylines(canvas, fixed, True, colour, thickness, cv2.LINE_AA, 4)
        ear = np.array([side * 74.0, 2.0, -62.0])
        hinge = c + [side * w, 4, 0]
        (p, q), d = project(np.stack([hinge, ear]))
        if depths[i] >= max(depths) - 25:
            cv2.line(
                canvas, tuple(int(v) for v in p), tuple(int(v) for v in q), colour, thickness, cv2.LINE_AA
            )
    bridge = project(np.stack([centres[0] + [w, 3, 0], centres[1] + [-w, 3, 0]]))[0]
    cv2.line(canvas, *(tuple(int(v) for v in p) for p in bridge), colour, thickness, cv2.LINE_AA)
    return canvas


def _camera(linear: np.ndarray, rng: np.random.Generator, gain: np.ndarray) -> np.ndarray:
    # Linear light -> 8-bit sRGB as a cheap camera would: tone, white balance, blur, noise, JPEG.
    image = np.clip(linear, 0, None) ** (1 / rng.uniform(1.9, 2.5))
    if rng.random() < 0.12:
        image = np.repeat(image @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, 2)
    contrast = rng.uniform(0.8, 1.2)
    image = (image - 0.45) * contrast + 0.45 + rng.uniform(-0.06, 0.06)
    blur = rng.random()
    if blur < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), 0.2 + blur * 3)
    image = np.clip(image, 0, 1) * gain
    if rng.random() < 0.6:
        image = image + rng.normal(0, rng.uniform(0, 0.05), image.shape)
    out = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        out = cv2.imdecode(
            cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])[1], 1
        )
    return out


class SynthLP:
    """`synth-lp`: endless training faces after 300W-LP, any sample reproducible from (seed, index) alone.

    Each identity with its expression is drawn in :data:`POSES_PER_FACE` poses (yaw to +-90 degrees), each
    time under new light, before a new background and through a new camera. With `augment` the paper's
    augmentation is part of the camera: rotation, shift, scale and flip act on the mesh, so image, landmarks
    and volume stay aligned exactly.
    """

    def __init__(
        self,
        size: int = 192,
        depth: int = 200,
        seed: int = 0,
        augment: bool | Augmentation = True,
        truth: bool = False,
    ):
        self.grid = Grid(size, depth)
        self.seed = seed
        self.augment = Augmentation() if augment is True else (augment or None)
        self.truth = truth
        self._faces: dict[int, tuple[np.ndarray, Look]] = {}

    def __len__(self) -> int:
        return 10**9

    def _face(self, identity: int) -> tuple[np.ndarray, Look]:
        if identity not in self._faces:
            if (
                len(self._faces) >= 300
            ):  # a block of shuffled training samples holds 256 people (`train.SHUFFLE`)
                self._faces.pop(next(iter(self._faces)))
            rng = np.random.default_rng((self.seed, 1, identity))
            head = load_basis().vertices(sample_identity(rng) + sample_expression(rng))
            self._faces[identity] = (head, sample_look(rng))
        return self._faces[identity]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        head, look = self._face(index // POSES_PER_FACE)
        rng = np.random.default_rng((self.seed, 2, index))
        yaw = rng.normal(0, 0.45) if rng.random() < 0.4 else rng.uniform(-np.pi / 2, np.pi / 2)
        pose = np.array(
            [
                np.clip(rng.normal(0, 0.22), -0.7, 0.7),
                np.clip(yaw, -np.pi / 2, np.pi / 2),
                np.clip(rng.normal(0, 0.12), -0.6, 0.6),
            ]
        )
        return render_sample(head, look, pose, sample_light(rng), self.grid, rng, self.augment, self.truth)


def render_sample(
    head: np.ndarray, look: Look, pose: np.ndarray, light: Light, grid: Grid, rng: np.random.Generator,
    augment: Augmentation | None, truth: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Pose, crop, draw and voxelise one head; see the module's table for what is returned.

    Parameters
    ----------
    head : (V, 3) model millimetres; pose : (3,) pitch, yaw, roll in radians.
    augment : None for the plain normalised crop.
    """
    basis, size = load_basis(), grid.size
    unit = size / REFERENCE_SIZE
    rotation = rotation_matrix(*pose)
    down = np.array([1.0, -1.0, 1.0])
    landmarks = (head[basis.landmarks] @ rotation.T) * down
    crop = Crop.from_landmarks(landmarks[:, :2], size)  # "image pixels" are millimetres here
    scale, (cx, cy) = crop.scale, crop.offset
    gain, flip = np.ones(3), False
    if augment is not None:
        angle = np.deg2rad(rng.uniform(-augment.rotation, augment.rotation))
        c, s = np.cos(angle), np.sin(angle)
        spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        factor = rng.uniform(*augment.scale)
        shift = rng.uniform(-augment.translation, augment.translation, 2) * unit
        middle = (size - 1) / 2
        # turn and scale about the window's centre (y down: the opposite sense), then shift
        x, y = cx - middle, cy - middle
        cx, cy = middle + factor * (c * x + s * y) + shift[0], middle + factor * (-s * x + c * y) + shift[1]
        scale *= factor
        rotation = spin @ rotation
        flip = rng.random() < augment.flip
        gain = rng.uniform(*augment.gain, 3)
    else:
        angle = 0.0

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posed = points @ rotation.T
        return posed[..., :2] * [scale, -scale] + [cx, cy], posed[..., 2]

    def frame(points: np.ndarray) -> np.ndarray:
        return (points @ rotation.T) * (down * scale) + [cx, cy, z0]

    surface = head[basis.surface]
    depth = (surface @ rotation[2]) * scale
    z0 = grid.z_of(grid.depth - 1) - FRONT_MARGIN * unit - depth.max()
    runs = column_runs(frame(face_solid(surface)), basis.solid, grid)
    volume = fill_runs(runs, grid)

    k = SUPERSAMPLING
    drawn = shade(
        dress(head, look), rotation, scale * k, ((cx + 0.5) * k - 0.5, (cy + 0.5) * k - 0.5), light, size * k
    )
    drawn = drawn.reshape(size, k, size, k, 4).mean((1, 3))
    alpha = drawn[..., 3:]
    background = _texture(rng, size)
    rim = basis.template[:, 1] < -95  # lower end of the neck
    if rng.random() < 0.85:
        lower = project(head[rim & (basis.part[0] == 0)])[0]
        body = angle + rng.normal(0, 0.1)
        background = _torso(
            background, rng, np.array([lower[:, 0].mean(), lower[:, 1].mean()]), 150 * scale, -body
        )
    # exposure: bring the head's brightness to a plausible level, not always the same
    bright = (drawn[..., :3] @ np.array([0.3, 0.59, 0.11], np.float32)).sum() / max(float(alpha.sum()), 1.0)
    skin = float(look.skin @ np.array([0.3, 0.59, 0.11]))
    target = np.clip(0.07 + 0.3 * skin, 0.03, 0.36) * np.exp(rng.normal(0, 0.35))
    linear = drawn[..., :3] * (target / max(bright, 1e-3)) + (1 - alpha) * to_linear(
        np.clip(background, 0, 1)
    )
    image = linear.astype(np.float32)
    if rng.random() < 0.15:
        image = _glasses(image, rng, head, project)
    if rng.random() < 0.15:
        image = to_linear(np.clip(_occlude(np.clip(image, 0, 1) ** (1 / 2.2), rng), 0, 1)).astype(np.float32)
    out = {
        "image": _camera(image, rng, gain),
        "volume": volume,
        "landmarks": project(head[basis.landmarks])[0].astype(np.float32),
        "pose": pose.astype(np.float32),
    }
    if truth:
        ids, weights = face_points()
        out["points"] = frame(np.einsum("pki,pk->pi", head[ids], weights)).astype(np.float32)
        out["eyes"] = frame(head[basis.landmarks[[36, 45]]]).astype(np.float32)
    return _mirrored(out, size) if flip else out


def _mirrored(sample: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    # Left-right flip of everything; the volume stays a view whose depth columns are contiguous.
    out = dict(sample)
    out["image"] = np.ascontiguousarray(sample["image"][:, ::-1])
    out["volume"] = np.ascontiguousarray(sample["volume"].transpose(1, 2, 0)[:, ::-1]).transpose(2, 0, 1)
    flipped = sample["landmarks"][MIRROR_68].copy()
    flipped[:, 0] = size - 1 - flipped[:, 0]
    out["landmarks"] = flipped
    out["pose"] = sample["pose"] * np.array([1, -1, -1], np.float32)
    for key, order in (("points", slice(None)), ("eyes", [1, 0])):
        if key in sample:
            p = sample[key][order].copy()
            p[:, 0] = size - 1 - p[:, 0]
            out[key] = p
    return out
