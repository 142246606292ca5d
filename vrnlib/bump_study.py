"""The bump study: how many stray bodies, where, and what removing them does
(`notebooks/09_dynamic_labelling`).

    python -m vrnlib.bump_study --out results/labelling

For each trained network at hand, faces of every embedded test database as they are, and faces of `synth-lp`
in crops that a detector gets wrong (:data:`CROPS`). Writes ``bumps-NETWORK.csv``, a row a face (columns:
:mod:`vrnlib.bumps`), ``bumps.json``, the summary with the verdict on *bump generation is proportional to the
face's inclination*, and figures. A network whose rows are there and which has not changed since is not run
again; one that does not exist is "not run".
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import bumps
from vrnlib.bump_analysis import summarise
from vrnlib.databases import POSES_PER_FACE, Augmentation, SynthLP
from vrnlib.databases.testsets import NAMES, open_test_set
from vrnlib.errors import VrnError
from vrnlib.evaluate import TEST_SEED
from vrnlib.labelling_voxels import body_sizes
from vrnlib.predict import Network, load_network
from vrnlib.provenance import collect, project_folder, read_json, sha256, write_json

NETWORKS = ("vrn-laptop", "guided-laptop", "multitask-laptop")
"""Checkpoints under results/checkpoints that are looked for."""
CROPS: dict[str, Augmentation] = {
    "shifted": Augmentation(rotation=0, translation=40, scale=(1, 1), flip=0, gain=(1, 1)),
    "too wide": Augmentation(rotation=0, translation=0, scale=(0.5, 0.7), flip=0, gain=(1, 1)),
    "turned": Augmentation(rotation=90, translation=0, scale=(1, 1), flip=0, gain=(1, 1)),
}
"""Wrong crops: shifted by up to 40 of 192 pixels either way (training: 15), the face at half to seven tenths
of its size (training: 0.85 to 1.15), turned by up to 90 degrees (training: 45)."""
PLAIN = "plain"


def _rows(
    network: Network, database: str, crop: str, faces: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    # The rows of one database in one kind of crop.
    depth = network.model.architecture.depth
    if crop == PLAIN:
        test = open_test_set(database, network.size, depth, faces, TEST_SEED)
        data, indices, info = test.data, test.indices, test.info
    else:
        data = SynthLP(network.size, depth, seed=TEST_SEED, augment=CROPS[crop], truth=True)
        indices = [i * POSES_PER_FACE + i % POSES_PER_FACE for i in range(faces)]
        info = lambda index: {"identity": index // POSES_PER_FACE, "expression": ""}  # noqa: E731
    rows, began = [], time.perf_counter()
    for index in indices:
        sample = data[index]
        volume = network.predict(sample["image"])
        told = info(index)
        row = {
            "database": database,
            "crop": crop,
            "index": index,
            "identity": told["identity"],
            "expression": told["expression"],
            **bumps.pose(sample),
            **bumps.count(volume),
        }
        for level in bumps.EFFECT_LEVELS:
            if len(body_sizes(volume > level)) != 1:  # else labelling changes nothing
                row |= bumps.effect_columns(volume, sample, level)
        rows.append(row)
    some = [np.nanmean([r[name] > 0 for r in rows]) for name in ("strays_50", "strays_05")]
    seconds = time.perf_counter() - began
    say(
        f"{database}, {crop}: {len(rows)} faces, with stray bodies {some[0]:.1%} at 0.5, "
        f"{some[1]:.1%} at 0.05; {seconds:.0f} s"
    )
    return rows


def run_network(path: Path, out: Path, faces: int, say: Callable[[str], None] = print) -> bool:
    """Count the stray bodies of one network on everything; False if that was done before."""
    name, record = path.stem, out / f"bumps-{path.stem}.json"
    wanted = {"network": sha256(path), "faces": faces}
    if record.is_file() and (out / f"bumps-{name}.csv").is_file():
        told = read_json(record)
        if {k: told.get(k) for k in wanted} == wanted:
            return False
    began = time.perf_counter()
    network = load_network(path)
    rows: list[dict[str, Any]] = []
    left_out = {}
    for database, crop in [(d, PLAIN) for d in NAMES] + [("synth-lp", c) for c in CROPS]:
        try:
            rows += _rows(network, database, crop, faces, say)
        except VrnError as error:  # mapped-scans can't be fetched
            left_out[database] = f"not run: {error}"
            say(f"{database}: {left_out[database]}")
            continue
        bumps.write_rows(out / f"bumps-{name}.csv", rows)
    provenance = collect({"faces": faces}, {"test": TEST_SEED}, [path], time.perf_counter() - began)
    write_json(record, {**wanted, "training": network.meta, "left_out": left_out, "provenance": provenance})
    return True


def study(
    networks: Sequence[Path], out: Path, faces: int = 150, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run what has not been run, and summarise all: the contents of `bumps.json`."""
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"networks": {}, "levels": list(bumps.LEVELS)}
    for path in networks:
        if not path.is_file():
            result["networks"][path.stem] = "not run"
            continue
        say(path.stem)
        run_network(path, out, faces, say)
        result["networks"][path.stem] = summarise(bumps.read_rows(out / f"bumps-{path.stem}.csv"))
    write_json(out / "bumps.json", result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/labelling"))
    parser.add_argument("--faces", type=int, default=150, help="of each database and kind of crop")
    parser.add_argument("--networks", type=Path, nargs="*", help="default: those of results/checkpoints")
    arguments = parser.parse_args()
    folder = project_folder() / "results" / "checkpoints"
    networks = arguments.networks or [folder / f"{name}.safetensors" for name in NETWORKS]
    study(networks, arguments.out, arguments.faces, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
