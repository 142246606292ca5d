"""From counted bumps to answers: rates with intervals, and the review's two claims
(`notebooks/09_dynamic_labelling`).

The verdicts are decided by rules. The first was written before any correlation was computed. The second was
made stricter once: a single seed's interval had said "contradicted", and another seed turned the sign, so now
the seeds must agree.

*Bump generation is proportional to the face's inclination* (review, Sec. 4.2). Let x be the inclination of a
face and y the number of its stray bodies. The claim is

- **supported** if Spearman's rank correlation of x and y is above 0, interval and all, and the straight line
  through the means goes through the origin: the interval of its intercept holds 0 and that of its slope not;
- **a trend only** if the correlation is above 0, but the line does not go through the origin;
- **contradicted** if the correlation is below 0, interval and all;
- **not supported** if the correlation's interval holds 0;
- **not testable** if fewer than :data:`ENOUGH` faces have a stray body.

*Post-processing beats changing the targets* (Sec. 3 and 5), for each kind of cleaned targets of
:mod:`vrnlib.bumps_training`, in the NME of the same faces: the claim is

- **supported** if plain targets with labelling are better than cleaned targets without, interval and all, and
  so for every seed of training;
- **contradicted** if they are worse, interval and all, for every seed; **undecided** otherwise.

The interval is over faces and says nothing about another training, so the seeds must agree. Intervals are
95 % percentile bootstraps over persons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import rankdata

from vrnlib import bumps, scores

ENOUGH = 10
BINS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 91.0)
"""Edges of the bins of inclination in degrees, for figures."""
Row = dict[str, Any]


def _person(row: Row) -> str:
    return f"{row.get('database', '')} {row['identity'] if 'identity' in row else row['index']}"


def interval(
    statistic: Callable[[np.ndarray], float], groups: Sequence[Any], n: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a statistic of row numbers, drawing whole groups (persons).

    None where the statistic is undefined in more than a tenth of the draws.
    """
    _, label = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    members = [np.flatnonzero(label == g) for g in range(label.max(initial=-1) + 1)]
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            statistic(np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))]))
            for _ in range(n)
        ]
    )
    good = drawn[np.isfinite(drawn)]
    if len(good) < 0.9 * n:
        return None
    low, high = np.quantile(good, [0.025, 0.975])
    return float(low), float(high)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation, NaN where one of both does not vary."""
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else float("nan")


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares: intercept and slope of y over x; NaN where x does not vary."""
    if np.ptp(x) == 0:
        return float("nan"), float("nan")
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope)


def verdict(faces_with: int, rho: Any, intercept: Any, slope: Any) -> str:
    """The words of the module's text from intervals (low, high) or None."""
    if faces_with < ENOUGH or rho is None or intercept is None or slope is None:
        return "not testable"
    if rho[1] < 0:
        return "contradicted"
    if rho[0] <= 0:
        return "not supported"
    through_origin = intercept[0] <= 0 <= intercept[1] and slope[0] > 0
    return "supported" if through_origin else "a trend only"


def against(rows: Sequence[Row], what: str, level: float) -> dict[str, Any]:
    """Number of stray bodies at an isovalue against `what` (``inclination``, ``yaw`` or ``pitch``: absolute).

    Returns
    -------
    dict
        ``faces``, ``with_bumps``, ``rho``, ``intercept`` and ``slope`` (bodies a degree), each of these three
        with ``_interval``; ``verdict``.
    """
    y = np.array([r[bumps.column("strays", level)] for r in rows], float)
    x = np.abs([r[what] for r in rows])
    fine = np.isfinite(y)
    x, y = x[fine], y[fine]
    groups = [_person(r) for r, ok in zip(rows, fine, strict=True) if ok]
    some = int((y > 0).sum())
    result: dict[str, Any] = {"faces": len(y), "with_bumps": some}
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "rho": lambda i: correlation(x[i], y[i]),
        "intercept": lambda i: line(x[i], y[i])[0],
        "slope": lambda i: line(x[i], y[i])[1],
    }
    for name, statistic in statistics.items():
        enough = some >= ENOUGH
        result[name] = statistic(np.arange(len(y))) if enough else None
        result[f"{name}_interval"] = interval(statistic, groups) if enough else None
    result["verdict"] = verdict(some, *(result[f"{n}_interval"] for n in ("rho", "intercept", "slope")))
    return result


def rate(rows: Sequence[Row], level: float) -> dict[str, Any]:
    """Stray bodies of faces at an isovalue: mean number, share of faces with any (with interval), mean and
    largest volume over that of the face.
    """
    name = bumps.column("strays", level)
    fine = [r for r in rows if np.isfinite(r[name])]
    if not fine:
        return {"faces": len(rows), "empty": len(rows)}
    some = np.array([r[name] > 0 for r in fine], float)
    groups = [_person(r) for r in fine]
    share = np.array([r[bumps.column("share", level)] for r in fine])
    low, high = scores.bootstrap_interval(some, groups=groups, n=1000)
    if not some.any():  # none among n: the rule of three, by persons
        high = min(1.0, 3 / len(set(groups)))
    return {
        "faces": len(rows),
        "empty": len(rows) - len(fine),
        "bodies": float(np.mean([r[name] for r in fine])),
        "with_bumps": float(some.mean()),
        "with_bumps_interval": (low, high),
        "volume": float(share.mean()),
        "largest_volume": float(share.max()),
    }


def binned(rows: Sequence[Row], level: float, what: str = "inclination") -> list[dict[str, Any]]:
    """`rate` in bins of the absolute angle, :data:`BINS`; empty bins are left out."""
    result = []
    for low, high in pairwise(BINS):
        part = [r for r in rows if low <= abs(r[what]) < high]
        if part:
            result.append({"low": low, "high": high, **rate(part, level)})
    return result


def effect(rows: Sequence[Row], level: float = 0.5) -> dict[str, Any]:
    """What labelling changed at an isovalue, over the rows that were scored before and after it."""
    end = "" if level == 0.5 else f"_at_{round(100 * level):02d}"
    nothing = float("nan")
    scored = [r for r in rows if np.isfinite(r.get(f"nme{end}", nothing))]
    touched = [r for r in scored if r[f"mesh_bodies{end}"] > 1]
    result: dict[str, Any] = {"scored": len(scored), "changed": len(touched)}
    if len(touched) < 2:
        return result
    groups = [_person(r) for r in touched]
    for name in ("nme", "hausdorff", "hausdorff95"):
        before = np.array([r[f"{name}{end}"] for r in touched])
        after = np.array([r[f"{name}_labelled{end}"] for r in touched])
        compared = scores.compare(after, before, groups=groups, n=1000)
        result[name] = {
            "before": float(before.mean()),
            "after": float(after.mean()),
            "difference": compared["difference"],
            "interval": compared["interval"],
            "worse": int((after > before + 1e-9).sum()),
            "better": int((after < before - 1e-9).sum()),
        }
    closed = {w: np.array([r[f"closed{s}{end}"] == 1 for r in touched]) for w, s in _WHEN}
    single = {w: np.array([r[f"mesh_bodies{s}{end}"] == 1 for r in touched]) for w, s in _WHEN}
    result["closed"] = {w: float(closed[w].mean()) for w in closed}
    result["one_closed_body"] = {w: float((closed[w] & single[w]).mean()) for w in closed}
    result["cavities"] = int(sum(r[f"cavities{end}"] for r in touched))
    return result


_WHEN = (("before", ""), ("after", "_labelled"))


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything `bumps.json` says of one network."""
    plain = [r for r in rows if r["crop"] == "plain"]
    result: dict[str, Any] = {"databases": {}, "crops": {}, "expressions": {}}
    for database in dict.fromkeys(r["database"] for r in plain):
        part = [r for r in plain if r["database"] == database]
        result["databases"][database] = {f"{lv:g}": rate(part, lv) for lv in bumps.LEVELS}
    for crop in dict.fromkeys(r["crop"] for r in rows):
        part = [r for r in rows if r["crop"] == crop and r["database"] == "synth-lp"]
        result["crops"][crop] = {f"{lv:g}": rate(part, lv) for lv in bumps.LEVELS}
    wrong = [r for r in rows if r["crop"] != "plain"]
    for name, part in (("right crops", plain), ("wrong crops", wrong)):
        result[name] = {
            "against": {
                f"{lv:g}": {what: against(part, what, lv) for what in ("inclination", "yaw", "pitch")}
                for lv in (0.05, 0.5)
            },
            "binned": {f"{lv:g}": binned(part, lv) for lv in (0.05, 0.5)},
            "effect": {f"{lv:g}": effect(part, lv) for lv in bumps.EFFECT_LEVELS},
        }
    for r in plain:
        if isinstance(r["expression"], str):
            result["expressions"].setdefault(r["expression"].capitalize(), []).append(r)
    result["expressions"] = {
        name: {f"{lv:g}": rate(part, lv) for lv in (0.05, 0.5)}
        for name, part in sorted(result["expressions"].items())
    }
    worst = max(rows, key=lambda r: r["share_50"] if np.isfinite(r["share_50"]) else -1.0)
    result["worst"] = {k: worst[k] for k in ("database", "crop", "index", "strays_50", "share_50")}
    return result


def training_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything `training.json` says: the course of training, and targets against post-processing."""
    last = max(r["faces"] for r in rows)
    course, states = [], ("targets", "seed", "faces", "loss", "processor_seconds")
    for key in dict.fromkeys(tuple(r[k] for k in states) for r in rows):
        part = [r for r in rows if tuple(r[k] for k in states) == key]
        told = {**dict(zip(states, key, strict=True)), "iou": float(np.mean([r["iou"] for r in part]))}
        course.append({**told, **{f"{lv:g}": rate(part, lv) for lv in bumps.LEVELS}})
    seconds = sum(c["processor_seconds"] for c in course if c["faces"] == last)
    result: dict[str, Any] = {"course": course, "processor_seconds": seconds}
    result |= {"against": {}, "targets": {}, "claims": {}}
    for faces in sorted({r["faces"] for r in rows}):
        part = [r for r in rows if r["faces"] == faces and r["targets"] == "plain"]
        result["against"][str(int(faces))] = against(part, "inclination", 0.5)
    final = {
        t: [r for r in rows if r["targets"] == t and r["faces"] == last]
        for t in dict.fromkeys(r["targets"] for r in rows)
    }
    for targets, part in final.items():
        scored = [r for r in part if np.isfinite(r.get("nme", float("nan")))]
        people = [r["index"] for r in scored]
        means = {
            f"{name}{s}": scores.summary([r[f"{name}{s}"] for r in scored], groups=people)
            for name in ("nme", "hausdorff") for s in ("", "_labelled")
        }  # fmt: skip
        iou = scores.summary([r["iou"] for r in part], groups=[r["index"] for r in part])
        result["targets"][targets] = {"iou": iou, **means, "effect": effect(part)}
    plain = {(r["seed"], r["index"]): r for r in final["plain"]}
    for targets, part in final.items():
        if targets == "plain":
            continue
        both = [(plain[r["seed"], r["index"]], r) for r in part if np.isfinite(r.get("nme", float("nan")))]
        processed, changed = ([p["nme_labelled"] for p, _ in both], [c["nme"] for _, c in both])
        compared = scores.compare(processed, changed, groups=[c["index"] for _, c in both], n=1000)
        low, high = compared["interval"]
        seeds = {
            str(int(s)): float(np.nanmean([p["nme_labelled"] - c["nme"] for p, c in both if c["seed"] == s]))
            for s in sorted({c["seed"] for _, c in both})
        }
        signs = {np.sign(v) for v in (*seeds.values(), compared["difference"])}
        clear = len(signs) == 1 and not low <= 0 <= high
        word = "undecided" if not clear else "supported" if high < 0 else "contradicted"
        result["claims"][targets] = {**compared, "by_seed": seeds, "verdict": word}
    return result
