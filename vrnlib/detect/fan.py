"""The networks of the package ``face-alignment``: S3FD boxes and 2D-FAN landmarks (Bulat and Tzimiropoulos,
ICCV 2017), what the authors of VRN used. Finds profiles. The weights are the user's own files.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.detect import files
from vrnlib.detect.dlib_model import HogBoxes
from vrnlib.detect.interface import UNCHANGED, Box, Landmarks, Pair, Reference, Scored
from vrnlib.errors import VrnError


def hub_folder() -> Path:
    """Where ``face-alignment`` keeps its downloads: ``$TORCH_HOME/hub/checkpoints``."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


class FanPoints:
    """2D-FAN: a box from brows to chin -> 68 heat-maps; the confidence is the height of each peak.

    Parameters
    ----------
    boxes : "sfd" or "dlib"
        Whose boxes come: 2D-FAN's crop has a reference scale for each.
    weights : folder of the files; default: `hub_folder`.
    """

    name = "2dfan"
    files: ClassVar[dict[str, tuple[files.WeightFile, ...]]] = {
        "sfd": (files.S3FD, files.FAN_2D),
        "dlib": (files.FAN_2D,),
    }

    def __init__(self, boxes: Literal["sfd", "dlib"] = "sfd", weights: str | Path | None = None) -> None:
        needed = self.files[boxes]
        default = hub_folder()
        place = Path(weights) if weights is not None else default
        missing = [f.name for f in needed if not (place / f.name).is_file()]
        if missing:
            raise VrnError(
                f"the face-alignment weights are not on this machine: download {' and '.join(missing)} from "
                f"{files.FAN_SOURCE} into '{place}' (or name another folder with --weights), or use "
                "--detector dlib or free"
            )
        paths = {f.name: files.find(f, weights, default, ", or use --detector dlib or free") for f in needed}
        try:
            self._net = _build(boxes, paths)
        except (
            Exception
        ) as error:  # a file that is not a network, as anything from KeyError to UnpicklingError
            raise VrnError(
                f"the face-alignment weights in '{place}' are damaged ({type(error).__name__}): download "
                f"{' and '.join(paths)} from {files.FAN_SOURCE} again, or use --detector dlib or free"
            ) from error

    def points(self, image: NDArray[np.uint8], box: Box, reference: Reference = UNCHANGED) -> Landmarks:
        """See `vrnlib.detect.interface.Points`."""
        points, peaks, _ = self._net.get_landmarks_from_image(
            image, detected_faces=[list(box)], return_landmark_score=True
        )
        return Landmarks(
            np.asarray(points[0], np.float32)[:, :2],
            np.clip(np.asarray(peaks[0], np.float32).reshape(68), 0, 1),
        )


class SfdBoxes:
    """S3FD: faces of any pose, also small ones. `net` is the FaceAlignment object that holds it."""

    name = "sfd"
    search_side = 1024
    """Longer side in pixels at which faces are searched; S3FD takes seconds on a large photograph."""

    def __init__(self, marker: FanPoints) -> None:
        self._finder = marker._net.face_detector

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """See `vrnlib.detect.interface.Boxes`."""
        factor = min(1.0, self.search_side / max(image.shape[:2]))
        small = (
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            if factor < 1
            else image
        )
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        rows = self._finder.detect_from_image(small.copy())
        return [
            Scored((float(x0 / fx), float(y0 / fy), float(x1 / fx), float(y1 / fy)), float(s))
            for x0, y0, x1, y1, s in rows
        ]


class FaceAlignmentDetector(Pair):
    """S3FD (or dlib's) boxes and 2D-FAN landmarks.

    Parameters
    ----------
    boxes : "sfd" or "dlib"
        S3FD finds profiles and small faces; with dlib's boxes only the file for the landmarks is needed.
    weights : folder of the files; default: ``$TORCH_HOME/hub/checkpoints``.

    Raises
    ------
    VrnError : a file is missing or damaged. Nothing is downloaded.
    """

    name = "face-alignment"

    def __init__(
        self,
        boxes: Literal["sfd", "dlib"] = "sfd",
        weights: str | Path | None = None,
        box_reference: Reference = UNCHANGED,
        reference: Reference = UNCHANGED,
    ) -> None:
        marker = FanPoints(boxes, weights)
        finder = SfdBoxes(marker) if boxes == "sfd" else HogBoxes()
        super().__init__(self.name, finder, marker, box_reference, reference)


def _build(boxes: str, paths: dict[str, Path]):
    """The package's object, from these files alone."""
    import face_alignment
    import torch
    from face_alignment.models import FAN

    class Local(face_alignment.FaceAlignment):
        def _load_native(self, name, size, device, dtype):  # the package's would download
            net = FAN(size)
            net.load_state_dict(torch.load(paths[files.FAN_2D.name], map_location=device, weights_only=True))
            return net.to(device, dtype=dtype).eval()

    given = {"path_to_detector": str(paths[files.S3FD.name])} if boxes == "sfd" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls its own dlib detector deprecated; that one is never asked
        return Local(
            face_alignment.LandmarksType.TWO_D,
            device="cpu",
            face_detector=boxes,
            face_detector_kwargs=given,
            compile=False,
            flip_input=False,
        )
