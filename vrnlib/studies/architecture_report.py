"""What the runs of the architecture study say: summary, conclusion in words, figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from vrnlib.studies.architecture import ARMS
from vrnlib.studies.arms import Run, difference, draw_point, of_seeds, over_seeds, signed
from vrnlib.studies.small import Budget

BASELINE = "baseline"


def summarise(budget: Budget, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Means with intervals over the seeds.

    Returns
    -------
    dict
        ``arms``: for each arm its label, parameters, residual modules, side of the smallest feature map,
        ``faces_per_cpu_second`` in training, ``iou`` and ``nme`` (`over_seeds`), ``over_baseline``, the
        difference of IoU paired by seed. ``seeds``; ``conclusion``, sentences.
    """
    arms: dict[str, Any] = {}
    baseline = of_seeds(runs[BASELINE], "image", "iou")
    for name, repeated in runs.items():
        iou, first = of_seeds(repeated, "image", "iou"), repeated[0]
        arms[name] = {
            "label": ARMS[name][0],
            **{key: first[key] for key in ("parameters", "residual_modules", "lowest_side")},
            "faces_per_cpu_second": budget.faces / float(np.mean([r["cpu_seconds"] for r in repeated])),
            "iou": over_seeds(iou),
            "nme": over_seeds(of_seeds(repeated, "image", "nme")),
            **({} if name == BASELINE else {"over_baseline": difference(iou, baseline)}),
        }
    out = {"arms": arms, "seeds": len(runs[BASELINE])}
    return {**out, "conclusion": conclusion(budget, out)}


def conclusion(budget: Budget, summary: dict[str, Any]) -> list[str]:
    """The answer in sentences; which one is said depends on the numbers alone."""
    arms = summary["arms"]
    base = arms[BASELINE]
    others = {name: a for name, a in arms.items() if name != BASELINE}
    lines = [
        f"Mean IoU over {summary['seeds']} seeds, {budget.test_faces} held-out faces of {budget.size} px, "
        f"after {budget.faces:,} training faces: {base['iou']['mean']:.3f} of {base['label']}, "
        f"{base['parameters']:,} parameters. Below: differences, 95 % intervals paired by seed.",
    ]
    for clear, title in ((1, "Clearly better"), (-1, "Clearly worse"), (0, "No clear difference")):
        found = [a for a in others.values() if _sign(a["over_baseline"]) == clear]
        parts = [f"{a['label']} {signed(a['over_baseline'])}" for a in found]
        lines.append(f"{title}: {'; '.join(parts) or 'none'}.")
    return lines


def _sign(d: dict[str, Any]) -> int:
    return int(np.sign(d["mean"])) if d["clear"] else 0


def draw(summary: dict[str, Any]) -> Any:
    """The figure: IoU of every arm beside its parameters, and what it costs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vrnlib.figures import PALETTE

    arms = summary["arms"]
    figure = Figure(figsize=(8.6, 3.4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
    figure.subplots_adjust(left=0.27, right=0.985, bottom=0.15, top=0.97, wspace=0.06)
    names = list(arms)[::-1]
    left.axvline(arms[BASELINE]["iou"]["mean"], color="0.6", linewidth=1, zorder=0)
    for row, name in enumerate(names):
        a = arms[name]
        draw_point(left, a["iou"], row, "o", PALETTE[0])
        right.barh(row, 1000 / a["faces_per_cpu_second"], color=PALETTE[5], height=0.6)
        right.text(0, row, f" {a['parameters']:,}", va="center", fontsize=8)
    left.set_yticks(range(len(names)), [arms[n]["label"] for n in names])
    left.set(xlabel="IoU on held-out faces")
    right.set(xlabel="CPU ms a face; in bars: parameters")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
