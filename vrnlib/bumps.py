"""Bumps: stray bodies beside a reconstructed face, counted and weighed (`notebooks/09_dynamic_labelling`).

What the review (Sec. 3, 3.1 and 4.2) calls bumps are bodies of the isosurface that are not the face. They are
measured on the volume: connected voxels above the isovalue (26 neighbours), all but the largest body.

A row is a face. Its columns: ``strays_LL`` how many stray bodies there are at the isovalue 0.LL, ``share_LL``
their voxels over those of the largest body. With `effect`, at isovalue 0.5 (with ``_at_05`` behind the name:
at 0.05), before and after labelling the mesh: ``nme``, ``hausdorff`` (symmetric, between the isosurfaces of
the network's and of the true volume, over the interocular distance), ``hausdorff95`` (its 95th percentile),
``closed`` (1 if the mesh is watertight), ``mesh_bodies`` and, of these, ``cavities`` (surfaces that are
inside out: holes in the solid).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from vrnlib import labelling, metrics
from vrnlib.errors import VrnError
from vrnlib.labelling_voxels import body_sizes
from vrnlib.predict import Network
from vrnlib.provenance import replacing
from vrnlib.voxel import isosurface

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Isovalues. The authors' MATLAB route takes about 0.5, their Python script 10 / 255 = 0.04."""
EFFECT_LEVELS = (0.5, 0.05)
"""Isovalues at which meshes are scored before and after labelling."""
POINT_STEP = 8
"""Every so many of the 19,000 points of the truth are enough for these errors."""
FACE = ("nme", "hausdorff", "hausdorff95", "closed", "mesh_bodies", "cavities")


def column(name: str, level: float) -> str:
    """``strays``, 0.05 -> ``strays_05``."""
    return f"{name}_{round(100 * level):02d}"


def inclination(pitch: float | np.ndarray, yaw: float | np.ndarray) -> np.ndarray:
    """Angle between the face's forward direction and the camera, degrees, from pitch and yaw in degrees."""
    return np.rad2deg(np.arccos(np.clip(np.cos(np.deg2rad(pitch)) * np.cos(np.deg2rad(yaw)), -1, 1)))


def pose(sample: dict[str, np.ndarray]) -> dict[str, float]:
    """pitch, yaw, roll of a sample in degrees, and its inclination."""
    pitch, yaw, roll = np.rad2deg(sample["pose"].astype(float)).tolist()
    return {"pitch": pitch, "yaw": yaw, "roll": roll, "inclination": float(inclination(pitch, yaw))}


def count(volume: np.ndarray, levels: Sequence[float] = LEVELS) -> dict[str, float]:
    """Stray bodies of a volume (D, H, W) of probabilities at each isovalue: ``strays_LL`` and ``share_LL``.

    A volume that is empty at an isovalue has no body and NaN for both.
    """
    row: dict[str, float] = {}
    for level in levels:
        sizes = body_sizes(volume > level)
        row[column("strays", level)] = len(sizes) - 1 if len(sizes) else float("nan")
        row[column("share", level)] = float(sizes[1:].sum() / sizes[0]) if len(sizes) else float("nan")
    return row


def hausdorff(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Symmetric Hausdorff distance of two sets of points (N, 3), and its 95th percentile: the larger one of
    both directions. A set without points is infinitely far.
    """
    if not len(a) or not len(b):
        return float("inf"), float("inf")
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    return float(max(there.max(), back.max())), float(max(np.percentile(there, 95), np.percentile(back, 95)))


def mesh_bodies(vertices: np.ndarray, faces: np.ndarray) -> tuple[int, int]:
    """Bodies of a mesh, and how many of them are cavities (negative signed volume)."""
    if not len(faces):
        return 0, 0
    label = labelling.labels(len(vertices), faces)[faces[:, 0]]
    corners = vertices[faces].astype(np.float64)
    volumes = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    _, which = np.unique(label, return_inverse=True)
    total = np.bincount(which, volumes)
    return len(total), int((total < 0).sum())


def face_row(
    network: Network, sample: dict[str, np.ndarray], levels: Sequence[float] = LEVELS, effect: bool = False
) -> dict[str, float]:
    """One held-out sample, with `truth` -> its row, see the module's text; ``iou`` at 0.5 is always there."""
    volume = network.predict(sample["image"])
    row = {"iou": metrics.iou(volume, sample["volume"]), **count(volume, levels)}
    return {**row, **effect_row(volume, sample)} if effect else row


def effect_row(volume: np.ndarray, sample: dict[str, np.ndarray], level: float = 0.5) -> dict[str, float]:
    """What labelling does to a face: `FACE` before, and the same after it, named ``nme_labelled`` and so on.

    NaN where there is no surface.
    """
    try:
        vertices, faces = isosurface(volume, level)
    except VrnError:
        return dict.fromkeys((*FACE, *(f"{name}_labelled" for name in FACE)), float("nan"))
    truth, _ = isosurface(sample["volume"])
    d = metrics.interocular(sample["eyes"])
    before = _judge(vertices, faces, sample, truth, d)
    kept, kept_faces, removed = labelling.largest_body(vertices, faces)
    after = _judge(kept, kept_faces, sample, truth, d) if removed else before
    return {**before, **{f"{name}_labelled": value for name, value in after.items()}}


def effect_columns(volume: np.ndarray, sample: dict[str, np.ndarray], level: float) -> dict[str, float]:
    """`effect_row` by the study's names: as it is at isovalue 0.5, else with ``_at_LL`` behind each name."""
    row = effect_row(volume, sample, level)
    return row if level == 0.5 else {f"{name}_at_{round(100 * level):02d}": v for name, v in row.items()}


def _judge(
    vertices: np.ndarray, faces: np.ndarray, sample: dict[str, np.ndarray], truth: np.ndarray, d: float
) -> dict[str, float]:
    import trimesh

    far, most = hausdorff(vertices, truth)
    number, cavities = mesh_bodies(vertices, faces)
    closed = trimesh.Trimesh(vertices, faces, process=False, validate=False).is_watertight
    nme = metrics.nme(vertices, sample["points"][::POINT_STEP], sample["eyes"])
    values = (nme, far / d, most / d, float(closed), number, cavities)
    return dict(zip(FACE, values, strict=True))


def write_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as CSV, at once or not at all; the columns are those of any row, in the order they come."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({k: _short(v) for k, v in row.items()} for row in rows)
    return Path(path)


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read what `write_rows` wrote: numbers as float, an empty field as NaN, other text as it is.

    Raises
    ------
    VrnError : the file is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise VrnError(
            f"no file '{path}': make it with python -m vrnlib.bump_study, or python -m vrnlib.bumps_training"
        )
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _short(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


def _number(text: str) -> Any:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return text
