"""The true 3DMM parameters of drawn faces, without drawing them (`notebooks/07_baselines`).

A sample of `synth-lp` is a pure function of (seed, number): its person, expression, pose and camera can be
had again in a millisecond, where picture and volume take many. That gives 3DDFA its targets for the very
faces that the VRNs are trained on, wherever the pictures come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrnlib.appearance import sample_light
from vrnlib.baselines.morphable import Morphable
from vrnlib.baselines.tddfa_model import POSE, quaternion
from vrnlib.batches import Order, endless
from vrnlib.databases.sample import POSES_PER_FACE, _augmented, _view
from vrnlib.databases.synthetic import SynthLP
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, sample_expression, sample_identity

_PEOPLE = 300  # kept in memory: a block of shuffled samples holds 256


class TrueParameters:
    """`true[number]` is the parameter vector (P,) float32 of ``data[number]`` (see
    :mod:`vrnlib.baselines.tddfa_model`), mirrored where augmentation has mirrored the picture.

    Identity is projected onto the identity axes and expression onto the expression axes, each by itself:
    these are the coefficients that the face was made with, up to what the axes leave out. A joint projection
    would come a little nearer to the vertices, with parameters that mean less.

    Parameters
    ----------
    data : the drawn database; only its seed, size and augmentation are used.
    model : the 3DMM.
    """

    def __init__(self, data: SynthLP, model: Morphable) -> None:
        self.data = data
        basis = load_basis()
        fields = basis.fields.reshape(len(basis.names), -1, 3)[:, model.head_vertices].astype(np.float64)
        self.identity_mean = (model.mean - model.mean_expression).astype(np.float64)
        self.start = basis.mean[model.head_vertices].astype(np.float64)
        # coefficients = (constant + drawn coefficients @ matrix), for the face and for its mirror image
        self._maps = [
            [
                (
                    _onto(
                        axes, (f(self.start) - self.identity_mean if k == 0 else -model.mean_expression)[None]
                    )[0],
                    _onto(axes, f(fields)),
                )
                for k, axes in enumerate((model.identity_basis, model.expression_basis))
            ]
            for f in (_same, model.flipped)
        ]
        self._people: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}

    def _person(self, number: int) -> tuple[np.ndarray, list[np.ndarray]]:
        # head (V, 3) mm; shape coefficients of the face and of its mirror image
        if number not in self._people:
            if len(self._people) >= _PEOPLE:
                self._people.pop(next(iter(self._people)))
            rng = np.random.default_rng((self.data.seed, 1, number))  # as SynthLP._face
            drawn = (sample_identity(rng), sample_expression(rng))
            shapes = [
                np.concatenate([start + c @ matrix for c, (start, matrix) in zip(drawn, maps, strict=True)])
                for maps in self._maps
            ]
            self._people[number] = (load_basis().vertices(drawn[0] + drawn[1]), shapes)
        return self._people[number]

    def __getitem__(self, number: int) -> np.ndarray:
        head, shapes = self._person(number // POSES_PER_FACE)
        rng = np.random.default_rng((self.data.seed, 2, number))  # as SynthLP.__getitem__
        yaw = rng.normal(0, 0.45) if rng.random() < 0.4 else rng.uniform(-np.pi / 2, np.pi / 2)
        pitch, roll = np.clip(rng.normal(0, 0.22), -0.7, 0.7), np.clip(rng.normal(0, 0.12), -0.6, 0.6)
        pose = np.array([pitch, np.clip(yaw, -np.pi / 2, np.pi / 2), roll])
        sample_light(rng, ranges=self.data.ranges)
        size = self.data.grid.size
        view = _view(head, pose, size)
        if self.data.augment is not None:
            view = _augmented(view, self.data.augment, size, rng)
        rotation, (x, y), shape = view.rotation, view.centre, shapes[0]
        if view.flip:
            mirror = np.diag([-1.0, 1.0, 1.0])
            rotation, x, shape = mirror @ rotation @ mirror, size - 1 - x, shapes[1]
        return np.concatenate([quaternion(rotation, view.scale), [x, y], shape]).astype(np.float32)

    def many(self, numbers: list[int]) -> Tensor:
        """(N, P) of several samples."""
        return torch.from_numpy(np.stack([self[n] for n in numbers]))


def whitening(true: TrueParameters, start: Tensor, count: int = 1200) -> Tensor:
    """What divides parameters in costs and in the network: root mean square distance of the first `count`
    training samples to the first guess for the pose, 1 for the coefficients, which are in SDs already; (P,).

    Raises
    ------
    VrnError : a parameter never differs from the first guess.
    """
    apart = true.many(list(range(count))) - start
    scale = apart.square().mean(0).sqrt()
    scale[POSE:] = 1.0
    if not (scale > 0).all():
        raise VrnError("3DDFA: a parameter of pose is the same in all training samples: nothing to learn")
    return scale


def stream(
    images: Any, true: TrueParameters, seed: int, start: int, batch: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless training pairs from sample position `start` on, in the order of every run with this seed.

    Parameters
    ----------
    images : the data set to draw, or :class:`vrnlib.batches.Kept`.
    batch : faces at a time; a folder of kept batches is found again only with the size they were kept with.

    Yields
    ------
    images (B, 3, S, S) float32 0..1 and true parameters (B, P).
    """
    numbers = iter(Order(seed, start, batch))
    for drawn in endless(images, seed, start, batch, workers):
        yield drawn["image"].permute(0, 3, 1, 2).float() / 255, true.many(next(numbers))


def _onto(axes: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    # coefficients (N, K) of displacements (N, V, 3) on orthogonal axes (K, 3 V)
    axes = axes.astype(np.float64)
    return displacement.reshape(len(displacement), -1) @ axes.T / (axes**2).sum(1)


def _same(points: np.ndarray) -> np.ndarray:
    return points
