"""Score anybody's meshes against ground truth: readers, checks, and an evaluation that can be interrupted
(taught in `notebooks/06_evaluate_nme`).

Ground truth is a folder of NPZ files, one a face, or a database of `vrnlib.databases` with ``truth=True``.
``NAME.npz`` holds

=========== ================ ================================================================================
points      (P, 3) float     points of the face region in the *image frame*: pixels, x right, y down, z
                             towards the viewer
eyes        (2, 3) float     outer eye corners (iBUG 37 and 46), same frame
height      int, optional    rows of the image; needed for meshes with y up (``frame="file"``)
crop        (3,), optional   scale, x and y offset, image pixels -> network window; for ``frame="network"``
yaw         float, optional  degrees
identity    text, optional   person; faces that share one are not independent
expression  text, optional   label
=========== ================ ================================================================================

A prediction is ``NAME`` with .obj, .ply, .glb, or .npz (``vertices`` (V, 3), optionally ``faces``). Its
frame is one for the whole folder: ``file``, as `Face.export` writes it for viewers: y up, ``y = height - 1 -
y_image``; ``image``, y down as the truth; ``network``, the network's window, y down.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import metrics, nearest
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.provenance import replacing

FORMATS = (".obj", ".ply", ".glb", ".npz")
FRAMES = ("file", "image", "network")
COLUMNS = ("name", "yaw", "identity", "expression", "nme", "nme_rigid", "shift_z", "icp_iterations",
           "icp_converged", "vertices", "status", "warning", "stamp")  # fmt: skip
CHUNK = 16
"""Faces after which the table is written."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of one face; fields and frame as in the module's table."""

    points: np.ndarray
    eyes: np.ndarray
    height: int | None = None
    crop: tuple[float, float, float] | None = None
    yaw: float | None = None
    identity: str = ""
    expression: str = ""


def read_truth(path: Path) -> Truth:
    """Read one NPZ of ground truth.

    Raises
    ------
    VrnError : not an NPZ, without `points` or `eyes`, of a wrong shape, not numbers, or not finite.
    """
    content = _npz(path)
    for key, shape in (("points", "(P, 3)"), ("eyes", "(2, 3)")):
        if key not in content:
            what = "the outer eye corners, which the error is divided by" if key == "eyes" else "ground truth"
            raise VrnError(f"'{path}' has no array '{key}' {shape}: it holds {what}")
    eyes, points = content["eyes"], content["points"]
    if eyes.shape != (2, 3) or points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise VrnError(
            f"'{path}': points must be (P, 3) and eyes (2, 3), got {points.shape} and {eyes.shape}"
        )
    if not (_numeric(points) and _numeric(eyes)):
        raise VrnError(f"'{path}': points and eyes must be numbers, got {points.dtype} and {eyes.dtype}")
    if not (np.isfinite(points).all() and np.isfinite(eyes).all()):
        raise VrnError(f"'{path}' holds NaN or infinite coordinates")
    height, crop, yaw = (
        _few(path, content, key, count) for key, count in (("height", 1), ("crop", 3), ("yaw", 1))
    )
    if crop and crop[0] <= 0:
        raise VrnError(f"'{path}': the scale of crop, its first number, must be positive, got {crop[0]:g}")
    return Truth(
        points.astype(np.float64),
        eyes.astype(np.float64),
        int(height[0]) if height else None,
        crop,  # type: ignore[arg-type]
        yaw[0] if yaw else None,
        str(content.get("identity", "")),
        str(content.get("expression", "")),
    )


def _numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "iuf"


def _few(path: Path, content: Mapping[str, np.ndarray], key: str, count: int) -> tuple[float, ...] | None:
    # An optional array of so many numbers.
    if key not in content:
        return None
    array = content[key]
    if array.size != count or not _numeric(array) or not np.isfinite(array).all():
        what = "one finite number" if count == 1 else f"{count} finite numbers"
        raise VrnError(f"'{path}': {key} must be {what}, got {array.dtype} of shape {array.shape}")
    return tuple(array.astype(np.float64).ravel().tolist())


def folder_truths(folder: str | Path) -> dict[str, Callable[[], Truth]]:
    """Name -> reader for every NPZ of a folder, sorted by name. VrnError if there is none."""
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise VrnError(f"'{folder}' holds no ground truth: NAME.npz with points and eyes is expected")
    return {p.stem: lambda p=p: read_truth(p) for p in paths}


def sample_truth(sample: Mapping[str, Any]) -> Truth:
    """Ground truth of a database's sample; its image is the window, so image and network frame are one."""
    if "points" not in sample or "eyes" not in sample:
        raise VrnError("this database gives no ground truth: open it with truth=True")
    return Truth(
        np.asarray(sample["points"], np.float64),
        np.asarray(sample["eyes"], np.float64),
        len(sample["image"]),
        (1.0, 0.0, 0.0),
        float(np.rad2deg(sample["pose"][1])),
        str(sample.get("identity", "")),
        str(sample.get("expression", "")),
    )


def write_truth(path: Path, truth: Truth) -> Path:
    """Write ground truth as NPZ, all or nothing."""
    fields = {k: v for k, v in vars(truth).items() if v is not None and not (isinstance(v, str) and not v)}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **{k: np.asarray(v) for k, v in fields.items()})
    return path


def _npz(path: Path, data: bytes | None = None) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data) if data is not None else path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zlib, zipfile and the reader of headers each fail in ways of their own
        raise VrnError(
            f"cannot read '{path}': it is not an NPZ file of plain arrays, or it is damaged"
        ) from error


def read_mesh(
    path: Path, data: bytes | None = None, triangles: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices (V, 3) float64 as stored, and triangles (F, 3) or None. An OBJ's are read with `triangles`
    only: that is slow.

    Raises
    ------
    VrnError : another format, a damaged file, no vertices, NaN or infinite coordinates; with `triangles`,
    some that are not numbers.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise VrnError(f"cannot read '{path}': use {', '.join(FORMATS)}")
    faces = None
    try:
        data = path.read_bytes() if data is None else data
        if kind == ".npz":
            content = _npz(path, data)
            if "vertices" not in content:
                raise VrnError(f"'{path}' has no array 'vertices' (V, 3)")
            vertices, faces = np.asarray(content["vertices"], np.float64), content.get("faces")
        elif kind == ".obj" and not triangles:
            rows = [line.split()[1:4] for line in data.splitlines() if line.startswith(b"v ")]
            vertices = np.array(rows, dtype="S32").astype(np.float64) if rows else np.empty((0, 3))
        else:
            vertices, faces = _trimesh(data, kind)
    except VrnError:
        raise
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {error.strerror}") from error
    except Exception as error:  # a damaged file makes a parser fail in any way
        raise VrnError(f"cannot read '{path}': the file is damaged ({type(error).__name__})") from error
    if vertices.ndim != 2 or not len(vertices) or vertices.shape[1] != 3:
        raise VrnError(f"'{path}' is an empty mesh: it has no vertices (V, 3)")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(1).sum())
        raise VrnError(f"'{path}': {bad} of {len(vertices)} vertices are NaN or infinite")
    if triangles and faces is not None and not _numeric(np.asarray(faces)):
        raise VrnError(f"'{path}': faces must be numbers (F, 3), got {np.asarray(faces).dtype}")
    return vertices, faces


def _trimesh(data: bytes, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
    import trimesh

    loaded = trimesh.load(io.BytesIO(data), file_type=kind[1:], process=False)
    if isinstance(loaded, trimesh.Scene):
        loaded = loaded.to_mesh()
    return np.asarray(loaded.vertices, np.float64), getattr(loaded, "faces", None)


def to_image(vertices: np.ndarray, frame: str, truth: Truth) -> np.ndarray:
    """Vertices (V, 3) of a prediction -> image frame of the truth.

    Raises
    ------
    VrnError : an unknown frame, or the truth lacks what the frame needs (`height`, `crop`).
    """
    if frame == "image":
        return vertices
    if frame == "file":
        if truth.height is None:
            raise VrnError(
                "meshes with y up need the image's height in the ground truth: add it, or turn y and use "
                "--frame image"
            )
        return vertices * [1, -1, 1] + [0, truth.height - 1, 0]
    if frame == "network":
        if truth.crop is None:
            raise VrnError("meshes in the network frame need 'crop' in the ground truth (scale, x, y offset)")
        scale, x, y = truth.crop
        return (vertices - [x, y, 0]) / scale
    raise VrnError(f"unknown frame '{frame}'{did_you_mean(frame, FRAMES)}: use {', '.join(FRAMES)}")


def suspicion(vertices: np.ndarray, truth: Truth) -> str:
    """What looks wrong with a prediction in the image frame, with the ratio; "" if nothing does.

    Three tests: size (square root of the ratio of the boxes' areas in x, y; 1/3 to 3 passes), whether turning
    y or z round would cut the mean distance of 500 points to less than half, and place (centres in x, y no
    farther apart than the truth is large; that mean distance at most 0.3 of the interocular distance).
    """
    low, high = vertices.min(0), vertices.max(0)
    extent, own = np.ptp(truth.points, axis=0), high - low
    size = float(np.sqrt(max(own[0] * own[1], 1e-300) / max(extent[0] * extent[1], 1e-300)))
    if not 1 / 3 <= size <= 3:
        return f"size: {size:.3g} times as large as the truth: another unit?"
    middle = (truth.points.min(0) + truth.points.max(0)) / 2
    flips = {"as it is": vertices}
    if truth.height is not None:
        flips["y"] = vertices * [1, -1, 1] + [0, truth.height - 1, 0]
    flips["z"] = vertices * [1, 1, -1]
    some = truth.points[:: max(1, len(truth.points) // 500)]
    d = metrics.interocular(truth.eyes)
    error = {}
    for name, v in flips.items():
        shift = metrics.front_shift(v, truth.points, d)
        error[name] = float(nearest.Nearest(v).query(some - [0, 0, shift])[1].mean())
    best = min(error, key=error.__getitem__)
    if best != "as it is" and error[best] < 0.5 * error["as it is"]:
        ratio = error["as it is"] / max(error[best], 1e-9)
        return f"upside-down: with {best} turned round the distance is {ratio:.1f} times smaller"
    away = float(np.abs((low + high)[:2] / 2 - middle[:2]).max() / max(extent[:2].max(), 1e-300))
    if away > 1:
        return f"place: {away:.1f} times the truth's size away from it: another crop?"
    if error["as it is"] > 0.3 * d:
        return f"place: {error['as it is'] / d:.2f} interocular distances away on average: another frame?"
    return ""


def predictions(folder: str | Path) -> dict[str, Path]:
    """Name -> mesh file of a folder. VrnError if there is none, or one name has two files."""
    folder, found = Path(folder), {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in FORMATS:
            if path.stem in found:
                raise VrnError(
                    f"'{found[path.stem].name}' and '{path.name}' are both predictions of one face"
                )
            found[path.stem] = path
    if not found:
        raise VrnError(f"'{folder}' holds no meshes ({', '.join(FORMATS)})")
    return found


def score_one(
    name: str, path: Path | None, truth: Truth, frame: str = "file", correspondence: str = "icp"
) -> dict[str, Any]:
    """One row of the table. What can't be scored gets NaN and a `status` that says why; ``ok`` otherwise."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row.update(name=name, nme=float("nan"), nme_rigid=float("nan"), status="ok", identity=truth.identity)
    row.update(expression=truth.expression, yaw="" if truth.yaw is None else truth.yaw)
    if path is None:
        return {**row, "status": "missing"}
    try:
        data = path.read_bytes()
        row["stamp"] = _stamp(data, truth)
        vertices, faces = read_mesh(path, data, triangles=correspondence == "surface")
        vertices = to_image(vertices, frame, truth)
        row.update(vertices=len(vertices), warning=suspicion(vertices, truth))
        s = metrics.score(vertices, truth.points, truth.eyes, correspondence=correspondence, faces=faces)
    except (VrnError, OSError) as error:
        return {**row, "status": str(error).replace(str(path), path.name)}
    row.update(nme=s.nme, nme_rigid=s.rigid, shift_z=s.shift)
    if s.registration is not None:
        row.update(icp_iterations=s.registration.iterations, icp_converged=int(s.registration.converged))
    return row


def _stamp(data: bytes, truth: Truth) -> str:
    # changes with the prediction or the truth: an old row is then scored again
    parts = (data, truth.points.tobytes(), truth.eyes.tobytes(), repr((truth.height, truth.crop)).encode())
    return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()[:16]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a table written by `score_all`, numbers as float. VrnError if it is another table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise VrnError(f"'{path}' was not written by this evaluation: choose another --out")
            return [{**r, "nme": float(r["nme"]), "nme_rigid": float(r["nme_rigid"])} for r in reader]
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a row that is cut short
        raise VrnError(f"cannot read '{path}': {error}; delete it to begin again") from error


def score_all(
    meshes: Mapping[str, Path],
    truths: Mapping[str, Callable[[], Truth]],
    table: Path,
    *,
    frame: str = "file",
    correspondence: str = "icp",
    workers: int = 1,
    chunk: int = CHUNK,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Score every face of the truth, in its order; a face without a mesh counts as failed (``missing``).

    The table is replaced as a whole after each `chunk` of faces, so that an interruption leaves complete
    rows. Called again it continues: rows whose mesh and truth are unchanged are kept.

    Raises
    ------
    VrnError : not one mesh belongs to a face of the truth, an unknown frame or correspondence, unreadable
    truth.
    """
    if frame not in FRAMES or correspondence not in metrics.CORRESPONDENCES:
        raise VrnError(
            f"frame is one of {', '.join(FRAMES)}, correspondence of {', '.join(metrics.CORRESPONDENCES)}; "
            f"got '{frame}' and '{correspondence}'"
        )
    if not set(meshes) & set(truths):
        raise VrnError(
            f"no mesh belongs to this ground truth: meshes are named '{next(iter(meshes), '')}', faces "
            f"'{next(iter(truths), '')}'; predictions for another database?"
        )
    done = {r["name"]: r for r in read_rows(table)} if table.is_file() else {}

    def one(name: str) -> dict[str, Any]:
        truth, path, old = truths[name](), meshes.get(name), done.get(name)
        if old and path and old["stamp"] and old["stamp"] == _stamp(path.read_bytes(), truth):
            return old
        return score_one(name, path, truth, frame, correspondence)

    rows: list[dict[str, Any]] = []
    names = list(truths)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for begin in range(0, len(names), chunk):
            rows += pool.map(one, names[begin : begin + chunk])
            left = [
                done[n] for n in names[begin + chunk :] if n in done
            ]  # a second interruption loses nothing
            write_rows(table, [*rows, *left])
            if progress:
                progress(len(rows), len(names))
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write a CSV, all or nothing; numbers with six digits."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            values = {c: row.get(c, "") for c in columns}
            writer.writerow({c: f"{v:.6g}" if isinstance(v, float) else v for c, v in values.items()})
