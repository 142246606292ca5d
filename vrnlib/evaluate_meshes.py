"""`vrn evaluate`: score a folder of meshes by the paper's protocol (see `notebooks/06_evaluate_nme`)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import score_meshes, scores
from vrnlib.databases.testsets import NAMES, open_test_set
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.params import depth_of
from vrnlib.provenance import collect, read_json, replacing, writable_folder, write_json
from vrnlib.score_meshes import Truth, sample_truth

SMALLEST = 32
"""Side of the smallest images, pixels: that of the profile ``smoke``."""


def not_negative(**numbers: int) -> None:
    """VrnError that names the first of these numbers that is below 0."""
    for name, value in numbers.items():
        if value < 0:
            raise VrnError(f"{name} is {value}: it must be 0 or more")


def open_truths(
    database: str, faces: int, size: int, seed: int
) -> tuple[dict[str, Callable[[], Truth]], Callable[[str], np.ndarray] | None]:
    """Name -> ground truth, and name -> image (size, size, 3) uint8 where the database has images.

    `database` is a name (see `vrnlib.databases.testsets` for which samples `faces` means) or a folder of NPZ
    files (see `vrnlib.score_meshes`), which is taken whole.

    Raises
    ------
    VrnError : neither of them, a folder without ground truth, images smaller than `SMALLEST`, or a negative
    number of faces or seed.
    """
    if Path(database).is_dir():
        return score_meshes.folder_truths(database), None
    if database not in NAMES:
        hint = did_you_mean(database, NAMES)
        raise VrnError(f"'{database}' is neither a folder of ground truth nor a database{hint}: known are "
                       f"{', '.join(NAMES)}")  # fmt: skip
    not_negative(faces=faces, seed=seed)
    if size < SMALLEST:
        raise VrnError(f"size is {size}: images need at least {SMALLEST} pixels a side")
    test, lock = open_test_set(database, size, depth_of(size), faces, seed), threading.Lock()
    prefix = f"{database}-{seed}" if database == "synth-lp" else database

    def sample(name: str) -> dict[str, np.ndarray]:
        with lock:  # the database keeps faces between calls
            return test.data[int(name.rsplit("-", 1)[1])]

    def truth(name: str, index: int) -> Truth:
        return sample_truth({**sample(name), **test.info(index)})

    names = [f"{prefix}-{i:06d}" for i in test.indices]
    truths = {name: partial(truth, name, i) for name, i in zip(names, test.indices, strict=True)}
    return truths, lambda name: sample(name)["image"]


def export_truths(database: str, folder: str | Path, faces: int, size: int, seed: int) -> int:
    """Write NAME.npz (ground truth) and NAME.png (image to reconstruct) of each face; returns how many."""
    from PIL import Image

    folder = writable_folder(folder)
    truths, image = open_truths(database, faces, size, seed)
    if image is None:
        raise VrnError(f"'{database}' is a folder of ground truth already")
    for name, truth in truths.items():
        score_meshes.write_truth(folder / f"{name}.npz", truth())
        with replacing(folder / f"{name}.png") as temporary:
            Image.fromarray(image(name)).save(temporary)
    return len(truths)


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of the table -> what the JSON says: both variants, shares, breakdowns, failures, warnings."""
    nme, rigid = (np.array([r[k] for r in rows], float) for k in ("nme", "nme_rigid"))
    people = [r["identity"] or r["name"] for r in rows]
    groups = people if len(set(people)) < len(people) else None
    result: dict[str, Any] = {
        "nme": scores.summary(nme, groups=groups),
        "nme_rigid": scores.summary(rigid, groups=groups),
        "shares": scores.shares(nme),
        "interval_over": "persons" if groups else "faces",
        "persons": len(set(people)),
    }
    if all(r["yaw"] != "" for r in rows):
        yaw = [float(r["yaw"]) for r in rows]
        edges = scores.YAW_EDGES if np.abs(yaw).max() <= 90 else (*scores.YAW_EDGES, 180.0)
        result["by_yaw"] = scores.by_yaw(nme, yaw, edges, groups=groups)
    if any(r["expression"] for r in rows):
        result["by_expression"] = scores.by_label(nme, [r["expression"] for r in rows], groups=groups)
    result["failed"] = {r["name"]: r["status"] for r in rows if r["status"] != "ok"}
    result["warnings"] = {r["name"]: r["warning"] for r in rows if r["warning"]}
    return result


def draw_curves(path: Path, rows: list[dict[str, Any]]) -> None:
    """Cumulative error curves of both variants as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from vrnlib import figures

    figures.style()
    figure, axis = plt.subplots(figsize=(5.2, 3.4))
    for key, label in (("nme", "NME (Eq. 2)"), ("nme_rigid", "NME after rigid alignment")):
        values = np.array([r[key] for r in rows], float)
        if np.isfinite(values).any():
            most = max(0.2, float(np.nanquantile(values, 0.95)))
            x, y = scores.cumulative_curve(values, most)
            axis.plot(x, 100 * y, label=label)
    axis.set(xlabel="error", ylabel="faces with at most this error, %", ylim=(0, 101), xlim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary)
    plt.close(figure)


def evaluate_folder(
    predictions: str | Path, database: str, out: str | Path, *, frame: str = "file", correspondence: str =
    "icp", faces: int = 100, size: int = 192, seed: int = 2_000_003, workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score a folder of meshes; writes `errors.csv`, `metrics.json`, `curves.png`, `provenance.json` into
    `out`.

    Raises
    ------
    VrnError : see `open_truths` and `score_meshes.score_all`; `out` can't be written to, or holds an
    evaluation with other settings; a negative number of workers.
    """
    not_negative(workers=workers)
    start, out = time.perf_counter(), writable_folder(out)
    meshes = score_meshes.predictions(predictions)
    truths, _ = open_truths(database, faces, size, seed)
    named = {"faces": faces, "size": size, "seed": seed} if database in NAMES else {}
    source = database if named else Path(database).name
    settings = {"database": source, "frame": frame, "correspondence": correspondence, **named}
    if (out / "settings.json").is_file() and read_json(out / "settings.json") != settings:
        raise VrnError(f"'{out}' holds an evaluation with other settings: choose another --out, or delete it")
    table = out / "errors.csv"
    workers = workers or os.cpu_count() or 1
    if not (set(meshes) & set(truths)):  # nothing may be written then
        score_meshes.score_all(meshes, truths, table, frame=frame, correspondence=correspondence)
    write_json(out / "settings.json", settings)
    rows = score_meshes.score_all(
        meshes, truths, table, frame=frame, correspondence=correspondence, workers=workers, progress=progress
    )
    result = {**summarise(rows), "settings": settings, "unused": sorted(set(meshes) - set(truths))}
    draw_curves(out / "curves.png", rows)
    write_json(out / "provenance.json", collect(settings, {"seed": seed}, [], time.perf_counter() - start))
    write_json(out / "metrics.json", result)
    return result


def describe(result: dict[str, Any]) -> str:
    """The result as lines of text for a terminal; each kind of warning once, with its first example."""
    lines = []
    for key, label in (("nme", "NME"), ("nme_rigid", "NME after rigid alignment")):
        s = result[key]
        if s["mean"] is not None:
            low, high = s["interval"]
            lines.append(
                f"{label} {s['mean']:.4f} (95 % {low:.4f} to {high:.4f}, over {result['interval_over']}), "
                f"median {s['median']:.4f}, {s['faces']} faces, {s['failed']} failed"
            )
    lines.append("  " + ", ".join(f"{100 * (v or 0):.0f} % below {k}" for k, v in result["shares"].items()))
    lines += [
        f"  |yaw| {b['low']:.0f} to {b['high']:.0f} deg: {b['mean']:.4f}, {b['faces']} faces"
        for b in result.get("by_yaw", ())
        if b["mean"] is not None
    ]
    lines += [
        f"  {name or 'no label'}: {b['mean']:.4f}, {b['faces']} faces"
        for name, b in result.get("by_expression", {}).items()
        if b["mean"] is not None
    ]
    for title, what in (("warning", result["warnings"]), ("failed", result["failed"])):
        kinds: dict[str, list[str]] = {}
        for name, text in what.items():
            kinds.setdefault(text.split(":")[0], []).append(name)
        lines += [f"{title}: {len(n)} faces, first '{n[0]}': {what[n[0]]}" for n in kinds.values()]
    if result["unused"]:
        lines.append(
            f"warning: {len(result['unused'])} meshes belong to no face, first '{result['unused'][0]}'"
        )
    return "\n".join(lines)
