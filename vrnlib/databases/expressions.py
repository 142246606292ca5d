"""`synth-expressions`, after the BU-4DFE protocol: named expressions under a random coloured lamp."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from vrnlib.appearance import Light
from vrnlib.databases.heldout import Person, lamp, sample_person
from vrnlib.databases.sample import render_sample
from vrnlib.errors import VrnError
from vrnlib.variation import Variation
from vrnlib.voxel import Grid

PITCHES = (-20.0, 0.0, 20.0)
YAWS = tuple(float(y) for y in np.linspace(-80, 80, 7))
"""Degrees; 3 x 7 poses (Jackson et al. Sec. 4.2)."""
SIX = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise")
PAIRS = 97
"""Pairs of person and expression in the table of poses: 97 x 21 = 2037 images, as many as the authors' arrays
of scores hold. 49 people, each in Happy and in Surprise, the last one only in Happy.
"""
SEED = 6_000_001
STUDIO = Variation.without("glasses", "occluders", "headwear")
"""BU-4DFE's people sat bare-headed before the scanner, with nothing before the face."""


class SynthExpressions:
    """49 held-out people with the expressions of BU-4DFE, frozen.

    Two tables. `poses`: Happy and Surprise in 21 poses, 2037 images, the paper's main table. `expressions`:
    all six expressions of all 49 people from the front, 294 images, the thesis' expression ablation; every
    person appears with each, so the comparison is paired.

    What differs from training: people, expressions and skin (:mod:`vrnlib.databases.heldout`); light is one
    lamp from any direction of the viewer's half space, its channels in ratios of up to 4 to 1 (training's
    lamps stray about 12 % from white), over a weak grey fill. Background and camera are
    training's; nobody wears glasses or a hat, nothing is before the face.

    Raises
    ------
    VrnError : unknown table.
    """

    def __init__(
        self,
        size: int = 192,
        depth: int = 200,
        truth: bool = False,
        table: Literal["poses", "expressions"] = "poses",
    ):
        if table not in ("poses", "expressions"):
            raise VrnError(f"synth-expressions has the tables 'poses' and 'expressions', not {table!r}")
        self.grid = Grid(size, depth)
        self.truth = truth
        self.table = table

    def __len__(self) -> int:
        if self.table == "poses":
            return PAIRS * len(PITCHES) * len(YAWS)
        return (PAIRS + 1) // 2 * len(SIX)

    def info(self, index: int) -> dict[str, Any]:
        """What sample `index` shows: identity (0..48), expression, pitch, yaw and roll in degrees.

        Raises
        ------
        VrnError : there is no such sample.
        """
        if not 0 <= index < len(self):
            raise VrnError(f"this table of synth-expressions has samples 0 to {len(self) - 1}, not {index}")
        if self.table == "expressions":
            identity, which = divmod(index, len(SIX))
            return _info(identity, SIX[which], 0.0, 0.0)
        pair, pose = divmod(index, len(PITCHES) * len(YAWS))
        pitch, yaw = PITCHES[pose // len(YAWS)], YAWS[pose % len(YAWS)]
        return _info(pair // 2, ("Happy", "Surprise")[pair % 2], pitch, yaw)

    def parameters(self, index: int) -> list[np.ndarray]:
        """The random numbers that sample `index` is made from, for the manifest."""
        info = self.info(index)
        _, light, pose, person, _ = _ingredients(info)
        mood = _mood(info["identity"], info["expression"])
        return [person.drawn, np.array([SIX.index(info["expression"]), *mood]), light.lamps, pose]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        head, light, pose, person, rng = _ingredients(self.info(index))
        return render_sample(
            head, person.look, pose, light, self.grid, rng, None, self.truth, variation=STUDIO
        )


def _info(identity: int, expression: str, pitch: float, yaw: float) -> dict[str, Any]:
    return {"identity": identity, "expression": expression, "pitch": pitch, "yaw": yaw, "roll": 0.0}


@lru_cache(maxsize=4)
def _person(identity: int) -> Person:
    return sample_person(np.random.default_rng((SEED, 1, identity)))


@lru_cache(maxsize=8)
def _head(identity: int, expression: str) -> np.ndarray:
    strength, *gaze = _mood(identity, expression)
    return _person(identity).head(expression, strength, np.array(gaze))


def _mood(identity: int, expression: str) -> np.ndarray:
    # strength of the expression, gaze sideways and upwards
    rng = np.random.default_rng((SEED, 2, identity, SIX.index(expression)))
    return np.array([rng.uniform(0.7, 1.05), *rng.normal(0, 0.1, 2)])


def _ingredients(
    info: dict[str, Any],
) -> tuple[np.ndarray, Light, np.ndarray, Person, np.random.Generator]:
    identity, expression = info["identity"], info["expression"]
    pose = np.deg2rad([info["pitch"], info["yaw"], info["roll"]])
    # the same picture in both tables: keyed by what is shown, not by the index
    key = (SEED, 3, identity, SIX.index(expression), int(info["pitch"]) + 90, int(info["yaw"]) + 90)
    rng = np.random.default_rng(key)
    light = _coloured_lamp(rng)
    return _head(identity, expression), light, pose, _person(identity), rng


def _coloured_lamp(rng: np.random.Generator) -> Light:
    direction = rng.normal(size=3)
    direction[2] = abs(direction[2])
    colour = rng.uniform(0.25, 1.0, 3)
    fill = np.full(3, rng.uniform(0.1, 0.3), np.float32)
    return Light(
        lamps=lamp(direction, colour / colour.max())[None], sky=fill, ground=fill * np.float32(0.7),
        shadow=float(rng.uniform(0.3, 0.9)), gloss=float(rng.uniform(0, 0.3)), shininess=20.0,
    )  # fmt: skip
