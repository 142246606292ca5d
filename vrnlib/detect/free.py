"""Boxes and landmarks that owe nothing to iBUG 300-W, for uses that its licence excludes.

Boxes: dlib's own detector (`vrnlib.detect.dlib_model.HogBoxes`, Boost licence), the LBP cascade that ships
with scikit-image, or MediaPipe's BlazeFace (Apache-2.0; the file is the user's, see `vrnlib.detect.files`).
Landmarks: the landmark network of this project, the first half of VRN-Guided, which has only seen drawn
faces.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.crop import REFERENCE_BOX, REFERENCE_SIZE, Crop
from vrnlib.detect.interface import UNCHANGED, Box, Landmarks, Reference, Scored
from vrnlib.errors import VrnError
from vrnlib.faces import MIRROR_68

if TYPE_CHECKING:
    import torch

CHECKPOINTS = tuple(
    Path("results") / "checkpoints" / f"{kind}-laptop.safetensors"
    for kind in ("landmarks", "guided", "multitask")
)
"""Networks that know landmarks, in the order they are looked for, relative to the repository."""


class LbpBoxes:
    """The cascade of local binary patterns in scikit-image (`skimage.feature.Cascade`); frontal faces.

    The score is 1 for every face: the cascade says yes or no.
    """

    name = "lbp"
    search_side = 400
    """Longer side of the photograph during the search, in pixels; a face is at least `smallest` wide."""
    smallest = 40

    @cached_property
    def _cascade(self):
        import skimage.data
        from skimage.feature import Cascade

        return Cascade(skimage.data.lbp_frontal_face_cascade_filename())

    def boxes(self, image: NDArray[np.uint8]) -> list[Scored]:
        """See `vrnlib.detect.interface.Boxes`."""
        factor = self.search_side / max(image.shape[:2])
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        side = min(small.shape[:2])
        if side <= self.smallest:
            return []
        found = self._cascade.detect_multi_scale(
            small, scale_factor=1.15, step_ratio=1, min_size=(self.smallest,) * 2, max_size=(side, side)
        )
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        return [
            Scored(
                (
                    f["c"] / fx - 0.5,
                    f["r"] / fy - 0.5,
                    (f["c"] + f["width"]) / fx - 0.5,
                    (f["r"] + f["height"]) / fy - 0.5,
                ),
                1.0,
            )
            for f in found
        ]


class NetworkPoints:
    """Our landmark network in a window round the face, then in the window round what it found, and so on.

    Confidence is the height of a heat-map's peak. The answer is the mean of all rounds, weighted by it: the
    network's errors in different windows differ.

    Parameters
    ----------
    weights : a checkpoint of kind landmarks, guided or multitask, or a folder with one of :data:`CHECKPOINTS`
        names; default: those in the repository.
    rounds : windows looked at: the box's, and `rounds` - 1 of the network's own.

    Raises
    ------
    VrnError : there is no such checkpoint, it is damaged, or it knows no landmarks.
    """

    name = "network"

    def __init__(self, weights: str | Path | None = None, rounds: int = 2) -> None:
        import torch

        from vrnlib import networks

        self.path = find_checkpoint(weights)
        model, meta = networks.load(self.path)
        self._model = landmark_half(model, self.path).eval().requires_grad_(False)
        self._torch = torch
        self.size, self.rounds = int(meta.get("size", 96)), rounds

    def points(self, image: NDArray[np.uint8], box: Box, reference: Reference = UNCHANGED) -> Landmarks:
        """See `vrnlib.detect.interface.Points`."""
        corners = np.array(box, float).reshape(2, 2)
        crop = reference.crop(corners, self.size)
        points, confidences = [], []
        for _ in range(self.rounds):
            found, confidence = self.look(crop.image(image))
            points.append(crop.invert(found))
            confidences.append(confidence)
            window = _near(crop, points[-1])
            if window is None:
                break
            crop = window
        weights = np.stack(confidences)[..., None] + 1e-6
        mean = (np.stack(points) * weights).sum(0) / weights.sum(0)
        return Landmarks(mean.astype(np.float32), np.mean(confidences, 0))

    def look(self, window: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One look at a (size, size, 3) uint8 RGB window and at its mirror image: points (68, 2) in its
        pixels, the mean of both weighted by confidence; confidence (68,).
        """
        from vrnlib.landmarks import decode

        both = np.stack([window, window[:, ::-1]])
        x = self._torch.from_numpy(np.ascontiguousarray(both)).permute(0, 3, 1, 2).float().div_(255)
        with self._torch.inference_mode():
            points, confidence = (a.numpy() for a in decode(self._model.heads(x).heatmaps, self.size))
        mirrored = points[1, MIRROR_68] * [-1, 1] + [self.size - 1, 0]
        weights = np.stack([confidence[0], confidence[1, MIRROR_68]]) + 1e-6
        points = (np.stack([points[0], mirrored]) * weights[..., None]).sum(0) / weights.sum(0)[:, None]
        return points.astype(np.float32), weights.mean(0).clip(0, 1).astype(np.float32)


def find_checkpoint(weights: str | Path | None = None) -> Path:
    """The checkpoint that `NetworkPoints` loads.

    Raises
    ------
    VrnError : there is none.
    """
    package = Path(__file__).resolve().parents[1]
    if weights is not None and not Path(weights).is_dir():
        if not Path(weights).is_file():
            raise VrnError(
                f"--weights '{weights}' does not exist: give a landmarks, guided or multitask checkpoint"
            )
        return Path(weights)
    if weights is not None:
        places = [Path(weights) / p.name for p in CHECKPOINTS]
    else:
        places = [package.parent / p for p in CHECKPOINTS] + [package / "data" / p.name for p in CHECKPOINTS]
    for path in places:
        if path.is_file():
            return path
    names = ", ".join(p.name for p in CHECKPOINTS)
    raise VrnError(
        f"no network that knows landmarks ({names}) in '{places[0].parent.name}': train one "
        "(vrn train landmarks), name a checkpoint with --weights FILE, or use --detector mediapipe or dlib"
    )


def landmark_half(model: Any, path: Path) -> torch.nn.Module:
    """The part of a network that finds landmarks: of a Guided one its first half.

    Raises
    ------
    VrnError : it has none.
    """
    kind = model.architecture.kind
    if kind == "guided":
        return model.landmarks
    if kind == "vrn":
        raise VrnError(
            f"'{path}' is a plain VRN and knows no landmarks: give a landmarks, guided or multitask network"
        )
    return model


def _near(crop: Crop, points: NDArray[np.floating]) -> Crop | None:
    """The window round `points`, if it is a plausible next one: at most 1.6 times larger or smaller than
    `crop`, its middle inside of it. Elsewhere the network has seen nothing, and its points lead away.
    """
    try:
        new = Crop.from_landmarks(points, crop.size)
    except VrnError:
        return None
    middle = crop.apply(new.invert(np.full((1, 2), (crop.size - 1) / 2)))[0]
    inside = (np.abs(middle - (crop.size - 1) / 2) < crop.size * REFERENCE_BOX / REFERENCE_SIZE).all()
    return new if inside and 1 / 1.6 < new.scale / crop.scale < 1.6 else None
