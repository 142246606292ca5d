"""People, expressions, skin and light that training never sees, for the test databases `synth-wild` and
`synth-expressions`.

The head's topology is training's, the shape space is shifted:

* phenotypes are Gaussian in the 24 components (clipped at 2 SD), not blends of two of training's 4,000 stored
  adults; local changes are new draws;
* every person gets three to seven of MakeHuman's asymmetries of the face, which training has not (it has
  only left-right differences of its own local changes), at 10 to 60 %: together at most 1.2 mm RMS over the
  face surface;
* expressions are composed of MakeHuman's older expression units, sculpted beside the facial actions that
  training uses, blended between three ancestries by a person's own weights;
* a person whose seven caliper distances leave the human range (:func:`vrnlib.anthropometry.plausible`, 3 SD)
  is drawn again.

Only gaze uses a facial action of training's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vrnlib.anthropometry import plausible
from vrnlib.appearance import Light, Look, sample_look
from vrnlib.basis import ANCESTRIES, HELDOUT_PATH
from vrnlib.errors import VrnError
from vrnlib.faces import expression_coefficients, load_basis, sample_identity

EXPRESSIONS: dict[str, dict[str, float]] = {
    "Angry": {"eyebrows-down": 1.0, "eye-slit": 0.35, "mouth-compression": 0.5, "nose-dilatation": 1.0},
    "Disgust": {"nose-elevation": 1.0, "eyebrows-down": 0.5, "eye-slit": 0.5, "mouth-elevation": 0.6},
    "Fear": {"eyebrows-inner-up": 1.0, "eyebrows-up": 0.5, "eye-opened-up": 0.9, "mouth-retraction": 0.7,
             "mouth-open": 0.25, "neck-platysma": 0.4},
    "Happy": {"mouth-corner-puller": 0.55, "mouth-upward-retraction": 0.45, "eye-slit": 0.35},
    "Sad": {"eyebrows-inner-up": 1.0, "mouth-depression": 0.6, "eye-slit": 0.2},
    "Surprise": {"eyebrows-up": 1.0, "eyebrows-extern-up": 0.6, "eyebrows-inner-up": 0.5,
                 "eye-opened-up": 0.8, "mouth-open": 0.6},
    "Neutral": {},
}  # fmt: skip
"""BU-4DFE's six expressions, and none: strengths of the older units, both sides."""
MOST_ASYMMETRY = 1.2
"""Millimetres RMS over the face surface; at most."""
_ASYMMETRIES = (3, 8)  # drawn a person, from and up to but not including


@dataclass(frozen=True)
class HeldOut:
    """The held-out displacement fields: names and (K, V, 3) float32 mm, for vertices of the face basis."""

    names: tuple[str, ...]
    fields: np.ndarray

    def unit(self, name: str, ancestry: np.ndarray) -> np.ndarray:
        """An expression unit (V, 3) mm for weights (3,) of the ancestries; without `left` or `right` in its
        name a two-sided unit moves both. Raises VrnError for an unknown one.
        """
        part, _, rest = name.partition("-")
        for sides in (name,), (f"{part}-left-{rest}", f"{part}-right-{rest}"):
            found = [f for f in (self._one(s, ancestry) for s in sides) if f is not None]
            if found:
                return np.sum(found, axis=0)
        raise VrnError(f"there is no held-out expression unit {name!r}; see load_heldout().names")

    def _one(self, name: str, ancestry: np.ndarray) -> np.ndarray | None:
        if (same := f"expression/all/{name}") in self.names:
            return self.fields[self.names.index(same)]
        keys = [f"expression/{a}/{name}" for a in ANCESTRIES]
        if keys[0] not in self.names:
            return None
        return sum(w * self.fields[self.names.index(k)] for w, k in zip(ancestry, keys, strict=True))


@lru_cache(maxsize=1)
def load_heldout() -> HeldOut:
    """The fields that ship with the package. Raises VrnError if the file is missing or damaged."""
    try:
        with np.load(HELDOUT_PATH, allow_pickle=False) as f:
            names, fields, step = f["names"], f["fields"], f["step"]
    except (OSError, ValueError, KeyError) as error:
        raise VrnError(
            f"{HELDOUT_PATH} can't be read ({error}): reinstall the package or run python -m vrnlib.basis"
        ) from None
    return HeldOut(tuple(map(str, names)), fields.astype(np.float32) * step)


@dataclass(frozen=True)
class Person:
    """One held-out person.

    Parameters
    ----------
    neutral : (V, 3) float32, the neutral head, mm.
    ancestry : (3,) weights of the ancestries' expression units.
    look : the surface.
    drawn : (N,) float64, the random numbers that the shape was made from.
    """

    neutral: np.ndarray
    ancestry: np.ndarray
    look: Look
    drawn: np.ndarray

    def head(self, expression: str, strength: float, gaze: np.ndarray) -> np.ndarray:
        """The head (V, 3) float32 mm with an expression of :data:`EXPRESSIONS`, scaled by `strength`, looking
        `gaze` (sideways, upwards; activations).

        Raises
        ------
        VrnError : unknown expression.
        """
        if expression not in EXPRESSIONS:
            raise VrnError(f"unknown expression {expression!r}: one of {', '.join(EXPRESSIONS)}")
        held, out = load_heldout(), self.neutral.copy()
        for unit, weight in EXPRESSIONS[expression].items():
            out += np.float32(weight * strength) * held.unit(unit, self.ancestry)
        return out + _gaze(gaze)


def _gaze(gaze: np.ndarray) -> np.ndarray:
    # displacement (V, 3) of the eyes alone
    actions = {}
    for side, sign in (("Left", 1), ("Right", -1)):
        actions[f"eyeLook{'Out' if gaze[0] * sign > 0 else 'In'}{side}"] = min(abs(gaze[0]), 0.8)
        actions[f"eyeLook{'Up' if gaze[1] > 0 else 'Down'}{side}"] = min(abs(gaze[1]), 0.8)
    basis = load_basis()
    return basis.vertices(expression_coefficients(actions)) - basis.mean


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a plausible held-out person."""
    basis = load_basis()
    components = np.flatnonzero(basis.kind == 0)
    while True:
        coefficients = sample_identity(rng)
        coefficients[components] = np.clip(rng.normal(size=len(components)), -2, 2)
        chosen = rng.choice(_asymmetries(), rng.integers(*_ASYMMETRIES), replace=False)
        weights = rng.uniform(0.1, 0.6, len(chosen))
        neutral = basis.vertices(coefficients) + _asymmetry(chosen, weights)
        if plausible(neutral):
            break
    ancestry = rng.dirichlet([0.6, 0.6, 0.6])
    drawn = np.concatenate([coefficients, chosen, weights, ancestry]).astype(np.float64)
    return Person(neutral, ancestry, shifted_look(rng), drawn)


def _asymmetries() -> list[int]:
    return [i for i, n in enumerate(load_heldout().names) if n.startswith("asymmetry/")]


def _asymmetry(chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    field = np.tensordot(weights.astype(np.float32), load_heldout().fields[chosen], 1)
    rms = np.sqrt((field[load_basis().surface] ** 2).sum(1).mean())
    return field * np.float32(min(1.0, MOST_ASYMMETRY / max(float(rms), 1e-6)))


def shifted_look(rng: np.random.Generator) -> Look:
    """A surface whose albedo comes from another model than training's ten tones: skin as a layer of melanin
    over blood, each absorbing exponentially.

    Linear reflectance is ``0.78 exp(-m a_m - b a_b)`` with melanin m log-uniform in 0.12..2.0, blood b in
    0.05..0.4 and absorptions a_m = (0.9, 1.35, 1.9), a_b = (0.15, 1.1, 0.8) of R, G, B; lips have 0.4 to 0.9
    more blood. Hair, eyes and the rest are training's.
    """
    look = sample_look(rng)
    melanin, blood = np.exp(rng.uniform(np.log(0.12), np.log(2.0))), rng.uniform(0.05, 0.4)
    absorbed_melanin, absorbed_blood = np.array([0.9, 1.35, 1.9]), np.array([0.15, 1.1, 0.8])
    skin = 0.78 * np.exp(-melanin * absorbed_melanin - blood * absorbed_blood)
    lips = skin * np.exp(-rng.uniform(0.4, 0.9) * absorbed_blood)
    return replace(look, skin=skin.astype(np.float32), lips=lips.astype(np.float32))


def lamp(direction: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A lamp (6,) float32 of :class:`vrnlib.appearance.Light` from a direction of any length and linear RGB
    (3,).
    """
    return np.concatenate([direction / np.linalg.norm(direction), colour]).astype(np.float32)


def harsh_light(rng: np.random.Generator) -> tuple[str, Light]:
    """One of five situations that training's lamps (a Gaussian around the viewer's side) seldom are: its name
    and the light.

    `sun` high and hard with blue sky; `window` from one side, the other side nearly dark; `coloured` lamps of
    saturated hue from both sides; `back` light from behind with a weak fill; `flash` from the camera.
    """
    name = str(rng.choice(["sun", "window", "coloured", "back", "flash"], p=[0.3, 0.25, 0.15, 0.15, 0.15]))
    white = np.ones(3)
    side = rng.choice([-1.0, 1.0])
    shadow = float(rng.uniform(0.8, 1.0))
    if name == "sun":
        azimuth, height = rng.uniform(-1.9, 1.9), np.deg2rad(rng.uniform(25, 75))
        direction = np.array(
            [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
        )
        lamps = [lamp(direction, rng.uniform(1.1, 1.8) * np.array([1.0, 0.95, 0.85]))]
        sky = rng.uniform(0.15, 0.4) * np.array([0.85, 0.95, 1.15])
    elif name == "window":
        direction = np.array([side, rng.uniform(0, 0.5), rng.uniform(0, 0.5)])
        lamps = [lamp(direction, rng.uniform(0.9, 1.4) * white)]
        sky = rng.uniform(0.06, 0.18) * white
    elif name == "coloured":
        hues = rng.uniform(0.05, 1.0, (2, 3))
        hues /= hues.max(1, keepdims=True)
        lamps = [
            lamp(np.array([s * rng.uniform(0.5, 1), rng.uniform(-0.2, 0.5), 0.5]), rng.uniform(0.5, 1.1) * h)
            for s, h in zip((side, -side), hues, strict=True)
        ]
        sky = rng.uniform(0.08, 0.2) * white
    elif name == "back":
        lamps = [lamp(np.array([side * rng.uniform(0.3, 1), rng.uniform(0.2, 0.8), -0.6]), 1.8 * white)]
        sky = rng.uniform(0.15, 0.35) * white
    else:
        lamps = [lamp(np.array([0.1 * side, 0.15, 1.0]), rng.uniform(1.2, 1.7) * white)]
        sky = rng.uniform(0.05, 0.15) * white
        shadow = 0.5
    sky = sky.astype(np.float32)
    return name, Light(
        lamps=np.stack(lamps), sky=sky, ground=sky * np.float32(rng.uniform(0.3, 0.8)), shadow=shadow,
        gloss=float(rng.uniform(0.1, 0.45)), shininess=float(rng.uniform(10, 40)),
    )  # fmt: skip
