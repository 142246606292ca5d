"""Which database is in a folder, is it complete, where to ask for the rest; and opening it.

The real databases may not be passed on. `check` recognises them by their files, reads some of them through
the same code that training uses, and says what is missing and who gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import images
from vrnlib.databases import bfm, matfile, protocol, w300lp
from vrnlib.databases.files import FileDatabase
from vrnlib.databases.mask import cache_path
from vrnlib.errors import VrnError, did_you_mean

NAMES = ("300W-LP", "AFLW2000-3D", "BU-4DFE", "Florence")
_3DDFA = "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm"
ASK = {
    "300W-LP": f"300W-LP: {_3DDFA}",
    "AFLW2000-3D": f"AFLW2000-3D: {_3DDFA}",
    "BU-4DFE": "BU-4DFE, with its landmarks BU4DFE_BND_V1.1: "
    "http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    "Florence": "Florence: https://www.micc.unifi.it/resources/datasets/florence-3d-faces/",
}
"""Who gives each database."""
_EXPRESSIONS = ("Angry", "Disgust", "Fear", *protocol.BU4DFE_EXPRESSIONS, "Sad")  # all of BU-4DFE's
EXPECTED = {"AFLW2000-3D": 2000, "BU-4DFE": 101, "Florence": 53}
"""Pictures or people of the whole database; of 300W-LP the papers say "more than 60,000" pictures."""


@dataclass
class Report:
    """What `check` found."""

    name: str
    path: Path
    found: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # without these it can't be used
    notes: list[str] = field(default_factory=list)  # fewer than the whole database, or for evaluation only
    problems: list[str] = field(default_factory=list)  # files that can't be used

    @property
    def usable(self) -> bool:
        """Whether samples can be drawn: nothing is missing."""
        return not self.missing


def identify(path: str | Path) -> str:
    """Which of :data:`NAMES` a folder holds.

    Raises
    ------
    VrnError : no folder, an empty one, or none of the four.
    """
    path = Path(path)
    if not path.is_dir():
        raise VrnError(f"'{path}' is not a folder: give the folder of a database")
    if not any(path.iterdir()):
        raise VrnError(f"'{path}' is empty: it holds no database ({', '.join(NAMES)})")
    if protocol.bu4dfe_items(path, expressions=_EXPRESSIONS):
        return "BU-4DFE"
    if protocol.florence_items(path):
        return "Florence"
    good, alone = w300lp.pairs(path)
    for picture in (good or alone)[:1]:
        parts = {part.upper().removesuffix("_FLIP") for part in (*picture.parts[:-1], picture.name)}
        if parts & set(w300lp.SUBSETS) or picture.name.upper().startswith(w300lp.SUBSETS):
            return "300W-LP"
        if not good:
            break
        keys = matfile.names(picture.with_suffix(".mat"))
        if "Pose_Para" in keys:
            return "AFLW2000-3D" if "pt3d_68" in keys else "300W-LP"
    seen = ", ".join(sorted(p.name for p in path.iterdir())[:4])
    raise VrnError(
        f"'{path}' is none of {', '.join(NAMES)}: it holds {seen} ...; expected are pictures with .mat "
        "files, folders F001/Happy/*.wrl, or folders subject_01/**/*.obj"
    )


def open_database(spec: str | Path, size: int = 192, depth: int = 200, **options: Any) -> FileDatabase:
    """The data set in a folder, recognised by its files.

    Parameters
    ----------
    spec : the folder, or ``NAME=FOLDER`` to insist on one of :data:`NAMES`.
    options : `seed`, `augment`, `truth`, `skip_bad` for all; `bfm`, `mask`, `exclude`, `convention` for
        300W-LP and AFLW2000-3D; `landmarks`, `background` for scans. Options of the other kind are refused
        unless they are None.

    Raises
    ------
    VrnError : not a database, incomplete, or an option that it does not have.
    """
    told, folder = None, Path(spec)
    head, sign, tail = str(spec).partition("=")
    if sign and not folder.exists():
        told, folder = head, Path(tail)
        if told not in NAMES:
            raise VrnError(f"unknown database '{told}'{did_you_mean(told, NAMES)}: {', '.join(NAMES)}")
    name = identify(folder)
    if told is not None and told != name:
        raise VrnError(f"'{folder}' holds {name}, not {told}")
    builders = {
        "300W-LP": w300lp.W300LP,
        "AFLW2000-3D": w300lp.AFLW2000,
        "BU-4DFE": protocol.bu4dfe,
        "Florence": protocol.florence,
    }
    models, scans = ("bfm", "mask", "exclude", "convention"), ("landmarks", "background")
    common = ("seed", "augment", "truth", "skip_bad")
    own, other = (models, scans) if name in NAMES[:2] else (scans, models)
    wrong = [k for k, v in options.items() if k not in (*common, *own) and (k not in other or v is not None)]
    if wrong:
        raise VrnError(f"{name} has no option {', '.join(wrong)}: use {', '.join((*common, *own))}")
    given = {k: v for k, v in options.items() if k in (*common, *own) and v is not None}
    return builders[name](folder, size, depth, **given)


def check(
    path: str | Path,
    bfm_folder: str | Path | None = None,
    landmarks: str | Path | None = None,
    samples: int = 20,
) -> Report:
    """Look through a database and draw `samples` of its samples, spread over it.

    Raises
    ------
    VrnError : the folder holds none of the databases.
    """
    report = Report(identify(path), Path(path))
    if report.name in NAMES[:2]:
        _check_pictures(report, bfm_folder)
        options: dict[str, Any] = {"bfm": bfm_folder}
    else:
        _check_scans(report, landmarks)
        options = {"landmarks": landmarks}
    if not report.usable:
        return report
    try:
        data = open_database(path, 32, 34, skip_bad=True, **options)
    except VrnError as error:
        report.missing.append(str(error))
        return report
    numbers = np.unique(np.linspace(0, len(data) - 1, min(samples, len(data))).astype(int))
    data.skip_bad = False
    good = 0
    for number in numbers:
        if data.path(int(number)) in data.skipped:
            continue
        try:
            data[int(number)]
            good += 1
        except VrnError as error:
            if str(error) not in report.problems:
                report.problems.append(str(error))
    report.found.append(f"{good} of {len(numbers)} samples drawn")
    report.problems += [cause for cause in data.skipped.values() if cause not in report.problems]
    return report


def _check_pictures(report: Report, bfm_folder: str | Path | None) -> None:
    good, _ = w300lp.pairs(report.path)
    folders = sorted({p.parent.name for p in good})
    report.found.append(f"{len(good)} pictures with .mat files in {', '.join(folders) or 'no folder'}")
    if not good:
        report.missing.append("the .mat files of the pictures")
    if report.name == "300W-LP":
        whole = {s + end for s in w300lp.SUBSETS for end in ("", "_Flip")}
        absent = sorted(whole - set(folders))
        if absent:
            report.notes.append(f"without the folders {', '.join(absent)}")
        if not report.path.joinpath("landmarks").is_dir():
            report.notes.append("without the folder landmarks (not needed)")
    elif len(good) < EXPECTED[report.name]:
        report.notes.append(f"{EXPECTED[report.name]} pictures are in the whole database")
    for path in good[:1]:
        try:
            h, w = images.load(path).shape[:2]
            report.found.append(f"pictures of {w} x {h} px")
            if (h, w) != (450, 450):
                report.notes.append(
                    "the originals are 450 x 450 px: were they resized? The .mat files were not"
                )
        except VrnError as error:
            report.problems.append(str(error))
    found = bfm.find_parts(bfm_folder, report.path)
    if found:
        report.found.append(f"parts of the model: {', '.join(sorted(p.name for p in found.values()))}")
    absent = bfm.missing_parts(found)
    if absent:
        report.missing.append(f"of the morphable model: {', '.join(absent)}; {bfm.ASK}")
    if not cache_path().is_file():
        report.notes.append("the authors' evaluation mask is not in the cache yet (fetched when needed)")


def _check_scans(report: Report, landmarks: str | Path | None) -> None:
    if report.name == "BU-4DFE":
        items = protocol.bu4dfe_items(report.path, landmarks)
        expressions = {i.scan.parent.name for i in items}
        absent = [e for e in protocol.BU4DFE_EXPRESSIONS if e not in expressions]
        if absent:
            report.missing.append(f"the sequences {' and '.join(absent)}, which the protocol needs")
        hint = f"landmarks (BU4DFE_BND_V1.1, 83 points a frame); {ASK['BU-4DFE']}"
    else:
        items = protocol.florence_items(report.path, landmarks)
        hint = "landmarks: a table NAME.csv for each scan, 68 lines x,y,z in the scan's frame, iBUG order"
    people = len({i.person for i in items})
    report.found.append(f"{len(items)} scans of {people} people for the protocol")
    if people < EXPECTED[report.name]:
        report.notes.append(f"{EXPECTED[report.name]} people are in the whole database")
    bare = [i for i in items if i.landmarks is None]
    if bare:
        text = f"{hint} ({len(bare)} of {len(items)} scans have none, the first is '{bare[0].scan}')"
        (report.missing if len(bare) == len(items) else report.problems).append(text)


def describe(report: Report, limit: int = 10) -> str:
    """The report as lines for a terminal; of many problems the first `limit`."""
    lines = [f"{report.path}: {report.name}, {'usable' if report.usable else 'not usable yet'}"]
    lines += [f"  found: {t}" for t in report.found]
    lines += [f"  missing: {t}" for t in report.missing]
    lines += [f"  note: {t}" for t in report.notes]
    lines += [f"  bad: {t}" for t in report.problems[:limit]]
    if len(report.problems) > limit:
        lines.append(f"  bad: and {len(report.problems) - limit} more")
    if report.missing or report.problems:
        lines.append(f"  ask: {ASK[report.name]}")
    return "\n".join(lines)
