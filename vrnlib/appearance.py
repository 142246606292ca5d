"""How a synthetic face looks: drawing skin, eyes, hair and light (taught in `notebooks/01_face_databases`).

A :class:`Look` is a person's surface without its shape, a :class:`Light` what falls on it. Teeth, hair and
headwear are put on the head by :func:`vrnlib.props.dress`, pixels are coloured by
:func:`vrnlib.shading.shade`;
both can be taken from here. Colours are linear light, RGB, 0..1 for albedo. Camera frame here: x right, y
up, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vrnlib import surface as s
from vrnlib.hair import HairStyle, sample_style
from vrnlib.props import Headwear, Scene, dress
from vrnlib.shading import shade
from vrnlib.variation import TRAINING, Ranges, Variation, streams

__all__ = [
    "Light", "Look", "Ranges", "Scene", "Variation", "dress", "plain", "sample_light", "sample_look", "shade",
    "to_linear",
]  # fmt: skip

# Ten tones from very light to very dark skin (Monk's scale, sRGB); people are drawn between neighbours.
_TONES = np.array([
    [246, 237, 228], [243, 231, 219], [238, 218, 196], [234, 205, 175], [215, 180, 145],
    [175, 130, 95], [140, 98, 70], [100, 66, 50], [70, 52, 42], [52, 40, 35],
]) / 255.0  # fmt: skip
# Monk's lightest tones are paler than skin under a white lamp; this tint is what blood adds to them.
_BLOOD = np.array([0.93, 0.78, 0.69])
# sRGB; the first three are dark
_HAIR = np.array([
    [15, 12, 10], [35, 24, 18], [62, 42, 28], [95, 66, 42], [140, 105, 65],
    [190, 155, 105], [120, 55, 30], [150, 148, 145], [215, 213, 210],
]) / 255.0  # fmt: skip
# sRGB: three browns, blue, green, a very dark brown
_IRIS = np.array([
    [60, 38, 24], [80, 55, 32], [95, 85, 50], [75, 100, 115], [95, 120, 100], [35, 24, 18],
]) / 255.0  # fmt: skip


_CASTS = np.array([[0.8, 0.1, -0.9], [-0.5, 1.0, -0.5], [0.0, 0.0, 0.0]])


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> linear light 0..1 (power 2.2)."""
    return np.power(srgb, 2.2)


@dataclass(frozen=True)
class Look:
    """Everything about a person's surface that is not shape; colours are (3,) float32 linear RGB 0..1.

    Parameters
    ----------
    skin, lips, hair, iris : the four colours.
    cloth : (4, 3) of the garment, its stripes, the shirt, the tie.
    hat : (1, 3) of the headwear.
    values : (N_VALUES,) float32, indexed by the constants of :mod:`vrnlib.surface`.
    hair_thickness : millimetres of the cap of hair under the locks.
    style : how the locks are cut, None for a shaven or bald head.
    beard_length : millimetres of the beard's locks; 0 is painted stubble or none.
    headwear : None or what is worn.
    seed : of the beard's own unevenness.
    """

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    cloth: np.ndarray
    hat: np.ndarray
    values: np.ndarray
    hair_thickness: float
    style: HairStyle | None
    beard_length: float
    headwear: Headwear | None
    seed: int


@dataclass(frozen=True)
class Light:
    """Lamps and sky in the camera frame.

    Parameters
    ----------
    lamps : (L, 6) float32, each lamp's unit direction (3) and linear RGB (3).
    sky, ground : (3,) float32 linear RGB, from above and from below.
    environment : (9, 3) float32, what windows and walls add to the sky; terms of
        :func:`vrnlib.shading.ambient_terms`.
    shadow : 0 none .. 1 full self-shadow of the first lamps.
    penumbra : mm by which the shadows' edges are soft.
    gloss : specular strength, 0 is matt everywhere.
    shininess : narrowness of the highlight, 6 broad .. 40 narrow.
    scatter : strength of the scattering under skin, 1 as measured for skin.
    """

    lamps: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    shadow: float
    gloss: float
    shininess: float = 20.0
    environment: np.ndarray = None  # type: ignore[assignment]
    penumbra: float = 3.0
    scatter: float = 1.0

    def __post_init__(self) -> None:
        if self.environment is None:
            object.__setattr__(self, "environment", np.zeros((9, 3), np.float32))


def sample_skin(rng: np.random.Generator, ranges: Ranges = TRAINING) -> tuple[np.ndarray, float]:
    """Draw a skin (3,) linear RGB and its place on the scale of tones, 0 the lightest .. 9."""
    t = float(rng.uniform(*ranges.tone))
    i = min(int(t), len(_TONES) - 2)
    srgb = _TONES[i] * (1 - t + i) + _TONES[i + 1] * (t - i)
    pale = np.clip(1 - t / 5, 0, 1)
    srgb = srgb * (1 - pale) + pale * (0.35 * srgb + 0.65 * srgb * _BLOOD)
    srgb = srgb * rng.normal(1, 0.05) * np.exp(rng.normal(0, 0.03) * np.array([0.6, -0.3, -0.8]))
    return to_linear(np.clip(srgb * rng.normal(1, 0.012, 3), 0.03, 0.97)), t


def sample_look(rng: np.random.Generator, *, ranges: Ranges = TRAINING) -> Look:
    """Draw skin over the full human range, hair, brows, beard, eyes, make-up, clothes.

    Each factor has its own child of `rng`, whose own stream does not move.
    """
    r = streams(rng, "skin_tone", "skin_detail", "hair", "beard", "headwear", "clothes")
    skin, tone = sample_skin(r["skin_tone"], ranges)
    values, detail = np.zeros(s.N_VALUES, np.float32), r["skin_detail"]
    _skin_values(values, detail)
    lips = skin * np.array([0.92, detail.uniform(0.5, 0.75), detail.uniform(0.55, 0.8)])
    if detail.random() < 0.12:  # lipstick
        lips = to_linear(
            np.array([detail.uniform(0.4, 0.8), detail.uniform(0.08, 0.3), detail.uniform(0.12, 0.38)])
        )
    # dark skin goes with dark hair more often than not, but not always
    grow = r["hair"]
    pool = len(_HAIR) if tone < 5 or grow.random() < 0.12 else 3
    hair = to_linear(np.clip(_HAIR[grow.integers(pool)] * grow.uniform(0.7, 1.25), 0, 1))
    eye = grow.integers(len(_IRIS)) if tone < 5 else grow.choice([0, 1, 5])
    iris = to_linear(_IRIS[eye] * grow.uniform(0.7, 1.3))
    style, thickness = _hair_values(values, grow)
    bearded = _beard_values(values, r["beard"])
    wear = r["headwear"]
    headwear = _sample_headwear(wear) if wear.random() < ranges.headwear else None
    hat = to_linear(wear.random((1, 3)) * wear.uniform(0.1, 0.9))
    dressed = r["clothes"]
    colour = dressed.random(3) * dressed.uniform(0.1, 0.9)
    if dressed.random() < 0.5:  # muted
        colour = colour * 0.3 + 0.7 * colour.mean()
    suit = dressed.random() < 0.35
    values[s.COLLAR] = dressed.uniform(18, 42) if suit or dressed.random() < 0.25 else 0
    values[s.TIE] = float(suit and dressed.random() < 0.5)
    values[s.STRIPES] = dressed.uniform(0.03, 0.14) if not suit and dressed.random() < 0.25 else 0
    shirt = dressed.uniform(0.75, 0.95) * np.exp(dressed.normal(0, 0.05, 3)) if suit else skin ** (1 / 2.2)
    cloth = to_linear(
        np.clip([colour * (0.4 if suit else 1), dressed.random(3), shirt, dressed.random(3) * 0.6], 0, 1)
    )
    colours = (skin, lips, hair, iris, cloth, hat)
    return Look(
        *(np.ascontiguousarray(a, np.float32) for a in colours), values, thickness, style, bearded, headwear,
        int(grow.integers(2**31)),
    )  # fmt: skip


def _skin_values(values: np.ndarray, rng: np.random.Generator) -> None:
    age = rng.beta(1.2, 1.6)
    values[s.FOLDS] = 0.15 + 0.85 * age
    values[s.CIRCLES] = rng.uniform(0.0, 0.12) + 0.12 * age
    values[s.FRECKLES] = rng.uniform(0.1, 0.5) if rng.random() < 0.15 else 0.0
    values[s.MOTTLE] = rng.uniform(0.02, 0.08)
    values[s.BLUSH] = rng.uniform(0.05, 0.55)
    values[s.LINER] = rng.uniform(0.25, 0.9)
    values[s.PUPIL] = rng.uniform(1.5, 3.0)
    values[s.RELIEF] = rng.uniform(0.0, 0.05) + 0.03 * age
    values[s.TEETH_SHADE] = rng.uniform(0, 1)
    values[s.NOISE_U], values[s.NOISE_V] = rng.uniform(0, 256, 2)


def _hair_values(values: np.ndarray, rng: np.random.Generator) -> tuple[HairStyle | None, float]:
    values[s.BROW_THICKNESS] = rng.uniform(2.2, 5.0)
    values[s.BROW_OPACITY] = rng.uniform(0.35, 0.95)
    values[s.BROW_HEIGHT] = rng.normal(0, 1.2)
    values[s.BROW_ARCH] = rng.uniform(3.0, 7.0)
    values[s.HAIR_NOISE] = rng.uniform(0.2, 0.5)
    receding = rng.random() < 0.15
    values[s.HAIRLINE] = rng.uniform(78, 110) if receding else rng.uniform(48, 72)
    values[s.HAIRLINE_CURVE] = rng.uniform(4, 26)
    values[s.SIDE] = rng.uniform(-56, -40)
    style = sample_style(rng)
    kind = rng.random()
    if kind < 0.06:  # bald
        return None, 0.0
    if kind < 0.14:  # clipped to the skin
        values[s.SCALP] = rng.uniform(0.25, 0.8)
        return None, 0.0
    values[s.SCALP] = 1.0
    return style, 0.6 * style.lift


def _beard_values(values: np.ndarray, rng: np.random.Generator) -> float:
    # 55 % shaven or without, 20 % stubble, 25 % bearded; returns the length of the locks, mm
    kind = rng.random()
    values[s.BEARD_HEIGHT] = rng.uniform(-8, 8)
    values[s.STUBBLE_NOISE] = rng.uniform(0.1, 0.7)
    if kind < 0.2:
        values[s.BEARD] = rng.uniform(0.06, 0.4)
        values[s.MOUSTACHE] = values[s.BEARD] * rng.uniform(0.5, 1.2)
        return 0.0
    if kind > 0.45:
        return 0.0
    values[s.BEARD] = rng.uniform(0.4, 0.97) if rng.random() < 0.8 else 0.0
    values[s.MOUSTACHE] = rng.uniform(0.4, 0.97) if rng.random() < 0.85 else 0.1
    return float(rng.uniform(8, 60)) if values[s.BEARD] > 0.65 and rng.random() < 0.5 else 0.0


def _sample_headwear(rng: np.random.Generator) -> Headwear:
    kind = str(rng.choice(["beanie", "cap", "hat", "hood"]))
    brim = {"cap": rng.uniform(45, 75), "hat": rng.uniform(35, 80)}.get(kind, 0.0)
    return Headwear(
        kind,
        float(rng.uniform(36, 62)),
        float(rng.uniform(3, 12)),
        float(brim),
        float(rng.uniform(0.75, 1.15)),
    )


def sample_light(rng: np.random.Generator, *, ranges: Ranges = TRAINING) -> Light:
    """Draw one to three lamps, a sky and a room: soft or harsh, tinted, from anywhere on the viewer's side
    and a little behind.
    """
    room = rng.spawn(1)[0]
    n = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    direction = rng.normal(size=(n, 3)) * [1.0, 0.7, 0.6] + [0, 0.35, 0.55 - 1.5 * ranges.behind]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    warm = np.exp(rng.normal(0, 0.12, (n, 1)) * np.array([1, 0, -1]))
    power = rng.uniform(*ranges.key, (n, 1)) * np.array([1.0, 0.5, 0.4])[:n, None]
    # lamps and skies differ between blue and yellow far more than between green and magenta
    tint = np.exp(rng.normal(0, 0.15, 3) * [1.0, 0.25, 0.0] @ _CASTS * rng.choice([0.3, 1.0]))
    ambient = rng.uniform(*ranges.ambient)
    return Light(
        lamps=np.concatenate([direction, power * warm], 1).astype(np.float32),
        sky=(ambient * tint).astype(np.float32),
        ground=(ambient * rng.uniform(0.3, 0.9) * tint).astype(np.float32),
        shadow=float(rng.choice([0.0, rng.uniform(*ranges.shadow)], p=[0.35, 0.65]))
        or float(room.uniform(0.5, 1)),
        gloss=float(rng.uniform(*ranges.gloss)),
        shininess=float(rng.uniform(6, 40)),
        environment=_room(room, ambient),
        penumbra=float(room.uniform(1.0, 7.0)),
        scatter=float(room.uniform(0.6, 1.4)),
    )


def _room(rng: np.random.Generator, ambient: float) -> np.ndarray:
    # Up to three broad sources (windows, bright walls): (0.5 + 0.5 d.n)^2 each, as terms of the normal.
    out = np.zeros((9, 3))
    for _ in range(int(rng.integers(0, 4))):
        x, y, z = d = rng.normal(size=3) * [1, 0.7, 1]
        x, y, z = d / np.linalg.norm(d)
        # x^2 a + y^2 b + z^2 c with x^2 + y^2 = 1 - z^2: the constant (a + b)/2, z^2 c - (a + b)/2, (x^2 -
        # y^2)(a - b)/2
        a, b, c = x * x, y * y, z * z
        terms = np.array(
            [
                1 + (a + b) / 2,
                2 * x,
                2 * y,
                2 * z,
                2 * x * y,
                2 * x * z,
                2 * y * z,
                c - (a + b) / 2,
                (a - b) / 2,
            ]
        )
        colour = np.exp(rng.normal(0, 0.15) * np.array([1, 0, -1])) * np.exp(rng.normal(0, 0.06, 3))
        out += terms[:, None] / 4 * colour * rng.uniform(0.1, 1.2) * ambient
    return out.astype(np.float32)


def plain(look: Look, light: Light, variation: Variation) -> tuple[Look, Light]:
    """Look and light with the factors that are switched off at their plainest."""
    return plain_look(look, variation), plain_light(light, variation)


def plain_look(look: Look, variation: Variation) -> Look:
    """A look with the factors that are switched off at their plainest."""
    values = look.values.copy()
    if not variation.skin_tone:
        skin = to_linear(_TONES[4]).astype(np.float32)
        look = replace(look, skin=skin, lips=(skin * [0.92, 0.62, 0.68]).astype(np.float32))
    if not variation.skin_detail:
        values[[s.FOLDS, s.CIRCLES, s.FRECKLES, s.MOTTLE, s.BLUSH, s.RELIEF]] = 0
    if not variation.hair:
        values[s.SCALP] = 0
        look = replace(look, style=None, hair_thickness=0.0)
    if not variation.beard:
        values[[s.BEARD, s.MOUSTACHE]] = 0
        look = replace(look, beard_length=0.0)
    if not variation.headwear:
        look = replace(look, headwear=None)
    return replace(look, values=values)


def plain_light(light: Light, variation: Variation) -> Light:
    """A light with the factors that are switched off at their plainest."""
    if not variation.light:
        lamp = np.array([[0.0, 0.28, 0.96, 0.7, 0.7, 0.7]], np.float32)
        even = np.full(3, 0.5, np.float32)
        light = replace(
            light, lamps=lamp, sky=even, ground=even * 0.8, environment=np.zeros((9, 3), np.float32)
        )
    if not variation.shadow:
        light = replace(light, shadow=0.0)
    if not variation.specular:
        light = replace(light, gloss=0.0)
    if not variation.softness:
        light = replace(light, scatter=0.0)
    return light
