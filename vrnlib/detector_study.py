"""Does the choice of the face detector matter? The review's Sec. 3.2, in `notebooks/10_face_detectors`.

    python -m vrnlib.detector_study --out results/detectors [--weights DIR] [--scenes 120]

Two experiments on drawn photographs (`vrnlib.detect.scenes`), as many persons in each band of yaw, each
person once in a plain picture and once in a harsh one (occluders, harsh light, faults of the camera):

``swap``    every detector on every scene: found or not, landmark error over the outer eye distance, the crop
            beside the true one, and the NME of what each network makes of that crop.
``jitter``  the true landmarks disturbed on purpose: the crop moved or scaled, or the points made noisy.

Networks: ``vrn``; ``guided``, guided by the landmarks that it finds itself in the crop; ``guided-given``, the
same one guided by the detector's landmarks. One whose checkpoint is missing is not run, and comes in with the
next run: rows that are there already, of the same network and the same version of the detector, are kept. The
verdict's words are defined in `vrnlib.detect.verdict`, which makes the summary from the rows alone.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import detect, metrics
from vrnlib.crop import REFERENCE_BOX, REFERENCE_SIZE, Crop
from vrnlib.detect import calibration
from vrnlib.detect.calibrate import difference, is_face
from vrnlib.detect.scenes import SCENES, Scene, chosen, scene
from vrnlib.detect.verdict import BANDS, CONDITIONS, describe, summarise
from vrnlib.errors import VrnError
from vrnlib.predict import Network, load_network
from vrnlib.provenance import collect, replacing, sha256, write_json

DETECTORS = ("truth", *detect.DETECTORS)
NETWORKS = ("vrn", "guided", "guided-given")
CHECKPOINTS = Path(__file__).resolve().parent.parent / "results" / "checkpoints"
LEVELS: dict[str, tuple[float, ...]] = {
    "shift": (0.03, 0.06, 0.12, 0.2),
    "scale": (0.05, 0.1, 0.2),
    "noise": (0.01, 0.02, 0.04, 0.08),
}
"""SDs of the jitter, see `vrnlib.detect.truth.jitter`; 0 comes before each."""
POINTS = 2500
"""Of the 19,000 points of the face region so many are scored (they lie in random order)."""
SWAP = (
    "index", "condition", "yaw", "detector", "version", "network", "found", "boxes", "score", "confidence",
    "landmark_error", "crop_scale", "crop_x", "crop_y", "seconds", "nme",
)  # fmt: skip
JITTER = ("index", "yaw", "kind", "level", "network", "nme")


def named_networks(folder: Path = CHECKPOINTS) -> dict[str, Network]:
    """The networks that are at hand, by the names of :data:`NETWORKS`."""
    out: dict[str, Network] = {}
    for name, file in (("vrn", "vrn-laptop"), ("guided", "guided-laptop")):
        path = folder / f"{file}.safetensors"
        if path.is_file():
            out[name] = load_network(path)
    if "guided" in out:
        out["guided-given"] = out["guided"]
    return out


def predict(network: Network, window: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
    """Volume (D, S, S), 0..1, of a window (S, S, 3) uint8; `landmarks` (68, 2) in its pixels guide a Guided
    network, None lets it find its own.
    """
    if landmarks is None:
        return network.predict(window)
    import torch

    from vrnlib.networks import enlarge

    x = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].float().div_(255)
    with torch.inference_mode():
        volume = network.model.heads(x, torch.from_numpy(landmarks.astype(np.float32))[None]).volume
        return enlarge(volume, x.shape[2:])[0].sigmoid_().numpy()


def error(s: Scene, network: Network, crop: Crop, landmarks: np.ndarray | None) -> float:
    """NME (Eq. 2) of the face that a network sees in that crop, measured in the photograph's frame; NaN where
    it sees none.
    """
    from vrnlib.labelling import largest_body
    from vrnlib.voxel import isosurface

    guide = None if landmarks is None else crop.apply(landmarks.astype(np.float64))
    try:
        vertices, faces = isosurface(predict(network, crop.image(s.image), guide))
    except VrnError:
        return float("nan")
    vertices = largest_body(vertices, faces)[0]
    return metrics.score(crop.invert(vertices), s.points[:POINTS], s.eyes).nme


def look(s: Scene, name: str, finder: detect.Detector) -> tuple[dict[str, Any], detect.Detection | None]:
    """One detector on one scene: its columns of the table, and the detection of the face (None if missed)."""
    started = time.perf_counter()
    found = finder.detect(s.image)
    seconds = time.perf_counter() - started
    good = [d for d in found if is_face(np.array(d.box).reshape(2, 2), s.landmarks)]
    row: dict[str, Any] = {
        "detector": name,
        "found": int(bool(good)),
        "boxes": len(found),
        "seconds": seconds,
    }
    if not good:
        return row, None
    best = max(good, key=lambda d: d.score)
    away = np.linalg.norm(best.landmarks - s.landmarks, axis=1).mean() / metrics.interocular(s.eyes)
    crop = best.crop()
    edges = np.array([[-0.5, -0.5], [crop.size - 0.5] * 2])  # of the window
    d = difference(crop.invert(edges), Crop.from_landmarks(s.landmarks, crop.size).invert(edges))
    box = REFERENCE_SIZE / REFERENCE_BOX  # from sides of the window to sides of the landmark box
    row |= {
        "score": best.score, "landmark_error": float(away),
        "confidence": float(np.mean(best.confidence)), "crop_scale": float(np.exp(d[0])),
        "crop_x": float(d[1] * box), "crop_y": float(d[2] * box),
    }  # fmt: skip
    return row, best


def version(finder: detect.Detector | None) -> str:
    """What identifies a detector in the rows: a checksum of its weights and its measured constants."""
    if finder is None:
        return "truth"
    marker = finder.marker
    parts = [repr(finder.box_reference), repr(finder.reference), repr(getattr(marker, "_chosen", None))]
    parts += [sha256(marker.path)] if hasattr(marker, "path") else []
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def swap(
    indices: Sequence[int],
    finders: dict[str, detect.Detector | None],
    networks: dict[str, Network],
    rows: list[dict[str, Any]],
    marks: dict[str, str],
    say: Any = print,
    keep: Any = lambda rows: None,
) -> list[dict[str, Any]]:
    """Every detector on every scene. `finders`: None stands for the truth. `marks`: what identifies each
    network in the rows; rows that are there are kept. `keep` is called with the rows so far, now and then.
    """
    known = {(int(r["index"]), r["condition"], r["detector"], r["version"], r["network"]): r for r in rows}
    versions = {name: version(finder) for name, finder in finders.items()}
    out = []
    for number, (index, condition) in enumerate(itertools.product(indices, CONDITIONS)):
        s: Scene | None = None
        for name, finder in finders.items():
            keys = {n: (index, condition, name, versions[name], marks[n]) for n in networks}
            if all(k in known for k in keys.values()):
                out += [known[k] for k in keys.values()]
                continue
            s = s or scene(index, harsh=condition == "harsh")
            row, found = look(s, name, finder or detect.TruthDetector(s.landmarks))
            for n, network in networks.items():
                if keys[n] in known:
                    out.append(known[keys[n]])
                    continue
                nme = float("nan")
                if found is not None:
                    given = found.landmarks if n == "guided-given" else None
                    nme = error(s, network, found.crop(network.size), given)
                out.append({
                    "index": index, "condition": condition, "yaw": float(s.pose[1]),
                    "version": versions[name], "network": marks[n], **row, "nme": nme,
                })  # fmt: skip
        if number % 20 == 19:
            say(f"swap: {number + 1} of {len(indices) * len(CONDITIONS)} scenes")
            keep(out)
    return out


def jitter(
    indices: Sequence[int],
    networks: dict[str, Network],
    rows: list[dict[str, Any]],
    marks: dict[str, str],
    levels: dict[str, tuple[float, ...]] = LEVELS,
    say: Any = print,
    keep: Any = lambda rows: None,
) -> list[dict[str, Any]]:
    """The truth, disturbed. All levels of a kind share their draws, so that a scene is its own control."""
    known = {(int(r["index"]), r["kind"], float(r["level"]), r["network"]): r for r in rows}
    out = []
    plan = [("none", 0.0), *((k, v) for k, values in levels.items() for v in values)]
    for number, index in enumerate(indices):
        s: Scene | None = None
        for (kind, level), n in itertools.product(plan, networks):
            key = (index, kind, level, marks[n])
            if key not in known:
                s = s or scene(index)
                truth = detect.TruthDetector(s.landmarks).detect(s.image)[0]
                rng = np.random.default_rng((index, 77))
                found = detect.jitter(truth, rng, **({} if kind == "none" else {kind: level}))
                given = found.landmarks if n == "guided-given" else None
                nme = error(s, networks[n], found.crop(networks[n].size), given)
                known[key] = dict(
                    zip(JITTER, (index, float(s.pose[1]), kind, level, marks[n], nme), strict=True)
                )
            out.append(known[key])
        if number % 10 == 9:
            say(f"jitter: {number + 1} of {len(indices)} scenes")
            keep(out)
    return out


def run(
    out: Path,
    scenes_: int = 120,
    jitter_scenes: int = 45,
    weights: Path | None = None,
    network: Path | None = None,
    checkpoints: Path = CHECKPOINTS,
    say: Any = print,
) -> dict[str, Any]:
    """Run both experiments and write `swap.csv`, `jitter.csv` `summary.json` and three figures into `out`.

    Parameters
    ----------
    weights : folder of the weight files of the detectors that need some.
    network : checkpoint of the landmark network of the ``free`` detectors.
    checkpoints : folder of the networks.

    Raises
    ------
    VrnError : no network is at hand, or the number of scenes is not positive.
    """
    started = time.perf_counter()
    if min(scenes_, jitter_scenes) < 3:
        raise VrnError(f"the study needs at least 3 scenes, got {scenes_} and {jitter_scenes}")
    networks = named_networks(checkpoints)
    if not networks:
        raise VrnError(f"no network in '{checkpoints}': train one, or name the folder with --checkpoints")
    mark = {n: f"{n}:{sha256(net.path)[:10]}" for n, net in networks.items()}
    finders: dict[str, detect.Detector | None] = {"truth": None}
    not_run: dict[str, str] = {n: "no checkpoint" for n in NETWORKS if n not in networks}
    for name in DETECTORS[1:]:
        own = network if name.startswith("free") and network is not None else None
        own = (
            weights if own is None and name in ("mediapipe", "face-alignment", "face-alignment-dlib") else own
        )
        try:
            finders[name] = detect.get(name, own)
        except VrnError as problem:
            not_run[name] = str(problem).split(":")[0].split(" in '")[0].split(" (")[0]
    used = next((f.marker.path for n, f in finders.items() if f is not None and n.startswith("free")), None)
    pairs = chosen(scenes_, 0, BANDS), chosen(jitter_scenes, 0, BANDS)
    before = {name: read_rows(out / f"{name}.csv") for name in ("swap", "jitter")}

    def keep(name: str, columns: Sequence[str]) -> Any:
        # of an interrupted run nothing is lost: what is done so far, then what was there before
        return lambda rows: write_rows(out / f"{name}.csv", columns, _first([*rows, *before[name]], columns))

    swapped = swap(pairs[0], finders, networks, before["swap"], mark, say, keep("swap", SWAP))
    write_rows(out / "swap.csv", SWAP, swapped)
    shaken = jitter(pairs[1], networks, before["jitter"], mark, LEVELS, say, keep("jitter", JITTER))
    write_rows(out / "jitter.csv", JITTER, shaken)
    result = summarise(read_rows(out / "swap.csv"), read_rows(out / "jitter.csv"))
    result["not_run"] = not_run
    old = {id(r) for rows in before.values() for r in rows}
    kept = sum(id(r) in old for r in [*swapped, *shaken])  # the seconds are those of the others
    inputs = {net.path for net in networks.values()} | ({used} if used else set())
    inputs |= {calibration.PATH} if calibration.PATH.is_file() else set()
    result["provenance"] = collect(
        {"scenes": scenes_, "jitter_scenes": jitter_scenes, "version": SCENES, "points": POINTS,
         "rows": len(swapped) + len(shaken), "rows_kept": kept},
        {}, sorted(inputs), time.perf_counter() - started,
    )  # fmt: skip
    write_json(out / "summary.json", result)
    draw(result, out)
    return result


def draw(result: dict[str, Any], out: Path) -> None:
    """Write the figures of a result as PNG into `out`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from vrnlib.detect.plots import FIGURES
    from vrnlib.figures import style

    style()
    for name, make in FIGURES.items():
        figure = make(result)
        with replacing(out / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _first(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Without repetitions of what was measured; the first stays."""
    keys = ("index", "condition", "detector", "version", "kind", "level", "network")
    names = [c for c in columns if c in keys]
    seen = {tuple(str(r[c]) for c in names): r for r in reversed(rows)}
    return list(seen.values())[::-1]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, floats with six digits, NaN as nothing."""

    def shown(value: Any) -> Any:
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.6g}"
        return value

    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({k: shown(v) for k, v in row.items()} for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.detector_study", description="Swap the face detector."
    )
    parser.add_argument("--out", type=Path, default=Path("results/detectors"))
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--jitter-scenes", type=int, default=45)
    parser.add_argument("--weights", type=Path, default=None, help="folder of the detectors' weight files")
    parser.add_argument(
        "--landmarks", type=Path, default=None, help="checkpoint of the free detectors' network"
    )
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder of the networks")
    given = parser.parse_args(arguments)
    try:
        result = run(
            given.out, given.scenes, given.jitter_scenes, given.weights, given.landmarks, given.checkpoints
        )
    except VrnError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(describe(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
