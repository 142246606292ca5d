"""Batches of training faces: the order of the samples, their packing, the worker processes.

Nothing here is random beyond a seed: batch k of a run holds the same samples whatever the number of workers,
and a run that resumes at sample p continues the very same order.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from vrnlib.errors import VrnError
from vrnlib.processes import one_thread
from vrnlib.provenance import replacing
from vrnlib.runs import fill_runs, runs_of
from vrnlib.voxel import Grid

SHUFFLE = 3072
"""Samples are shuffled within blocks of this many: neighbours show one person, a batch should show many."""


class Order:
    """Endless batches of sample numbers: blocks of `SHUFFLE` numbers, each in random order.

    A pure function of the seed and the position, so that a run can resume anywhere.
    """

    def __init__(self, seed: int, start: int, batch_size: int, share: tuple[int, int] = (0, 1)) -> None:
        self.seed, self.start, self.batch_size = seed, start, batch_size
        part, parts = share
        self.part = slice(part * batch_size // parts, (part + 1) * batch_size // parts)

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
            yield batch[self.part]


def pack(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples -> one batch, in the worker.

    A sample gives its volume as `runs` (see :mod:`vrnlib.runs`) or as a dense `volume`. Volumes travel as
    runs: a tenth of packed bits and a hundredth of bytes, which have to go through shared memory, and that
    is small on some machines.

    Returns
    -------
    `image` (N, S, S, 3) uint8; the runs of all faces one after the other, `column` (R,) int32 and `span`
    (R, 2) int16, begin and end; `count` (N,) int64, the runs of each face; `landmarks` (N, 68, 2) float32, if
    the samples have them: heat-maps are drawn from these where they are needed
    (:func:`vrnlib.heatmaps.heatmaps_batch`), they would be the largest thing to send. Likewise `eyes`
    (N, 2, 3) and `points` (N, P, 3) of samples with ground truth, for validation.

    Raises
    ------
    VrnError : samples of different sizes.
    """
    sizes = {s["image"].shape for s in samples}
    if len(sizes) > 1:
        raise VrnError(f"samples of one batch differ in size: {', '.join(map(str, sorted(sizes)))}")
    runs = [s["runs"] if "runs" in s else runs_of(s["volume"]) for s in samples]
    column, begin, end = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    batch = {
        "image": torch.from_numpy(np.stack([s["image"] for s in samples])),
        "column": torch.from_numpy(column),
        "span": torch.from_numpy(np.stack([begin, end], 1)),
        "count": torch.tensor([len(r[0]) for r in runs]),
    }
    if all("landmarks" in s for s in samples):
        batch["landmarks"] = torch.from_numpy(np.stack([s["landmarks"] for s in samples]).astype(np.float32))
    for truth in ("eyes", "points"):
        if all(truth in s for s in samples):
            batch[truth] = torch.from_numpy(np.stack([s[truth] for s in samples]).astype(np.float32))
    return batch


class Kept:
    """A data set that gives packed batches and keeps each as a file, so that several runs on the same faces
    (a study, three seeds, the networks of a table) draw them once. `data[numbers]` is ``pack`` of these
    samples.

    Parameters
    ----------
    dataset : map-style data set of samples.
    folder : where batches are kept; made if missing. About 45 kB a face of 96 pixels; delete it at will.
    identity : what decides the samples besides their numbers, as JSON can write it: version, size, seed.
    """

    def __init__(self, dataset: Any, folder: str | Path, identity: Any) -> None:
        self.dataset, self.folder = dataset, Path(folder)
        self.identity = json.dumps(identity, sort_keys=True)

    def __getitems__(self, numbers: list[int]) -> dict[str, Tensor]:
        """One batch, read if it is there and whole, else drawn and written."""
        name = hashlib.blake2b(f"{self.identity} {list(numbers)}".encode(), digest_size=16).hexdigest()
        path = self.folder / name[:2] / f"{name}.safetensors"
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            batch = pack([self.dataset[number] for number in numbers])
        with replacing(path) as draft:
            save_file({key: value.contiguous() for key, value in batch.items()}, draft)
        return batch


def unpack(batch: Mapping[str, Tensor], depth: int) -> tuple[Tensor, Tensor]:
    """A batch -> image (N, 3, S, S) float32 0..1 and volume (N, D, S, S) uint8 0/1, both channels-last."""
    image = batch["image"]
    grid = Grid(image.shape[1], depth)
    volume = np.empty((len(image), grid.size * grid.size, depth), np.uint8)
    at = 0
    for i, count in enumerate(batch["count"].tolist()):
        span = batch["span"][at : at + count].numpy()
        runs = (batch["column"][at : at + count].numpy(), span[:, 0], span[:, 1])
        fill_runs(runs, grid, volume[i])
        at += count
    volume = volume.reshape(len(image), grid.size, grid.size, depth)
    return image.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(volume).permute(0, 3, 1, 2)


def endless(
    dataset: Any, seed: int, start: int, batch_size: int, workers: int, share: tuple[int, int] = (0, 1)
) -> Iterator[dict[str, Tensor]]:
    """Batches of `pack` in `Order`, drawn ahead by `workers` processes (0: drawn here, when asked for).

    `share` (r, n) is the r-th of n equal parts of each batch, for training with n processes: together they
    see the very batches that one process would see. Close it to end its workers.
    """
    return _until_closed(iter(_loader(dataset, Order(seed, start, batch_size, share), workers)))


def _until_closed(stream: Iterator[dict[str, Tensor]]) -> Generator[dict[str, Tensor], None, None]:
    # The workers have started already; they end when their iterator goes, which a cycle of references or a
    # kept traceback could put off for ever.
    with _own_words():
        yield from stream


@contextmanager
def _own_words() -> Iterator[None]:
    # An error of a data worker arrives with its traceback in the message; what it says stands at the end.
    try:
        yield
    except VrnError as error:
        raise VrnError(str(error).rpartition("VrnError: ")[2].strip()) from None


def first(dataset: Any, count: int, batch_size: int, workers: int) -> list[dict[str, Tensor]]:
    """The first `count` samples in their own order, as batches of `pack`."""
    numbers = [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
    with _own_words():
        return list(_loader(dataset, numbers, workers))


def _loader(dataset: Any, order: Any, workers: int) -> DataLoader[Any]:
    collate = _as_it_is if isinstance(dataset, Kept) else pack
    return DataLoader(
        dataset, batch_sampler=order, num_workers=workers, collate_fn=collate, worker_init_fn=_quiet_worker
    )


def _as_it_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch


def _quiet_worker(_: int) -> None:
    # The network needs the cores. Signals are the parent's business, which ends its workers; yet an
    # interpreter that ends with workers alive sends SIGTERM and waits for them: they give it ten seconds.
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(10))
