"""Every method of Table 1 by name, behind one interface (taught in `notebooks/07_baselines`).

    method = open_method("eos")
    mesh = method.predict(image)               # landmarks from our landmark network
    mesh = method.predict(image, landmarks)    # or given ones

========================== ================================================================================
``vrn``, ``multitask``     the networks: volume, isosurface, largest body
``guided``, ``guided-gt``  VRN-Guided on the landmarks it finds itself; on the true ones
``3ddfa``                  cascaded regression of the morphable model's parameters
``eos``, ``eos-30``        the morphable model fitted to 68 landmarks; lambda 5000 as in the paper, and 30
``eos-gt``, ``eos-30-gt``  the same on the true landmarks
``mean-face``, ``-gt``     the average training face at the landmarks' pose
``mediapipe``              MediaPipe's 468 points; score it on :func:`vrnlib.baselines.mediapipe.coverage`
========================== ================================================================================

What ends in ``-gt`` may see the true landmarks: an upper bound, not a competitor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vrnlib import labelling, voxel
from vrnlib.baselines.common import Mesh, NotRunError, checked_landmarks
from vrnlib.baselines.eos_fit import DEFAULT_LAMBDA, PAPER_LAMBDA, eos_mesh
from vrnlib.baselines.mean_face import mean_face
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.provenance import project_folder

if TYPE_CHECKING:
    from vrnlib.predict import Network

__all__ = ["METHODS", "Mesh", "Method", "NotRunError", "landmark_finder", "open_method"]

CHECKPOINTS = Path("results") / "checkpoints"
LANDMARK_NETWORK = CHECKPOINTS / "landmarks-laptop.safetensors"
_NETWORKS = {kind: CHECKPOINTS / f"{kind}-laptop.safetensors" for kind in ("vrn", "multitask", "guided")}
Finder = Callable[[np.ndarray], np.ndarray]
"""(S, S, 3) uint8 crop -> (68, 2) landmarks in its pixels."""


class Method(Protocol):
    """Something that reconstructs a face from its crop.

    Attributes
    ----------
    name : its key in `METHODS`.
    sees_truth : whether it is meant to be given the true landmarks; the others get None.
    """

    name: str
    sees_truth: bool

    def predict(self, image: np.ndarray, landmarks: np.ndarray | None = None) -> Mesh:
        """Reconstruct the face in a crop.

        Parameters
        ----------
        image : (S, S, 3) uint8 RGB, the paper's normalised crop.
        landmarks : (68, 2) pixels of the crop, or None to find what is needed in the picture.

        Returns
        -------
        Mesh in the crop's frame, pixels.

        Raises
        ------
        VrnError : the picture or the landmarks do not fit, or no face is found.
        """
        ...


@dataclass(frozen=True)
class Volumetric:
    """VRN, Multitask or Guided. Given landmarks guide VRN-Guided; the others have no use for them."""

    name: str
    network: Network
    sees_truth: bool = False

    def predict(self, image: np.ndarray, landmarks: np.ndarray | None = None) -> Mesh:
        _check(image, self.network.size, self.name)
        if landmarks is not None and self.network.model.architecture.kind == "guided":
            volume = self.network.predict(image, checked_landmarks(landmarks))
        else:
            volume = self.network.predict(image)
        vertices, faces, _ = labelling.largest_body(*voxel.isosurface(volume))
        return Mesh(vertices, faces)


@dataclass(frozen=True)
class Fitted:
    """A method that places a model on 68 landmarks: `place(landmarks, size)` makes the mesh."""

    name: str
    place: Callable[[np.ndarray, int], Mesh]
    find: Finder | None = None
    sees_truth: bool = False

    def predict(self, image: np.ndarray, landmarks: np.ndarray | None = None) -> Mesh:
        if landmarks is None:
            if self.find is None:
                raise VrnError(f"{self.name} needs landmarks")
            landmarks = self.find(image)
        return self.place(np.asarray(landmarks), image.shape[0])


@dataclass(frozen=True)
class MediaPipe:
    """MediaPipe's face mesh; it finds the face by itself, near the middle of the crop."""

    name: str
    network: Any = field(repr=False)
    sees_truth: bool = False

    def predict(self, image: np.ndarray, landmarks: np.ndarray | None = None) -> Mesh:
        return self.network.mesh(image)


def landmark_finder(path: str | Path | None = None) -> Finder:
    """Our landmark network as a function, ready.

    Parameters
    ----------
    path : a checkpoint of a landmark network, or of a VRN-Guided, whose first half is one; default
        `LANDMARK_NETWORK`.

    Raises
    ------
    NotRunError : there is no checkpoint. VrnError : it can't be read, or finds no landmarks.
    """
    path = project_folder() / LANDMARK_NETWORK if path is None else Path(path)
    if not path.is_file():
        raise NotRunError(f"no landmark network at '{path.name}': train one")
    return _finder(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _finder(path: Path, changed: int) -> Finder:
    import torch

    from vrnlib import networks
    from vrnlib.predict import _window, for_inference

    model, meta = networks.load(path)
    kind = model.architecture.kind
    if kind == "guided":  # its first half is a landmark network
        model = model.landmarks
    elif kind != "landmarks":
        raise VrnError(f"'{path.name}' is a {kind} network: landmarks come from a landmarks or guided one")
    size = _window(model, meta)
    model = for_inference(model)
    device = next(model.parameters()).device

    def find(image: np.ndarray) -> np.ndarray:
        _check(image, size, "the landmark network")
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float().div_(255)
        with torch.inference_mode():
            return model.detect(x.to(device))[0][0].cpu().numpy()

    return find


def _check(image: np.ndarray, size: int, who: str) -> None:
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise VrnError(
            f"{who} reads crops ({size}, {size}, 3) uint8, got {image.shape} {image.dtype}: crop the picture "
            "to its window"
        )


def _network(name: str, kind: str, sees_truth: bool = False) -> Method:
    from vrnlib.predict import load_network

    path = project_folder() / _NETWORKS[kind]
    if not path.is_file():
        raise NotRunError(f"no checkpoint at '{_NETWORKS[kind]}'")
    return Volumetric(name, load_network(path), sees_truth)


def _fitted(name: str, place: Callable[[np.ndarray, int], Mesh], sees_truth: bool) -> Method:
    return Fitted(name, place, None if sees_truth else landmark_finder(), sees_truth)


def _eos(name: str, weight: float, sees_truth: bool = False) -> Method:
    return _fitted(name, lambda points, size: eos_mesh(points, size, weight=weight), sees_truth)


def _mediapipe(name: str) -> Method:
    from vrnlib.baselines.mediapipe import FaceMesh

    return MediaPipe(name, FaceMesh())


def _tddfa(name: str) -> Method:
    try:
        from vrnlib.baselines.tddfa import TDDFA
    except ImportError as error:
        raise NotRunError(f"3DDFA is not part of this copy ({error})") from None
    return TDDFA()


METHODS: dict[str, Callable[[], Method]] = {
    "vrn": lambda: _network("vrn", "vrn"),
    "multitask": lambda: _network("multitask", "multitask"),
    "guided": lambda: _network("guided", "guided"),
    "guided-gt": lambda: _network("guided-gt", "guided", True),
    "3ddfa": lambda: _tddfa("3ddfa"),
    "eos": lambda: _eos("eos", PAPER_LAMBDA),
    "eos-30": lambda: _eos("eos-30", DEFAULT_LAMBDA),
    "eos-gt": lambda: _eos("eos-gt", PAPER_LAMBDA, True),
    "eos-30-gt": lambda: _eos("eos-30-gt", DEFAULT_LAMBDA, True),
    "mean-face": lambda: _fitted("mean-face", mean_face, False),
    "mean-face-gt": lambda: _fitted("mean-face-gt", mean_face, True),
    "mediapipe": lambda: _mediapipe("mediapipe"),
}
"""Name -> opens the method."""


def open_method(name: str) -> Method:
    """A method by name, ready to predict.

    Raises
    ------
    NotRunError : something it needs is missing here, such as its checkpoint. VrnError : unknown name.
    """
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise VrnError(f"unknown method '{name}'{did_you_mean(name, METHODS)}: known are {known}")
    return METHODS[name]()
