"""The authors' evaluation mask: which vertices of the morphable model are "the face region".

Jackson et al. score about 19,000 points of the face. The exact set, 19,618 of the 53,215 vertices, is stored
beside the results in the source of Jackson's thesis. It is fetched at run time, its hash is checked, and it
is kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

import numpy as np

from vrnlib.databases import matfile
from vrnlib.errors import VrnError
from vrnlib.provenance import replacing, sha256

URL = (
    "https://raw.githubusercontent.com/AaronJackson/thesis/df1ee3551c319dc9b2840d4b0fd48690b2bf6e8c/"
    "chapter_faces/ablation/florence_detected.mat"
)
SHA256 = "c3c4a22b1028a079d6268d17932610ea0663ba8cefe692cc8a720056c8fe51de"
N_VERTICES = 53215
"""Vertices of the model that the mask belongs to."""
N_MASK = 19618
"""Vertices in the mask."""
_LIMIT = 1 << 20  # bytes; the file has 414,400
_TIMEOUT = 30.0  # seconds


def cache_path() -> Path:
    """Where the mask is kept: ``$XDG_CACHE_HOME/vrnlib`` or ``~/.cache/vrnlib``."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vrnlib" / "florence_detected.mat"
    )


def evaluation_mask(path: str | Path | None = None, url: str = URL) -> np.ndarray:
    """Indices (19618,) int64 of the mask's vertices in the 53,215-vertex order of 3DDFA, ascending, from 0.

    Parameters
    ----------
    path : a copy of `florence_detected.mat`; None takes the one in the cache, or fetches it.

    Raises
    ------
    VrnError : offline and not in the cache, another file than the authors', or one that can't be read.
    """
    source = Path(path) if path is not None else cache_path()
    if path is None and not source.is_file():
        _fetch(url, source)
    found = sha256(source)
    if found != SHA256:
        hint = "give the authors' file" if path is not None else "delete it, it will be fetched again"
        raise VrnError(f"'{source}' is not the authors' evaluation mask (sha256 {found[:12]}...): {hint}")
    flags = matfile.load(source, {"vertexfilter": (N_VERTICES, 1)})["vertexfilter"]
    ids = np.flatnonzero(flags[:, 0])
    if len(ids) != N_MASK:
        raise VrnError(f"'{source}' marks {len(ids)} vertices, the authors' mask has {N_MASK}")
    return ids.astype(np.int64)


def _fetch(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            data = answer.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise VrnError(
            f"the authors' evaluation mask can't be fetched ({error}): go online once, or save {url} as "
            f"'{target}'"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise VrnError(
            f"{url} is not the authors' file any more (sha256 {found[:12]}..., expected {SHA256[:12]}...): "
            f"nothing was kept; if you have a copy, save it as '{target}'"
        )
    with replacing(target) as temporary:
        temporary.write_bytes(data)
