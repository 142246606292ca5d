"""A folder of photographs -> one page and a folder of meshes (the notebook ``11_report``, ``vrn report``).

`make` is the whole of it: every photograph is searched for faces, every face reconstructed, its mesh written
at once, its card drawn; the page comes last, completely or not at all. One bad photograph does not stop the
others: it is listed with its reason.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vrnlib import detect as detection
from vrnlib import images, labelling_voxels, meshio, provenance
from vrnlib.errors import VrnError
from vrnlib.predict import Network, load_network
from vrnlib.reconstruct import Face, reconstruct
from vrnlib.report import trust
from vrnlib.report.measures import measure
from vrnlib.report.page import Entry, Failure, card, page

__all__ = ["Entry", "Failure", "Report", "make", "mesh_folder"]

Source = str | PathLike[str] | Sequence[str | PathLike[str]] | Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Report:
    """What came out.

    Attributes
    ----------
    page : Path
        The HTML file.
    entries : tuple of Entry
        The faces, in the order of the photographs, from left to right in each.
    failures : tuple of Failure
        Photographs without a face, with reasons.
    meshes : tuple of Path
    photographs : int
    seconds : float
        Of wall time.
    """

    page: Path
    entries: tuple[Entry, ...]
    failures: tuple[Failure, ...]
    meshes: tuple[Path, ...]
    photographs: int
    seconds: float


@dataclass(frozen=True)
class _Known:
    """A detector that has already looked."""

    found: list[detection.Detection]
    name: str = "known"

    def detect(self, image: NDArray[np.uint8]) -> list[detection.Detection]:
        return self.found

    def landmarks(self, image: NDArray[np.uint8], box: detection.Box) -> Any:
        raise NotImplementedError("its faces are found already")


def make(
    source: Source,
    target: str | PathLike[str],
    meshes: str | PathLike[str] | None = None,
    *,
    network: str | PathLike[str] | Network | None = None,
    detector: str | detection.Detector = "dlib",
    weights: str | PathLike[str] | None = None,
    face: str | int = "all",
    level: float = 0.5,
    bodies: str = "largest",
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Reconstruct every face in some photographs and write the page.

    Parameters
    ----------
    source : folder, path, several of them, or mapping of name to (H, W, 3) uint8 RGB
    target : path
        The page, ``.html``; an existing one is replaced.
    meshes : path, optional
        Folder for a GLB file a face, made if missing; none are written without it.
    network, detector, weights, face, level, bodies
        See `vrnlib.reconstruct.reconstruct` and `vrnlib.detect.get`; ``face="all"`` takes every face found.
    progress : callable, optional
        Gets a line for each photograph.

    Returns
    -------
    Report

    Raises
    ------
    VrnError
        Before anything is computed: no photographs, a wrong setting, a place that cannot be written to.
        Later: no photograph gave a face; a mesh or the page could not be written. Finished meshes stay.
    """
    began = time.perf_counter()
    say = progress or (lambda line: None)
    photographs = _photographs(source)
    policy = detection.parse_policy(face)
    if not 0 < level < 1:
        raise VrnError(f"level is {level:g}, it must lie between 0 and 1 (0.5 is the surface)")
    labelling_voxels.parse_policy(bodies)
    net = network if isinstance(network, Network) else load_network(network)
    finder = detection.get(detector, weights) if weights is not None else detection.get(detector)
    reference = trust.reference(net)
    fresh = meshes is not None and not Path(meshes).exists()
    target, folder = check(target, meshes)

    entries: list[Entry] = []
    failures: list[Failure] = []
    written: list[Path] = []
    taken: set[str] = set()
    for index, (name, photograph) in enumerate(photographs.items(), start=1):
        started = time.perf_counter()
        try:
            faces = _faces(photograph, name, finder, policy, net, level, bodies)
        except VrnError as error:
            failures.append(Failure(name, _short(str(error), photograph, name)))
            say(f"{index}/{len(photographs)} {name}: {failures[-1].reason}")
            continue
        stem = _free_stem(name, taken)
        for i, one in enumerate(faces, start=1):
            several = len(faces) > 1
            title = f"{name}, face {i} of {len(faces)}" if several else name
            mesh = None
            try:
                numbers = measure(one, level)
                minds = trust.minds(numbers, one, reference)
                if folder is not None:
                    mesh = folder / f"{stem}-{i}.glb" if several else folder / f"{stem}.glb"
                address = None if mesh is None else _address(mesh, target)
                text, thumbs = card(
                    one,
                    title,
                    len(entries) + 1,
                    address,
                    numbers,
                    minds,
                    trust.rank(numbers.doubt, reference),
                )
            except VrnError as error:  # nothing to draw, nothing to write
                failures.append(Failure(title, _short(str(error), photograph, name)))
                continue
            if mesh is not None:
                _export(one, mesh, written)
            window = one.crop.image(one.image)
            entries.append(
                Entry(name, title, len(entries) + 1, address, numbers, minds, thumbs, window, text)
            )
        say(f"{index}/{len(photographs)} {name}: {len(faces)} face(s), {time.perf_counter() - started:.1f} s")
    if not entries:
        if fresh:
            folder.rmdir()
        first = failures[0]
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise VrnError(
            "no face in any of the photographs, so there is no report: "
            f"{first.photograph}: {first.reason}{others}"
        )
    seconds = time.perf_counter() - began
    text = page(
        entries,
        failures,
        len(photographs),
        f"Reconstructed by volumetric regression on {datetime.date.today():%d %B %Y}. Every face below is a "
        "guess from a single picture: its front is seen, its sides and back are inferred.",
        trust.reading(net, reference),
        trust.settings(net, finder, policy, level, bodies, len(photographs), seconds),
    )
    try:
        meshio.write_bytes(target, text.encode("utf-8"))
    except VrnError as error:
        kept = f"; the {len(written)} finished meshes are in '{folder}'" if written else ""
        raise VrnError(f"{error}{kept}") from error
    return Report(target, tuple(entries), tuple(failures), tuple(written), len(photographs), seconds)


def mesh_folder(target: str | PathLike[str]) -> Path:
    """The folder of meshes beside a page unless another is named: ``report-meshes`` for ``report.html``."""
    target = Path(target)
    return target.with_name(f"{target.stem}-meshes")


def check(target: str | PathLike[str], meshes: str | PathLike[str] | None) -> tuple[Path, Path | None]:
    """Refuse a page or a folder that cannot be written; the folder of meshes is made.

    Raises
    ------
    VrnError
    """
    target = Path(target)
    if target.suffix.lower() not in (".html", ".htm"):
        raise VrnError(f"the report '{target}' must end in .html: it is a page")
    meshio.check_folder(target)
    if meshes is None:
        return target, None
    folder = Path(meshes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if folder.exists() else (error.strerror or str(error)).lower()
        raise VrnError(
            f"cannot make the folder of meshes '{folder}' ({reason}): name another with --meshes"
        ) from error
    meshio.check_folder(folder / "x.glb")
    return target, folder


def _photographs(source: Source) -> dict[str, Any]:
    """Name -> path or pixels; names are unique."""
    if isinstance(source, Mapping):
        found: dict[str, Any] = dict(source)
    else:
        paths = images.expand([source] if isinstance(source, (str, PathLike)) else source)
        found = {}
        for path in paths:
            found[path.name if path.name not in found else str(path)] = path
    if not found:
        raise VrnError("no photographs were given: name a folder or a file")
    return found


def _faces(
    photograph: Any,
    name: str,
    finder: detection.Detector,
    policy: str | int,
    net: Network,
    level: float,
    bodies: str,
) -> list[Face]:
    """Every face of one photograph that the policy takes; one that fails is left out if others do not."""
    pixels = images.load(photograph)
    found = finder.detect(pixels)
    chosen = detection.choose(found, policy, f"'{name}'")
    ordered = detection.choose(found, "all", f"'{name}'")
    done, reasons = [], []
    for one in chosen:
        number = next(i for i, d in enumerate(ordered, start=1) if d is one)
        try:
            known = _Known(found)
            done.append(
                reconstruct(pixels, network=net, detector=known, face=number, level=level, bodies=bodies)
            )
        except VrnError as error:
            reasons.append(error)
    if not done:
        raise reasons[0]
    return done


def _export(face: Face, mesh: Path, written: list[Path]) -> None:
    try:
        written.append(face.export(mesh))
    except VrnError as error:
        kept = f"; {len(written)} meshes are finished and stay, the page is not written" if written else ""
        raise VrnError(f"{error}{kept}") from error


def _free_stem(name: str, taken: set[str]) -> str:
    """photo.jpg and photo.png become photo.glb and photo.png.glb."""
    path = Path(name)
    stem = path.stem if path.stem not in taken else path.name
    while stem in taken:
        stem += "_"
    taken.add(stem)
    return stem


def _address(mesh: Path, target: Path) -> str:
    """Where the mesh is as seen from the page, with forward slashes."""
    return Path(os.path.relpath(mesh.resolve(), target.resolve().parent)).as_posix()


def _short(reason: str, photograph: Any, name: str) -> str:
    """A reason without the folder, which is no business of the page's readers, nor another command's "
    "options."""
    reason = reason.split(", or draw a box")[0]
    text = reason.replace(f"'{photograph}'", f"'{name}'") if isinstance(photograph, Path) else reason
    return text.replace(str(provenance.project_folder()), ".")
