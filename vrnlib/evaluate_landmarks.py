"""Score landmarks: every trained network that finds them, and the offline detector, on the same windows.

    python -m vrnlib.evaluate_landmarks --out results/evaluation/landmarks

The error is the mean distance of the 68 points over the true outer interocular distance, in three dimensions
(:func:`vrnlib.landmarks.landmark_error`), per band of yaw. dlib's model gets the same window and the box that
dlib's detector gives on average for such landmarks (:mod:`vrnlib.detect.calibration`): it is asked where the
points are, not whether there is a face. Its jaw is the visible outline of the face where ours is the jaw line
in three dimensions, so the 51 points inside the face are scored alone as well.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vrnlib import networks, scores
from vrnlib.databases.testsets import NAMES, open_test_set
from vrnlib.detect.calibration import reference
from vrnlib.detect.dlib_model import DlibPoints
from vrnlib.detect.free import NetworkPoints
from vrnlib.detect.interface import Box
from vrnlib.errors import VrnError
from vrnlib.evaluate import TEST_SEED
from vrnlib.landmarks import decode, landmark_error
from vrnlib.provenance import collect, replacing, writable_folder, write_json

INNER = slice(17, 68)
"""All but the jaw."""
FILES = ("landmarks-laptop", "multitask-laptop")
"""Checkpoints to score; VRN-Guided has the first inside."""
Find = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating]]
"""Window (S, S, 3) uint8 and the true landmarks (68, 2) -> found landmarks (68, 2), pixels."""


def methods(folder: Path) -> dict[str, tuple[int, Find]]:
    """What can be scored: name -> side of its window in pixels, how to ask it.

    ``NAME`` is one look of a network, as it was trained; ``NAME, mirrored`` also looks at the mirrored
    window, as the free detector does.
    """
    out: dict[str, tuple[int, Find]] = {}
    for name in FILES:
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            continue
        model, meta = networks.load(path)
        size, marker = int(meta.get("size", 96)), NetworkPoints(path)
        out[name] = size, _plain(model, size)
        out[f"{name}, mirrored"] = size, _mirrored(marker)
    dlib = DlibPoints()
    size = next(iter(out.values()))[0] if out else 96
    out["dlib"] = size, lambda window, truth: dlib.points(window, usual_box(truth)).points
    return out


def usual_box(truth: NDArray[np.floating]) -> Box:
    """The box that dlib's detector gives on average for a face with these landmarks (68, 2), pixels."""
    hog = reference("boxes", "hog")
    low, high = np.asarray(truth, np.float64).min(0), np.asarray(truth, np.float64).max(0)
    side = np.sqrt(np.prod(high - low)) / hog.scale
    middle = (low + high) / 2 - np.array(hog.shift) * side
    x0, y0, x1, y1 = *(middle - side / 2), *(middle + side / 2)
    return float(x0), float(y0), float(x1), float(y1)


def _plain(model: Any, size: int) -> Find:
    def find(window: NDArray[np.uint8], _: Any) -> NDArray[np.float32]:
        x = torch.from_numpy(window.transpose(2, 0, 1)[None].copy()).float().div_(255)
        with torch.inference_mode():
            return decode(model.heads(x).heatmaps, size)[0][0].numpy()

    return find


def _mirrored(marker: NetworkPoints) -> Find:
    return lambda window, _: marker.look(window)[0]


def evaluate(
    out: str | Path,
    checkpoints: Path,
    faces: int = 500,
    databases: tuple[str, ...] = ("synth-lp", "synth-wild"),
) -> dict[str, Any]:
    """Write ``errors.csv`` (a row a face and method), ``metrics.json`` and ``provenance.json`` into `out`.

    Returns
    -------
    The contents of ``metrics.json``: database -> method -> `all` and `inner` (`vrnlib.scores.summary` of the
    error over all and over the 51 inner landmarks) and `by_yaw` (of all).

    Raises
    ------
    VrnError : fewer than 2 faces, an unknown database, a damaged checkpoint, or `out` can't be written to.
    """
    if faces < 2:
        raise VrnError(f"an interval needs at least 2 faces, got {faces}")
    started, out = time.perf_counter(), writable_folder(out)
    asked = methods(checkpoints)
    rows: list[dict[str, Any]] = []
    for database in databases:
        test = open_test_set(database, max(size for size, _ in asked.values()), 100, faces, TEST_SEED)
        for index in test.indices:
            sample = test.data[index]
            truth, eyes = torch.from_numpy(sample["landmarks"])[None], torch.from_numpy(sample["eyes"])[None]
            for name, (_, find) in asked.items():
                found = torch.from_numpy(np.asarray(find(sample["image"], sample["landmarks"]), np.float32))[
                    None
                ]
                inner = (found - truth)[0, INNER].norm(dim=1).mean() / (eyes[0, 0] - eyes[0, 1]).norm()
                rows.append({
                    "database": database, "index": index, "identity": test.info(index)["identity"],
                    "yaw": float(np.rad2deg(sample["pose"][1])), "method": name,
                    "all": float(landmark_error(found, truth, eyes)),
                    "inner": float(inner),
                })  # fmt: skip
    result: dict[str, Any] = {}
    for database in databases:
        result[database] = {}
        for name in asked:
            mine = [r for r in rows if r["database"] == database and r["method"] == name]
            people = [r["identity"] for r in mine]
            values = [r["all"] for r in mine]
            result[database][name] = {
                "all": scores.summary(values, groups=people),
                "inner": scores.summary([r["inner"] for r in mine], groups=people),
                "by_yaw": scores.by_yaw(values, [r["yaw"] for r in mine], groups=people),
            }
    with replacing(out / "errors.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    used = [checkpoints / f"{name}.safetensors" for name in FILES if name in asked]
    settings = {"faces": faces, "databases": list(databases)}
    write_json(
        out / "provenance.json", collect(settings, {"test": TEST_SEED}, used, time.perf_counter() - started)
    )
    write_json(out / "metrics.json", result)
    return result


def table(result: dict[str, Any]) -> list[list[str]]:
    """`evaluate`'s result as rows of text, errors in percent of the interocular distance."""
    rows = []
    for database, found in result.items():
        for name, r in found.items():
            low, high = r["all"]["interval"]
            bands = [f"{100 * b['mean']:.1f}" if b["mean"] is not None else "" for b in r["by_yaw"]]
            whole = f"{100 * r['all']['mean']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            rows.append([database, name, whole, *bands, f"{100 * r['inner']['mean']:.1f}"])
    return rows


COLUMNS = ("database", "method", "all 68 [95 %]", "|yaw| < 30", "30 to 60", "60 to 90", "51 inner")
"""Of `table`."""


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.evaluate_landmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("results") / "evaluation" / "landmarks")
    parser.add_argument("--checkpoints", type=Path, default=Path("results") / "checkpoints")
    parser.add_argument("--faces", type=int, default=500, help="of each database")
    parser.add_argument("--databases", nargs="+", default=["synth-lp", "synth-wild"], help=", ".join(NAMES))
    given = parser.parse_args(arguments)
    try:
        result = evaluate(given.out, given.checkpoints, given.faces, tuple(given.databases))
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in [list(COLUMNS), *table(result)]:
        print("  ".join(f"{cell:>20s}" for cell in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
