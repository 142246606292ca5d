"""The small experiment that all studies share: its budget, its faces, its training loop, its scores.

Every network of a study sees the very same drawn faces, once; a seed decides the first weights and the order
of the batches. So two networks of one seed differ in nothing but what the study changes, and their
difference is known better than each of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vrnlib import batches, metrics
from vrnlib.databases import DATA_VERSION, POSES_PER_FACE, SynthLP
from vrnlib.errors import VrnError
from vrnlib.networks import Architecture, enlarge
from vrnlib.objective import POINT_STEP, surface_nme
from vrnlib.params import depth_of
from vrnlib.recipe import bf16_is_fast

Say = Callable[[str], None]
PACK = 8
"""Faces in one file."""


@dataclass(frozen=True)
class Budget:
    """What every network of a study is given.

    Attributes
    ----------
    size : side of the window in pixels; the volume goes with it.
    features, modules, stacks, levels : of the baseline network, wiring ``low``.
    faces : training faces, each seen once.
    detector_faces : other faces, for a landmark network, each seen `detector_passes` times.
    batch_size : faces a step; a multiple of `PACK`.
    learning_rate : of RMSProp; falls to 0 along half a cosine, so that a short run ends at rest, where a
        study does not say otherwise.
    test_faces : held-out faces (other people, not augmented) that are scored.
    nme_faces : so many of them get an isosurface and an NME.
    seeds : repetitions of every network.
    data_seed, test_seed : of the faces.
    """

    size: int = 64
    features: int = 64
    modules: int = 1
    stacks: int = 1
    levels: int = 2
    faces: int = 16_384
    detector_faces: int = 8_192
    detector_passes: int = 2
    batch_size: int = 16
    learning_rate: float = 3e-3
    test_faces: int = 128
    nme_faces: int = 64
    seeds: int = 3
    data_seed: int = 48
    test_seed: int = 1_000_048

    @property
    def depth(self) -> int:
        """Depth voxels of the volume."""
        return depth_of(self.size)

    @property
    def steps(self) -> int:
        """Updates of a training."""
        return self.faces // self.batch_size

    def __post_init__(self) -> None:
        b = self.batch_size
        counts = (self.faces, self.detector_faces, self.test_faces)
        if b < PACK or b % PACK or min(counts) < b or any(n % b for n in counts):
            raise VrnError(
                f"a study's batch_size is a multiple of {PACK}; faces, detector_faces and test_faces are "
                f"multiples of batch_size: not {b} and {counts}"
            )

    def architecture(self, **changes: Any) -> Architecture:
        """The baseline network, with `changes`."""
        shape = {"features": self.features, "modules": self.modules, "stacks": self.stacks}
        return Architecture(
            **{**shape, "levels": self.levels, "depth": self.depth, "wiring": "low", **changes}
        )


@dataclass(frozen=True)
class Faces:
    """The faces of a study, kept as files in a folder once they are drawn.

    Batch k holds people k B to k B + B - 1 of the database, one pose each, B the batch size.
    """

    budget: Budget
    folder: Path

    def _kept(self, seed: int, augment: bool, truth: bool) -> batches.Kept:
        b = self.budget
        data = SynthLP(b.size, b.depth, seed=seed, augment=augment, truth=truth)
        return batches.Kept(data, self.folder, [DATA_VERSION, b.size, b.depth, seed, augment, truth])

    def training(self, order: Iterable[int]) -> Iterator[dict[str, Tensor]]:
        """Packed batches (:func:`vrnlib.batches.pack`) of these numbers; drawn when they are not there."""
        data = self._kept(self.budget.data_seed, augment=True, truth=False)
        return (self._batch(data, k) for k in order)

    def test(self) -> list[dict[str, Tensor]]:
        """The held-out faces, with ground-truth points and eyes."""
        data, b = self._kept(self.budget.test_seed, augment=False, truth=True), self.budget
        return [self._batch(data, k) for k in range(b.test_faces // b.batch_size)]

    def _batch(self, data: batches.Kept, k: int) -> dict[str, Tensor]:
        first, last = k * self.budget.batch_size, (k + 1) * self.budget.batch_size
        packs = [
            data.__getitems__([i * (POSES_PER_FACE + 1) for i in range(at, at + PACK)])
            for at in range(first, last, PACK)
        ]
        return {name: torch.cat([pack[name] for pack in packs]) for name in packs[0]}


def order(budget: Budget, seed: int) -> list[int]:
    """The order of the training batches for a seed."""
    return np.random.default_rng((seed, 3)).permutation(budget.steps).tolist()


def detector_order(budget: Budget, seed: int) -> list[int]:
    """The order of the batches for a landmark network: other faces than `order`'s, in every pass anew."""
    rng, count = np.random.default_rng((seed, 4)), budget.detector_faces // budget.batch_size
    passes = [rng.permutation(count) + budget.steps for _ in range(budget.detector_passes)]
    return np.concatenate(passes).tolist()


def autocast(half: bool = True) -> torch.autocast:
    """bfloat16 where it is wanted and the processor multiplies in it (:func:`vrnlib.recipe.bf16_is_fast`)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16, half and bf16_is_fast())


def cosine(progress: float) -> float:
    """From 1 down to 0 along half a cosine, for a part 0..1 of the run."""
    return 0.5 * (1 + float(np.cos(np.pi * progress)))


def fit(
    model: nn.Module,
    budget: Budget,
    faces: Faces,
    numbers: list[int],
    loss_of: Callable[[dict[str, Tensor], int], Tensor],
    say: Say = lambda _: None,
    schedule: Callable[[float], float] = cosine,
    half: bool = True,
) -> dict[str, float]:
    """Train `model`, a step for each batch.

    Parameters
    ----------
    numbers : of the training batches, in order.
    loss_of : packed batch and its number -> () loss; computed under autocast.
    schedule : part 0..1 of the run -> factor of the budget's learning rate.
    half : whether to compute in bfloat16, see `autocast`.

    Returns
    -------
    dict
        ``loss``, the mean over the last tenth of the steps; ``seconds``, and ``cpu_seconds`` of this process,
        which other work on the machine disturbs less.
    """
    model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=budget.learning_rate, alpha=0.99, eps=1e-8)
    steps, losses = len(numbers), []
    tail = max(1, steps // 10)
    began, cpu = time.perf_counter(), time.process_time()
    for step, (number, batch) in enumerate(zip(numbers, faces.training(numbers), strict=True)):
        for group in optimiser.param_groups:
            group["lr"] = budget.learning_rate * schedule(step / steps)
        with autocast(half):
            loss = loss_of(batch, number)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 4) == 0:
            say(f"  step {step + 1} of {steps}: loss {np.mean(losses[-tail:]):.4f}")
    return {
        "loss": float(np.mean(losses[-tail:])),
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def score(
    slices_of: Callable[[dict[str, Tensor], Tensor], Tensor],
    budget: Budget,
    test: list[dict[str, Tensor]],
    nme: bool = True,
) -> dict[str, list[float]]:
    """IoU (at probability 0.5) and NME of each held-out face.

    Parameters
    ----------
    slices_of : packed batch, image (N, 3, S, S) -> logits (N, D, C, C) before the enlargement.
    test : from `Faces.test`.
    nme : whether the first ``budget.nme_faces`` get an NME, NaN for a volume without a surface.

    Returns
    -------
    dict
        ``iou`` and ``nme``, one value a face in the order of `test`.
    """
    ious: list[float] = []
    nmes: list[float] = []
    with torch.inference_mode():
        for batch in test:
            image, volume = batches.unpack(batch, budget.depth)
            with autocast():
                slices = slices_of(batch, image)
            logits = enlarge(slices.float(), volume.shape[2:])
            ious += [metrics.iou(a, b) for a, b in zip((logits > 0).numpy(), volume.numpy(), strict=True)]
            for i in range(min(len(image), budget.nme_faces - len(nmes)) if nme else 0):
                points, eyes = (batch[key][i].numpy() for key in ("points", "eyes"))
                nmes.append(surface_nme(torch.sigmoid(logits[i]).numpy(), points[::POINT_STEP], eyes))
    return {"iou": ious, "nme": nmes}
