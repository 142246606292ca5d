"""How EOS depends on lambda, on errors of its landmarks and on contour correspondences.

    python -m vrnlib.baselines.eos_sweep            # writes results/baselines/eos-lambda.json

Faces of `synth-lp` from the validation seed, without augmentation. The error is the NME with *known*
correspondence (each of the truth's points has its own place on the model) and mean depth aligned: free of
ICP, so every row differs by the fit alone. It comes out larger than the NME of Table 1, which pairs nearest
points.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.baselines import eos_fit
from vrnlib.baselines.model_statistics import span_floor
from vrnlib.baselines.morphable import PATH, Morphable, load_morphable
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.provenance import collect, project_folder, write_json

OUT = Path("results") / "baselines" / "eos-lambda.json"
SEED = 1_000_003
SIZE, DEPTH = 96, 100
LAMBDAS = (5000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01)
NOISE = (0.0, 0.03)
"""SD of a landmark's error along each axis, over the interocular distance; 3 % each is about what a good
detector leaves (0.04 mean distance)."""
BANDS = ((0, 30), (30, 60), (60, 90))


def known_error(fitted: np.ndarray, truth: np.ndarray, eyes: np.ndarray) -> float:
    """NME of points (P, 3) against the same points of the truth, mean z aligned; `eyes` (2, 3)."""
    away = fitted - truth
    away[:, 2] -= away[:, 2].mean()
    return float(np.linalg.norm(away, axis=1).mean() / np.linalg.norm(eyes[0] - eyes[1]))


def sweep(faces: int = 60, lambdas: tuple[float, ...] | None = None) -> dict[str, Any]:
    """Errors of each setting, mean over `faces` people in one pose each; and of the mean face for comparison.

    Returns
    -------
    dict : `rows`, each with method, lambda, noise, contours, mean and mean by yaw band; `span_floor`.
    """
    lambdas = LAMBDAS if lambdas is None else lambdas
    model, data = load_morphable(), SynthLP(SIZE, DEPTH, seed=SEED, augment=False)
    rows: dict[tuple[Any, ...], list[float]] = {}
    yaws, floors = [], []
    for number in range(faces):
        rng = np.random.default_rng((SEED, 8, number))
        # the people and poses of the first samples; nothing is drawn
        vertices = model.of_head(data._face(number)[0])
        pose = np.array([np.clip(rng.normal(0, 0.22), -0.7, 0.7), rng.uniform(-1, 1) * np.pi / 2, 0])
        yaws.append(float(abs(np.rad2deg(pose[1]))))
        floors.append(float(span_floor(model, vertices[None])[0]))
        camera = WeakPerspective.normalised(vertices[model.landmarks], pose, SIZE)
        truth, marks = camera.apply(model.points(vertices)), camera.apply(vertices[model.landmarks])
        eyes = marks[[36, 45]]
        d = float(np.linalg.norm(eyes[0] - eyes[1]))
        shaken = rng.normal(size=(68, 2)) * d
        for noise in NOISE:
            landmarks = marks[:, :2] + noise * shaken
            for key, found in _settings(model, landmarks, lambdas, noise):
                rows.setdefault(key, []).append(known_error(found, truth, eyes))
    yaw = np.array(yaws)
    table = []
    for (method, weight, noise, contours), errors in rows.items():
        values = np.array(errors)
        bands = {
            f"{low}-{high}": float(values[(yaw >= low) & (yaw < high)].mean())
            for low, high in BANDS
            if ((yaw >= low) & (yaw < high)).any()
        }
        table.append(
            {
                "method": method, "lambda": weight, "noise": noise, "contours": contours,
                "nme_known": float(values.mean()), "by_yaw": bands,
            }
        )  # fmt: skip
    return {"faces": faces, "rows": table, "span_floor": float(np.mean(floors))}


def _settings(
    model: Morphable, landmarks: np.ndarray, lambdas: tuple[float, ...], noise: float
) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    # each setting and where it puts the truth's points
    out = []
    camera = WeakPerspective.fit(model.mean[model.landmarks], landmarks)
    out.append((("mean-face", None, noise, False), camera.apply(model.points(model.mean))))
    chosen = [(w, False) for w in lambdas] + [(w, True) for w in lambdas if w in (5000.0, 30.0)]
    for weight, contours in chosen:
        found = eos_fit.fit(landmarks, SIZE, weight=weight, contours=contours, model=model)
        shape = model.points(model.shape(found.identity, found.expression))
        out.append((("eos", weight, noise, contours), found.camera.apply(shape)))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the sweep."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.baselines.eos_sweep", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=project_folder() / OUT)
    parser.add_argument("--faces", type=int, default=60)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        report = sweep(options.faces)
        report["provenance"] = collect(
            {"faces": options.faces, "iterations": eos_fit.ITERATIONS, "eos": eos_fit.version()}, SEED,
            [project_folder() / PATH], time.perf_counter() - start,
        )  # fmt: skip
        write_json(options.out, report)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in report["rows"]:
        mode = " contours" if row["contours"] else ""
        weight = "" if row["lambda"] is None else f" lambda {row['lambda']:g}"
        print(f"{row['method']}{weight}{mode}, noise {row['noise']:g}: {row['nme_known']:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
