"""The costs of 3DDFA against each other: the same network, faces and number of steps, another cost.

    python benchmarks/tddfa_costs.py --max-faces 4800 --keep build/faces

Zhu et al. (CVPR 2016) find WPDC, or VDC started from it, better than PDC and VDC alone. At this budget, which
is small, the question is which one is fastest. Writes `results/ablation/tddfa_costs.json`: NME with known
correspondence by iteration on held-out faces, and each cost's paired difference to WPDC after the last one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from vrnlib import scores
from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.morphable import load_morphable
from vrnlib.baselines.tddfa_model import Shapes
from vrnlib.baselines.tddfa_recipe import TddfaParams
from vrnlib.baselines.tddfa_train import train
from vrnlib.baselines.tddfa_validate import errors_by_iteration, held_out_faces
from vrnlib.errors import VrnError
from vrnlib.provenance import collect, project_folder, write_json

COSTS = ("pdc", "vdc", "wpdc", "wpdc-vdc")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-faces", type=int, default=4800, help="training faces of each")
    parser.add_argument("--faces", type=int, default=64, help="held-out faces")
    parser.add_argument("--iterations", type=int, default=2, help="of the cascade")
    parser.add_argument("--keep", default="", help="folder of kept batches (vrnlib.batches)")
    parser.add_argument(
        "--out", type=Path, default=project_folder() / "results" / "ablation" / "tddfa_costs.json"
    )
    options = parser.parse_args()
    start = time.perf_counter()
    shapes = Shapes.of(load_morphable())
    nme, found, held_out = {}, {}, None
    try:
        with tempfile.TemporaryDirectory() as folder:
            for cost in COSTS:
                params = TddfaParams(
                    cost=cost, max_faces=options.max_faces, validation_faces=options.faces, keep=options.keep,
                    validate_minutes=1e9, iterations=options.iterations,
                )  # fmt: skip
                held_out = held_out or held_out_faces(params, load_morphable())
                train(params, Path(folder) / cost, held_out=held_out)
                network, _ = networks.load(Path(folder) / cost / "3ddfa-laptop.safetensors")
                nme[cost] = errors_by_iteration(shapes, network, held_out, options.iterations)["nme"]
                found[cost] = {"nme": [scores.summary(row) for row in nme[cost].numpy()]}
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for cost in COSTS:
        found[cost]["minus_wpdc"] = scores.compare(nme[cost][-1].numpy(), nme["wpdc"][-1].numpy())
        print(f"{cost:9s}", " ".join(f"{r['mean']:.4f}" for r in found[cost]["nme"]))
    used = {
        "max_faces": options.max_faces, "faces": options.faces, "iterations": options.iterations,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    seeds = {"seed": params.seed, "validation_seed": params.validation_seed}
    report = {"costs": found, "provenance": collect(used, seeds, [], time.perf_counter() - start)}
    write_json(options.out, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
