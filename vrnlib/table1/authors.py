"""Table 1 from the first author's own per-image errors.

    python -m vrnlib.table1.authors                       # fetch them, write results/table1/authors.json
    python -m vrnlib.table1.authors --author-arrays DIR   # from a copy

The arrays lie beside the source of Jackson's thesis (github.com/AaronJackson/thesis, chapter_faces). They are
fetched at run time at one commit, each file's SHA-256 is checked, and they are kept in the user's cache; this
project holds only the summary that is computed here. Not all of Table 1's cells have an array: without
alignment there are VRN-Guided on AFLW2000-3D and all of Florence, with alignment all but 3DDFA on
AFLW2000-3D.

What the files mean was found out from their shapes and from the scripts beside them. An image that was not
scored has error 0 in some files. Florence: file names give person and yaw; BU-4DFE: 97 scans of 21
consecutive images, by the period of the errors, so intervals are over scans.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import urllib.request
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import provenance, scores
from vrnlib.databases.scan_source import cache_folder
from vrnlib.errors import VrnError
from vrnlib.table1 import paper
from vrnlib.table1.author_files import ARCHITECTURES, CELLS, Source, files

COMMIT = "df1ee3551c319dc9b2840d4b0fd48690b2bf6e8c"
URL = f"https://raw.githubusercontent.com/AaronJackson/thesis/{COMMIT}/chapter_faces/"
POSES = 21
"""Images of a scan of BU-4DFE: 3 pitches x 7 yaws."""
_LIMIT = 1 << 20  # bytes; the largest file has 414,400
_TIMEOUT = 30.0
_NAMES = "ablation/florence_detected.mat"


@dataclass(frozen=True)
class Errors:
    """Errors of one cell: values (n,), the image each belongs to (n,), from 1 (None if the file does not
    say), its person or scan (n,), its yaw in degrees (n,) or None.
    """

    values: np.ndarray
    numbers: np.ndarray | None
    persons: np.ndarray
    yaw: np.ndarray | None = None


def fetch(folder: str | Path | None = None, url: str = URL) -> Path:
    """Fetch what is not yet in `folder` (default: the user's cache), check all of it, return the folder.

    Raises
    ------
    VrnError : offline, or a file is not the one of the commit; nothing wrong is kept.
    """
    folder = cache_folder() / "thesis" if folder is None else Path(folder)
    for name, sha in files().items():
        target = folder / name
        if target.is_file() and provenance.sha256(target) == sha:
            continue
        try:
            with urllib.request.urlopen(url + name, timeout=_TIMEOUT) as answer:
                data = answer.read(_LIMIT + 1)
        except (OSError, ValueError) as error:
            raise VrnError(
                f"the authors' errors can't be fetched from {url} ({error}): go online once, or name a copy "
                "of chapter_faces with --author-arrays; until then their column says what authors.json holds"
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha:
            raise VrnError(
                f"{url}{name} is not the file we know (sha256 {found[:12]}..., expected {sha[:12]}...): "
                "nothing was kept"
            )
        with provenance.replacing(target) as temporary:
            temporary.write_bytes(data)
    return folder


def load(folder: str | Path, source: Source) -> np.ndarray:
    """The array ``E`` of a file, float64 (rows, columns).

    Raises
    ------
    VrnError : the file is missing, is not the authors' (SHA-256), or holds something else.
    """
    from scipy.io import loadmat

    path = Path(folder) / source.path
    found = provenance.sha256(path)
    if found != source.sha256:
        raise VrnError(
            f"'{path}' is damaged or not the authors' file (sha256 {found[:12]}..., expected "
            f"{source.sha256[:12]}...): copy or fetch it again"
        )
    array = np.asarray(loadmat(path)["E"], np.float64)
    if array.ndim != 2 or len(array) != source.rows or not np.isfinite(array).all():
        raise VrnError(f"'{path}' holds {array.shape} where {source.rows} rows of finite errors should be")
    return array


def florence_images(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Person (as text) and yaw in degrees of Florence's 921 images, from the names of their volumes,
    `florence_PERSON_PITCH_YAW[_..]_vol.raw`; and (33,) which persons were scored is implied by the errors.
    """
    from scipy.io import loadmat

    load(folder, CELLS["nme", "Florence", "guided"])  # checked
    raw = loadmat(Path(folder) / _NAMES)["names"]["name"].ravel()
    parts = [str(n[0]).split("_") for n in raw]
    return np.array([p[1] for p in parts]), np.array([float(p[3]) for p in parts])


def errors(folder: str | Path, cell: tuple[str, str, str]) -> Errors:
    """The errors of one cell of :data:`CELLS`.

    Raises
    ------
    VrnError : as in `load`, or there is no array for this cell.
    """
    if cell not in CELLS:
        raise VrnError(f"the authors' arrays hold no errors for {', '.join(cell)}")
    source, database = CELLS[cell], cell[1]
    array = load(folder, source)
    values = array[:, source.column]
    numbers = None if source.number is None else array[:, source.number].astype(int)
    if database == "Florence":
        persons, yaw = florence_images(folder)
        if len(array) == len(persons):  # all images, 0 where not scored
            numbers = np.flatnonzero(values > 0) + 1
            values = values[values > 0]
        elif numbers is None:  # the scored ones, in order
            numbers = load(folder, CELLS["nme", "Florence", "multitask"])[:, 0].astype(int)
        return Errors(values, numbers, persons[numbers - 1], yaw[numbers - 1])
    if database == "BU-4DFE":
        numbers = np.arange(1, len(values) + 1)
        return Errors(values, numbers, (numbers - 1) // POSES)
    return Errors(values, numbers, np.arange(len(values)))


def paired(a: Errors, b: Errors) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Errors of two methods on their common images, and the persons; None if a file does not name them."""
    if a.numbers is None or b.numbers is None:
        return None
    _, i, j = np.intersect1d(a.numbers, b.numbers, return_indices=True)
    return a.values[i], b.values[j], a.persons[i]


def summarise(folder: str | Path) -> dict[str, Any]:
    """Our summary of the arrays: per error, database and method `scores.summary` with the interval over
    persons, the shares, the cumulative curve and, for Florence, means by yaw; paired comparisons; the
    architecture experiments.
    """
    cells: dict[str, Any] = {}
    loaded = {cell: errors(folder, cell) for cell in CELLS}
    for (error, database, method), e in loaded.items():
        thresholds, shares = scores.cumulative_curve(e.values, most=0.2, points=41)
        row = {
            **scores.summary(e.values, groups=e.persons),
            "persons": len(set(e.persons.tolist())),
            "shares": scores.shares(e.values),
            "curve": {"thresholds": np.round(thresholds, 4), "shares": np.round(shares, 4)},
        }
        if e.yaw is not None:
            row["by_yaw"] = {
                f"{y:g}": scores.summary(e.values[e.yaw == y], groups=e.persons[e.yaw == y])
                for y in (-80.0, -40.0, 0.0, 40.0, 80.0)
            }
        cells.setdefault(error, {}).setdefault(database, {})[method] = row
    tests: dict[str, Any] = {}
    for one, other in combinations(CELLS, 2):
        (error, database, a), b = one, other[2]
        both = paired(loaded[one], loaded[other]) if one[:2] == other[:2] else None
        if both is not None:
            tests.setdefault(error, {}).setdefault(database, {})[f"{a} - {b}"] = scores.compare(
                both[0], both[1], groups=both[2]
            )
    paper_errors = load(folder, CELLS["nme", "AFLW2000-3D", "guided"])[:, 1]
    networks = {}
    for name, source in ARCHITECTURES.items():
        values = load(folder, source)[:, source.column]
        networks[name] = {**scores.summary(values), "against_the_paper": scores.compare(values, paper_errors)}
    return {
        "source": f"github.com/AaronJackson/thesis, commit {COMMIT}, chapter_faces",
        "files": files(),
        "printed": {"nme": paper.NME, "rigid": paper.RIGID},
        "cells": cells,
        "paired": tests,
        "architectures": networks,
    }


def write(target: str | Path, folder: str | Path | None = None) -> dict[str, Any]:
    """Summarise the arrays of `folder` (None: fetch them) into the JSON file `target`; returns the summary.

    Raises
    ------
    VrnError : as in `fetch` and `load`.
    """
    if folder is not None and not Path(folder).is_dir():
        raise VrnError(f"--author-arrays '{folder}' is not a folder: name a copy of chapter_faces")
    summary = summarise(fetch() if folder is None else folder)
    provenance.write_json(target, summary)
    return summary


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.table1.authors", description="Summarise the first author's per-image errors."
    )
    parser.add_argument("--author-arrays", type=Path, default=None, help="a copy of chapter_faces")
    parser.add_argument("--out", type=Path, default=Path("results/table1/authors.json"))
    given = parser.parse_args(arguments)
    try:
        summary = write(given.out, given.author_arrays)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for error, databases in summary["cells"].items():
        for database, methods in databases.items():
            for method, row in methods.items():
                printed = paper.TABLES[error][database][method]
                low, high = row["interval"]
                print(
                    f"{error:5} {database:11} {method:9} {row['mean']:.4f} (95 % {low:.4f} to {high:.4f}), "
                    f"printed {printed:.4f}, {row['faces']} images, {row['persons']} persons or scans"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
