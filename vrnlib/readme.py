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

from vrnlib.checkpoint import data_shown, read_log
from vrnlib.errors import VrnError
from vrnlib.provenance import project_folder, read_json, replacing
from vrnlib.table1.entrants import LABELS

NOT_RUN = "not run"
TEST_DATABASES = ("synth-wild", "synth-expressions", "mapped-scans")


def _read(path: Path) -> Any | None:
    return read_json(path) if path.is_file() else None


def nme(results: Path) -> str:
    """Held-out error of the committed network, with what it was trained and tested on."""
    scores = _read(results / "evaluation" / "vrn-laptop" / "metrics.json")
    if scores is None:
        return NOT_RUN
    titles = ("faces", "NME", "95 % interval", "median", "scored", "failed", "of the true volume")
    head = f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|\n"

    def row(name: str, s: dict[str, Any], floor: dict[str, Any]) -> str:
        if s["mean"] is None:
            return f"| {name} | {NOT_RUN} | | | {s['faces']} | {s['failed']} | |\n"
        low, high = s["interval"]
        return (
            f"| {name} | {s['mean']:.4f} | {low:.4f} to {high:.4f} | {s['median']:.4f} "
            f"| {s['faces']} | {s['failed']} | {floor['mean']:.4f} |\n"
        )

    rows = row("all yaws", scores["nme"], scores["floor"])
    for band, floor in zip(scores["by_yaw"], scores["floor_by_yaw"], strict=True):
        rows += row(f"yaw {band['low']:.0f} to {band['high']:.0f} degrees", band, floor)
    t = scores["training"]
    shown = data_shown(read_log(results / "runs" / "vrn-laptop" / "log.jsonl"))
    return (
        f"{head}{rows}\nProfile `{t.get('profile')}`, tested on `{scores['data']}` (seed {scores['seed']}), "
        f"trained on {t.get('faces', 0):,} drawn faces ({shown}) in {t.get('minutes', 0):.0f} minutes; "
        f"volume IoU {scores['iou']['mean']:.3f}. The last column is the error of the true volume: what "
        "voxels, and the far side of a profile that the volume cuts off, cost a perfect network. From "
        "`results/evaluation/vrn-laptop/`."
    )


def databases(results: Path) -> str:
    """The committed network on each embedded test database; a row says "not run" where there is no result."""
    titles = ("database", "faces", "persons", "NME", "95 % interval over persons", "rigid", "IoU")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in TEST_DATABASES:
        scores = _read(results / "evaluation" / f"vrn-laptop-{name}" / "metrics.json")
        if scores is None or scores["nme"]["mean"] is None:
            lines.append(f"| `{name}` | {NOT_RUN} | | | | | |")
            continue
        low, high = scores["nme"]["interval"]
        lines.append(
            f"| `{name}` | {scores['nme']['faces']} | {scores['persons']} | {scores['nme']['mean']:.4f} "
            f"| {low:.4f} to {high:.4f} | {scores['nme_rigid']['mean']:.4f} | {scores['iou']['mean']:.3f} |"
        )
    return "\n".join(lines)


def table1(results: Path) -> str:
    """Table 1: the paper's number and ours for each method and database, and the verdicts on its claims."""
    content = _read(results / "table1" / "table1.json")
    if content is None:
        return NOT_RUN
    cells = {(c["method"], c["database"]): c for c in content["tables"]["nme"]}
    stand_ins = {c["database"]: c["stand_in"] for c in cells.values()}
    heads = [f"{name} | `{stand_in}`" for name, stand_in in stand_ins.items()]
    lines = [f"| method | {' | '.join(heads)} | trained on |", "|---" * (2 + 2 * len(heads)) + "|"]
    for method in dict.fromkeys(m for m, _ in cells):
        row = []
        for database in stand_ins:
            cell = cells[method, database]
            row.append(f"{cell['paper']:.4f}{' (doubtful)' if cell['doubtful'] else ''}")
            row.append(f"{cell['ours']['mean']:.4f}" if cell["ours"] else NOT_RUN)
        training = content["training"].get(method)
        faces = f"{training['faces']:,} faces" if training else ""
        if training and training.get("detector_faces"):
            faces += f", detector {training['detector_faces']:,}"
        lines.append(f"| {LABELS[method]} | {' | '.join(row)} | {faces} |")
    lines.append("")
    for claim, words in content["claims_tested"].items():
        verdicts = [f"{content['claims']['nme'][d][claim]['verdict']} (`{s}`)" for d, s in stand_ins.items()]
        lines.append(f"- {words}: {', '.join(verdicts)}.")
    lines.append(
        f"\nProfile `{content['profile']}`, {content['faces']} faces a database. Intervals, the second table "
        "after rigid alignment and what the verdicts mean: `results/table1/table1.md`; more methods: "
        "notebook 08."
    )
    return "\n".join(lines)


def speed(results: Path) -> str:
    """The benchmark table: each row both ways in one run on one machine."""
    rows = []
    voxels = _read(results / "benchmarks" / "voxelise.json")
    if voxels:
        s = voxels["seconds"]
        rows.append(
            f"| voxelise a face of {voxels['vertices']:,} vertices to 192x192x200 "
            f"| {s['voxelise'] * 1e3:.1f} ms | {s['trimesh'] * 1e3:,.0f} ms (trimesh `voxelized().fill()`) "
            f"| {voxels['times_faster']:,.0f} |"
        )
    photo = _read(results / "benchmarks" / "photo_to_glb.json")
    if photo:
        ours, plain = photo["ours"], photo["plain"]
        rows.append(
            f"| photograph to GLB at 192x192x200, after landmarks "
            f"| {ours['seconds']['total']['wall']:.2f} s, {ours['peak_mb']:.0f} MB "
            f"| {plain['seconds']['total']['wall']:.2f} s, {plain['peak_mb']:.0f} MB "
            f"| {photo['times_faster']['wall']:.1f} |"
        )
    for name in ("training", "training-paper"):
        training = _read(results / "benchmarks" / f"{name}.json")
        if not training:
            continue
        best = training["best"]
        for loop, words in (("ours, drawn", "faces drawn on the fly"), ("ours, kept", "faces drawn before")):
            rows.append(
                f"| train `{training['profile']}`, {words} | {best[loop]:.1f} faces/s "
                f"| {best['plain']:.1f} faces/s (default layout, dense volumes from files) "
                f"| {training['times_faster'][loop]:.1f} |"
            )
    if not rows:
        return NOT_RUN
    return "\n".join(["| what | here | the plain way | times faster |", "|---|---|---|---|", *rows])


BLOCKS: dict[str, Callable[[Path], str]] = {
    "nme": nme,
    "databases": databases,
    "table1": table1,
    "speed": speed,
}


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
