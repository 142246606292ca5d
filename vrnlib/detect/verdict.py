"""What the rows of `vrnlib.detector_study` say: tables, costs with their intervals, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, spearmanr

from vrnlib import scores

BANDS = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.01))
"""Of absolute yaw in degrees."""
EDGES = (0.0, 30.0, 60.0, 90.01)
CONDITIONS = ("plain", "harsh")


def _column(rows: Iterable[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([float(r[name]) if r[name] not in ("", None) else np.nan for r in rows])


def summarise(swapped: list[dict[str, Any]], shaken: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of the tables, from the rows alone: by detector, by jitter, and the verdict. Intervals are
    over persons.
    """
    result: dict[str, Any] = {
        "detectors": {d: _detector(d, swapped) for d in dict.fromkeys(r["detector"] for r in swapped)},
        "jitter": {},
    }
    for n in dict.fromkeys(r["network"] for r in shaken):
        own = [r for r in shaken if r["network"] == n]
        calm = _column([r for r in own if r["kind"] == "none"], "nme")
        entry: dict[str, Any] = {"none": {"0": {"nme": scores.summary(calm), "cost": None}}}
        for kind, level in dict.fromkeys((r["kind"], r["level"]) for r in own if r["kind"] != "none"):
            nme = _column([r for r in own if (r["kind"], r["level"]) == (kind, level)], "nme")
            entry.setdefault(kind, {})[level] = {"nme": scores.summary(nme), "cost": _cost(nme, calm)}
        result["jitter"][n.split(":")[0]] = entry
    result["verdict"] = verdict(result)
    return result


def _detector(name: str, swapped: list[dict[str, Any]]) -> dict[str, Any]:
    """What `summarise` says of one detector."""
    nets = list(dict.fromkeys(r["network"] for r in swapped if r["detector"] == name))
    rows = [r for r in swapped if r["detector"] == name and r["network"] == nets[0]]
    found, yaw, away = (_column(rows, k) for k in ("found", "yaw", "landmark_error"))
    person = [r["index"] for r in rows]
    where = np.array([r["condition"] for r in rows])
    crop = {k: _column(rows, k) for k in ("crop_scale", "crop_x", "crop_y")}
    entry: dict[str, Any] = {
        "found": {c: share(found[where == c]) for c in CONDITIONS},
        "found_by_yaw": {
            c: [
                {"low": low, "high": high, **share(found[(where == c) & own])}
                for low, high in BANDS
                for own in [(abs(yaw) >= low) & (abs(yaw) < high)]
            ]
            for c in CONDITIONS
        },
        "false_boxes": float((_column(rows, "boxes") - found).mean()),
        "landmark_error": scores.summary(away, groups=person),
        "landmark_error_by_yaw": scores.by_yaw(away, yaw, EDGES, groups=person),
        "crop": {k: {"mean": _mean(v), "sd": _sd(v)} for k, v in crop.items()},
        "confidence_against_error": _rank(_column(rows, "confidence"), away),
        "seconds": float(np.median(_column(rows, "seconds"))),
        "networks": {},
    }
    for n in nets:
        known = {(r["detector"], r["index"], r["condition"]): r for r in swapped if r["network"] == n}
        nme, truth = (
            _column([known[d, r["index"], r["condition"]] for r in rows], "nme") for d in (name, "truth")
        )
        bands = [(low, high, (abs(yaw) >= low) & (abs(yaw) < high)) for low, high in BANDS]
        people = np.array(person)
        entry["networks"][n.split(":")[0]] = {
            "nme": scores.summary(nme, groups=person),
            "nme_by_yaw": scores.by_yaw(nme, yaw, EDGES, groups=person),
            "cost": _cost(nme, truth, person),
            "cost_by_yaw": [
                {"low": low, "high": high, "cost": _cost(nme[m], truth[m], people[m].tolist())}
                for low, high, m in bands
            ],
        }
    return entry


def share(found: np.ndarray) -> dict[str, Any]:
    """Share of ones among zeros and ones: `faces`, `mean`, and Wilson's 95 % `interval`, which knows that
    40 of 40 is not certainty (a bootstrap does not); None without faces.
    """
    if not len(found):
        return {"faces": 0, "mean": None, "interval": None}
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(method="wilson")
    return {"faces": len(found), "mean": float(found.mean()), "interval": [float(v) for v in interval]}


def verdict(result: dict[str, Any], network: str = "vrn") -> dict[str, Any]:
    """The review's claim, "face recognition algorithm is not the most critic module in pipeline", tested.

    *Where a face is found*: a detector's cost is its NME less that with the true landmarks on the same faces,
    the network's cost is its NME with the true landmarks. ``supported`` if of every real detector the whole
    95 % interval of its cost lies below half of the network's whole interval; ``contradicted`` if of one it
    lies above; else ``undecided``.

    *Whether a face is found*: ``supported`` if the default detector's interval of the share it finds lies
    above 0.9 in every band of yaw, ``contradicted`` if it lies below 0.9 in one, else ``undecided``.
    """
    truth = result["detectors"]["truth"]["networks"][network]["nme"]
    costs = {
        d: e["networks"][network]["cost"]
        for d, e in result["detectors"].items()
        if d != "truth" and e["networks"][network]["cost"] is not None
    }
    half = [v / 2 for v in truth["interval"]]
    words = [
        "supported"
        if c["interval"][1] < half[0]
        else "contradicted"
        if c["interval"][0] > half[1]
        else "undecided"
        for c in costs.values()
    ]
    default = next(d for d in ("dlib", *result["detectors"]) if d in result["detectors"])
    bands = result["detectors"][default]["found_by_yaw"]["plain"]
    shares = [b["interval"] for b in bands if b["interval"] is not None]
    return {
        "network": network,
        "network_error": truth,
        "costs": costs,
        "where_found": _worst(words),
        "default": default,
        "whether_found": _worst(
            [
                "supported" if low > 0.9 else "contradicted" if high < 0.9 else "undecided"
                for low, high in shares
            ]
        ),
    }


def _worst(words: Sequence[str]) -> str:
    return next((w for w in ("contradicted", "undecided", "supported") if w in words), "not run")


def _cost(values: np.ndarray, calm: np.ndarray, groups: Sequence[Any] | None = None) -> dict[str, Any] | None:
    """Paired comparison with the undisturbed truth; None of fewer than 5 faces."""
    both = np.isfinite(values) & np.isfinite(calm)
    return scores.compare(values, calm, groups=groups) if both.sum() >= 5 else None


def _rank(confidence: np.ndarray, away: np.ndarray) -> float | None:
    """Spearman's correlation of confidence and error: negative if confidence means something."""
    fine = np.isfinite(confidence) & np.isfinite(away)
    if fine.sum() < 5 or np.ptp(confidence[fine]) == 0:
        return None
    return float(spearmanr(confidence[fine], away[fine]).statistic)


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _sd(values: np.ndarray) -> float | None:
    return float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None


def describe(result: dict[str, Any]) -> str:
    """The result as lines of text for a terminal."""
    lines = []
    for d, e in result["detectors"].items():
        found = " | ".join(
            " ".join("-" if b["mean"] is None else f"{b['mean']:.2f}" for b in e["found_by_yaw"][c])
            for c in CONDITIONS
        )
        away = e["landmark_error"]["mean"]
        parts = [f"{d:20} found {found}", f"landmarks {away:.3f}" if away is not None else "landmarks -"]
        for n, v in e["networks"].items():
            if v["cost"] is not None:
                low, high = v["cost"]["interval"]
                cost = f"{v['cost']['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
                parts.append(f"{n} NME {v['nme']['mean']:.4f}, cost {cost}")
        lines.append(", ".join(parts))
    v = result["verdict"]
    lines.append(f"where a face is found: {v['where_found']}")
    lines.append(f"whether one is found ({v['default']}): {v['whether_found']}")
    lines += [f"not run: {n} ({why})" for n, why in result.get("not_run", {}).items()]
    return "\n".join(lines)
