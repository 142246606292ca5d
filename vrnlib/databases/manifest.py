"""The frozen test databases: a fingerprint of every sample, and the check that they are still the same.

    python -m vrnlib.databases.manifest            # write vrnlib/data/frozen anew (after a wanted change)
    python -m vrnlib.databases.manifest --check    # draw every sample again and compare

A plain hash of pixels or voxels would not survive another processor or library: the last bit of a product
may differ, a voxel may flip, a JPEG decoder may round otherwise. So a sample has

========== ===========================================================================================
parameters 16 hex digits of the SHA-256 over the random numbers it is made from, rounded to 1e-6: exact
landmarks  chin, nose tip and outer eye corners (x, y), 1/100 px, 4 hex digits each, +80 px: to 0.05 px
volume     filled share of the 8 octants, of 255, 2 hex digits each: to 1
image      grey means of 4 x 4 blocks, then means of R, G and B, 2 hex digits each: to 2 levels
========== ===========================================================================================

Fingerprints are taken at the laptop's size, 96 x 96 x 100; `index.json` holds the sizes, the data's version
and the SHA-256 of each table, by which a result can name the database it was computed on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.databases.expressions import SynthExpressions
from vrnlib.databases.mapped_scans import MappedScans
from vrnlib.databases.sample import DATA_VERSION
from vrnlib.databases.scan_source import ARCHIVE_SHA256
from vrnlib.databases.wild import SynthWild
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.provenance import read_json, replacing, sha256, write_json

FOLDER = Path(__file__).parent.parent / "data" / "frozen"
SIZE, DEPTH = 96, 100
DATABASES: dict[str, Callable[..., Any]] = {
    "synth-wild": SynthWild,
    "synth-expressions": SynthExpressions,
    "synth-expressions-frontal": partial(SynthExpressions, table="expressions"),
    "mapped-scans": MappedScans,
}
COLUMNS = ("index", "parameters", "landmarks", "volume", "image")
_KEY_LANDMARKS = (8, 30, 36, 45)
_SHIFT = 80.0  # px added, so that a landmark left of the window has no sign
# column -> hex digits a number, what differs at most, unit
_NUMBERS = {
    "landmarks": (4, 5, "1/100 px"),
    "volume": (2, 1, "1/255 of an octant"),
    "image": (2, 2, "levels"),
}


@lru_cache(maxsize=len(DATABASES))
def _database(name: str) -> Any:
    if name not in DATABASES:
        raise VrnError(f"no frozen database {name!r}{did_you_mean(name, DATABASES)}")
    return DATABASES[name](SIZE, DEPTH)


def fingerprint(name: str, index: int) -> dict[str, str]:
    """Draw sample `index` of a frozen database and describe it: the columns of the manifest as text.

    Raises
    ------
    VrnError : unknown database or sample, or its data can't be had.
    """
    database = _database(name)
    sample = database[index]
    digest = hashlib.sha256()
    for array in database.parameters(index):
        digest.update(np.round(np.asarray(array, np.float64).ravel() * 1e6).astype("<i8").tobytes())
    places = np.clip((sample["landmarks"][list(_KEY_LANDMARKS)] + _SHIFT) * 100, 0, 0xFFFF)
    image = sample["image"].astype(np.float64)
    block = image.mean(2).reshape(4, SIZE // 4, 4, SIZE // 4).mean((1, 3))
    half = np.array([SIZE, SIZE, DEPTH]) // 2
    filled = sample["volume"].transpose(1, 2, 0).reshape(2, half[0], 2, half[1], 2, half[2])
    numbers = {
        "landmarks": places.ravel(),
        "volume": filled.mean((1, 3, 5)).ravel() * 255,
        "image": np.concatenate([block.ravel(), image.mean((0, 1))]),
    }
    text = {
        k: "".join(f"{round(v):0{_NUMBERS[k][0]}x}" for v in values.tolist()) for k, values in numbers.items()
    }
    return {"index": str(index), "parameters": digest.hexdigest()[:16], **text}


def differences(got: dict[str, str], frozen: dict[str, str]) -> list[str]:
    """What of a fingerprint is not as frozen, beyond the tolerances: a phrase each, none if all is well."""
    out = []
    if got["parameters"] != frozen["parameters"]:
        out.append("made from other random numbers")
    for column, (digits, tolerance, unit) in _NUMBERS.items():
        a, b = (_numbers(row[column], digits) for row in (got, frozen))
        worst = int(np.abs(a - b).max()) if len(a) == len(b) else -1
        if worst < 0 or worst > tolerance:
            what = f"by up to {worst} {unit}" if worst >= 0 else "in length"
            out.append(f"{column} differ {what}")
    return out


def _numbers(text: str, digits: int) -> np.ndarray:
    return np.array([int(text[i : i + digits], 16) for i in range(0, len(text), digits)])


def frozen(name: str) -> list[dict[str, str]]:
    """The frozen rows of a database, in order.

    Raises
    ------
    VrnError : unknown database, or its table is missing, incomplete or not the one `index.json` names.
    """
    path = FOLDER / f"{name}.csv"
    index = read_json(FOLDER / "index.json")["databases"]
    if name not in index:
        raise VrnError(f"no frozen database {name!r}{did_you_mean(name, index)}")
    if sha256(path) != index[name]["sha256"]:
        raise VrnError(
            f"'{path.name}' is not the table that index.json names: restore both, or freeze them anew with "
            "python -m vrnlib.databases.manifest"
        )
    with path.open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file))


def _row(task: tuple[str, int]) -> dict[str, str]:
    return fingerprint(*task)


def _drawn(name: str, workers: int) -> Iterable[dict[str, str]]:
    tasks = [(name, i) for i in range(len(_database(name)))]
    if workers == 1:
        yield from map(_row, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_row, tasks, chunksize=21)


def write(names: Iterable[str], workers: int = 1) -> None:
    """Draw every sample of the named databases and freeze them; the other tables stay.

    Raises
    ------
    VrnError : unknown database, or its data can't be had.
    """
    path = FOLDER / "index.json"
    index = read_json(path) if path.is_file() else {"databases": {}}
    for name in names:
        rows = list(_drawn(name, workers))
        with (
            replacing(FOLDER / f"{name}.csv") as temporary,
            temporary.open("w", newline="", encoding="ascii") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        entry = {"samples": len(rows), "data": DATA_VERSION, "sha256": sha256(FOLDER / f"{name}.csv")}
        if name == "mapped-scans":
            entry["archive_sha256"] = ARCHIVE_SHA256
        index["databases"][name] = entry
        index |= {"size": SIZE, "depth": DEPTH}
        write_json(path, index)
        print(f"{name}: {len(rows)} samples frozen")


def check(names: Iterable[str], workers: int = 1) -> int:
    """Draw every sample again and print what differs; returns the number of samples that do."""
    bad = 0
    for name in names:
        rows = frozen(name)
        for row, got in zip(rows, _drawn(name, workers), strict=True):
            if wrong := differences(got, row):
                bad += 1
                print(f"{name} {row['index']}: {'; '.join(wrong)}")
        print(f"{name}: {len(rows)} samples compared")
    return bad


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 1 if a sample differs, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.databases.manifest", description="Freeze the test databases, or check them."
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(DATABASES)}; default all")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--workers", type=int, default=1, help="processes; 0 is one a processor")
    given = parser.parse_args(arguments)
    names, workers = given.names or list(DATABASES), given.workers or os.cpu_count() or 1
    try:
        if given.check:
            return 1 if check(names, workers) else 0
        write(names, workers)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
