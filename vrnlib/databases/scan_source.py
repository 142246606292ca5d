"""Where the faces of `mapped-scans` come from: the source distribution of the package `meshmonk`, fetched
through pip when first needed, checked, read without unpacking, laid into our frame and kept in the user's
cache. Nothing of it is part of this project.

What is taken (Apache-2.0, White et al., *MeshMonk*, Scientific Reports 2019): 45 simulated faces in one
topology of 7,160 vertices (`SIMPOP_01..45.obj`), their template with five landmarks, and one real textured
bust scan of 54,532 vertices with five landmarks. The distribution does not say how the 45 were simulated; a
PCA shows only about ten degrees of freedom, so they are draws from a small model, not 45 free people.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from vrnlib.anatomy import components
from vrnlib.databases.landmark_transfer import Target, register, similarity, warp
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis
from vrnlib.provenance import replacing, sha256
from vrnlib.render import rasterise
from vrnlib.voxel import border_edges

SDIST = "meshmonk==0.3.0"
ARCHIVE_SHA256 = "33f108c6876a305cf66a05bd42f80bfefb4aa3cbe7feb5931055be2b0b4d17d6"
ARCHIVE_BYTES = 59_970_892
MAPPED = 45
"""Number of mapped faces."""
PREPARED = 1
"""Version of what is kept in the cache; raise it when `prepare` changes."""
TEXTURE_SIZE = 1400
"""Longer side, in pixels, to which the scan's photograph is reduced."""
ANCHORS = (39, 42, 30, 48, 54)
"""iBUG numbers of the distribution's five landmarks: inner eye corners, tip of the nose, corners of the
mouth; the subject's right first.
"""
# The scan's brows, eyes and lips, (x, y) in its own millimetres, read off a large frontal drawing of its
# texture: shape alone hardly shows them. z is the surface's.
SCAN_READ = {
    17: (-45.5, 73.5), 18: (-38, 79.5), 19: (-27, 81), 20: (-16, 80), 21: (-5, 78),
    22: (29.5, 77), 23: (41, 79.5), 24: (52, 81), 25: (63, 79.5), 26: (71, 74),
    36: (-32.5, 60), 37: (-26, 66.5), 38: (-14, 66.5), 39: (-5, 58.3), 40: (-14, 56.5), 41: (-25, 56),
    42: (30.5, 57.5), 43: (40, 65), 44: (52, 66.5), 45: (60.5, 60), 46: (52, 55.5), 47: (40, 55),
    48: (-10.5, -13), 49: (-1, -3.5), 50: (10.5, 1), 51: (15, 0), 52: (20, 1), 53: (33, -4.5),
    54: (43.5, -15.5), 55: (34, -16), 56: (23, -15.8), 57: (15, -15.5), 58: (8, -15.5), 59: (-1, -14.5),
    60: (-8, -12), 61: (5, -8.8), 62: (15.5, -8.7), 63: (25, -10), 64: (40, -14.5), 65: (25, -10.8),
    66: (15.5, -9.7), 67: (5, -9.6),
}  # fmt: skip
LID_OPENING = 0.7
"""Eyes of mapped faces are drawn this much lower than our wide open ones."""
SEAM = 6.0
"""Our head behind a mapped face is cut away further than this many millimetres inside the mask's border."""
SCAN_REACH = 6.0
"""A vertex of the scan belongs to the face within so many millimetres of our face surface laid onto it."""

_ROOT = "meshmonk-0.3.0/"
_TEMPLATE = _ROOT + "tutorial/TutorialData/Template"
_FACES = _ROOT + "tutorial/TutorialData/SimulatedMappedFaces/SIMPOP_{:02d}.obj"
_SCAN = _ROOT + "demo/demoFace"
_SCAN_LANDMARKS = _ROOT + "demo/DemoFaceLandmarks.csv"
_LARGEST = 100_000_000  # bytes of a member: none of ours is larger than 17 MB


@dataclass(frozen=True)
class ScanData:
    """Everything in our model frame (mm, x right, y up, z to the viewer, origin between the eyes).

    The 45 mapped faces share topology, so the arrays without a leading 45 hold for all of them.
    """

    vertices: np.ndarray  # (45, 7160, 3) float32
    faces: np.ndarray  # (14050, 3) int32, the open mask
    landmarks: np.ndarray  # (45, 68, 3) float32
    heads: np.ndarray  # (45, V, 3) float32: our mean head laid around each, for ears, neck and hair
    kept: np.ndarray  # (F,) bool: triangles of our head that the mask does not cover
    canon: np.ndarray  # (7160, 3) float32: our template's coordinates, for the shader
    lips: np.ndarray  # (7160,) float32
    occlusion: np.ndarray  # (7160,) float32
    split: np.ndarray  # (14050,) bool: triangles around the eyes, drawn as 16 each
    split_corners: np.ndarray  # (N, 3) int32 and
    split_weights: np.ndarray  # (N, 3) float32: the vertices of those small triangles
    split_faces: np.ndarray  # (G, 3) int32, into these N
    eye: np.ndarray  # (G,) bool: small triangles between the lids
    scan_vertices: np.ndarray  # (54532, 3) float32
    scan_faces: np.ndarray  # (107843, 3) int32
    scan_uv: np.ndarray  # (107843, 3, 2) float32, texture coordinates of each corner, v upwards
    scan_texture: np.ndarray  # (T, T', 3) uint8 RGB
    scan_landmarks: np.ndarray  # (68, 3) float32
    scan_region: np.ndarray  # (107843,) bool: triangles of the face surface, one piece, one border


def cache_folder() -> Path:
    """The user's cache: ``$XDG_CACHE_HOME/vrnlib`` or ``~/.cache/vrnlib``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vrnlib"


@lru_cache(maxsize=1)
def load_scans(folder: Path | None = None) -> ScanData:
    """The prepared faces and scan: from the cache, or fetched (60 MB) and prepared (a minute) once.

    Raises
    ------
    VrnError : the distribution can't be fetched or is not the one we know; callers show "not run".
    """
    folder = cache_folder() if folder is None else folder
    path = folder / f"mapped-scans-{PREPARED}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return ScanData(**{f.name: file[f.name] for f in fields(ScanData)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or damaged: make it anew
    with tempfile.TemporaryDirectory() as temporary:
        data = prepare(fetch(Path(temporary)))
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **{f.name: getattr(data, f.name) for f in fields(ScanData)})
    return data


def fetch(folder: Path) -> Path:
    """Fetch the distribution through pip into `folder`; returns the archive, whose hash has been checked.

    Raises
    ------
    VrnError : pip fails, or the archive is another one.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "meshmonk"]
    done = subprocess.run([*command, "-d", str(folder), SDIST], capture_output=True, text=True)
    archives = list(folder.glob("meshmonk-*.tar.gz"))
    if done.returncode or not archives:
        said = " ".join(done.stderr.strip().splitlines()[-1:]) or f"pip ended with code {done.returncode}"
        raise VrnError(
            f"the faces of mapped-scans could not be fetched: pip download {SDIST} said '{said}'; "
            "connect to a package index, or go on without this database"
        )
    check_archive(archives[0])
    return archives[0]


def check_archive(path: Path) -> None:
    """Raise VrnError unless the file is the distribution we know, byte for byte."""
    size, digest = path.stat().st_size, sha256(path)
    if size != ARCHIVE_BYTES or digest != ARCHIVE_SHA256:
        raise VrnError(
            f"{path.name} is not the expected {SDIST}: {size} bytes with sha256 {digest[:12]}..., expected "
            f"{ARCHIVE_BYTES} bytes with {ARCHIVE_SHA256[:12]}...: fetch it again or leave this database out"
        )


def prepare(archive: Path) -> ScanData:
    """Read the distribution and lay everything into our frame: similarity, rotation and landmarks by
    :mod:`vrnlib.databases.landmark_transfer`.

    Raises
    ------
    VrnError : the archive lacks a member or holds one that can't be read.
    """
    try:
        with tarfile.open(archive) as tar:
            template, template_faces, *_ = _read_obj(_member(tar, _TEMPLATE + ".obj"))
            anchors = _read_points(_member(tar, _TEMPLATE + ".csv"))
            mapped = np.stack([_read_obj(_member(tar, _FACES.format(i)))[0] for i in range(1, MAPPED + 1)])
            scan = _read_obj(_member(tar, _SCAN + ".obj"))
            scan_anchors = _read_points(_member(tar, _SCAN_LANDMARKS))
            picture = cv2.imdecode(np.frombuffer(_member(tar, _SCAN + ".png"), np.uint8), cv2.IMREAD_COLOR)
    except (tarfile.TarError, OSError, ValueError, IndexError) as error:
        raise VrnError(f"{archive.name} can't be read ({error}): fetch it again") from error
    return ScanData(
        **_prepare_mapped(template, template_faces, anchors, mapped),
        **_prepare_scan(scan, scan_anchors, picture),
    )


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    # Read into memory: no path of the archive ever reaches the disk.
    try:
        member = tar.getmember(name)
    except KeyError:
        raise VrnError(f"{SDIST} holds no {name}: it is not the distribution we know") from None
    if not member.isreg() or member.size > _LARGEST:
        raise VrnError(f"{name} in {SDIST} is not an ordinary file of a sensible size")
    content = tar.extractfile(member)
    assert content is not None  # isreg() holds
    return content.read()


def _read_obj(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Vertices (V, 3), triangles (F, 3), texture coordinates (T, 2), and their triangles (F, 3; -1: none).
    v, vt, f, ft = [], [], [], []
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="replace"):
        kind, _, rest = line.partition(" ")
        if kind == "v":
            v.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            vt.append([float(x) for x in rest.split()[:2]])
        elif kind == "f":
            corners = [c.split("/") for c in rest.split()]
            f.append([int(c[0]) - 1 for c in corners])
            ft.append([int(c[1]) - 1 if len(c) > 1 and c[1] else -1 for c in corners])
    return (
        np.array(v), np.array(f, np.int32), np.array(vt).reshape(-1, 2), np.array(ft, np.int32),
    )  # fmt: skip


def _read_points(data: bytes) -> np.ndarray:
    return np.loadtxt(io.StringIO(data.decode()), delimiter=",", ndmin=2)[:, :3]


def _on_surface() -> tuple[np.ndarray, np.ndarray]:
    # (68,) position of each landmark among the vertices of the face surface; and whether it lies on it: the
    # jaw in front of the ears does not
    basis = load_basis()
    at = np.minimum(np.searchsorted(basis.surface, basis.landmarks), len(basis.surface) - 1)
    return at, basis.surface[at] == basis.landmarks


def transfer_landmarks(deformed: np.ndarray, target: Target, reach: float = 4.0) -> np.ndarray:
    """The 68 iBUG points on a target that our mean face has been laid onto.

    A point goes to the nearest surface point, if that is within `reach` mm and not on the target's border.
    The rest (the jaw line beyond the rim of an open mask) stays where our whole head, warped along, has it.
    Points of the lids are those of our open eyes, which are also what is drawn on the mapped faces.

    Parameters
    ----------
    deformed : (S, 3), result of :func:`vrnlib.databases.landmark_transfer.register`.

    Returns
    -------
    (68, 3) float64.
    """
    basis = load_basis()
    at, on = _on_surface()
    out = warp(*_controls(deformed), basis.mean[basis.landmarks].astype(np.float64))
    out[on] = deformed[at[on]]
    triangle, weights, on_border = target.nearest(out)
    place = target.at(triangle, weights)
    near = ~on_border & (np.linalg.norm(place - out, axis=1) < reach)
    out[near] = place[near]
    return out


def _controls(deformed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # every third vertex is plenty for a smooth spline
    basis = load_basis()
    return basis.mean[basis.surface][::3].astype(np.float64), deformed[::3]


def _prepare_mapped(
    template: np.ndarray, faces: np.ndarray, anchors: np.ndarray, mapped: np.ndarray
) -> dict[str, np.ndarray]:
    basis = load_basis()
    source = basis.mean[basis.surface].astype(np.float64)
    at, _ = _on_surface()
    target = Target(template, faces)
    deformed = register(source, basis.surface_faces, target, at[list(ANCHORS)], anchors)
    # our surface -> template; where it has a partner off the border the pair holds for all 45 faces
    triangle, weights, on_border = target.nearest(deformed)
    paired = ~on_border & (np.linalg.norm(target.at(triangle, weights) - deformed, axis=1) < 2)
    landmarks = transfer_landmarks(deformed, target)
    landmarks[[65, 66, 67]] = landmarks[[63, 62, 61]]  # these mouths are shut, ours is not quite
    lm_triangle, lm_weights, lm_border = target.nearest(landmarks)
    lm_on = ~lm_border & (np.linalg.norm(target.at(lm_triangle, lm_weights) - landmarks, axis=1) < 1e-3)
    out_vertices, out_landmarks, heads = [], [], []
    chosen = np.flatnonzero(paired)[::3]
    for shape in mapped:
        # rigid, scale kept: into our frame by the vertices that have a partner
        place = target.at(triangle[paired], weights[paired], shape)
        _, rotation, _ = similarity(place, source[paired])
        shape = shape @ rotation.T
        place = target.at(triangle[chosen], weights[chosen], shape)
        head = warp(source[chosen], place, basis.mean.astype(np.float64))
        points = head[basis.landmarks]
        points[lm_on] = target.at(lm_triangle[lm_on], lm_weights[lm_on], shape)
        eyes = points[36:48].mean(0) * [1, 1, 0] + [0, 0, _eye_depth(points)]
        out_vertices.append(shape - eyes)
        out_landmarks.append(points - eyes)
        heads.append(head - eyes)
    canon, lips, occlusion = _carried_back(deformed, template)
    # what of our head is hidden under the mask: paired vertices more than SEAM inside its border
    rim = template[np.unique(border_edges(faces))]
    depth = np.zeros(len(basis.mean))
    gap = np.linalg.norm(deformed[:, None] - rim[None], axis=2).min(1)
    depth[basis.surface] = np.where(paired, gap, 0)
    hidden = (depth > SEAM)[basis.faces].all(1)
    return {
        "vertices": np.stack(out_vertices).astype(np.float32),
        "faces": faces,
        "landmarks": np.stack(out_landmarks).astype(np.float32),
        "heads": np.stack(heads).astype(np.float32),
        "kept": (basis.part == 0) & ~hidden,
        "canon": canon.astype(np.float32),
        "lips": lips.astype(np.float32),
        "occlusion": occlusion.astype(np.float32),
        **_refined_eyes(template, faces, canon),
    }


def _eye_depth(landmarks: np.ndarray) -> float:
    # z of the middle of the eyeballs: as far behind the eye corners as on our mean face
    basis = load_basis()
    ours = basis.mean[basis.landmarks[36:48], 2].mean()
    return float(landmarks[36:48, 2].mean() - ours)


def _carried_back(deformed: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # What the shader needs, at the template's vertices: canonical coordinates, lips, occlusion. Beyond our
    # surface's border the warped head goes on.
    basis = load_basis()
    head = warp(*_controls(deformed), basis.mean.astype(np.float64))
    head[basis.surface] = deformed
    skin = basis.faces[basis.part == 0]
    patches = _patches(basis.surface[basis.surface_faces], basis.faces)
    ours = Target(head, np.concatenate([skin, patches]).astype(np.int32))
    triangle, weights, _ = ours.nearest(template)
    known = np.column_stack([basis.template, basis.lips, basis.occlusion]).astype(np.float64)
    values = ours.at(triangle, weights, known)
    return values[:, :3], values[:, 3], values[:, 4]


def _refined_eyes(template: np.ndarray, faces: np.ndarray, canon: np.ndarray) -> dict[str, np.ndarray]:
    # Triangles around the eyes cut in 16, so that the rim of the lids is smooth when it is drawn; and which
    # of the small ones lie between the lids: within the polygon of our eye landmarks, made lower because
    # these lids are half shut.
    basis, n = load_basis(), 4
    outlines = []
    for eye in (slice(36, 42), slice(42, 48)):
        corners = basis.template[basis.landmarks[eye], :2].astype(np.float64)
        outlines.append((corners - corners.mean(0)) * [0.95, LID_OPENING] + corners.mean(0))
    centre = canon[faces].mean(1)
    near = [np.abs(centre[:, :2] - o.mean(0)).max(1) < 20 for o in outlines]
    split = (near[0] | near[1]) & (centre[:, 2] > -20)
    steps = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    at = {step: k for k, step in enumerate(steps)}
    small = []
    for i, j, k in at:
        if k > 0:
            small.append((at[i, j, k], at[i + 1, j, k - 1], at[i, j + 1, k - 1]))
        if k > 0 and j > 0:
            small.append((at[i, j, k], at[i + 1, j - 1, k], at[i + 1, j, k - 1]))
    weights = np.array(steps) / n
    # the same point of two neighbours is one vertex, or light would break at their edge
    corners = np.repeat(faces[split], len(steps), 0)
    weights = np.tile(weights, (int(split.sum()), 1))
    places = np.einsum("nk,nkc->nc", weights, template[corners])
    _, first, number = np.unique(np.round(places, 5), axis=0, return_index=True, return_inverse=True)
    base = np.arange(split.sum())[:, None, None] * len(steps)
    split_faces = number.ravel()[(np.array(small)[None] + base).reshape(-1, 3)]
    middle = np.einsum("nk,nkc->nc", weights[first], canon[corners[first]])[split_faces].mean(1)
    inside = [
        cv2.pointPolygonTest(o.astype(np.float32), tuple(p), False) >= 0
        for o in outlines
        for p in middle[:, :2].tolist()
    ]
    return {
        "split": split,
        "split_corners": corners[first].astype(np.int32),
        "split_weights": weights[first].astype(np.float32),
        "split_faces": split_faces.astype(np.int32),
        "eye": np.array(inside).reshape(2, -1).any(0),
    }


def _patches(surface_faces: np.ndarray, faces: np.ndarray) -> np.ndarray:
    # The triangles that close eyes and mouth: those of the surface which the head does not have.
    known = {tuple(sorted(f)) for f in faces.tolist()}
    return np.array([f for f in surface_faces.tolist() if tuple(sorted(f)) not in known], np.int32)


def _front(vertices: np.ndarray, faces: np.ndarray, places: np.ndarray) -> np.ndarray:
    # the front-most point of a mesh at places (N, 2), x and y in its own millimetres: (N, 3)
    low, k = places.min(0) - 2, 10  # pixels a millimetre
    width, height = ((np.ptp(places, axis=0) + 4) * k).astype(int)
    pixels = (vertices - [*low, 0]) * [k, k, 1]
    depth = rasterise(pixels, faces, height, width)[2]
    x, y = np.round((places - low) * k).astype(int).T
    return np.column_stack([places, depth[y, x]])


def _prepare_scan(
    scan: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], anchors: np.ndarray, picture: np.ndarray
) -> dict[str, np.ndarray]:
    basis = load_basis()
    vertices, faces, uv, uv_faces = scan
    at, _ = _on_surface()
    source = basis.mean[basis.surface].astype(np.float64)
    target = Target(vertices, faces)
    deformed = register(source, basis.surface_faces, target, at[list(ANCHORS)], anchors)
    # into our frame; the man keeps his size
    _, rotation, _ = similarity(deformed, source)
    vertices, deformed = vertices @ rotation.T, deformed @ rotation.T
    target = Target(vertices, faces)
    landmarks = transfer_landmarks(deformed, target)
    landmarks[list(SCAN_READ)] = _front(scan[0], faces, np.array(list(SCAN_READ.values()))) @ rotation.T
    origin = landmarks[36:48].mean(0) * [1, 1, 0] + [0, 0, _eye_depth(landmarks)]
    ours = Target(deformed, basis.surface_faces)
    close = np.flatnonzero(cKDTree(deformed).query(vertices)[0] < 3 * SCAN_REACH)  # a third; the rest is far
    triangle, weights, on_border = ours.nearest(vertices[close])
    near = np.linalg.norm(ours.at(triangle, weights) - vertices[close], axis=1) < SCAN_REACH
    inside = np.zeros(len(vertices), bool)
    inside[close] = near & ~on_border
    region = inside[faces].all(1)
    label = components(faces[region], len(vertices))
    largest = np.bincount(label[faces[region][:, 0]]).argmax()
    region &= label[faces[:, 0]] == largest
    side = TEXTURE_SIZE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=side, fy=side, interpolation=cv2.INTER_AREA)
    return {
        "scan_vertices": (vertices - origin).astype(np.float32),
        "scan_faces": faces,
        "scan_uv": uv[uv_faces].astype(np.float32),
        "scan_texture": np.ascontiguousarray(small[..., ::-1]),
        "scan_landmarks": (landmarks - origin).astype(np.float32),
        "scan_region": region,
    }
