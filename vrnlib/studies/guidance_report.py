"""What the runs of the guidance study say: summary, conclusion in words, figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from vrnlib.studies.arms import Run, difference, draw_point, of_seeds, over_seeds, signed
from vrnlib.studies.guidance import ARMS, JITTER, NOISE, NOISY, SHIFT
from vrnlib.studies.small import Budget

CONTROL, BASELINE = "none", "paper"


def summarise(budget: Budget, runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Means with intervals over the seeds.

    Returns
    -------
    dict
        ``arms``: for each arm its label and parameters and, by test condition, ``iou`` and ``nme``
        (`over_seeds`), ``over_control`` and ``over_baseline``, differences of IoU paired by seed, the first
        to the plain VRN, the second to the arm that it differs from in one thing, same condition;
        ``nme_over_control``, the same of the NME.
        ``detector``: its error (`over_seeds`). ``seeds``. ``conclusion``: sentences.
    """
    control = of_seeds(runs[CONTROL], "none", "iou")
    arms: dict[str, Any] = {}
    for name, repeated in runs.items():
        tests: dict[str, Any] = {}
        for condition, scores in repeated[0]["test"].items():
            iou = of_seeds(repeated, condition, "iou")
            tests[condition] = {"iou": over_seeds(iou)}
            if scores["nme"]:
                tests[condition]["nme"] = over_seeds(of_seeds(repeated, condition, "nme"))
                if name != CONTROL:
                    nme, plain = of_seeds(repeated, condition, "nme"), of_seeds(runs[CONTROL], "none", "nme")
                    tests[condition]["nme_over_control"] = difference(nme, plain)
            if name != CONTROL:
                tests[condition]["over_control"] = difference(iou, control)
            if name not in (CONTROL, BASELINE):
                base = of_seeds(runs[ARMS[name].against], condition, "iou")
                tests[condition]["over_baseline"] = difference(iou, base)
        arms[name] = {
            "label": ARMS[name].label,
            "parameters": repeated[0]["parameters"],
            "faces_per_cpu_second": budget.faces / float(np.mean([r["cpu_seconds"] for r in repeated])),
            "test": tests,
        }
    out = {
        "arms": arms,
        "detector": over_seeds([run["detector_error"] for run in runs[CONTROL]]),
        "seeds": len(runs[CONTROL]),
        "jitter_pixels": JITTER,
        "shift_pixels": SHIFT,
        "window_pixels": budget.size,
    }
    return {**out, "conclusion": conclusion(budget, out)}


def conclusion(budget: Budget, summary: dict[str, Any]) -> list[str]:
    """The answer in sentences; which one is said depends on the numbers alone."""
    arms = summary["arms"]
    paper, trained = arms[BASELINE]["test"], arms["train-predicted"]["test"]["predicted"]
    lines = [
        f"Mean IoU over {summary['seeds']} seeds, {budget.test_faces} held-out faces of {budget.size} px, "
        f"after {budget.faces:,} training faces: {arms[CONTROL]['test']['none']['iou']['mean']:.3f} without "
        "landmarks. Below: differences, 95 % intervals paired by seed.",
        f"With the true landmarks, guidance {_said(paper['true'])}.",
        f"With landmarks of a network trained here (error {100 * summary['detector']['mean']:.1f} % of the "
        f"interocular distance), the paper's way, true ones in training, "
        f"{_said(paper['predicted'])}; trained with such landmarks, guidance "
        f"{_said(trained)}.",
    ]
    lines += [f"{title}: {_each(arms, base, condition)}." for title, base, condition in (
        ("Against the paper's form, tested with true landmarks", BASELINE, "true"),
        ("Against the paper's form, tested with predicted landmarks", BASELINE, "predicted"),
        ("Against predicted in training, tested with predicted landmarks", "train-predicted", "predicted"),
    ) if _others(arms, base)]  # fmt: skip
    lines += [
        f"Noise on each true landmark apart, {ARMS[name].label}: clearly better than no landmarks "
        f"{_noise_borne(arms[name]['test'], summary)}."
        for name in NOISY if name in arms
    ]  # fmt: skip
    found = {k: a["test"]["predicted"] for k, a in arms.items() if k != CONTROL}
    for sign, word in ((1, "better"), (-1, "worse")):
        clear = [
            k for k, t in found.items() if t["over_control"]["clear"] and sign * t["over_control"]["mean"] > 0
        ]
        each = "; ".join(f"{ARMS[k].label} {signed(found[k]['over_control'])}" for k in clear)
        lines.append(f"Clearly {word} than no landmarks, tested with predicted ones: {each or 'none'}.")
    return lines


def _others(arms: dict[str, Any], base: str) -> list[str]:
    return [name for name in arms if name not in (CONTROL, base) and ARMS[name].against == base]


def _each(arms: dict[str, Any], base: str, condition: str) -> str:
    differences = {name: arms[name]["test"][condition]["over_baseline"] for name in _others(arms, base)}
    return "; ".join(f"{ARMS[name].label} {signed(d)}" for name, d in differences.items())


def _noise_borne(tests: dict[str, Any], summary: dict[str, Any]) -> str:
    good = []
    for noise in NOISE:
        d = tests[f"noise {noise:g}"]["over_control"]
        if not (d["clear"] and d["mean"] > 0):
            break
        good.append(noise)
    if not good:
        return f"at none of the levels tested ({NOISE[0]:g} pixels the least)"
    return f"up to {good[-1]:g} of the window's {summary['window_pixels']} pixels"


def _said(test: dict[str, Any]) -> str:
    d = test["over_control"]
    verb = "makes no clear difference in IoU" if d["interval"] else "changes the IoU"
    if d["clear"]:
        verb = "helps" if d["mean"] > 0 else "harms"
    return f"{verb}: {signed(d)}, NME {signed(test['nme_over_control'])}"


def draw(summary: dict[str, Any]) -> Any:
    """The figure: IoU of every arm with true and with predicted landmarks; IoU against noise."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vrnlib.figures import PALETTE

    arms = summary["arms"]
    figure = Figure(figsize=(10.2, 1.3 + 0.27 * len(arms)))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    figure.subplots_adjust(left=0.3, right=0.985, bottom=0.11, top=0.86, wspace=0.16)
    names = list(arms)[::-1]
    styles = {"true": ("o", PALETTE[0], 0.14), "predicted": ("s", PALETTE[1], -0.14)}
    control = arms[CONTROL]["test"]["none"]["iou"]
    low, high = control["interval"] or [control["mean"]] * 2
    left.axvspan(low, high, color="0.88", zorder=0)
    left.axvline(control["mean"], color="0.45", linewidth=1, zorder=1)
    right.axhspan(low, high, color="0.88", zorder=0)
    right.axhline(control["mean"], color="0.45", linewidth=1, zorder=1)
    for row, name in enumerate(names):
        for condition, (marker, colour, shift) in styles.items():
            scores = arms[name]["test"].get(condition)
            if scores:
                draw_point(left, scores["iou"], row + shift, marker, colour)
    draw_point(left, control, len(names) - 1, "D", "0.3")
    left.set_yticks(range(len(names)), [arms[n]["label"] for n in names])
    left.set(xlabel="IoU on held-out faces")
    handles = [left.plot([], [], m, color=c, label=f"{k} landmarks")[0] for k, (m, c, _) in styles.items()]
    left.legend(handles=handles, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    for colour, marker, name in zip(PALETTE[2:], "o^v", NOISY, strict=False):
        if name not in arms:
            continue
        tests = arms[name]["test"]
        points = [(0.0, tests["true"]), *((n, tests[f"noise {n:g}"]) for n in NOISE)]
        right.plot([n for n, _ in points], [t["iou"]["mean"] for _, t in points], marker=marker, color=colour,
                   label=arms[name]["label"], markersize=5)  # fmt: skip
    right.plot([], [], color="0.45", label=arms[CONTROL]["label"])
    right.set(xlabel=f"noise on the true landmarks, pixels of {summary['window_pixels']}")
    right.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=2)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
