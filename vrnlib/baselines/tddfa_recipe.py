"""What decides a training run of 3DDFA (:mod:`vrnlib.baselines.tddfa_train`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vrnlib.baselines.tddfa_network import ITERATIONS
from vrnlib.checkpoint import State
from vrnlib.errors import VrnError

_WARM_UP = 200  # steps
FIXED = ("size", "widths", "hidden", "cost", "vdc_from", "seed", "batch_size", "iterations", "model")


@dataclass(frozen=True)
class TddfaParams:
    """Everything that decides a run.

    Attributes
    ----------
    size, widths, hidden : see :class:`vrnlib.baselines.tddfa_network.Design`.
    cost : a cost of :mod:`vrnlib.baselines.tddfa_costs`, or ``wpdc-vdc``: WPDC, from `vdc_from` on VDC.
    vdc_from : fraction of the run.
    seed : initial weights, training faces and their order (the VRNs' for 0).
    batch_size : fresh faces a step; with three iterations a step sees three times as many.
    iterations : of the cascade.
    learning_rate : of Adam; warmed up, then a cosine down to 0 at the end of the run.
    max_faces, max_minutes : the end of the run, whichever comes first; minutes add up over interruptions.
    distinct_faces : see only the first so many faces, again and again (a multiple of the batch); 0 is always
        new ones.
    validation_seed, validation_faces : people that are held out, in one pose each, not augmented.
    model : file of the 3DMM; empty is the one of results/.
    keep : folder of drawn batches (:class:`vrnlib.batches.Kept`), empty for none. It changes no result.
    """

    size: int = 96
    widths: tuple[int, ...] = (32, 64, 128, 192)
    hidden: int = 256
    cost: Literal["pdc", "vdc", "wpdc", "wpdc-vdc"] = "wpdc-vdc"
    vdc_from: float = 0.7
    seed: int = 0
    batch_size: int = 16
    iterations: int = ITERATIONS
    learning_rate: float = 1e-3
    max_faces: int = 204_800
    max_minutes: float | None = None
    distinct_faces: int = 0
    validation_seed: int = 1_000_003
    validation_faces: int = 64
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    model: str = ""
    keep: str = ""
    threads: int | None = 1
    log_steps: int = 50
    validate_minutes: float = 5.0
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "iterations",
            "max_faces",
            "learning_rate",
            "validation_faces",
            "log_steps",
        ):
            if not getattr(self, name) > 0:
                raise VrnError(f"3DDFA training: {name} = {getattr(self, name)}, it must be positive")

        if self.distinct_faces < 0 or self.distinct_faces % self.batch_size:
            raise VrnError(f"3DDFA training: distinct_faces must be a multiple of {self.batch_size}")

    def progress(self, state: State) -> float:
        """How much of the run is done, 0..1."""
        spent = state.seconds / 60 / self.max_minutes if self.max_minutes else 0.0
        return min(1.0, max(state.position / self.max_faces, spent))

    def rate(self, state: State) -> float:
        """Learning rate of the next step."""
        warm = min(1.0, (state.step + 1) / _WARM_UP)
        return self.learning_rate * warm * 0.5 * (1 + float(np.cos(np.pi * self.progress(state))))

    def cost_at(self, state: State) -> str:
        """Name of the cost of the next step."""
        if self.cost != "wpdc-vdc":
            return self.cost
        return "vdc" if self.progress(state) >= self.vdc_from else "wpdc"

    def iterations_at(self, state: State) -> int:
        """How many iterations of the cascade the next step learns from."""
        return min(self.iterations, 1 + int(self.progress(state) * self.iterations))


def recorded(p: TddfaParams) -> dict[str, Any]:
    """The parameters as they are written: without the folder of kept batches, which changes no result."""
    return asdict(p) | {"keep": ""}


def changes(former: TddfaParams, now: TddfaParams, out: Path) -> dict[str, list[Any]]:
    """What differs: parameter -> [before, now].

    Raises
    ------
    VrnError : one of `FIXED` does.
    """
    before, after = recorded(former), recorded(now)
    changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    for name in FIXED:
        if name in changed:
            a, b = changed[name]
            raise VrnError(f"{out} holds a run with {name} = {a}, not {b}: choose another folder")
    return changed
