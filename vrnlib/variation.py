"""What may vary in a drawn photograph, and how far (taught in `notebooks/01_face_databases`).

:class:`Variation` switches the factors of appearance one by one, for an ablation; :class:`Ranges` shifts
them, for test databases that are harder than, or just unlike, the training data. Every factor draws from a
generator of its own (:func:`streams`), so a switch never changes what the other factors look like.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vrnlib.errors import VrnError


@dataclass(frozen=True)
class Variation:
    """One switch a factor; a factor that is off takes its plainest value, it does not vanish."""

    skin_tone: bool = True  # off: everybody has one medium skin
    skin_detail: bool = True  # mottling, freckles, blush, folds, pores, make-up
    softness: bool = True  # light that scatters under the skin
    light: bool = True  # off: one white lamp near the camera and an even sky
    shadow: bool = True  # shadows that nose, brow, hair and chin cast
    specular: bool = True  # highlights on skin, lips and hair
    hair: bool = True
    beard: bool = True  # beard, moustache and stubble
    headwear: bool = True  # caps, hats, hoods, head scarves
    glasses: bool = True
    occluders: bool = True  # hands, microphones, things
    clothes: bool = True  # off: the neck ends in the air
    background: bool = True  # off: mid-grey
    exposure: bool = True  # exposure, contrast, tone curve
    white_balance: bool = True  # colour cast, saturation, black and white
    blur: bool = True  # defocus, motion, low resolution
    noise: bool = True
    jpeg: bool = True

    @classmethod
    def without(cls, *names: str) -> Variation:
        """Everything on but the named factors. Raises VrnError for an unknown name."""
        known = factors()
        for name in names:
            if name not in known:
                raise VrnError(f"there is no factor of appearance {name!r}: choose from {', '.join(known)}")
        return cls(**dict.fromkeys(names, False))

    @classmethod
    def only(cls, *names: str) -> Variation:
        """Everything off but the named factors. Raises VrnError for an unknown name."""
        cls.without(*names)
        return cls(**{name: name in names for name in factors()})


@dataclass(frozen=True)
class Ranges:
    """How far appearance varies: (low, high) of uniform draws, or probabilities.

    The defaults are those of training. Tests shift them: `Ranges(tone=(6, 9), key=(1, 2), ambient=(0.05,
    0.2))` is dark skin in harsh light.
    """

    tone: tuple[float, float] = (0.0, 9.0)  # place on a scale of ten skin tones, 0 the lightest
    ambient: tuple[float, float] = (0.12, 0.8)  # sky, linear; lamps are about 1
    key: tuple[float, float] = (0.3, 1.3)  # power of the first lamp
    shadow: tuple[float, float] = (0.4, 1.0)  # depth of cast shadows, where there are any
    behind: float = 0.0  # shift of the lamps: 0 as in training, 1 mostly behind the head
    gloss: tuple[float, float] = (0.0, 0.35)
    headwear: float = 0.1  # probabilities
    glasses: float = 0.15
    occluder: float = 0.15
    monochrome: float = 0.07
    exposure: float = 0.3  # SD of ln(exposure)
    cast: float = 0.08  # SD of ln(gain) of red against blue
    blur: tuple[float, float] = (0.2, 0.75)  # SD in pixels of the 96-pixel window, 30 % of the pictures
    noise: tuple[float, float] = (0.0, 0.045)  # SD, white is 1; mostly near the lower end
    quality: tuple[int, int] = (25, 95)  # JPEG, 40 % of the pictures


EVERYTHING = Variation()
"""All factors vary."""
TRAINING = Ranges()
"""As far as in training."""
_FACTORS = tuple(f.name for f in fields(Variation))


def factors() -> tuple[str, ...]:
    """Names of the factors, in the order of their generators."""
    return _FACTORS


def streams(rng: np.random.Generator, *names: str) -> dict[str, np.random.Generator]:
    """A generator for each of these factors. `rng` itself stays where it was: spawning takes nothing from its
    stream.
    """
    seeds = rng.bit_generator.seed_seq.spawn(
        len(_FACTORS)
    )  # of all: a factor's place must not depend on `names`
    return {name: np.random.default_rng(seeds[_FACTORS.index(name)]) for name in names}
