"""Which factors of appearance matter: the same small VRN trained with one group of factors switched off at a
time, scored on held-out drawn faces, on scans, and by proxies on photographs.

    python benchmarks/appearance_ablation.py --fetch      # goes on where it stopped

Every arm starts from one network that has learnt shape and pose on the plainest pictures (no factor varies:
no group can leak in), and goes on with the same faces in the same order, so that two arms differ in the
factors of :class:`vrnlib.variation.Variation` alone. `full` has all of them, `nothing` none, `no-<group>` all
but one group; `again` is `full` on other faces, which shows how far two trainings differ by chance.
Differences are paired by picture; their intervals are over persons. Faces are drawn once an arm and seen
`--passes` times: drawing costs more than training at this size.

What the photographs can and can't say: `appearance_photographs.py`. Result: `appearance.json`, a row a
picture in `appearance.csv`, and the figure `appearance.png`, in `results/ablation`.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vrnlib import metrics, scores
from vrnlib.databases import DATA_VERSION, POSES_PER_FACE, SynthLP
from vrnlib.databases.testsets import open_test_set
from vrnlib.errors import VrnError
from vrnlib.evaluate import TEST_SEED
from vrnlib.objective import POINT_STEP, surface_nme
from vrnlib.params import depth_of
from vrnlib.provenance import collect, read_json, replacing, write_json
from vrnlib.recipe import TrainParams
from vrnlib.runs import runs_of
from vrnlib.train import train
from vrnlib.variation import Variation, factors

GROUPS: dict[str, tuple[str, ...]] = {
    "skin": ("skin_tone", "skin_detail"),
    "shading": ("shadow", "specular", "softness"),
    "light": ("light",),
    "hair": ("hair", "beard", "headwear"),
    "occluders": ("glasses", "occluders"),
    "surroundings": ("background", "clothes"),
    "camera": ("exposure", "white_balance", "blur", "noise", "jpeg"),
}
"""Every factor of appearance in exactly one group."""
SIZE = 48
DRAWN_MEASURES = ("nme", "iou")
POSES = 3
"""Pictures of a person: fewer than `synth-lp` offers, so that many persons are seen in a short training."""
SETS: dict[str, int] = {"synth-lp": 128, "synth-wild": 128, "mapped-scans": 112}
"""Test sets and how many pictures of each, about."""
SCAN = "real-scan"
"""The one real textured scan of `mapped-scans`, in all its 15 poses, is told apart."""


def arms() -> dict[str, Variation]:
    """Arm -> which factors vary in its training pictures."""
    out = {"full": Variation(), "nothing": Variation.only(), "again": Variation()}
    return out | {f"no-{group}": Variation.without(*names) for group, names in GROUPS.items()}


def label(arm: str) -> str:
    """What a figure calls an arm."""
    return "all, other faces" if arm == "again" else arm.replace("no-", "without ")


class Repeated:
    """The first `count` faces of a database, over and over: `data[i]` is face ``i % count``, kept in memory
    with its volume as runs. Three poses a person, spread over the twelve of `synth-lp`.

    Parameters
    ----------
    start : number of the first person.
    """

    def __init__(self, data: Any, count: int, start: int = 0) -> None:
        self.data, self.count, self.start = data, count, start
        self._kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return 10**9

    def index(self, number: int) -> int:
        """Which sample of the database is meant."""
        person, pose = divmod(number % self.count, POSES)
        return (self.start + person) * POSES_PER_FACE + pose * (POSES_PER_FACE // POSES)

    def __getitem__(self, number: int) -> dict[str, Any]:
        number %= self.count
        if number not in self._kept:
            sample = self.data[self.index(number)]
            self._kept[number] = {"image": sample["image"], "runs": runs_of(sample["volume"])}
        return self._kept[number]


def recipe(faces: int, seed: int, features: int = 64, size: int = SIZE) -> TrainParams:
    """A small VRN (64 features, 12x12 cells) and a short training of it."""
    return TrainParams.of(
        "smoke", size=size, depth=depth_of(size), features=features, modules=1, stacks=2, levels=2,
        wiring="low", refine=1, batch_size=16, seed=seed, learning_rate=4e-4, lr_drop=(0.6, 0.85),
        lr_drop_factor=0.3, max_faces=faces, validation_faces=32, nme_faces=0, validate_minutes=1e6,
        workers=0, threads=1, log_steps=48, data_tag=DATA_VERSION,
    )  # fmt: skip


def train_arm(
    name: str, folder: Path, seed: int, count: int, passes: int, base: Path | None, **size: int
) -> Path:
    """Train one arm (or, without `base`, the common beginning) in `folder`, unless that is done already.

    Returns the exported network.
    """
    out = folder / name
    network = out / "vrn-smoke.safetensors"
    if (out / "metrics.json").exists() and network.exists():
        return network
    params = recipe(count * passes, seed, **size)
    variation = Variation.only() if base is None else arms()[name]
    people = -(-count // POSES)
    data = SynthLP(params.size, params.depth, seed=seed, variation=variation)
    # the arms' persons are not those of the common beginning, and those of `again` are others still
    faces = Repeated(data, count, 0 if base is None else 2 * 10**6 if name == "again" else 10**6)
    held_out = SynthLP(params.size, params.depth, seed=params.validation_seed, augment=False)
    model = None
    if base is not None:
        from vrnlib.networks import load

        model, _ = load(base)
    print(f"== {name}, seed {seed}: {count} faces of {people} persons, {passes} passes", flush=True)
    done = train(
        params, out, model=model, dataset=faces, validation=held_out, say=lambda s: print(s, flush=True)
    )
    if not done["finished"]:
        raise SystemExit(f"{name} was interrupted: the same command goes on from there")
    return network


def load_predict(path: Path) -> Any:
    """A network as a function: window (S, S, 3) uint8 -> probabilities (D, S, S) float32."""
    from vrnlib.predict import load_network

    return load_network(path).predict


def test_faces(size: int, faces: dict[str, int] = SETS, say: Any = print) -> dict[str, list[dict[str, Any]]]:
    """Test set -> samples with ground truth, `person` and `yaw` (degrees); what can't be had is left out."""
    out: dict[str, list[dict[str, Any]]] = {}
    for name, count in faces.items():
        try:
            test = open_test_set(name, size, depth_of(size), count, TEST_SEED)
        except VrnError as error:
            say(f"{name}: not run: {error}")
            continue
        picked = list(test.indices)
        if name == "mapped-scans":  # every pose as often, and the whole of the scan apart
            every = [i for i in range(len(test.data)) if test.info(i)["kind"] == "mapped"]
            scan = [i for i in range(len(test.data)) if test.info(i)["kind"] == "scan"]
            step = max(1, len(every) // max(1, count - len(scan)))
            while gcd(step, len(scan)) > 1:  # a person's poses stand in a row: no step may skip some always
                step += 1
            picked = every[::step]
            out[SCAN] = [_sample(test, i) for i in scan]
        out[name] = [_sample(test, i) for i in picked]
    return out


def _sample(test: Any, index: int) -> dict[str, Any]:
    sample = dict(test.data[index])
    sample["points"] = sample["points"][::POINT_STEP]
    person, yaw = test.info(index)["identity"], float(np.rad2deg(sample["pose"][1]))
    return sample | {"index": index, "person": person, "yaw": yaw}


def score_arm(
    network: Path, tests: dict[str, list[dict[str, Any]]], windows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One network -> a row a picture: `set`, `index`, `person` and the values of its set's measures."""
    from appearance_photographs import measures

    predict, rows = load_predict(network), []
    for name, samples in tests.items():
        for s in samples:
            volume = predict(s["image"])
            values = {
                "nme": surface_nme(volume, s["points"], s["eyes"]),
                "iou": metrics.iou(volume, s["volume"]),
            }
            rows.append({"set": name, "index": s["index"], "person": s["person"], "yaw": s["yaw"], **values})
    for w in windows:
        values = measures(predict, w["image"], w["landmarks"], w["fitted"])
        rows.append({"set": "photographs", "index": w["window"], "person": w["photo"], **values})
    return rows


def paired(
    arm: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], name: str, measure: str
) -> dict[str, Any]:
    """One arm beside `full` on one set: `mean` and its 95 % `interval`, and `difference` arm - full with its
    interval, paired by picture. Persons are drawn for the intervals; of the real scan, one person, pictures
    are, so its interval says nothing about other people.

    Raises
    ------
    VrnError : the two have not seen the same pictures.
    """
    mine = {(r["set"], r["person"], r["index"]): r for r in arm if r["set"] == name}
    theirs = {(r["set"], r["person"], r["index"]): r for r in full if r["set"] == name}
    if mine.keys() != theirs.keys() or not mine:
        raise VrnError(
            f"the arms were not scored on the same pictures of {name}: delete the scores.json files"
        )
    a = np.array([_number(mine[key][measure]) for key in mine])
    b = np.array([_number(theirs[key][measure]) for key in mine])
    persons = [key[1] for key in mine]
    groups = persons if 1 < len(set(persons)) < len(persons) else None
    row = scores.summary(a, groups=groups) | {"persons": len(set(persons))}
    if arm is not full:
        row |= {"difference": None, "difference_interval": None, "left_out": int(np.isnan(a + b).sum())}
        if np.isfinite(a + b).sum() > 1:  # an untrained network has no surface to compare
            c = scores.compare(a, b, groups=groups)
            row |= {"difference": c["difference"], "difference_interval": c["interval"]}
    return row


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def over_seeds(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of the same pictures from several seeds -> rows of the mean values."""
    out = []
    for rows in zip(*runs, strict=True):
        keys = [k for k in rows[0] if k not in ("set", "index", "person", "yaw")]
        means = {k: float(np.mean([_number(r[k]) for r in rows])) for k in keys}
        out.append({**rows[0], **means})
    return out


def report(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Arm -> set -> measure -> `paired`. Without `full` there is nothing to compare with: empty."""
    from appearance_photographs import MEASURES

    if "full" not in rows:
        return {}
    full = rows["full"]
    names = list(dict.fromkeys(r["set"] for r in full))
    return {
        arm: {
            name: {
                measure: paired(own, full, name, measure)
                for measure in (MEASURES if name == "photographs" else DRAWN_MEASURES)
            }
            for name in names
        }
        for arm, own in rows.items()
    }


PANELS: tuple[tuple[str, str, str, float], ...] = (
    ("synth-lp", "nme", "held-out drawn faces\nNME, %", 100),
    ("synth-wild", "nme", "drawn, harsh (synth-wild)\nNME, %", 100),
    ("mapped-scans", "nme", "mapped scans\nNME, %", 100),
    (SCAN, "nme", "one real scan\nNME, %", 100),
    ("photographs", "outline", "photographs\noutline distance, %", 100),
    ("photographs", "agreement", "photographs\nIoU with landmark fit, points", -100),
    ("photographs", "flip", "photographs\n1 - IoU under flip, points", 100),
    ("photographs", "photometry", "photographs\n1 - IoU under changed light, points", 100),
)
"""Of the figure: set, measure, title, and the factor that makes worse positive."""


def draw(result: dict[str, Any], path: Path) -> None:
    """The figure: for each set how much worse each arm is than `full`, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from vrnlib import figures

    figures.style()
    rows = [arm for arm in arms() if arm != "full" and arm in result["arms"]]
    panels = [p for p in PANELS if p[0] in result["arms"]["full"]]
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(2.35 * columns + 1, 0.28 * len(rows) * lines + 0.9 * lines), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (name, measure, title, sign) in zip(axes.flat, panels, strict=False):
        for y, arm in enumerate(rows):
            row = result["arms"][arm][name][measure]
            if row["difference"] is None:
                continue
            low, high = sorted(sign * v for v in row["difference_interval"])
            worse, better = low > 0, high < 0
            colour = figures.PALETTE[1] if worse else figures.PALETTE[0] if better else "0.55"
            if arm == "nothing":  # a number: it would squeeze the others together
                text = f"{sign * row['difference']:+.1f}"
                place = {"ha": "center", "va": "center", "transform": axis.get_yaxis_transform()}
                axis.text(0.5, y, text, color=colour, **place)
                continue
            axis.plot([low, high], [y, y], color=colour, linewidth=2)
            axis.plot(sign * row["difference"], y, "o", color=colour, markersize=5)
        axis.axvline(0, ymax=1 - 1 / len(rows), color="black", linewidth=0.8)
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(rows)), [label(arm) for arm in rows])
    axes.flat[0].set_ylim(len(rows) - 0.5, -0.7)  # of all: they share it
    fig.supxlabel(
        "change against the arm with everything; right of 0 is worse; bars: 95 % over persons", fontsize=9
    )
    with replacing(path) as temporary:
        fig.savefig(temporary, format="png")
    plt.close(fig)


def write_rows(path: Path, runs: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """All rows as CSV: arm, seed, and a picture's values."""
    columns = [
        "arm", "seed", "set", "index", "person", "yaw", "nme", "iou", "outline",
        "agreement", "flip", "photometry",
    ]  # fmt: skip
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for (arm, seed), rows in runs.items():
            for r in rows:
                short = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in r.items()}
                writer.writerow({"arm": arm, "seed": seed, **short})


LIMITS = (
    "A small network on small windows (48 pixels), trained for minutes: read differences, not levels.",
    "Every arm starts from one network trained on plain pictures; from random weights this may differ.",
    "An interval is over persons, not over trainings: a difference no larger than that of `again`, the same "
    "training on other faces, can't be told from chance.",
    "A factor that the test set itself does not vary cannot matter there; drawn test sets vary as we draw.",
    "The photographs have no 3D truth. Outline and agreement judge outline and pose, hardly any relief; "
    "consistency (flip, photometry) is not accuracy: one answer for everything is perfectly consistent.",
    "Six photographs of four people: their intervals are wide and rough.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/ablation"))
    parser.add_argument("--work", type=Path, default=Path("build/ablation"), help="where the runs live")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(arms()), help=", ".join(arms()))
    parser.add_argument("--count", type=int, default=1024, help="faces drawn for each arm")
    parser.add_argument("--passes", type=int, default=2, help="how often each is seen")
    parser.add_argument("--base-count", type=int, default=2048, help="plain faces of the beginning")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--size", type=int, default=SIZE, help="side of the window, a multiple of 16")
    parser.add_argument("--faces", type=float, default=1.0, help="share of the test faces to score")
    parser.add_argument("--fetch", action="store_true", help="also fetch the portraits of vrnlib.gallery")
    parser.add_argument("--cache", type=Path, default=Path("cache/photographs"))
    given = parser.parse_args()
    unknown = [arm for arm in given.arms if arm not in arms()]
    if unknown:
        parser.error(f"unknown arm {unknown[0]}: choose from {', '.join(arms())}")
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.perf_counter()
    shape = {"features": given.features, "size": given.size}
    for seed in given.seeds:
        folder = given.work / f"seed{seed}"
        base = train_arm("base", folder, seed, given.base_count, 2, None, **shape)
        for arm in given.arms:
            train_arm(arm, folder, seed, given.count, given.passes, base, **shape)
    result = score_all(given)
    seconds = time.perf_counter() - started
    options = {k: v for k, v in vars(given).items() if k not in ("out", "work", "cache")}
    params = recipe(given.count * given.passes, given.seeds[0], **shape)
    result["provenance"] = collect(
        {"options": options, "recipe": params}, {"seeds": given.seeds}, [], seconds
    )
    write_json(given.out / "appearance.json", result)
    draw(result, given.out / "appearance.png")
    for arm, sets in result["arms"].items():
        cells = [
            f"{name} {100 * row['nme']['mean']:.2f}" for name, row in sets.items() if name != "photographs"
        ]
        print(f"{arm:18}", "NME %:", "  ".join(cells))


def score_all(given: argparse.Namespace) -> dict[str, Any]:
    """Score every trained arm (once) and put the result together."""
    from appearance_photographs import calibration, fit_volume, photographs, windows

    from vrnlib.voxel import Grid

    faces = {name: max(2, round(count * given.faces)) for name, count in SETS.items()}
    tests = test_faces(given.size, faces)
    shown = windows(photographs(given.cache if given.fetch else None), given.size)
    for w in shown:
        w["fitted"] = fit_volume(w["landmarks"], Grid(given.size, depth_of(given.size)))
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for seed in given.seeds:
        for arm in given.arms:
            folder = given.work / f"seed{seed}" / arm
            if not (folder / "scores.json").exists():
                print(f"scoring {arm}, seed {seed}", flush=True)
                rows = score_arm(folder / "vrn-smoke.safetensors", tests, shown)
                write_json(folder / "scores.json", rows)
            runs[arm, seed] = read_json(folder / "scores.json")
    write_rows(given.out / "appearance.csv", runs)
    rows = {arm: over_seeds([runs[arm, seed] for seed in given.seeds]) for arm in given.arms}
    each = {str(s): report({arm: runs[arm, s] for arm in given.arms}) for s in given.seeds}
    validation = {
        arm: [read_json(given.work / f"seed{s}" / arm / "metrics.json")["validation"] for s in given.seeds]
        for arm in given.arms
    }
    known = [s for name in ("synth-lp", "synth-wild") for s in tests.get(name, [])]
    errors = (
        [_number(r["nme"]) for r in rows["full"] if r["set"] in ("synth-lp", "synth-wild")]
        if "full" in rows
        else []
    )
    network = given.work / f"seed{given.seeds[0]}" / "full" / "vrn-smoke.safetensors"
    return {
        "arms": report(rows),
        "off": {arm: [f for f in factors() if not getattr(v, f)] for arm, v in arms().items() if arm in rows},
        "not run": [arm for arm in arms() if arm not in rows],
        "groups": GROUPS,
        "training": {
            "plain faces first": given.base_count, "passes over them": 2, "faces of each arm": given.count,
            "passes": given.passes, "pictures of a person": POSES, "size": given.size,
            "features": given.features,
            "validation": validation,
        },
        "seeds": given.seeds,
        "difference by seed": {
            s: {
                arm: {n: row["nme"].get("difference") for n, row in sets.items() if n != "photographs"}
                for arm, sets in r.items()
            }
            for s, r in each.items()
        },
        "photographs": list(dict.fromkeys(w["photo"] for w in shown)),
        "windows of a photograph": len(shown) // max(1, len({w["photo"] for w in shown})),
        "calibration of the proxies": calibration(load_predict(network), known, errors) if errors else None,
        "limits": LIMITS,
        "load average": os.getloadavg()[0],
    }  # fmt: skip


if __name__ == "__main__":
    main()
