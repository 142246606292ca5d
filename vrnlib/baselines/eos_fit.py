"""EOS (Huber et al., VISAPP 2016): a morphable model fitted to 68 landmarks by the library ``eos``.

The library alternates a scaled orthographic pose (linear, then the nearest rotation), identity coefficients
and expression coefficients, each by regularised linear least squares::

    min_a  sum_i |P (mean + V a)_i - y_i|^2 / 3  +  lambda |a|^2         (Aldrian & Smith, PAMI 2013)

with y in *pixels* and a in standard deviations: lambda has the unit of nothing only if the picture's size is
fixed. VRN's authors ran version 0.12 with lambda = 5000 on pictures whose size they do not give; the
library's default is 30. Here landmarks are first scaled to the paper's window, where a face measures 90
pixels (:data:`SCALE_TO`), whatever the size of our crop, and the sweep over lambda is part of the results.

From the paper: the library, lambda = 5000, landmarks from a stacked hourglass. Ours: the model (theirs was
the Surrey Face Model with six blendshapes, ours has a PCA of expressions, with the library's default weight
of 30), the window's scale, the number of alternations. All 68 landmarks are paired with fixed vertices: our
landmarks are projections of those very points. The library's own way for the 16 jaw points, which suits
landmarks annotated on the visible outline, is there too (`contours`): on the side towards the camera the
nearest vertex of the jaw line, on the other side the nearest vertex of the occluding outline.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.baselines.common import Mesh, NotRunError, checked_landmarks, posed_mesh
from vrnlib.baselines.morphable import Morphable, load_morphable
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.crop import REFERENCE_SIZE

PAPER_LAMBDA, DEFAULT_LAMBDA = 5000.0, 30.0
SCALE_TO = REFERENCE_SIZE
"""Landmarks are given to the library in pixels of a window of this side."""
ITERATIONS = 5
"""Alternations of pose, identity and expression, the library's default; 50 change the error by 1 % at most
with the weights above."""
RIGHT_JAW, CHIN, LEFT_JAW = range(8), 8, range(9, 17)  # iBUG, counted from 0; the subject's right


@dataclass(frozen=True)
class Fit:
    """What the library found.

    Attributes
    ----------
    identity, expression : coefficients of the model in SD, (I,) and (J,).
    camera : model millimetres -> pixels of the crop.
    residual : RMS distance in pixels of the crop between landmarks and the model's 68 points.
    """

    identity: np.ndarray
    expression: np.ndarray
    camera: WeakPerspective
    residual: float


def fit(
    landmarks: np.ndarray,
    size: int,
    *,
    weight: float = PAPER_LAMBDA,
    expression_weight: float = DEFAULT_LAMBDA,
    iterations: int = ITERATIONS,
    contours: bool = False,
    model: Morphable | None = None,
) -> Fit:
    """Fit pose, identity and expression to landmarks.

    Parameters
    ----------
    landmarks : (68, 2) pixels of the crop; size : of the crop in pixels.
    weight, expression_weight : lambda of identity and of expression, in the units above.
    contours : pair the jaw points by the library's contour correspondences instead of fixed vertices.

    Raises
    ------
    VrnError : not 68 finite landmarks, landmarks on a line, or no model.
    NotRunError : the package eos-py is not installed.
    """
    eos = _library()
    model = model or load_morphable()
    landmarks = checked_landmarks(landmarks)
    factor = SCALE_TO / size
    tools = _tools(model)
    marks = [
        eos.core.Landmark(str(i + 1), np.array([[x], [y]], np.float32))
        for i, (x, y) in enumerate(((landmarks + 0.5) * factor).tolist())
    ]
    common: dict[str, Any] = {
        "morphable_model": tools.model,
        "landmarks": marks,
        "image_width": SCALE_TO,
        "image_height": SCALE_TO,
        "num_iterations": iterations,
        "lambda_identity": weight,
        "lambda_expressions": expression_weight,
    }
    if contours:
        outline = {
            "landmark_mapper": tools.inner,
            "edge_topology": tools.edges,
            "contour_landmarks": tools.jaw_landmarks,
            "model_contour": tools.jaw_line,
        }
        _, view, identity, expression = eos.fitting.fit_shape_and_pose(**common, **outline)
    else:
        _, view, identity, expression = eos.fitting.fit_shape_and_pose(**common, landmark_mapper=tools.all)
    affine = np.asarray(eos.fitting.get_3x4_affine_camera_matrix(view, SCALE_TO, SCALE_TO), np.float64)
    camera = _camera(affine / np.array([[factor], [factor], [1]]))
    identity, expression = np.array(identity, np.float32), np.array(expression, np.float32)
    projected = camera.apply(model.shape(identity, expression)[model.landmarks])[:, :2]
    residual = float(np.sqrt(((projected - landmarks) ** 2).sum(1).mean()))
    return Fit(identity, expression, camera, residual)


def eos_mesh(landmarks: np.ndarray, size: int, model: Morphable | None = None, **options: Any) -> Mesh:
    """The fitted face as a mesh in the crop; parameters and errors of :func:`fit`."""
    model = model or load_morphable()
    found = fit(landmarks, size, model=model, **options)
    return posed_mesh(model, model.shape(found.identity, found.expression), found.camera, size)


def _camera(affine: np.ndarray) -> WeakPerspective:
    # The library's affine camera, in pixels with their corner at 0, y down already -> ours
    scale = float(np.linalg.norm(affine[:2, :3], axis=1).mean())
    first, second = affine[0, :3] / scale, -affine[1, :3] / scale
    rotation = np.stack([first, second, np.cross(first, second)])
    return WeakPerspective(scale, rotation, np.array([affine[0, 3] - 0.5, affine[1, 3] - 0.5, 0.0]))


def _library() -> Any:
    try:
        import eos
    except ImportError as error:
        raise NotRunError(f"EOS needs the package eos-py ({error}): pip install eos-py==1.5.0") from None
    return eos


@dataclass(frozen=True)
class _Tools:
    # our model in the library's types
    model: Any
    all: Any  # mapper of all 68 landmarks
    inner: Any  # mapper without the jaw, except the chin
    edges: Any
    jaw_landmarks: Any
    jaw_line: Any


_KEPT: dict[int, tuple[Morphable, _Tools]] = {}


def _tools(model: Morphable) -> _Tools:
    kept = _KEPT.get(id(model))
    if kept is None or kept[0] is not model:
        _KEPT.clear()
        kept = _KEPT[id(model)] = (model, _convert(model))
    return kept[1]


def _convert(model: Morphable) -> _Tools:
    eos = _library()
    triangles = model.faces.tolist()

    def pca(mean: np.ndarray, basis: np.ndarray) -> Any:
        # the library scales orthonormal columns by the root of their eigenvalue
        sd = np.linalg.norm(basis.astype(np.float64), axis=1)
        columns = (basis / sd[:, None]).T.astype(np.float32)
        values = (sd**2).astype(np.float32)[:, None]
        return eos.morphablemodel.PcaModel(mean.astype(np.float32)[:, None], columns, values, triangles)

    still = np.zeros(model.mean.size)
    shape, expression = pca(model.mean.ravel(), model.identity_basis), pca(still, model.expression_basis)
    place = {str(i + 1): int(v) for i, v in enumerate(model.landmarks)}
    jaw = {str(i + 1) for i in (*RIGHT_JAW, *LEFT_JAW)}
    with tempfile.TemporaryDirectory() as folder:
        # mappers and contours can only be read from files
        everything, inner = Path(folder) / "all.txt", Path(folder) / "inner.txt"
        everything.write_text(_mapping(place), encoding="utf-8")
        inner.write_text(_mapping({k: v for k, v in place.items() if k not in jaw}), encoding="utf-8")
        contour = Path(folder) / "contour.json"
        lines = {
            "right_contour": jaw_line(model, RIGHT_JAW),
            "left_contour": jaw_line(model, LEFT_JAW),
        }
        contour.write_text(json.dumps({"model_contour": lines}), encoding="utf-8")
        return _Tools(
            eos.morphablemodel.MorphableModel(shape, expression, eos.morphablemodel.PcaModel()),
            eos.core.LandmarkMapper(str(everything)),
            eos.core.LandmarkMapper(str(inner)),
            eos.morphablemodel.EdgeTopology(*edge_topology(model.faces)),
            eos.fitting.ContourLandmarks.load(str(inner)),
            eos.fitting.ModelContour.load(str(contour)),
        )


def _mapping(place: dict[str, int]) -> str:
    # the library's file of landmark names and vertices, and of which landmarks are the outline
    pairs = "\n".join(f"{name} = {vertex}" for name, vertex in place.items())
    right, left = ([str(i + 1) for i in side] for side in (RIGHT_JAW, LEFT_JAW))
    sides = f"right = [{', '.join(right)}]\nleft = [{', '.join(left)}]"
    return f"[landmark_mappings]\n{pairs}\n\n[contour_landmarks]\n{sides}\n"


def edge_topology(faces: np.ndarray) -> tuple[list[list[int]], list[list[int]]]:
    """The two triangles and the two vertices of each edge, as the library wants them: counted from 1; the
    first triangle of a border edge is 0.
    """
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, number = np.unique(ends, axis=0, return_inverse=True)
    triangle = np.tile(np.arange(1, len(faces) + 1), 3)
    sides = np.zeros((len(edges), 2), np.int64)
    np.maximum.at(sides[:, 1], number.ravel(), triangle)
    first = np.full(len(edges), len(faces) + 1)
    np.minimum.at(first, number.ravel(), triangle)
    sides[:, 0] = np.where(first == sides[:, 1], 0, first)
    return sides.tolist(), (edges + 1).tolist()


def jaw_line(model: Morphable, marks: range) -> list[int]:
    """Vertices of the jaw line, in order: the shortest way over the mesh from landmark to landmark."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    faces = model.faces
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(model.mean[ends[:, 0]] - model.mean[ends[:, 1]], axis=1)
    graph = coo_matrix((length, ends.T), shape=(len(model.mean),) * 2).tocsr()
    graph = graph.maximum(graph.T)
    line = [int(model.landmarks[marks[0]])]
    for a, b in pairwise(marks):
        start, stop = int(model.landmarks[a]), int(model.landmarks[b])
        _, before = dijkstra(graph, indices=start, return_predecessors=True)
        way = [stop]
        while way[-1] != start:
            way.append(int(before[way[-1]]))
        line += way[-2::-1]
    return line


@lru_cache(maxsize=1)
def version() -> str:
    """Version of the installed library."""
    from importlib.metadata import version as installed

    return installed("eos-py")
