"""Reading textured face scans: VRML 2 (BU-4DFE) and Wavefront OBJ (Florence).

A scan comes as it is in its file: x right, y up, z towards the viewer, usually millimetres; triangles may be
doubled or non-manifold, which nothing here minds. Texture coordinates are 0..1 from the lower left corner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vrnlib.errors import VrnError

MAX_BYTES = 256 << 20
"""Largest file of a scan (BU-4DFE's have about 5 MB, Florence's about 15 MB)."""
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_NUMBERS = r"\s*\[([^\]]*)\]"


@dataclass(frozen=True)
class Scan:
    """A textured triangle mesh and the landmarks' frame; lengths as in the file."""

    path: Path
    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int32
    uv: np.ndarray  # (T, 2) float32
    uv_faces: np.ndarray  # (F, 3) int32 into `uv`
    texture: Path
    dropped: int = 0  # degenerate triangles left out


def read_scan(path: str | Path) -> Scan:
    """Read a .wrl or .obj file with its texture's name.

    Raises
    ------
    VrnError : missing, damaged, larger than :data:`MAX_BYTES`, no texture, NaN, indices out of range.
    """
    path = Path(path)
    reader = {".wrl": read_wrl, ".obj": read_obj}.get(path.suffix.lower())
    if reader is None:
        raise VrnError(f"'{path}' is no scan: .wrl and .obj can be read")
    return reader(path)


def read_wrl(path: str | Path) -> Scan:
    """A VRML 2 file: its (largest) IndexedFaceSet with coord, coordIndex, texCoord, texCoordIndex, and the
    picture of its ImageTexture, or the picture of the same name beside it. Polygons become fans.

    Raises
    ------
    VrnError : see :func:`read_scan`.
    """
    path = Path(path)
    text = _text(path)
    if not text.startswith("#VRML V2.0"):
        raise VrnError(f"'{path}' is no VRML 2 file: it does not begin with '#VRML V2.0'")
    text = re.sub(r'("[^"\n]*")|#[^\n]*', lambda m: m.group(1) or "", text)
    best: tuple[np.ndarray, ...] | None = None
    for node in text.split("IndexedFaceSet")[1:]:
        found = _face_set(path, node)
        if best is None or len(found[1]) > len(best[1]):
            best = found
    if best is None:
        raise VrnError(f"'{path}' holds no IndexedFaceSet: it is no mesh, or truncated")
    url = re.search(r'ImageTexture\s*\{[^}]*?url\s*\[?\s*"([^"]*)"', text)
    return _checked(path, *best, _texture(path, url.group(1) if url else None))


def _face_set(path: Path, node: str) -> tuple[np.ndarray, ...]:
    # vertices, polygons, uv, uv polygons of the text behind one "IndexedFaceSet".
    def numbers(field: str, columns: int, what: str) -> np.ndarray:
        match = re.search(field + _NUMBERS, node)
        if match is None:
            raise VrnError(f"'{path}' has no {what}: the file is truncated, or the scan has no texture")
        try:
            flat = np.array(match.group(1).replace(",", " ").split(), np.float64)
        except ValueError as error:
            raise VrnError(f"'{path}': {what} holds something that is no number ({error})") from error
        if len(flat) % columns:
            raise VrnError(
                f"'{path}': {what} has {len(flat)} numbers, not a multiple of {columns}: truncated"
            )
        return flat.reshape(-1, columns) if columns > 1 else flat

    named = r"\s+(?:DEF\s+\S+\s+)?"
    coord = numbers(rf"\bcoord{named}Coordinate\s*\{{\s*point", 3, "coord Coordinate { point [...] }")
    uv = numbers(
        rf"\btexCoord{named}TextureCoordinate\s*\{{\s*point", 2, "texCoord TextureCoordinate { point [...] }"
    )
    faces = _fans(path, numbers(r"\bcoordIndex", 1, "coordIndex [...]"))
    if re.search(r"\btexCoordIndex" + _NUMBERS, node):
        uv_faces = _fans(path, numbers(r"\btexCoordIndex", 1, "texCoordIndex [...]"))
    else:
        uv_faces = faces  # VRML: the same indices
    return coord, faces, uv, uv_faces


def _fans(path: Path, index: np.ndarray) -> np.ndarray:
    # Polygons ended by -1 -> triangles (F, 3).
    index = index.astype(np.int64)
    if len(index) and index[-1] != -1:
        index = np.append(index, -1)
    ends = np.flatnonzero(index == -1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    if not len(ends) or (lengths < 3).any():
        raise VrnError(f"'{path}': a polygon has fewer than three corners: the index list is damaged")
    if (lengths == 3).all():
        return index.reshape(-1, 4)[:, :3]
    polygons = [index[s:e] for s, e in zip(starts, ends, strict=True)]
    return np.array([(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)])


def read_obj(path: str | Path) -> Scan:
    """A Wavefront OBJ file with `vt` and one texture: map_Kd of its .mtl, else the picture of the same name
    beside it, else the only picture of the folder. Polygons become fans; negative indices count from the end.

    Raises
    ------
    VrnError : see :func:`read_scan`.
    """
    path = Path(path)
    v, vt, corners, library = [], [], [], None
    for number, line in enumerate(_text(path).splitlines(), 1):
        key, _, rest = line.strip().partition(" ")
        try:
            if key == "v":
                v.append([float(n) for n in rest.split()[:3]])
            elif key == "vt":
                vt.append([float(n) for n in rest.split()[:2]])
            elif key == "f":
                polygon = [_corner(c, len(v), len(vt)) for c in rest.split()]
                if len(polygon) < 3:
                    raise ValueError("fewer than three corners")
                corners += [(polygon[0], polygon[i], polygon[i + 1]) for i in range(1, len(polygon) - 1)]
            elif key == "mtllib":
                library = rest.strip()
        except (ValueError, IndexError) as error:
            raise VrnError(f"'{path}', line {number}: '{line.strip()[:60]}' is damaged ({error})") from error
    if not v or not corners:
        raise VrnError(f"'{path}' holds no mesh ({len(v)} vertices, {len(corners)} triangles)")
    if any(len(p) != 3 for p in v) or any(len(p) != 2 for p in vt):
        raise VrnError(
            f"'{path}': a vertex has fewer than three numbers, or a texture coordinate fewer than 2"
        )
    index = np.array(corners)  # (F, 3, 2)
    if not vt or (index[..., 1] < 0).any():
        raise VrnError(f"'{path}' has no texture coordinates (vt): the scan must be textured")
    picture = None
    if library is not None and (materials := path.parent / _last(library)).is_file():
        found = re.search(r"^\s*map_Kd\s+(.+?)\s*$", _text(materials), re.MULTILINE)
        picture = found.group(1) if found else None
    return _checked(path, np.array(v), index[..., 0], np.array(vt), index[..., 1], _texture(path, picture))


def _corner(text: str, n_v: int, n_vt: int) -> tuple[int, int]:
    # "v", "v/vt", "v/vt/vn" or "v//vn" -> indices from 0; -1 where there is no vt
    parts = text.split("/")
    out = []
    for part, count in zip((parts + [""])[:2], (n_v, n_vt), strict=True):
        value = int(part) if part else 0
        out.append(value - 1 if value >= 0 else count + value)
    return out[0], out[1]


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise VrnError(f"'{path}' has {size >> 20} MB, more than a scan can have")
        return path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {error.strerror or error}") from error


def _last(name: str) -> str:
    # the last part of a file's name, perhaps written on another system: files are looked for beside the scan
    return re.split(r"[\\/]", name)[-1]


def _texture(path: Path, name: str | None) -> Path:
    candidates = []
    if name:
        candidates.append(path.parent / _last(name))
    candidates += [path.with_suffix(s) for s in _PICTURES] + [path.with_suffix(s.upper()) for s in _PICTURES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    pictures = [p for p in path.parent.iterdir() if p.suffix.lower() in _PICTURES]
    if path.suffix.lower() == ".obj" and len(pictures) == 1:
        return pictures[0]
    told = f"'{candidates[0].name}'" if name else f"'{path.stem}.jpg' or '.png'"
    raise VrnError(f"'{path}' has no texture: {told} is not beside it")


def _checked(
    path: Path, v: np.ndarray, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, texture: Path
) -> Scan:
    if not np.isfinite(v).all() or not np.isfinite(uv).all():
        raise VrnError(f"'{path}': vertices or texture coordinates are NaN or infinite")
    if faces.shape != uv_faces.shape:
        raise VrnError(
            f"'{path}': {len(faces)} triangles have corners and {len(uv_faces)} have texture coordinates: "
            "the two index lists do not belong together"
        )
    for name, index, count in (("vertex", faces, len(v)), ("texture coordinate", uv_faces, len(uv))):
        if index.min() < 0 or index.max() >= count:
            raise VrnError(f"'{path}' names {name} {int(index.max())}, but there are {count} (from 0)")
    a, b, c = (v[faces[:, i]] for i in range(3))
    good = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-12 * max(float(np.ptp(v)), 1e-12) ** 2
    if not good.any():
        raise VrnError(f"'{path}': all {len(faces)} triangles are degenerate (without area)")
    return Scan(
        path,
        v.astype(np.float64),
        faces[good].astype(np.int32),
        uv.astype(np.float32),
        uv_faces[good].astype(np.int32),
        texture,
        int((~good).sum()),
    )
