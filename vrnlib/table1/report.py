"""From kept rows to `table1.json`, `table1.md` and `breakdown.json`: nothing here predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import provenance, scores
from vrnlib.table1 import curves, entrants, paired, paper
from vrnlib.table1 import table as tables
from vrnlib.table1.store import Store


@dataclass
class Results:
    """What has been computed: our database -> method -> rows, the faces that count, distances, why not."""

    stores: dict[str, dict[str, Store]] = field(default_factory=dict)
    indices: dict[str, list[int]] = field(default_factory=dict)
    distances: dict[str, dict[int, tuple[float, float]]] = field(default_factory=dict)
    real: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def report(
    out: Path,
    found: Results,
    able: Mapping[str, entrants.Entrant],
    author: Mapping[str, Any] | None,
    costs: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Write table1.json, table1.md and breakdown.json from kept rows alone; returns the first."""
    seeds = {m: entrants.seeds_of(m, list(able)) for m in paper.VRNS}
    content: dict[str, Any] = {
        **settings,
        "verdicts": paper.VERDICTS,
        "claims_tested": paper.CLAIMS,
        "citations": paper.CITATION,
        "not_run": found.reasons,
        "databases_not_run": found.missing,
        "training": {m: entrants.training(m) for m in able},
        "databases": {},
        "tables": {},
        "claims": {},
        "costs": costs,
    }
    detail: dict[str, Any] = {"methods": {}, "paired": {}, "by_distance": {}}
    for name, stores in found.stores.items():
        indices = found.indices[name]
        away = found.distances[name]
        content["databases"][name] = {
            "faces": len(indices),
            "persons": len({stores[m].rows[i]["identity"] for m in list(stores)[:1] for i in indices}),
            "residual": scores.summary([away[i][0] for i in indices]),
            "typicality": scores.summary([away[i][1] for i in indices]),
            "methods": {m: _everything(s, indices) for m, s in stores.items()},
        }
        detail["methods"][name] = {
            m: {e: curves.breakdown(s, indices, c) for e, c in tables.ERRORS.items()}
            for m, s in stores.items()
        }
        detail["paired"][name] = {e: paired.pairs(stores, indices, c) for e, c in tables.ERRORS.items()}
    for error, column in tables.ERRORS.items():
        content["tables"][error] = tables.build(
            error, found.stores, found.indices, authors=author, seeds=seeds, reasons=found.reasons,
            real=found.real.get(error),
        )  # fmt: skip
        for database, stand_in in paper.STAND_INS.items():
            ours = {
                m: tables.summarise(s, found.indices[stand_in], column)
                for m, s in found.stores.get(stand_in, {}).items()
            }
            doubtful = [m for m in paper.METHODS if (error, database, m) in paper.DOUBTFUL]
            tests = detail["paired"].get(stand_in, {}).get(error, [])
            content["claims"].setdefault(error, {})[database] = tables.claim_verdicts(ours, tests, doubtful)
    everywhere = [away[i][0] for n, away in found.distances.items() for i in found.indices.get(n, [])]
    if everywhere:
        bounds = curves.edges(everywhere)
        for method in able:
            rows = [
                (
                    found.stores[n][method],
                    {i: d[0] for i, d in found.distances[n].items()},
                    found.indices[n],
                    n,
                )
                for n in found.stores
            ]
            detail["by_distance"][method] = {
                e: curves.by_distance(rows, bounds, c) for e, c in tables.ERRORS.items()
            }
    provenance.write_json(out / "table1.json", content)
    provenance.write_json(out / "breakdown.json", detail)
    with provenance.replacing(out / "table1.md") as temporary:
        temporary.write_text(markdown(content), encoding="utf-8")
    return content


def _everything(store: Store, indices: Sequence[int]) -> dict[str, Any]:
    # one method on one database, all its numbers
    columns = ("nme", "nme_rigid", "nme_mask", "rigid_mask", "iou")
    out = {c: tables.summarise(store, indices, c) for c in columns}
    out["median_seconds"] = float(np.nanmedian(store.column("seconds", indices)))
    return {k: v for k, v in out.items() if not isinstance(v, dict) or v["mean"] is not None}


def markdown(content: Mapping[str, Any]) -> str:
    """table1.json as text: both tables, the claims, what has not run."""
    from vrnlib.figures import table

    titles = {"nme": "Table 1: NME (Eq. 2)", "rigid": "The second table: after rigid alignment"}
    parts = [
        f"Profile `{content['profile']}`. Ours are drawn faces and scans in another shape space, not the "
        "paper's databases: compare the order of the methods, not the numbers."
    ]
    for error, rows in content["tables"].items():
        text = tables.text_rows(rows)
        parts += [f"## {titles[error]}", f"Paper: {content['citations'][error]}.", table(tables.HEADER, text)]
        lines = [
            (database, content["claims_tested"][claim], f"{c['verdict']} ({c['compared']} of {c['of']})")
            for database, found in content["claims"][error].items()
            for claim, c in found.items()
        ]
        parts.append(table(("database", "claim", "verdict (comparisons)"), lines))
    parts.append("Verdicts: " + "; ".join(f"*{w}*: {m}" for w, m in content["verdicts"].items()) + ".")
    learned = [
        f"{entrants.label(m)} {t['faces']:,} faces, {t['minutes']:.0f} minutes"
        + (f", its detector {t['detector_faces']:,}" if t.get("detector_faces") else "")
        + ("" if t["finished"] else " (unfinished)")
        for m, t in content["training"].items()
        if t and t["faces"]
    ]
    if learned:
        parts.append("Trained here on: " + "; ".join(learned) + ".")
    not_run = {**content["not_run"], **content["databases_not_run"]}
    if not_run:
        parts.append("Not run: " + "; ".join(f"{k}: {v}" for k, v in not_run.items()) + ".")
    return "\n\n".join(parts) + "\n"
