"""Training faces a second at a profile: our loop with faces drawn on the fly, against the plain loop.

The plain loop is the same network, optimiser and batch in fp32 and the default memory layout, the loss on
dense float volumes at full size, images and volumes read from files. Both get the same threads and worker
processes and run in turns.

    python benchmarks/training.py --out results/benchmarks/training.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vrnlib import batches
from vrnlib.databases import SynthLP
from vrnlib.loss import slices_loss, voxel_loss
from vrnlib.networks import VRN
from vrnlib.params import Profile, profile
from vrnlib.provenance import collect, write_json
from vrnlib.train import bf16_is_fast


class Stored(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Faces written beforehand as one .npy for the image and one for the dense float volume."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        i = index % self.count
        return np.load(self.folder / f"{i}-image.npy"), np.load(self.folder / f"{i}-volume.npy")


def store(p: Profile, folder: Path, count: int) -> Stored:
    """Draw `count` faces into `folder`: (3, S, S) float32 image, (D, S, S) float32 volume."""
    data = SynthLP(p.size, p.depth, seed=0)
    for i in range(count):
        sample = data[i * 12]
        np.save(folder / f"{i}-image.npy", (sample["image"].transpose(2, 0, 1) / 255).astype(np.float32))
        np.save(folder / f"{i}-volume.npy", np.ascontiguousarray(sample["volume"], np.float32))
    return Stored(folder, count)


def ours(p: Profile, workers: int) -> Callable[[], None]:
    """One step of our loop."""
    network = VRN.of_profile(p).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-4)
    stream: Iterator[dict[str, torch.Tensor]] = batches.endless(
        SynthLP(p.size, p.depth, seed=0), 0, 0, p.batch_size, workers
    )

    def step() -> None:
        image, volume = batches.unpack(next(stream), p.depth)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            slices = network.slices(image)
        loss = slices_loss(slices, volume)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def plain(p: Profile, data: Stored, workers: int) -> Callable[[], None]:
    """One step of the plain loop."""
    network = VRN.of_profile(p).train()
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-4)
    stream: Iterator[Any] = iter(DataLoader(data, batch_size=p.batch_size, num_workers=workers))

    def step() -> None:
        image, volume = next(stream)
        loss = voxel_loss(network(image), volume)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--steps", type=int, default=12, help="timed steps in each of three turns")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/training.json"))
    given = parser.parse_args()
    start, p = time.perf_counter(), profile(given.profile)
    with tempfile.TemporaryDirectory() as folder:
        # worker processes start here, before PyTorch starts threads of its own
        data = store(p, Path(folder), 64)
        loops = {"ours": ours(p, given.workers), "plain": plain(p, data, given.workers)}
        speeds: dict[str, dict[str, list[float]]] = {name: {} for name in loops}
        for step in loops.values():
            step()
        for _ in range(3):
            for threads in range(1, (os.cpu_count() or 1) + 1):
                torch.set_num_threads(threads)
                for name, step in loops.items():
                    begin = time.perf_counter()
                    for _ in range(given.steps):
                        step()
                    speed = given.steps * p.batch_size / (time.perf_counter() - begin)
                    speeds[name].setdefault(f"{threads} threads", []).append(speed)
        del loops
    # each loop at the number of threads that suits it; the median of its turns
    best = {name: max(statistics.median(v) for v in turns.values()) for name, turns in speeds.items()}
    ratio = best["ours"] / best["plain"]
    params = {**vars(given), "bf16": bf16_is_fast()}
    result = {"faces_per_second": speeds, "best": best, "times_faster": ratio, "profile": p.name}
    write_json(
        given.out,
        {
            **result,
            "provenance": collect({k: str(v) for k, v in params.items()}, 0, [], time.perf_counter() - start),
        },
    )
    print(speeds)
    print(f"{best['ours']:.1f} faces/s, plain loop {best['plain']:.1f}: {ratio:.2f} times")


if __name__ == "__main__":
    main()
