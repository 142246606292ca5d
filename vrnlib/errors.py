"""The one exception that is meant for the eyes of a user.

Everything a user can cause (a bad file, a wrong parameter, a missing model) ends in a `VrnError` whose
message is one clear sentence: what was wrong, where, and what to do about it. The command line prints it
without a traceback and exits with code 2. Any other exception is a defect of this library and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VrnError(Exception):
    """A problem that the user can solve, described in one sentence."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to `word`, or an empty string.

    Parameters
    ----------
    word : str
        What the user wrote.
    known : iterable of str
        What could have been meant.
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""
