"""`synth-wild`, after AFLW2000-3D: 2,000 people, all yaws, harsh light, occluders, poor cameras."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vrnlib.appearance import Light, sample_light
from vrnlib.databases.heldout import EXPRESSIONS, Person, harsh_light, sample_person
from vrnlib.databases.nuisance import CAMERA, OCCLUDERS
from vrnlib.databases.sample import render_sample
from vrnlib.errors import VrnError
from vrnlib.voxel import Grid

BANDS = ((0.0, 30.0, 1312), (30.0, 60.0, 383), (60.0, 90.0, 305))
"""AFLW2000-3D's number of images by absolute yaw in degrees, low, high, number (README of 3DDFA)."""
SEED = 5_000_001
HARSH = 0.7
"""Share of pictures in one of the harsh lights; the others have training's."""
OCCLUDED = 0.3
"""Share of pictures with a thing of :data:`vrnlib.databases.nuisance.OCCLUDERS` before the face."""


class SynthWild:
    """2,000 frozen pictures of 2,000 held-out people.

    Yaw falls into AFLW2000-3D's bands exactly as often as there (uniform within a band), pitch has an SD of
    12 and roll of 10 degrees. What differs from training: people, expressions and skin
    (:mod:`vrnlib.databases.heldout`), light in 71 % of the pictures (`harsh_light`), occluders in 29 %,
    camera faults in 75 % (:mod:`vrnlib.databases.nuisance`), of kinds that training has not or has weaker.
    They come on top of training's own backgrounds, glasses, occluders and camera.
    """

    def __init__(self, size: int = 192, depth: int = 200, truth: bool = False):
        self.grid = Grid(size, depth)
        self.truth = truth

    def __len__(self) -> int:
        return sum(count for *_, count in BANDS)

    def info(self, index: int) -> dict[str, Any]:
        """What sample `index` shows: identity (the index), expression, pitch, yaw, roll in degrees, light
        (`training` or a name of :func:`vrnlib.databases.heldout.harsh_light`), occluder (or `none`) and
        camera faults (joined by `+`, or `none`).

        Raises
        ------
        VrnError : there is no such sample.
        """
        if not 0 <= index < len(self):
            raise VrnError(f"synth-wild has samples 0 to {len(self) - 1}, asked for {index}")
        plan = _plan(index)
        pitch, yaw, roll = np.rad2deg(plan.pose).tolist()
        return {
            "identity": index,
            "expression": plan.expression,
            "pitch": pitch,
            "yaw": yaw,
            "roll": roll,
            "light": plan.light_name,
            "occluder": plan.occluder or "none",
            "camera": "+".join(plan.faults) or "none",
        }

    def parameters(self, index: int) -> list[np.ndarray]:
        """The random numbers that sample `index` is made from, for the manifest."""
        plan = _plan(index)
        chosen = [list(EXPRESSIONS).index(plan.expression), plan.strength, *plan.gaze]
        chosen += [100 + list(OCCLUDERS).index(plan.occluder)] if plan.occluder else []
        chosen += [200 + list(CAMERA).index(f) for f in plan.faults]
        return [plan.person.drawn, np.array(chosen), plan.pose]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        self.info(index)  # refuses a wrong index
        plan = _plan(index)
        rng = np.random.default_rng((SEED, 2, index))
        sample = render_sample(
            plan.head(), plan.person.look, plan.pose, plan.light, self.grid, rng, None, self.truth
        )
        image, landmarks = sample["image"], sample["landmarks"]
        rng = np.random.default_rng((SEED, 3, index))
        if plan.occluder:
            image = OCCLUDERS[plan.occluder](image, landmarks, rng)
        for name in plan.faults:
            image = CAMERA[name][1](image, landmarks, rng)
        return {**sample, "image": image}


@dataclass(frozen=True)
class _Plan:
    # What a picture will show, drawn before anything is computed.
    person: Person
    expression: str
    strength: float
    gaze: np.ndarray
    pose: np.ndarray  # (3,) radians
    light_name: str
    light: Light
    occluder: str | None
    faults: tuple[str, ...]

    def head(self) -> np.ndarray:
        return self.person.head(self.expression, self.strength, self.gaze)


@lru_cache(maxsize=1)
def _bands() -> np.ndarray:
    # the band of every picture, mixed: any first n have about the right shares
    bands = np.repeat(np.arange(len(BANDS)), [count for *_, count in BANDS])
    return np.random.default_rng((SEED, 0)).permutation(bands)


@lru_cache(maxsize=4)
def _plan(index: int) -> _Plan:
    rng = np.random.default_rng((SEED, 1, index))
    low, high, _ = BANDS[_bands()[index]]
    yaw = rng.uniform(low, high) * rng.choice([-1, 1])
    pitch, roll = np.clip(rng.normal(0, 12), -40, 40), np.clip(rng.normal(0, 10), -35, 35)
    six = [e for e in EXPRESSIONS if e != "Neutral"]
    expression = "Neutral" if rng.random() < 0.35 else str(rng.choice(six))
    strength, gaze = rng.uniform(0.3, 1.05), rng.normal(0, 0.3, 2)
    harsh = rng.random() < HARSH
    name, light = harsh_light(rng) if harsh else ("training", sample_light(rng))
    occluder = str(rng.choice(list(OCCLUDERS))) if rng.random() < OCCLUDED else None
    faults = tuple(f for f, (share, _) in CAMERA.items() if rng.random() < share)
    return _Plan(
        person=sample_person(rng), expression=expression, strength=strength, gaze=gaze,
        pose=np.deg2rad([pitch, yaw, roll]), light_name=name, light=light, occluder=occluder, faults=faults,
    )  # fmt: skip
