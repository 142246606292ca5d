"""What a run of the notebooks has come to, and how it is told at its end. Used by `vrnlib.runner`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vrnlib import provenance


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    Attributes
    ----------
    name : str
        For example ``03_train_vrn``.
    skipped : bool
        It was up to date and was not run.
    seconds : float
        Wall time of the run (of the recorded run, when skipped).
    executed, html : Path
        Where the executed copy and the page lie.
    metrics : list of Path
        The ``metrics.json`` files among the declared outputs.
    """

    name: str
    skipped: bool
    seconds: float
    executed: Path
    html: Path
    metrics: list[Path] = field(default_factory=list)


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What ran, how long, where the results lie, and the numbers of the ``metrics.json`` files, as text."""
    lines = ["", "Summary", "-------"]
    width = max((len(o.name) for o in outcomes), default=0)
    for o in outcomes:
        state = (
            f"up to date ({duration(o.seconds)} when it ran)"
            if o.skipped
            else f"ran in {duration(o.seconds)}"
        )
        lines.append(f"{o.name:<{width}}  {state:<32}  {_short(o.html)}")
    files = list(dict.fromkeys(path for o in outcomes for path in o.metrics))
    for path in files:
        lines += ["", f"{_short(path)}"]
        numbers = headline(provenance.read_json(path))
        wide = max((len(key) for key in numbers), default=0)
        for key, number in numbers.items():
            lines.append(f"  {key:<{wide}}  {f'{number:.4g}' if isinstance(number, float) else number}")
    ran = sum(not o.skipped for o in outcomes)
    lines += ["", f"{ran} notebook(s) ran, {len(outcomes) - ran} up to date, {duration(seconds)} in all."]
    if outcomes:
        lines.append(f"Results: {_short(outcomes[0].executed.parent.parent)}")
    return "\n".join(lines)


def headline(metrics: Any, most: int = 12) -> dict[str, Any]:
    """The numbers of a ``metrics.json`` worth printing.

    Those under its key ``headline`` if it has one; else its first `most` numbers, nested ones as
    ``outer.inner``.
    """
    if isinstance(metrics, dict) and isinstance(metrics.get("headline"), dict):
        return metrics["headline"]
    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value

    walk(metrics, "")
    return dict(list(found.items())[:most])


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd()).as_posix()
    return str(path)
