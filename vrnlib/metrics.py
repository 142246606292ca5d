"""How far a reconstruction is from the truth (taught in `notebooks/06_evaluate_nme`).

The normalised mean error of Jackson et al. (ICCV 2017), Eq. 2: the mean distance between corresponding points
of truth and reconstruction, divided by the 3-D distance d between the outer eye corners of the truth. The
paper leaves out how correspondence is found; the authors say it in issues 99, 143 and 144 of
github.com/AaronJackson/vrn. Step by step, each a function here:

1. `interocular`: d, from the truth's outer eye corners.
2. `front_shift`: under an orthographic camera depth has no origin, so z is only shifted, never scaled; this
   first shift brings both front surfaces to the same depth, roughly.
3. `correspond`: rigid ICP (`vrnlib.icp`) finds the vertex that belongs to each point of the truth. The moved
   mesh is thrown away; only the pairs are kept.
4. `depth_shift`: the mean of z over the pairs becomes equal ("mean of z of both meshes", issue 99).
5. `paired_errors`: distances within the pairs, on vertices that ICP has not moved, over d; their mean is the
   NME.

The second variant of the supplementary table takes the errors on the mesh that ICP has moved: `Score.rigid`.
It leaves shape alone and forgives pose and place.

Units: points may come in any unit and frame, the same for truth and reconstruction, with z along the viewing
direction. Errors have no unit: 0.05 is 5 % of the distance between the outer eye corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vrnlib import icp, nearest
from vrnlib.errors import VrnError

Correspondence = Literal["icp", "nearest", "surface"]
"""``icp`` is the paper's; ``nearest`` takes the nearest vertex as it lies, which is cheap and never larger;
``surface`` the nearest point of the triangles, which does not depend on how fine the mesh is."""
CORRESPONDENCES: tuple[str, ...] = ("icp", "nearest", "surface")


def interocular(eyes: np.ndarray | Sequence[Sequence[float]] | float) -> float:
    """Outer interocular distance d of Eq. 2 from two outer eye corners (2, 3), or d itself.

    Raises
    ------
    VrnError : not two 3-D points, or the distance is not a positive number.
    """
    corners = np.asarray(eyes, dtype=np.float64)
    if corners.shape not in ((), (2, 3)):
        raise VrnError(f"the eyes are two outer corners (2, 3) or their distance, got shape {corners.shape}")
    d = float(corners) if corners.ndim == 0 else float(np.linalg.norm(corners[0] - corners[1]))
    if not (np.isfinite(d) and d > 0):
        raise VrnError(f"the interocular distance is {d:g}: check the eye corners")
    return d


def front_shift(vertices: np.ndarray, truth: np.ndarray, d: float) -> float:
    """What to add to the reconstruction's z to bring both front surfaces to the same depth, roughly.

    Both are seen from the front as depth maps with square cells of d / 25; the result is the median of their
    difference over cells that both cover. Where they do not overlap at all it is the difference of the mean
    depths. A start for what follows, not part of the definition: the isosurface of a solid has a back and
    walls, the truth is a surface, so plain means would begin far off.
    """
    cell = d / 25
    origin = truth[:, :2].min(0)
    cell = max(cell, float(np.ptp(truth[:, :2], axis=0).max()) / 1000)  # a bound on memory
    extent = np.floor((truth[:, :2].max(0) - origin) / cell).astype(np.int64) + 1
    maps = np.full((2, *extent), -np.inf)
    for depth, points in zip(maps, (truth, vertices), strict=True):
        at = np.floor((points[:, :2] - origin) / cell).astype(np.int64)
        inside = ((at >= 0) & (at < extent)).all(1)
        np.maximum.at(depth, tuple(at[inside].T), points[inside, 2])
    both = np.isfinite(maps).all(0)
    if not both.any():
        return float(truth[:, 2].mean() - vertices[:, 2].mean())
    return float(np.median(maps[0][both] - maps[1][both]))


def mean_shift(vertices: np.ndarray, truth: np.ndarray) -> float:
    """Difference of the mean z of all points of both, issue 99 taken by the letter. Right only if both meshes
    show the same part of the head, such as two surfaces; see `front_shift` for why an isosurface does not.
    """
    return float(truth[:, 2].mean() - vertices[:, 2].mean())


def depth_shift(partners: np.ndarray, truth: np.ndarray) -> float:
    """What to add to the reconstruction's z so that its mean over the pairs is the truth's; (M, 3) each."""
    return float((truth[:, 2] - partners[:, 2]).mean())


def paired_errors(partners: np.ndarray, truth: np.ndarray, d: float) -> np.ndarray:
    """Distance within each pair over the interocular distance, (M,): the terms of Eq. 2; (M, 3) each."""
    return np.linalg.norm(partners - truth, axis=1) / d


def correspond(
    vertices: np.ndarray | nearest.Nearest, truth: np.ndarray, *, start: float = 0.0, scale: bool = False
) -> icp.Registration:
    """The vertex that belongs to each point of the truth, by rigid ICP from the truth to the vertices.

    The direction is ours to choose (the authors give none): from the truth, each of its N points has exactly
    one partner, as Eq. 2 sums. `start` is a first shift in z of the *vertices*; `matches` of the result are
    vertex numbers, `motion` takes the truth to the vertices.
    """
    begin = icp.Motion(np.eye(3), np.array([0.0, 0.0, -start]))
    return icp.register(truth, vertices, start=begin, scale=scale)


@dataclass(frozen=True)
class Score:
    """The error of one face and everything it was made of.

    Attributes
    ----------
    nme : Eq. 2, on the unmoved reconstruction.
    rigid : the second variant: Eq. 2 on the reconstruction as ICP has moved it; NaN without ICP.
    errors, rigid_errors : (M,) the terms of both means.
    matches : (M,) int, the vertex of each point; of `surface`, the nearest one to what was paired.
    shift : what was added to the reconstruction's z.
    d : the interocular distance, in the units of the points.
    registration : what ICP found (truth -> vertices), or None.
    """

    nme: float
    rigid: float
    errors: np.ndarray
    rigid_errors: np.ndarray
    matches: np.ndarray
    shift: float
    d: float
    registration: icp.Registration | None


def score(
    vertices: np.ndarray,
    truth: np.ndarray,
    eyes: np.ndarray | Sequence[Sequence[float]] | float,
    *,
    correspondence: str = "icp",
    align_z: bool = True,
    scale: bool = False,
    faces: np.ndarray | None = None,
) -> Score:
    """Both variants of the error of one face.

    Parameters
    ----------
    vertices : (V, 3) float, the reconstruction; truth : (M, 3) float, points of the true face region (the
        authors use 19,618 vertices of their model); same frame and unit.
    eyes : (2, 3) outer eye corners of the truth (iBUG 37 and 46), or their distance.
    correspondence : ``icp``, ``nearest`` or ``surface``, see `Correspondence`.
    align_z : shift the reconstruction in z. Without ICP the pairs depend on the shift, so that pairing and
        shifting alternate until the shift changes by less than d / 10,000.
    scale : let ICP scale as well. Not the paper's protocol.
    faces : (F, 3) int, triangles; for ``surface`` only.

    Raises
    ------
    VrnError : a wrong shape, an empty or not finite mesh, eye corners that coincide, an unknown
        correspondence, ``surface`` without triangles.
    """
    vertices, truth = _points(vertices, "reconstruction"), _points(truth, "truth")
    d = interocular(eyes)
    if correspondence not in CORRESPONDENCES:
        raise VrnError(f"unknown correspondence '{correspondence}': use {', '.join(CORRESPONDENCES)}")
    shift = front_shift(vertices, truth, d) if align_z else 0.0
    none = np.full(len(truth), np.nan)
    if correspondence == "icp":
        found = correspond(vertices, truth, start=shift, scale=scale)
        partners = vertices[found.matches]
        moved = paired_errors(found.motion.inverse().apply(partners), truth, d)
        shift = depth_shift(partners, truth) if align_z else 0.0
        errors = paired_errors(partners + [0, 0, shift], truth, d)
        return Score(float(errors.mean()), float(moved.mean()), errors, moved, found.matches, shift, d, found)
    index = nearest.Nearest(vertices)
    matches, partners = _pair(index, truth - [0, 0, shift], faces, correspondence)
    for _ in range(30 if align_z else 0):
        former, shift = shift, depth_shift(partners, truth)
        matches, partners = _pair(index, truth - [0, 0, shift], faces, correspondence)
        if abs(shift - former) < d * 1e-4:
            break
    errors = paired_errors(partners + [0, 0, shift], truth, d)
    return Score(float(errors.mean()), float("nan"), errors, none, matches, shift, d, None)


def _pair(
    index: nearest.Nearest, points: np.ndarray, faces: np.ndarray | None, correspondence: str
) -> tuple[np.ndarray, np.ndarray]:
    if correspondence == "nearest":
        matches, _ = index.query(points)
        return matches, index.vertices[matches]
    if faces is None:
        raise VrnError("the nearest point of a surface needs the triangles: give faces")
    partners, _ = nearest.nearest_on_surface(points, index.vertices, faces)
    return index.query(partners)[0], partners


def point_errors(
    vertices: np.ndarray,
    truth: np.ndarray,
    eyes: np.ndarray | Sequence[Sequence[float]] | float,
    *,
    matches: np.ndarray | None = None,
    align_z: bool = True,
    correspondence: str = "icp",
) -> np.ndarray:
    """Distance of each point of the truth to its partner over the interocular distance, (M,); see `nme`."""
    if matches is None:
        return score(vertices, truth, eyes, correspondence=correspondence, align_z=align_z).errors
    vertices, truth = _points(vertices, "reconstruction"), _points(truth, "truth")
    d = interocular(eyes)
    if np.shape(matches) != (len(truth),):
        raise VrnError(
            f"matches must name one vertex for each of the {len(truth)} points of the truth, "
            f"got shape {np.shape(matches)}"
        )
    partners = vertices[matches]
    return paired_errors(partners + [0, 0, depth_shift(partners, truth) if align_z else 0.0], truth, d)


def nme(
    vertices: np.ndarray,
    truth: np.ndarray,
    eyes: np.ndarray | Sequence[Sequence[float]] | float,
    *,
    matches: np.ndarray | None = None,
    align_z: bool = True,
    correspondence: str = "icp",
) -> float:
    """Normalised mean error (Eq. 2) of one face by the paper's protocol.

    Parameters
    ----------
    vertices, truth, eyes, align_z, correspondence : as in `score`.
    matches : (M,) int, the vertex that belongs to each point, where it is known; nothing is searched then.

    Raises
    ------
    VrnError : as in `score`, or matches that do not fit the truth.
    """
    return float(
        point_errors(
            vertices, truth, eyes, matches=matches, align_z=align_z, correspondence=correspondence
        ).mean()
    )


def iou(volume: np.ndarray, truth: np.ndarray, level: float = 0.5) -> float:
    """Intersection over union of two volumes, 0..1; filled is ``> level``. Two empty volumes score 1.

    Raises
    ------
    VrnError : the shapes differ.
    """
    volume, truth = np.asarray(volume), np.asarray(truth)
    if volume.shape != truth.shape:
        raise VrnError(f"volumes of different shapes cannot be compared: {volume.shape} and {truth.shape}")
    a, b = (v if v.dtype == np.bool_ else v > level for v in (volume, truth))
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def _points(points: np.ndarray, name: str) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise VrnError(f"the {name} must be points (N, 3) with N > 0, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise VrnError(f"the {name} holds NaN or infinite coordinates")
    return points
