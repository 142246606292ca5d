"""Each method on each face: one row a face, kept (`vrnlib.table1.store`), resumable, never computed twice.

A face is drawn once for all methods that lack it. A method that fails on it has NaN there and a `status` that
says why.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import metrics
from vrnlib.errors import VrnError
from vrnlib.table1 import entrants, samples
from vrnlib.table1.store import Store, load_store, save_store

SCORING = "1"
"""Version of what a row holds; raise it when the scoring changes."""
CHUNK = 10
"""Faces after which what is done is written."""


def stamp_of(fingerprint: str, version: str, size: int) -> str:
    """16 hex digits that change with the method, the data, the size or the scoring."""
    return hashlib.sha256(repr((fingerprint, version, size, SCORING)).encode()).hexdigest()[:16]


def score_face(
    runner: entrants.Runner,
    sample: Mapping[str, np.ndarray],
    info: Mapping[str, Any],
    mask: np.ndarray | None = None,
) -> tuple[dict[str, Any], metrics.Score | None]:
    """One method on one face: its row (without index and stamp), and the score.

    `mask` (P,) bool says which true points MediaPipe's mesh covers: every method is scored a second time on
    these alone, `nme_mask` and `rigid_mask`. A method that covers no more has these as its `nme` as well.
    """
    pitch, yaw, roll = np.rad2deg(sample["pose"]).tolist()
    row: dict[str, Any] = {
        "identity": str(info["identity"]), "expression": str(info["expression"]), "pitch": pitch, "yaw": yaw,
        "roll": roll, "nme": np.nan, "nme_rigid": np.nan, "nme_mask": np.nan, "rigid_mask": np.nan,
        "iou": np.nan, "seconds": np.nan, "vertices": 0, "status": "ok",
    }  # fmt: skip
    start = time.perf_counter()
    try:
        found = runner.predict(sample)
        row |= {"seconds": time.perf_counter() - start, "vertices": len(found.vertices)}
        if found.volume is not None:
            row["iou"] = metrics.iou(found.volume, sample["volume"])
        points, eyes = sample["points"], sample["eyes"]
        if mask is not None:
            score = metrics.score(found.vertices, points[mask], eyes)
            row |= {"nme_mask": score.nme, "rigid_mask": score.rigid}
        elif runner.mask_only:
            raise VrnError("which points this method covers is not known for this face")
        if not runner.mask_only:
            score = metrics.score(found.vertices, points, eyes)
    except VrnError as error:
        return {**row, "status": " ".join(str(error).split())[:200]}, None
    return {**row, "nme": score.nme, "nme_rigid": score.rigid}, score


def _spread(
    surface: samples.Surface,
    score: metrics.Score,
    chosen: np.ndarray | None,
    total: np.ndarray,
    weight: np.ndarray,
) -> None:
    # Errors of points -> the vertices around them, weighted; added to total and weight, (2, V) each.
    ids, w = (
        (surface.ids, surface.weights) if chosen is None else (surface.ids[chosen], surface.weights[chosen])
    )
    for kind, errors in enumerate((score.errors, score.rigid_errors)):
        total[kind] += np.bincount(ids.ravel(), (w * errors[:, None]).ravel(), total.shape[1])
        weight[kind] += np.bincount(ids.ravel(), w.ravel(), total.shape[1])


_WORKER: dict[Any, Any] = {}  # of a process: databases and methods that it has opened


def _start_worker() -> None:
    from vrnlib.processes import one_thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the parent's to handle
    one_thread()


def _work(task: Task) -> dict[str, tuple[list[dict[str, Any]], np.ndarray | None, np.ndarray | None]]:
    # Draw each face once, and let every method that lacks it try.
    key = (task.database, task.profile, task.path)
    if key not in _WORKER:
        _WORKER[key] = samples.open_faces(*key)
    faces, surface = _WORKER[key], samples.surface(task.database)
    for name, options in task.methods.items():
        if name not in _WORKER:
            _WORKER[name] = entrants.open_runner(name, **options)
    shape = (2, len(surface.vertices)) if surface is not None else None
    out: dict[str, Any] = {
        name: ([], None if shape is None else np.zeros(shape), None if shape is None else np.zeros(shape))
        for name in task.methods
    }
    for index in task.indices:
        sample, info = faces.data[index], faces.info(index)
        mask = samples.mediapipe_region(task.database, sample, info)
        for name in task.methods:
            wants = entrants.on_mask(name, task.database)
            row, score = score_face(_WORKER[name], sample, info, mask if wants else None)
            rows, total, weight = out[name]
            rows.append({"index": index, **row})
            if score is not None and surface is not None and samples.corresponds(task.database, info):
                chosen = None if len(score.errors) == len(surface.ids) else mask
                _spread(surface, score, chosen, total, weight)
    return out


@dataclass(frozen=True)
class Task:
    """Faces of one database for the methods that lack them; `methods` name -> options of `open_runner`."""

    database: str
    profile: str
    path: Path | None
    indices: tuple[int, ...]
    methods: Mapping[str, Mapping[str, Any]]


def plan(
    wanted: Sequence[int], missing: Mapping[str, set[int]], chunk: int
) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Chunks of faces, in the order of `wanted`, and which methods lack them; no face that none lacks."""
    lacking = [(i, tuple(m for m in missing if i in missing[m])) for i in wanted]
    for methods, group in groupby(lacking, key=lambda pair: pair[1]):
        indices = [i for i, _ in group]
        if methods:
            for begin in range(0, len(indices), chunk):
                yield tuple(indices[begin : begin + chunk]), methods


def predict_all(
    folder: Path,
    database: str,
    methods: Mapping[str, entrants.Entrant],
    faces: int,
    *,
    profile: str = "laptop",
    path: Path | None = None,
    workers: int = 0,
    pool: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Store]:
    """Score the first `faces` faces of a database by each method that can run; name -> `Store`.

    What is already there is not computed again; an interrupted call loses at most a chunk a process.

    Parameters
    ----------
    folder : of the results; methods : name -> an entrant that can run (`entrants.find`).
    path : of a real database.
    workers : processes; 0 is one a processor. `pool` : one that exists already (see `make_pool`).
    progress : called with the database, the number of faces done and to do.

    Raises
    ------
    VrnError : the database can't be had, or a kept table is damaged.
    """
    opened = samples.open_faces(database, profile, path)
    wanted = opened.indices(faces)
    stamps = {m: stamp_of(e.fingerprint, opened.version, opened.size) for m, e in methods.items()}
    stores = {m: load_store(folder, database, m, stamps[m]) for m in methods}
    missing = {m: set(wanted) - set(s.rows) for m, s in stores.items()}
    tasks = [
        Task(database, profile, path, indices, {m: methods[m].options for m in names})
        for indices, names in plan(wanted, missing, CHUNK)
    ]
    todo, done = sum(len(t.indices) for t in tasks), 0
    if not tasks:
        return stores
    own = pool is None
    pool = make_pool(workers) if own else pool
    try:
        for result in pool.imap(_work, tasks):
            for method, (rows, total, weight) in result.items():
                stamped = [{**r, "stamp": stamps[method]} for r in rows]
                stores[method].add(stamped, total, weight)
                save_store(folder, database, method, stores[method], stamps[method])
            done += len(rows)
            if progress:
                progress(database, done, todo)
    finally:
        if own:
            pool.terminate()
    return stores


def make_pool(workers: int = 0) -> Any:
    """Processes that score; 0 is one a processor."""
    count = workers or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return multiprocessing.get_context("spawn").Pool(count, _start_worker)
