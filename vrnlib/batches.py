"""Batches of training faces: the order of the samples, their packing, the worker processes.

Nothing here is random beyond a seed: batch k of a run holds the same samples whatever the number of workers,
and a run that resumes at sample p continues the very same order.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

SHUFFLE = 3072
"""Samples are shuffled within blocks of this many: neighbours show one person, a batch should show many."""


class Order:
    """Endless batches of sample numbers: blocks of `SHUFFLE` numbers, each in random order.

    A pure function of the seed and the position, so that a run can resume anywhere.
    """

    def __init__(self, seed: int, start: int, batch_size: int) -> None:
        self.seed, self.start, self.batch_size = seed, start, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        first, block, order = self.start, -1, np.empty(0, np.int64)
        while True:
            batch = []
            for position in range(first, first + self.batch_size):
                if position // SHUFFLE != block:
                    block = position // SHUFFLE
                    order = block * SHUFFLE + np.random.default_rng((self.seed, block)).permutation(SHUFFLE)
                batch.append(int(order[position % SHUFFLE]))
            first += self.batch_size
            yield batch


def pack(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Samples -> one batch, in the worker.

    Returns `image` (N, S, S, 3) uint8 and `volume` (N, S, S, ceil(D / 8)) uint8, eight voxels of a depth
    column a byte: an eighth of the volume has to go through shared memory, which is small on some machines.
    """
    volumes = np.stack([s["volume"].transpose(1, 2, 0) for s in samples])
    images = np.stack([s["image"] for s in samples])
    return {"image": torch.from_numpy(images), "volume": torch.from_numpy(np.packbits(volumes, axis=-1))}


def unpack(batch: Mapping[str, Tensor], depth: int) -> tuple[Tensor, Tensor]:
    """A batch -> image (N, 3, S, S) float32 0..1 and volume (N, D, S, S) uint8 0/1, both channels-last."""
    volume = np.unpackbits(batch["volume"].numpy(), axis=-1, count=depth)
    return batch["image"].permute(0, 3, 1, 2).float() / 255, torch.from_numpy(volume).permute(0, 3, 1, 2)


def endless(
    dataset: Any, seed: int, start: int, batch_size: int, workers: int
) -> Iterator[dict[str, Tensor]]:
    """Batches of `pack` in `Order`, drawn ahead by `workers` processes (0: drawn here, when asked for)."""
    return iter(_loader(dataset, Order(seed, start, batch_size), workers))


def first(dataset: Any, count: int, batch_size: int, workers: int) -> list[dict[str, Tensor]]:
    """The first `count` samples in their own order, as batches of `pack`."""
    numbers = [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
    return list(_loader(dataset, numbers, workers))


def _loader(dataset: Any, order: Any, workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset, batch_sampler=order, num_workers=workers, collate_fn=pack, worker_init_fn=_quiet_worker
    )


def _quiet_worker(_: int) -> None:
    # One thread: the network needs the cores. Signals are the parent's business, which ends its workers.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
