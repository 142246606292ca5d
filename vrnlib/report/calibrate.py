"""Measures what the report's numbers are worth, on drawn faces whose truth is known.

    python -m vrnlib.report.calibrate --network results/checkpoints/guided-laptop.safetensors

writes ``results/report/NETWORK.json``: the doubt's quantiles over `synth-wild` and its rank correlation with
the NME; the error of the pose with a detector's landmarks on drawn photographs. The network answers as in
`vrnlib.reconstruct`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import detect, labelling, metrics, provenance, voxel
from vrnlib.databases import SynthLP
from vrnlib.databases.testsets import open_test_set
from vrnlib.errors import VrnError
from vrnlib.predict import Network, default_checkpoint, load_network
from vrnlib.report.measures import doubt, entropy, pose
from vrnlib.report.trust import FOLDER

SEED = 2_000_003
"""Of the faces for the pose: the test seed of `vrnlib.evaluate`."""


def doubts(network: Network, faces: int) -> dict[str, Any]:
    """Doubt beside the true errors over `faces` samples of `synth-wild`.

    Returns
    -------
    dict : ``quantiles`` (101 of the doubt), ``spearman`` with the NME and its 95 % bootstrap ``interval``,
        ``spearman_rigid`` (NME after rigid alignment), ``spearman_iou`` (1 - IoU of the volume);
        ``spearman_entropy``, of the volume's entropy with the NME, which is the same for a network without
        landmarks.
    """
    from scipy.stats import spearmanr

    depth = network.model.architecture.depth
    tests = open_test_set("synth-wild", network.size, depth, faces)
    rows = []
    for index in tests.indices:
        sample = tests.data[index]
        volume, sure = network.answer(sample["image"], mirror=True)
        try:
            vertices = labelling.largest_body(*voxel.isosurface(volume))[0]
        except VrnError:
            continue  # nothing reaches the level: the report lists such a face as failed
        score = metrics.score(vertices, sample["points"], sample["eyes"])
        wrong = (score.nme, score.rigid, 1 - metrics.iou(volume, sample["volume"]))
        rows.append((doubt(volume, sure), entropy(volume), *wrong))
    known, undecided, nme, rigid, other = np.array(rows).T
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(known), len(known)) for _ in range(2000))
    spread = [spearmanr(known[i], nme[i]).statistic for i in draws]
    worst = known > np.quantile(known, 0.8)
    return {
        "faces": len(rows),
        "database": tests.version,
        "quantiles": np.quantile(known, np.linspace(0, 1, 101)),
        "spearman": float(spearmanr(known, nme).statistic),
        "interval": np.quantile(spread, [0.025, 0.975]),
        "spearman_rigid": float(spearmanr(known, rigid).statistic),
        "spearman_iou": float(spearmanr(known, other).statistic),
        "spearman_entropy": float(spearmanr(undecided, nme).statistic),
        "nme_of_most_doubtful_fifth": float(nme[worst].mean()),
        "nme_of_the_others": float(nme[~worst].mean()),
        "points": np.stack([known, nme], 1).round(5),
    }


def poses(network: Network, detector: str, faces: int) -> dict[str, Any]:
    """Mean absolute error of the pose in degrees, over drawn photographs whose face the detector finds."""
    data = SynthLP(192, 200, seed=SEED, augment=False)
    finder = detect.get(detector)
    margin, errors = 60, []
    for number in range(faces):
        sample = data[12 * number + number % 12]
        photograph = np.pad(sample["image"], ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        found = finder.detect(photograph)
        truth = sample["landmarks"] + margin
        if not found or np.abs(found[0].landmarks.mean(0) - truth.mean(0)).max() > 30:
            continue
        crop = found[0].crop(network.size)
        volume = network.predict(crop.image(photograph), mirror=True)
        got = pose(crop.apply(found[0].landmarks.astype(np.float64)), volume)
        errors.append(np.abs(np.array(got) - np.degrees(sample["pose"])))
    pitch, yaw, roll = np.mean(errors, axis=0) if errors else (np.nan,) * 3
    return {
        "faces": len(errors),
        "drawn": faces,
        "detector": detector,
        "pitch": pitch,
        "yaw": yaw,
        "roll": roll,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.report.calibrate", description=__doc__)
    parser.add_argument("--network", type=Path, default=None)
    parser.add_argument("--detector", default="dlib")
    parser.add_argument("--faces", type=int, default=300)
    parser.add_argument("--out", type=Path, default=provenance.project_folder() / FOLDER)
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        network = load_network(given.network or default_checkpoint())
        found = doubts(network, given.faces)
        content = {
            "network": network.path.name,
            "network_sha256": provenance.sha256(network.path),
            "faces": found["faces"],
            "doubt": found,
            "pose": poses(network, given.detector, given.faces),
        }
        content["provenance"] = provenance.collect(
            {"faces": given.faces, "detector": given.detector},
            SEED,
            [network.path],
            time.perf_counter() - began,
        )
        path = provenance.write_json(given.out / f"{network.path.stem}.json", content)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: rank correlation of doubt and NME {found['spearman']:.2f} over {found['faces']} faces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
