"""3DDFA: a 3DMM regressed from the crop by a cascade (Zhu et al., CVPR 2016; taught in
`notebooks/07_baselines`).

    from vrnlib.baselines.tddfa import TDDFA
    mesh = TDDFA().predict(image)          # (S, S, 3) uint8 crop -> Mesh

The parts: parameters and vertices :mod:`~vrnlib.baselines.tddfa_model`, PNCC :mod:`~vrnlib.baselines.pncc`,
the cascade :mod:`~vrnlib.baselines.tddfa_network`, its costs :mod:`~vrnlib.baselines.tddfa_costs`, training
:mod:`~vrnlib.baselines.tddfa_train`. Each says what is from the paper and what is ours.

Where it starts: the paper puts the mean face into the face's bounding box. The crop that VRN gets is made
from that box, so here it is the mean face in the crop's middle, whatever the picture. It reads no landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.common import Mesh, NotRunError, posed_mesh
from vrnlib.baselines.morphable import Morphable, load_morphable
from vrnlib.baselines.tddfa_model import POSE, Shapes, posing
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.errors import VrnError
from vrnlib.provenance import project_folder

CHECKPOINT = Path("results") / "checkpoints" / "3ddfa-laptop.safetensors"
"""The network used unless another is named, relative to the repository."""


@dataclass(frozen=True)
class TDDFA:
    """A trained cascade with its 3DMM, ready to predict (a method of :mod:`vrnlib.baselines.methods`).

    Parameters
    ----------
    path : checkpoint; None is `CHECKPOINT`.
    model : the 3DMM it was trained with; None is the one of results/.
    iterations : of the cascade.

    Raises
    ------
    NotRunError : no checkpoint. VrnError : it is damaged, or was trained with another 3DMM.
    """

    path: str | Path | None = None
    model: Morphable | None = field(default=None, repr=False)
    iterations: int = networks.ITERATIONS
    name: str = "3ddfa"
    sees_truth: bool = False

    def __post_init__(self) -> None:
        path = project_folder() / CHECKPOINT if self.path is None else Path(self.path)
        if self.path is None and not path.is_file():
            raise NotRunError(
                f"no checkpoint at '{CHECKPOINT}': python -m vrnlib.baselines.tddfa_train --help"
            )
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        network, digest = _network(path, changed)
        model = self.model or load_morphable()
        shapes = Shapes.of(model)
        if network.design.parameters != shapes.parameters or digest not in (None, shapes.digest):
            raise VrnError(
                f"'{path.name}' was trained with another 3DMM than this one ({network.design.parameters} "
                f"parameters, the model has {shapes.parameters}): restore the model or train again"
            )
        for name, value in (("model", model), ("shapes", shapes), ("network", network)):
            object.__setattr__(self, name, value)

    shapes: Shapes = field(init=False, repr=False)
    network: networks.Regressor = field(init=False, repr=False)

    @property
    def size(self) -> int:
        """Side of the crops it reads, in pixels."""
        return self.network.design.size

    def fit(self, images: np.ndarray, iterations: int | None = None) -> list[Tensor]:
        """The whole cascade: parameters (N, P) after 0, 1, ... iterations of crops (N, S, S, 3) uint8.

        Raises
        ------
        VrnError : crops of another size or type.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3) or images.dtype != np.uint8:
            raise VrnError(
                f"{self.name} reads crops ({self.size}, {self.size}, 3) uint8, got {images.shape[1:]} "
                f"{images.dtype}: crop the picture to its window"
            )
        image = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
        count = self.iterations if iterations is None else iterations
        return networks.fit(self.shapes, self.network, image, count)

    def mesh(self, parameters: Tensor) -> Mesh:
        """The face surface of one parameter vector (P,) in the crop's frame, cut as fine as an isosurface."""
        p = parameters.double().numpy()
        camera = camera_of(p)
        a = p[POSE:]
        shape = self.model.shape(a[: self.shapes.identities], a[self.shapes.identities :])
        return posed_mesh(self.model, shape, camera, self.size)

    def predict(self, image: np.ndarray, landmarks: np.ndarray | None = None) -> Mesh:
        """Reconstruct the face in a crop (S, S, 3) uint8; `landmarks` are not used.

        Raises
        ------
        VrnError : a crop of another size or type.
        """
        return self.mesh(self.fit(np.asarray(image)[None])[-1][0])


def camera_of(parameters: np.ndarray) -> WeakPerspective:
    """The camera in a parameter vector (P,); z of its offset is 0.

    Raises
    ------
    VrnError : the quaternion is 0: the face has shrunk to a point.
    """
    f = float((parameters[:4] ** 2).sum())
    if not f > 1e-9:
        raise VrnError("3DDFA has shrunk the face to a point: train it for longer")
    q = torch.from_numpy(np.asarray(parameters[:4], np.float64))[None]
    rotation = posing(q)[0].numpy() / f * np.array([[1.0], [-1.0], [1.0]])  # posing looks down, cameras up
    return WeakPerspective(f, rotation, np.array([*parameters[4:6], 0.0]))


@lru_cache(maxsize=2)
def _network(path: Path, changed: int) -> tuple[networks.Regressor, str | None]:
    # `changed`: a checkpoint written anew is not the one in the cache
    network, meta = networks.load(path)
    return network.requires_grad_(False), meta.get("model")
