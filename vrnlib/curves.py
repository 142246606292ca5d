"""The live picture of a training run: `curves.png`, drawn from its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vrnlib.provenance import replacing

SCORES = {
    "iou": "IoU",
    "iou_true_landmarks": "IoU, true landmarks",
    "nme": "NME",
    "landmark_error": "landmark error",
}
"""Scores of a validation and their names in the picture. The second pair are errors, on the right."""


def draw_curves(rows: Sequence[dict[str, Any]], path: str | Path, title: str = "") -> Path:
    """Draw a log (:func:`vrnlib.checkpoint.read_log`): loss, held-out scores, learning rate over faces.

    The file is replaced in one step, so that a viewer may watch it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    from vrnlib.figures import PALETTE

    steps = [r for r in rows if r["event"] == "train"]
    checks = [r for r in rows if r["event"] == "validate"]
    errors = any(r.get(name) is not None for r in checks for name in ("nme", "landmark_error"))
    panels = ["loss", "IoU", "error", "learning rate"]
    if not any("iou" in r for r in checks):
        panels.remove("IoU")
    if not errors:
        panels.remove("error")
    # a layout of our own: matplotlib's automatic ones draw everything several times
    figure = Figure(figsize=(3.2 * len(panels), 2.8))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.25 / len(panels), right=0.99, bottom=0.18, top=0.8, wspace=0.35)
    for axis, panel in zip(axes, panels, strict=True):
        if panel == "loss":
            axis.plot(
                [r["faces"] for r in steps], [r["loss"] for r in steps], color=PALETTE[0], label="training"
            )
            axis.plot([r["faces"] for r in checks], [r["loss"] for r in checks], "o-", markersize=3,
                      color=PALETTE[1], label="held out")  # fmt: skip
            axis.set_yscale("log")
        elif panel == "learning rate":
            axis.plot([r["faces"] for r in steps], [r["learning_rate"] for r in steps], color=PALETTE[2])
            axis.set_yscale("log")
        else:
            wanted = ("iou", "iou_true_landmarks") if panel == "IoU" else ("nme", "landmark_error")
            for colour, name in zip(PALETTE, wanted, strict=False):
                shown = [r for r in checks if r.get(name) is not None]
                if shown:
                    axis.plot([r["faces"] for r in shown], [r[name] for r in shown], "o-", markersize=3,
                              color=colour, label=SCORES[name])  # fmt: skip
        axis.set(xlabel="faces", title=panel)
        axis.xaxis.set_major_locator(MaxNLocator(4))  # 200k and not 200,000: labels that do not run together
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.spines[["top", "right"]].set_visible(False)
        if len(axis.get_lines()) > 1 or panel == "error":
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return Path(path)
