"""Test sets by name: which samples of an embedded database are scored, and what each shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrnlib.databases.manifest import DATABASES as FROZEN
from vrnlib.databases.sample import DATA_VERSION, POSES_PER_FACE
from vrnlib.databases.synthetic import SynthLP
from vrnlib.errors import VrnError, did_you_mean

NAMES = ("synth-lp", *FROZEN)


@dataclass(frozen=True)
class TestSet:
    """Samples to score: `data[i]` for i in `indices`, with their ground truth."""

    __test__ = False  # not a test case, whatever its name

    name: str
    data: Any
    indices: Sequence[int]
    version: str

    def info(self, index: int) -> dict[str, Any]:
        """`identity` and `expression` of a sample ("" where it is not a named one)."""
        if self.name == "synth-lp":
            return {"identity": index // POSES_PER_FACE, "expression": ""}
        return self.data.info(index)


def open_test_set(name: str, size: int, depth: int, faces: int = 0, seed: int = 0) -> TestSet:
    """Open a test set.

    Parameters
    ----------
    name : one of `NAMES`.
    size, depth : of the window and the volume.
    faces : of `synth-lp`, which has no end, so many persons in one pose each; of a frozen database so many
        samples spread evenly over it, or all (0, or more than it has).
    seed : of `synth-lp`; the frozen ones have theirs.

    Raises
    ------
    VrnError : unknown name, no number of faces for `synth-lp`, or `mapped-scans` can't be fetched.
    """
    if name not in NAMES:
        raise VrnError(f"unknown database '{name}'{did_you_mean(name, NAMES)}: known are {', '.join(NAMES)}")
    if name == "synth-lp":
        if faces < 1:
            raise VrnError("synth-lp has no end: say how many faces")
        data = SynthLP(size, depth, seed=seed, augment=False, truth=True)
        return TestSet(
            name, data, [i * POSES_PER_FACE + i % POSES_PER_FACE for i in range(faces)], DATA_VERSION
        )
    data = FROZEN[name](size, depth, truth=True)
    count = min(faces or len(data), len(data))
    return TestSet(name, data, [i * len(data) // count for i in range(count)], f"{name}, {DATA_VERSION}")
