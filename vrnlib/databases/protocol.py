"""Pictures of BU-4DFE's and Florence's scans by the paper's protocol (Jackson et al. Sec. 4; his thesis).

- BU-4DFE: of each person the sequences Happy and Surprised, at 3 pitches in [-20, 20] and 7 yaws in [-80, 80]
  degrees (21 pictures), under light of random direction and colour.
- Florence: pitches -15, -20, -25 and yaws -80, -40, 0, 40, 80 degrees, as the names of the authors' volumes
  tell. They have more, near-frontal, yaws at pitch -25, and 33 of 51 people were scored: which is not told.

Not told either: the frame of a BU-4DFE sequence (the middle one is taken, where the expression is strongest),
the background (black) and whether angles count from the scan's own axes. Here they count from the face's own
frame (:func:`vrnlib.databases.landmarks.frontal`), in the rotation order of 300W-LP.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vrnlib import images
from vrnlib.appearance import to_linear
from vrnlib.databases import landmarks as marks
from vrnlib.databases.files import FileDatabase
from vrnlib.databases.posed import Posed, Window, sample, window
from vrnlib.databases.region import height_field, rear, truth_points
from vrnlib.databases.scans import Scan, read_scan
from vrnlib.errors import VrnError
from vrnlib.faces import face_solid, rotation_matrix
from vrnlib.render import rasterise, vertex_normals
from vrnlib.voxel import solid_faces

BU4DFE_POSES = tuple(itertools.product((-20.0, 0.0, 20.0), np.linspace(-80, 80, 7).tolist()))
"""(pitch, yaw) in degrees; the paper gives the numbers of angles and their range, even steps are assumed."""
FLORENCE_POSES = tuple(itertools.product((-15.0, -20.0, -25.0), (-80.0, -40.0, 0.0, 40.0, 80.0)))
BU4DFE_EXPRESSIONS = ("Happy", "Surprise")
SUPERSAMPLING = 2
"""A scan is drawn with this many samples along each side of a pixel."""
_BND_FOLDERS = ("BU4DFE_BND_V1.1", "BU4DFE_BND_V1.1/BU4DFE_BND_V1.1")
_DOWN = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Item:
    """A scan and where its landmarks are (None: nowhere)."""

    scan: Path
    landmarks: Path | None
    person: str


@dataclass(frozen=True)
class Prepared:
    """A scan in the face's own frame, millimetres, with all that does not depend on the pose."""

    scan: Scan  # vertices in the face's frame
    landmarks: np.ndarray  # (68, 3)
    solid: np.ndarray  # (2 S, 3)
    solid_faces: np.ndarray  # (M, 3)
    points: np.ndarray  # (P, 3)


def bu4dfe_items(
    folder: str | Path,
    landmarks: str | Path | None = None,
    expressions: Sequence[str] = BU4DFE_EXPRESSIONS,
) -> list[Item]:
    """The middle frame of each sequence: `F001/Happy/000.wrl ...`; its landmarks `000.bnd` (or `.csv`) beside
    it, or in the same subfolders of `landmarks` or of `BU4DFE_BND_V1.1` in or beside the database.
    """
    folder = Path(folder)
    roots = [Path(landmarks)] if landmarks is not None else []
    roots += [base / name for base in (folder, folder.parent) for name in _BND_FOLDERS]
    wanted = tuple(e.lower() for e in expressions)  # "Surprise" is also "Surprised"
    items = []
    for person in _folders(folder, r"[FM]\d{3}"):
        for sequence in sorted(
            p for p in person.iterdir() if p.is_dir() and p.name.lower().startswith(wanted)
        ):
            frames = sorted(p for p in sequence.iterdir() if p.suffix.lower() == ".wrl")
            if frames:
                scan = frames[len(frames) // 2]
                inside = scan.relative_to(person.parent)
                found = _first(
                    base / inside.with_suffix(s) for base in (person.parent, *roots) for s in (".bnd", ".csv")
                )
                items.append(Item(scan, found, person.name))
    return items


def florence_items(folder: str | Path, landmarks: str | Path | None = None) -> list[Item]:
    """One scan a person: `subject_01/Model/frontal1/obj/*.obj`, else the first .obj found (frontal before
    others); its landmarks, a table, are `NAME.csv` beside it, or `NAME.csv` or `subject_01.csv` in
    `landmarks`.
    """
    items = []
    for person in _folders(Path(folder), r"subject_?\d+"):
        scans = [p for p in sorted(person.rglob("*")) if p.suffix.lower() == ".obj"]
        scans.sort(key=lambda p: ("frontal1" not in p.parts, not any("frontal" in q for q in p.parts)))
        if scans:
            tables = [scans[0].with_suffix(".csv")]
            if landmarks is not None:
                tables += [Path(landmarks) / f"{n}.csv" for n in (scans[0].stem, person.name)]
            items.append(Item(scans[0], _first(tables), person.name))
    return items


def _folders(folder: Path, pattern: str) -> list[Path]:
    # folders of people, in `folder` or one level deeper; or `folder` itself
    if not folder.is_dir():
        raise VrnError(f"'{folder}' is not a folder: give the folder of the database")

    def people(level: list[Path]) -> list[Path]:
        return [p for p in level if p.is_dir() and re.fullmatch(pattern, p.name, re.IGNORECASE)]

    first = sorted(folder.iterdir())
    found = people([folder]) or people(first)
    bare = [p for p in first if p.is_dir() and "BND" not in p.name]
    return found or people(sorted(q for p in bare for q in p.iterdir()))


def _first(paths: Any) -> Path | None:
    return next((p for p in paths if p.is_file()), None)


def read_landmarks(item: Item, scan: Scan) -> np.ndarray:
    """The 68 landmarks (68, 3) of a scan, in the scan's frame.

    Raises
    ------
    VrnError : there are none, or they are damaged.
    """
    if item.landmarks is None:
        raise _no_landmarks(item)
    if item.landmarks.suffix.lower() == ".bnd":
        return marks.from_bnd(marks.read_bnd(item.landmarks), scan.vertices)
    return marks.read_csv(item.landmarks)


def _no_landmarks(item: Item) -> VrnError:
    return VrnError(
        f"'{item.scan}' has no landmarks: put '{item.scan.stem}.bnd' (BU-4DFE's 83 points) or "
        f"'{item.scan.stem}.csv' (68 lines x,y,z in the scan's frame, iBUG order) beside it, or name their "
        "folder with --landmarks"
    )


@lru_cache(maxsize=2)
def prepare(item: Item) -> Prepared:
    """Read a scan, turn it into the face's own frame, cut its face surface.

    Raises
    ------
    VrnError : scan or landmarks are missing, damaged, or do not belong together.
    """
    scan = read_scan(item.scan)
    points = read_landmarks(item, scan)
    unit = marks.to_millimetres(points, item.landmarks or item.scan)
    rotation, origin = marks.frontal(points * unit)
    vertices = (scan.vertices * unit - origin) @ rotation.T
    points = (points * unit - origin) @ rotation.T
    surface, faces = height_field(vertices, scan.faces, points)
    ids = truth_points(vertices, scan.faces, points)
    # seen from the front, the sides end before the ears: the solid shall not
    solid = face_solid(np.append(surface, [[0, 0, rear(points)]], 0))
    solid = np.delete(solid, [len(surface), len(solid) - 1], 0)
    return Prepared(
        replace(scan, vertices=vertices), points, solid, solid_faces(faces, len(surface)), vertices[ids]
    )


class ScanRenderings(FileDatabase):
    """Scans, each drawn in every pose of a protocol, as samples (see :mod:`vrnlib.databases`).

    Samples of one scan follow each other. The light of a picture depends on (seed, number) alone, with or
    without augmentation, which acts on the camera: the picture is drawn, not warped.

    Parameters
    ----------
    items : scans with their landmarks (:func:`bu4dfe_items`, :func:`florence_items`).
    poses : (pitch, yaw) in degrees.
    background : RGB 0..255 behind the head.
    size, depth, seed, augment, truth, skip_bad : see :class:`FileDatabase`.

    Raises
    ------
    VrnError : no scans; a scan without landmarks (unless `skip_bad`).
    """

    def __init__(
        self,
        items: Sequence[Item],
        poses: Sequence[tuple[float, float]],
        size: int = 192,
        depth: int = 200,
        *,
        name: str = "scans",
        background: tuple[int, int, int] = (0, 0, 0),
        **options: Any,
    ):
        super().__init__(size, depth, **options)
        self.name, self.poses, self.background = name, tuple(poses), background
        bare = [i for i in items if i.landmarks is None]
        if bare and self.skip_bad:
            self.skipped |= {i.scan: f"'{i.scan}' has no landmarks" for i in bare}
            items = [i for i in items if i.landmarks is not None]
        elif bare:
            raise _no_landmarks(bare[0])
        if not items:
            raise VrnError(f"{name}: no scans with landmarks were found")
        self.items = list(items)

    def _count(self) -> int:
        return len(self.items) * len(self.poses)

    def path(self, number: int) -> Path:
        return self.items[number // len(self.poses)].scan

    def _sample(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        prepared = prepare(self.items[number // len(self.poses)])
        pitch, yaw = self.poses[number % len(self.poses)]
        pose = np.deg2rad([pitch, yaw, 0.0])
        turn = (rotation_matrix(*pose).T) * _DOWN  # the picture's unit is the millimetre
        landmarks = prepared.landmarks @ turn
        face = Posed(
            prepared.solid @ turn,
            prepared.solid_faces,
            landmarks,
            pose,
            prepared.points @ turn if self.truth else None,
            landmarks[[36, 45]] if self.truth else None,
        )
        light = np.random.default_rng((self.seed, 5, number))
        direction = light.normal(size=3) * [1.0, 0.7, 0.4] + [0, 0.2, 0.9]
        lamp = (direction / np.linalg.norm(direction), light.uniform(0.6, 1.0, 3))

        def draw(view: Window) -> np.ndarray:
            return render_scan(prepared.scan, turn, view, *lamp, self.background)

        view = window(landmarks, self.grid.size, self.augment, rng)
        return sample(face, draw, self.grid, view)


def render_scan(
    scan: Scan,
    turn: np.ndarray,
    view: Window,
    direction: np.ndarray,
    colour: np.ndarray,
    background: tuple[int, int, int] = (0, 0, 0),
    ambient: float = 0.35,
) -> np.ndarray:
    """Draw a textured scan: matt, one lamp far away, no shadows.

    Parameters
    ----------
    turn : (3, 3), ``vertices @ turn`` is the image frame (y down).
    view : from there to the picture.
    direction : (3,) unit vector towards the lamp, y up; colour : (3,) linear RGB of the lamp.

    Returns
    -------
    (size, size, 3) uint8 sRGB.
    """
    k = SUPERSAMPLING
    size = view.size * k
    fine = replace(view, matrix=view.matrix * k + [[0, 0, (k - 1) / 2]] * 2)  # pixel centres: (p + .5) k - .5
    posed = fine.apply(scan.vertices @ turn)
    tri, bary, _ = rasterise(posed, scan.faces, size, size)
    seen = tri >= 0
    f, wb, wc = tri[seen], bary[seen][:, :1], bary[seen][:, 1:]

    def blend(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        a, b, c = (values[index[f, i]] for i in range(3))
        return a * (1 - wb - wc) + b * wb + c * wc

    normal = blend(vertex_normals(posed, scan.faces), scan.faces)
    normal *= np.where(normal[:, 2:] < 0, -1, 1) * _DOWN  # what is seen faces the viewer; y up again
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    shade = ambient + (1 - ambient) * np.clip(normal @ direction, 0, None)[:, None] * colour
    albedo = _texels(scan, blend(scan.uv, scan.uv_faces), int(seen.sum()))
    picture = np.broadcast_to(to_linear(np.asarray(background) / 255.0), (size, size, 3)).copy()
    picture[seen] = to_linear(albedo / 255.0) * shade
    small = picture.reshape(view.size, k, view.size, k, 3).mean((1, 3))
    return np.clip(small ** (1 / 2.2) * 255 + 0.5, 0, 255).astype(np.uint8)


def _texels(scan: Scan, uv: np.ndarray, pixels: int) -> np.ndarray:
    # Texture colours (N, 3) float32 0..255 at uv (N, 2), from a texture reduced to about a texel a pixel.
    texture = _texture(scan.texture)
    h, w = texture.shape[:2]
    extent = np.prod(np.maximum(np.ptp(uv, axis=0), 1e-3)) * h * w if len(uv) else 1.0
    factor = min(1.0, float(np.sqrt(2.0 * max(pixels, 1) / max(extent, 1.0))))
    if factor < 0.7:
        texture = cv2.resize(texture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        h, w = texture.shape[:2]
    uv = np.where((uv >= 0) & (uv <= 1), uv, uv % 1)  # textures repeat
    x, y = uv[:, 0] * w - 0.5, (1 - uv[:, 1]) * h - 0.5
    out = np.empty((len(uv), 3), np.float32)
    for start in range(0, len(uv), 30000):  # cv2.remap takes at most 32,767 rows
        part = slice(start, start + 30000)
        out[part] = cv2.remap(
            texture,
            x[part, None].astype(np.float32),
            y[part, None].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )[:, 0]
    return out


@lru_cache(maxsize=2)
def _texture(path: Path) -> np.ndarray:
    return images.load(path)


def bu4dfe(
    folder: str | Path,
    size: int = 192,
    depth: int = 200,
    *,
    landmarks: str | Path | None = None,
    **options: Any,
) -> ScanRenderings:
    """BU-4DFE by the paper's protocol; see :func:`bu4dfe_items` and :class:`ScanRenderings`."""
    items = bu4dfe_items(folder, landmarks)
    if not items:
        raise VrnError(f"'{folder}' holds no sequences such as F001/Happy/000.wrl")
    return ScanRenderings(items, BU4DFE_POSES, size, depth, name="BU-4DFE", **options)


def florence(
    folder: str | Path,
    size: int = 192,
    depth: int = 200,
    *,
    landmarks: str | Path | None = None,
    **options: Any,
) -> ScanRenderings:
    """Florence by the paper's protocol; see :func:`florence_items` and :class:`ScanRenderings`."""
    items = florence_items(folder, landmarks)
    if not items:
        raise VrnError(f"'{folder}' holds no scans such as subject_01/Model/frontal1/obj/NAME.obj")
    return ScanRenderings(items, FLORENCE_POSES, size, depth, name="Florence", **options)
