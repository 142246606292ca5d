"""Score a network on a test set: NME (Eq. 2) with its confidence interval, per yaw band, and IoU.

    python -m vrnlib.evaluate --network results/checkpoints/vrn-laptop.safetensors \\
        --out results/evaluation/vrn-laptop

The paper's protocol: correspondence by ICP, depth aligned, errors on the unmoved mesh (`nme`) and on the
rigidly aligned one (`nme_rigid`); `--correspondence nearest` is the cheap option. The default test set is
`synth-lp`: one face a person, each in another pose, without augmentation; the people come from another seed
than training's, so none was seen. `--database` names another (:mod:`vrnlib.databases.testsets`).
Meshes of other methods are scored by `vrn evaluate` (`vrnlib.evaluate_meshes`).
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import metrics, scores
from vrnlib.databases.testsets import NAMES, open_test_set
from vrnlib.errors import VrnError
from vrnlib.evaluate_meshes import not_negative
from vrnlib.provenance import collect, replacing, writable_folder, write_json

TEST_SEED = 2_000_003
"""Training uses seed 0 (and three seeds later), validation 1,000,003."""
COLUMNS = (
    "index", "identity", "expression", "pitch", "yaw", "roll",
    "nme", "nme_rigid", "iou", "floor", "removed_bodies",
)  # fmt: skip


def score_face(network: Any, sample: dict[str, np.ndarray], correspondence: str = "icp") -> dict[str, float]:
    """One held-out sample (with `truth`) -> nme, nme_rigid, iou, floor, removed_bodies.

    `floor` is the NME of the true volume itself: what voxels, and the far side of a profile that the volume
    cuts off, cost a perfect network. A volume without a surface scores NaN, not a guess.
    """
    volume = network.predict(sample["image"])
    row = {"iou": metrics.iou(volume, sample["volume"])}
    row["floor"], _, _ = _surface_error(sample["volume"], sample, correspondence)
    row["nme"], row["nme_rigid"], row["removed_bodies"] = _surface_error(volume, sample, correspondence)
    return row


def _surface_error(
    volume: np.ndarray, sample: dict[str, np.ndarray], correspondence: str
) -> tuple[float, float, int]:
    from vrnlib.labelling import largest_body
    from vrnlib.voxel import isosurface

    try:
        vertices, faces = isosurface(volume)
    except VrnError:
        return float("nan"), float("nan"), 0
    vertices, faces, removed = largest_body(vertices, faces)
    s = metrics.score(vertices, sample["points"], sample["eyes"], correspondence=correspondence, faces=faces)
    return s.nme, s.rigid, removed


_WORKER: dict[str, Any] = {}  # of a worker process: its network and its data


def _start_worker(network_path: Path, database: str, seed: int, correspondence: str) -> None:
    from vrnlib.processes import one_thread
    from vrnlib.reconstruct import load_network

    one_thread()
    network = load_network(network_path)
    depth = network.model.architecture.depth
    test = open_test_set(database, network.size, depth, faces=1, seed=seed)
    _WORKER.update(network=network, test=test, correspondence=correspondence)


def _score_index(index: int) -> dict[str, Any]:
    test = _WORKER["test"]
    sample, info = test.data[index], test.info(index)
    pitch, yaw, roll = np.rad2deg(sample["pose"]).tolist()
    return {
        "index": index,
        "identity": info["identity"],
        "expression": info["expression"],
        "pitch": pitch,
        "yaw": yaw,
        "roll": roll,
        **score_face(_WORKER["network"], sample, _WORKER["correspondence"]),
    }


def evaluate(
    network_path: str | Path,
    out: str | Path,
    faces: int = 500,
    seed: int = TEST_SEED,
    workers: int = 0,
    correspondence: str = "icp",
    database: str = "synth-lp",
) -> dict[str, Any]:
    """Score `faces` faces of `database` (0: all of a frozen one) and write `errors.csv` (a row a face),
    `metrics.json` and `provenance.json` into `out`. `workers` processes share the work (0: one a processor);
    their number does not change the result. Intervals are over persons where a person has several faces.

    Returns
    -------
    The contents of `metrics.json`: `nme`, `nme_rigid` and `iou` (mean, interval of the mean, median, counts),
    `shares` of faces below usual errors, `by_yaw`, and what was scored.

    Raises
    ------
    VrnError : the checkpoint can't be read, `out` can't be written to, fewer than 2 faces are asked for, a
    negative seed or number of workers, or an unknown correspondence.
    """
    from vrnlib.reconstruct import load_network

    if faces < 2 and (faces or database == "synth-lp"):
        raise VrnError(f"an interval needs at least 2 faces, got {faces}")
    not_negative(seed=seed, workers=workers)
    if correspondence not in metrics.CORRESPONDENCES:
        known = ", ".join(metrics.CORRESPONDENCES)
        raise VrnError(f"unknown correspondence '{correspondence}': use {known}")
    start, out = time.perf_counter(), writable_folder(out)
    network = load_network(network_path)  # a damaged one is refused here, once
    test = open_test_set(database, network.size, network.model.architecture.depth, faces, seed)
    indices = test.indices
    start_with = (Path(network_path), database, seed, correspondence)
    pool = multiprocessing.get_context("spawn").Pool(
        min(workers or os.cpu_count() or 1, len(indices)), _start_worker, start_with
    )
    with pool:
        rows = pool.map(_score_index, indices, chunksize=4)
    errors = np.array([r["nme"] for r in rows])
    people = [r["identity"] for r in rows]
    groups = people if len(set(people)) < len(people) else None  # faces of one person are not independent
    result = {
        "nme": scores.summary(errors, groups=groups),
        "nme_rigid": scores.summary([r["nme_rigid"] for r in rows], groups=groups),
        "shares": scores.shares(errors),
        "iou": scores.summary([r["iou"] for r in rows], groups=groups),
        "by_yaw": scores.by_yaw(errors, [r["yaw"] for r in rows], groups=groups),
        "floor": scores.summary([r["floor"] for r in rows]),
        "floor_by_yaw": scores.by_yaw([r["floor"] for r in rows], [r["yaw"] for r in rows]),
        "removed_bodies": float(np.mean([r["removed_bodies"] for r in rows])),
        "correspondence": correspondence,
        "database": database,
        "persons": len(set(people)),
        "data": test.version,
        "seed": seed,
        "network": Path(network_path).name,
        "training": network.meta,
    }
    with (
        replacing(out / "errors.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({k: r[k] if k in COLUMNS[:3] else f"{r[k]:.6g}" for k in COLUMNS} for r in rows)
    write_json(
        out / "provenance.json",
        collect(
            {"database": database, "faces": len(indices), "correspondence": correspondence},
            {"test": seed},
            [Path(network_path)],
            time.perf_counter() - start,
        ),
    )
    write_json(out / "metrics.json", result)
    return result


def describe(result: dict[str, Any]) -> str:
    """The result as lines of text for a terminal."""
    n, rigid = result["nme"], result["nme_rigid"]
    if n["mean"] is None:
        return f"{n['faces']} faces, none with a result"
    low, high = n["interval"]
    lines = [
        f"NME {n['mean']:.4f} (95 % {low:.4f} to {high:.4f}), median {n['median']:.4f}, "
        f"{n['faces']} faces, {n['failed']} failed; IoU {result['iou']['mean']:.3f}"
    ]
    if rigid["mean"] is not None:
        lines.append(f"  after rigid alignment {rigid['mean']:.4f}")
    lines += [
        f"  |yaw| {b['low']:2.0f} to {b['high']:2.0f} deg: NME {b['mean']:.4f}, {b['faces']} faces"
        for b in result["by_yaw"]
        if b["mean"] is not None
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.evaluate", description="Score a network on a test set."
    )
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--database", default="synth-lp", help=", ".join(NAMES))
    parser.add_argument("--faces", type=int, default=500, help="0: all of a frozen database")
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 is one a processor")
    parser.add_argument("--correspondence", default="icp", help="icp (the paper's), nearest or surface")
    given = parser.parse_args(arguments)
    try:
        print(
            describe(
                evaluate(
                    given.network,
                    given.out,
                    given.faces,
                    given.seed,
                    given.workers,
                    given.correspondence,
                    given.database,
                )
            )
        )
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
