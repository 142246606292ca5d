"""Times ``vrn report`` on a folder of photographs made from those at hand.

    python -m vrnlib.report.benchmark --fetch --count 50

writes ``results/benchmarks/report.json``. The copies are turned, mirrored, cut, darker or paler, every fifth
one 3000 pixels wide. CPU time is noted beside wall time: on a machine that does other things it is the number
that can be repeated.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from vrnlib import gallery, images, provenance

SEED = 0


def copies(photographs: Mapping[str, Any], count: int, folder: Path) -> None:
    """Write `count` JPEG files: each photograph as it is, then varied copies in turn."""
    rng = np.random.default_rng(SEED)
    originals = [Image.fromarray(images.load(p)) for p in photographs.values()]
    for number in range(count):
        picture = originals[number % len(originals)]
        if number >= len(originals):
            width, height = picture.size
            picture = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
            picture = picture.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)
            picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.6, 1.4))
            picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.3, 1.3))
            left, top = rng.uniform(0, 0.06, 2) * [width, height]
            picture = picture.crop((int(left), int(top), width, height))
        if number % 5 == 4:
            picture = picture.resize((3000, 3000 * picture.height // picture.width), Image.Resampling.BICUBIC)
        picture.save(folder / f"IMG_{number + 1:04d}.jpg", quality=90)


def run(count: int, photographs: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of wall and CPU time of the whole command in a new process, and what it made."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photographs"
        folder.mkdir()
        copies(photographs, count, folder)
        page = Path(temporary) / "report.html"
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "vrnlib", "report", str(folder), "--out", str(page)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=provenance.project_folder())
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        print(done.stdout or done.stderr)
        return {
            "photographs": count,
            "wall_seconds": wall,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "meshes": len(list(Path(temporary).glob("report-meshes/*.glb"))),
            "page_bytes": page.stat().st_size,
        }


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.report.benchmark", description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--fetch", action="store_true", help="also take the portraits, see vrnlib.gallery")
    parser.add_argument("--cache", type=Path, default=Path("cache/photographs"))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/report.json"))
    given = parser.parse_args(arguments)
    photographs = dict(gallery.packaged())
    if given.fetch:
        photographs |= {p.stem: p for p in gallery.fetch(given.cache)}
    result = run(given.count, photographs)
    provenance.write_json(
        given.out, result | {"provenance": provenance.collect({"count": given.count}, SEED)}
    )
    print(
        f"{given.out}: {result['wall_seconds']:.0f} s, {result['cpu_seconds']:.0f} s of CPU for "
        f"{given.count} photographs; {result['meshes']} meshes, page of {result['page_bytes'] / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
