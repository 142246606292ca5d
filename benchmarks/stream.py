"""How fast training samples come: by number of worker processes, where the time of one goes, and whether
memory grows.

A sample is a head with its expression, posed, augmented, drawn and voxelised in a worker; the batch is
unpacked and its 68 heat-maps are drawn in this process, as training does. The goal is 100 samples/s at laptop
size and 25/s at paper size on two cores.

    python benchmarks/stream.py --out results/benchmarks/stream.json
    python benchmarks/stream.py --minutes 60            # memory over an hour

Run it on an idle machine; the load average it ran under is in the result.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vrnlib import batches
from vrnlib.crop import Crop
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.faces import face_solid, load_basis, rotation_matrix, sample_expression, sample_identity
from vrnlib.heatmaps import heatmaps_batch
from vrnlib.params import Profile, profile
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import Grid, column_runs, fill_runs, one_body

GOALS = {"laptop": 100.0, "paper": 25.0}
"""Samples a second on two cores."""


def cpu_ms(function: Callable[[], Any], repeats: int) -> float:
    """Median CPU time of a call in this thread, milliseconds."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        function()
        times.append(time.thread_time() - begin)
    return 1000 * float(np.median(times))


def stages(p: Profile, repeats: int) -> dict[str, float]:
    """CPU milliseconds a sample, on one core, by stage; what a face costs once is shared by its poses."""
    basis, grid, rng = load_basis(), Grid(p.size, p.depth), np.random.default_rng(0)
    head = basis.vertices(sample_identity(rng) + sample_expression(rng))
    pose = rotation_matrix(0.1, 0.6, 0.05)
    down = np.array([1.0, -1.0, 1.0])
    crop = Crop.from_landmarks(((head[basis.landmarks] @ pose.T) * down)[:, :2], p.size)

    def solid() -> np.ndarray:
        return crop.apply((face_solid(head[basis.surface]) @ pose.T) * down)

    points = solid() - [0, 0, solid()[:, 2].mean()]
    runs = column_runs(points, basis.solid, grid)
    data = SynthLP(p.size, p.depth, seed=1)
    data[0]
    begin = time.thread_time()
    for i in range(repeats * POSES_PER_FACE):
        sample = data[i]
    whole = 1000 * (time.thread_time() - begin) / (repeats * POSES_PER_FACE)
    batch = batches.pack([sample] * p.batch_size)
    rows = {
        "head": cpu_ms(lambda: basis.vertices(sample_identity(rng) + sample_expression(rng)), repeats)
        / POSES_PER_FACE,
        "solid": cpu_ms(solid, repeats),
        "voxels as runs": cpu_ms(lambda: column_runs(points, basis.solid, grid), repeats),
        "one body": cpu_ms(lambda: one_body(runs, grid), repeats),
        "dense volume": cpu_ms(lambda: fill_runs(runs, grid), repeats),
    }
    rows["picture and the rest"] = whole - sum(rows.values())
    rows["whole sample"] = whole
    rows["pack"] = cpu_ms(lambda: batches.pack([sample] * p.batch_size), repeats) / p.batch_size
    rows["unpack, in training"] = cpu_ms(lambda: batches.unpack(batch, p.depth), repeats) / p.batch_size
    rows["heat-maps, in training"] = (
        cpu_ms(lambda: heatmaps_batch(batch["landmarks"], p.size), repeats) / p.batch_size
    )
    return rows


def sizes(p: Profile, faces: int) -> dict[str, float]:
    """Mean bytes of a face's volume: dense, as packed bits, as runs."""
    data = SynthLP(p.size, p.depth, seed=2)
    packed = [batches.pack([data[i * POSES_PER_FACE]]) for i in range(faces)]
    dense = p.size * p.size * p.depth
    runs = np.mean([sum(b[name].nbytes for name in ("column", "span", "count")) for b in packed])
    return {"dense": dense, "packed bits": p.size * p.size * -(-p.depth // 8), "runs": float(runs)}


def speed(p: Profile, workers: int, seconds: float) -> float:
    """Samples a second out of `workers` processes, unpacked and with heat-maps."""
    stream = batches.endless(SynthLP(p.size, p.depth, seed=3), 0, 0, p.batch_size, workers)
    for _ in range(2 * max(1, workers) + 1):  # the first batches fill the queue
        take(next(stream), p)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        count += take(next(stream), p)
    return count / (time.perf_counter() - begin)


def take(batch: dict[str, torch.Tensor], p: Profile) -> int:
    """Do with a batch what training does first; returns its number of samples."""
    image, _ = batches.unpack(batch, p.depth)
    heatmaps_batch(batch["landmarks"], p.size)
    return len(image)


def proportional_mb() -> float:
    """Memory of this process and its children, MB; what they share counts once (Linux only)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    total = 0
    for process in ("self", *children):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def memory(p: Profile, workers: int, minutes: float) -> dict[str, Any]:
    """Memory while the stream runs: MB every 1/60 of the time, and its growth in the second half."""
    stream = batches.endless(SynthLP(p.size, p.depth, seed=4), 0, 0, p.batch_size, workers)
    take(next(stream), p)
    began, series, count = time.perf_counter(), [], 0
    while (passed := time.perf_counter() - began) < 60 * minutes:
        if passed >= len(series) * minutes:
            series.append((round(passed, 1), round(proportional_mb(), 1)))
        count += take(next(stream), p)
    seconds, mb = np.array(series[len(series) // 2 :]).T
    slope = np.polyfit(seconds / 3600, mb, 1)[0]
    return {
        "profile": p.name,
        "workers": workers,
        "minutes": minutes,
        "samples": count,
        "mb": series,
        "growth in the second half, MB": float(mb[-1] - mb[0]),
        "trend of the second half, MB an hour": float(slope),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/stream.json"))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of speed")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of the measurement of memory; 0 leaves it out"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="up to this many")
    parser.add_argument("--repeats", type=int, default=20, help="of each stage")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, result = time.perf_counter(), {}
    for name, goal in GOALS.items():
        p = profile(name)
        rows = {n: speed(p, n, arguments.seconds) for n in range(1, arguments.workers + 1)}
        result[name] = {
            "samples a second by workers": rows,
            "scaling": rows[arguments.workers] / rows[1] / arguments.workers,
            "goal": goal,
            "CPU milliseconds a sample": stages(p, arguments.repeats),
            "bytes of a volume": sizes(p, 24),
        }
        print(
            name, *(f"{n} workers: {s:.1f} samples/s" for n, s in rows.items()), f"goal {goal:.0f}", sep="  "
        )
        for stage, ms in result[name]["CPU milliseconds a sample"].items():
            print(f"    {stage:24} {ms:8.3f} ms")
        print("    bytes of a volume:", result[name]["bytes of a volume"])
    if arguments.minutes:
        result["memory"] = memory(profile("laptop"), arguments.workers, arguments.minutes)
        print("memory", {k: v for k, v in result["memory"].items() if k != "mb"})
    result["load average"] = os.getloadavg()[0]
    seconds = time.perf_counter() - started
    options = {k: v for k, v in vars(arguments).items() if k != "out"}
    write_json(arguments.out, {**result, "provenance": collect(options, 0, [], seconds)})


if __name__ == "__main__":
    main()
