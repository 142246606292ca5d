"""Write the numbers of README.md from results/: ``python -m vrnlib.readme``.

Between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` stands what the function NAME below returns; a test
holds the README to it. What did not run says "not run".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vrnlib.errors import VrnError
from vrnlib.provenance import project_folder, read_json, replacing

NOT_RUN = "not run"


def _read(path: Path) -> Any | None:
    return read_json(path) if path.is_file() else None


def nme(results: Path) -> str:
    """Held-out error of the committed network, with what it was trained and tested on."""
    scores = _read(results / "evaluation" / "vrn-laptop" / "metrics.json")
    if scores is None:
        return NOT_RUN
    head = "| faces | NME | 95 % interval | median | faces scored | failed |\n|---|---|---|---|---|---|\n"

    def row(name: str, s: dict[str, Any]) -> str:
        if s["mean"] is None:
            return f"| {name} | {NOT_RUN} | | | {s['faces']} | {s['failed']} |\n"
        low, high = s["interval"]
        return f"| {name} | {s['mean']:.4f} | {low:.4f} to {high:.4f} | {s['median']:.4f} | {s['faces']} | {s['failed']} |\n"

    rows = row("all yaws", scores["nme"])
    rows += "".join(row(f"yaw {b['low']:.0f} to {b['high']:.0f} degrees", b) for b in scores["by_yaw"])
    t = scores["training"]
    return (
        f"{head}{rows}\nProfile `{t.get('profile')}`, data `{scores['data']}`, test seed {scores['seed']}, trained on {t.get('faces', 0):,} drawn faces in "
        f"{t.get('minutes', 0):.0f} minutes; volume IoU {scores['iou']['mean']:.3f}. From `results/evaluation/vrn-laptop/`."
    )


def speed(results: Path) -> str:
    """The benchmark table: each row both ways in one run on one machine."""
    rows = []
    voxels = _read(results / "benchmarks" / "voxelise.json")
    if voxels:
        s = voxels["seconds"]
        rows.append(
            f"| voxelise a face of {voxels['vertices']:,} vertices to 192x192x200 | {s['voxelise'] * 1e3:.1f} ms | "
            f"{s['trimesh'] * 1e3:,.0f} ms (trimesh `voxelized().fill()`) | {voxels['times_faster']:,.0f} |"
        )
    for name in ("photo_to_glb", "training"):
        found = _read(results / "benchmarks" / f"{name}.json")
        if found and "readme" in found:
            rows.append(found["readme"])
    return (
        "| what | here | the plain way | times faster |\n|---|---|---|---|\n" + "\n".join(rows)
        if rows
        else NOT_RUN
    )


BLOCKS: dict[str, Callable[[Path], str]] = {"nme": nme, "speed": speed}


def fill(text: str, results: Path) -> str:
    """`text` with every block replaced by what `results` says.

    Raises
    ------
    VrnError : a block has no end or no function of its name.
    """
    names = re.findall(r"<!-- begin (\w+) -->", text)
    for name in names:
        if name not in BLOCKS or f"<!-- end {name} -->" not in text:
            raise VrnError(
                f"README.md: block '{name}' has no end or is unknown; known are {', '.join(BLOCKS)}"
            )
        body = BLOCKS[name](results)
        text = re.sub(
            rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)",
            lambda m, b=body: f"{m[1]}{b}\n{m[2]}",
            text,
            flags=re.S,
        )
    return text


def main() -> int:
    """The command line."""
    root = project_folder()
    try:
        with replacing(root / "README.md") as temporary:
            temporary.write_text(
                fill((root / "README.md").read_text(encoding="utf-8"), root / "results"), encoding="utf-8"
            )
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
