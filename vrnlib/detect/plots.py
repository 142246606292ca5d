"""Figures of the study of detectors, from its `summary.json` (`vrnlib.detector_study`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vrnlib.detect.verdict import CONDITIONS
from vrnlib.figures import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = "osD^vPX"
JITTERS = {
    "shift": "crop moved (SD, sides of the face)",
    "scale": "crop scaled (SD of the log)",
    "noise": "points shaken (SD, sides of the face)",
}
LINES = {"vrn": "o-", "guided": "s--", "guided-given": "^:"}
ALT = {
    "found": "Share of drawn faces that each detector finds, by yaw, in plain and in harsh pictures, with "
    "95 % intervals.",
    "cost": "Cost in NME of each detector for each network with its 95 % interval, beside a band that marks "
    "half of the network's own error.",
    "jitter": "Cost in NME against the size of three kinds of disturbance, for each network, with 95 % "
    "intervals.",
}
"""Alternative texts, by the name of the figure."""


def found(result: dict[str, Any]) -> Figure:
    """Share of faces found by band of yaw, a panel for plain pictures and one for harsh ones."""
    import matplotlib.pyplot as plt

    names = [d for d in result["detectors"] if d != "truth"]
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.9), sharey=True)
    for axis, condition in zip(axes, CONDITIONS, strict=True):
        for k, name in enumerate(names):
            bands = result["detectors"][name]["found_by_yaw"][condition]
            mean, error = _bars([b["mean"] for b in bands], [b["interval"] for b in bands])
            x = np.arange(len(bands)) + (k - (len(names) - 1) / 2) * 0.12
            axis.errorbar(x, mean, error, fmt=MARKS[k], capsize=2, color=PALETTE[k], label=name)
        labels = [f"{b['low']:.0f} to {b['high']:.0f}" for b in bands]
        axis.set(
            title=f"{condition} pictures", xticks=range(len(bands)), xticklabels=labels, ylim=(-0.04, 1.04)
        )
        axis.set_xlabel("absolute yaw, degrees")
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("share of faces found")
    axes[1].legend(frameon=False, fontsize=7)
    return figure


def cost(result: dict[str, Any]) -> Figure:
    """What each detector costs each network in NME, beside half of the network's own NME."""
    import matplotlib.pyplot as plt

    rows = [
        (f"{name}, {n}", e["cost"])
        for name, entry in result["detectors"].items()
        for n, e in entry["networks"].items()
        if name != "truth" and e["cost"] is not None
    ]
    figure, axis = plt.subplots(figsize=(6.6, 1 + 0.3 * len(rows)))
    mean, error = _bars([c["difference"] for _, c in rows], [c["interval"] for _, c in rows])
    axis.errorbar(mean, range(len(rows)), xerr=error, fmt="o", capsize=3, color=PALETTE[0])
    low, high = result["verdict"]["network_error"]["interval"]
    axis.axvspan(
        low / 2, high / 2, color=PALETTE[4], alpha=0.35, label="half of the network's own NME (95 %)"
    )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(yticks=range(len(rows)), yticklabels=[label for label, _ in rows], xlabel="cost in NME")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.legend(frameon=False, fontsize=7)
    return figure


def jitter(result: dict[str, Any]) -> Figure:
    """Cost in NME of landmarks and crops that were disturbed on purpose, a panel for each kind."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(JITTERS), figsize=(9, 2.8), sharey=True)
    for axis, (kind, label) in zip(axes, JITTERS.items(), strict=True):
        for name, kinds in result["jitter"].items():
            levels = sorted(kinds.get(kind, {}), key=float)
            costs = [kinds[kind][v]["cost"] for v in levels]
            shown = [(0.0, 0.0, (0.0, 0.0))]
            shown += [
                (float(v), c["difference"], c["interval"]) for v, c in zip(levels, costs, strict=True) if c
            ]
            mean, error = _bars([s[1] for s in shown], [s[2] for s in shown])
            axis.errorbar(
                [s[0] for s in shown], mean, error, fmt=LINES.get(name, "o-"), capsize=2, label=name
            )
        axis.set_xlabel(label, fontsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("cost in NME")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


FIGURES = {"found": found, "cost": cost, "jitter": jitter}


def _bars(means: list[Any], intervals: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Means (N,) and the lengths (2, N) of the bars below and above them."""
    mean = np.array(means, float)
    low, high = np.array([(np.nan, np.nan) if i is None else i for i in intervals], float).reshape(-1, 2).T
    return mean, np.maximum(np.stack([mean - low, high - mean]), 0)
