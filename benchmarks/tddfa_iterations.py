"""How the cascade of 3DDFA converges: errors after 0, 1, 2 ... iterations on people that it has not seen.

    python benchmarks/tddfa_iterations.py --faces 100

Writes `results/baselines/tddfa_iterations.json`: NME by the paper's protocol and its rigid variant, error of
the 68 landmarks in the picture over the same interocular distance; means with 95 % bootstrap intervals over
persons. And `results/figures/tddfa_iterations.png`.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vrnlib import figures, scores
from vrnlib.baselines.pncc import pncc
from vrnlib.baselines.tddfa import CHECKPOINT, TDDFA
from vrnlib.databases.testsets import open_test_set
from vrnlib.errors import VrnError
from vrnlib.evaluate import TEST_SEED
from vrnlib.metrics import score
from vrnlib.params import depth_of
from vrnlib.provenance import collect, project_folder, replacing, write_json

ITERATIONS = 5
"""Two more than the cascade was trained with."""
SHOWN = (0, 1, 2, 3, 4, 5)
"""Faces in the figure, by their place in the test set: none is chosen for its result."""


def measure(method: TDDFA, database: str, faces: int) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
    """Scores by iteration on `faces` samples of a test set, and the samples of the figure."""
    test = open_test_set(database, method.size, depth_of(method.size), faces, TEST_SEED)
    errors: dict[str, list[list[float]]] = {"nme": [], "rigid": [], "landmark_error": []}
    people, shown = [], []
    for place, index in enumerate(test.indices):
        sample = test.data[index]
        people.append(test.info(index)["identity"])
        states = method.fit(sample["image"][None], ITERATIONS)
        rows = []
        for p in states:
            result = score(method.mesh(p[0]).vertices, sample["points"], sample["eyes"])
            marks = method.shapes.project_landmarks(method.shapes.vertices(p))[0].numpy()
            apart = np.linalg.norm(marks - sample["landmarks"], axis=1).mean() / result.d
            rows.append((result.nme, result.rigid, float(apart)))
        for name, column in zip(errors, zip(*rows, strict=True), strict=True):
            errors[name].append(list(column))
        if place in SHOWN:
            shown.append({"image": sample["image"], "states": torch.cat(states[:4]).numpy()})
    by_iteration = {
        name: [scores.summary(column, groups=people) for column in np.array(values).T]
        for name, values in errors.items()
    }
    nme = np.array(errors["nme"]).T
    steps = [scores.compare(after, before, groups=people) for before, after in pairwise(nme)]
    return {"faces": faces, "version": test.version, **by_iteration, "nme_change_by_step": steps}, shown


def picture(method: TDDFA, shown: list[dict[str, np.ndarray]], path: Path) -> None:
    """A row a face: the crop, then what each iteration makes of it, as PNCC over the crop."""
    figures.style()
    images, titles = [], []
    for face in shown:
        images.append(figures.enlarge(face["image"], 2))
        titles.append("crop")
        for k, p in enumerate(face["states"]):
            vertices = method.shapes.vertices(torch.from_numpy(p)[None])[0].numpy()
            drawn = pncc(vertices, method.shapes.faces, method.shapes.codes, method.size).transpose(1, 2, 0)
            seen = drawn.any(2, keepdims=True)
            mixed = np.where(seen, 0.45 * face["image"] + 0.55 * 255 * drawn, face["image"])
            images.append(figures.enlarge(mixed.astype(np.uint8), 2))
            titles.append("first guess" if k == 0 else f"iteration {k}")
    figure = figures.row(images, titles, height=1.5, columns=5)
    with replacing(path) as draft:
        figure.savefig(draft, dpi=90, bbox_inches="tight", pad_inches=0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--database", default="synth-lp")
    parser.add_argument("--network", type=Path, help="checkpoint (default: the one of results/)")
    results = project_folder() / "results"
    parser.add_argument("--out", type=Path, default=results / "baselines" / "tddfa_iterations.json")
    parser.add_argument("--figure", type=Path, default=results / "figures" / "tddfa_iterations.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        method = TDDFA(options.network)
        found, shown = measure(method, options.database, options.faces)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    picture(method, shown, options.figure)
    params = {"faces": options.faces, "database": options.database, "iterations": ITERATIONS}
    path = options.network or project_folder() / CHECKPOINT
    seeds = {"seed": TEST_SEED}
    found["provenance"] = collect(params, seeds, [path], time.perf_counter() - start)
    write_json(options.out, found)
    for name in ("nme", "rigid", "landmark_error"):
        print(f"{name:15s}", " ".join(f"{r['mean']:.4f}" for r in found[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
