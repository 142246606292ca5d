"""Our ICP against trimesh's, side by side on one face: a distorted isosurface of a 192x192x200 volume and
19,000 points of the truth, the same pairs, the same number of iterations.

python benchmarks/icp.py --out results/benchmarks/icp.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from vrnlib import icp, metrics
from vrnlib.databases import SynthLP
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import isosurface

ITERATIONS = 20
"""What trimesh runs at most by default; here both run all of them."""


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Least wall and processor time of `repeats` calls, seconds, and the result."""
    walls, processor = [], []
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        result = function()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - own)
    return min(walls), min(processor), result


def pair() -> tuple[np.ndarray, np.ndarray, float]:
    """An isosurface, bent and turned to be about as wrong as a network's; its truth; d."""
    sample = SynthLP(192, 200, seed=5, augment=False, truth=True)[0]
    vertices, truth = isosurface(sample["volume"])[0].astype(np.float64), sample["points"].astype(np.float64)
    d = metrics.interocular(sample["eyes"])
    middle = truth.mean(0)
    turn = Rotation.from_euler("xyz", [2, -3, 2], degrees=True).as_matrix()
    bent = (vertices - middle) @ turn.T * 1.03
    bent += 0.03 * d * np.sin(bent[:, [1, 2, 0]] / d * 4)
    return bent + middle, truth, d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    start = time.perf_counter()
    vertices, truth, d = pair()
    icp.register(truth[:100], vertices)  # compiles

    def ours() -> icp.Registration:
        return icp.register(truth, vertices, tolerance=0, max_iterations=ITERATIONS)

    def theirs() -> Any:
        options = {"reflection": False, "scale": False}
        return trimesh.registration.icp(
            truth, vertices, threshold=-np.inf, max_iterations=ITERATIONS, **options
        )

    # alternating, so that both meet the same load of the machine
    runs = [(timed(ours, 1), timed(theirs, 1)) for _ in range(arguments.repeats)]
    found, (_, moved, _) = runs[0][0][2], runs[0][1][2]
    same = float((cKDTree(vertices).query(moved)[1] == found.matches).mean())
    whole_wall, whole_cpu, score = timed(lambda: metrics.score(vertices, truth, d), arguments.repeats)
    seconds = {
        name: {"wall": min(r[i][0] for r in runs), "processor": min(r[i][1] for r in runs)}
        for i, name in enumerate(("ours", "trimesh"))
    }
    result = {
        "vertices": len(vertices),
        "points": len(truth),
        "iterations": ITERATIONS,
        "same_pairs": same,
        "seconds": seconds,
        "times_faster": {k: seconds["trimesh"][k] / seconds["ours"][k] for k in ("wall", "processor")},
        "score": {"wall": whole_wall, "processor": whole_cpu, "iterations": score.registration.iterations},
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, {**result, "provenance": collect({}, {}, [], time.perf_counter() - start)})
    faster = result["times_faster"]
    print(
        f"{len(vertices):,} vertices, {len(truth):,} points, {ITERATIONS} iterations: ours "
        f"{seconds['ours']['wall'] * 1e3:.0f} ms, trimesh {seconds['trimesh']['wall'] * 1e3:.0f} ms: "
        f"{faster['wall']:.1f} times ({faster['processor']:.1f} in processor time); "
        f"{100 * same:.2f} % of the pairs equal; a whole score {whole_wall * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
