"""The table itself: paper, author's arrays, ours and real databases beside each other, with verdicts.

Nothing is typed: the paper's cells are quoted from `vrnlib.table1.paper`, the author's come from
`results/table1/authors.json`, ours from kept rows. A mean of ours always has its number of faces and persons,
its failures and its interval over persons.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from vrnlib import scores
from vrnlib.table1 import paper
from vrnlib.table1.store import Store

DEVIATIONS = {
    "vrn": ("D1", "D4", "D6", "D10", "D11"),
    "multitask": ("D1", "D4", "D6", "D10", "D11"),
    "guided": ("D1", "D4", "D6", "D10", "D11"),
    "3ddfa": ("D1", "D10", "D17"),
    "eos": ("D1", "D10", "D15", "D16"),
}
"""What differs from the paper, by method: ids in results/DEVIATIONS.md."""
ERRORS = {"nme": "nme", "rigid": "nme_rigid"}
"""Table -> column of the rows."""


def summarise(store: Store, indices: Sequence[int], column: str = "nme") -> dict[str, Any]:
    """`scores.summary` of one method on one database with the interval over persons; also `persons`."""
    people = store.column("identity", indices).tolist()
    values = store.column(column, indices)
    return {**scores.summary(values, groups=people), "persons": len(set(people))}


def verdict(
    method: str, ours: Mapping[str, Mapping[str, Any]], printed: Mapping[str, float]
) -> dict[str, Any]:
    """One cell's verdict against every other method of the paper's table that has run.

    Parameters
    ----------
    ours : method -> summary with `mean` and `interval`; one that has not run is missing or has no mean.
    printed : method -> the paper's number of the same database.

    Returns
    -------
    verdict : a word of `paper.VERDICTS`; compared : the methods it rests on; against : those among them whose
    order is the other way; overlapping : those whose interval overlaps.
    """
    run = {m: s for m, s in ours.items() if s.get("mean") is not None and m in printed}
    others = [m for m in printed if m in run and m != method]
    if method not in run or not others:
        return {"verdict": paper.NOT_RUN, "compared": [], "against": [], "overlapping": []}
    own = run[method]
    wrong = [m for m in others if (own["mean"] < run[m]["mean"]) != (printed[method] < printed[m])]
    overlapping = [m for m in others if overlap(own["interval"], run[m]["interval"])]
    word = paper.NOT_REPRODUCED if wrong else paper.REPRODUCED if overlapping else paper.SEPARATED
    return {"verdict": word, "compared": others, "against": wrong, "overlapping": overlapping}


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two intervals (low, high) have a point in common."""
    return a[0] <= b[1] and b[0] <= a[1]


def claim_verdicts(
    ours: Mapping[str, Mapping[str, Any]], tests: Sequence[Mapping[str, Any]], doubtful: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """The paper's claims (`paper.CLAIMS`) on one database: claim -> `verdict` and how many comparisons it
    rests on, of how many that there could be. `doubtful` methods decide nothing.
    """
    run = {m: s for m, s in ours.items() if s.get("mean") is not None and m not in doubtful}
    wanted = {
        "guided best": [("guided", m) for m in paper.METHODS if m != "guided"],
        "volumes beat fitting": [(v, f) for v in paper.VRNS for f in paper.FITTED],
    }
    out: dict[str, dict[str, Any]] = {}
    for claim, smaller in wanted.items():
        have = [(a, b) for a, b in smaller if a in run and b in run]
        wrong = [(a, b) for a, b in have if run[a]["mean"] >= run[b]["mean"]]
        near = [(a, b) for a, b in have if overlap(run[a]["interval"], run[b]["interval"])]
        word = (
            paper.NOT_RUN
            if not have
            else paper.NOT_REPRODUCED
            if wrong
            else paper.REPRODUCED
            if near
            else paper.SEPARATED
        )
        out[claim] = {"verdict": word, "compared": len(have), "of": len(smaller), "against": wrong}
    found = next((t for t in tests if {t["a"], t["b"]} == {"vrn", "multitask"}), None)
    word = (
        paper.NOT_RUN if found is None else paper.NOT_REPRODUCED if found["significant"] else paper.REPRODUCED
    )
    out["multitask no better"] = {"verdict": word, "compared": int(found is not None), "of": 1, "against": []}
    return out


def build(
    error: str,
    stores: Mapping[str, Mapping[str, Store]],
    indices: Mapping[str, Sequence[int]],
    *,
    authors: Mapping[str, Any] | None,
    seeds: Mapping[str, Sequence[str]],
    reasons: Mapping[str, str],
    real: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of one table, a method on a database each.

    Parameters
    ----------
    error : ``nme`` or ``rigid``.
    stores : our database -> method -> rows; indices : our database -> its scored faces.
    authors : the contents of authors.json, or None.
    seeds : method of the paper -> names under which its networks of other seeds are in `stores`.
    reasons : method -> why it has not run.
    real : the paper's database -> method -> summary, of databases given by path.
    """
    rows = []
    for database in paper.DATABASES:
        stand_in, printed = paper.STAND_INS[database], paper.TABLES[error][database]
        have = stores.get(stand_in, {})
        faces = indices.get(stand_in, [])
        ours = {m: summarise(have[m], faces, ERRORS[error]) for m in paper.METHODS if m in have and faces}
        doubtful = [m for m in paper.METHODS if (error, database, m) in paper.DOUBTFUL]
        trusted = {m: v for m, v in printed.items() if m not in doubtful}
        for method in paper.METHODS:
            author = ((authors or {}).get("cells", {}).get(error, {}).get(database, {})).get(method)
            others = {
                name.rpartition("-seed")[2]: summarise(have[name], faces, ERRORS[error])["mean"]
                for name in seeds.get(method, ())
                if name in have and faces
            }
            words = verdict(method, ours, trusted) if method not in doubtful else None
            rows.append({
                "error": error,
                "method": method,
                "database": database,
                "stand_in": stand_in,
                "paper": printed[method],
                "doubtful": method in doubtful,
                "author": None if author is None else {
                    k: author[k] for k in ("mean", "interval", "median", "faces", "persons")
                },
                "ours": ours.get(method),
                "not_run": None if method in ours else reasons.get(method, paper.NOT_RUN),
                "seeds": across_seeds(others),
                "real": (real or {}).get(database, {}).get(method),
                **(words or {"verdict": "the printed cell is doubtful", "compared": [], "against": [],
                             "overlapping": []}),
                "deviations": list(DEVIATIONS[method]),
            })  # fmt: skip
    return rows


def across_seeds(means: Mapping[str, float | None]) -> dict[str, Any]:
    """Mean errors of networks that differ in their seed alone: `means` by seed, their `mean`, and `sd`, the
    sample standard deviation (None of fewer than two)."""
    known = {s: m for s, m in means.items() if m is not None}
    return {
        "means": known,
        "mean": statistics.fmean(known.values()) if known else None,
        "sd": statistics.stdev(known.values()) if len(known) > 1 else None,
    }


def seed_cell(seeds: Mapping[str, Any]) -> str:
    """`across_seeds` as text: mean, deviation, number of networks."""
    if seeds["mean"] is None:
        return ""
    spread = "" if seeds["sd"] is None else f" ± {seeds['sd']:.4f}"
    return f"{seeds['mean']:.4f}{spread} ({len(seeds['means'])})"


def cell(summary: Mapping[str, Any] | None, missing: str = paper.NOT_RUN) -> str:
    """A summary as text: mean, interval, and failures if there are any."""
    if summary is None or summary.get("mean") is None:
        return missing
    low, high = summary["interval"]
    failed = f", {summary['failed']} failed" if summary.get("failed") else ""
    return f"{summary['mean']:.4f} ({low:.4f} to {high:.4f}){failed}"


HEADER = ("database", "method", "paper", "author's arrays", "ours (95 %)", "n / persons",
          "seeds of a small budget, mean ± SD (networks)", "real", "verdict", "deviations")  # fmt: skip


def text_rows(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table's cells as text, under `HEADER`."""
    out = []
    for r in rows:
        ours = r["ours"]
        counts = f"{ours['faces']} / {ours['persons']}" if ours else ""
        of = f" ({len(r['compared'])} of 4 comparisons)" if 0 < len(r["compared"]) < 4 else ""
        out.append((
            f"{r['database']} / `{r['stand_in']}`", paper.NAMES[r["method"]],
            f"{r['paper']:.4f}{' (doubtful)' if r['doubtful'] else ''}", cell(r["author"], "no array"),
            cell(ours), counts, seed_cell(r["seeds"]), cell(r["real"]), f"{r['verdict']}{of}",
            ", ".join(r["deviations"]),
        ))  # fmt: skip
    return out
