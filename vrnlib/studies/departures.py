"""What the departures of the `laptop` profile from the paper cost or buy (listed in results/DEVIATIONS.md).

Each is undone alone, in a network of the laptop's recipe at two thirds of its size and half its width, at the
same number of faces: the schedule and the precision of the paper, its head without refinement, its wiring,
its number of modules and levels; and twice the features, as the paper has twice the laptop's.

    python -m vrnlib.studies departures --out results/studies
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vrnlib import recipe
from vrnlib.networks import VRN
from vrnlib.studies.architecture import train_plain
from vrnlib.studies.arms import Run
from vrnlib.studies.small import Budget, Faces, Say

LAPTOP = {
    **{"modules": 2, "stacks": 2, "levels": 3, "batch_size": 8},
    **{"learning_rate": recipe.LAPTOP["learning_rate"], "faces": 4_096},
}
"""Where the budget differs from that of the other studies: the laptop's recipe, and fewer faces."""


def halved(progress: float) -> float:
    """The schedule of `vrnlib.recipe.LAPTOP` as a factor of its first rate, at a part 0..1 of the run."""
    return recipe.LAPTOP["lr_drop_factor"] ** sum(progress >= d for d in recipe.LAPTOP["lr_drop"])


def paper(progress: float) -> float:
    """The paper's, 1e-4, then 1e-5 after 40 epochs (of 50), as a factor of the laptop's 4e-4."""
    return 0.25 if progress < 0.8 else 0.025


@dataclass(frozen=True)
class Arm:
    """One departure undone.

    Attributes
    ----------
    label : for figures.
    shape : budget -> what changes in the network's architecture.
    schedule : see :func:`vrnlib.studies.small.fit`.
    half : bfloat16 where the processor has it.
    """

    label: str
    shape: Callable[[Budget], dict[str, Any]] = lambda _: {}
    schedule: Callable[[float], float] = halved
    half: bool = True


ARMS: dict[str, Arm] = {
    "baseline": Arm("the laptop's recipe"),
    "schedule": Arm("1e-4, then 1e-5 (D6)", schedule=paper),
    "float32": Arm("float32 (D9)", half=False),
    "no-refine": Arm("no refinement (D11)", lambda _: {"refine": 0}),
    "skip": Arm("released wiring (D5)", lambda _: {"wiring": "skip"}),
    "modules": Arm("one module more a place (D4)", lambda b: {"modules": b.modules + 1}),
    "levels": Arm("one level more (D4)", lambda b: {"levels": b.levels + 1}),
    "features": Arm("twice the features (D4)", lambda b: {"features": 2 * b.features}),
}
LABELS = {name: arm.label for name, arm in ARMS.items()}


def network(budget: Budget, arm: Arm) -> VRN:
    """The network of an arm, with fresh weights."""
    return VRN(**asdict(budget.architecture(**{"refine": 1, **arm.shape(budget)})))


def train_arm(budget: Budget, faces: Faces, say: Say, name: str, seed: int) -> Run:
    """Train one network from one seed and score it."""
    torch.manual_seed(seed)
    arm = ARMS[name]
    how = {"schedule": arm.schedule, "half": arm.half}
    return train_plain(network(budget, arm), budget, faces, say, seed, **how)
