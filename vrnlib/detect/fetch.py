"""Fetch the weight files of detectors that a package registry has: MediaPipe's two face networks.

python -m vrnlib.detect.fetch mediapipe
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from vrnlib.detect.files import PACKAGE, PACKED, PLACES, cache_folder
from vrnlib.errors import VrnError
from vrnlib.provenance import replacing, sha256


def fetch_mediapipe(folder: str | Path | None = None) -> list[Path]:
    """Fetch `BLAZEFACE` and `FACE_MESH` (Google, Apache-2.0) through npm, unless they are there.

    Raises
    ------
    VrnError : npm is missing or can't fetch the package, or the package holds something else.
    """
    place = Path(folder) if folder is not None else cache_folder()
    targets = {file: place / file.name for file in PLACES}
    if all(path.is_file() and sha256(path) == file.sha256 for file, path in targets.items()):
        return list(targets.values())
    npm = shutil.which("npm")
    if npm is None:
        raise VrnError(f"npm is needed to fetch {PACKAGE}: install it, or use another detector")
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(
            [npm, "pack", PACKAGE], cwd=temporary, capture_output=True, text=True, timeout=600
        )
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not archives:
            said = done.stderr.strip().splitlines()[-1:]
            raise VrnError(f"npm could not fetch {PACKAGE} ({said}): use another detector")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(PACKED) if PACKED in archive.getnames() else None
            content = member.read() if member else b""
    for file, (start, end) in PLACES.items():
        with replacing(targets[file]) as partial:
            partial.write_bytes(content[start:end])
            if sha256(partial) != file.sha256:
                raise VrnError(f"{PACKAGE} no longer holds the expected {file.name}: use another detector")
    return list(targets.values())


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.detect.fetch", description="Fetch a detector's weights."
    )
    parser.add_argument("file", choices=["mediapipe"])
    parser.add_argument("--folder", type=Path, default=None, help="default: the cache")
    given = parser.parse_args(arguments)
    try:
        print(*fetch_mediapipe(given.folder), sep="\n")
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
