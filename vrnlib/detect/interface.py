"""What a detector is made of, and what it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.errors import VrnError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in image pixels, x0 < x1, y0 < y1."""


class Scored(NamedTuple):
    """A box and how sure the detector is, on its own scale; higher is better."""

    box: Box
    score: float


class Landmarks(NamedTuple):
    """The 68 points of the iBUG mark-up and how far each may be trusted.

    Attributes
    ----------
    points : (68, 2) float32, image pixels
    confidence : (68,) float32, 0..1
        What it is made of differs between detectors (see each); only its order within one is meaningful.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """From the box a detector gives to the box of the true landmarks, on average: its reference scale.

    With ``s = sqrt(w h)`` of a box and c its centre: ``s_true = scale * s``, ``c_true = c + shift * s``.
    The values come from `vrnlib.detect.calibration`, which measures them; the default changes nothing.
    """

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def apply(self, low: NDArray[np.floating], high: NDArray[np.floating]) -> NDArray[np.float64]:
        """The box with the corners `low`, `high` (2,) -> corners (2, 2) of the corrected one."""
        extent, centre = np.asarray(high, float) - low, (np.asarray(high, float) + low) / 2
        centre = centre + np.array(self.shift) * np.sqrt(max(float(extent[0] * extent[1]), 0.0))
        half = self.scale * extent / 2
        return np.stack([centre - half, centre + half])

    def crop(self, points: NDArray[np.floating], size: int = REFERENCE_SIZE) -> Crop:
        """The network's window for points (N >= 2, 2): `Crop.from_landmarks`, corrected."""
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] < 2 or len(points) < 2 or not np.isfinite(points).all():
            return Crop.from_landmarks(points, size)  # which says what is wrong
        if self == Reference():
            return Crop.from_landmarks(points, size)
        return Crop.from_landmarks(self.apply(points[:, :2].min(0), points[:, :2].max(0)), size)


UNCHANGED = Reference()
"""The reference of a box that needs no correction."""


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
    confidence : (68,) float32, 0..1, or None where the detector knows none
    detector : str
        Its name; empty if unknown.
    reference : Reference
        How the box of these landmarks compares with that of the true ones, on average.
    """

    box: Box
    score: float
    landmarks: NDArray[np.float32]
    confidence: NDArray[np.float32] | None = None
    detector: str = ""
    reference: Reference = UNCHANGED

    def crop(self, size: int = REFERENCE_SIZE) -> Crop:
        """The window for a network: the paper's normalisation of the landmark box, at the detector's
        reference scale.

        Raises
        ------
        VrnError : the landmarks are not finite or their box has no area.
        """
        return self.reference.crop(self.landmarks, size)


class Detector(Protocol):
    """What every detector offers. An object of the user's need not know confidences: then `landmarks` may
    return the points alone.
    """

    name: str

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Every face of the (H, W, 3) uint8 RGB photograph, highest score first; empty if there is none."""

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> Landmarks | NDArray[np.float32]:
        """The landmarks of the face known to fill `box`."""


class Boxes(Protocol):
    """A finder of boxes, one half of a `Pair`."""

    name: str

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """Boxes of the faces in a (H, W, 3) uint8 RGB photograph, in any order."""


class Points(Protocol):
    """A finder of landmarks in a box, the other half of a `Pair`. One that can tell that there is no face has
    `least`, the mean confidence that a face has at least.
    """

    name: str

    def points(self, image: NDArray[np.uint8], box: Box, reference: Reference) -> Landmarks:
        """`reference`: from this kind of box to the box of the true landmarks."""


class Pair:
    """A detector made of a finder of boxes and a finder of landmarks.

    Parameters
    ----------
    name : str
        As in `vrnlib.detect.DETECTORS`.
    finder, marker : the two halves.
    box_reference, reference : Reference
        Of the boxes, and of the landmarks in them.
    """

    def __init__(
        self,
        name: str,
        finder: Boxes,
        marker: Points,
        box_reference: Reference = UNCHANGED,
        reference: Reference = UNCHANGED,
    ) -> None:
        self.name, self.finder, self.marker = name, finder, marker
        self.box_reference, self.reference = box_reference, reference

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """Boxes and scores of the faces in a (H, W, 3) uint8 RGB photograph, highest score first."""
        return sorted(self.finder.boxes(checked_image(image)), key=lambda b: -b.score)

    def landmarks(self, image: NDArray[np.uint8], box: Box) -> Landmarks:
        """See `Detector`. A box drawn by hand is taken for one of this detector's own kind."""
        found = self.marker.points(checked_image(image), box, self.box_reference)
        return Landmarks(
            np.asarray(found.points, np.float32), np.clip(np.asarray(found.confidence, np.float32), 0, 1)
        )

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `Detector`."""
        out = []
        for box, score in self.boxes(image):
            points, confidence = self.landmarks(image, box)
            if confidence.mean() >= getattr(self.marker, "least", 0.0):
                out.append(Detection(box, score, points, confidence, self.name, self.reference))
        return out


def checked_image(image: Any) -> NDArray[np.uint8]:
    """The image, if it is (H, W, 3) uint8.

    Raises
    ------
    VrnError : it is not.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise VrnError(f"a detector takes an (H, W, 3) uint8 RGB image, got {what}: see vrnlib.images.load")
    return image


def checked_box(box: Sequence[float], image: NDArray[np.uint8]) -> Box:
    """The box as floats, if it is one and touches the photograph.

    Raises
    ------
    VrnError : it is not four finite numbers, too small, or outside.
    """
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
