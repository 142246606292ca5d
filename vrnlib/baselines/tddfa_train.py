"""Train 3DDFA on the faces that the VRNs are trained on (taught in `notebooks/07_baselines`).

    python -m vrnlib.baselines.tddfa_train --out results/runs/3ddfa-laptop

Each step takes fresh faces at the first guess, and those of the steps before at the states that the network
has brought them to: it learns from all iterations of the cascade at once, at the price of one forward pass a
face and iteration. As in the paper's training of one stage after the other, the first iteration is learned
first: iteration k of K joins when (k - 1) / K of the run is done. A run is a folder, as those of
:mod:`vrnlib.train`: `checkpoint.json`, `log.jsonl`, at its end the network, `params.json`, `provenance.json`,
`metrics.json`. Killed at any moment it goes on from its checkpoint, and with one thread arrives at the very
same weights.

From the paper: the costs and their order of use (WPDC, then VDC from it), three iterations. Ours: Adam,
batch, schedule, and the training faces.
"""

from __future__ import annotations

import argparse
import sys
import time
import typing
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrnlib import batches
from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.morphable import load_morphable
from vrnlib.baselines.tddfa_checkpoint import load_state, save_state
from vrnlib.baselines.tddfa_costs import COSTS
from vrnlib.baselines.tddfa_data import TrueParameters, stream, whitening
from vrnlib.baselines.tddfa_model import Shapes, first_guess
from vrnlib.baselines.tddfa_network import Design, Regressor
from vrnlib.baselines.tddfa_recipe import TddfaParams, changes, recorded
from vrnlib.baselines.tddfa_validate import HeldOut, errors_by_iteration, held_out_faces
from vrnlib.checkpoint import Log, State, has_checkpoint, stop_signals
from vrnlib.databases import DATA_VERSION, SynthLP
from vrnlib.errors import VrnError
from vrnlib.params import depth_of, strict
from vrnlib.provenance import collect, read_json, write_json
from vrnlib.recipe import bf16_is_fast

Say = Callable[[str], None]
_PACK = 8  # faces of a kept batch: the VRNs' laptop profile


@dataclass
class InFlight:
    """Faces between two iterations: images (N, 3, S, S), true parameters (N, P), states u (N, P)."""

    image: Tensor
    truth: Tensor
    u: Tensor


def train(
    params: TddfaParams,
    out: str | Path,
    say: Say = print,
    export: str | Path | None = None,
    held_out: HeldOut | None = None,
) -> dict[str, Any]:
    """Train in the folder `out`, or go on with the run that is there.

    Parameters
    ----------
    params : on resume, those of `FIXED` must be as before; the log records what else has changed.
    export : where the network is written; None is ``3ddfa-laptop.safetensors`` in `out`.
    held_out : validation faces; None draws them (`held_out_faces`).

    Returns
    -------
    The contents of `metrics.json`; if a signal ended the run early, `finished` is False.

    Raises
    ------
    VrnError : the run in `out` has other parameters or is damaged, no 3DMM, or the cost is not a number.
    """
    out, p = Path(out), params
    if p.threads:
        torch.set_num_threads(p.threads)
    bf16 = p.precision == "bf16-mixed" or (p.precision == "auto" and bf16_is_fast())
    model = load_morphable(p.model or None)
    shapes = Shapes.of(model)
    data = SynthLP(p.size, depth_of(p.size), seed=p.seed)
    true = TrueParameters(data, model)
    torch.manual_seed(p.seed)
    network = Regressor(Design(shapes.parameters, p.size, tuple(p.widths), p.hidden))
    network = network.to(memory_format=torch.channels_last)
    network.start.copy_(first_guess(shapes, p.size))
    optimiser = torch.optim.AdamW(network.parameters(), lr=p.learning_rate, weight_decay=1e-4)

    state, flying, changed, resuming = State(), [], {}, has_checkpoint(out)
    if resuming:
        former, state, flying_u = load_state(out, network, optimiser)
        changed = changes(strict(TddfaParams, former, f"{out}/checkpoint.json"), p, out)
        if p.progress(state) >= 1 and (out / "metrics.json").exists():
            say(f"{out}: this run is finished")
            return read_json(out / "metrics.json")
        flying = _again(p, data, true, state, flying_u)
    else:
        network.scale.copy_(whitening(true, network.start))
    say(
        f"{'resuming' if resuming else 'training'} 3DDFA in {out}: "
        f"{sum(w.numel() for w in network.parameters()):,} weights, {shapes.parameters} parameters a face, "
        f"cost {p.cost}, {'bf16' if bf16 else 'fp32'}, step {state.step}"
    )

    held_out = held_out or held_out_faces(p, model)
    pairs = faces(p, data, true, state.position)
    (out / "metrics.json").unlink(missing_ok=True)
    start = time.monotonic() - state.seconds
    last_validation = last_checkpoint = state.seconds
    recent: list[tuple[float, list[float]]] = []
    began = time.monotonic()
    with stop_signals() as stop, closing(Log(out / "log.jsonl", state, DATA_VERSION, resuming)) as log:
        if changed or not resuming:
            log.write("phase", changed=changed)

        def note(validation: bool) -> dict[str, Any]:
            nonlocal recent, began
            if recent:
                loss = float(np.mean([cost for cost, _ in recent]))
                seen = [[r[k] for _, r in recent if k < len(r)] for k in range(p.iterations)]
                apart = [float(np.mean(v)) if v else None for v in seen]
                speed = len(recent) * p.batch_size / (time.monotonic() - began)
                log.write(
                    "train", loss=loss, cost=p.cost_at(state), vertex_pixels=apart,
                    faces_per_second=speed, learning_rate=rate,
                )  # fmt: skip
                say(
                    f"step {state.step:6d}  {state.position:8,d} faces  "
                    f"{p.cost_at(state)} {loss:.4f}  vertices "
                    f"{' '.join(f'{v:.2f}' for v in apart if v)} px  {speed:.1f} faces/s"
                )
            scores = {}
            if validation:
                errors = errors_by_iteration(shapes, network, held_out)
                scores = {name: e.mean(1).tolist() for name, e in errors.items()}
                log.write("validate", **scores)
                say(f"held-out NME by iteration {' '.join(f'{v:.4f}' for v in scores['nme'])}")
            recent, began = [], time.monotonic()
            return scores

        rate, scores = 0.0, {}
        while p.progress(state) < 1 and not stop.is_set():
            rate = p.rate(state)
            for group in optimiser.param_groups:
                group["lr"] = rate
            image, truth = next(pairs)
            flying = [InFlight(image, truth, torch.zeros_like(truth)), *flying][: p.iterations_at(state)]
            recent.append(_step(shapes, network, optimiser, flying, COSTS[p.cost_at(state)], bf16))
            if not np.isfinite(recent[-1][0]):
                raise VrnError(
                    f"the cost became {recent[-1][0]} at step {state.step + 1}; the last checkpoint in {out} "
                    "is kept: resume with a lower learning rate"
                )
            state.step += 1
            state.position += p.batch_size
            state.seconds = time.monotonic() - start
            if state.step % p.log_steps == 0:
                due = state.seconds - last_validation >= p.validate_minutes * 60
                note(due)
                last_validation = time.monotonic() - start if due else last_validation
            if state.seconds - last_checkpoint >= p.checkpoint_minutes * 60:
                save_state(out, recorded(p), network, optimiser, state, [f.u for f in flying])
                last_checkpoint = state.seconds
        finished = p.progress(state) >= 1
        scores = note(True)
        if not finished:
            log.write("stop")
        state.seconds = time.monotonic() - start
        save_state(out, recorded(p), network, optimiser, state, [f.u for f in flying])
    return _finish(p, out, network, shapes, state, scores, finished, export, say)


def _step(
    shapes: Shapes, network: Regressor, optimiser: torch.optim.Optimizer, flying: list[InFlight],
    cost: Callable[..., Tensor], bf16: bool,
) -> tuple[float, list[float]]:  # fmt: skip
    # One update from the faces of every iteration; moves their states on. Returns the mean cost and the mean
    # distance of the vertices from the truth, in pixels, after each iteration.
    network.train()
    image, truth, u = (torch.cat([getattr(f, name) for f in flying]) for name in ("image", "truth", "u"))
    u = networks.correct(network, networks.look(shapes, network, image, u), u, bf16)
    estimate = network.unwhiten(u)
    loss = cost(shapes, estimate, truth, network.scale).mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 20.0)
    optimiser.step()
    with torch.no_grad():
        apart = (shapes.vertices(estimate) - shapes.vertices(truth)).norm(dim=2).mean(1)
    moved = u.detach().split([len(f.u) for f in flying])
    for face, next_u in zip(flying, moved, strict=True):
        face.u = next_u
    return loss.item(), [float(a.mean()) for a in apart.split([len(f.u) for f in flying])]


def faces(p: TddfaParams, data: SynthLP, true: TrueParameters, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Training pairs of `batch_size` from position `start` on, through the folder of kept batches if any."""
    images: Any = data
    pack = _PACK if p.batch_size % _PACK == 0 else p.batch_size
    if p.keep:
        images = batches.Kept(data, p.keep, [DATA_VERSION, "synth-lp", "", p.size, depth_of(p.size), p.seed])
    while True:
        if p.distinct_faces:
            start %= p.distinct_faces
        source = stream(images, true, p.seed, start, pack)
        while start < (p.distinct_faces or start + 1):
            parts = [next(source) for _ in range(p.batch_size // pack)]
            yield torch.cat([image for image, _ in parts]), torch.cat([truth for _, truth in parts])
            start += p.batch_size


def _again(
    p: TddfaParams, data: SynthLP, true: TrueParameters, state: State, us: list[Tensor]
) -> list[InFlight]:
    # The faces that were between two iterations when the checkpoint was written, the newest first.
    source = faces(p, data, true, state.position - len(us) * p.batch_size)
    pairs = [next(source) for _ in us]
    return [InFlight(image, truth, u) for (image, truth), u in zip(reversed(pairs), us, strict=True)]


def _finish(
    p: TddfaParams, out: Path, network: Regressor, shapes: Shapes, state: State, scores: dict[str, Any],
    finished: bool, export: str | Path | None, say: Say,
) -> dict[str, Any]:  # fmt: skip
    numbers = {"step": state.step, "faces": state.position, "minutes": state.seconds / 60}
    identity = {"size": p.size, "run": out.name, "data": DATA_VERSION, "model": shapes.digest, "cost": p.cost}
    meta = {**identity, **numbers, "validation": scores}
    path = Path(export) if export else out / "3ddfa-laptop.safetensors"
    networks.save(network, path, {**meta, "finished": finished}, half=True)
    metrics = {"finished": finished, **numbers, "validation": scores, "data": DATA_VERSION}
    if not finished:
        say(f"stopped at step {state.step} in {out}: the same command goes on from there")
        return metrics
    write_json(out / "params.json", recorded(p))
    seeds = {"seed": p.seed, "validation_seed": p.validation_seed}
    write_json(out / "provenance.json", collect(recorded(p), seeds, [path], state.seconds))
    write_json(out / "metrics.json", metrics)
    say(f"finished after {state.position:,} faces: {path}")
    return metrics


def main(arguments: list[str] | None = None) -> int:
    """Every field of `TddfaParams` is an option, as in ``--max-faces 73728``. Returns the exit code."""
    about = "Train 3DDFA on faces drawn on the fly; the same command again goes on where it stopped."
    parser = argparse.ArgumentParser(prog="python -m vrnlib.baselines.tddfa_train", description=about)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--export", type=Path, help="where the network is written")
    hints = typing.get_type_hints(TddfaParams)
    for name, hint in hints.items():
        kind = next((t for t in (int, float) if hint in (t, t | None)), str)
        many = {"nargs": 4, "type": int} if name == "widths" else {"type": kind}
        parser.add_argument("--" + name.replace("_", "-"), **many)  # type: ignore[arg-type]
    given = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    out, export = given.pop("out"), given.pop("export", None)
    try:
        params = strict(TddfaParams, given, "3DDFA training")
        train(params, out, say=lambda line: print(line, flush=True), export=export)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
