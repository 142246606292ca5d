"""The reference scale of each kind of box and of landmarks: constants that were measured, read from a file.

The file is made by ``python -m vrnlib.detect.calibrate``; nothing in it is typed.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vrnlib.detect.interface import Reference
from vrnlib.errors import VrnError
from vrnlib.provenance import read_json

PATH = Path(__file__).resolve().parents[1] / "data" / "detectors.json"
KINDS = ("boxes", "landmarks")


@lru_cache(maxsize=4)
def load(path: Path = PATH) -> dict[str, Any]:
    """The measured constants: `boxes` and `landmarks`, by name; `provenance`.

    Raises
    ------
    VrnError : the file is missing or not of this form.
    """
    content = read_json(path)
    try:
        for kind in KINDS:
            for name in content[kind]:
                _reference(content[kind][name])
    except (KeyError, TypeError, ValueError) as error:
        raise VrnError(
            f"'{path}' is damaged ({error!r}): make it again with `python -m vrnlib.detect.calibrate`"
        ) from None
    return content


def reference(kind: str, name: str, path: Path | None = None) -> Reference:
    """The reference of boxes or landmarks; one that was never measured changes nothing.

    Parameters
    ----------
    kind : "boxes" or "landmarks"
    name : of the finder: ``hog``, ``lbp``, ``blazeface``, ``sfd``; ``dlib``, ``network``, ``2dfan``.
    """
    path = PATH if path is None else path
    if not path.is_file():
        return Reference()
    entry = load(path)[kind].get(name)
    return Reference() if entry is None else _reference(entry)


def mesh_points(path: Path | None = None) -> NDArray[np.int64]:
    """(68,) which of FaceMesh's 468 points stands for each landmark.

    Raises
    ------
    VrnError : it was never measured.
    """
    path = PATH if path is None else path
    found = np.asarray(load(path).get("facemesh", []), np.int64)
    if found.shape != (68,) or found.min() < 0 or found.max() >= 468:
        raise VrnError(
            f"'{path}' does not say which points of FaceMesh are landmarks: make it again with "
            "`python -m vrnlib.detect.calibrate`"
        )
    return found


def _reference(entry: dict[str, Any]) -> Reference:
    x, y = map(float, entry["shift"])
    scale = float(entry["scale"])
    if not 0.2 < scale < 5:
        raise ValueError(f"scale {scale}")
    return Reference(scale, (x, y))
