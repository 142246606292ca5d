"""Paired tests between methods on the same faces, as in the thesis (paired t-test), and honest intervals.

The thesis reports p < 0.01 for each VRN against 3DDFA and EOS, and no significant difference between
VRN-Multitask and VRN. A t-test takes faces as independent; where a person appears several times the bootstrap
interval over persons is the one to trust. Both are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from vrnlib import scores
from vrnlib.errors import VrnError
from vrnlib.table1.store import Store

LEVEL = 0.01
"""p below which the thesis calls a difference significant."""


def pairs(
    stores: Mapping[str, Store],
    indices: Sequence[int],
    error: str = "nme",
    methods: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Every pair of methods: `scores.compare` of `a - b` over persons, with `a`, `b`, `significant` (p <
    `LEVEL`) and `better` (the method with the smaller error, or "" where the interval holds 0). A pair with
    fewer than two common faces is left out.
    """
    out = []
    for a, b in combinations([m for m in (methods or stores) if m in stores], 2):
        common = [i for i in indices if i in stores[a].rows and i in stores[b].rows]
        people = stores[a].column("identity", common)
        try:
            test = scores.compare(
                stores[a].column(error, common), stores[b].column(error, common), groups=people.tolist()
            )
        except VrnError:  # fewer than two common faces
            continue
        low, high = test["interval"]
        better = a if high < 0 else b if low > 0 else ""
        significant = test["p"] is not None and test["p"] < LEVEL
        out.append({"a": a, "b": b, **test, "significant": significant, "better": better})
    return out
