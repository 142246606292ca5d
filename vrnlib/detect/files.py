"""Weight files that a user brings: found, checked by their SHA-256, never downloaded behind anyone's back.

Those that a package registry has are fetched by `vrnlib.detect.fetch`, when one asks for it.
What the files of ``face-alignment`` should hash to stands in their names, as is the custom of ``torch.hub``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vrnlib.errors import VrnError
from vrnlib.provenance import sha256

FAN_SOURCE = "https://www.adrianbulat.com/downloads/python-fan/"


@dataclass(frozen=True)
class WeightFile:
    """A file that a detector needs.

    Attributes
    ----------
    name : its file name.
    sha256 : its checksum, or the beginning of it.
    remedy : where it is to be had.
    """

    name: str
    sha256: str
    remedy: str


def _named(name: str) -> WeightFile:
    """A file whose checksum stands in its name: ``s3fd-619a316812.pth``."""
    found = re.search(r"-([0-9a-f]{8,64})\.", name)
    assert found, name
    return WeightFile(name, found[1], f"download it from {FAN_SOURCE}")


S3FD = _named("s3fd-619a316812.pth")
FAN_2D = _named("2DFAN4-11f355bf06.pth.tar")
_REMEDY = "fetch it with `python -m vrnlib.detect.fetch mediapipe` (needs npm)"
BLAZEFACE = WeightFile(
    "face_detection_short_range.tflite",
    "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    _REMEDY,
)
FACE_MESH = WeightFile(
    "face_landmark.tflite", "c603fa6149219a3e9487dc9abd7a0c24474c77263273d24868378cdf40aa26d1", _REMEDY
)
PACKAGE = "@mediapipe/face_mesh@0.4.1657299874"
PACKED = "package/face_mesh_solution_packed_assets.data"
"""Member of that package that holds both files, and where in it:"""
PLACES = {BLAZEFACE: (3757224, 3986256), FACE_MESH: (2495952, 3737848)}


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/vrnlib`` or ``~/.cache/vrnlib``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vrnlib"


def find(file: WeightFile, folder: str | Path | None, default: Path, advice: str = "") -> Path:
    """Path of a weight file, its checksum verified.

    Parameters
    ----------
    folder : the user's folder; None looks into `default`.
    advice : what else the user may do if the file is missing.

    Raises
    ------
    VrnError
        It is not there, or has another checksum.
    """
    place = Path(folder) if folder is not None else default
    if folder is not None and not place.is_dir():
        raise VrnError(f"--weights '{place}' is not a folder: name the one that holds {file.name}")
    path = place / file.name
    if not path.is_file():
        other = "" if folder is not None else " (or name another folder with --weights)"
        raise VrnError(
            f"the weights {file.name} are not in '{place}': {file.remedy} and put it there{other}{advice}"
        )
    found = sha256(path)
    if not found.startswith(file.sha256):
        raise VrnError(
            f"the weights '{path}' are damaged: their SHA-256 begins with {found[: len(file.sha256)][:12]}, "
            f"{file.sha256[:12]} was expected; {file.remedy} again{advice}"
        )
    return path
