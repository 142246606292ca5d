"""MediaPipe's two face networks, run by OpenCV: BlazeFace boxes, and 68 of FaceMesh's 468 points.

Google, Apache-2.0, not trained on iBUG 300-W. The files are the user's (`vrnlib.detect.files`). Faces of any
yaw, in a few milliseconds. Which of the 468 points stands for which of the 68 landmarks was measured on drawn
faces (`vrnlib.detect.calibrate`): the one that lies nearest on average.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.detect import files
from vrnlib.detect.interface import UNCHANGED, Box, Landmarks, Reference, Scored

_ADVICE = ", or use --detector free"


class BlazeBoxes:
    """MediaPipe's BlazeFace, short range (Bazarevsky et al. 2019), run by OpenCV. Turned faces too.

    The network sees a square of 128 pixels and finds faces that fill a good part of it. The whole photograph
    is shown first, then, if nothing was found, its overlapping quarters. The score is a probability.

    Parameters
    ----------
    weights : folder of the file; default: the cache, which ``python -m vrnlib.detect.fetch mediapipe``
        fills.

    Raises
    ------
    VrnError : the file is missing or damaged.
    """

    name = "blazeface"
    side = 128
    threshold = 0.5
    overlap = 0.3
    """Boxes that share more of their union than this are one face."""

    def __init__(self, weights: str | Path | None = None) -> None:
        path = files.find(files.BLAZEFACE, weights, files.cache_folder(), _ADVICE)
        # the new engine of OpenCV 5 hands out one of the two outputs only
        self._net = cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)
        # centres of the 896 anchors in the unit square: two a cell of 16 x 16, then six a cell of 8 x 8
        grids = []
        for cells, each in ((16, 2), (8, 6)):
            y, x = np.mgrid[:cells, :cells]
            grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2) + 0.5, each, 0) / cells)
        self._anchors = np.concatenate(grids)

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """See `vrnlib.detect.interface.Boxes`."""
        height, width = image.shape[:2]
        found = self._look(image, 0.0, 0.0, float(width), float(height))
        if not found:
            part = 0.6
            for y in (0.0, (1 - part) * height):
                for x in (0.0, (1 - part) * width):
                    found += self._look(image, x, y, part * width, part * height)
        return _distinct(found, self.overlap)

    def _look(self, image: NDArray[np.uint8], x: float, y: float, w: float, h: float) -> list[Scored]:
        """Faces in the part of the photograph with that corner and extent, put into a square."""
        longer = max(w, h)
        x, y = x - (longer - w) / 2, y - (longer - h) / 2
        f = self.side / longer
        if f < 1:  # average first, or it would alias
            image = cv2.resize(
                image, None, fx=min(1.0, 2 * f), fy=min(1.0, 2 * f), interpolation=cv2.INTER_AREA
            )
        g = min(1.0, 2 * f)
        matrix = np.array([[f / g, 0, -f * x], [0, f / g, -f * y]])
        square = cv2.warpAffine(image, matrix, (self.side, self.side), flags=cv2.INTER_LINEAR)
        self._net.setInput(
            np.ascontiguousarray((square.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])
        )
        logits, values = self._net.forward(("classificators", "regressors"))
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        out = []
        for i in np.flatnonzero(scores >= self.threshold):
            cx, cy, bw, bh = values[0, i, :4] / self.side
            cx, cy = self._anchors[i] + [cx, cy]
            box = np.array([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2]) * longer + [x, y, x, y]
            if bw > 0.02 and bh > 0.02:
                out.append(Scored(tuple(map(float, box)), float(scores[i])))
        return out


class MeshPoints:
    """FaceMesh (Kartynnik et al. 2019): a window round the face -> 468 points, of which 68 are kept.

    Its own confidence is one number for the whole face. Each point's is that, times how well the point agrees
    with itself when the window is moved a little four ways, as in `vrnlib.detect.dlib_model.DlibPoints`.

    Parameters
    ----------
    weights : folder of the file; default: the cache, which ``python -m vrnlib.detect.fetch mediapipe``
        fills.
    chosen : (68,) which of the 468 points; None keeps them all (for the calibration).
    rounds : windows looked at: the box's, then those round what was found, turned upright.

    Raises
    ------
    VrnError : the file is missing or damaged.
    """

    name = "facemesh"
    side = 192
    margin = 1.5
    """Window over the square round all 468 points."""
    first = 2.0
    """First window in sides of the landmark box; a little is added above for the forehead."""
    moves = ((-0.04, 0.0), (0.04, 0.0), (0.0, -0.04), (0.0, 0.04))
    wander = 0.01
    least = 0.05
    """Mean confidence below which there is no face: seen full from the side it is nearly 0."""

    def __init__(
        self, weights: str | Path | None = None, chosen: NDArray[np.integer] | None = None, rounds: int = 2
    ) -> None:
        path = files.find(files.FACE_MESH, weights, files.cache_folder(), _ADVICE)
        # the new engine of OpenCV 5 hands out one of the two outputs only
        self._net = cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)
        self._outputs = self._net.getUnconnectedOutLayersNames()
        self._chosen = np.arange(468) if chosen is None else np.asarray(chosen)
        self.rounds = rounds

    def points(self, image: NDArray[np.uint8], box: Box, reference: Reference = UNCHANGED) -> Landmarks:
        """See `vrnlib.detect.interface.Points`."""
        low, high = reference.apply(*np.array(box, float).reshape(2, 2))
        side = float(np.sqrt(np.prod(high - low)))
        centre, extent, angle = (low + high) / 2 - [0, 0.15 * side], self.first * side, 0.0
        for _ in range(self.rounds):
            found, sure = self._look(image, centre, extent, angle)
            # as the original does: upright by the line between the eyes, the square round all points
            low, high = found.min(0), found.max(0)
            if (high - low).max() < 0.2 * extent or (high - low).max() > 2 * extent:
                break
            centre, extent = (low + high) / 2, self.margin * float((high - low).max())
            eyes = found[263] - found[33]
            angle = float(np.arctan2(eyes[1], eyes[0])) if abs(eyes[0]) > 0.3 * side else 0.0
        found = found[self._chosen]
        again = [
            self._look(image, centre + np.array(m) * side, extent, angle)[0][self._chosen] for m in self.moves
        ]
        wander = np.sqrt(np.stack([found, *again]).var(0).sum(-1)) / side
        return Landmarks(
            found.astype(np.float32), (sure * np.exp(-0.5 * (wander / self.wander) ** 2)).astype(np.float32)
        )

    def _look(
        self, image: NDArray[np.uint8], centre: NDArray[np.floating], extent: float, angle: float
    ) -> tuple[NDArray[np.float64], float]:
        """One window: points (468, 2) in image pixels, probability of a face."""
        f, half = self.side / extent, (self.side - 1) / 2
        c, s = f * np.cos(angle), f * np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        offset = half - turn @ centre
        window = cv2.warpAffine(
            _softened(image, f),
            np.concatenate([turn, offset[:, None]], 1),
            (self.side,) * 2,
            flags=cv2.INTER_LINEAR,
        )
        self._net.setInput(np.ascontiguousarray((window.astype(np.float32) / 255).transpose(2, 0, 1)[None]))
        outputs = self._net.forward(self._outputs)
        points = next(o for o in outputs if o.size == 1404).reshape(468, 3)[:, :2]
        logit = float(next(o for o in outputs if o.size == 1).ravel()[0])
        return (points - offset) @ np.linalg.inv(turn).T, float(1 / (1 + np.exp(-np.clip(logit, -60, 60))))


def _softened(image: NDArray[np.uint8], f: float) -> NDArray[np.uint8]:
    """The image blurred as much as shrinking it by `f` asks for, lest it alias."""
    return image if f >= 0.7 else cv2.GaussianBlur(image, (0, 0), 0.4 / f)


def _distinct(found: list[Scored], overlap: float) -> list[Scored]:
    """Of boxes that overlap, the one with the highest score, moved to their mean weighted by score."""
    left, out = sorted(found, key=lambda f: -f.score), []
    while left:
        same = [f for f in left if _shared(f.box, left[0].box) > overlap]
        weights = np.array([f.score for f in same])
        box = (np.array([f.box for f in same]) * weights[:, None]).sum(0) / weights.sum()
        out.append(Scored(tuple(map(float, box)), left[0].score))
        left = [f for f in left if f not in same]
    return out


def _shared(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0.0) * max(h, 0.0)
    return both / max((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both, 1e-9)
