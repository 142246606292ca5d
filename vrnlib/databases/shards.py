"""Samples in tar files for clusters and shared disks, in the WebDataset layout.

A folder of shards holds `shard-000000.tar`, ..., each with the same number of samples (the last one may have
fewer), and `index.json`: the recipe the samples were drawn by, and of each shard its number of samples, size
and SHA-256. It is written last: a folder with an index is whole. A sample is three neighbouring members::

    000000123.png    image (S, S, 3) uint8
    000000123.npz    column, begin, end: the volume as runs (`vrnlib.runs`); points and eyes, if there
    000000123.json   landmarks (68, 2), pose (3,), size, depth

The bytes of a shard follow from the recipe and the versions of the libraries alone: not from the number of
workers, the time or the user. A shard is renamed into place when it is whole, so that an interrupted write
goes on with the shards that are missing.
"""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from vrnlib.errors import VrnError
from vrnlib.processes import one_thread
from vrnlib.provenance import plain, read_json, replacing, sha256, write_json
from vrnlib.runs import Runs, fill_runs, runs_of
from vrnlib.voxel import Grid

FORMAT = "vrn-shards-1"
"""Changes whenever the same samples would give other bytes."""
_ARRAYS = ("points", "eyes")
_REQUIRED = ("image", "landmarks", "pose")


def key(number: int) -> str:
    """The name of sample `number` in its shard, without endings."""
    return f"{number:09d}"


def shard_name(shard: int) -> str:
    """The file name of a shard."""
    return f"shard-{shard:06d}.tar"


def encode(sample: Mapping[str, Any], number: int) -> list[tuple[str, bytes]]:
    """A sample (:mod:`vrnlib.databases`) -> its members: names and bytes.

    Raises
    ------
    VrnError : the sample lacks something, or its image and volume differ in size.
    """
    missing = [name for name in _REQUIRED if name not in sample]
    if missing or not ("volume" in sample or "runs" in sample):
        raise VrnError(f"sample {number} can't be written: it has no {', '.join(missing) or 'volume'}")
    image = np.ascontiguousarray(sample["image"])
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape[0] != image.shape[1]:
        raise VrnError(f"sample {number}: an image is (S, S, 3) uint8, not {image.shape} {image.dtype}")
    facts: dict[str, Any] = {"size": image.shape[0]}
    if "volume" in sample:
        volume = sample["volume"]
        if volume.ndim != 3 or volume.shape[1:] != image.shape[:2]:
            raise VrnError(f"sample {number}: volume {volume.shape} and image {image.shape} differ in size")
        facts["depth"] = volume.shape[0]
        runs = runs_of(volume)
    else:
        facts["depth"], runs = sample["depth"], sample["runs"]
    facts |= {name: np.asarray(sample[name], np.float64).tolist() for name in ("landmarks", "pose")}
    arrays = dict(zip(("column", "begin", "end"), runs, strict=True))
    arrays |= {name: sample[name] for name in _ARRAYS if name in sample}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # NumPy gives its members a fixed date
    good, png = cv2.imencode(".png", image[..., ::-1])
    if not good:
        raise VrnError(f"sample {number}: its image can't be written as PNG")
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False)
    contents = {"png": png.tobytes(), "npz": packed.getvalue(), "json": text.encode()}
    return [(f"{key(number)}.{ending}", content) for ending, content in contents.items()]


def decode(members: Mapping[str, bytes], where: str, runs: bool = False) -> dict[str, Any]:
    """Members by ending (`png`, `npz`, `json`) -> the sample, as its database gave it.

    With `runs` the volume stays as it is stored, under `runs`, and `depth` says what it fills.

    Raises
    ------
    VrnError : a member is missing or damaged; `where` names the place.
    """
    try:
        facts = json.loads(members["json"])
        png = np.frombuffer(members["png"], np.uint8)
        image = cv2.imdecode(png, cv2.IMREAD_COLOR) if len(png) else None
        with np.load(io.BytesIO(members["npz"]), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        grid = Grid(int(facts["size"]), int(facts["depth"]))
        parts = (arrays.pop("column"), arrays.pop("begin"), arrays.pop("end"))
        _check(image, parts, grid)
        sample = {
            "image": np.ascontiguousarray(image[..., ::-1]),
            **({"runs": parts, "depth": grid.depth} if runs else {"volume": fill_runs(parts, grid)}),
            **{name: np.array(facts[name], np.float32) for name in ("landmarks", "pose")},
            **arrays,
        }
    except Exception as error:  # zlib, zipfile, OpenCV and NumPy each fail in ways of their own
        raise VrnError(f"{where} is damaged ({type(error).__name__}: {error}): write it again") from None
    return sample


def _check(image: np.ndarray | None, runs: Runs, grid: Grid) -> None:
    # What fills the volume looks at no bounds, and the JSON member has no checksum.
    if image is None or image.shape != (grid.size, grid.size, 3):
        raise ValueError(f"no image of {grid.size} x {grid.size} pixels")
    column, begin, end = runs
    if not (column.ndim == 1 and column.shape == begin.shape == end.shape):
        raise ValueError("runs of different lengths")
    if any(part.dtype.kind not in "iu" for part in runs):
        raise ValueError("runs that are not whole numbers")
    inside = (column >= 0) & (column < grid.size**2) & (begin >= 0) & (begin <= end) & (end <= grid.depth)
    if not inside.all():
        raise ValueError("runs outside the volume")


def write_shards(
    dataset: Any,
    count: int,
    folder: str | Path,
    recipe: Mapping[str, Any],
    *,
    per_shard: int = 1000,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write samples 0 .. `count` - 1 of a map-style data set as shards; go on where a former call stopped.

    Parameters
    ----------
    dataset : ``dataset[i]`` is sample i (:mod:`vrnlib.databases`), a function of i alone.
    recipe : what decides the samples (name, version, seed, sizes ...), in JSON's types. A folder holds the
        samples of one recipe.
    per_shard : samples of a shard.
    workers : processes; 1 writes in this one.
    say : where progress goes, a line a shard.

    Returns
    -------
    The contents of `index.json`.

    Raises
    ------
    VrnError : the folder holds shards of another recipe, is not writable or has no space; a sample is bad; a
        worker was killed. Finished shards stay, and the same call goes on.
    """
    folder = Path(folder)
    for name, value in (("count", count), ("per_shard", per_shard), ("workers", workers)):
        if value < 1:
            raise VrnError(f"{name} is {value}, it must be at least 1")
    recipe = plain({"format": FORMAT, **recipe, "count": count, "per_shard": per_shard})
    _claim(folder, recipe)
    total = -(-count // per_shard)
    todo = [s for s in range(total) if not _whole(folder / shard_name(s), *_range(s, recipe))]
    if todo:
        _check_space(dataset, folder, sum(len(range(*_range(s, recipe))) for s in todo))
    started = time.monotonic()
    if len(todo) < total:
        say(f"{total - len(todo)} of {total} shards are there already")
    for done, shard in enumerate(_written(dataset, folder, recipe, todo, workers), start=1):
        left = (time.monotonic() - started) / done * (len(todo) - done)
        say(f"{shard_name(shard)}  {total - len(todo) + done}/{total}, about {left / 60:.0f} min left")
    shards = []
    for s in range(total):
        path = folder / shard_name(s)
        samples = len(range(*_range(s, recipe)))
        shards.append(
            {"name": path.name, "samples": samples, "bytes": path.stat().st_size, "sha256": sha256(path)}
        )
    index = {"recipe": recipe, "shards": shards}
    write_json(folder / "index.json", index)
    return index


class Shards:
    """The samples of a folder that :func:`write_shards` filled; a data set for training.

    ``data[i]`` is sample i; numbers past the end begin again, so that the endless order of training
    (:class:`vrnlib.batches.Order`) works on it. Iteration goes through all samples once.

    Parameters
    ----------
    folder : of the shards.
    size, depth : what the caller needs; None takes what is there.
    runs : give `runs` and `depth` instead of a dense `volume`, see :func:`decode`.

    Raises
    ------
    VrnError : no index, shards that are missing or cut short, another size than asked for.
    """

    def __init__(
        self, folder: str | Path, size: int | None = None, depth: int | None = None, runs: bool = False
    ) -> None:
        self.folder, self.runs = Path(folder), runs
        path = self.folder / "index.json"
        if not path.is_file():
            begun = (self.folder / "recipe.json").is_file()
            raise VrnError(
                f"{self.folder} has no index.json: "
                + ("its writing was not finished, run it again" if begun else "it is no folder of shards")
            )
        index = read_json(path)
        try:
            self.recipe, self.shards = dict(index["recipe"]), list(index["shards"])
            if self.recipe["format"] != FORMAT:
                raise VrnError(f"{path} is of format {self.recipe['format']}, this library reads {FORMAT}")
            self.count, self.per_shard = int(self.recipe["count"]), int(self.recipe["per_shard"])
            expected = [(self.folder / s["name"], int(s["bytes"])) for s in self.shards]
        except (KeyError, TypeError, ValueError):
            raise VrnError(f"{path} is damaged: write the shards again") from None
        for name, wanted in (("size", size), ("depth", depth)):
            has = self.recipe.get(name)
            if wanted is not None and has != wanted:
                raise VrnError(f"{self.folder} holds samples of {name} {has}, not {wanted}: write others")
        for file, size_ in expected:
            if not file.is_file() or file.stat().st_size != size_:
                raise VrnError(f"{file} is missing or cut short: copy it again, or write the shards again")
        self._open: dict[int, tuple[int, BinaryIO, dict[str, tuple[int, int]]]] = {}

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(self.count))

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = int(index) % self.count
        shard = number // self.per_shard
        file, places = self._shard(shard)
        members = {}
        for ending in ("png", "npz", "json"):
            if f"{key(number)}.{ending}" in places:
                at, length = places[f"{key(number)}.{ending}"]
                file.seek(at)
                members[ending] = file.read(length)
        return decode(members, f"sample {key(number)} of {self.folder / shard_name(shard)}", self.runs)

    def verify(self) -> None:
        """Compare every shard's SHA-256 with the index; VrnError names those that differ."""
        bad = [s["name"] for s in self.shards if sha256(self.folder / s["name"]) != s["sha256"]]
        if bad:
            raise VrnError(
                f"{self.folder}: {', '.join(bad)} changed since they were written: copy them again"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # worker processes open files of their own

    def _shard(self, shard: int) -> tuple[BinaryIO, dict[str, tuple[int, int]]]:
        # An open shard and where its members lie. A forked worker must not share the parent's file position.
        if shard not in self._open or self._open[shard][0] != os.getpid():
            if len(self._open) >= 64:
                self._open.pop(next(iter(self._open)))[1].close()
            path = self.folder / shard_name(shard)
            try:
                file = path.open("rb")
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    places = {m.name: (m.offset_data, m.size) for m in tar}
            except (OSError, tarfile.TarError) as error:
                raise VrnError(f"{path} can't be read ({error}): copy or write it again") from None
            self._open[shard] = (os.getpid(), file, places)
        return self._open[shard][1:]


def _range(shard: int, recipe: Mapping[str, Any]) -> tuple[int, int]:
    # First sample of a shard, and the one after its last.
    return shard * recipe["per_shard"], min((shard + 1) * recipe["per_shard"], recipe["count"])


def _claim(folder: Path, recipe: dict[str, Any]) -> None:
    # Note the recipe before the first shard; refuse a folder that holds something else.
    path = folder / "recipe.json"
    if path.exists():
        former = read_json(path)
        if former != recipe:
            names = sorted(k for k in former.keys() | recipe.keys() if former.get(k) != recipe.get(k))
            changes = ", ".join(f"{k} {former.get(k)} there, {recipe.get(k)} now" for k in names)
            raise VrnError(f"{folder} holds shards of another recipe ({changes}): choose another folder")
    elif folder.is_dir() and any(folder.glob("shard-*.tar")):
        raise VrnError(f"{folder} holds shards without a recipe.json: choose another folder")
    else:
        write_json(path, recipe)


def _whole(path: Path, first: int, last: int) -> bool:
    # Is this shard there with all its samples? A damaged one counts as missing and is written again.
    if not path.is_file():
        return False
    wanted = [f"{key(n)}.{ending}" for n in range(first, last) for ending in ("png", "npz", "json")]
    try:
        with tarfile.open(path, "r:") as tar:
            return tar.getnames() == wanted
    except (OSError, tarfile.TarError):
        return False


def _check_space(dataset: Any, folder: Path, samples: int) -> None:
    # A tar member takes a header of 512 bytes and is padded to 512.
    one = sum(1024 + len(content) for _, content in encode(dataset[0], 0))
    free = shutil.disk_usage(folder).free
    if free < one * samples:
        raise VrnError(
            f"{folder} needs about {one * samples / 2**30:.1f} GiB for {samples} samples, "
            f"{free / 2**30:.1f} GiB are free: make room, write fewer, or choose another folder"
        )


def _write_one(dataset: Any, folder: Path, shard: int, first: int, last: int) -> int:
    path = folder / shard_name(shard)
    for stale in folder.glob(f".{path.stem}.*.tmp.tar"):  # of a writer that was killed
        stale.unlink(missing_ok=True)
    try:
        with replacing(path) as temporary:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number in range(first, last):
                    for name, content in encode(dataset[number], number):
                        entry = tarfile.TarInfo(name)  # its time and owner are 0
                        entry.size, entry.mode = len(content), 0o644
                        tar.addfile(entry, io.BytesIO(content))
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        hint = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to it"
        raise VrnError(
            f"cannot write {path}: {error.strerror or error}; {hint} and run it again: "
            "finished shards are kept"
        ) from None
    return shard


_job: tuple[Any, Path, dict[str, Any]]
"""What a worker process writes: data set, folder, recipe."""


def _begin_worker(dataset: Any, folder: Path, recipe: dict[str, Any], parent: int) -> None:
    global _job
    _job = (dataset, folder, recipe)
    one_thread()
    cv2.setNumThreads(1)  # a spawned process has no threads of it yet

    def watch() -> None:  # a parent that is killed can't end its workers
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(shard: int) -> int:
    dataset, folder, recipe = _job
    return _write_one(dataset, folder, shard, *_range(shard, recipe))


def _written(
    dataset: Any, folder: Path, recipe: dict[str, Any], todo: list[int], workers: int
) -> Iterator[int]:
    if min(workers, len(todo)) <= 1:
        for shard in todo:
            yield _write_one(dataset, folder, shard, *_range(shard, recipe))
        return
    # spawn: a fork of a process in which OpenCV or PyTorch has threads may hang
    pool = ProcessPoolExecutor(
        min(workers, len(todo)),
        multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(dataset, folder, recipe, os.getpid()),
    )
    try:
        for future in as_completed([pool.submit(_work, shard) for shard in todo]):
            yield future.result()
    except BrokenProcessPool:
        raise VrnError(
            f"a worker writing {folder} was killed (too little memory?): run it again, with fewer workers; "
            "finished shards are kept"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
