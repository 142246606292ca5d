"""Dynamic labelling beside SciPy's connected components and trimesh's split, on one and the same mesh, side
by side in one run; and the same for voxels beside scipy.ndimage.

The mesh is the isosurface of a volume of the paper's size with stray bodies round the face. Every form is
given what it takes: `connected_components` the finished sparse matrix (`csgraph, ready`) or the triangles
(`csgraph, from triangles`). The forms take turns, so that all meet the same load of the machine; the shortest
of their times counts, the median is told too.

    python benchmarks/labelling.py --out results/benchmarks/labelling.json
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vrnlib import labelling, labelling_steps
from vrnlib.databases import SynthLP
from vrnlib.labelling_voxels import body_sizes, keep_bodies, label_voxels
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import isosurface


def volume_with_bumps(size: int = 192, depth: int = 200, bumps: int = 12) -> np.ndarray:
    """A true face, frontal enough to be large, and balls beside it: (D, H, W) float32."""
    volume = SynthLP(size, depth, seed=5, augment=False)[0]["volume"].astype(np.float32)
    rng, columns = np.random.default_rng(0), np.ascontiguousarray(volume.transpose(1, 2, 0))
    y, x, d = np.ogrid[:size, :size, :depth]
    while bumps:
        cy, cx, cd, r = *rng.integers(8, size - 8, 2), rng.integers(12, depth - 12), rng.integers(2, 5)
        ball = (y - cy) ** 2 + (x - cx) ** 2 + ((d - cd) / 2) ** 2 <= r**2
        if not columns[ndimage.binary_dilation(ball, iterations=2)].any():
            columns[ball] = 1
            bumps -= 1
    return columns.transpose(2, 0, 1)


def race(forms: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, dict[str, float]]:
    """Let functions {name: (function, rounds)} take turns: least, median and processor time of each, ms."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for turn in range(max(rounds for _, rounds in forms.values())):
        for name, (function, rounds) in forms.items():
            if turn < rounds:
                wall, own = time.perf_counter(), time.process_time()
                function()
                times[name].append((time.perf_counter() - wall, time.process_time() - own))
    return {
        name: {
            "least_ms": 1e3 * min(w for w, _ in t),
            "median_ms": 1e3 * float(np.median([w for w, _ in t])),
            "least_processor_ms": 1e3 * min(p for _, p in t),
            "rounds": len(t),
        }
        for name, t in times.items()
    }


def growth() -> list[dict[str, float]]:
    """Links followed per triangle over sizes: on a ribbon as it comes, shuffled, with renumbered vertices,
    and where equal trees are united by their deepest vertices, the worst case of trees.
    """
    rows = []
    for power in range(10, 21, 2):
        n = 2**power
        rng, strip = np.random.default_rng(power), np.arange(n)[:, None] + np.arange(3)
        mixed = rng.permutation(strip)
        rounds = [np.arange(0, n, 2 ** (k + 1)) for k in range(power)]
        worst = np.concatenate(
            [np.stack([a + 2 ** (k + 1) - 1, a + 2**k - 1, a + 2**k - 1], 1) for k, a in enumerate(rounds)]
        )
        cases = {
            "in order": strip,
            "shuffled": mixed,
            "renumbered": rng.permutation(n + 2)[mixed],
            "worst": worst,
        }
        row: dict[str, float] = {"triangles": n}
        for name, faces in cases.items():
            row[name] = labelling.work(n + 2, faces) / len(faces)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    start, load = time.perf_counter(), os.getloadavg()
    volume = volume_with_bumps()
    vertices, faces = isosurface(volume)
    n = len(vertices)
    a, b = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    ready = coo_array((np.ones(len(a)), (a, b)), shape=(n, n)).tocsr()
    mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)

    def from_triangles() -> Any:
        graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
        return connected_components(graph, directed=False)

    def split() -> Any:
        mesh._cache.clear()
        return mesh.split(only_watertight=False)

    rounds, corner = arguments.rounds, np.ones((3, 3, 3))
    labelling.largest_body(vertices, faces)  # compiles
    forms = {
        "labels": (lambda: labelling.labels(n, faces), rounds),
        "largest_body": (lambda: labelling.largest_body(vertices, faces), rounds),
        "csgraph, ready": (lambda: connected_components(ready, directed=False), rounds),
        "csgraph, from triangles": (from_triangles, rounds),
        "trimesh split": (split, max(3, rounds // 8)),
    }
    theirs = connected_components(ready, directed=False)[1]
    ours = labelling.labels(n, faces)
    pairs = len(np.unique(np.stack([theirs, ours]), axis=1).T)
    parts = split()
    _, kept_faces, removed = labelling.largest_body(vertices, faces)
    biggest = max(parts, key=lambda part: len(part.faces))

    filled = volume > 0.5
    label_voxels(filled)
    keep_bodies(volume)
    voxels = {
        "label_voxels, 26": (lambda: label_voxels(filled, 26), max(3, rounds // 4)),
        "body_sizes, 26": (lambda: body_sizes(filled, 26), max(3, rounds // 4)),
        "keep_bodies, 26": (lambda: keep_bodies(volume), max(3, rounds // 4)),
        "ndimage.label, 26": (lambda: ndimage.label(filled, corner), max(3, rounds // 4)),
        "label_voxels, 6": (lambda: label_voxels(filled, 6), max(3, rounds // 4)),
        "ndimage.label, 6": (lambda: ndimage.label(filled), max(3, rounds // 4)),
    }
    small = isosurface(volume[::8, ::8, ::8])
    result = {
        "vertices": n,
        "triangles": len(faces),
        "bodies": len(np.unique(ours)),
        "labels_agree": pairs == len(np.unique(ours)) == len(np.unique(theirs)),
        "kept_agrees_with_trimesh": len(biggest.faces) == len(kept_faces) and len(parts) == removed + 1,
        "mesh": race(forms),
        "volume": list(volume.shape),
        "voxels": race(voxels),
        "teaching_form": {
            "triangles": len(small[1]),
            **race({"steps": (lambda: labelling_steps.largest_body(*small), 3)})["steps"],
        },
        "steps_per_triangle": growth(),
        "load_average": {"before": load, "after": os.getloadavg()},
    }
    if arguments.out:
        provenance = collect({"rounds": rounds}, {"face": 5}, [], time.perf_counter() - start)
        write_json(arguments.out, {**result, "provenance": provenance})
    print(f"{n:,} vertices, {len(faces):,} triangles, {result['bodies']} bodies; load {load[0]:.1f}")
    for name, t in {**result["mesh"], **result["voxels"]}.items():
        print(f"  {name:26s} {t['least_ms']:8.2f} ms at least, {t['median_ms']:8.2f} ms median")
    print(f"  agree: {result['labels_agree']}, {result['kept_agrees_with_trimesh']}")
    for row in result["steps_per_triangle"]:
        print("  links per triangle: " + ", ".join(f"{k} {v:,.3g}" for k, v in row.items()))


if __name__ == "__main__":
    main()
