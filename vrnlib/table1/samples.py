"""Which faces are scored: the embedded databases and real ones by path, in an order of which any beginning is
a fair share.

A run scores the first N faces of that order. With more time N grows, and no face that was scored is lost.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.databases.manifest import DATABASES as FROZEN
from vrnlib.databases.manifest import FOLDER as FROZEN_FOLDER
from vrnlib.databases.sample import DATA_VERSION, POSES_PER_FACE, face_points
from vrnlib.databases.testsets import open_test_set
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.evaluate import TEST_SEED
from vrnlib.params import Profile, profile
from vrnlib.provenance import read_json
from vrnlib.table1.paper import DATABASES as REAL
from vrnlib.table1.paper import STAND_INS

CONTROLS = ("synth-lp", "synth-expressions-frontal")
"""Besides the stand-ins of the paper's three: people of training's own kind, and six expressions from the
front (the thesis' expression ablation).
"""
NAMES = (*STAND_INS.values(), *CONTROLS)


@dataclass(frozen=True)
class Surface:
    """A mesh that all true points of a database correspond on: vertices (V, 3) mm of its mean face, triangles
    (F, 3), and of each of the P points the corners (P, 3) and weights (P, 3).
    """

    vertices: np.ndarray
    faces: np.ndarray
    ids: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Faces:
    """A database, open: `data[i]` gives sample i with its truth, `order` says which are scored first."""

    name: str
    data: Any
    order: Callable[[int], list[int]]
    info: Callable[[int], dict[str, Any]]
    version: str
    size: int

    def __len__(self) -> int:
        return len(self.data)

    def indices(self, faces: int) -> list[int]:
        """The first `faces` samples of the order, or all if there are not so many."""
        return self.order(min(faces, len(self)))


def open_faces(name: str, scale: str | Profile = "laptop", path: Path | None = None) -> Faces:
    """Open a database by name: one of :data:`NAMES`, or, with `path`, one of the paper's.

    Raises
    ------
    VrnError : an unknown name; the data can't be had (offline, another database, incomplete).
    """
    p = profile(scale) if isinstance(scale, str) else scale
    if path is not None:
        return _real(name, path, p)
    if name not in NAMES:
        raise VrnError(f"unknown database '{name}'{did_you_mean(name, NAMES)}: known are {', '.join(NAMES)}")
    if name == "synth-lp":
        test = open_test_set(name, p.size, p.depth, faces=1, seed=TEST_SEED)
        version = f"{DATA_VERSION}, seed {TEST_SEED}"
        return Faces(name, test.data, _one_pose_each, test.info, version, p.size)
    data = FROZEN[name](p.size, p.depth, truth=True)
    entry = read_json(FROZEN_FOLDER / "index.json")["databases"][name]
    orders = {
        "synth-wild": lambda n: list(range(n)),  # frozen in mixed order
        "synth-expressions": lambda n: spread(n, 97, 21),
        "synth-expressions-frontal": lambda n: spread(n, 49, 6),
        "mapped-scans": lambda n: spread(n, 46, 15),
    }
    version = f"{entry['data']}, {entry['sha256'][:16]}"
    return Faces(name, data, orders[name], data.info, version, p.size)


def _one_pose_each(count: int) -> list[int]:
    return [i * POSES_PER_FACE + i % POSES_PER_FACE for i in range(count)]


def spread(count: int, people: int, poses: int) -> list[int]:
    """The first `count` numbers of a fixed order of ``person * poses + pose``: poses in turn, and each time
    another person.

    Every beginning of a multiple of `poses` has all poses equally often; a person comes again only after most
    others have been.
    """
    step = next(s for s in range(round(people * 0.618), people + 1) if math.gcd(s, people) == 1)
    shuffled = np.random.default_rng(people * 1000 + poses).permutation(people)
    rounds, pose = np.divmod(np.arange(count), poses)
    return (shuffled[(rounds + pose * step) % people] * poses + pose).tolist()


def _real(name: str, path: Path, p: Profile) -> Faces:
    from vrnlib.databases.check import open_database

    if name not in REAL:
        raise VrnError(f"unknown database '{name}'{did_you_mean(name, REAL)}: use {', '.join(REAL)}")
    data = open_database(f"{name}={path}", p.size, p.depth, truth=True, augment=False)
    files = "\n".join(
        f"{f.name} {f.stat().st_size}" for f in sorted({data.path(i) for i in range(len(data))})
    )
    version = f"{len(data)} samples, {hashlib.sha256(files.encode()).hexdigest()[:16]}"
    shuffled = np.random.default_rng(0).permutation(len(data)).tolist()

    def info(index: int) -> dict[str, Any]:
        scans = getattr(data, "items", None)  # renderings of scans: a person has several
        person = scans[index // len(data.poses)].person if scans else data.path(index).stem
        expression = data.path(index).parent.name if name == "BU-4DFE" else ""
        return {"identity": person, "expression": expression}

    return Faces(name, data, lambda n: shuffled[:n], info, version, p.size)


@lru_cache(maxsize=8)
def surface(name: str) -> Surface | None:
    """The mesh on which a database's true points correspond; None where there is none (real ones). The
    real scan in `mapped-scans` does not correspond: see `corresponds`.

    Raises
    ------
    VrnError : `mapped-scans` can't be fetched.
    """
    if name == "mapped-scans":
        from vrnlib.databases.mapped_scans import _mapped_topology
        from vrnlib.databases.scan_source import load_scans

        data = load_scans()
        _, ids, weights = _mapped_topology()
        return Surface(data.vertices.mean(0), data.faces, ids, weights)
    if name not in NAMES:
        return None
    from vrnlib.faces import load_basis

    basis, (ids, weights) = load_basis(), face_points()
    return Surface(basis.mean, basis.surface[basis.surface_faces], ids, weights)


def corresponds(name: str, info: dict[str, Any]) -> bool:
    """Whether the points of a sample are those of `surface`."""
    return name in NAMES and info.get("kind") != "scan"


_REGIONS: dict[tuple[str, str], np.ndarray] = {}


def mediapipe_region(name: str, sample: dict[str, np.ndarray], info: dict[str, Any]) -> np.ndarray | None:
    """Which true points of a sample MediaPipe's mesh covers, (P,) bool; None if that was not measured.

    Kept where all faces of a kind have their points in the same places.
    """
    from vrnlib.baselines.common import NotRunError
    from vrnlib.baselines.mediapipe import coverage

    key = (name, str(info.get("kind", "")))
    if key in _REGIONS:
        return _REGIONS[key]
    try:
        if name in NAMES and name != "mapped-scans":
            mask = coverage()
        else:
            mask = coverage(sample["points"], sample["pose"])
    except NotRunError:
        return None
    if name in NAMES:
        _REGIONS[key] = mask
    return mask
