"""The Basel face model in the parts that users of 300W-LP must bring: vertices from `Shape_Para`, `Exp_Para`.

The model's licence does not allow to pass it on (https://faces.dmi.unibas.ch/bfm/). Three sets of files are
understood, wherever they lie in a folder:

- `BFM.mat` as made by face3d's `generate.m`;
- `Model_Shape.mat` (made by `ModelGenerate.m` of the 3DDFA and HPEN packages) with `Model_Exp.mat` or
  `Model_Expression.mat`;
- `01_MorphableModel.mat` (BFM 2009 as it comes) with `model_info.mat` and `Model_Exp.mat`.

All describe one mesh: 53,490 vertices trimmed to 53,215, micrometres, triangles and keypoints counted from
1, coordinates interleaved (x0, y0, z0, x1 ...; MATLAB's ``reshape(.., 3, [])``). Coefficients are *not*
whitened: V = mu_shape + mu_exp + w Shape_Para + w_exp Exp_Para (Zhu et al., CVPR 2016, and the code that
comes with AFLW2000-3D).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.databases import matfile
from vrnlib.errors import VrnError

N_FULL = 53490
"""Vertices of BFM 2009."""
N_VERTICES = 53215
"""Vertices of the trimmed model that 300W-LP, AFLW2000-3D and the evaluation mask use."""
ASK = (
    "ask for BFM 2009 at https://faces.dmi.unibas.ch/bfm/ and take model_info.mat and Model_Exp.mat from the "
    "3DDFA package at http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm"
)
_FILES = ("bfm.mat", "model_shape.mat", "model_exp.mat", "model_expression.mat", "model_info.mat",
          "01_morphablemodel.mat")  # fmt: skip
_MICROMETRES = 1e-3  # of a millimetre


@dataclass(frozen=True)
class FaceModel:
    """A linear face model; V vertices, millimetres, x right, y up, z towards the viewer."""

    mean: np.ndarray  # (V, 3) float32
    shape: np.ndarray  # (3 V, Ks) float32, interleaved coordinates
    expression: np.ndarray  # (3 V, Ke) float32
    faces: np.ndarray  # (F, 3) int32, from 0, as in the file: BFM's face away from the viewer
    landmarks: np.ndarray  # (68,) int64, vertices of the iBUG points
    source: str  # names of the files

    def vertices(self, shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Shape_Para (Ks,) or (Ks, 1) and Exp_Para (Ke,) -> (V, 3) float32 mm.

        Raises
        ------
        VrnError : another number of coefficients than the model has.
        """
        moved = 0.0
        for name, basis, given in (
            ("Shape_Para", self.shape, shape),
            ("Exp_Para", self.expression, expression),
        ):
            given = np.asarray(given, np.float32).ravel()
            if len(given) != basis.shape[1]:
                raise VrnError(
                    f"{name} has {len(given)} coefficients, the model in {self.source} has {basis.shape[1]}"
                )
            moved = moved + basis @ given
        return self.mean + np.asarray(moved).reshape(-1, 3)

    def part(self, ids: np.ndarray) -> FaceModel:
        """The model of some vertices only, for speed; without faces and landmarks."""
        rows = (3 * ids[:, None] + np.arange(3)).ravel()
        none = np.zeros((0, 3), np.int32)
        return FaceModel(
            self.mean[ids], self.shape[rows], self.expression[rows], none, none[:, 0], self.source
        )


def find_parts(given: str | Path | None, database: str | Path | None = None) -> dict[str, Path]:
    """Files of the model: lower-case name -> path.

    Looked for in the folder `given` (or the folder of the file `given`) and in the folder of the `database`,
    up to three levels deep, then beside the database and in the folders there; the first that completes the
    model ends the search.
    """
    found: dict[str, Path] = {}
    places: list[tuple[Path, int]] = []
    if given is not None:
        places.append((Path(given).parent if Path(given).is_file() else Path(given), 3))
    if database is not None:
        places += [(Path(database), 3), (Path(database).parent, 1)]
    for folder, depth in places:
        level = [folder]
        for _ in range(depth + 1):
            entries = [e for f in level for e in _listed(f)]
            for entry in entries:
                if entry.name.lower() in _FILES and entry.is_file():
                    found.setdefault(entry.name.lower(), entry)
            # pictures have a suffix; folders rarely do
            level = [e for e in entries if not e.suffix and e.is_dir()]
        if not missing_parts(found):
            break
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def missing_parts(found: dict[str, Path]) -> list[str]:
    """What is missing to load a model; empty if it is complete."""
    if "bfm.mat" in found:
        return []
    expression = [] if found.keys() & {"model_exp.mat", "model_expression.mat"} else ["Model_Exp.mat"]
    if "model_shape.mat" in found:
        return expression
    if "01_morphablemodel.mat" in found:
        return expression + ([] if "model_info.mat" in found else ["model_info.mat"])
    return [
        *expression,
        "Model_Shape.mat (or 01_MorphableModel.mat with model_info.mat, or face3d's BFM.mat)",
    ]


def load_model(given: str | Path | None, database: str | Path | None = None) -> FaceModel:
    """The model from whichever set of files is complete (see :func:`find_parts`).

    Raises
    ------
    VrnError : parts are missing, damaged, or of another version of the model.
    """
    found = find_parts(given, database)
    missing = missing_parts(found)
    if missing:
        where = " and ".join(f"'{f}'" for f in (given, database) if f is not None)
        raise VrnError(
            f"the morphable model is not complete in {where}: missing {', '.join(missing)}; {ASK}, and name "
            "their folder with --bfm"
        )
    parts = {name: path.resolve() for name, path in found.items()}
    return _load(tuple(sorted((k, str(v), v.stat().st_mtime_ns) for k, v in parts.items())))


@lru_cache(maxsize=1)
def _load(parts: tuple[tuple[str, str, int], ...]) -> FaceModel:
    found = {name: Path(path) for name, path, _ in parts}
    if "bfm.mat" in found:
        return _from_face3d(found["bfm.mat"])
    exp_path = found.get("model_exp.mat") or found["model_expression.mat"]
    exp = matfile.load(exp_path, {"mu_exp": (None, 1), "w_exp": (None, None)}, matfile.MODEL_BYTES)
    info: dict[str, np.ndarray] = {}
    if "model_info.mat" in found:
        optional = {"trimIndex": None, "tri": (3, None), "keypoints": None}
        info = matfile.load(found["model_info.mat"], optional, 64 << 20, optional=tuple(optional))
    if "model_shape.mat" in found:
        path = found["model_shape.mat"]
        raw = matfile.load(
            path,
            {"mu_shape": (None, 1), "w": (None, None), "tri": (3, None), "keypoints": None},
            matfile.MODEL_BYTES,
            optional=("tri", "keypoints"),
        )
        mean, basis = raw["mu_shape"], raw["w"]
        info = {**info, **{k: raw[k] for k in ("tri", "keypoints") if k in raw}}
    else:
        path = found["01_morphablemodel.mat"]
        raw = matfile.load(path, {"shapeMU": (None, 1), "shapePC": (None, None)}, matfile.MODEL_BYTES)
        trim = info.get("trimIndex")
        if trim is None:
            raise VrnError(f"'{found['model_info.mat']}' has no trimIndex: take the one of the 3DDFA package")
        _check_length(path, "shapeMU", raw["shapeMU"], N_FULL)
        trim = _from_one(found["model_info.mat"], "trimIndex", trim.ravel(), N_FULL)
        rows = (3 * trim[:, None] + np.arange(3)).ravel()
        mean, basis = raw["shapeMU"][rows], raw["shapePC"][rows]
    for name in ("tri", "keypoints"):
        if name not in info:
            raise VrnError(f"'{path}' has no {name}, and there is no model_info.mat that has it; {ASK}")
    return _assemble(path, exp_path, mean, basis, exp["mu_exp"], exp["w_exp"], info["tri"], info["keypoints"])


def _from_face3d(path: Path) -> FaceModel:
    # face3d's struct `model`; _assemble checks its fields. Structs are left to scipy: this file is made
    # by its user, not downloaded.
    import scipy.io

    declared = matfile.names(path, matfile.MODEL_BYTES)
    if declared.get("model", ((), ""))[1] != "struct":
        raise VrnError(f"'{path}' has no struct 'model': it is not face3d's BFM.mat (Out/BFM.mat)")
    try:
        model = scipy.io.loadmat(str(path), variable_names=["model"])["model"][0, 0]
    except Exception as error:
        raise VrnError(f"'{path}' is truncated or damaged ({error}): make it again") from error
    wanted = ("shapeMU", "shapePC", "expMU", "expPC", "tri", "kpt_ind")
    missing = [k for k in wanted if k not in (model.dtype.names or ())]
    if missing:
        raise VrnError(f"'{path}': its struct 'model' has no {', '.join(missing)}")
    return _assemble(path, path, *(model[k] for k in wanted))


def _assemble(
    path: Path, exp_path: Path, mean: Any, shape: Any, exp_mean: Any, exp: Any, tri: Any, keypoints: Any
) -> FaceModel:
    n = N_VERTICES
    for where, name, array in (
        (path, "mean shape", mean), (path, "shape basis", shape), (exp_path, "mean expression", exp_mean),
        (exp_path, "expression basis", exp),
    ):  # fmt: skip
        _check_length(where, name, array, n)
        if not np.isfinite(array).all():
            raise VrnError(f"'{where}': the {name} holds NaN or infinite values")
    tri = np.asarray(tri)
    if tri.ndim != 2 or 3 not in tri.shape:
        raise VrnError(f"'{path}': tri has shape {tri.shape}, expected 3 x triangles")
    faces = _from_one(path, "tri", tri.T if tri.shape[0] == 3 else tri, n).astype(np.int32)
    same = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 0] == faces[:, 2])
    if same.any():
        raise VrnError(
            f"'{path}': triangle {int(np.flatnonzero(same)[0]) + 1} of tri names a vertex twice: take the "
            "triangles of the 3DDFA package as they are"
        )
    landmarks = _from_one(path, "keypoints", np.asarray(keypoints).ravel(), n)
    if len(landmarks) != 68:
        raise VrnError(f"'{path}': {len(landmarks)} keypoints, expected 68")
    mean = (np.asarray(mean, np.float64) + np.asarray(exp_mean, np.float64)).reshape(-1, 3) * _MICROMETRES
    width = float(np.linalg.norm(mean[landmarks[36]] - mean[landmarks[45]]))
    if not 60 < width < 130:
        raise VrnError(
            f"'{path}': the outer eye corners of the mean face are {width:.3g} mm apart: the unit is not "
            "micrometres, or the keypoints belong to another version of the model"
        )
    scale = np.float32(_MICROMETRES)
    return FaceModel(
        mean.astype(np.float32),
        np.asarray(shape, np.float32) * scale,
        np.asarray(exp, np.float32) * scale,
        faces,
        landmarks,
        path.name if path == exp_path else f"{path.name} and {exp_path.name}",
    )


def _check_length(path: Path, name: str, array: np.ndarray, n: int) -> None:
    if array.ndim != 2 or array.shape[0] != 3 * n:
        rows = array.shape[0] / 3
        raise VrnError(
            f"'{path}': the {name} has {rows:g} vertices, and {n} are needed: it belongs to another "
            f"version of the model ({N_FULL}: BFM 2009 untrimmed, {N_VERTICES}: trimmed by 3DDFA)"
        )


def _from_one(path: Path, name: str, index: np.ndarray, n: int) -> np.ndarray:
    # Indices counted from 1 -> from 0, checked.
    whole = np.asarray(index, np.float64)
    if whole.size == 0 or not (whole == np.round(whole)).all() or whole.min() < 1 or whole.max() > n:
        raise VrnError(
            f"'{path}': {name} must hold vertex numbers 1..{n}, it holds {whole.min(initial=np.inf):g}.."
            f"{whole.max(initial=-np.inf):g}: it belongs to another version of the model"
        )
    return whole.astype(np.int64) - 1
