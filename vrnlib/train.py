"""Training: the loss, the data order, the loop, exact resume (taught in `notebooks/03_train_vrn`).

Jackson et al. 2017, Sec. 3.5: sigmoid cross-entropy over all voxels (Eq. 1), RMSProp, learning rate 1e-4 and a tenth of it later.
Faces are drawn while we train, so there is no epoch: a run is a number of faces or of minutes.

A run is a folder. `checkpoint.json` names the newest complete checkpoint and is replaced last, so a run killed at any moment goes
on where it was, and with one thread arrives at bit-identical weights. `log.jsonl` has a row per `log_steps` steps; rows newer than
the checkpoint are dropped on resume. The finished run adds `vrn-<profile>.safetensors`, `metrics.json`, `params.json` and
`provenance.json`.

    python -m vrnlib.train --profile laptop --out results/runs/vrn-laptop --max-minutes 120
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vrnlib import networks
from vrnlib.errors import VrnError
from vrnlib.networks import VRN
from vrnlib.params import Wiring, profile, strict
from vrnlib.provenance import collect, read_json, replacing, write_json

SHUFFLE = 3072
"""Samples are shuffled within blocks of so many: consecutive ones show one person, a batch should show many."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainParams:
    """Everything that decides a run. Build it with `TrainParams.of` (a profile and what differs from it).

    Attributes
    ----------
    profile ... batch_size : the fields of :class:`vrnlib.params.Profile`.
    seed : initial weights, training faces and their order.
    validation_seed, validation_faces : another seed's faces, without augmentation, always the same ones.
    learning_rate : RMSProp's step (the paper's 1e-4).
    lr_drop, lr_drop_factor : when to multiply it, and by what: fractions of the run if <= 1, else numbers of faces.
    max_faces, max_minutes : the end of the run, whichever comes first; None is no limit. Minutes add up over interruptions.
    precision : "auto" is bf16-mixed where the processor computes in bfloat16, 32-true elsewhere (there bf16 is ten times slower).
    workers : processes that draw faces; their number does not change the result. 0 draws in the training process.
    threads : of the training process; None leaves PyTorch's choice. Bit-exact repetition is certain with 1 only.
    log_steps, validate_minutes, checkpoint_minutes : how often.
    data_tag : names the data in the log; empty is the data's own version.
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
        """The parameters of the profile called `name`, with `changes`; VrnError on an unknown name or a wrong type."""
        values = asdict(profile(name))
        return strict(cls, {"profile": values.pop("name"), **values, **changes}, "training parameters")

    def __post_init__(self) -> None:
        if self.max_faces is None and self.max_minutes is None:
            raise VrnError("training parameters: set max_faces or max_minutes, or the run has no end")
        positive = ("batch_size", "learning_rate", "log_steps", "validate_minutes", "checkpoint_minutes", "validation_faces")
        wrong = [f"{name} = {getattr(self, name)}" for name in positive if not getattr(self, name) > 0]
        wrong += [f"{name} = {getattr(self, name)}" for name in ("seed", "validation_seed", "workers") if getattr(self, name) < 0]
        if wrong:
            raise VrnError(f"training parameters: {', '.join(wrong)}: must be positive")


# ---- loss -----------------------------------------------------------------------------------------------------------


def voxel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Sigmoid cross-entropy (Eq. 1), as the mean over voxels; the plain form of `slices_loss`.

    The paper's sum is the mean times the number of voxels. RMSProp divides each gradient by its own running size, so a constant
    factor in the loss changes nothing but the weight of its epsilon; the mean is comparable between profiles.

    Parameters
    ----------
    logits : (N, D, H, W) float, before the sigmoid.
    target : (N, D, H, W) uint8, 0 or 1.

    Returns
    -------
    () float32 tensor.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def slices_loss(slices: Tensor, target: Tensor) -> Tensor:
    """``voxel_loss(enlarge(slices), target)`` and its gradient, four times faster on a CPU.

    At full size the loss touches a million voxels a face, ten times over in the plain form, and that took a third of a training
    step. Here one face at a time is enlarged, compared and reduced, so that it stays in the processor's cache, and the gradient,
    which is ``sigmoid(logit) - target`` per voxel, is computed on the way.

    Parameters
    ----------
    slices : (N, D, H/4, W/4) float, the output of `VRN.slices`.
    target : (N, D, H, W) uint8, 0 or 1.
    """
    return _SlicesLoss.apply(slices, target)


class _SlicesLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slices: Tensor, target: Tensor) -> Tensor:
        gradient, total = torch.empty_like(slices, dtype=torch.float32), torch.zeros((), device=slices.device)
        for one, wanted, into in zip(slices.float().split(1), target.split(1), gradient.split(1), strict=True):
            logits, wanted = networks.enlarge(one), wanted.float()  # (1, D, H, W)
            # -log(sigmoid(x)) is softplus(x) - x and -log(1 - sigmoid(x)) is softplus(x)
            total += F.softplus(logits).sum() - (logits * wanted).sum()
            error = torch.sigmoid_(logits).sub_(wanted)
            into.copy_(torch.ops.aten.upsample_bilinear2d_backward(error, error.shape[2:], one.shape, True))
        ctx.save_for_backward(gradient.div_(target.numel()).to(slices.dtype))
        return total / target.numel()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.saved_tensors[0] * outer, None


def iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union at probability 0.5 of each face: (N, D, H, W) logits and 0/1 targets -> (N,) float."""
    p, t = logits.flatten(1) > 0, target.flatten(1) > 0
    return (p & t).sum(1) / (p | t).sum(1).clamp(min=1)


# ---- data -----------------------------------------------------------------------------------------------------------


class Order:
    """Endless batches of sample numbers, a pure function of (seed, position): blocks of `SHUFFLE` numbers, each in random order."""

    def __init__(self, seed: int, start: int, batch_size: int) -> None:
        self.seed, self.start, self.batch_size = seed, start, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        position, block, order = self.start, -1, np.empty(0, np.int64)
        while True:
            batch = []
            for position in range(position, position + self.batch_size):
                if position // SHUFFLE != block:
                    block = position // SHUFFLE
                    order = block * SHUFFLE + np.random.default_rng((self.seed, block)).permutation(SHUFFLE)
                batch.append(int(order[position % SHUFFLE]))
            position += 1
            yield batch


def pack(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Samples -> one batch, made in the worker: image (N, S, S, 3) uint8, volume (N, S, S, ceil(D / 8)) uint8 bits along depth.

    Bits are an eighth of what has to go through shared memory, which is small on some machines.
    """
    volumes = np.stack([s["volume"].transpose(1, 2, 0) for s in samples])
    images = np.stack([s["image"] for s in samples])
    return {"image": torch.from_numpy(images), "volume": torch.from_numpy(np.packbits(volumes, axis=-1))}


def unpack(batch: Mapping[str, Tensor], depth: int) -> tuple[Tensor, Tensor]:
    """A batch of `pack` -> image (N, 3, S, S) float32 0..1 and volume (N, D, S, S) uint8 0/1, both in channels-last memory."""
    volume = np.unpackbits(batch["volume"].numpy(), axis=-1, count=depth)
    return batch["image"].permute(0, 3, 1, 2).float() / 255, torch.from_numpy(volume).permute(0, 3, 1, 2)


def _quiet_worker(_: int) -> None:
    # One thread each (the network needs the cores), and signals are the parent's business: it checkpoints, then ends the workers.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


# ---- state ----------------------------------------------------------------------------------------------------------


@dataclass
class State:
    """Where a run is: `position` is the number of the next sample in the data order, `seconds` the time spent so far."""

    step: int = 0
    position: int = 0
    seconds: float = 0.0
    best_iou: float = 0.0


def save_checkpoint(out: Path, params: TrainParams, model: VRN, optimiser: torch.optim.Optimizer, state: State) -> None:
    """Write the whole state of a run; the former checkpoint stays valid until the last instruction, then it is removed."""
    names = {"model": f"model-{state.step:07d}.safetensors", "optimiser": f"optimiser-{state.step:07d}.safetensors"}
    folder = out / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    networks.save(model, folder / names["model"], {"profile": params.profile, "size": params.size, "step": state.step})
    slots = optimiser.state_dict()["state"]
    tensors = {f"{i}.{k}": v.contiguous() for i, slot in slots.items() for k, v in slot.items()}
    with replacing(folder / names["optimiser"]) as temporary:
        save_file({**tensors, "torch_rng": torch.get_rng_state()}, temporary)
    write_json(out / "checkpoint.json", {"params": asdict(params), "state": asdict(state), "files": names})
    for file in folder.iterdir():
        if file.name not in names.values():
            file.unlink(missing_ok=True)


def load_checkpoint(out: Path, model: VRN, optimiser: torch.optim.Optimizer) -> tuple[TrainParams, State]:
    """Put the newest checkpoint of the run in `out` into `model` and `optimiser`; VrnError if it is damaged or of another network."""
    manifest = out / "checkpoint.json"
    content = read_json(manifest)
    try:
        params = strict(TrainParams, content["params"], str(manifest))
        state = strict(State, content["state"], str(manifest))
        files = {key: out / "checkpoint" / content["files"][key] for key in ("model", "optimiser")}
    except (KeyError, TypeError) as error:
        raise VrnError(f"{manifest} is damaged ({error!r}): choose a new folder for a new run") from None
    saved, _ = networks.load(files["model"])
    if saved.architecture != model.architecture:
        raise VrnError(f"{out} holds a run of another network ({saved.architecture}): choose a new folder for {model.architecture}")
    model.load_state_dict(saved.state_dict())
    try:
        with safe_open(files["optimiser"], framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        torch.set_rng_state(tensors.pop("torch_rng"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".")
            slots.setdefault(int(index), {})[key] = _channels_last(value)
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise VrnError(f"{files['optimiser']} is damaged ({error}): choose a new folder for a new run") from None
    return params, state


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


class Log:
    """`log.jsonl`: one JSON object a line, flushed at once; on resume, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        rows = read_log(path) if path.exists() else []
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step), encoding="utf-8")
        self.file: TextIO = path.open("a", encoding="utf-8")

    def write(self, event: str, **row: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.file.write(json.dumps({"event": event, **row, "time": now}) + "\n")
        self.file.flush()


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl`; a last line cut short by a crash is left out.

    Each row has `event` (phase, train, validate, stop), `step`, `faces`, `minutes` and `time`; train rows `loss` (mean since the
    former row), `faces_per_second`, `waiting` (share of the time spent waiting for data), `learning_rate`, `data`; validate rows
    `loss` and `iou`; phase rows `changed` (parameter -> [old, new]).
    """
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    # The first SIGINT or SIGTERM sets the event; a second one does what it always did. Only the main thread may listen.
    event, former = threading.Event(), {}

    def stop(number: int, _: Any) -> None:
        event.set()
        signal.signal(number, former[number])

    if threading.current_thread() is threading.main_thread():
        former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


# ---- the loop -------------------------------------------------------------------------------------------------------


def bf16_is_fast() -> bool:
    """Whether this processor multiplies in bfloat16 (AVX512-BF16 or AMX), or a GPU does."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def progress_of(params: TrainParams, state: State) -> float:
    """How much of the run is done, 0..1."""
    parts = [state.position / params.max_faces] if params.max_faces else []
    parts += [state.seconds / 60 / params.max_minutes] if params.max_minutes else []
    return max(parts)


def learning_rate(params: TrainParams, state: State) -> float:
    """The step schedule: `lr_drop_factor` for each entry of `lr_drop` that lies behind us."""
    done = progress_of(params, state)
    drops = sum((done if at <= 1 else state.position) >= at for at in params.lr_drop)
    return params.learning_rate * params.lr_drop_factor**drops


def validate(model: nn.Module, batches: list[dict[str, Tensor]], depth: int) -> dict[str, float]:
    """Mean loss and mean IoU over the held-out faces; the model is left in training mode."""
    model.eval()
    losses, scores = [], []
    with torch.no_grad():
        for batch in batches:
            image, volume = unpack(batch, depth)
            logits = model(image)
            losses.append(voxel_loss(logits, volume).item() * len(image))
            scores.append(iou(logits, volume))
    model.train()
    score = torch.cat(scores)
    return {"loss": sum(losses) / len(score), "iou": score.mean().item()}


def train(
    params: TrainParams,
    out: str | Path,
    resume: bool = True,
    model: VRN | None = None,
    dataset: Any = None,
    validation: Any = None,
    say: Progress = print,
) -> dict[str, Any]:
    """Train a VRN in the folder `out`, or go on with the run that is there.

    Parameters
    ----------
    params : the run. On resume anything but the architecture, the size and the seed may differ from before: it is logged.
    out : folder of the run.
    resume : go on if `out` holds a run; if False, such a folder is refused.
    model : a network to start from (weights of another run); None is a fresh one.
    dataset, validation : map-style data sets of samples as in :mod:`vrnlib.databases`; None is `synth-lp`.
    say : where progress lines go.

    Returns
    -------
    The contents of `metrics.json`; `finished` is False if a signal ended the run early (then nothing is exported).

    Raises
    ------
    VrnError : the parameters do not fit the run in `out`, a file is damaged, or the loss is not a number.
    """
    out = Path(out)
    if params.threads:
        torch.set_num_threads(params.threads)
    if dataset is None or validation is None:
        from vrnlib.databases import DATA_VERSION, SynthLP

        dataset = dataset or SynthLP(params.size, params.depth, seed=params.seed)
        validation = validation or SynthLP(params.size, params.depth, seed=params.validation_seed, augment=False)
        tag = params.data_tag or DATA_VERSION
    else:
        tag = params.data_tag or type(dataset).__name__
    precision = params.precision if params.precision != "auto" else ("bf16-mixed" if bf16_is_fast() else "32-true")

    torch.manual_seed(params.seed)
    p = params
    model = model or VRN(p.features, p.modules, p.stacks, p.levels, p.depth, p.wiring)
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=params.learning_rate, alpha=0.99, eps=1e-8)  # Torch7's defaults
    state, former = State(), None
    if (out / "checkpoint.json").exists():
        if not resume:
            raise VrnError(f"{out} already holds a run: choose a new folder, or let it resume")
        former, state = load_checkpoint(out, model, optimiser)
    changed = _changes(former, params, out)
    log = Log(out / "log.jsonl", state.step if former else -1)
    if changed or former is None:
        log.write("phase", step=state.step, faces=state.position, minutes=state.seconds / 60, changed=changed, data=tag)

    # Workers are forked before the first computation: a fork does not copy the threads that PyTorch starts then.
    workers = {"num_workers": params.workers, "collate_fn": pack, "worker_init_fn": _quiet_worker}
    n, size = params.validation_faces, params.batch_size
    held_out = list(DataLoader(validation, batch_sampler=[range(i, min(i + size, n)) for i in range(0, n, size)], **workers))
    loader = iter(DataLoader(dataset, batch_sampler=Order(params.seed, state.position, size), **workers))  # type: ignore[arg-type]
    fabric = Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    network, tuned = fabric.setup(model, optimiser)
    network.mark_forward_method("slices")

    say(f"{'resuming' if former else 'training'} {params.profile}: {networks.parameter_count(model):,} parameters, "
        f"{precision}, {torch.get_num_threads()} threads, {params.workers} workers, step {state.step}")  # fmt: skip
    clock = last = time.monotonic() - state.seconds
    last_validation = last_checkpoint = state.seconds
    window_start, window_losses, waiting, scores = state.seconds, [], 0.0, {}
    with _stop_signals() as stop:
        while progress_of(params, state) < 1 and not stop.is_set():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(params, state)
            last = time.monotonic()
            image, volume = unpack(next(loader), params.depth)
            waiting += time.monotonic() - last
            loss = slices_loss(network.slices(fabric.to_device(image)), fabric.to_device(volume))
            value = loss.item()
            if not np.isfinite(value):
                raise VrnError(
                    f"the loss became {value} at step {state.step + 1}; the last good checkpoint in {out} is kept: "
                    "resume with a lower learning rate"
                )
            tuned.zero_grad()
            fabric.backward(loss)
            tuned.step()
            state.step += 1
            state.position += params.batch_size
            state.seconds = time.monotonic() - clock
            window_losses.append(value)
            done = progress_of(params, state) >= 1 or stop.is_set()
            here = {"step": state.step, "faces": state.position, "minutes": round(state.seconds / 60, 3)}
            if state.step % params.log_steps == 0 or done:
                spent = state.seconds - window_start
                speed = len(window_losses) * params.batch_size / spent
                rate = optimiser.param_groups[0]["lr"]
                mean = float(np.mean(window_losses))
                log.write("train", **here, loss=mean, faces_per_second=speed, waiting=waiting / spent, learning_rate=rate, data=tag)
                say(f"step {state.step:6d}  {state.position:9,d} faces  loss {mean:.4f}  {speed:5.1f} faces/s  "
                    f"lr {rate:.0e}  {_left(params, state, speed)}")  # fmt: skip
                window_start, window_losses, waiting = state.seconds, [], 0.0
            if done or state.seconds - last_validation >= params.validate_minutes * 60:
                if not stop.is_set():
                    scores = validate(network, held_out, params.depth)
                    state.best_iou = max(state.best_iou, scores["iou"])
                    log.write("validate", **here, **scores, data=tag)
                    say(f"step {state.step:6d}  held-out loss {scores['loss']:.4f}  IoU {scores['iou']:.4f}")
                state.seconds = time.monotonic() - clock
                last_validation = state.seconds
            if done or state.seconds - last_checkpoint >= params.checkpoint_minutes * 60:
                save_checkpoint(out, params, model, optimiser, state)
                last_checkpoint = state.seconds
        if stop.is_set() and progress_of(params, state) < 1:
            log.write("stop", step=state.step, faces=state.position, minutes=state.seconds / 60)
            say(f"stopped at step {state.step}; the checkpoint is in {out}: the same command goes on from there")
            return {"finished": False, "step": state.step, "faces": state.position, "minutes": state.seconds / 60}
    scores = scores or validate(network, held_out, params.depth)
    return _finish(out, params, model, state, scores, tag, precision, say)


def _finish(
    out: Path, params: TrainParams, model: VRN, state: State, scores: dict[str, float], tag: str, precision: str, say: Progress
) -> dict[str, Any]:
    # The files that others read. metrics.json is last: it says that the rest is complete.
    numbers = {"step": state.step, "faces": state.position, "minutes": state.seconds / 60}
    metrics = {"finished": True, **numbers, "validation": scores, "best_iou": state.best_iou, "data": tag, "precision": precision}
    meta = {"profile": params.profile, "size": params.size, "run": out.name, "data": tag, **numbers, "validation": scores}
    exported = networks.save(model, out / f"vrn-{params.profile}.safetensors", meta, half=True)
    seeds = {"seed": params.seed, "validation_seed": params.validation_seed}
    write_json(out / "params.json", asdict(params))
    write_json(out / "provenance.json", collect(params, seeds, [exported], state.seconds))
    write_json(out / "metrics.json", metrics)
    say(f"finished: {state.position:,} faces in {state.seconds / 60:.1f} min, held-out IoU {scores['iou']:.4f}: {exported}")
    return metrics


def _changes(former: TrainParams | None, params: TrainParams, out: Path) -> dict[str, list[Any]]:
    # What a resumed run does otherwise than before; refuses what would make it another run.
    if former is None:
        return {}
    changed = {f.name: [getattr(former, f.name), getattr(params, f.name)] for f in fields(params)}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    for name in ("profile", "size", "depth", "features", "modules", "stacks", "levels", "wiring", "seed"):
        if name in changed:
            old, new = changed[name]
            raise VrnError(f"{out} holds a run with {name} = {old}, not {new}: choose a new folder for a new run")
    return changed


def _left(params: TrainParams, state: State, speed: float) -> str:
    seconds = [(params.max_faces - state.position) / speed] if params.max_faces else []
    seconds += [params.max_minutes * 60 - state.seconds] if params.max_minutes else []
    minutes, rest = divmod(max(0, round(min(seconds))), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} left"


def main(arguments: list[str] | None = None) -> int:
    """The command line: every field of `TrainParams` is an option, `--max-minutes 120`."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.train", description="Train a VRN on faces drawn on the fly, or go on.")
    parser.add_argument("--profile", default="laptop", help="smoke, laptop or paper")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run; a run that is there goes on")
    parser.add_argument("--new", action="store_true", help="refuse a folder that holds a run")
    parser.add_argument("--weights", type=Path, help="a checkpoint to start from instead of random weights")
    hints = typing.get_type_hints(TrainParams)
    for f in fields(TrainParams):
        if f.name != "profile":
            kind = next((t for t in (int, float, str) if hints[f.name] in (t, t | None)), str)
            many = {"nargs": "*", "type": float} if f.name == "lr_drop" else {"type": kind}
            parser.add_argument("--" + f.name.replace("_", "-"), default=None, **many)  # type: ignore[arg-type]
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
    # Fork-safe and friendly: the workers are niced with us
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    sys.exit(main())
