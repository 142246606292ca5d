"""What a report says of a face in numbers: pose, size in the photograph, doubt.

`python -m vrnlib.report.calibrate` measures how good these are on drawn faces, whose truth is known; the
notebook ``11_report`` shows the outcome.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vrnlib.faces import load_basis
from vrnlib.voxel import Grid

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

_RIGID = np.r_[17:48, 48, 54]
"""Brows, nose, eyes and corners of the mouth. The jaw is left out: most detectors put it on the outline of
the face, which is another place at every yaw."""
_OUTER_EYES = (36, 45)


class Pose(NamedTuple):
    """Degrees, 300W-LP's convention (`vrnlib.faces.rotation_matrix`): positive is up, towards the left of the
    picture, and clockwise."""

    pitch: float
    yaw: float
    roll: float


class Measures(NamedTuple):
    """The numbers of one face.

    Attributes
    ----------
    pose : Pose
        Degrees.
    interocular : float
        Distance of the outer eye corners in the photograph, in its pixels.
    enlarged : float
        Network pixels a pixel of the photograph; above 1 the network saw an enlarged face.
    doubt : float
        How unsure the network is, see `doubt`.
    removed_bodies : int
        Stray bodies that dynamic labelling took away.
    vertices, triangles : int
        Of the mesh.
    inside : float
        Share of the network's window that the photograph covers, 0..1.
    seconds : float
    """

    pose: Pose
    interocular: float
    enlarged: float
    doubt: float
    removed_bodies: int
    vertices: int
    triangles: int
    inside: float
    seconds: float


def measure(face: Face, level: float = 0.5) -> Measures:
    """All numbers of a reconstructed face."""
    points = np.asarray(face.landmarks, float)
    height, width = face.image.shape[:2]
    corners = face.crop.invert(np.array([[-0.5, -0.5], [face.crop.size - 0.5] * 2]))
    seen = np.clip(corners, -0.5, [width - 0.5, height - 0.5])
    return Measures(
        pose_of(face, level),
        interocular(points),
        face.crop.scale,
        doubt(face.volume, face.confidence, level),
        face.removed_bodies,
        len(face.mesh.vertices),
        len(face.mesh.faces),
        float(np.prod(seen[1] - seen[0]) / np.prod(corners[1] - corners[0])),
        face.timings.get("total", 0.0),
    )


def interocular(landmarks: NDArray[np.floating]) -> float:
    """Distance of the outer eye corners (iBUG 37 and 46 of 1..68) in the unit of the landmarks (68, 2)."""
    points = np.asarray(landmarks, float)
    return float(np.linalg.norm(points[_OUTER_EYES[0], :2] - points[_OUTER_EYES[1], :2]))


def doubt(
    volume: NDArray[np.floating], confidence: NDArray[np.floating] | None = None, level: float = 0.5
) -> float:
    """How unsure a network is of a face; which faces are worse than others it tells only by rank.

    A network with landmarks of its own: what their confidence (68,) lacks of 1, on average, 0..1. Once
    VRN-Guided has its landmarks it draws a sharp volume round them, right or wrong, and the volume's entropy
    says little. A network without: the `entropy` of its volume.
    """
    return entropy(volume, level) if confidence is None else float(1 - np.mean(confidence))


def entropy(volume: NDArray[np.floating], level: float = 0.5) -> float:
    """How undecided a volume is: its entropy in bits, for each voxel that is filled.

    A voxel of probability p has the binary entropy ``-p log2 p - (1-p) log2 (1-p)`` bits, 1 for a coin toss
    and 0 for certainty. The sum over all voxels is divided by the number of filled ones, so that a large face
    is not more doubtful than a small one.

    Parameters
    ----------
    volume : (D, H, W) float, 0..1.
    level : isovalue above which a voxel counts as filled.

    Returns
    -------
    float : coin tosses a filled voxel, >= 0; ``inf`` if no voxel reaches the level.
    """
    half = np.asarray(volume, np.float16)
    filled = int(np.count_nonzero(half > level))
    if not filled:
        return float("inf")
    return float(_entropies()[half.view(np.uint16)].sum(dtype=np.float64) / filled)


@lru_cache(maxsize=1)
def _entropies() -> NDArray[np.float32]:
    """Binary entropy in bits of every float16 there is, by its bits; 0 for those outside of 0..1."""
    p = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    table = np.zeros(len(p), np.float32)
    within = (p > 0) & (p < 1)
    p = p[within]
    table[within] = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return table


def pose_of(face: Face, level: float = 0.5) -> Pose:
    """Pose of a reconstructed face; see `pose`."""
    return pose(face.crop.apply(np.asarray(face.landmarks, np.float64)[:, :2]), face.volume, level)


def pose(landmarks: NDArray[np.floating], volume: NDArray[np.floating], level: float = 0.5) -> Pose:
    """Pose of a face from its landmarks and the depth that the network gave them.

    First the mean face is fitted under a weak-perspective camera to the landmarks alone (`fitted`), then to
    the landmarks with the depth of the volume's front under them, where that agrees with the first fit:
    beside the outline it is the depth of something else.

    Parameters
    ----------
    landmarks : (68, 2) float, network frame.
    volume : (D, H, W) float, 0..1.
    level : isovalue.

    Returns
    -------
    Pose : degrees.
    """
    grid = Grid(volume.shape[1], volume.shape[0])
    model = _model()
    points = np.asarray(landmarks, np.float64)[_RIGID, :2]
    columns, rows = np.clip(points.round().astype(int), 0, grid.size - 1).T
    under = np.asarray(volume[:, rows, columns]) > level  # (D, L)
    z = np.asarray(grid.z_of(grid.depth - 1 - under[::-1].argmax(0).astype(float)))
    seen = points * [1, -1]  # y up
    rotation, scale = fitted(model, seen)
    off = z - scale * (model @ rotation[2])
    hit = under.any(0)
    if hit.any():
        hit &= np.abs(off - np.median(off[hit])) < grid.size / 12
    if hit.sum() >= 10:
        rotation, _ = _procrustes(model[hit], np.column_stack([seen, z])[hit])
    return Pose(*np.degrees(angles(rotation)).tolist())


def fitted(
    model: NDArray[np.float64], seen: NDArray[np.float64], iterations: int = 20
) -> tuple[NDArray[np.float64], float]:
    """Rotation (3, 3) and scale of a weak-perspective camera: least squares by alternation.

    A rotation gives the depth of every point; the completed points give the rotation and the scale.

    Parameters
    ----------
    model : (L, 3), y up; seen : (L, 2), y up.
    """
    model, seen = model - model.mean(0), seen - seen.mean(0)
    affine = np.linalg.lstsq(model, seen, rcond=None)[0].T  # (2, 3)
    u, s, vt = np.linalg.svd(affine, full_matrices=False)
    top = u @ vt
    rotation, scale = np.vstack([top, np.cross(top[0], top[1])]), float(s.mean())
    for _ in range(iterations):
        rotation, scale = _procrustes(model, np.column_stack([seen, scale * (model @ rotation[2])]))
    return rotation, scale


def _procrustes(model: NDArray[np.float64], points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Rotation and scale that bring `model` (L, 3) onto `points` (L, 3), both taken about their means."""
    model, points = model - model.mean(0), points - points.mean(0)
    u, s, vt = np.linalg.svd(points.T @ model)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (u * sign) @ vt, float((s * sign).sum() / (model**2).sum())


@lru_cache(maxsize=1)
def _model() -> NDArray[np.float64]:
    """(L, 3) the mean face's rigid landmarks, millimetres, y up, about their mean."""
    points = load_basis().mean[load_basis().landmarks].astype(np.float64)[_RIGID]
    return points - points.mean(0)


def angles(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """(pitch, yaw, roll) in radians of a rotation (3, 3): the inverse of `vrnlib.faces.rotation_matrix`."""
    r = rotation
    return np.array(
        [np.arctan2(r[1, 2], r[2, 2]), np.arcsin(np.clip(-r[0, 2], -1, 1)), np.arctan2(r[0, 1], r[0, 0])]
    )
