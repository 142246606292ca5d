"""Measure the reference scale of every kind of box and landmarks on drawn photographs.

    python -m vrnlib.detect.calibrate --out vrnlib/data/detectors.json [--network CHECKPOINT] [--weights DIR]

The people are others than those of the study (`vrnlib.detector_study`); the pictures are plain ones, without
occluders and faults of the camera, in `synth-wild`'s poses. A box is taken for the face's if it lies
near; then ``ln(s_true / s)`` and ``(c_true - c) / s`` are averaged, s = sqrt(w h) of a box, c its middle; the
mean of the sideways shift is noted but not used. What cannot be run here (weights that are not at hand) keeps
its former values, or has none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.detect import calibration
from vrnlib.detect.dlib_model import DlibPoints, HogBoxes
from vrnlib.detect.fan import FanPoints, SfdBoxes
from vrnlib.detect.free import LbpBoxes, NetworkPoints
from vrnlib.detect.interface import Box, Reference
from vrnlib.detect.mediapipe import BlazeBoxes, MeshPoints
from vrnlib.detect.scenes import SCENES, Scene, chosen, scene
from vrnlib.errors import VrnError
from vrnlib.provenance import collect, plain, read_json, write_json

FIRST = 1000
"""First person of `synth-wild` that the calibration sees; the study takes those before."""
NEAR = 0.6
"""A box belongs to the face if its middle is within so many sides of the true one, its side within a factor
of exp(NEAR)."""
USUAL = {"dlib": "hog", "2dfan": "hog", "facemesh": "blazeface", "network": "hog"}
"""Boxes in which each landmark finder is measured."""


def side_and_middle(corners: np.ndarray) -> tuple[float, np.ndarray]:
    """``sqrt(w h)`` and middle (2,) of a box given by points (N >= 2, 2)."""
    low, high = corners.min(0), corners.max(0)
    return float(np.sqrt(max(np.prod(high - low), 1e-9))), (low + high) / 2


def difference(corners: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(3,): ``ln(s_true / s)``, and ``(c_true - c) / s`` in x and y, of two boxes given by points."""
    (s, c), (s_true, c_true) = (side_and_middle(np.asarray(p, np.float64)) for p in (corners, truth))
    return np.array([np.log(s_true / s), *((c_true - c) / s)])


def is_face(corners: np.ndarray, truth: np.ndarray) -> bool:
    """Whether a box frames the face whose true landmarks are given: see :data:`NEAR`."""
    d = difference(corners, truth)
    return abs(d[0]) < NEAR and float(np.hypot(*d[1:])) < NEAR


def summary(rows: Sequence[np.ndarray], shown: int) -> dict[str, Any] | None:
    """What is stored of the measured differences: the reference and its spread (SD); None of too few."""
    if len(rows) < 5:
        return None
    d = np.stack(rows)
    return {
        "scale": float(np.exp(d[:, 0].mean())),
        "shift": [0.0, float(d[:, 2].mean())],  # a mirrored photograph gets the mirrored crop
        "shift_x_measured": float(d[:, 1].mean()),
        "scale_sd": float(d[:, 0].std(ddof=1)),
        "shift_sd": d[:, 1:].std(0, ddof=1).tolist(),
        "found": len(rows),
        "scenes": shown,
    }


def best_box(boxes: Sequence[Any], truth: np.ndarray) -> Box | None:
    """Of the boxes that frame the face, the one with the highest score."""
    good = [b for b in boxes if is_face(np.array(b.box).reshape(2, 2), truth)]
    return max(good, key=lambda b: b.score).box if good else None


def mesh_landmarks(marker: MeshPoints, scenes: Sequence[Scene]) -> np.ndarray:
    """(68,) which of FaceMesh's points lies nearest to each landmark on average (median over scenes).

    Only scenes where the network is sure of a face count.
    """
    away = []
    for s in scenes:
        low, high = s.landmarks.min(0), s.landmarks.max(0)
        found = marker.points(s.image, (*low.tolist(), *high.tolist()), Reference())
        if found.confidence.max() > 0.5:
            side = side_and_middle(s.landmarks)[0]
            away.append(np.linalg.norm(found.points[:, None] - s.landmarks[None], axis=-1) / side)
    if len(away) < 5:
        raise VrnError(f"FaceMesh is sure of {len(away)} drawn faces: at least 5 are needed")
    return np.median(away, 0).argmin(0)


def calibrate(
    count: int, network: Path | None = None, weights: Path | None = None, former: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure everything that can be run here on `count` scenes: the contents of the file."""
    started = time.perf_counter()
    scenes = [scene(i, harsh=False) for i in chosen(count, FIRST)]
    result: dict[str, Any] = {"boxes": {}, "landmarks": {}, "not_run": {}}
    former = former or {"boxes": {}, "landmarks": {}}
    finders = _made({
        "hog": HogBoxes,
        "lbp": LbpBoxes,
        "blazeface": lambda: BlazeBoxes(weights),
        "sfd": lambda: SfdBoxes(FanPoints("sfd", weights)),
    }, result["not_run"])  # fmt: skip
    boxes: dict[str, list[Box | None]] = {}
    for name, finder in finders.items():
        boxes[name] = [best_box(finder.boxes(s.image), s.landmarks) for s in scenes]
        rows = [
            difference(np.array(b).reshape(2, 2), s.landmarks)
            for b, s in zip(boxes[name], scenes, strict=True)
            if b is not None
        ]
        result["boxes"][name] = summary(rows, len(scenes))

    def mesh() -> MeshPoints:
        every = MeshPoints(weights)
        result["facemesh"] = mesh_landmarks(every, scenes).tolist()
        return MeshPoints(weights, np.array(result["facemesh"]))

    markers = _made({
        "dlib": DlibPoints,
        "2dfan": lambda: FanPoints("dlib", weights),
        "facemesh": mesh,
        "network": lambda: NetworkPoints(network),
    }, result["not_run"])  # fmt: skip
    for name, marker in markers.items():
        kind = USUAL[name] if USUAL[name] in boxes else "hog"
        entry = result["boxes"].get(kind)
        own = Reference() if entry is None else Reference(entry["scale"], tuple(entry["shift"]))
        found = [
            marker.points(s.image, b, own).points if b is not None else None
            for s, b in zip(scenes, boxes[kind], strict=True)
        ]
        rows = [
            difference(p, s.landmarks)
            for p, s in zip(found, scenes, strict=True)
            if p is not None and is_face(p, s.landmarks)
        ]
        result["landmarks"][name] = summary(rows, len(scenes))
    for kind in calibration.KINDS:
        measured = {k: v for k, v in result[kind].items() if v is not None}
        result[kind] = {**former.get(kind, {}), **measured}
    if "facemesh" in former:
        result.setdefault("facemesh", former["facemesh"])
    inputs = [markers["network"].path] if "network" in markers else []
    result["provenance"] = collect(
        {"scenes": count, "first": FIRST, "version": SCENES}, {}, inputs, time.perf_counter() - started
    )
    return plain(result)


def _made(makers: dict[str, Callable[[], Any]], not_run: dict[str, str]) -> dict[str, Any]:
    """What could be built, by name; the reasons of the others go into `not_run`."""
    out = {}
    for name, make in makers.items():
        try:
            out[name] = make()
        except VrnError as error:
            not_run[name] = str(error).split(":")[0].split(" in '")[0].split(" (")[0]
    return out


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.detect.calibrate", description="Measure the detectors' reference scales."
    )
    parser.add_argument("--out", type=Path, default=calibration.PATH)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--network", type=Path, default=None, help="checkpoint that knows landmarks")
    parser.add_argument("--weights", type=Path, default=None, help="folder of weight files")
    given = parser.parse_args(arguments)
    try:
        former = read_json(given.out) if given.out.is_file() else None
        result = calibrate(given.scenes, given.network, given.weights, former)
        write_json(given.out, result)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for kind in calibration.KINDS:
        for name, e in result[kind].items():
            x, y = e["shift"]
            print(
                f"{kind} {name}: scale {e['scale']:.3f} (SD {e['scale_sd']:.3f}), shift {x:+.3f} {y:+.3f}, "
                f"{e['found']} of {e['scenes']}"
            )
    for name, why in result["not_run"].items():
        print(f"not run: {name} ({why})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
