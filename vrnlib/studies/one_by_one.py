"""What a study says that changes one thing at a time: summary, conclusion in words, figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vrnlib.studies.arms import Run, difference, draw_point, of_seeds, over_seeds, signed
from vrnlib.studies.small import Budget

BASELINE = "baseline"


def summarise(labels: Mapping[str, str], budget: Budget, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Means with intervals over the seeds.

    Parameters
    ----------
    labels : of the arms; one of them is `BASELINE`.

    Returns
    -------
    dict
        ``arms``: for each arm its label, parameters, residual modules, side of the smallest feature map,
        ``faces_per_cpu_second`` in training, ``iou`` and ``nme`` (`over_seeds`), ``over_baseline`` and
        ``nme_over_baseline``, the differences of both paired by seed. ``seeds``; ``conclusion``, sentences.
    """
    arms: dict[str, Any] = {}
    base = {score: of_seeds(runs[BASELINE], "image", score) for score in ("iou", "nme")}
    for name, repeated in runs.items():
        first, (iou, nme) = repeated[0], (of_seeds(repeated, "image", score) for score in base)
        gains = {"over_baseline": difference(iou, base["iou"])}
        gains["nme_over_baseline"] = difference(nme, base["nme"])
        arms[name] = {
            "label": labels[name],
            **{key: first[key] for key in ("parameters", "residual_modules", "lowest_side")},
            "faces_per_cpu_second": budget.faces / float(np.mean([r["cpu_seconds"] for r in repeated])),
            "iou": over_seeds(iou),
            "nme": over_seeds(nme),
            **({} if name == BASELINE else gains),
        }
    out = {"arms": arms, "seeds": len(runs[BASELINE])}
    return {**out, "conclusion": conclusion(budget, out)}


def conclusion(budget: Budget, summary: dict[str, Any]) -> list[str]:
    """The answer in sentences; which one is said depends on the numbers alone."""
    arms = summary["arms"]
    base = arms[BASELINE]
    others = {name: a for name, a in arms.items() if name != BASELINE}
    lines = [
        f"After {budget.faces:,} training faces of {budget.size} px, {summary['seeds']} seeds, "
        f"{budget.test_faces} held-out faces: mean IoU {base['iou']['mean']:.3f}, mean NME "
        f"{base['nme']['mean']:.4f} of the baseline ({base['label']}), {base['parameters']:,} parameters. "
        "Below: differences, 95 % intervals paired by seed.",
    ]
    for score, better in (("over_baseline", 1), ("nme_over_baseline", -1)):
        shown = "IoU" if better > 0 else "NME"
        for sign, title in (
            (better, "clearly better"),
            (-better, "clearly worse"),
            (0, "no clear difference"),
        ):
            found = [a for a in others.values() if _sign(a[score]) == sign]
            parts = [f"{a['label']} {signed(a[score])}" for a in found]
            lines.append(f"{shown} {title}: {'; '.join(parts) or 'none'}.")
    return lines


def _sign(d: dict[str, Any]) -> int:
    return int(np.sign(d["mean"])) if d["clear"] else 0


def draw(summary: dict[str, Any]) -> Any:
    """The figure: IoU and NME of every arm, what it costs, and its parameters."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vrnlib.figures import PALETTE

    arms = summary["arms"]
    figure = Figure(figsize=(10, 1 + 0.3 * len(arms)))
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1, 0.8])
    height = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.25, right=0.985, bottom=0.65 / height, top=1 - 0.1 / height, wspace=0.12)
    names = list(arms)[::-1]
    for axis, score, colour in ((left, "iou", 0), (middle, "nme", 1)):
        axis.axvline(arms[BASELINE][score]["mean"], color="0.6", linewidth=1, zorder=0)
        for row, name in enumerate(names):
            draw_point(axis, arms[name][score], row, "o", PALETTE[colour])
    for row, name in enumerate(names):
        a = arms[name]
        right.barh(row, 1000 / a["faces_per_cpu_second"], color=PALETTE[5], height=0.6)
        right.text(0, row, f" {a['parameters']:,}", va="center", fontsize=8)
    left.set_yticks(range(len(names)), [arms[n]["label"] for n in names])
    left.set(xlabel="IoU on held-out faces")
    middle.set(xlabel="NME (less is better)")
    right.set_xlabel("CPU ms a face\n(in the bars: parameters)", fontsize=8)
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
