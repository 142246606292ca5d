"""What a training run keeps on disk: checkpoint, log; and the signals that ask it to stop.

A run is a folder. `checkpoint.json` names the files of the newest complete checkpoint and is replaced last,
in one step, so that there is always one that is whole. `log.jsonl` grows by a row at a time; on resume, the
rows that are newer than the checkpoint are dropped, since their steps will be taken again.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from vrnlib import networks
from vrnlib.errors import VrnError
from vrnlib.networks import Network
from vrnlib.params import strict
from vrnlib.provenance import read_json, replacing, write_json
from vrnlib.weights import transfer

MANIFEST = "checkpoint.json"


@dataclass
class State:
    """Where a run is.

    Attributes
    ----------
    step : int
        Updates so far.
    position : int
        Faces seen so far = number of the next one in the data order.
    seconds : float
        Time spent so far, validation included, interruptions not.
    best_iou : float
        Best held-out IoU so far; 0 of a network without a volume.
    best_landmark_error : float, optional
        Smallest held-out landmark error so far; None of a network without heat-maps.
    """

    step: int = 0
    position: int = 0
    seconds: float = 0.0
    best_iou: float = 0.0
    best_landmark_error: float | None = None

    def note(self, scores: dict[str, float | None]) -> None:
        """Keep the best of a validation's scores."""
        self.best_iou = max(self.best_iou, scores.get("iou") or 0.0)
        error = scores.get("landmark_error")
        if error is not None:
            former = self.best_landmark_error
            self.best_landmark_error = error if former is None else min(error, former)


def has_checkpoint(out: Path) -> bool:
    """Whether the folder `out` holds a run."""
    return (out / MANIFEST).exists()


def save_checkpoint(
    out: Path, params: dict[str, Any], model: Network, optimiser: torch.optim.Optimizer, state: State
) -> None:
    """Write the whole state of a run. The former checkpoint is valid until the new one is, then it is
    removed.

    Raises
    ------
    VrnError
        A weight is not finite (the former checkpoint stays), or the folder cannot be written to.
    """
    try:
        _write(out, params, model, optimiser, state)
    except OSError as error:
        raise VrnError(
            f"cannot write the checkpoint to {out} ({error.strerror or error}): make room there and give the "
            "same command again; the former checkpoint is kept"
        ) from error


def _write(
    out: Path, params: dict[str, Any], model: Network, optimiser: torch.optim.Optimizer, state: State
) -> None:
    folder = out / "checkpoint"
    files = {part: f"{part}-{state.step:07d}.safetensors" for part in ("model", "optimiser")}
    meta = {"profile": params["profile"], "size": params["size"], "run": out.name, "step": state.step}
    networks.save(model, folder / files["model"], meta)
    slots = optimiser.state_dict()["state"]
    tensors = {f"{i}.{key}": value.contiguous() for i, slot in slots.items() for key, value in slot.items()}
    with replacing(folder / files["optimiser"]) as temporary:
        temporary.write_bytes(to_bytes({**tensors, "torch_rng": torch.get_rng_state()}))
    write_json(out / MANIFEST, {"params": params, "state": asdict(state), "files": files})
    for file in folder.iterdir():
        if file.name not in files.values():
            file.unlink(missing_ok=True)


def load_checkpoint(
    out: Path, model: Network, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], State]:
    """Put the checkpoint of the run in `out` into `model` and `optimiser`; return the run's parameters and
    state.

    The `model` may have a refinement that the checkpoint lacks: it starts at zero.

    Raises
    ------
    VrnError
        A file is missing or damaged, or the run has another network.
    """
    manifest = out / MANIFEST
    content = read_json(manifest)
    try:
        params, state = dict(content["params"]), strict(State, content["state"], str(manifest))
        files = {part: out / "checkpoint" / content["files"][part] for part in ("model", "optimiser")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VrnError(f"{manifest} is damaged ({error!r}): start a new run elsewhere") from None
    saved, _ = networks.load(files["model"])
    try:
        transfer(saved, model)
    except VrnError as error:
        raise VrnError(f"{out} holds a run of another network: {error}; choose another folder") from None
    numbers = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    names = [name for name, _ in saved.named_parameters()]
    try:
        with safe_open(files["optimiser"], framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
        torch.set_rng_state(tensors.pop("torch_rng"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".")
            # the parameters are channels-last: arithmetic between two memory orders is slow
            order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
            slots.setdefault(numbers[names[int(index)]], {})[key] = value.contiguous(memory_format=order)
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    except (SafetensorError, OSError, KeyError, IndexError, ValueError) as error:
        raise VrnError(f"{files['optimiser']} is damaged ({error}): start a new run elsewhere") from None
    return params, state


class Log:
    """`log.jsonl` of a run: one JSON object a line, written out at once. See `read_log` for the rows."""

    def __init__(self, path: Path, state: State, data: str, resuming: bool) -> None:
        self.path, self.state, self.data = path, state, data
        rows = read_log(path) if resuming and path.exists() else []
        lines = [json.dumps(row) + "\n" for row in rows if row["step"] <= state.step]
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        self.file = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        """Append a row: the event, where the run is, `values`, the data's version, the time of day."""
        step, faces, minutes = self.state.step, self.state.position, round(self.state.seconds / 60, 3)
        row = {"event": event, "step": step, "faces": faces, "minutes": minutes, **values, "data": self.data}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.file.write(json.dumps({**row, "time": now}) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl`, for figures; a last line cut short by a crash is left out.

    Each row has `event`, `step`, `faces`, `minutes`, `data` and `time` (UTC), and by event:

    ======== ===============================================================================================
    phase    `changed`: parameter -> [before, now]; empty at the beginning
    train    `loss` (mean since the former row; with two heads also `loss_volume`, `loss_heatmaps`, of the
             first process), `faces_per_second`, `waiting` (share of the time spent waiting for data),
             `learning_rate`
    validate what :func:`vrnlib.objective.validate` returns: `loss`, `iou`, `nme`, `landmark_error`
    stop     nothing more: a signal ended this session
    ======== ===============================================================================================
    """
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def data_shown(log: Sequence[Mapping[str, Any]]) -> str:
    """What data a run was shown, from its log: ``synth-lp-1 for 102,264 faces, then synth-lp-2``."""
    until: dict[str, int] = {}
    for row in log:
        if row["event"] == "train":
            until[row["data"]] = row["faces"]
    *former, last = until or ["nothing"]
    return "".join(f"{name} for {until[name]:,} faces, then " for name in former) + last


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM set the event instead of ending the process; a second signal acts as ever.

    Outside of the main thread, where Python cannot listen to signals, the event is never set.
    """
    event, former = threading.Event(), {}

    def stop(number: int, _: Any) -> None:
        event.set()
        signal.signal(number, former[number])

    if threading.current_thread() is threading.main_thread():
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in former:
            signal.signal(number, stop)
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
