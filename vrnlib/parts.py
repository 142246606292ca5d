"""The detector of VRN-Guided, taken out of it and put into it.

No gradient of the volume reaches the detector, and the volume is learned from the true landmarks
(:mod:`vrnlib.objective`): a Guided run is two runs that share their faces. So a landmark run can begin where
a Guided run stopped, state of the optimiser included; a better detector can replace the one in a trained
VRN-Guided; and a Guided run can go on around a given detector (``vrn train guided -p detector=FILE``), which
saves the time of the other half.

    python -m vrnlib.parts detector results/runs/guided-laptop build/runs/landmarks-laptop
    python -m vrnlib.parts join guided-laptop.safetensors landmarks-laptop.safetensors joined.safetensors
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vrnlib import networks
from vrnlib.checkpoint import Log, has_checkpoint, load_checkpoint, save_checkpoint
from vrnlib.errors import VrnError
from vrnlib.params import strict
from vrnlib.provenance import read_json
from vrnlib.recipe import TrainParams
from vrnlib.weights import read_detector


def detector_run(guided: str | Path, out: str | Path) -> None:
    """A landmark run in the folder `out` that goes on from the Guided run in the folder `guided`.

    Weights, the optimiser's averages, the position in the faces and the clock are those of the Guided run;
    the log begins with a row that says so.

    Raises
    ------
    VrnError
        `guided` holds no run of VRN-Guided, or its detector was given and did not learn; or `out` holds a run
        already.
    """
    guided, out = Path(guided), Path(out)
    if has_checkpoint(out):
        raise VrnError(f"{out} already holds a run: choose a new folder")
    if not has_checkpoint(guided):
        raise VrnError(f"{guided} holds no run: give the folder that has its checkpoint.json")
    content = read_json(guided / "checkpoint.json").get("params", {})
    params = strict(TrainParams, content, f"{guided}/checkpoint.json")
    if params.kind != "guided":
        raise VrnError(f"{guided} holds a run of kind {params.kind}: only a guided one has a detector inside")
    if params.detector:
        raise VrnError(
            f"{guided}: its detector was given and is not trained here: take the file {params.detector}"
        )
    model: Any = networks.build(params.architecture)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=params.learning_rate)
    _, state = load_checkpoint(guided, model, optimiser)

    detector = model.landmarks
    part = torch.optim.RMSprop(detector.parameters(), lr=params.learning_rate)
    slots = optimiser.state_dict()["state"]
    numbers = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    chosen: dict[int, Any] = {
        i: slots[numbers[f"landmarks.{name}"]] for i, (name, _) in enumerate(detector.named_parameters())
    }
    part.load_state_dict({"state": chosen, "param_groups": part.state_dict()["param_groups"]})
    state.best_iou = 0.0  # it has no volume
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / "log.jsonl", state, "", resuming=False)
    log.write("phase", changed={"kind": ["guided", "landmarks"]}, source=guided.name)
    log.close()
    params = replace(params, kind="landmarks", guidance="true")  # there is nothing to guide
    save_checkpoint(out, asdict(params), detector, part, state)


def join(guided: str | Path, detector: str | Path, out: str | Path) -> None:
    """Write a VRN-Guided with the volume part of one file and the detector of another.

    What the file says of itself is that of `guided`; ``detector`` in it is what the detector's says.

    Raises
    ------
    VrnError
        A file is not what its name here says, or the two do not fit.
    """
    model, meta = networks.load(guided)
    if not isinstance(model, networks.Guided):
        raise VrnError(f"{guided} is a network of kind {model.kind}, not guided")
    weights, of_part = read_detector(detector, model)
    model.landmarks.load_state_dict(weights)
    networks.save(model, Path(out), {**meta, "detector": of_part}, half=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line of the module's example. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.parts", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("detector", help="a landmark run that goes on from a Guided run")
    one.add_argument("guided", type=Path)
    one.add_argument("out", type=Path)
    two = commands.add_parser("join", help="a VRN-Guided with another detector")
    for name in ("guided", "detector", "out"):
        two.add_argument(name, type=Path)
    given = vars(parser.parse_args(arguments))
    try:
        {"detector": detector_run, "join": join}[given.pop("command")](**given)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
