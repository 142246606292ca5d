"""All of Table 1, in order: predictions, distances, costs, tables, curves, tests, pictures.

Everything is kept in `results/table1` and computed only if it is missing or something it depends on has
changed, so that an interrupted run goes on where it stopped.

=================== ===================================================================================
`authors.json`      our summary of the first author's errors (`vrnlib.table1.authors`)
`faces/`            rows and error maps, a pair of files a database and method; `shapes.csv`
`costs.json`        time and memory
`table1.json`       the tables with verdicts, the other methods, what has not run and why
`table1.md`         the same to read
`breakdown.json`    curves, by yaw, expression and distance; paired tests
`examples/`         best, median and worst faces
`error-map-*.jpg`   where on the face the errors lie
`provenance.json`   what it was made with
=================== ===================================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vrnlib import provenance
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.params import profile as profile_named
from vrnlib.table1 import authors, cost, entrants, paper, pictures, predictions
from vrnlib.table1 import samples as sets
from vrnlib.table1 import shapes as shape_distances
from vrnlib.table1 import table as tables
from vrnlib.table1.report import Results, report

FACES = 300
"""Faces a database, unless told otherwise; the two controls get half as many."""
COST_FACES = 8
Say = Callable[[str], None]


def parse_data(given: Sequence[str]) -> dict[str, Path]:
    """``["Florence=~/florence"]`` -> name -> folder.

    Raises
    ------
    VrnError : no ``=``, an unknown name, or no folder.
    """
    out = {}
    for text in given:
        name, sign, folder = text.partition("=")
        if not sign:
            raise VrnError(f"--data '{text}' names no folder: write --data NAME=PATH")
        if name not in paper.DATABASES:
            raise VrnError(
                f"unknown database '{name}'{did_you_mean(name, paper.DATABASES)}: --data takes "
                f"{', '.join(paper.DATABASES)}"
            )
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise VrnError(f"--data {name}: '{folder}' is not a folder")
        out[name] = path
    return out


def run(
    out: str | Path,
    *,
    profile: str = "laptop",
    faces: int = FACES,
    workers: int = 0,
    methods: Sequence[str] | None = None,
    databases: Sequence[str] | None = None,
    data: Mapping[str, Path] | None = None,
    author_arrays: str | Path | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Compute what is missing, write every table; returns the contents of table1.json.

    Parameters
    ----------
    out : folder of the results.
    faces : a database of the table; half as many of each control.
    workers : processes; 0 is one a processor.
    methods, databases : compute only these (default all); the tables also hold what is kept and still valid.
    data : the paper's database -> folder of the real one.
    author_arrays : a copy of the author's arrays to summarise again; None keeps authors.json, or fetches.

    Raises
    ------
    VrnError : an unknown method, database or profile, fewer than 2 faces, damaged arrays or tables.
    """
    start, out, scale = time.perf_counter(), Path(out), profile_named(profile)
    if faces < 2:
        raise VrnError(f"an interval needs at least 2 faces a database, got {faces}")
    wanted = list(databases or sets.NAMES)
    for name in wanted:
        if name not in sets.NAMES:
            raise VrnError(
                f"unknown database '{name}'{did_you_mean(name, sets.NAMES)}: known are "
                f"{', '.join(sets.NAMES)}; real ones are given with --data NAME=PATH"
            )
    able, reasons = entrants.find(methods, scale.size)
    summary, why = _authors(out, author_arrays)
    if why:
        say(f"author's arrays: not run, {why}")
    for name, reason in reasons.items():
        say(f"{name}: not run, {reason}")
    others = entrants.unopened([n for n in entrants.names() if n not in able and n not in reasons])
    found = Results(reasons=reasons)
    pool = predictions.make_pool(workers)

    def progress(what: str, done: int, todo: int) -> None:
        say(f"{what}: {done} of {todo} faces, {time.perf_counter() - start:.0f} s")

    try:
        for name in sets.NAMES:
            count = faces if name in paper.STAND_INS.values() else max(2, faces // 2)
            if name not in wanted and not (out / "faces" / name).is_dir():
                continue
            doing, known = (able, others) if name in wanted else ({}, able | others)
            try:
                _one(found, out, name, doing, known, count, profile, None, pool, progress)
            except VrnError as error:
                if name != "mapped-scans" or "fetch" not in str(error):
                    raise
                found.missing[name] = str(error)
                say(f"{name}: not run, {error}")
        for name, path in (data or {}).items():
            _one(found, out, name, able, others, faces, profile, path, pool, progress)
            store, indices = found.stores.pop(name, {}), found.indices.pop(name, [])
            found.distances.pop(name, None)
            for error, column in tables.ERRORS.items():
                found.real.setdefault(error, {})[name] = {
                    m: tables.summarise(s, indices, column) for m, s in store.items()
                }
    finally:
        pool.terminate()
    shown_methods = {m for stores in found.stores.values() for m in stores}
    present = {m: e for m, e in (able | others).items() if m in shown_methods}
    found.reasons |= {m: "not asked for, and nothing valid is kept" for m in others if m not in present}
    for name, entrant in able.items():
        if entrants.fingerprint(name) != entrant.fingerprint:
            say(f"{name} has changed during this run: run again, its faces will be computed anew")
    costs = _costs(out, able, present, found, profile, say)
    content = report(out, found, present, summary, costs, {"profile": profile, "faces": faces})
    for name, indices in found.indices.items():
        target = out / "examples" / f"{name}.jpg"
        say(f"{name}: examples")
        opened = sets.open_faces(name, profile)
        shown_here = {m: e for m, e in present.items() if "-seed" not in m}
        examples = pictures.example_sheet(target, opened, found.stores[name], shown_here, indices)
        provenance.write_json(target.with_suffix(".json"), examples)
    maps = [m for m in present if entrants.on_mask(m, "")]
    shown = {n: s for n, s in found.stores.items() if n in paper.STAND_INS.values()} or found.stores
    for kind, (error, most) in enumerate(pictures.MAPS.items()):
        pictures.error_map_sheet(out / f"error-map-{error}.jpg", shown, maps, kind, most)
    seconds = time.perf_counter() - start
    checkpoints = sorted((provenance.project_folder() / entrants.CHECKPOINTS).glob("*.safetensors"))
    record = provenance.collect(
        {"profile": profile, "faces": faces, "methods": list(present), "databases": list(found.stores)},
        {"synth-lp": sets.TEST_SEED},
        checkpoints,
        seconds,
    )
    provenance.write_json(out / "provenance.json", record)
    say(f"{out}: {seconds:.0f} s")
    return content


def _one(
    found: Results, out: Path, name: str, able: Mapping[str, entrants.Entrant],
    others: Mapping[str, entrants.Entrant], count: int, profile: str, path: Path | None, pool: Any,
    progress: Callable[[str, int, int], None],
) -> None:  # fmt: skip
    # One database: predictions of `able`; of `others` what is kept; then the distances of its shapes.
    if able:
        predictions.predict_all(
            out, name, able, count, profile=profile, path=path, pool=pool, progress=progress
        )
    opened = sets.open_faces(name, profile, path)
    indices, stores = opened.indices(count), {}
    for method in entrants.names():
        entrant = able.get(method) or others.get(method)
        if entrant is None:
            continue
        # from disk: a table made now and one made later from the same rows must not differ in the last digit
        stamp = predictions.stamp_of(entrant.fingerprint, opened.version, opened.size)
        kept = predictions.load_store(out, name, method, stamp)
        if set(indices) <= set(kept.rows):
            stores[method] = kept
    if stores:
        found.stores[name], found.indices[name] = stores, indices
        found.distances[name] = shape_distances.measure(
            out, name, indices, pool, profile=profile, path=path, progress=progress
        )


def _authors(out: Path, folder: str | Path | None) -> tuple[dict[str, Any] | None, str]:
    # The summary of the author's arrays, or why there is none.
    target = out / "authors.json"
    if folder is not None:
        return authors.write(target, folder), ""
    if target.is_file():
        return provenance.read_json(target), ""
    try:
        return authors.write(target), ""
    except VrnError as error:
        return None, str(error)


def _costs(
    out: Path, able: Mapping[str, entrants.Entrant], present: Mapping[str, entrants.Entrant],
    found: Results, profile: str, say: Say,
) -> dict[str, Any]:  # fmt: skip
    # Time and memory, measured again for the methods that have changed.
    target = out / "costs.json"
    kept = provenance.read_json(target) if target.is_file() else {}
    todo = {
        m: e
        for m, e in able.items()
        if "-seed" not in m and m != entrants.TRUTH and kept.get(m, {}).get("of") != e.fingerprint
    }
    if todo and found.indices:
        say(f"time and memory of {', '.join(todo)}")
        name = next(iter(found.indices))
        faces = sets.open_faces(name, profile)
        crops = [faces.data[i] for i in found.indices[name][: COST_FACES + cost.WARM_UP]]
        for method, measured in cost.measure(todo, crops).items():
            of = able[method].fingerprint if method in able else ""
            kept[method] = {**measured, "of": of, "machine": provenance.machine()["processor"]}
        provenance.write_json(target, kept)
    return {m: c for m, c in kept.items() if m in present or m == "nothing"}
