"""Column voxeliser against trimesh's `voxelized(...).fill()`, side by side on one face solid at the paper's
192x192x200.

python benchmarks/voxelise.py --out results/benchmarks/voxelise.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from vrnlib.databases import FRONT_MARGIN
from vrnlib.faces import face_solid, load_basis
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import Grid, column_runs, solid_faces, voxelise


def face_mesh(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The mean face's solid in the network frame, its surface subdivided once: about 12,000 vertices."""
    basis = load_basis()
    surface, faces = trimesh.remesh.subdivide(basis.mean[basis.surface], basis.surface_faces)
    solid = face_solid(surface) * [1, -1, 1] * (90 / 135)
    solid += [
        (grid.size - 1) / 2,
        grid.size * 0.45,
        grid.z_of(grid.depth - 1) - FRONT_MARGIN - solid[:, 2].max(),
    ]
    return solid, solid_faces(faces, len(surface))


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Least wall time of `repeats` calls, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/voxelise.json"))
    arguments = parser.parse_args()
    start = time.perf_counter()
    grid = Grid()
    vertices, faces = face_mesh(grid)
    ours = voxelise(vertices, faces, grid)
    # trimesh knows cubes only: stretch z by two, one cube a voxel
    stretched = trimesh.Trimesh(vertices * [1, 1, 2], faces, process=False)
    theirs = stretched.voxelized(1.0).fill()
    rows = {
        "voxelise": best_of(lambda: voxelise(vertices, faces, grid), 40),
        "column_runs": best_of(lambda: column_runs(vertices, faces, grid), 40),
        "trimesh": best_of(lambda: stretched.voxelized(1.0).fill(), 2),
    }
    runs = column_runs(vertices, faces, grid)
    result = {
        "vertices": len(vertices),
        "faces": len(faces),
        "grid": grid.shape,
        "seconds": rows,
        "times_faster": rows["trimesh"] / rows["voxelise"],
        "filled": int(ours.sum()),
        "filled_trimesh": int(theirs.filled_count),
        "bytes": {
            "dense": ours.size,
            "packed bits": ours.size // 8,
            "column runs": sum(a.nbytes for a in runs),
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, {**result, "provenance": collect({}, {}, [], time.perf_counter() - start)})
    print(
        f"{len(vertices):,} vertices to {grid.shape}: {rows['voxelise'] * 1e3:.2f} ms, "
        f"trimesh {rows['trimesh']:.2f} s: {result['times_faster']:.0f} times"
    )
    print(
        f"filled voxels: {ours.sum():,}; trimesh {theirs.filled_count:,} "
        "(it also counts every voxel that the surface touches)"
    )


if __name__ == "__main__":
    main()
