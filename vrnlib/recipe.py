"""What decides a training run: its parameters, the paper's among them, and the schedule (taught in
`notebooks/03_train_vrn`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from vrnlib.checkpoint import State
from vrnlib.errors import VrnError
from vrnlib.networks import Architecture
from vrnlib.objective import Guidance
from vrnlib.params import Kind, Wiring, profile, strict

EPOCH = 61_225
"""Faces of an epoch: the images of 300W-LP, the paper's training set. Drawn faces never repeat, so here it is
only a unit."""

PAPER: dict[str, Any] = {
    "learning_rate": 1e-4,
    "lr_drop": (40 * EPOCH,),
    "lr_drop_factor": 0.1,
    "max_faces": 50 * EPOCH,
    "precision": "32-true",
}
"""The recipe of Jackson et al. 2017, Sec. 3.5: RMSProp, 1e-4, after 40 epochs 1e-5. When the training ended
it does not say: 50 epochs are ours. Its augmentation is `vrnlib.databases.Augmentation`, always."""

LAPTOP: dict[str, Any] = {
    "learning_rate": 4e-4,
    "lr_drop": (0.06, 0.5, 0.7, 0.8, 0.88, 0.94, 0.98),
    "lr_drop_factor": 0.5,
}
"""The recipe of a short run: larger steps, halved at these parts of it, so that it ends at rest."""

FIXED = (
    "kind",
    "data",
    "profile",
    "size",
    "depth",
    "features",
    "modules",
    "stacks",
    "levels",
    "wiring",
    "seed",
)
"""Parameters that a resumed run must share with its beginning; the others may change from phase to phase."""


@dataclass(frozen=True)
class TrainParams:
    """Everything that decides a run. Build it with `TrainParams.of`: a profile and what differs from it.

    Attributes
    ----------
    profile, size, depth, features, modules, stacks, levels, wiring, batch_size, refine
        The fields of :class:`vrnlib.params.Profile`. A run may go on with `refine` where there was none.
        `batch_size` counts the faces of all processes together.
    kind : str
        Which network: vrn, multitask, guided, landmarks (:mod:`vrnlib.networks`).
    data : str
        ``synth-lp``, or a folder: 300W-LP, or shards (:mod:`vrnlib.training_data`).
    validation_data : str
        The same, for the held-out faces.
    bfm, exclude : str
        For 300W-LP: the folder of the model's parts, if they do not lie beside the pictures; a text file that
        names pictures to leave out, one a line.
    seed : int
        Initial weights, training faces and their order.
    validation_seed, validation_faces : int
        The held-out faces: always the same ones, of another seed, not augmented.
    nme_faces : int
        How many of them get an isosurface and an NME as well; 0 none.
    learning_rate : float
        The step of RMSProp; 1e-4 in the paper.
    lr_drop : tuple of float
        When to multiply the learning rate by `lr_drop_factor`: fractions of the run (< 1) or numbers of
        faces.
    max_faces, max_minutes : optional
        The end of the run, whichever comes first. Minutes add up over interruptions.
    precision : str
        ``auto`` is bf16-mixed where the processor multiplies in bfloat16; elsewhere that is several times
        slower than float32, and ``auto`` is 32-true.
    accumulate : int
        Pieces into which each process cuts its share of a batch, to save memory. The gradient is the mean
        over the pieces; batch normalisation sees one piece at a time.
    workers : int
        Processes that draw faces for each training process; 0 draws in the training process. Their number
        changes no result.
    threads : int, optional
        Threads of the training process; None leaves it to PyTorch. Only with 1 is a repetition bit-exact for
        certain. 1 is also faster on a machine with other work: threads wait for each other at every layer.
    log_steps, validate_minutes, checkpoint_minutes
        How often.
    detector : str
        Of VRN-Guided: the file of a landmark network that is its detector, fixed, so that only the volume is
        trained (:mod:`vrnlib.parts`); empty trains both.
    guidance : str
        Of VRN-Guided: ``true`` landmarks guide the volume in training, as in the paper, or ``detected`` ones,
        so that it learns to live with the detector's errors.
    data_tag : str
        Names the data in the log; empty is the data's own version.
    keep : str
        A folder where drawn batches are kept, for other runs on the same faces
        (:class:`vrnlib.batches.Kept`); empty keeps nothing. It changes no result.
    """

    profile: str
    size: int
    depth: int
    features: int
    modules: int
    stacks: int
    levels: int
    wiring: Wiring
    batch_size: int
    refine: int = 0
    kind: Kind = "vrn"
    data: str = "synth-lp"
    validation_data: str = "synth-lp"
    bfm: str = ""
    exclude: str = ""
    seed: int = 0
    validation_seed: int = 1_000_003
    validation_faces: int = 64
    nme_faces: int = 16
    learning_rate: float = 1e-4
    lr_drop: tuple[float, ...] = (0.8,)
    lr_drop_factor: float = 0.1
    max_faces: int | None = None
    max_minutes: float | None = None
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    accumulate: int = 1
    workers: int = 2
    threads: int | None = None
    log_steps: int = 50
    validate_minutes: float = 10.0
    checkpoint_minutes: float = 3.0
    detector: str = ""
    guidance: Guidance = "true"
    data_tag: str = ""
    keep: str = ""

    @classmethod
    def of(cls, name: str, **changes: Any) -> TrainParams:
        """The parameters of the profile called `name`, with `changes`.

        Raises
        ------
        VrnError
            Unknown profile or parameter, wrong type, a value that makes no sense.
        """
        values = asdict(profile(name))
        guided_modules = values.pop("guided_modules")
        if changes.get("kind") in ("guided", "landmarks"):
            values["modules"] = guided_modules
        return strict(cls, {"profile": values.pop("name"), **values, **changes}, "training parameters")

    def __post_init__(self) -> None:
        if self.max_faces is None and self.max_minutes is None:
            raise VrnError("training parameters: set max_faces or max_minutes, or the run has no end")
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = [
                n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, (int, float))
            ]
            zero_is_good = field.name in ("seed", "validation_seed", "workers", "refine", "nme_faces")
            if not all(math.isfinite(n) and (n > 0 or (n == 0 and zero_is_good)) for n in numbers):
                raise VrnError(f"training parameters: {field.name} = {value}, it must be positive and finite")
        if self.detector and self.kind != "guided":
            raise VrnError(f"training parameters: detector is for guided networks, this is {self.kind}")

    @property
    def architecture(self) -> Architecture:
        """The shape of the network."""
        p = self
        return Architecture(
            p.features, p.modules, p.stacks, p.levels, p.depth, p.wiring, refine=p.refine, kind=p.kind
        )

    def share(self, processes: int) -> int:
        """Faces of a batch for each of so many processes.

        Raises
        ------
        VrnError
            The batch cannot be cut evenly.
        """
        pieces = processes * self.accumulate
        if processes < 1:
            raise VrnError(f"a batch needs at least one process, not {processes}")
        if self.batch_size % pieces:
            raise VrnError(
                f"a batch of {self.batch_size} cannot be cut into {pieces} equal pieces ({processes} "
                f"processes, accumulate {self.accumulate}): choose another batch_size"
            )
        return self.batch_size // processes


def bf16_is_fast() -> bool:
    """Whether the graphics card, or else this processor (AVX512-BF16, AMX), multiplies in bfloat16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def progress(params: TrainParams, state: State) -> float:
    """How much of the run is done, 0..1 (or more)."""
    parts = [state.position / params.max_faces] if params.max_faces else []
    parts += [state.seconds / 60 / params.max_minutes] if params.max_minutes else []
    return max(parts)


def learning_rate(params: TrainParams, state: State) -> float:
    """The step schedule: `lr_drop_factor` once for each entry of `lr_drop` that lies behind us."""
    done = progress(params, state)
    drops = sum((done if at < 1 else state.position) >= at for at in params.lr_drop)
    return params.learning_rate * params.lr_drop_factor**drops


def time_left(params: TrainParams, state: State, speed: float) -> str:
    """Hours, minutes and seconds to the end at `speed` faces a second: ``1:02:30``."""
    seconds = [(params.max_faces - state.position) / speed] if params.max_faces else []
    seconds += [params.max_minutes * 60 - state.seconds] if params.max_minutes else []
    minutes, rest = divmod(max(0, round(min(seconds))), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def changes(former: TrainParams, params: TrainParams, out: Path) -> dict[str, list[Any]]:
    """What a resumed run does otherwise than before: parameter -> [before, now].

    Raises
    ------
    VrnError
        It would be another run: something of `FIXED` differs.
    """
    pairs = {f.name: [getattr(former, f.name), getattr(params, f.name)] for f in fields(params)}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name in FIXED:
        if name in changed:
            old, new = changed[name]
            raise VrnError(f"{out} holds a run with {name} = {old}, not {new}: choose another folder")
    return changed
