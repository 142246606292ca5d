"""What a training run will cost, before it is started: operations, memory, and time measured here.

Operations and memory come from one training step on PyTorch's "meta" device, which counts without computing;
the time from a few real steps on the device that would train.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vrnlib import networks
from vrnlib.objective import losses
from vrnlib.recipe import EPOCH, TrainParams, bf16_is_fast
from vrnlib.weights import read_detector


@dataclass(frozen=True)
class Cost:
    """The cost of training.

    Attributes
    ----------
    parameters : int
    forward, step : float
        Operations (a multiplication and an addition are two) a face: prediction; forward and backward.
    state_bytes : int
        Weights, gradients and RMSProp's averages, float32: what every process holds, whatever its batch.
    face_bytes : int
        What the forward pass keeps for the backward pass, for one face more in a piece of a batch, float32.
    faces_per_second : float, optional
        Of one process, measured on `device`; None if it was not.
    """

    parameters: int
    forward: float
    step: float
    state_bytes: int
    face_bytes: int
    faces_per_second: float | None
    device: str

    def lines(self, params: TrainParams, processes: int = 1, tflops: float | None = None) -> list[str]:
        """The cost in words; `tflops`, 10^12 operations a second that one process sustains, adds the hours
        elsewhere.
        """
        p = params
        piece = p.share(processes) // p.accumulate
        memory = self.state_bytes + piece * self.face_bytes
        out = [
            f"{p.kind} {p.profile}: {self.parameters:,} parameters",
            f"operations a face: {self.forward / 1e9:.1f} G forward, {self.step / 1e9:.1f} G in training",
            f"memory a process: {memory / 2**30:.1f} GiB = {self.state_bytes / 2**30:.2f} for weights, "
            f"gradients and RMSProp + {piece} faces at once x {self.face_bytes / 2**30:.2f} for activations "
            "(float32; libraries and temporary values come on top)",
            f"an epoch of {EPOCH:,} faces: {EPOCH * self.step / 1e15:.1f} x 10^15 operations",
        ]
        if tflops:
            speed = tflops * 1e12 * processes / self.step
            out.append(f"at {tflops:g} TFLOP/s sustained by each of {processes}: {_hours(p, speed)}")
        if self.faces_per_second:
            speed = self.faces_per_second
            out.append(f"measured here ({self.device}, one process, without data): {_hours(p, speed)}")
        return out


def estimate(params: TrainParams, steps: int = 2, processes: int = 1) -> Cost:
    """Count one training step of these parameters, and time `steps` of them here (0: none), with as many
    faces at once as one of so many processes would take.

    Raises
    ------
    VrnError
        The batch cannot be cut evenly, or the detector cannot be used.
    """
    piece = params.share(processes) // params.accumulate
    size = params.size
    with torch.device("meta"):
        model = _network(params)
        one, two = (_faces(params, n, "meta") for n in (1, 2))
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            _step(model, one)
        with FlopCounterMode(display=False) as whole, _saved_bytes(model) as kept_one:
            _step(model, one).backward()
        with _saved_bytes(model) as kept_two:
            _step(model, two)
    count = networks.parameter_count(model)
    speed, device = None, "cuda" if torch.cuda.is_available() else "cpu"
    if steps:
        speed = _measured(params, steps, device, piece)
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return Cost(
        count,
        forward.get_total_flops(),
        whole.get_total_flops(),
        state_bytes=3 * 4 * count,
        face_bytes=kept_two[0] - kept_one[0],
        faces_per_second=speed,
        device=f"{name}, {size} px",
    )


def _faces(params: TrainParams, count: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    s = params.size
    image = torch.rand(count, 3, s, s, device=device).to(memory_format=torch.channels_last)
    volume = torch.zeros(count, s, s, params.depth, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    return image, volume, torch.full((count, 68, 2), s / 2, device=device)


def _step(model: networks.Network, faces: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return sum(losses(model, model.architecture, *faces).values())  # type: ignore[return-value]


@contextmanager
def _saved_bytes(model: networks.Network) -> Iterator[list[int]]:
    # Bytes that autograd keeps, each storage once, parameters left out.
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    seen: dict[int, Any] = {}
    total = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in seen and key not in own:
            seen[key] = storage  # alive, so that its number is not given to another
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total


def _network(params: TrainParams) -> networks.Network:
    # on PyTorch's default device
    model = networks.build(params.architecture).to(memory_format=torch.channels_last)
    if isinstance(model, networks.Guided) and params.detector:
        model.fix_detector(read_detector(params.detector, model)[0])
    return model


def _measured(params: TrainParams, steps: int, device: str, piece: int) -> float:
    if params.threads:
        torch.set_num_threads(params.threads)
    model = _network(params).to(device).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-4)
    half = params.precision == "bf16-mixed" or (params.precision == "auto" and bf16_is_fast())
    faces = _faces(params, piece, device)
    began = 0.0
    for number in range(steps + 1):
        if number == 1:  # the first is for warming up
            began = _now(device)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = _step(model, faces)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return steps * piece / (_now(device) - began)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _hours(params: TrainParams, speed: float) -> str:
    hours = EPOCH / speed / 3600
    text = f"{speed:.1f} faces/s, {hours:.2f} hours an epoch"
    if params.max_faces:
        text += f", {params.max_faces / speed / 3600:.1f} for {params.max_faces:,} faces"
    return text
