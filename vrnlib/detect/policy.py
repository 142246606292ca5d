"""Which of the faces in a photograph to take.

The pipeline of the review stops unless the photograph shows exactly one face (its Sec. 2). Here no face is an
error that says what to do, and among several the largest is taken unless the user wants another, or all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vrnlib.detect.interface import Detection
from vrnlib.errors import VrnError

POLICIES = ("largest", "all", "only")


def choose(
    found: Sequence[Detection], face: str | int = "largest", where: str = "the photograph"
) -> list[Detection]:
    """Pick faces by policy.

    Parameters
    ----------
    found : sequence of Detection
    face : "largest", "all", "only" or N
        The face with the largest box; all, from left to right; the only one, refusing a photograph with
        several as the review does; or the N-th from the left, counted from 1 (an int or its digits).
    where : str
        Names the photograph in messages.

    Raises
    ------
    VrnError
        For no face at all, an N beyond the number of faces, several where one is wanted, or a policy that
        does not exist.
    """
    face = parse_policy(face)
    if not found:
        raise VrnError(
            f"no face was found in {where}: use a photograph where the face is upright, looks roughly "
            "at the camera and is at "
            "least 80 pixels wide, or draw a box round the face with --box x0,y0,x1,y1 (in Python: box=)"
        )
    ordered = sorted(found, key=lambda d: (d.box[0] + d.box[2], d.box[1]))
    if face == "all":
        return ordered
    if face == "largest":
        return [max(ordered, key=lambda d: (d.box[2] - d.box[0]) * (d.box[3] - d.box[1]))]
    if face == "only":
        if len(ordered) > 1:
            raise VrnError(
                f"{len(ordered)} faces were found in {where}, and --face only wants exactly one: choose "
                f"--face largest, all, or 1 to {len(ordered)} (from the left)"
            )
        return ordered
    if face > len(ordered):
        number = "only one face was" if len(ordered) == 1 else f"only {len(ordered)} faces were"
        raise VrnError(
            f"there is no face {face} in {where}, {number} found: choose --face 1 to {len(ordered)} "
            "(from the left), "
            "largest or all"
        )
    return [ordered[face - 1]]


def parse_policy(face: str | int) -> Literal["largest", "all", "only"] | int:
    """Check a policy of `choose`: one of `POLICIES`, or a number from 1, as an int or its digits.

    Raises
    ------
    VrnError
        For anything else.
    """
    text = str(face)
    if text in POLICIES:
        return text
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise VrnError(
        f"face '{face}' is not a choice: use only, largest, all, or a number counted from 1 at the left"
    )
