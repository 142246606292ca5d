"""300W-LP and AFLW2000-3D (Zhu et al., CVPR 2016): photographs with a fitted morphable model.

A picture `NAME.jpg` (450 x 450 px) has its parameters in `NAME.mat`:

============ ============ =========================================================================
Pose_Para    (1, 7)       pitch, yaw, roll (radians), tx, ty, tz (pixels), f (pixels per micrometre)
Shape_Para   (199, 1)     coefficients, not whitened (:mod:`vrnlib.databases.bfm`)
Exp_Para     (29, 1)
pt2d         (2, 68)      labelled landmarks; in AFLW2000-3D (2, 21), -1 where hidden; not used
pt3d_68      (3, 68)      AFLW2000-3D only; used to check that parameters and model parts fit
============ ============ =========================================================================

P = f R(pitch, yaw, roll) V + t, with y up from the picture's lower edge. In the image frame y = H - 1 - P_y
(face3d's code, which all Python projects follow). 3DDFA's own MATLAB plots (P_x, H + 1 - P_y) counting pixels
from 1, which is one pixel to the left and one down from that: `convention="3ddfa"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import images
from vrnlib.databases import matfile
from vrnlib.databases.bfm import FaceModel, load_model
from vrnlib.databases.files import FileDatabase
from vrnlib.databases.mask import evaluation_mask
from vrnlib.databases.posed import Posed, sample, window
from vrnlib.databases.region import model_surface
from vrnlib.errors import VrnError
from vrnlib.faces import face_solid, rotation_matrix
from vrnlib.voxel import solid_faces

SUBSETS = ("AFW", "HELEN", "IBUG", "LFPW")
"""Folders of 300W-LP; each has a mirrored twin `NAME_Flip`."""
KEYS = {"Pose_Para": (1, 7), "Shape_Para": (None, 1), "Exp_Para": (None, 1), "pt3d_68": (3, 68)}
_NOT_SAMPLES = {"landmarks", "code"}  # folders of the distribution that hold other .mat files
MISFIT = 0.25
"""Largest mean distance between pt3d_68 and the model's landmarks, in units of the landmark box."""


def pairs(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Pictures (.jpg, .png) with their .mat beside them, sorted, and pictures without one; folders
    `landmarks` and `Code` of the distributions are left out.

    Raises
    ------
    VrnError : the folder can't be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VrnError(f"'{folder}' is not a folder: give the folder of the database")
    good, alone = [], []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or path.name.startswith("."):
            continue
        if _NOT_SAMPLES & {part.lower() for part in path.relative_to(folder).parts[:-1]}:
            continue
        (good if path.with_suffix(".mat").is_file() else alone).append(path)
    return good, alone


def read_parameters(path: str | Path) -> dict[str, np.ndarray]:
    """One .mat file -> pose (3,), translation (3,) px, scale (pixels per millimetre), shape, expression, and
    pt3d_68 (3, 68) or nothing; float64.

    Raises
    ------
    VrnError : see :func:`vrnlib.databases.matfile.load`; or a scale that is not positive.
    """
    raw = matfile.load(path, KEYS, optional=("pt3d_68",))
    pose = raw["Pose_Para"].astype(np.float64)[0]
    if not pose[6] > 0:
        raise VrnError(f"'{path}': the scale f of Pose_Para is {pose[6]:g}, it must be positive")
    out = {
        "pose": (pose[:3] + np.pi) % (2 * np.pi) - np.pi,
        "translation": pose[3:6],
        "scale": pose[6] * 1000,  # the model is in millimetres here
        "shape": raw["Shape_Para"].astype(np.float64).ravel(),
        "expression": raw["Exp_Para"].astype(np.float64).ravel(),
    }
    if "pt3d_68" in raw:
        out["pt3d_68"] = raw["pt3d_68"].astype(np.float64)
    return out


def to_image(
    vertices: np.ndarray, parameters: dict[str, Any], height: int, convention: str = "face3d"
) -> np.ndarray:
    """Model millimetres (..., 3) -> image frame (..., 3) float64 of a picture `height` pixels high."""
    p = parameters["scale"] * (vertices @ rotation_matrix(*parameters["pose"]).T) + parameters["translation"]
    if convention == "face3d":
        return p * [1, -1, 1] + [0, height - 1, 0]
    if convention == "3ddfa":
        return p * [1, -1, 1] + [-1, height, 0]
    raise VrnError(f"unknown convention '{convention}': use face3d or 3ddfa")


class W300LP(FileDatabase):
    """300W-LP or AFLW2000-3D as samples (see :mod:`vrnlib.databases`); both have one format.

    Parameters
    ----------
    folder : of the database, or a part of it (`AFW`, `HELEN_Flip`).
    bfm : folder of the model's parts, or a :class:`FaceModel`; None looks in `folder` and beside it.
    exclude : names (or beginnings of names) of pictures to leave out, or a text file with one a line. The
        authors did not train on the test parts of HELEN and LFPW, which come without a list.
    mask : vertices that are `points` of the truth; None is the authors' evaluation mask.
    convention : see the module.
    size, depth, seed, augment, truth, skip_bad : see :class:`FileDatabase`.

    Raises
    ------
    VrnError : no picture, a picture without .mat (unless `skip_bad`), an incomplete model.
    """

    name = "300W-LP"

    def __init__(
        self,
        folder: str | Path,
        size: int = 192,
        depth: int = 200,
        *,
        bfm: str | Path | FaceModel | None = None,
        exclude: Iterable[str] | str | Path = (),
        mask: np.ndarray | None = None,
        convention: str = "face3d",
        **options: Any,
    ):
        super().__init__(size, depth, **options)
        self.folder = Path(folder)
        self.convention = convention
        self.paths, alone = pairs(self.folder)
        if alone:
            if not self.skip_bad:
                raise VrnError(
                    f"'{alone[0]}' has no .mat beside it ({len(alone)} pictures of '{self.folder}' have "
                    "none): complete the folder, or skip bad files"
                )
            self.skipped |= {p: f"'{p}' has no .mat beside it" for p in alone}
        left_out = _names(exclude)
        if left_out:
            self.paths = [p for p in self.paths if not p.name.startswith(left_out)]
        if not self.paths:
            raise VrnError(f"'{self.folder}' holds no pictures (.jpg) with .mat files beside them")
        model = bfm if isinstance(bfm, FaceModel) else load_model(bfm, self.folder)
        self._prepare(model, mask)

    def _prepare(self, model: FaceModel, mask: np.ndarray | None) -> None:
        # Of the model keep only what a sample needs; where each part lies in `self._model`.
        surface, faces = model_surface(model.mean, model.faces, model.mean[model.landmarks])
        points = np.zeros(0, np.int64)
        if self.truth:
            points = evaluation_mask() if mask is None else np.asarray(mask, np.int64)
            if not len(points) or points.min() < 0 or points.max() >= len(model.mean):
                raise VrnError(
                    f"the mask needs vertex {int(points.max(initial=-1))}, {model.source} has "
                    f"{len(model.mean)}"
                )
        ids = np.unique(np.concatenate([surface, model.landmarks, points]))
        self._model = model.part(ids)
        self._surface, self._landmarks, self._points = (
            np.searchsorted(ids, v) for v in (surface, model.landmarks, points)
        )
        self._faces = solid_faces(faces, len(surface))

    def _count(self) -> int:
        return len(self.paths)

    def path(self, number: int) -> Path:
        return self.paths[number]

    def posed(self, number: int, height: int) -> Posed:
        """The face of item `number` on its picture of `height` pixels, in the image frame.

        Raises
        ------
        VrnError : bad parameters, or landmarks that contradict `pt3d_68`.
        """
        path = self.paths[number].with_suffix(".mat")
        given = read_parameters(path)
        vertices = self._model.vertices(given["shape"], given["expression"])

        def placed(v: np.ndarray) -> np.ndarray:
            return to_image(v, given, height, self.convention)

        landmarks = placed(vertices[self._landmarks])
        self._compare(path, landmarks, given.get("pt3d_68"))
        eyes = landmarks[[36, 45]]
        solid = placed(face_solid(vertices[self._surface]))
        points = placed(vertices[self._points]) if self.truth else None
        return Posed(solid, self._faces, landmarks, given["pose"], points, eyes if self.truth else None)

    def _compare(self, path: Path, landmarks: np.ndarray, told: np.ndarray | None) -> None:
        if told is None:
            return
        box = np.sqrt(np.prod(np.ptp(told[:2], axis=1)))
        distance = np.linalg.norm(landmarks[:, :2] - told[:2].T, axis=1).mean()
        if not distance <= MISFIT * box:
            raise VrnError(
                f"'{path}': the model's landmarks lie {distance:.0f} px from pt3d_68 on average: the parts "
                "of the model belong to another version, or the file is damaged"
            )

    def _sample(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = images.load(self.paths[number])
        face = self.posed(number, image.shape[0])
        low, high = face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)
        inside = np.clip(np.minimum(high, [image.shape[1], image.shape[0]]) - np.maximum(low, 0), 0, None)
        if np.prod(inside) < 0.1 * np.prod(high - low):
            raise VrnError(
                f"'{self.paths[number]}': the face lies outside its picture ({low[0]:.0f}, {low[1]:.0f} to "
                f"{high[0]:.0f}, {high[1]:.0f} px): the .mat belongs to another picture"
            )
        view = window(face.landmarks, self.grid.size, self.augment, rng)
        return sample(face, lambda v: v.picture(image), self.grid, view)


class AFLW2000(W300LP):
    """AFLW2000-3D: 2000 pictures `image00002.jpg` ... with .mat files; everything as :class:`W300LP`."""

    name = "AFLW2000-3D"


def _names(exclude: Iterable[str] | str | Path) -> tuple[str, ...]:
    if isinstance(exclude, (str, Path)):
        try:
            exclude = Path(exclude).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VrnError(f"cannot read the list of pictures to leave out '{exclude}': {error}") from error
    return tuple(line.strip() for line in exclude if line.strip())
