"""Do stray bodies come from the targets? Small networks trained on plain and on cleaned targets, watched as
they learn (`notebooks/09_dynamic_labelling`).

The review (Sec. 3) puts bumps down to targets with *hidden surfaces*, "cheekbones or cheeks in a profile
face", and concludes that post-processing is better than changing the targets. The test of that needs a
definition of a cleaned target; here are two:

``visible``   nothing is hidden: every pixel's column is filled from its front-most voxel to its rearmost
              one without a gap, and only the largest body stays.
``smooth``    the plain volume averaged over boxes of 3 x 3 x 3 voxels: a probability at the border, and
              less of one for whatever is thin.

Every network of one seed starts from the same weights and sees the same faces in the same order; only the
targets differ. All are scored against the plain truth. On the way, snapshots say how many stray bodies there
are after so many faces.

    python -m vrnlib.bumps_training --out results/labelling

`results/labelling/training.json` says how long that took. What was interrupted goes on with the first network
that is not finished.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vrnlib import batches, bump_analysis, bumps, networks
from vrnlib.databases import DATA_VERSION, POSES_PER_FACE, SynthLP
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.loss import slices_loss
from vrnlib.params import depth_of
from vrnlib.predict import Network
from vrnlib.provenance import collect, write_json
from vrnlib.recipe import bf16_is_fast

TARGETS = ("plain", "visible", "smooth")


@dataclass(frozen=True)
class Budget:
    """What each network is given.

    Attributes
    ----------
    size : side of the window in pixels; the volume goes with it.
    features, levels : of the network: one hourglass, one residual module at each place, wiring ``low``.
    people : training faces, each drawn once. faces : how many the network sees, in passes over them.
    batch_size : faces a step. learning_rate : of RMSProp, falling to 0 along half a cosine.
    test_faces : held-out people, one pose each, not augmented.
    snapshots : training faces after which the network's stray bodies are counted; the last is `faces`.
    effect_at, effect_faces : snapshots at which so many of the held-out faces also get a mesh, scored before
        and after labelling.
    seeds : repetitions. data_seed, test_seed : of the faces.
    """

    size: int = 48
    features: int = 64
    levels: int = 2
    people: int = 6144
    faces: int = 12288
    batch_size: int = 8
    learning_rate: float = 1e-3
    test_faces: int = 96
    snapshots: tuple[int, ...] = (96, 192, 384, 768, 1536, 6144, 12288)
    effect_at: tuple[int, ...] = (384, 12288)
    effect_faces: int = 48
    seeds: int = 2
    data_seed: int = 48
    test_seed: int = 1_000_048


@numba.njit(cache=True)
def _close_gaps(columns):
    for p in range(columns.shape[0]):
        first, last = -1, -1
        for d in range(columns.shape[1]):
            if columns[p, d]:
                last = d
                if first < 0:
                    first = d
        if first >= 0:
            columns[p, first : last + 1] = 1


def cleaned(volume: Tensor, targets: str) -> Tensor:
    """Targets (N, D, H, W) uint8 0/1, channels last -> cleaned ones, see the module's text: uint8, or of
    ``smooth`` float32 0..1.

    Raises
    ------
    VrnError : unknown targets.
    """
    if targets not in TARGETS:
        raise VrnError(
            f"unknown targets '{targets}'{did_you_mean(targets, TARGETS)}: use {', '.join(TARGETS)}"
        )
    if targets == "plain":
        return volume
    if targets == "smooth":
        smooth = F.avg_pool3d(volume[:, None].float(), 3, stride=1, padding=1, count_include_pad=False)
        return smooth[:, 0].contiguous(memory_format=torch.channels_last)
    from vrnlib.labelling_voxels import keep_bodies

    n, depth, height, width = volume.shape
    columns = volume.permute(0, 2, 3, 1).contiguous().clone().view(n, height * width, depth).numpy()
    for one in columns:
        _close_gaps(one)
        seen = one.reshape(height, width, depth).transpose(2, 0, 1)  # a view
        seen[:] = keep_bodies(seen, 0.5, "largest")[0]
    return torch.from_numpy(columns).view(n, height, width, depth).permute(0, 3, 1, 2)


def _stream(budget: Budget, seed: int, folder: Path) -> Iterator[dict[str, Tensor]]:
    # Packed batches of all training faces in the order of the seed; drawn once, then kept in `folder`.
    b = budget
    data = SynthLP(b.size, depth_of(b.size), seed=b.data_seed, augment=True, truth=False)
    identity = [DATA_VERSION, b.size, depth_of(b.size), b.data_seed, True, False]
    kept = batches.Kept(data, folder, identity)
    rng, size = np.random.default_rng((seed, 3)), b.batch_size
    for _ in range(b.faces // b.people):
        for k in rng.permutation(b.people // size).tolist():
            yield kept.__getitems__([i * (POSES_PER_FACE + 1) for i in range(k * size, (k + 1) * size)])


def test_faces(budget: Budget) -> list[dict[str, np.ndarray]]:
    """The held-out samples, with ground truth: other people, one pose each."""
    data = SynthLP(budget.size, depth_of(budget.size), seed=budget.test_seed, augment=False, truth=True)
    return [data[i * (POSES_PER_FACE + 1)] for i in range(budget.test_faces)]


test_faces.__test__ = False  # type: ignore[attr-defined]


def train(
    budget: Budget,
    targets: str,
    seed: int,
    folder: Path,
    watch: Callable[[int, networks.Network, float], None],
) -> networks.Network:
    """Train one network.

    Parameters
    ----------
    targets : one of :data:`TARGETS`. seed : of the first weights and the order of the faces.
    folder : where drawn batches are kept.
    watch : called at each of ``budget.snapshots`` with the faces seen, the network (in evaluation mode), and
        the mean loss since the last call.
    """
    torch.manual_seed(seed)
    b = budget
    model = networks.VRN(
        b.features, modules=1, stacks=1, levels=b.levels, depth=depth_of(b.size), wiring="low"
    )
    model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=b.learning_rate, alpha=0.99, eps=1e-8)
    steps, losses = b.faces // b.batch_size, []
    for step, batch in enumerate(_stream(b, seed, folder), start=1):
        image, volume = batches.unpack(batch, depth_of(b.size))
        image = image.contiguous(memory_format=torch.channels_last)
        for group in optimiser.param_groups:
            group["lr"] = b.learning_rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps))
        with torch.autocast("cpu", torch.bfloat16, bf16_is_fast()):
            loss = slices_loss(model.slices(image), cleaned(volume, targets))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step * b.batch_size in b.snapshots:
            model.eval()
            watch(step * b.batch_size, model, float(np.mean(losses)))
            model.train()
            losses = []
    return model.eval()


def run(budget: Budget, out: Path, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train all networks and write `training.csv` (a row a face, snapshot and network), `training.json`, and
    into `folder` the first seed's plain network at every snapshot, ``plain-FACES.safetensors``. Networks that
    `training.csv` holds already are not trained again.

    Raises
    ------
    VrnError : `training.csv` is of another budget.
    """
    began = time.perf_counter()
    test = test_faces(budget)
    done = out / "training.csv"
    rows: list[dict[str, Any]] = bumps.read_rows(done) if done.is_file() else []
    finished = {(r["targets"], r["seed"]) for r in rows if r["faces"] == budget.faces}
    if rows and (max(r["faces"] for r in rows), len({r["index"] for r in rows})) != (
        budget.faces,
        budget.test_faces,
    ):
        raise VrnError(f"'{done}' is of another budget: name another folder, or delete it")

    def watcher(targets: str, seed: int) -> Callable[[int, networks.Network, float], None]:
        started = time.process_time()

        def watch(faces: int, model: networks.Network, loss: float) -> None:
            net, seconds = Network(model, budget.size), time.process_time() - started
            told = {
                "targets": targets,
                "seed": seed,
                "faces": faces,
                "loss": loss,
                "processor_seconds": seconds,
            }
            mine = []
            for index, sample in enumerate(test):
                effect = faces in budget.effect_at and index < budget.effect_faces
                row = bumps.face_row(net, sample, effect=effect)
                mine.append({**told, "index": index, **bumps.pose(sample), **row})
            rows.extend(mine)
            say(
                f"{targets}, seed {seed}, {faces} faces: loss {loss:.4f}, IoU "
                f"{np.mean([r['iou'] for r in mine]):.3f}, stray bodies "
                f"{bump_analysis.rate(mine, 0.5).get('bodies', float('nan')):.2f}, {seconds:.0f} s"
            )
            if targets == "plain" and seed == 0:
                networks.save(model, folder / f"plain-{faces}.safetensors", {"faces": faces}, half=True)

        return watch

    for seed in range(budget.seeds):
        for targets in TARGETS:
            if (targets, seed) not in finished:
                train(budget, targets, seed, folder, watcher(targets, seed))
                bumps.write_rows(done, rows)
    result = bump_analysis.training_summary(rows)
    result["budget"] = asdict(budget)
    provenance = collect(asdict(budget), {"seeds": budget.seeds}, [], time.perf_counter() - began)
    write_json(out / "training.json", {**result, "provenance": provenance})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/labelling"))
    parser.add_argument(
        "--batches", type=Path, default=Path("cache/small-faces"), help="drawn faces are kept here"
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run(Budget(), arguments.out, arguments.batches, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
