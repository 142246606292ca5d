"""Training: the loop, in one process or in many (taught in `notebooks/03_train_vrn`).

Jackson et al. 2017, Sec. 3.5: sigmoid cross-entropy (:mod:`vrnlib.objective`), RMSProp, learning rate 1e-4
and later a tenth of it (:mod:`vrnlib.recipe`). Faces are drawn while we train, so there is no epoch: a run is
a number of faces or of minutes. A run is a folder: `checkpoint.json`, `log.jsonl` and `curves.png` while it
runs (see :mod:`vrnlib.checkpoint`), and at its end `<kind>-<profile>.safetensors`, `params.json`,
`provenance.json` and `metrics.json`; of VRN-Guided also its detector alone, `landmarks-<profile>.safetensors`
(no gradient of the volume reaches it: it learns as if trained by itself), unless that was given. Killed at
any moment, a run goes on from its checkpoint, and with one thread arrives at the very same weights.

    vrn train vrn --profile laptop --out build/my-run --minutes 120
    torchrun --nproc-per-node 4 -m vrnlib train guided --profile paper --recipe paper \
        -p batch_size=24 --out build/guided

With several processes each takes its part of every batch, and gradients are averaged: batch k holds the same
faces whatever their number. Batch normalisation sees the part of its own process, as it did in Torch7's
DataParallelTable (PyTorch's synchronised form exists on GPUs only); the running statistics are those of the
first process. So n processes equal one process with ``accumulate=n``, up to those. Only the first process
writes, and its clock decides.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import typing
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from vrnlib import batches, networks
from vrnlib.checkpoint import (
    Log,
    State,
    has_checkpoint,
    load_checkpoint,
    read_log,
    save_checkpoint,
    stop_signals,
)
from vrnlib.curves import draw_curves
from vrnlib.errors import VrnError
from vrnlib.networks import Network
from vrnlib.objective import inputs, losses, validate
from vrnlib.params import strict
from vrnlib.provenance import collect, read_json, writable_folder, write_json
from vrnlib.recipe import TrainParams, bf16_is_fast, changes, learning_rate, progress, time_left
from vrnlib.training_data import open_data
from vrnlib.weights import read_detector, start_from

__all__ = ["TrainParams", "bf16_is_fast", "learning_rate", "main", "progress", "train"]

Say = Callable[[str], None]


def make_fabric(precision: str) -> Fabric:
    """Fabric for this process: alone, or one of those that torchrun or SLURM started.

    Raises
    ------
    VrnError
        SLURM has given several tasks, and they were not started with srun.
    """
    variables, torchrun = ("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "TORCHELASTIC_RUN_ID" in os.environ
    if not torchrun:
        variables = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE")
    world, local = (int(os.environ.get(name, "1")) for name in variables)
    # inside an allocation, yet not started by srun (or in a job that Lightning takes for a shell), a process
    # would wait for others that nobody starts
    step, job = os.environ.get("SLURM_STEP_ID"), os.environ.get("SLURM_JOB_NAME")
    if world > 1 and not torchrun and (step is None or job in ("bash", "interactive")):
        raise VrnError(
            f"SLURM has {world} tasks for this job, but this process is not one of them: start the training "
            "with srun in a batch script, or with torchrun; for one process unset SLURM_NTASKS"
        )
    nodes = max(1, world // local)
    strategy = "ddp" if world > 1 else "auto"
    fabric = Fabric(devices=local, num_nodes=nodes, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def train(
    params: TrainParams,
    out: str | Path,
    resume: bool = True,
    model: Network | None = None,
    dataset: Any = None,
    validation: Any = None,
    say: Say = print,
) -> dict[str, Any]:
    """Train a network in the folder `out`, or go on with the run that is there.

    Parameters
    ----------
    params : TrainParams
        On resume, what is not in `recipe.FIXED` may differ from before; the log records it as a new phase.
    out : path
        Folder of the run; made if missing. Several processes need to see the same one.
    resume : bool
        Go on if `out` holds a run; if False, such a folder is refused.
    model : Network, optional
        Weights to start from; None is a fresh network. A resumed run has its own.
    dataset, validation : optional
        Map-style data sets of samples (:mod:`vrnlib.databases`); None is what `params.data` names.
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
        `params` does not fit the run in `out` or the number of processes, a file there is damaged, or the
        loss is not a number any more.
    """
    out, p = Path(out), params
    writable_folder(out)
    if p.keep and dataset is not None and not p.data_tag:
        raise VrnError("keep needs to know a data set of your own from others: name it with data_tag")
    version = f"{type(dataset).__name__} {p.data_tag}".strip()  # of a data set that the caller brings
    if dataset is None or validation is None:
        drawn, held, named = open_data(p)
        version = version if dataset is not None else named
        dataset = drawn if dataset is None else dataset
        validation = held if validation is None else validation
    tag = p.data_tag or version
    if p.keep:
        dataset = batches.Kept(dataset, p.keep, [version, *_identity(p), p.size, p.depth, p.seed])
        p = replace(p, keep="")  # a folder of this machine: it has no place in what others read
    if p.threads:
        torch.set_num_threads(p.threads)
    precision = p.precision if p.precision != "auto" else "bf16-mixed" if bf16_is_fast() else "32-true"
    fabric = make_fabric(precision)
    chief, rank, processes = fabric.is_global_zero, fabric.global_rank, fabric.world_size
    share = p.share(processes)
    say = say if chief else _silent
    torch.manual_seed(p.seed)
    model = model or networks.build(p.architecture)
    model = model.to(memory_format=torch.channels_last).train()
    detector, of_detector = read_detector(p.detector, model) if p.detector else ({}, {})
    fixed = isinstance(model, networks.Guided) and bool(detector)
    if fixed:
        model.fix_detector(detector)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=p.learning_rate, alpha=0.99, eps=1e-8)  # Torch7's
    network, tuned = fabric.setup(model, optimiser)
    network.mark_forward_method("heads")  # Fabric shall treat it as it does forward

    state, changed, resuming = State(), {}, has_checkpoint(out)
    if resuming:
        if not resume:
            raise VrnError(f"{out} already holds a run: choose a new folder, or let it resume")
        former, state = load_checkpoint(out, model, optimiser)
        if fixed:
            model.fix_detector(detector)  # the checkpoint may have a former one
        changed = changes(strict(TrainParams, former, f"{out}/checkpoint.json"), p, out)
        if progress(p, state) >= 1 and (out / "metrics.json").exists():
            say(f"{out}: this run is finished")
            return read_json(out / "metrics.json")
    fabric.barrier()  # every process has looked into the folder before the first one changes it
    say(
        f"{'resuming' if resuming else 'training'} {p.kind} {p.profile} in {out}: "
        f"{networks.parameter_count(model):,} parameters, {precision}, "
        f"{f'{processes} processes, ' if processes > 1 else ''}{torch.get_num_threads()} threads, "
        f"{p.workers} workers, step {state.step}"
    )
    for name, (before, now) in changed.items():
        say(f"{name} is {now} from here on, it was {before}")

    with ExitStack() as context:
        stop, log, held_out = context.enter_context(stop_signals()), None, []
        if chief:
            (out / "metrics.json").unlink(missing_ok=True)  # it says that a run is complete
            log = context.enter_context(closing(Log(out / "log.jsonl", state, tag, resuming)))
            held_out = batches.first(validation, p.validation_faces, share, p.workers)
            if changed or not resuming:
                log.write("phase", changed=changed)
        stream = batches.endless(dataset, p.seed, state.position, p.batch_size, p.workers, (rank, processes))
        context.enter_context(closing(stream))
        start = time.monotonic() - state.seconds
        last_validation = last_checkpoint = state.seconds
        recent: list[float] = []  # losses, and the rest, since the last row of the log
        parts: dict[str, float] = {}
        spent, waiting, rate, scores = 0.0, 0.0, 0.0, {}

        def report() -> None:
            mean, speed = float(np.mean(recent)), len(recent) * p.batch_size / spent
            heads = {f"loss_{k}": v / len(recent) for k, v in parts.items()} if len(parts) > 1 else {}
            work = {"faces_per_second": speed, "waiting": waiting / spent}
            log.write("train", loss=mean, **heads, **work, learning_rate=rate)
            say(
                f"step {state.step:6d}  {state.position:9,d} faces  loss {mean:.4f}  "
                f"{speed:5.1f} faces/s  lr {rate:.0e}  {time_left(p, state, speed)} left"
            )

        def held_out_scores() -> dict[str, float | None]:
            scores = validate(model, held_out, p.nme_faces, fabric.autocast)
            state.note(scores)
            log.write("validate", **scores)
            draw_curves(read_log(out / "log.jsonl"), out / "curves.png", f"{out.name}: {p.kind} {p.profile}")
            shown = "  ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in scores.items() if v is not None)
            say(f"step {state.step:6d}  held-out {shown}")
            return scores

        done, stopping = progress(p, state) >= 1, False
        while not (done or stopping):
            rate = learning_rate(p, state)
            for group in optimiser.param_groups:
                group["lr"] = rate
            began = time.monotonic()
            batch = next(stream)
            waiting += time.monotonic() - began
            loss = 0.0
            tuned.zero_grad()
            pieces = _pieces(inputs(batch, model.architecture, fabric.device), p.accumulate)
            for number, (image, volume, landmarks) in enumerate(pieces, 1):
                with fabric.no_backward_sync(network, enabled=number < p.accumulate):
                    each = losses(
                        network, model.architecture, image, volume, landmarks, fabric.autocast, p.guidance
                    )
                    total = sum(each.values()) / p.accumulate
                    fabric.backward(total)
                loss += total.item()
                for name, value in each.items():
                    parts[name] = parts.get(name, 0.0) + value.item() / p.accumulate
            loss, seconds, stopping = _agree(fabric, loss, time.monotonic() - start, stop.is_set())
            if not np.isfinite(loss):
                kept = f"the last good checkpoint in {out} is kept: resume"
                kept = kept if has_checkpoint(out) else "nothing was saved yet: start again"
                raise VrnError(
                    f"the loss became {loss} at step {state.step + 1}; {kept} with a lower learning rate"
                )
            tuned.step()
            recent.append(loss)
            state.step += 1
            state.position += p.batch_size
            state.seconds = seconds
            done = progress(p, state) >= 1
            spent += time.monotonic() - began
            if not chief:
                continue
            if state.step % p.log_steps == 0:
                report()
                recent, parts, spent, waiting = [], {}, 0.0, 0.0
            if state.seconds - last_validation >= p.validate_minutes * 60 and not done:
                held_out_scores()
                last_validation = time.monotonic() - start  # after it, or a slow one never ends
            if state.seconds - last_checkpoint >= p.checkpoint_minutes * 60:
                save_checkpoint(out, asdict(p), model, optimiser, state)
                last_checkpoint = state.seconds
        if chief:
            if recent:
                report()
            if done:
                scores = held_out_scores()
            else:
                log.write("stop")
            state.seconds = time.monotonic() - start
            save_checkpoint(out, asdict(p), model, optimiser, state)
    numbers = {"step": state.step, "faces": state.position, "minutes": state.seconds / 60}
    if not done:
        say(f"stopped at step {state.step} in {out}: the same command goes on from there")
    if not (done and chief):
        return {"finished": done, **numbers}

    # What others read. metrics.json comes last: it says that the rest is complete.
    identity = {"profile": p.profile, "size": p.size, "run": out.name, "data": tag}
    meta = {**identity, **numbers, "validation": scores}
    meta |= {"detector": of_detector} if fixed else {}
    exported = networks.save(model, out / f"{p.kind}-{p.profile}.safetensors", meta, half=True)
    if isinstance(model, networks.Guided) and not fixed:
        networks.save(model.landmarks, out / f"landmarks-{p.profile}.safetensors", meta, half=True)
    write_json(out / "params.json", asdict(p))
    seeds = {"seed": p.seed, "validation_seed": p.validation_seed}
    write_json(out / "provenance.json", collect(p, seeds, [exported], state.seconds))
    best = {"best_iou": state.best_iou, "best_landmark_error": state.best_landmark_error}
    summary = {"validation": scores, **best, "data": tag, "precision": precision, "processes": processes}
    metrics = {"finished": True, **numbers, **summary}
    write_json(out / "metrics.json", metrics)
    say(f"finished after {state.position:,} faces: {exported}")
    return metrics


def _identity(p: TrainParams) -> list[str]:
    # Which faces the parameters choose, for batches that are kept.
    left_out = Path(p.exclude).read_text(encoding="utf-8") if p.exclude else ""
    return [p.data, p.bfm, left_out]


def _pieces(tensors: tuple[Tensor | None, ...], count: int) -> list[tuple[Any, ...]]:
    # A batch in `count` equal pieces.
    cut = [[None] * count if t is None else t.chunk(count) for t in tensors]
    return list(zip(*cut, strict=True))


def _agree(fabric: Fabric, loss: float, seconds: float, stop: bool) -> tuple[float, float, bool]:
    # What all processes must see alike, or they part ways: the mean loss, the first one's clock, whether any
    # was asked to stop.
    if fabric.world_size == 1:
        return loss, seconds, stop
    clock = seconds if fabric.is_global_zero else 0.0
    mine = torch.tensor([loss / fabric.world_size, clock, float(stop)], dtype=torch.float64)
    loss, seconds, asked = fabric.all_reduce(mine.to(fabric.device), reduce_op="sum").tolist()
    return loss, seconds, asked > 0


def _silent(_: str) -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """``python -m vrnlib.train``: every field of `TrainParams` is an option, as in ``--max-minutes 120``;
    ``vrn train`` is the same with fewer words. Returns the exit code.
    """
    about = "Train a network on faces drawn on the fly; the same command again goes on where it stopped."
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
        model = start_from(weights, params.architecture) if weights else None
        train(params, out, resume=not new, model=model, say=lambda line: print(line, flush=True))
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
