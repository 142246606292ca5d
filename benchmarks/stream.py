"""How fast training samples come: by number of worker processes, where the time of one goes, and whether
memory grows.

A sample is a head with its expression, posed, augmented, drawn and voxelised in a worker; the batch is
unpacked and its 68 heat-maps are drawn in this process, as training does, on one thread: the cores are the
workers', and a second thread would spend more time waiting for one of them than it saves. The goal is 100
samples/s at laptop size and 25/s at paper size on two cores.

    python benchmarks/stream.py --out results/benchmarks/stream.json
    python benchmarks/stream.py --only memory --minutes 60 --rate 15    # beside other work
    python benchmarks/stream.py --profiles smoke --seconds 1 --minutes 0.05 --repeats 1 --out build/s.json

Rates are by the clock: run it on an idle machine. The load average before and after is in the result, and
beside each rate the cores that the stream really got; where others took part of them, the rate a core by CPU
time still says what the stream costs, about (two threads that share a core slow each other).
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
from vrnlib.errors import VrnError
from vrnlib.faces import face_solid, load_basis, rotation_matrix, sample_expression, sample_identity
from vrnlib.heatmaps import heatmaps_batch
from vrnlib.params import Profile, profile
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import Grid, column_runs, fill_runs, one_body

GOALS = {"laptop": 100.0, "paper": 25.0}
"""Samples a second on two cores."""
GOAL_CORES = 2


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


def speed(p: Profile, workers: int, seconds: float) -> dict[str, float]:
    """The stream out of `workers` processes, unpacked and with heat-maps.

    Returns
    -------
    `samples a second` by the clock; `cores used`, CPU seconds of this process and the workers over the
    clock's; `samples a second of a core`, by CPU time.
    """
    stream = batches.endless(SynthLP(p.size, p.depth, seed=3), 0, 0, p.batch_size, workers)
    for _ in range(2 * max(1, workers) + 1):  # the first batches fill the queue
        take(next(stream), p)
    begin, cpu, count = time.perf_counter(), cpu_seconds(), 0
    while time.perf_counter() - begin < seconds:
        count += take(next(stream), p)
    passed, cpu = time.perf_counter() - begin, cpu_seconds() - cpu
    return {
        "samples a second": count / passed,
        "cores used": cpu / passed,
        "samples a second of a core": count / max(cpu, 1e-9),
    }


def take(batch: dict[str, torch.Tensor], p: Profile) -> int:
    """Do with a batch what training does first; returns its number of samples."""
    image, _ = batches.unpack(batch, p.depth)
    heatmaps_batch(batch["landmarks"], p.size)
    return len(image)


def children() -> list[str]:
    """Process numbers of the workers (Linux only)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def cpu_seconds() -> float:
    """CPU time of this process and of the workers that run (Linux only)."""
    total = time.process_time()
    for process in children():
        # the name, in parentheses, may hold spaces; user and system time are fields 14 and 15
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def proportional_mb() -> float:
    """Memory of this process and its children, MB; what they share counts once (Linux only)."""
    total = 0
    for process in ("self", *children()):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def memory(p: Profile, workers: int, minutes: float, rate: float | None = None) -> dict[str, Any]:
    """Memory while the stream runs, at most `rate` samples a second: MB every 1/60 of the time, and its
    growth in the second half.
    """
    stream = batches.endless(SynthLP(p.size, p.depth, seed=4), 0, 0, p.batch_size, workers)
    take(next(stream), p)
    began, series, count = time.perf_counter(), [], 0
    while (passed := time.perf_counter() - began) < 60 * minutes:
        if passed >= len(series) * minutes:
            series.append((round(passed, 1), round(proportional_mb(), 1)))
        if rate and count > rate * passed:
            time.sleep(0.05)
            continue
        count += take(next(stream), p)
    return {
        "profile": p.name,
        "workers": workers,
        "minutes": minutes,
        "rate at most": rate,
        "samples": count,
        "mb": series,
        **growth(series),
    }


def growth(series: list[tuple[float, float]]) -> dict[str, float | None]:
    """Of rows (seconds, MB): how much the second half grew, and its trend; None with fewer than 3 rows."""
    half = series[len(series) // 2 :]
    if len(half) < 2:
        return {"growth in the second half, MB": None, "trend of the second half, MB an hour": None}
    seconds, mb = np.array(half).T
    return {
        "growth in the second half, MB": float(mb[-1] - mb[0]),
        "trend of the second half, MB an hour": float(np.polyfit(seconds / 3600, mb, 1)[0]),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--out", type=Path, help="default: results/benchmarks/stream.json, or stream-PART.json with --only"
    )
    parser.add_argument("--only", choices=("speed", "memory"), help="leave the other part out")
    parser.add_argument(
        "--rate", type=float, help="samples a second that the measurement of memory takes at most"
    )
    parser.add_argument("--profiles", nargs="+", default=list(GOALS), help="smoke, laptop, paper")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of speed")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of the measurement of memory; 0 leaves it out"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="up to this many")
    parser.add_argument("--repeats", type=int, default=20, help="of each stage")
    parser.add_argument("--faces", type=int, default=24, help="of which bytes are counted")
    arguments = parser.parse_args()
    for name, least in {"workers": 1, "repeats": 1, "faces": 1}.items():
        if getattr(arguments, name) < least:
            parser.error(f"--{name} {getattr(arguments, name)}: at least {least}")
    try:
        profiles = [profile(name) for name in arguments.profiles]
    except VrnError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    started, before = time.perf_counter(), os.getloadavg()[0]
    result: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    for p in profiles if arguments.only != "memory" else []:
        rows = {n: speed(p, n, arguments.seconds) for n in range(1, arguments.workers + 1)}
        rates = {n: row["samples a second"] for n, row in rows.items()}
        goal = GOALS.get(p.name)
        result[p.name] = {
            "by workers": rows,
            "scaling": rates[arguments.workers] / rates[1] / arguments.workers,
            "goal on two cores": goal,
            "goal reached": None if goal is None or GOAL_CORES not in rates else rates[GOAL_CORES] >= goal,
            "CPU milliseconds a sample": stages(p, arguments.repeats),
            "bytes of a volume": sizes(p, arguments.faces),
        }
        print(p.name, "goal none" if goal is None else f"goal {goal:.0f} samples/s on {GOAL_CORES} cores")
        for n, row in rows.items():
            print(
                f"    {n} worker(s) {row['samples a second']:8.1f} samples/s, {row['cores used']:.2f} cores, "
                f"{row['samples a second of a core']:.1f} samples/s a core"
            )
        for stage, ms in result[p.name]["CPU milliseconds a sample"].items():
            print(f"    {stage:24} {ms:8.3f} ms")
        print("    bytes of a volume:", result[p.name]["bytes of a volume"])
    if arguments.minutes and arguments.only != "speed":
        which = next((p for p in profiles if p.name == "laptop"), profiles[0])
        result["memory"] = memory(which, arguments.workers, arguments.minutes, arguments.rate)
        print("memory", {k: v for k, v in result["memory"].items() if k != "mb"})
    result["load average"] = {"before": before, "after": os.getloadavg()[0]}
    print("load average", result["load average"])
    seconds = time.perf_counter() - started
    options = {k: v for k, v in vars(arguments).items() if k != "out"}
    part = f"-{arguments.only}" if arguments.only else ""
    out = arguments.out or Path(f"results/benchmarks/stream{part}.json")
    write_json(out, {**result, "provenance": collect(options, 0, [], seconds)})


if __name__ == "__main__":
    main()
