"""One training or test sample: a head posed, cropped, drawn and voxelised in the network frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from vrnlib import camera
from vrnlib.appearance import Light, Look, dress, plain_light, plain_look, to_linear
from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.faces import (
    MIRROR_68,
    face_solid,
    load_basis,
    rotation_matrix,
)
from vrnlib.props import Scene, clothe
from vrnlib.shading import exposed
from vrnlib.variation import EVERYTHING, TRAINING, Ranges, Variation, streams
from vrnlib.voxel import Grid, column_runs, fill_runs, one_body

DATA_VERSION = "synth-lp-2"
"""Changes whenever the same (seed, index) would give another sample."""
POSES_PER_FACE = 12
"""300W-LP profiles each face to 10-15 poses."""
FRONT_MARGIN = 3.0
"""The front-most point of the face solid lies this many 192-frame pixels behind the front of the volume."""
SUPERSAMPLING = 2
"""The head is drawn with this many samples along each side of a pixel."""
_DOWN = np.array([1.0, -1.0, 1.0])  # y up -> y down
_DRAWN = (
    "clothes", "background", "glasses", "occluders", "exposure", "white_balance", "blur", "noise", "jpeg",
)  # fmt: skip
_LUMA = np.array([0.3, 0.59, 0.11], np.float32)


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
    """Fixed points of the face region in correspondence on all faces: (P, 3) int64 vertex ids, (P, 3) float32
    barycentric weights.

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


@dataclass(frozen=True)
class _View:
    # A weak-perspective camera, model millimetres -> window pixels; and what else augmentation does.
    rotation: np.ndarray  # (3, 3), model frame -> x right, y up, z towards the viewer
    scale: float  # pixels a millimetre
    centre: tuple[float, float]  # pixel of the model's origin
    angle: float = 0.0  # radians by which augmentation turned the picture
    flip: bool = False
    gain: np.ndarray = field(default_factory=lambda: np.ones(3))  # of R, G, B

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Model millimetres (..., 3) -> pixels (..., 2), and depth (...) still in millimetres."""
        posed = points @ self.rotation.T
        return posed[..., :2] * [self.scale, -self.scale] + [*self.centre], posed[..., 2]

    def frame(self, points: np.ndarray, z0: float) -> np.ndarray:
        """Model millimetres (..., 3) -> network frame (..., 3), pixels; `z0` is the origin's z."""
        return (points @ self.rotation.T) * (_DOWN * self.scale) + [*self.centre, z0]


def _view(head: np.ndarray, pose: np.ndarray, size: int) -> _View:
    # The paper's normalised crop of a head (V, 3) mm in a pose.
    rotation = rotation_matrix(*pose)
    landmarks = (head[load_basis().landmarks] @ rotation.T) * _DOWN
    crop = Crop.from_landmarks(landmarks[:, :2], size)  # "image pixels" are millimetres here
    return _View(rotation, crop.scale, crop.offset)


def _augmented(view: _View, augment: Augmentation, size: int, rng: np.random.Generator) -> _View:
    # The view turned and scaled about the window's centre, then shifted.
    angle = np.deg2rad(rng.uniform(-augment.rotation, augment.rotation))
    c, s = np.cos(angle), np.sin(angle)
    spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    factor = rng.uniform(*augment.scale)
    shift = rng.uniform(-augment.translation, augment.translation, 2) * (size / REFERENCE_SIZE)
    middle = (size - 1) / 2
    x, y = view.centre[0] - middle, view.centre[1] - middle  # y down: the opposite sense
    centre = (middle + factor * (c * x + s * y) + shift[0], middle + factor * (-s * x + c * y) + shift[1])
    flip = rng.random() < augment.flip
    gain = rng.uniform(*augment.gain, 3)
    return _View(spin @ view.rotation, view.scale * factor, centre, angle, flip, gain)


def render_sample(
    head: np.ndarray, look: Look, pose: np.ndarray, light: Light, grid: Grid, rng: np.random.Generator,
    augment: Augmentation | None, truth: bool = False, *, variation: Variation = EVERYTHING,
    ranges: Ranges = TRAINING, dressed: Scene | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Pose, crop, draw and voxelise one head; see the module's table for what is returned.

    Parameters
    ----------
    head : (V, 3) model millimetres.
    pose : (3,) pitch, yaw, roll in radians.
    augment : None for the plain normalised crop.
    truth : also return `points` and `eyes`.
    variation : factors of appearance that may vary; only the image depends on it.
    ranges : how far the camera, its surroundings and occluders vary.
    dressed : the head with its hair, as :func:`worn` gives it, where it is at hand from another pose.

    Raises
    ------
    VrnError : the head is not finite or has no extent.
    """
    basis, size = load_basis(), grid.size
    view = _view(head, pose, size)
    if augment is not None:
        view = _augmented(view, augment, size, rng)

    surface = head[basis.surface]
    depth = (surface @ view.rotation[2]) * view.scale
    z0 = grid.z_of(grid.depth - 1) - FRONT_MARGIN * (size / REFERENCE_SIZE) - depth.max()
    runs = column_runs(view.frame(face_solid(surface), z0), basis.solid, grid)
    volume = fill_runs(one_body(runs, grid), grid)

    out = {
        "image": _photograph(head, look, light, view, size, rng, variation, ranges, dressed),
        "volume": volume,
        "landmarks": view.project(head[basis.landmarks])[0].astype(np.float32),
        "pose": pose.astype(np.float32),
    }
    if truth:
        ids, weights = face_points()
        out["points"] = view.frame(np.einsum("pki,pk->pi", head[ids], weights), z0).astype(np.float32)
        out["eyes"] = view.frame(head[basis.landmarks[[36, 45]]], z0).astype(np.float32)
    return _mirrored(out, size) if view.flip else out


def worn(head: np.ndarray, look: Look, variation: Variation = EVERYTHING) -> Scene:
    """A head (V, 3) in model millimetres with what it wears in every pose: teeth, hair, beard, headwear."""
    return dress(head, plain_look(look, variation))


def _photograph(
    head: np.ndarray, look: Look, light: Light, view: _View, size: int, rng: np.random.Generator,
    variation: Variation, ranges: Ranges, dressed: Scene | None = None,
) -> np.ndarray:  # fmt: skip
    # (size, size, 3) uint8 sRGB: the head before its background, with what may hide it, through a camera.
    draws, k = streams(rng, *_DRAWN), SUPERSAMPLING
    scene, light = dressed or worn(head, look, variation), plain_light(light, variation)
    look = scene.look
    if variation.clothes:
        scene = clothe(scene, head, *_body(view, draws["clothes"]))
    centre = tuple((v + 0.5) * k - 0.5 for v in view.centre)
    drawn, bright = exposed(scene, view.rotation, view.scale * k, centre, light, size * k)
    drawn = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
    # exposure: bring the skin's brightness to a plausible level, not always the same
    target = np.clip(0.05 + 0.42 * float(look.skin @ _LUMA), 0.03, 0.3)
    if variation.exposure:
        target *= np.exp(draws["exposure"].normal(0, ranges.exposure))
    alpha = drawn[..., 3:]
    if variation.background:
        behind = to_linear(np.clip(camera.backdrop(draws["background"], size), 0, 1))
    else:
        behind = np.float32(0.2)
    gain = target / bright if bright > 1e-3 else 1.0
    image = (drawn[..., :3] * np.float32(gain) + (1 - alpha) * behind).astype(np.float32)
    # each chance is drawn whether it is used or not: a switch must not move the other draws
    if draws["glasses"].random() < ranges.glasses and variation.glasses:
        image = camera.add_glasses(image, draws["glasses"], head, view.project)
    if draws["occluders"].random() < ranges.occluder and variation.occluders:
        image = camera.occlude(image, draws["occluders"], ranges)
    return camera.develop(image, draws, view.gain, variation, ranges)


def _body(view: _View, rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float, float]]:
    # How the body stands under the head, and its build (see `clothe`): upright in the picture, turned by half
    # of the head's yaw, give or take.
    c, s = np.cos(view.angle), np.sin(view.angle)
    upright = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T @ view.rotation
    yaw = np.arctan2(upright[0, 2], upright[2, 2])
    share, sway, lean = rng.uniform(0.3, 0.9), rng.normal(0, 0.15), rng.normal(0, 0.08)
    body = rotation_matrix(lean, np.clip(-yaw * share + sway, -1.4, 1.4), rng.normal(0, 0.06))
    build = (rng.uniform(0.8, 1.1), rng.uniform(0.3, 1.0), rng.uniform(-4, 16))
    return upright.T @ body, build


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
