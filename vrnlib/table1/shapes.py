"""The distance of every scored face to training's shapes: `results/table1/faces/DATABASE/shapes.csv`.

One row a face; computed once a shape (a person with an expression, whatever the pose), kept with a stamp of
the morphable model. See `vrnlib.table1.span` for what is measured.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vrnlib.baselines import morphable
from vrnlib.errors import VrnError
from vrnlib.provenance import project_folder, sha256
from vrnlib.score_meshes import write_rows
from vrnlib.table1 import samples
from vrnlib.table1.predictions import CHUNK, stamp_of
from vrnlib.table1.span import Span

COLUMNS = ("index", "residual", "typicality", "stamp")
_WORKER: dict[Any, Any] = {}


def _key(info: dict[str, Any], index: int) -> tuple[str, str]:
    return str(info["identity"]), str(info["expression"])


def _work(task: tuple[str, str, Path | None, tuple[int, ...]]) -> list[tuple[int, float, float]]:
    database, profile, path, indices = task
    if "span" not in _WORKER:
        _WORKER["span"] = Span(morphable.load_morphable())
    if task[:3] not in _WORKER:
        _WORKER[task[:3]] = samples.open_faces(database, profile, path)
    out = []
    for index in indices:
        sample = _WORKER[task[:3]].data[index]
        found = _WORKER["span"].distance(sample["points"], sample["eyes"], sample["pose"])
        out.append((index, found.residual, found.typicality))
    return out


def read(folder: Path, database: str, stamp: str | None = None) -> dict[int, tuple[float, float]]:
    """Index -> (residual, typicality) of what is kept. VrnError if the table is damaged."""
    path = folder / "faces" / database / "shapes.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                int(r["index"]): (float(r["residual"]), float(r["typicality"]))
                for r in csv.DictReader(file)
                if stamp in (None, r["stamp"])
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VrnError(f"'{path}' is damaged ({error}): delete it, it is then computed again") from error


def rows_of(
    keys: dict[int, tuple[str, str]], by_shape: dict[tuple[str, str], tuple[float, float]], stamp: str
) -> list[dict[str, Any]]:
    """The rows of all faces whose shape has been measured."""
    return [
        {"index": i, "residual": by_shape[k][0], "typicality": by_shape[k][1], "stamp": stamp}
        for i, k in sorted(keys.items())
        if k in by_shape
    ]


def measure(
    folder: Path,
    database: str,
    indices: Sequence[int],
    pool: Any,
    *,
    profile: str = "laptop",
    path: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[int, tuple[float, float]]:
    """Index -> (residual, typicality) of these faces; what is kept is not computed again.

    Raises
    ------
    VrnError : no morphable model, the database can't be had, or the kept table is damaged.
    """
    faces = samples.open_faces(database, profile, path)
    stamp = stamp_of(sha256(project_folder() / morphable.PATH), faces.version, faces.size)
    known = read(folder, database, stamp)
    keys = {i: _key(faces.info(i), i) for i in {*indices, *known}}
    by_shape = {keys[i]: value for i, value in known.items()}
    todo: dict[tuple[str, str], int] = {}
    for i in indices:
        if keys[i] not in by_shape:
            todo.setdefault(keys[i], i)
    first = list(todo.values())
    tasks = [(database, profile, path, tuple(first[b : b + CHUNK])) for b in range(0, len(first), CHUNK)]
    done = 0
    for result in pool.imap(_work, tasks):
        by_shape |= {keys[i]: (residual, typicality) for i, residual, typicality in result}
        done += len(result)
        write_rows(folder / "faces" / database / "shapes.csv", rows_of(keys, by_shape, stamp), COLUMNS)
        if progress:
            progress(f"{database}, shapes", done, len(first))
    # from disk, rounded as later runs will find it
    written = read(folder, database, stamp)
    missing = [i for i in indices if i not in written]
    if missing:  # another pose of a known shape
        write_rows(folder / "faces" / database / "shapes.csv", rows_of(keys, by_shape, stamp), COLUMNS)
        written = read(folder, database, stamp)
    return {i: written[i] for i in indices}
