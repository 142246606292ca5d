"""The arms of a study: run one by one, repeated from several seeds, compared, drawn.

Each finished training is a small JSON file in a working folder, so that a study that was interrupted goes on
where it stopped. All arms take their turn with one seed before the next seed begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from vrnlib.errors import VrnError
from vrnlib.provenance import plain, read_json, write_json

Run = dict[str, Any]
"""What one training left: `seed`, `loss`, `seconds`, `cpu_seconds`, `parameters`, and `test`, a mapping from
the name of a test condition to `iou` and, where it was scored, `nme`: one value a face."""


def run_all(
    names: Sequence[str],
    seeds: int,
    train: Callable[[str, int], Run],
    folder: Path,
    identity: Any,
    say: Callable[[str], None] = print,
) -> dict[str, list[Run]]:
    """Every arm from every seed: what is in `folder` is read, the rest is trained and written there.

    Parameters
    ----------
    train : name of an arm and seed -> what it left.
    identity : what decides the results besides arm and seed, as JSON can write it.

    Raises
    ------
    VrnError : a file of `folder` belongs to another study.
    """
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            path = folder / f"{name}-{seed}.json"
            if path.is_file():
                content = read_json(path)
                if content["identity"] != plain(identity):
                    raise VrnError(
                        f"{path} is of a study with another budget: name another folder, or delete it"
                    )
                run = content["run"]
            else:
                say(f"{name}, seed {seed}")
                run = {"seed": seed, **train(name, seed)}
                write_json(path, {"identity": plain(identity), "run": run})
                for condition, scores in run["test"].items():
                    shown = "  ".join(f"{k} {_mean(v):.4f}" for k, v in scores.items() if v)
                    say(f"  {condition}: {shown}")
            runs[name].append(run)
    return runs


def finished(names: Sequence[str], seeds: int, folder: Path) -> int:
    """For how many seeds, from the first on, all arms are finished."""
    full = [all((folder / f"{name}-{seed}.json").is_file() for name in names) for seed in range(seeds)]
    return (full + [False]).index(False)


def over_seeds(values: Sequence[float], level: float = 0.95) -> dict[str, Any]:
    """Mean and confidence interval (Student's t) of one value a seed.

    Returns
    -------
    dict
        ``mean``; ``interval`` (low, high), None for a single seed; ``seeds``, the values themselves.
    """
    v = np.asarray(values, float)
    if not len(v):
        raise VrnError("a mean over seeds needs at least one")
    interval = None
    if len(v) > 1:
        half = float(stats.t.ppf((1 + level) / 2, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v)))
        interval = [float(v.mean()) - half, float(v.mean()) + half]
    return {"mean": float(v.mean()), "interval": interval, "seeds": v.tolist()}


def of_seeds(runs: Sequence[Run], condition: str, score: str) -> list[float]:
    """The mean over faces of each seed."""
    return [_mean(run["test"][condition][score]) for run in runs]


def difference(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """`over_seeds` of a - b, paired by seed; ``clear`` if the interval leaves out 0."""
    out = over_seeds([x - y for x, y in zip(a, b, strict=True)])
    interval = out["interval"]
    return {**out, "clear": bool(interval and interval[0] * interval[1] > 0)}


def table_rows(runs: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """One row an arm, a seed and a test condition, for a CSV file."""
    rows = []
    for name, repeated in runs.items():
        for run in repeated:
            for condition, scores in run["test"].items():
                means = {k: f"{_mean(scores[k]):.5f}" if scores.get(k) else "" for k in ("iou", "nme")}
                cost = {k: f"{run[k]:.1f}" for k in ("seconds", "cpu_seconds")}
                what = {"arm": name, "seed": run["seed"], "test": condition, **means}
                rows.append({**what, "loss": f"{run['loss']:.5f}", "parameters": run["parameters"], **cost})
    return rows


def signed(d: Mapping[str, Any]) -> str:
    """A difference in words: ``+0.012 (+0.008 to +0.016)``."""
    interval = d["interval"]
    inside = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else " (one seed)"
    return f"{d['mean']:+.3f}{inside}"


def draw_point(axis: Any, value: Mapping[str, Any], y: float, marker: str, colour: str) -> None:
    """Draw a mean with its interval and the single seeds (`over_seeds`) at a height of a matplotlib axis."""
    if value["interval"]:
        axis.plot(value["interval"], [y, y], color=colour, linewidth=1.5)
    axis.plot(value["seeds"], [y] * len(value["seeds"]), "|", color=colour, markersize=7)
    axis.plot([value["mean"]], [y], marker, color=colour, markersize=5)


def _mean(values: Sequence[float]) -> float:
    # NaN, a volume without a surface, is left out
    v = np.asarray(values, float)
    return float(np.nanmean(v)) if np.isfinite(v).any() else float("nan")
