"""From a head to the face surface that is filled into a solid: without ears and neck, without holes.

One rule serves morphable models and scans, and it is the rule of the synthetic faces
(:func:`vrnlib.anatomy.face_surface`) written with landmarks: what lies in front of the ears, above the jaw
line and below the hairline. Frame: the face's own, looking at the viewer, millimetres, x right, y up, z
towards the viewer.

A model has one topology, so its surface is cut once on the mean face and its openings (mouth, eyes) are
closed by fixed triangles. A scan may be non-manifold, doubled or torn; its surface is the depth map of its
front-most points, as the authors made theirs ("depth map by bilinear interpolation", Jackson's thesis).
"""

from __future__ import annotations

import numpy as np

from vrnlib.anatomy import components
from vrnlib.errors import VrnError
from vrnlib.render import rasterise
from vrnlib.voxel import border_edges

_EYES_MM = 90.0  # outer eye corners of the head that the lengths below were measured on
_CELL = 1.0
"""Millimetres between the nodes of a scan's depth map."""
SPHERE = 95.0
"""Points of a scan that count for the error lie within this many millimetres of the nose tip."""


def inside_face(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which points belong to the face surface: (..., 3) and landmarks (68, 3) -> (...) bool.

    In front of the ears: 10 mm before the upper ends of the jaw line, and no wider than they are. Below the
    hairline: 38 mm above the brows, less at the temples. Above the jaw line, seen from the side.
    """
    scale = _scale(landmarks)
    middle = (landmarks[36, 0] + landmarks[45, 0]) / 2
    x, y, z = (points[..., i] for i in range(3))
    width = 0.98 * abs(landmarks[16, 0] - landmarks[0, 0]) / 2
    top = landmarks[[19, 24], 1].mean() + scale * 38
    jaw = (landmarks[3:9] + landmarks[13:7:-1]) / 2  # both sides, the side's height and depth
    jaw = jaw[np.argsort(jaw[:, 2])]
    return (
        (z > rear(landmarks))
        & (np.abs(x - middle) < width)
        & (y < top - 14 * ((x - middle) / 60) ** 2 / scale)
        & (y > np.interp(z, jaw[:, 2], jaw[:, 1]) - 2.5 * scale)
    )


def rear(landmarks: np.ndarray) -> float:
    """z of the plane before the ears where the face surface ends at the latest; landmarks (68, 3)."""
    return float(landmarks[[0, 16], 2].mean()) + 10 * _scale(landmarks)


def _scale(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[36] - landmarks[45])) / _EYES_MM


def model_surface(
    vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The face surface of a model's mean face, one piece with one border.

    Parameters
    ----------
    vertices : (V, 3) mm; faces : (F, 3) int; landmarks : (68, 3) mm.

    Returns
    -------
    ids : (S,) int64, its vertices, ascending.
    surface_faces : (G, 3) int32 into `ids`, turned to the viewer on the whole.

    Raises
    ------
    VrnError : no triangle lies in the face region.
    """
    sub = faces[inside_face(vertices, landmarks)[faces].all(1)]
    if not len(sub):
        raise VrnError("the model has no triangles in the face region: its keypoints are not the 68 of iBUG")
    label = components(sub, len(vertices))[sub[:, 0]]
    sub = sub[label == np.bincount(label).argmax()]
    for _ in range(4):  # trim teeth of the outline: triangles that hang on by one edge
        border = {tuple(e) for e in border_edges(sub).tolist()}
        free = [sum((f[i], f[(i + 1) % 3]) in border for i in range(3)) for f in sub.tolist()]
        sub = sub[np.array(free) < 2]
    loops = _loops(border_edges(sub))
    outer = max(range(len(loops)), key=lambda i: np.ptp(vertices[loops[i], :2], axis=0).sum())
    patches = [_close(loop[::-1], vertices) for i, loop in enumerate(loops) if i != outer and len(loop) > 2]
    sub = np.concatenate([sub, *patches])
    a, b, c = (vertices[sub[:, i], :2] for i in range(3))
    if ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() < 0:
        sub = sub[:, ::-1]  # BFM's triangles are turned away from the viewer
    ids = np.unique(sub)
    return ids.astype(np.int64), np.searchsorted(ids, sub).astype(np.int32)


def _loops(edges: np.ndarray) -> list[np.ndarray]:
    # Directed border edges (E, 2) -> closed vertex loops; a vertex where two loops touch belongs to both.
    following: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        following.setdefault(a, []).append(b)
    loops = []
    while following:
        at = next(iter(following))
        loop = []
        while at in following:
            loop.append(at)
            after = following[at].pop()
            if not following[at]:
                del following[at]
            at = after
        loops.append(np.array(loop))
    return loops


def _close(loop: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    # Triangles over a closed loop. An opening such as the mouth may be a slit on the mean face: its two lips,
    # between its left and right ends, are drawn apart, then sewn together from corner to corner.
    left, right = np.argmin(vertices[loop, 0]), np.argmax(vertices[loop, 0])
    loop = np.roll(loop, -left)
    split = (right - left) % len(loop)
    one, two = loop[: split + 1], np.concatenate([[loop[0]], loop[: split - 1 : -1]])  # both left to right
    places = [_progress(vertices[side]) for side in (one, two)]
    i = j = 0
    faces = []
    while i < len(one) - 1 or j < len(two) - 1:
        if j == len(two) - 1 or (i < len(one) - 1 and places[0][i + 1] <= places[1][j + 1]):
            faces.append((one[i], one[i + 1], two[j]))
            i += 1
        else:
            faces.append((one[i], two[j + 1], two[j]))
            j += 1
    out = np.array(faces)
    good = (out[:, 0] != out[:, 1]) & (out[:, 1] != out[:, 2]) & (out[:, 0] != out[:, 2])
    return out[good]


def _progress(line: np.ndarray) -> np.ndarray:
    # arc length along a line of points, 0 .. 1
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return length / max(length[-1], 1e-12)


def height_field(
    vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The face surface of any mesh as the depth map of its front-most points, 1 mm apart.

    Parameters
    ----------
    vertices : (V, 3) mm, the face's own frame; faces : (F, 3) int, may be non-manifold, doubled, torn.
    landmarks : (68, 3) mm.

    Returns
    -------
    nodes : (S, 3) float32 mm; faces : (G, 3) int32, one piece, oriented towards the viewer. Holes inside the
    face are filled by linear interpolation.

    Raises
    ------
    VrnError : the mesh covers less than a fifth of the face.
    """
    from scipy import ndimage
    from scipy.interpolate import griddata

    low = landmarks.min(0)[:2] - 10
    width, height = (np.ceil((np.ptp(landmarks, axis=0)[:2] + [20, 75]) / _CELL)).astype(int) + 1
    pixels = (vertices - [*low, 0]) / [_CELL, _CELL, 1]  # rows grow upwards here
    _, _, depth = rasterise(pixels, faces, int(height), int(width))
    covered = np.isfinite(depth)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) * _CELL + low
    points = np.concatenate([grid, np.where(covered, depth, 0)[..., None]], -1)
    region = covered & inside_face(points, landmarks)
    filled = ndimage.binary_fill_holes(region)
    box = np.prod(np.ptp(landmarks[:, :2], axis=0)) / _CELL**2
    if region.sum() < 0.2 * box:
        raise VrnError("the scan covers less than a fifth of its face: are its landmarks in its own frame?")
    hole = filled & ~region
    if hole.any():
        rim = region & ndimage.binary_dilation(hole, iterations=2)
        points[hole, 2] = griddata(grid[rim], points[rim, 2], grid[hole], method="linear")
        bad = hole & ~np.isfinite(points[..., 2])  # outside the rim's hull
        if bad.any():
            points[bad, 2] = griddata(grid[rim], points[rim, 2], grid[bad], method="nearest")
    label, count = ndimage.label(filled)
    if count > 1:
        filled = label == np.bincount(label[label > 0]).argmax()
    number = np.full(filled.shape, -1)
    number[filled] = np.arange(filled.sum())
    a, b, c, d = (number[s] for s in (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]))
    whole = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
    quads = np.stack([v[whole] for v in (a, b, c, d)], 1)
    mesh = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    used = np.unique(mesh)
    return points[filled][used].astype(np.float32), np.searchsorted(used, mesh).astype(np.int32)


def truth_points(
    vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray, count: int = 19000
) -> np.ndarray:
    """Which vertices of a scan count for the error: (P,) int64, at most `count`, drawn with a fixed seed.

    Those of the face region (:func:`inside_face`) within :data:`SPHERE` of the nose tip that are part of the
    front-most surface, seen from the front (not the inside of a doubled or torn scan).
    """
    low = landmarks.min(0)[:2] - 10
    width, height = (np.ptp(landmarks, axis=0)[:2] + [20, 75]).astype(int) + 2
    _, _, depth = rasterise(vertices - [*low, 0], faces, int(height), int(width))
    x, y = np.round(vertices[:, :2] - low).astype(np.int64).T
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    seen[seen] = vertices[seen, 2] > depth[y[seen], x[seen]] - 4.0  # millimetres: steep sides are kept
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    near = np.linalg.norm(vertices - landmarks[30], axis=1) < SPHERE
    ids = np.flatnonzero(seen & used & near & inside_face(vertices, landmarks))
    if len(ids) > count:
        ids = np.sort(np.random.default_rng(0).choice(ids, count, replace=False))
    return ids
