"""Typed profiles and parameters, checked strictly.

One code path serves every scale of this project; only the values below change. `PROFILES` holds the three
scales, and `strict` turns a mapping (from a file, a command line, a notebook) into a dataclass, refusing what
it does not know. The notebook ``00_start_here`` shows the table of profiles.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from vrnlib.errors import VrnError, did_you_mean

T = TypeVar("T")
Wiring = Literal["low", "skip"]
Kind = Literal["vrn", "multitask", "guided", "landmarks"]
"""The networks of the paper (its Fig. 4): VRN, VRN-Multitask, VRN-Guided, and the detector of the latter."""


def depth_of(size: int) -> int:
    """Number of depth voxels of a volume `size` pixels wide: 200 for 192 (Jackson et al. 2017, Sec. 3.2),
    made even.

    Depth voxels are half a pixel deep, so 192 -> 200, 96 -> 100, 32 -> 34.
    """
    return 2 * round(size * 200 / 192 / 2)


@dataclass(frozen=True)
class Profile:
    """One scale of the experiment: the volume, the network, the batch.

    Attributes
    ----------
    name : str
        ``smoke`` (tests, seconds), ``laptop`` (trained here, two CPU cores) or ``paper`` (the published
        size).
    size : int
        Side of the square input crop, and of the volume in x and y, in pixels.
    depth : int
        Depth voxels of the volume, each half a pixel: a volume is (D, H, W) = (depth, size, size).
    features : int
        Channels of the residual modules (256 in the paper).
    modules : int
        Residual modules at each place of an hourglass (3 in the released network).
    stacks : int
        Hourglasses in a row (2 in the paper).
    levels : int
        Recursion depth of an hourglass (4 in the paper).
    wiring : "low" or "skip"
        Where the next hourglass is nested: in the pooled branch (``low``, the figure of the paper) or in the
        branch that is not pooled (``skip``, what the released network does).
    batch_size : int
        Faces a training step.
    refine : int
        Residual modules at half the crop's resolution before the last convolution (0 in the paper).
    guided_modules : int
        In place of `modules` for VRN-Guided and its landmark network (4 in the thesis' table; the released
        unguided network has 3).
    """

    name: str
    size: int
    depth: int
    features: int
    modules: int
    stacks: int
    levels: int
    wiring: Wiring
    batch_size: int
    refine: int = 0
    guided_modules: int = 4


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(
            "smoke",
            32,
            depth_of(32),
            features=16,
            modules=1,
            stacks=2,
            levels=2,
            wiring="low",
            batch_size=4,
            guided_modules=1,
        ),
        Profile(
            "laptop",
            96,
            depth_of(96),
            features=128,
            modules=2,
            stacks=2,
            levels=3,
            wiring="low",
            batch_size=8,
            refine=1,
            guided_modules=2,
        ),
        Profile(
            "paper",
            192,
            depth_of(192),
            features=256,
            modules=3,
            stacks=2,
            levels=4,
            wiring="skip",
            batch_size=6,
        ),
    )
}


def profile(name: str) -> Profile:
    """Return the profile called `name`.

    Raises
    ------
    VrnError
        If there is no such profile.
    """
    if name not in PROFILES:
        raise VrnError(
            f"unknown profile '{name}'{did_you_mean(str(name), PROFILES)}: "
            f"choose one of {', '.join(PROFILES)}"
        )
    return PROFILES[name]


def strict(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `cls` from `values`, refusing unknown names, missing names and wrong types.

    Parameters
    ----------
    cls : dataclass type
        Its annotations are the schema. Understood: plain classes, ``X | None``, unions, ``Literal``,
        ``tuple[...]``, ``list[...]``, ``dict[...]`` and ``Any``. An int is not a bool; a float field accepts
        (and converts) an int; a tuple field accepts a list, which is what JSON makes of a tuple.
    values : mapping
        Field name -> value.
    where : str
        Names the source in messages, for example ``params.json`` or ``notebook 03_train_vrn``.

    Raises
    ------
    VrnError
        With every problem found, in one message.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    problems, good = [], {}
    for key, value in values.items():
        if key not in fields:
            problems.append(f"unknown parameter '{key}'{did_you_mean(str(key), fields)}")
            continue
        try:
            good[key] = conform(value, hints[key])
        except TypeError:
            problems.append(f"'{key}' must be {describe(hints[key])}, not {_shown(value)}")
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not optional:
            problems.append(f"missing parameter '{name}'")
    if problems:
        raise VrnError(f"{where}: {'; '.join(problems)}; known parameters: {', '.join(fields)}")
    return cls(**good)


def conform(value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint` wants it, or raise TypeError. See `strict` for the rules."""
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        # 1 == True in Python: compare the types as well
        if any(value == a and type(value) is type(a) for a in arguments):
            return value
    elif origin in (typing.Union, types.UnionType):
        # exact matches first, so that `float | int` leaves an int alone
        for member in sorted(arguments, key=lambda m: m is not type(value)):
            try:
                return conform(value, member)
            except TypeError:
                continue
    elif origin is tuple or hint is tuple:
        if isinstance(value, (tuple, list)):
            if not arguments:
                return tuple(value)
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return tuple(conform(v, arguments[0]) for v in value)
            if len(arguments) == len(value):
                return tuple(conform(v, a) for v, a in zip(value, arguments, strict=True))
    elif origin is list:
        if isinstance(value, list):
            return [conform(v, arguments[0]) for v in value]
    elif origin is dict:
        if isinstance(value, Mapping):
            return {conform(k, arguments[0]): conform(v, arguments[1]) for k, v in value.items()}
    elif hint is None or hint is type(None):
        if value is None:
            return value
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise TypeError(f"{value!r} is not {describe(hint)}")


def describe(hint: Any) -> str:
    """Say the type `hint` in words for users: ``int``, ``one of 'low', 'skip'``, ``float or None``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in arguments)
    if hint is type(None):
        return "None"
    return str(hint) if origin else getattr(hint, "__name__", str(hint))


def _shown(value: Any) -> str:
    """A value with its type, cut to a length that fits in a message."""
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
