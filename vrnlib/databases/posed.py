"""From a face on a picture to a sample of the network frame: crop, augmentation, volume.

What the databases of files have in common. A :class:`Posed` face lies in the *image frame* of its picture
(see :mod:`vrnlib.crop`); :func:`window` draws the crop with its augmentation, and :func:`sample` applies one
and the same map to the picture, the landmarks and the mesh, so that they stay aligned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.databases.sample import FRONT_MARGIN, Augmentation, _mirrored
from vrnlib.errors import VrnError
from vrnlib.voxel import Grid, column_runs, fill_runs, one_body


@dataclass(frozen=True)
class Posed:
    """A face in the image frame: pixels, x right, y down, z towards the viewer, origin of z anywhere."""

    solid: np.ndarray  # (2 S, 3): the face surface, then its copy behind (vrnlib.faces.face_solid)
    solid_faces: np.ndarray  # (M, 3) int32
    landmarks: np.ndarray  # (68, 2 or 3)
    pose: np.ndarray  # (3,) pitch, yaw, roll, radians
    points: np.ndarray | None = None  # (P, 3)
    eyes: np.ndarray | None = None  # (2, 3)


@dataclass(frozen=True)
class Window:
    """Image pixels -> network pixels: a similarity (without reflection), and what augmentation adds."""

    matrix: np.ndarray  # (2, 3)
    size: int
    flip: bool = False
    gain: np.ndarray = field(default_factory=lambda: np.ones(3))  # of R, G, B

    @property
    def scale(self) -> float:
        """Network pixels per image pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def apply(self, points: np.ndarray, z0: float = 0.0) -> np.ndarray:
        """Image frame (..., 2 or 3) -> network frame, float64; `z0` is added to z."""
        points = np.asarray(points, np.float64)
        out = points[..., :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        if points.shape[-1] == 3:
            out = np.concatenate([out, points[..., 2:] * self.scale + z0], -1)
        return out

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Resample (H, W, 3) uint8 to (size, size, 3) uint8; outside the picture is black (as `Crop`)."""
        matrix = self.matrix
        if self.scale < 0.5:  # shrink by area averaging first, or it would alias
            half = cv2.resize(image, None, fx=2 * self.scale, fy=2 * self.scale, interpolation=cv2.INTER_AREA)
            f = np.array([half.shape[1] / image.shape[1], half.shape[0] / image.shape[0]])
            # pixel p of the small picture has its centre at (p + 0.5) / f - 0.5 of the large one
            matrix = np.concatenate([matrix[:, :2] / f, _offset(matrix, f)[:, None]], 1)
            image = half
        return cv2.warpAffine(
            image, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )


def _offset(matrix: np.ndarray, factors: np.ndarray) -> np.ndarray:
    # translation (2,) of an image -> window map (2, 3) after its image was resized by `factors` (x, y)
    return matrix[:, 2] + matrix[:, :2] @ (0.5 / factors - 0.5)


def window(
    landmarks: np.ndarray, size: int, augment: Augmentation | None, rng: np.random.Generator
) -> Window:
    """The paper's crop of a face with its 68 landmarks (68, 2 or 3), turned, scaled and shifted by `augment`.

    The turn and the scale are about the window's centre; draws in the order of :class:`Augmentation`.

    Raises
    ------
    VrnError : the landmark box has no area, or is not finite.
    """
    crop = Crop.from_landmarks(landmarks[:, :2], size)
    matrix = np.array([[crop.scale, 0, crop.offset[0]], [0, crop.scale, crop.offset[1]]])
    if augment is None:
        return Window(matrix, size)
    angle = np.deg2rad(rng.uniform(-augment.rotation, augment.rotation))
    factor = rng.uniform(*augment.scale)
    shift = rng.uniform(-augment.translation, augment.translation, 2) * (size / REFERENCE_SIZE)
    c, s = factor * np.cos(angle), factor * np.sin(angle)
    turn = np.array([[c, s], [-s, c]])  # anticlockwise as seen, y down
    middle = (size - 1) / 2
    offset = turn @ (matrix[:, 2] - middle) + middle + shift
    flip = rng.random() < augment.flip
    gain = rng.uniform(*augment.gain, 3)
    return Window(np.concatenate([turn @ matrix[:, :2], offset[:, None]], 1), size, bool(flip), gain)


def sample(
    face: Posed, picture: Callable[[Window], np.ndarray], grid: Grid, view: Window
) -> dict[str, np.ndarray]:
    """Crop, voxelise, mirror: the sample dictionary of :mod:`vrnlib.databases`.

    Parameters
    ----------
    picture : draws or resamples (size, size, 3) uint8 RGB in a window, before gain and flip.

    Raises
    ------
    VrnError : the mesh is not finite, or nothing of it lies in the window.
    """
    if not np.isfinite(face.solid).all():
        raise VrnError("the face's vertices are not finite")
    count = len(face.solid) // 2
    front = float(face.solid[:count, 2].max()) * view.scale
    z0 = float(grid.z_of(grid.depth - 1)) - FRONT_MARGIN * (grid.size / REFERENCE_SIZE) - front
    runs = column_runs(view.apply(face.solid, z0), face.solid_faces, grid)
    volume = fill_runs(one_body(runs, grid), grid)
    if not volume.any():
        raise VrnError("nothing of the face lies in the crop: landmarks and mesh do not belong together")
    image = picture(view)
    if (view.gain != 1).any():
        image = np.clip(image * view.gain + 0.5, 0, 255).astype(np.uint8)
    out = {
        "image": image,
        "volume": volume,
        "landmarks": view.apply(face.landmarks[:, :2]).astype(np.float32),
        "pose": np.asarray(face.pose, np.float32),
    }
    for name, points in (("points", face.points), ("eyes", face.eyes)):
        if points is not None:
            out[name] = view.apply(points, z0).astype(np.float32)
    return _mirrored(out, grid.size) if view.flip else out
