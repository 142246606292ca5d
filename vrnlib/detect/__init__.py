"""Faces and their 68 landmarks, by one interface for every detector (taught in
`notebooks/10_face_detectors`).

VRN needs the 68 landmarks of the iBUG mark-up (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67)
only for the box around them, which gives the crop (`vrnlib.crop`). A detector is a finder of boxes and a
finder of landmarks in a box:

======================= ========================= ================================ ==========================
name                    boxes                     landmarks                        terms
======================= ========================= ================================ ==========================
``dlib`` (default)      dlib's HOG                dlib's forest                    no commercial use (iBUG)
``free``                dlib's HOG                our landmark network             free
``free-lbp``            LBP cascade               our landmark network             free
``free-blazeface``      BlazeFace (user's file)   our landmark network             free
``mediapipe``           BlazeFace (user's file)   FaceMesh (user's file)           free (Apache-2.0)
``face-alignment``      S3FD (user's file)        2D-FAN (user's file)             the files' authors'
``face-alignment-dlib`` dlib's HOG                2D-FAN (user's file)             the files' authors'
======================= ========================= ================================ ==========================

Each has a reference scale, measured on drawn faces (`vrnlib.detect.calibration`), so that another detector
does not mean another crop on average: `Detection.crop`. Image frame throughout: pixels, x right, y down,
integer coordinates at pixel centres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vrnlib.detect.calibration import mesh_points, reference
from vrnlib.detect.dlib_model import DlibPoints, HogBoxes, dlib_model
from vrnlib.detect.fan import FaceAlignmentDetector
from vrnlib.detect.free import LbpBoxes, NetworkPoints
from vrnlib.detect.interface import (
    Box,
    Detection,
    Detector,
    Landmarks,
    Pair,
    Reference,
    Scored,
    checked_box,
    checked_image,
)
from vrnlib.detect.mediapipe import BlazeBoxes, MeshPoints
from vrnlib.detect.policy import choose, parse_policy
from vrnlib.detect.truth import TruthDetector, jitter
from vrnlib.errors import VrnError, did_you_mean

__all__ = [
    "DETECTORS", "LICENCES", "Box", "Detection", "Detector", "DlibDetector", "FaceAlignmentDetector",
    "Landmarks", "Pair", "Reference", "Scored", "TruthDetector", "check_name", "choose", "detect",
    "dlib_model", "get", "jitter", "parse_policy",
]  # fmt: skip


def DlibDetector() -> Pair:
    """dlib's boxes and landmarks; see `vrnlib.detect.dlib_model`."""
    return _pair("dlib", HogBoxes(), DlibPoints())


def _pair(name: str, finder, marker) -> Pair:
    return Pair(name, finder, marker, reference("boxes", finder.name), reference("landmarks", marker.name))


def _alignment(boxes: str, weights: str | Path | None) -> Pair:
    own = "sfd" if boxes == "sfd" else "hog"
    found = FaceAlignmentDetector(boxes, weights, reference("boxes", own), reference("landmarks", "2dfan"))
    found.name = "face-alignment" if boxes == "sfd" else "face-alignment-dlib"
    return found


DETECTORS: dict[str, Callable[[str | Path | None], Detector]] = {
    "dlib": lambda weights: DlibDetector(),
    "free": lambda weights: _pair("free", HogBoxes(), NetworkPoints(weights)),
    "free-lbp": lambda weights: _pair("free-lbp", LbpBoxes(), NetworkPoints(weights)),
    "free-blazeface": lambda weights: _free_blazeface(weights),
    "mediapipe": lambda weights: _pair("mediapipe", BlazeBoxes(weights), MeshPoints(weights, mesh_points())),
    "face-alignment": lambda weights: _alignment("sfd", weights),
    "face-alignment-dlib": lambda weights: _alignment("dlib", weights),
}
LICENCES = {
    "dlib": "landmark model trained on iBUG 300-W: no commercial use",
    "free": "free of iBUG-trained models",
    "free-lbp": "free of iBUG-trained models",
    "free-blazeface": "free of iBUG-trained models",
    "mediapipe": "free of iBUG-trained models (Apache-2.0)",
    "face-alignment": "the terms of the weights' authors",
    "face-alignment-dlib": "the terms of the weights' authors",
}
"""What using a detector asks of the user, in a few words."""


def _free_blazeface(weights: str | Path | None) -> Pair:
    # a folder may hold either file, a file is the network's
    folder = Path(weights) if weights is not None and Path(weights).is_dir() else None
    own = folder if folder and any(folder.glob("*.safetensors")) else None if folder else weights
    boxes = folder if folder and any(folder.glob("*.tflite")) else None
    return _pair("free-blazeface", BlazeBoxes(boxes), NetworkPoints(own))


def check_name(name: str) -> None:
    """Refuse a name that is no detector's.

    Raises
    ------
    VrnError
    """
    if name not in DETECTORS:
        raise VrnError(
            f"unknown detector '{name}'{did_you_mean(name, DETECTORS)}: choose one of {', '.join(DETECTORS)}"
        )


def get(detector: str | Detector, weights: str | Path | None = None) -> Detector:
    """Return the detector of that name, built once and kept; a detector object is returned as it is.

    Parameters
    ----------
    weights : path, optional
        Folder of the detector's weight files, or the checkpoint of our landmark network.

    Raises
    ------
    VrnError
        For an unknown name, `weights` for a detector that takes none, or if the detector's model files cannot
        be loaded.
    """
    if not isinstance(detector, str):
        return detector
    check_name(detector)
    if weights is not None and detector == "dlib":
        raise VrnError("the detector dlib takes no --weights: leave them out, or choose another --detector")
    return _get(detector, None if weights is None else Path(weights).resolve())


@cache
def _get(name: str, weights: Path | None) -> Detector:
    return DETECTORS[name](weights)


def detect(
    image: NDArray[np.uint8],
    detector: str | Detector = "dlib",
    boxes: Sequence[Box] | None = None,
    weights: str | Path | None = None,
) -> list[Detection]:
    """Find faces and their 68 landmarks.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB, see `vrnlib.images.load`
    detector : name or object
    boxes : sequence of (x0, y0, x1, y1), image pixels, optional
        Faces known beforehand (a profile that dlib misses): nothing is searched, only the landmarks are
        found.
    weights : path, optional
        See `get`.

    Returns
    -------
    list of Detection
        Highest score first; in the given order with `boxes`. Empty if nothing was found.

    Raises
    ------
    VrnError
        For an unknown detector, one that cannot be loaded, or a box outside of the photograph.
    """
    finder = get(detector, weights)
    checked_image(image)
    if boxes is None:
        return [d if d.detector else replace(d, detector=finder.name) for d in finder.detect(image)]
    found = []
    for box in (checked_box(b, image) for b in boxes):
        answer = finder.landmarks(image, box)
        points, confidence = answer if isinstance(answer, tuple) else (answer, None)
        own = getattr(finder, "reference", Reference())
        found.append(Detection(box, float("inf"), points, confidence, finder.name, own))
    return found
