"""What the numbers say, in sentences made from them: for the discussion in `notebooks/08_table_1`.

Every sentence is computed; where something has not run it is left out. What the sentences mean, and what they
can't, is said in the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from vrnlib.table1 import entrants, paper
from vrnlib.table1 import table as tables

Content = Mapping[str, Any]
FAIR = ("vrn", "multitask", "guided", "3ddfa", "eos", "eos-30", "mean-face")
"""Methods that see the picture alone, cover the whole region, and were trained on our faces."""


def _mean(content: Content, database: str, method: str, column: str = "nme") -> float | None:
    cell = content["databases"].get(database, {}).get("methods", {}).get(method, {}).get(column)
    return None if cell is None else cell["mean"]


def _run(content: Content, database: str, methods: Sequence[str], column: str = "nme") -> dict[str, float]:
    found = {m: _mean(content, database, m, column) for m in methods}
    return {m: v for m, v in found.items() if v is not None}


def pair_orders(content: Content, error: str = "nme") -> dict[str, tuple[int, int]]:
    """Of the pairs of the paper's methods that have run: how many are ordered as in the paper, and how many
    there are; by our database."""
    column = {"nme": "nme", "rigid": "nme_rigid"}[error]
    out = {}
    for database, ours in paper.STAND_INS.items():
        trusted = [m for m in paper.METHODS if (error, database, m) not in paper.DOUBTFUL]
        found, printed = _run(content, ours, trusted, column), paper.TABLES[error][database]
        pairs = list(combinations(found, 2))
        right = sum((found[a] < found[b]) == (printed[a] < printed[b]) for a, b in pairs)
        if pairs:
            out[ours] = (right, len(pairs))
    return out


def order(content: Content) -> list[str]:
    """Who wins where, and how many pairs are ordered as in the paper."""
    lines = []
    for error, title in (("nme", "Eq. 2"), ("rigid", "after rigid alignment")):
        column = {"nme": "nme", "rigid": "nme_rigid"}[error]
        agree = pair_orders(content, error)
        for database, (right, of) in agree.items():
            found = _run(content, database, FAIR, column)
            best = min(found, key=found.__getitem__)
            lines.append(
                f"`{database}`, {title}: smallest error **{entrants.label(best)}** ({found[best]:.4f}) of "
                f"{len(found)} methods that see the picture alone; {right} of {of} pairs of the paper's "
                "methods are ordered as in the paper."
            )
    return lines


def seeds(content: Content, error: str = "nme") -> list[str]:
    """Whether the order of the three networks is more than luck of the seed: networks of a small budget, each
    seed with faces of its own that its three networks share."""
    lines = []
    for database, ours in paper.STAND_INS.items():
        rows = {r["method"]: r["seeds"] for r in content["tables"][error] if r["database"] == database}
        have = {m: rows[m] for m in paper.VRNS if m in rows and rows[m]["means"]}
        parts = [f"{entrants.label(m)} {tables.seed_cell(s)}" for m, s in have.items()]
        for a, b in combinations(sorted(have, key=paper.TABLES[error][database].__getitem__), 2):
            both = have[a]["means"].keys() & have[b]["means"].keys()
            right = sum(have[a]["means"][s] < have[b]["means"][s] for s in both)
            if both:
                first, second = entrants.label(a), entrants.label(b)
                parts.append(f"{first} before {second} in {right} of {len(both)} seeds")
        if parts:
            lines.append(f"`{ours}`: {'; '.join(parts)}.")
    return lines


def alignment(content: Content, methods: Sequence[str] = FAIR) -> list[str]:
    """Whether rigid alignment changes the order of methods ("the relative difference in performance remains
    the same", Jackson's thesis), in the paper's tables and here."""
    lines = []
    for database, ours in paper.STAND_INS.items():
        texts = []
        for name, first, second in (
            ("paper", paper.NME[database], paper.RIGID[database]),
            ("here", _run(content, ours, methods), _run(content, ours, methods, "nme_rigid")),
        ):
            known = [m for m in first if m in second and ("rigid", database, m) not in paper.DOUBTFUL]
            if name == "here":
                known = [m for m in first if m in second]
            pairs = list(combinations(known, 2))
            changed = [(a, b) for a, b in pairs if (first[a] < first[b]) != (second[a] < second[b])]
            if pairs:
                which = ", ".join(f"{entrants.label(a)} and {entrants.label(b)}" for a, b in changed)
                texts.append(f"{name} {len(changed)} of {len(pairs)}" + (f" ({which})" if which else ""))
        if len(texts) == 2:
            lines.append(f"{database} / `{ours}`: pairs that change their order: {'; '.join(texts)}.")
    return lines


def fitting_wins(content: Content, paired: Mapping[str, Any]) -> list[str]:
    """Whether a 3DMM fitted to the same generator beats the best VRN, database by database.

    `paired` is that of ``breakdown.json``: where the interval of the difference on the same faces holds 0, no
    one wins.
    """
    lines = []
    for database in paper.STAND_INS.values():
        volumes = _run(content, database, paper.VRNS)
        fitted = _run(content, database, ("3ddfa", "eos", "eos-30", "mean-face"))
        if not volumes or not fitted:
            continue
        v, f = min(volumes, key=volumes.__getitem__), min(fitted, key=fitted.__getitem__)
        better = next((t["better"] for t in paired[database]["nme"] if {t["a"], t["b"]} == {v, f}), "")
        wins = {f: "the **3DMM wins**", v: "the **volume wins**"}.get(better, "**no clear difference**")
        lines.append(
            f"`{database}`: {wins}: {entrants.label(f)} {fitted[f]:.4f}, {entrants.label(v)} "
            f"{volumes[v]:.4f} (ratio {fitted[f] / volumes[v]:.2f})."
        )
    return lines


def gaps(content: Content) -> list[str]:
    """How much larger the errors of fitting are than VRN's, in the paper and here."""
    lines = []
    for database, ours in paper.STAND_INS.items():
        for method in paper.FITTED:
            found = _run(content, ours, ("vrn", method))
            if len(found) == 2:
                printed = paper.NME[database]
                lines.append(
                    f"{paper.NAMES[method]} over VRN: {printed[method] / printed['vrn']:.2f} in the paper on "
                    f"{database}, {found[method] / found['vrn']:.2f} here on `{ours}`."
                )
    return lines


def pose_share(content: Content) -> list[tuple[str, ...]]:
    """Rows: method, then by database how much of the error is gone after rigid alignment, in %."""
    databases = [d for d in paper.STAND_INS.values() if d in content["databases"]]
    rows = []
    for method in (*FAIR, "guided-gt", "eos-gt", "eos-30-gt", "mean-face-gt"):
        cells = []
        for database in databases:
            whole, rigid = (_mean(content, database, method, c) for c in ("nme", "nme_rigid"))
            cells.append("" if whole is None or rigid is None else f"{100 * (1 - rigid / whole):.0f} %")
        if any(cells):
            rows.append((entrants.label(method), *cells))
    return rows


def distance(detail: Content, methods: Sequence[str] = FAIR, error: str = "nme") -> list[str]:
    """How each method's error changes from the quarter of faces nearest to the model's span to the farthest,
    and the lead of the best fitted method over the best volume in both."""
    lines, ends = [], {}
    for method in methods:
        bins = detail["by_distance"].get(method, {}).get(error, [])
        if len(bins) > 1 and bins[0]["mean"] is not None and bins[-1]["mean"] is not None:
            ends[method] = (bins[0]["mean"], bins[-1]["mean"])
            lines.append(
                f"{entrants.label(method)}: {bins[0]['mean']:.4f} ({bins[0]['interval'][0]:.4f} to "
                f"{bins[0]['interval'][1]:.4f}) nearest, {bins[-1]['mean']:.4f} "
                f"({bins[-1]['interval'][0]:.4f} to {bins[-1]['interval'][1]:.4f}) farthest, "
                f"a factor of {bins[-1]['mean'] / bins[0]['mean']:.2f}."
            )
    volumes = [m for m in paper.VRNS if m in ends]
    fitted = [m for m in ("3ddfa", "eos", "eos-30", "mean-face") if m in ends]
    if volumes and fitted:
        near, far = (min(ends[m][k] for m in fitted) / min(ends[m][k] for m in volumes) for k in (0, 1))
        if near < 1:
            change = "its lead shrinks" if far > near else "its lead does not shrink"
            said = f"fitting leads nearest to the span, and {change} as shapes leave it"
        else:
            said = "fitting does not even lead nearest to the span"
        lines.append(f"Best fitted method over best volume: {near:.2f} nearest, {far:.2f} farthest: {said}.")
    return lines


def yaw(detail: Content, methods: Sequence[str] = FAIR) -> list[str]:
    """Profiles over frontal faces, for each method on each stand-in."""
    lines = []
    for database in paper.STAND_INS.values():
        factors = []
        for method in methods:
            bands = detail["methods"].get(database, {}).get(method, {}).get("nme", {}).get("by_yaw", [])
            known = [b["mean"] for b in bands if b["mean"] is not None]
            if len(known) > 1:
                factors.append(f"{entrants.label(method)} {known[-1] / known[0]:.2f}")
        if factors:
            lines.append(f"`{database}`, error in the last band of yaw over the first: {', '.join(factors)}.")
    return lines


def landmarks(content: Content) -> list[str]:
    """What the landmark detector costs: the same method on detected and on true landmarks."""
    lines = []
    for database in paper.STAND_INS.values():
        for method in ("guided", "eos", "eos-30", "mean-face"):
            found = _run(content, database, (method, f"{method}-gt"))
            if len(found) == 2:
                lines.append(
                    f"{entrants.label(method)} on `{database}`: {found[method]:.4f} on detected landmarks, "
                    f"{found[f'{method}-gt']:.4f} on true ones."
                )
    return lines or ["No method has run on both detected and true landmarks."]
