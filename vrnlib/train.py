"""Training: the parameters, the loss, the loop (taught in `notebooks/03_train_vrn`).

Jackson et al. 2017, Sec. 3.5: sigmoid cross-entropy over all voxels (Eq. 1), RMSProp, learning rate 1e-4 and
later a tenth of it. Faces are drawn while we train, so there is no epoch: a run is a number of faces or of
minutes. A run is a folder: `checkpoint.json` and `log.jsonl` while it runs (see :mod:`vrnlib.checkpoint`),
and at its end `vrn-<profile>.safetensors`, `params.json`, `provenance.json` and `metrics.json`. Killed at any
moment, it goes on from its checkpoint, and with one thread arrives at the very same weights.

    python -m vrnlib.train --profile laptop --out results/runs/vrn-laptop --max-minutes 120
"""

from __future__ import annotations

import argparse
import sys
import time
import typing
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vrnlib import batches, networks
from vrnlib.checkpoint import Log, State, has_checkpoint, load_checkpoint, save_checkpoint, stop_signals
from vrnlib.errors import VrnError
from vrnlib.loss import slices_loss, voxel_loss
from vrnlib.metrics import iou
from vrnlib.networks import VRN
from vrnlib.params import Wiring, profile, strict
from vrnlib.provenance import collect, read_json, write_json

Say = Callable[[str], None]
FIXED = ("profile", "size", "depth", "features", "modules", "stacks", "levels", "wiring", "seed")
"""Parameters that a resumed run must share with its beginning; the others may change from phase to phase."""


@dataclass(frozen=True)
class TrainParams:
    """Everything that decides a run. Build it with `TrainParams.of`: a profile and what differs from it.

    Attributes
    ----------
    profile, size, depth, features, modules, stacks, levels, wiring, batch_size, refine
        The fields of :class:`vrnlib.params.Profile`. A run may go on with `refine` where there was none.
    seed : int
        Initial weights, training faces and their order.
    validation_seed, validation_faces : int
        The held-out faces: always the same ones, of another seed, not augmented.
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
    workers : int
        Processes that draw faces; 0 draws in the training process. Their number changes no result.
    threads : int, optional
        Threads of the training process; None leaves it to PyTorch. Only with 1 is a repetition bit-exact for
        certain. 1 is also faster on a machine with other work: threads wait for each other at every layer.
    log_steps, validate_minutes, checkpoint_minutes
        How often.
    data_tag : str
        Names the data in the log; empty is the data's own version.
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
    seed: int = 0
    validation_seed: int = 1_000_003
    validation_faces: int = 64
    learning_rate: float = 1e-4
    lr_drop: tuple[float, ...] = (0.8,)
    lr_drop_factor: float = 0.1
    max_faces: int | None = None
    max_minutes: float | None = None
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    workers: int = 2
    threads: int | None = None
    log_steps: int = 50
    validate_minutes: float = 10.0
    checkpoint_minutes: float = 3.0
    data_tag: str = ""

    @classmethod
    def of(cls, name: str, **changes: Any) -> TrainParams:
        """The parameters of the profile called `name`, with `changes`.

        Raises
        ------
        VrnError
            Unknown profile or parameter, wrong type, a value that makes no sense.
        """
        values = asdict(profile(name))
        return strict(cls, {"profile": values.pop("name"), **values, **changes}, "training parameters")

    def __post_init__(self) -> None:
        if self.max_faces is None and self.max_minutes is None:
            raise VrnError("training parameters: set max_faces or max_minutes, or the run has no end")
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = [
                n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, (int, float))
            ]
            zero_is_good = field.name in ("seed", "validation_seed", "workers")
            if not all(n > 0 or (n == 0 and zero_is_good) for n in numbers):
                raise VrnError(f"training parameters: {field.name} = {value}, it must be positive")


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


def validate(model: nn.Module, held_out: list[dict[str, Tensor]], depth: int) -> dict[str, float]:
    """Mean `loss` and mean `iou` (at probability 0.5) over the held-out faces; leaves `model` in training
    mode.
    """
    device = next(model.parameters()).device
    model.eval()
    losses, scores = [], []
    with torch.no_grad():
        for batch in held_out:
            image, volume = batches.unpack(batch, depth)
            logits = model(image.to(device)).cpu()
            losses.append(voxel_loss(logits, volume).item() * len(image))
            # a positive logit is a probability above 0.5
            scores += [iou(a, b) for a, b in zip((logits > 0).numpy(), volume.numpy(), strict=True)]
    model.train()
    return {"loss": sum(losses) / len(scores), "iou": float(np.mean(scores))}


def train(
    params: TrainParams,
    out: str | Path,
    resume: bool = True,
    model: VRN | None = None,
    dataset: Any = None,
    validation: Any = None,
    say: Say = print,
) -> dict[str, Any]:
    """Train a VRN in the folder `out`, or go on with the run that is there.

    Parameters
    ----------
    params : TrainParams
        On resume, what is not in `FIXED` may differ from before; the log records it as a new phase.
    out : path
        Folder of the run; made if missing.
    resume : bool
        Go on if `out` holds a run; if False, such a folder is refused.
    model : VRN, optional
        Weights to start from; None is a fresh network. A resumed run has its own.
    dataset, validation : optional
        Map-style data sets of samples (:mod:`vrnlib.databases`); None is `synth-lp`, drawn on the fly.
    say : callable
        Where lines of progress go.

    Returns
    -------
    dict
        The contents of `metrics.json`. If SIGINT or SIGTERM ended the run early, `finished` is False and
        nothing but the checkpoint is written.

    Raises
    ------
    VrnError
        `params` does not fit the run in `out`, a file there is damaged, or the loss is not a number any more.
    """
    out, p = Path(out), params
    tag = p.data_tag or type(dataset).__name__
    if dataset is None or validation is None:
        from vrnlib.databases import DATA_VERSION, SynthLP

        tag = tag if dataset is not None else p.data_tag or DATA_VERSION
        dataset = SynthLP(p.size, p.depth, seed=p.seed) if dataset is None else dataset
        if validation is None:
            validation = SynthLP(p.size, p.depth, seed=p.validation_seed, augment=False)
    if p.threads:
        torch.set_num_threads(p.threads)
    torch.manual_seed(p.seed)
    model = model or VRN(p.features, p.modules, p.stacks, p.levels, p.depth, p.wiring, refine=p.refine)
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=p.learning_rate, alpha=0.99, eps=1e-8)  # Torch7's
    precision = p.precision if p.precision != "auto" else "bf16-mixed" if bf16_is_fast() else "32-true"
    fabric = Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    network, tuned = fabric.setup(model, optimiser)
    network.mark_forward_method("slices")  # Fabric's precision shall apply to it as it does to forward

    state, changed, resuming = State(), {}, has_checkpoint(out)
    if resuming:
        if not resume:
            raise VrnError(f"{out} already holds a run: choose a new folder, or let it resume")
        former, state = load_checkpoint(out, model, optimiser)
        changed = _changes(strict(TrainParams, former, f"{out}/checkpoint.json"), p, out)
        if progress(p, state) >= 1 and not changed and (out / "metrics.json").exists():
            say(f"{out}: this run is finished")
            return read_json(out / "metrics.json")
    (out / "metrics.json").unlink(missing_ok=True)  # it says that a run is complete
    say(
        f"{'resuming' if resuming else 'training'} {p.profile} in {out}: {networks.parameter_count(model):,} "
        f"parameters, {precision}, {torch.get_num_threads()} threads, {p.workers} workers, step {state.step}"
    )

    with stop_signals() as stop, closing(Log(out / "log.jsonl", state, tag, resuming)) as log:
        held_out = batches.first(validation, p.validation_faces, p.batch_size, p.workers)
        stream = batches.endless(dataset, p.seed, state.position, p.batch_size, p.workers)
        if changed or not resuming:
            log.write("phase", changed=changed)
        start = time.monotonic() - state.seconds
        last_validation = last_checkpoint = state.seconds
        losses, spent, waiting = [], 0.0, 0.0  # since the last row of the log
        rate, scores = 0.0, {}

        def report() -> None:
            mean, speed = float(np.mean(losses)), len(losses) * p.batch_size / spent
            work = {"faces_per_second": speed, "waiting": waiting / spent}
            log.write("train", loss=mean, **work, learning_rate=rate)
            say(
                f"step {state.step:6d}  {state.position:9,d} faces  loss {mean:.4f}  "
                f"{speed:5.1f} faces/s  lr {rate:.0e}  {_left(p, state, speed)} left"
            )

        def held_out_scores() -> dict[str, float]:
            scores = validate(network, held_out, p.depth)
            state.best_iou = max(state.best_iou, scores["iou"])
            state.seconds = time.monotonic() - start
            log.write("validate", **scores)
            say(f"step {state.step:6d}  held-out loss {scores['loss']:.4f}  IoU {scores['iou']:.4f}")
            return scores

        while progress(p, state) < 1 and not stop.is_set():
            rate = learning_rate(p, state)
            for group in optimiser.param_groups:
                group["lr"] = rate
            began = time.monotonic()
            image, volume = batches.unpack(next(stream), p.depth)
            waiting += time.monotonic() - began
            loss = slices_loss(network.slices(fabric.to_device(image)), fabric.to_device(volume))
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise VrnError(
                    f"the loss became {losses[-1]} at step {state.step + 1}; the last good checkpoint "
                    f"in {out} is kept: resume with a lower learning rate"
                )
            tuned.zero_grad()
            fabric.backward(loss)
            tuned.step()
            state.step += 1
            state.position += p.batch_size
            state.seconds = time.monotonic() - start
            spent += time.monotonic() - began

            if state.step % p.log_steps == 0:
                report()
                losses, spent, waiting = [], 0.0, 0.0
            if state.seconds - last_validation >= p.validate_minutes * 60 and progress(p, state) < 1:
                held_out_scores()
                last_validation = state.seconds
            if state.seconds - last_checkpoint >= p.checkpoint_minutes * 60:
                save_checkpoint(out, asdict(p), model, optimiser, state)
                last_checkpoint = state.seconds
        if losses:
            report()
        finished = progress(p, state) >= 1
        if finished:
            scores = held_out_scores()
        else:
            log.write("stop")
        save_checkpoint(out, asdict(p), model, optimiser, state)
    numbers = {"step": state.step, "faces": state.position, "minutes": state.seconds / 60}
    if not finished:
        say(f"stopped at step {state.step} in {out}: the same command goes on from there")
        return {"finished": False, **numbers}

    # What others read. metrics.json comes last: it says that the rest is complete.
    identity = {"profile": p.profile, "size": p.size, "run": out.name, "data": tag}
    meta = {**identity, **numbers, "validation": scores}
    exported = networks.save(model, out / f"vrn-{p.profile}.safetensors", meta, half=True)
    write_json(out / "params.json", asdict(p))
    seeds = {"seed": p.seed, "validation_seed": p.validation_seed}
    write_json(out / "provenance.json", collect(p, seeds, [exported], state.seconds))
    summary = {"validation": scores, "best_iou": state.best_iou, "data": tag, "precision": precision}
    metrics = {"finished": True, **numbers, **summary}
    write_json(out / "metrics.json", metrics)
    say(f"finished after {state.position:,} faces, held-out IoU {scores['iou']:.4f}: {exported}")
    return metrics


def _changes(former: TrainParams, params: TrainParams, out: Path) -> dict[str, list[Any]]:
    # What a resumed run does otherwise than before; refuses what would make it another run.
    pairs = {f.name: [getattr(former, f.name), getattr(params, f.name)] for f in fields(params)}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name in FIXED:
        if name in changed:
            old, new = changed[name]
            raise VrnError(f"{out} holds a run with {name} = {old}, not {new}: choose another folder")
    return changed


def _left(params: TrainParams, state: State, speed: float) -> str:
    seconds = [(params.max_faces - state.position) / speed] if params.max_faces else []
    seconds += [params.max_minutes * 60 - state.seconds] if params.max_minutes else []
    minutes, rest = divmod(max(0, round(min(seconds))), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def main(arguments: list[str] | None = None) -> int:
    """The command line: every field of `TrainParams` is an option, as in ``--max-minutes 120``. Returns the
    exit code.
    """
    about = "Train a VRN on faces drawn on the fly; the same command again goes on where it stopped."
    parser = argparse.ArgumentParser(prog="python -m vrnlib.train", description=about)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--new", action="store_true", help="refuse a folder that already holds a run")
    parser.add_argument("--weights", type=Path, help="a network to start from instead of random weights")
    hints = typing.get_type_hints(TrainParams)
    for name in hints.keys() - {"profile"}:
        kind = next((t for t in (int, float) if hints[name] in (t, t | None)), str)
        many = {"nargs": "*", "type": float} if name == "lr_drop" else {"type": kind}
        parser.add_argument("--" + name.replace("_", "-"), **many)  # type: ignore[arg-type]
    given = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    name, out, new, weights = (given.pop(k, None) for k in ("profile", "out", "new", "weights"))
    try:
        params = TrainParams.of(name, **given)
        model = networks.load(weights)[0] if weights else None
        train(params, out, resume=not new, model=model, say=lambda line: print(line, flush=True))
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
