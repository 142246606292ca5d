"""What options of `vrn reconstruct` are worth: the mirror image, the blur, and who guides VRN-Guided.

Scored as in `vrnlib.evaluate`, on the same held-out faces for every choice, so that differences are paired.
Then drawn photographs, as `vrn reconstruct` sees them: dlib finds the face and 68 landmarks, the crop follows
from them, and VRN-Guided is guided by its own landmarks or by dlib's.

    python benchmarks/mirror.py                        # results/benchmarks/mirror.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import detect, metrics, scores, voxel
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.databases.testsets import open_test_set
from vrnlib.errors import VrnError
from vrnlib.evaluate import TEST_SEED
from vrnlib.labelling import largest_body
from vrnlib.predict import load_network
from vrnlib.provenance import collect, write_json
from vrnlib.reconstruct import SMOOTH

CHECKPOINTS = Path("results") / "checkpoints"


def errors(volume: np.ndarray, sample: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """NME (Eq. 2), NME after rigid alignment, IoU; NaN twice for a volume without a surface."""
    try:
        vertices, faces, _ = largest_body(*voxel.isosurface(volume))
    except VrnError:
        return float("nan"), float("nan"), metrics.iou(volume, sample["volume"])
    s = metrics.score(vertices, sample["points"], sample["eyes"], faces=faces)
    return s.nme, s.rigid, metrics.iou(volume, sample["volume"])


def compare(kind: str, database: str, faces: int) -> dict[str, Any]:
    """Means and paired differences of one network on one database."""
    network = load_network(CHECKPOINTS / f"{kind}-laptop.safetensors")
    test = open_test_set(database, network.size, network.model.architecture.depth, faces, TEST_SEED)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for index in test.indices:
        sample = test.data[index]
        guides = (
            {"": None, ", true landmarks": sample["landmarks"]} if network.takes_landmarks else {"": None}
        )
        for guide, points in guides.items():
            for name, mirror in ((f"once{guide}", False), (f"mirrored too{guide}", True)):
                volume = network.predict(sample["image"], points, mirror)
                rows.setdefault(name, []).append(errors(volume, sample))
            blurred = voxel.smooth(volume, SMOOTH)
            rows.setdefault(f"mirrored too, smooth{guide}", []).append(errors(blurred, sample))
    people = [test.info(i)["identity"] for i in test.indices]
    groups = people if len(set(people)) < len(people) else None
    out: dict[str, Any] = {"faces": len(test.indices), "training": network.meta}
    plain = np.array(rows["once"])
    for name, values in rows.items():
        table = np.array(values)
        columns = dict(zip(("nme", "nme_rigid", "iou"), table.T, strict=True))
        out[name] = {c: scores.summary(v, groups=groups) for c, v in columns.items()}
        if name != "once":
            less = dict(zip(columns, (table - plain).T, strict=True))
            out[name]["minus_once"] = {c: scores.summary(v, groups=groups) for c, v in less.items()}
    return out


def photographs(kinds: list[str], faces: int) -> dict[str, Any]:
    """The networks on drawn photographs that a detector finds: NME, NME after rigid alignment."""
    data = SynthLP(192, 200, seed=TEST_SEED, augment=False, truth=True)
    finder, margin = detect.get("dlib"), np.array([60, 60, 0])
    networks = {k: load_network(CHECKPOINTS / f"{k}-laptop.safetensors") for k in kinds}
    rows: dict[str, list[tuple[float, float]]] = {}
    yaws: list[float] = []
    for number in range(faces):
        sample = data[POSES_PER_FACE * number + number % POSES_PER_FACE]
        around = ((margin[1],) * 2, (margin[0],) * 2, (0, 0))
        picture = np.pad(sample["image"], around, mode="edge")
        found = finder.detect(picture)
        truth = sample["landmarks"] + margin[:2]
        if not found or np.abs(found[0].landmarks.mean(0) - truth.mean(0)).max() > 30:
            continue
        yaws.append(float(np.rad2deg(sample["pose"][1])))
        for kind, network in networks.items():
            crop = found[0].crop(network.size)
            points, eyes = (crop.apply(sample[k].astype(np.float64) + margin) for k in ("points", "eyes"))
            guides = {kind: None}
            if network.takes_landmarks:
                guides[f"{kind}, the detector's landmarks"] = crop.apply(found[0].landmarks)
            for name, guide in guides.items():
                volume = network.predict(crop.image(picture), guide, mirror=True)
                s = metrics.score(largest_body(*voxel.isosurface(volume))[0], points, eyes)
                rows.setdefault(name, []).append((s.nme, s.rigid))
    table = {name: np.array(values) for name, values in rows.items()}
    return {"drawn": faces, "found": len(yaws), "detector": finder.name} | {
        name: {
            "nme": scores.summary(t[:, 0]),
            "nme_rigid": scores.summary(t[:, 1]),
            "by_yaw": scores.by_yaw(t[:, 0], yaws),
        }
        for name, t in table.items()
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, default=150)
    parser.add_argument("--databases", nargs="+", default=["synth-lp", "synth-wild"])
    parser.add_argument("--kinds", nargs="+", default=["vrn", "guided"])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/mirror.json"))
    given = parser.parse_args()
    began = time.perf_counter()
    result = {k: {d: compare(k, d, given.faces) for d in given.databases} for k in given.kinds}
    result["photographs"] = photographs(given.kinds, 2 * given.faces)
    files = [CHECKPOINTS / f"{k}-laptop.safetensors" for k in given.kinds]
    seconds = time.perf_counter() - began
    write_json(given.out, {**result, "provenance": collect({}, {"test": TEST_SEED}, files, seconds)})
    print({k: v["nme"]["mean"] for k, v in result.pop("photographs").items() if isinstance(v, dict)})
    for kind, sets in result.items():
        for database, choices in sets.items():
            for name, row in choices.items():
                if isinstance(row, dict) and "nme" in row:
                    numbers = "  ".join(f"{c} {row[c]['mean']:.4f}" for c in ("nme", "nme_rigid", "iou"))
                    print(f"{kind:8} {database:12} {name:28} {numbers}")


if __name__ == "__main__":
    main()
