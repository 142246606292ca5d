"""How a synthetic face looks: drawing skin, eyes, hair and light (taught in `notebooks/01_face_databases`).

A :class:`Look` is a person's surface without its shape, a :class:`Light` what falls on it. Teeth and hair are
put on the head by :func:`vrnlib.props.dress`, pixels are coloured by :func:`vrnlib.shading.shade`; both can
be taken from here. Colours are linear light, RGB, 0..1 for albedo. Camera frame here: x right, y up, z
towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vrnlib.props import Scene, dress
from vrnlib.shading import (
    BEARD,
    BEARD_HEIGHT,
    BLUSH,
    BROW_HEIGHT,
    BROW_OPACITY,
    BROW_THICKNESS,
    FRECKLES,
    HAIR_NOISE,
    HAIRLINE,
    HAIRLINE_CURVE,
    LID_SHADE,
    LINER,
    MOTTLE,
    MOUSTACHE,
    N_VALUES,
    NOISE_U,
    NOISE_V,
    PUPIL,
    SCALP,
    SIDE,
    STUBBLE_NOISE,
    shade,
)

__all__ = ["Light", "Look", "Scene", "dress", "sample_light", "sample_look", "shade", "to_linear"]

# Ten tones from very light to very dark skin (Monk's scale, sRGB); people are drawn between neighbours.
_TONES = np.array([
    [246, 237, 228], [243, 231, 219], [238, 218, 196], [234, 205, 175], [215, 180, 145],
    [175, 130, 95], [140, 98, 70], [100, 66, 50], [70, 52, 42], [52, 40, 35],
]) / 255.0  # fmt: skip
# sRGB; the first three are dark
_HAIR = np.array([
    [15, 12, 10], [35, 24, 18], [62, 42, 28], [95, 66, 42], [140, 105, 65],
    [190, 155, 105], [120, 55, 30], [150, 148, 145], [215, 213, 210],
]) / 255.0  # fmt: skip
# sRGB: three browns, blue, green, a very dark brown
_IRIS = np.array([
    [60, 38, 24], [80, 55, 32], [95, 85, 50], [75, 100, 115], [95, 120, 100], [35, 24, 18],
]) / 255.0  # fmt: skip


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> linear light 0..1 (power 2.2)."""
    return np.power(srgb, 2.2)


@dataclass(frozen=True)
class Look:
    """Everything about a person's surface that is not shape; colours are (3,) float32 linear RGB 0..1.

    Parameters
    ----------
    skin, lips, hair, iris : the four colours.
    values : (N_VALUES,) float32, indexed by the constants of :mod:`vrnlib.shading`.
    hair_thickness : millimetres of the cap of hair over the scalp; 0 is shaven.
    long_hair : None, or its length below the eyes in mm, its extra thickness in mm, and half the opening at
        the front in radians.
    """

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    values: np.ndarray
    hair_thickness: float
    long_hair: tuple[float, float, float] | None


@dataclass(frozen=True)
class Light:
    """Lamps and sky in the camera frame.

    Parameters
    ----------
    lamps : (L, 6) float32, each lamp's unit direction (3) and linear RGB (3).
    sky, ground : (3,) float32 linear RGB, from above and from below.
    shadow : 0 none .. 1 full self-shadow of the first lamp.
    gloss : specular strength, 0 is matt.
    shininess : exponent of the highlight.
    """

    lamps: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    shadow: float
    gloss: float
    shininess: float = 20.0


def sample_look(rng: np.random.Generator) -> Look:
    """Draw skin over the full human range, hair, brows, beard, eyes, make-up."""
    t = rng.uniform(0, len(_TONES) - 1)
    i = min(int(t), len(_TONES) - 2)
    srgb = _TONES[i] * (1 - t + i) + _TONES[i + 1] * (t - i)
    srgb = np.clip(srgb * rng.normal(1, 0.05) * rng.normal(1, 0.035, 3), 0.03, 0.97)
    skin = to_linear(srgb)
    lips = skin * np.array([0.95, rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.8)])
    if rng.random() < 0.12:  # lipstick
        lips = to_linear(np.array([rng.uniform(0.4, 0.85), rng.uniform(0.05, 0.3), rng.uniform(0.1, 0.4)]))
    # dark skin goes with dark hair more often than not, but not always
    pool = len(_HAIR) if t < 5 or rng.random() < 0.15 else 3
    hair = to_linear(np.clip(_HAIR[rng.integers(pool)] * rng.uniform(0.7, 1.3), 0, 1))
    eye = rng.integers(len(_IRIS)) if t < 5 else rng.choice([0, 1, 5])
    iris = to_linear(_IRIS[eye] * rng.uniform(0.7, 1.3))
    values = _sample_values(rng)
    thickness = 0.0 if rng.random() < 0.2 else rng.uniform(2, 26) * rng.uniform(0.3, 1)
    long_hair = None
    if values[SCALP] and rng.random() < 0.4:
        long_hair = (rng.uniform(-10, 200), rng.uniform(4, 26), rng.uniform(0.9, 1.5))
    return Look(*(a.astype(np.float32) for a in (skin, lips, hair, iris)), values, thickness, long_hair)


def _sample_values(rng: np.random.Generator) -> np.ndarray:
    # Look.values; the order of the draws is part of the data's version
    bearded = rng.random() < 0.3
    draws = {
        BROW_THICKNESS: rng.uniform(2.0, 5.5),
        BROW_OPACITY: rng.uniform(0.25, 0.95),
        BROW_HEIGHT: rng.normal(0, 1.2),
        MOUSTACHE: rng.uniform(0, 0.9) if bearded else 0.0,
        BEARD: rng.uniform(0.1, 0.95) if bearded else rng.choice([0, 0.12]),
        BEARD_HEIGHT: rng.uniform(-8, 8),
        STUBBLE_NOISE: rng.uniform(0.1, 0.6),
        HAIRLINE: rng.uniform(44, 84),
        HAIRLINE_CURVE: rng.uniform(0, 30),
        SIDE: rng.uniform(-56, -38),
        FRECKLES: rng.uniform(0.2, 0.8) if rng.random() < 0.15 else 0.0,
        MOTTLE: rng.uniform(0.03, 0.16),
        BLUSH: rng.uniform(0, 0.35),
        LINER: rng.uniform(0.0, 0.8),
        PUPIL: rng.uniform(1.5, 3.0),
        NOISE_U: rng.uniform(0, 256),
        NOISE_V: rng.uniform(0, 256),
        LID_SHADE: rng.uniform(0, 0.3),
        HAIR_NOISE: rng.uniform(0.15, 0.6),
        SCALP: 1.0 if rng.random() < 0.88 else 0.0,
    }
    values = np.zeros(N_VALUES, np.float32)
    for index, value in draws.items():
        values[index] = value
    return values


def sample_light(rng: np.random.Generator) -> Light:
    """Draw one to three lamps and a sky: soft or harsh, tinted, from anywhere on the viewer's side and a
    little behind.
    """
    n = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    direction = rng.normal(size=(n, 3)) * [1.0, 0.7, 0.6] + [0, 0.35, 0.55]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    warm = np.exp(rng.normal(0, 0.12, (n, 1)) * np.array([1, 0, -1]))
    power = rng.uniform(0.3, 1.3, (n, 1)) * np.array([1.0, 0.5, 0.4])[:n, None]
    tint = np.exp(rng.normal(0, 0.15, 3) * rng.choice([0.3, 1.0]))
    ambient = rng.uniform(0.12, 0.8)
    return Light(
        lamps=np.concatenate([direction, power * warm], 1).astype(np.float32),
        sky=(ambient * tint).astype(np.float32),
        ground=(ambient * rng.uniform(0.3, 0.9) * tint).astype(np.float32),
        shadow=float(rng.choice([0.0, rng.uniform(0.4, 1.0)], p=[0.35, 0.65])),
        gloss=float(rng.uniform(0.0, 0.35)),
        shininess=float(rng.uniform(6, 40)),
    )
