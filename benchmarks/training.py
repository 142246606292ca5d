"""Training faces a second at a profile: our loop against the plain loop; where the time goes; memory.

The plain loop is the same network, optimiser and batch in fp32 and the default memory layout, the loss on
dense float volumes at full size, images and volumes read from files. Ours is the loop of `vrnlib.train`, with
faces drawn on the fly, and once more with kept batches read again, as the second run on the same faces does
(`vrnlib.batches.Kept`). All get the same threads and worker processes and run in turns; memory is that of a
process that runs one loop alone.

    python benchmarks/training.py                      # laptop: results/benchmarks/training.json
    python benchmarks/training.py --profile paper --steps 3 --turns 2 --out training-paper.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.autograd.profiler_util import EventList
from torch.utils.data import DataLoader, Dataset

from vrnlib import batches
from vrnlib.databases import SynthLP
from vrnlib.loss import slices_loss, voxel_loss
from vrnlib.networks import VRN
from vrnlib.params import Profile, profile
from vrnlib.processes import peak_memory
from vrnlib.provenance import collect, write_json
from vrnlib.recipe import bf16_is_fast

Step = Callable[[], None]
OPERATIONS = {
    "convolution, forward": ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"),
    "convolution, backward": ("aten::convolution_backward",),
    "batch normalisation": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "loss": ("_SlicesLoss", "_SlicesLossBackward"),
    "optimiser": ("Optimizer.step#RMSprop.step",),
    "unpacking of volumes": ("unpack",),
    "waiting for faces": ("next",),
}
"""Parts of a step -> names in PyTorch's profile."""


class Stored(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Faces written beforehand as one .npy for the image and one for the dense float volume."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        i = index % self.count
        return np.load(self.folder / f"{i}-image.npy"), np.load(self.folder / f"{i}-volume.npy")


def store(p: Profile, folder: Path, count: int) -> None:
    """Draw `count` faces into `folder`: (3, S, S) float32 image, (D, S, S) float32 volume; and as kept
    batches.
    """
    data = SynthLP(p.size, p.depth, seed=0)
    for i in range(count):
        sample = data[i * 12]
        np.save(folder / f"{i}-image.npy", (sample["image"].transpose(2, 0, 1) / 255).astype(np.float32))
        np.save(folder / f"{i}-volume.npy", np.ascontiguousarray(sample["volume"], np.float32))
    for numbers in _few(p, count):
        batches.Kept(data, folder / "kept", p.name).__getitems__(numbers)


def _few(p: Profile, count: int) -> list[list[int]]:
    return [list(range(i, i + p.batch_size)) for i in range(0, count - p.batch_size + 1, p.batch_size)]


def ours(p: Profile, workers: int, folder: Path | None = None, count: int = 0) -> Step:
    """One step of our loop, on drawn faces, or on kept batches in `folder`."""
    network = VRN.of_profile(p).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-4)
    data: Any = SynthLP(p.size, p.depth, seed=0)
    if folder:
        data = batches.Kept(data, folder / "kept", p.name)
        numbers = _few(p, count) * 10_000
        stream = iter(DataLoader(data, batch_sampler=numbers, num_workers=workers, collate_fn=_same))
    else:
        stream = batches.endless(data, 0, 0, p.batch_size, workers)

    def step() -> None:
        with torch.profiler.record_function("next"):
            batch = next(stream)
        with torch.profiler.record_function("unpack"):
            image, volume = batches.unpack(batch, p.depth)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            slices = network.slices(image)
        loss = slices_loss(slices, volume)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _same(batch: Any) -> Any:
    return batch


def plain(p: Profile, folder: Path, count: int, workers: int) -> Step:
    """One step of the plain loop."""
    network = VRN.of_profile(p).train()
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-4)
    loader = DataLoader(Stored(folder, count), batch_size=p.batch_size, num_workers=workers)
    stream: Iterator[Any] = iter(loader)

    def step() -> None:
        image, volume = next(stream)
        loss = voxel_loss(network(image), volume)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def peak(make: Callable[[], Step]) -> float:
    """Peak memory in MB of a process that runs two steps of a loop and draws its faces itself."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_run_alone, (make,)))


def _run_alone(make: Callable[[], Step]) -> float:
    step = make()
    step()
    step()
    return (peak_memory() or float("nan")) / 2**20


def where_the_time_goes(step: Step, steps: int) -> dict[str, float]:
    """Shares of the time of a step, by `OPERATIONS`; what is left is "rest"."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        for _ in range(steps):
            step()
    events: EventList = trace.key_averages()
    total = sum(e.self_cpu_time_total for e in events)
    shares = {}
    for part, names in OPERATIONS.items():
        whole = part in ("loss", "optimiser", "unpacking of volumes", "waiting for faces")
        times = [e.cpu_time_total if whole else e.self_cpu_time_total for e in events if e.key in names]
        shares[part] = sum(times) / total
    return {**shares, "rest": 1 - sum(shares.values())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--steps", type=int, default=12, help="timed steps in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/training.json"))
    given = parser.parse_args()
    start, p = time.perf_counter(), profile(given.profile)
    count, load = 6 * p.batch_size, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store(p, folder, count)
        # worker processes start here, before PyTorch starts threads of its own
        loops = {
            "ours, drawn": ours(p, given.workers),
            "ours, kept": ours(p, given.workers, folder, count),
            "plain": plain(p, folder, count, given.workers),
        }
        speeds: dict[str, dict[str, list[float]]] = {name: {} for name in loops}
        for step in loops.values():
            step()
        for _ in range(given.turns):
            for threads in range(1, (os.cpu_count() or 1) + 1):
                torch.set_num_threads(threads)
                for name, step in loops.items():
                    begin = time.perf_counter()
                    for _ in range(given.steps):
                        step()
                    speed = given.steps * p.batch_size / (time.perf_counter() - begin)
                    speeds[name].setdefault(f"{threads} threads", []).append(speed)
        profiles = {}
        for threads in range(1, (os.cpu_count() or 1) + 1):
            torch.set_num_threads(threads)
            profiles[f"{threads} threads"] = where_the_time_goes(loops["ours, drawn"], given.steps)
        del loops, step
        memory = {
            "ours": peak(partial(ours, p, 0)),
            "plain": peak(partial(plain, p, folder, count, 0)),
        }
    # each loop at the number of threads that suits it; the median of its turns
    best = {name: max(statistics.median(v) for v in turns.values()) for name, turns in speeds.items()}
    ratios = {name: best[name] / best["plain"] for name in best if name != "plain"}
    params = {**vars(given), "bf16": bf16_is_fast()}
    result = {
        "profile": p.name,
        "bf16": bf16_is_fast(),
        "faces_per_second": speeds,
        "best": best,
        "times_faster": ratios,
        "shares_of_a_step": profiles,
        "peak_memory_mb": memory,
        "load_average_before": load,
    }
    seconds = time.perf_counter() - start
    provenance = collect({k: str(v) for k, v in params.items()}, 0, [], seconds)
    write_json(given.out, {**result, "provenance": provenance})
    for name, speed in best.items():
        times = f", {ratios[name]:.2f} times the plain loop" if name in ratios else ""
        print(f"{name:12s} {speed:6.1f} faces/s{times}")
    print("peak memory: " + ", ".join(f"{name} {mb:,.0f} MB" for name, mb in memory.items()))


if __name__ == "__main__":
    main()
