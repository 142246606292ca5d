"""Who takes part in Table 1: the methods of `vrnlib.baselines.methods`, networks of other seeds, and the true
volume itself; which of them can run here, and what their predictions depend on.

A network is "not run" until its checkpoint lies in results/checkpoints: `KIND-laptop.safetensors`, and
`KIND-laptop-seedN.safetensors` for trainings with other seeds (which may have had a smaller budget).
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.checkpoint import data_shown, read_log
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.params import profile
from vrnlib.provenance import project_folder, sha256
from vrnlib.table1.samples import CONTROLS

CHECKPOINTS = Path("results") / "checkpoints"
TRUTH = "true-volume"
LABELS = {
    "vrn": "VRN",
    "multitask": "VRN-Multitask",
    "guided": "VRN-Guided",
    "guided-gt": "VRN-Guided, true landmarks",
    "3ddfa": "3DDFA",
    "eos": "EOS, lambda 5000",
    "eos-30": "EOS, lambda 30",
    "eos-gt": "EOS, lambda 5000, true landmarks",
    "eos-30-gt": "EOS, lambda 30, true landmarks",
    "mean-face": "mean face",
    "mean-face-gt": "mean face, true landmarks",
    "mediapipe": "MediaPipe (its own region)",
    TRUTH: "true volume",
}
"""Name -> what tables and figures call it; `TRUTH` is the error of a perfect network, the voxels' own."""
ON_MASK = ("mediapipe",)
"""Methods that do not cover the whole face region: their `nme` is on MediaPipe's region."""
_SEED = re.compile(r"(vrn|multitask|guided)-laptop-seed(\d+)\.safetensors")
# modules whose code decides what a method answers, besides its files
_CODE = {
    "mean-face": ("common", "weak_perspective", "morphable", "mean_face"),
    "eos": ("common", "weak_perspective", "morphable", "eos_fit"),
    "3ddfa": ("common", "tddfa", "tddfa_model", "tddfa_network", "pncc"),
    "mediapipe": ("common", "mediapipe"),
}


@dataclass(frozen=True)
class Prediction:
    """A mesh in the crop's frame, and the volume it came from where there is one."""

    vertices: np.ndarray
    faces: np.ndarray
    volume: np.ndarray | None = None


@dataclass(frozen=True)
class Entrant:
    """A method that can run: its name, what its answers depend on, options of `open_runner`."""

    name: str
    fingerprint: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Runner:
    """A method, ready. `mask_only`: it covers MediaPipe's region alone."""

    name: str
    method: Any
    mask_only: bool = False

    def predict(self, sample: Mapping[str, np.ndarray]) -> Prediction:
        """From the crop of a sample to a mesh; the true landmarks are shown only to methods that say so.

        Raises
        ------
        VrnError : the method fails on this face.
        """
        from vrnlib.baselines.methods import Volumetric

        m, image = self.method, sample["image"]
        if m is None:
            return _surface(sample["volume"])
        if isinstance(m, Volumetric):
            if m.sees_truth:
                return _surface(m.network.predict(image, sample["landmarks"]))
            return _surface(m.network.predict(image))
        mesh = m.predict(image, sample["landmarks"] if m.sees_truth else None)
        return Prediction(mesh.vertices, mesh.faces)


def _surface(volume: np.ndarray) -> Prediction:
    from vrnlib.labelling import largest_body
    from vrnlib.voxel import isosurface

    vertices, faces, _ = largest_body(*isosurface(volume))
    return Prediction(vertices, faces, volume)


def open_runner(name: str, checkpoint: str | None = None) -> Runner:
    """Open a method; `checkpoint` names the file of a network of another seed.

    Raises
    ------
    NotRunError : something it needs is missing. VrnError : unknown name, damaged checkpoint.
    """
    from vrnlib.baselines import methods

    if name == TRUTH:
        return Runner(name, None)
    if checkpoint is not None:
        from vrnlib.predict import load_network

        return Runner(name, methods.Volumetric(name, load_network(checkpoint)))
    return Runner(name, methods.open_method(name), name in ON_MASK)


def names() -> list[str]:
    """Every method there is, in the order of tables: the paper's, then the others, then seeds."""
    from vrnlib.baselines.methods import METHODS

    known = [n for n in LABELS if n in METHODS or n == TRUTH]
    return known + [n for n in METHODS if n not in known] + list(seed_files())


def seed_files() -> dict[str, Path]:
    """Networks of other seeds: ``vrn-seed1`` -> file."""
    folder = project_folder() / CHECKPOINTS
    found = {p: _SEED.fullmatch(p.name) for p in sorted(folder.glob("*-seed*.safetensors"))}
    return {f"{m[1]}-seed{m[2]}": p for p, m in found.items() if m}


def seeds_of(kind: str, known: Sequence[str]) -> list[str]:
    """Those of `known` that are networks of this kind with other seeds."""
    return [n for n in known if re.fullmatch(rf"{re.escape(kind)}-seed\d+", n)]


def label(name: str) -> str:
    """What to call a method; of a seed ``VRN, seed 1``."""
    kind, sign, seed = name.partition("-seed")
    return f"{LABELS[kind]}, seed {seed}" if sign else LABELS.get(name, name)


def on_mask(name: str, database: str) -> bool:
    """Whether a method is scored on MediaPipe's region too: the one that covers no more, always; others that
    see the picture alone, on the stand-ins of the paper's databases. Half of the time goes into scoring.
    """
    extra = name == TRUTH or name.endswith("-gt") or "-seed" in name
    return name in ON_MASK or (database not in CONTROLS and not extra)


def find(
    wanted: Sequence[str] | None = None, size: int | None = None
) -> tuple[dict[str, Entrant], dict[str, str]]:
    """Which methods can run, and of the others why not; each is opened once to know. With `size` those that
    read crops of another side can't.

    Raises
    ------
    VrnError : an unknown method is wanted, or a checkpoint is damaged.
    """
    from vrnlib.baselines.methods import NotRunError

    everyone, seeds = names(), seed_files()
    for name in wanted or ():
        if name not in everyone:
            raise VrnError(
                f"unknown method '{name}'{did_you_mean(name, everyone)}: known are {', '.join(everyone)}"
            )
    able: dict[str, Entrant] = {}
    reasons: dict[str, str] = {}
    for name in wanted or everyone:
        options = {"checkpoint": str(seeds[name])} if name in seeds else {}
        try:
            reads = _reads(open_runner(name, **options).method)
        except NotRunError as error:
            reasons[name] = " ".join(str(error).split())
            continue
        if size is not None and reads not in (None, size):
            reasons[name] = f"reads crops of {reads} pixels, this profile has {size}"
            continue
        able[name] = Entrant(name, fingerprint(name), options)
    return able, reasons


def unopened(wanted: Sequence[str]) -> dict[str, Entrant]:
    """Entrants whose kept rows can be recognised, without knowing whether the methods can run."""
    seeds = seed_files()
    return {
        n: Entrant(n, fingerprint(n), {"checkpoint": str(seeds[n])} if n in seeds else {}) for n in wanted
    }


def _reads(method: Any) -> int | None:
    # the side of the crops that a method reads, None if any
    from vrnlib.baselines.methods import Fitted, Volumetric

    if isinstance(method, Volumetric):
        return method.network.size
    if isinstance(method, Fitted):  # its landmark network is the laptop's
        return None if method.find is None else profile("laptop").size
    return getattr(method, "size", None)


def fingerprint(name: str) -> str:
    """What a method's answers depend on: SHA-256 of its files, and of the code of a baseline (comments and
    docstrings do not count).
    """
    from vrnlib.baselines import mediapipe, methods, morphable

    root, parts = project_folder(), [name]
    if name == TRUTH:
        return name
    seeds = seed_files()
    kind = name.removesuffix("-gt")
    files: list[Path] = []
    if name in seeds:
        files.append(seeds[name])
    elif kind in ("vrn", "multitask", "guided"):
        files.append(root / CHECKPOINTS / f"{kind}-laptop.safetensors")
    else:
        code = next((modules for begin, modules in _CODE.items() if name.startswith(begin)), ())
        parts += [_code(root / "vrnlib" / "baselines" / f"{module}.py") for module in code]
        if name == "mediapipe":
            parts.append(mediapipe.MODEL_SHA256)
        else:
            files.append(root / morphable.PATH)
        if not name.endswith("-gt") and name != "mediapipe":
            files.append(root / methods.LANDMARK_NETWORK)
        files += sorted((root / CHECKPOINTS).glob(f"{name}*.safetensors"))
    parts += [sha256(path) for path in files if path.is_file()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def training(name: str) -> dict[str, Any] | None:
    """What a network and its log say of its training: `faces` shown, `minutes`, `data`, `finished` (False: an
    intermediate state), and `detector_faces` (of a detector that was trained by itself, else None). None for
    methods without a training.
    """
    from safetensors import SafetensorError, safe_open

    kind = name.removesuffix("-gt")
    path = seed_files().get(name, project_folder() / CHECKPOINTS / f"{kind}-laptop.safetensors")
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise VrnError(f"'{path.name}' is damaged ({error}): restore it or train again") from error
    told = {k: meta.get(k) for k in ("faces", "minutes", "data")} | {"finished": meta.get("finished", True)}
    runs = project_folder() / "results" / "runs" / ("seeds" if "-seed" in name else "")
    log = runs / path.stem / "log.jsonl"
    if log.is_file():  # the checkpoint names the last data only
        told["data"] = data_shown(read_log(log))
    return told | {"detector_faces": (meta.get("detector") or {}).get("faces")}


def _code(path: Path) -> str:
    if not path.is_file():
        return ""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        first = getattr(node, "body", None)
        first = first[0] if isinstance(first, list) and first else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""  # a docstring
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
