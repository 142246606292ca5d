"""What is kept of each method on each database: rows of faces, and where on the face the errors lie.

`faces/DATABASE/METHOD.csv` has the rows (:data:`COLUMNS`), `METHOD.npz` beside it the errors of each point of
the face, summed on the mean face for the error maps. Both are replaced as a whole after each chunk of faces.
A row carries a `stamp`: what the prediction was made with (checkpoint, data, size, metric). A row with
another stamp is computed again, all others are kept, by whatever run.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.errors import VrnError
from vrnlib.provenance import replacing
from vrnlib.score_meshes import write_rows

COLUMNS = ("index", "identity", "expression", "pitch", "yaw", "roll", "nme", "nme_rigid", "nme_mask",
           "rigid_mask", "iou", "seconds", "vertices", "status", "stamp")  # fmt: skip
TEXTS = ("identity", "expression", "status", "stamp")


@dataclass
class Store:
    """What is known of one method on one database: rows by index, and the summed errors of its points.

    `total` and `weight` are (2, V) float64: errors (unmoved, rigid) of the true points spread onto the
    vertices of `samples.surface`, and how often each was hit; `mapped` says which faces are in them.
    """

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    total: np.ndarray | None = None
    weight: np.ndarray | None = None
    mapped: set[int] = field(default_factory=set)

    def add(
        self, rows: Sequence[dict[str, Any]], total: np.ndarray | None, weight: np.ndarray | None
    ) -> None:
        """Take in new faces and their share of the error map."""
        for row in rows:
            self.rows[row["index"]] = row
            self.mapped.add(row["index"])
        if total is not None and weight is not None:
            self.total = total if self.total is None else self.total + total
            self.weight = weight if self.weight is None else self.weight + weight

    def error_map(self, kind: int = 0) -> np.ndarray | None:
        """(V,) mean error at each vertex of the mean face, NaN where no point lies; `kind` 1: rigid."""
        if self.total is None or self.weight is None:
            return None
        with np.errstate(invalid="ignore"):
            return np.where(self.weight[kind] > 0, self.total[kind] / self.weight[kind], np.nan)

    def column(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """Values of a column for these faces: float64, or objects for a column of text."""
        values = [self.rows[i][name] for i in indices]
        return np.array(values, object if name in TEXTS else np.float64)


def paths(folder: Path, database: str, method: str) -> tuple[Path, Path]:
    """The CSV and the NPZ of one method on one database."""
    base = folder / "faces" / database
    return base / f"{method}.csv", base / f"{method}.npz"


def load_store(folder: Path, database: str, method: str, stamp: str | None = None) -> Store:
    """Read what is kept; with `stamp` only rows that carry it. Nothing kept is an empty store.

    Raises
    ------
    VrnError : the table was not written by this package.
    """
    table, maps = paths(folder, database, method)
    store = Store()
    if not table.is_file():
        return store
    for row in read_rows(table):
        if stamp is None or row["stamp"] == stamp:
            store.rows[row["index"]] = row
    try:
        with np.load(maps, allow_pickle=False) as file:
            mapped, same = set(file["indices"].tolist()), stamp is None or str(file["stamp"]) == stamp
            if same and mapped <= set(store.rows):
                store.mapped = mapped
                if file["total"].size:
                    store.total, store.weight = file["total"], file["weight"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # a lost or damaged map costs only its faces' predictions
    if stamp is not None:  # a face counts as done only if its errors are in the map
        store.rows = {i: r for i, r in store.rows.items() if i in store.mapped}
    return store


def save_store(folder: Path, database: str, method: str, store: Store, stamp: str) -> None:
    """Write both files, each all or nothing; the rows first, so that a map never knows more than they do."""
    table, maps = paths(folder, database, method)
    write_rows(table, [store.rows[i] for i in sorted(store.rows)], COLUMNS)
    none = np.zeros((0, 0), np.float32)
    with replacing(maps) as temporary:
        np.savez_compressed(
            temporary,
            indices=np.array(sorted(store.mapped), np.int64),
            total=none if store.total is None else store.total.astype(np.float32),
            weight=none if store.weight is None else store.weight.astype(np.float32),
            stamp=np.array(stamp),
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of faces; numbers as float, `index` as int.

    Raises
    ------
    VrnError : it can't be read, or is another table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise VrnError(f"'{path}' is not a table of faces of this package: delete it or choose --out")
            rows = list(reader)
            if any(None in r.values() or None in r for r in rows):
                raise ValueError("a row is cut off")
            return [
                {k: v if k in TEXTS else int(v) if k == "index" else float(v or "nan") for k, v in r.items()}
                for r in rows
            ]
    except (OSError, ValueError, TypeError) as error:
        raise VrnError(
            f"'{path}' is damaged ({error}): delete it, its faces are then computed again"
        ) from error
