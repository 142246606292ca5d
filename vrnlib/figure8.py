"""The review's Figure 8 remade: photographs above, reconstructions below, the good and the bad.

    python -m vrnlib.gallery --figure8 --fetch

For each network whose checkpoint exists: front and side, before and after dynamic labelling. The bad cases
are the photographs at hand, spoilt on purpose and in the same way every time; they keep the landmarks of the
untouched photograph, so that it is the network that is tried and not the detector. Shown in ``11_report``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib import detect, images, labelling, provenance, voxel
from vrnlib.crop import REFERENCE_BOX, REFERENCE_SIZE
from vrnlib.errors import VrnError
from vrnlib.figures import PALETTE, mesh_view
from vrnlib.predict import Network, load_network
from vrnlib.reconstruct import reconstruct

NETWORKS = ("vrn", "multitask", "guided")
ROWS = ("front, before", "front, after", "side, before", "side, after")
LEVEL = 0.5


@dataclass(frozen=True)
class Case:
    """A photograph (H, W, 3) uint8 and the landmarks (68, 2) that it is cropped by."""

    title: str
    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


Spoil = Callable[[Case], Case]


def noisy(case: Case) -> Case:
    """At the size the network sees, with Gaussian noise of 100 grey levels."""
    factor = 96 / REFERENCE_SIZE * REFERENCE_BOX / _side(case.landmarks)
    small = cv2.resize(case.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    small = np.clip(small + np.random.default_rng(0).normal(0, 100, small.shape), 0, 255).astype(np.uint8)
    again = cv2.resize(small, case.image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return Case("strong noise", again, case.landmarks)


def lying(case: Case) -> Case:
    """Turned by a quarter: upright in no training face."""
    points = np.stack([case.landmarks[:, 1], case.image.shape[1] - 1 - case.landmarks[:, 0]], 1)
    return Case("lying", np.ascontiguousarray(np.rot90(case.image)), points.astype(np.float32))


def beside(case: Case) -> Case:
    """The crop too low, as by a detector that has missed the face."""
    shift = np.float32([0, 0.8 * _side(case.landmarks)])
    return Case("crop too low", case.image, case.landmarks + shift)


def tight(case: Case) -> Case:
    """The crop half as wide: the face is twice as large as in training."""
    centre = (case.landmarks.min(0) + case.landmarks.max(0)) / 2
    return Case("crop too tight", case.image, centre + (case.landmarks - centre) / 2)


SPOILT: tuple[tuple[str, Spoil], ...] = (
    ("obama", noisy),
    ("obama2", lying),
    ("astronaut", beside),
    ("grace_hopper", tight),
)


def _side(landmarks: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.prod(np.ptp(landmarks, axis=0))))


def cases(photographs: Mapping[str, Any]) -> list[Case]:
    """The photographs as they are, then the spoilt ones of those that are there."""
    found: dict[str, Case] = {}
    for name, photograph in photographs.items():
        picture = images.load(photograph)
        (face,) = detect.choose(detect.detect(picture), "largest", f"'{name}'")
        found[name] = Case(name, picture, face.landmarks)
    return [*found.values(), *(spoil(found[name]) for name, spoil in SPOILT if name in found)]


def column(case: Case, network: Network, size: int = 130) -> tuple[list[NDArray[np.uint8]], int]:
    """The pictures of one case and network, in the order of `ROWS`, and the number of stray bodies."""
    face = reconstruct(case.image, network=network, landmarks=case.landmarks, level=LEVEL)
    vertices, faces = voxel.isosurface(face.volume.astype(np.float32), LEVEL)
    label = labelling.labels(len(vertices), faces)
    stray = label != np.bincount(label[faces[:, 0]]).argmax()
    kept, kept_faces, removed = labelling.largest_body(vertices, faces)
    view = {"centre": np.array([network.size / 2, network.size / 2, 0]), "extent": network.size * 0.92}
    paint = np.repeat((255 * stray).astype(np.uint8)[:, None], 3, 1)
    orange = np.array([int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5)]) / 255
    pictures = []
    for turn in (0, 90):
        before = mesh_view(vertices, faces, turn=turn, size=size, **view)
        mask = mesh_view(vertices, faces, paint, turn=turn, size=size, background=(0, 0, 0), **view)
        weight = mask[..., :1] / 255
        before = before * (1 - weight) + mask * orange * weight
        pictures += [before.astype(np.uint8), mesh_view(kept, kept_faces, turn=turn, size=size, **view)]
    return pictures, removed


def draw(photographs: Mapping[str, Any], out: Path, folder: Path, size: int = 130) -> dict[str, Any]:
    """Draw the figure for every network of `folder`, and write what it shows beside it.

    Returns
    -------
    dict : ``photographs``, of which ``untouched`` (a number) come first, ``stray``
        (network -> count for each), ``missing`` networks, ``alt``, ``note``.

    Raises
    ------
    VrnError : there is no network, or a photograph without a face.
    """
    import matplotlib.pyplot as plt

    paths = {name: folder / f"{name}-laptop.safetensors" for name in NETWORKS}
    there = {name: load_network(path) for name, path in paths.items() if path.is_file()}
    if not there:
        raise VrnError(f"no network in '{folder}': none of {', '.join(p.name for p in paths.values())}")
    shown = cases(photographs)
    first = next(iter(there.values()))
    windows = []
    for case in shown:
        crop = detect.Detection((0, 0, 0, 0), 0.0, case.landmarks).crop(first.size)
        window = crop.image(case.image)
        windows.append(cv2.resize(window, (size, size), interpolation=cv2.INTER_CUBIC))
    lines, labels, stray = [np.concatenate(windows, 1)], ["photograph"], {}
    for name, network in there.items():
        columns, counts = zip(*(column(case, network, size) for case in shown), strict=True)
        stray[name] = list(counts)
        lines += [np.concatenate([c[row] for c in columns], 1) for row in range(len(ROWS))]
        labels += [f"{name}\n{row}" for row in ROWS]
    picture = np.concatenate(lines)
    inches = (picture.shape[1] / 120 + 1.6, picture.shape[0] / 120 + 0.4)
    figure, axis = plt.subplots(figsize=inches, dpi=120, layout="constrained")
    axis.imshow(picture, interpolation="antialiased")
    axis.set_xticks([size * (i + 0.5) for i in range(len(shown))], [c.title for c in shown], fontsize=8)
    axis.set_yticks([size * (i + 0.5) for i in range(len(labels))], labels, fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    good = len(shown) - sum(c.title not in photographs for c in shown)
    axis.axvline(size * good, color="0.4", linewidth=0.8, linestyle=":")
    out.parent.mkdir(parents=True, exist_ok=True)
    with provenance.replacing(out) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
    missing = [name for name in NETWORKS if name not in there]
    about = {
        "photographs": [c.title for c in shown],
        "untouched": good,
        "stray": stray,
        "missing": missing,
        "level": LEVEL,
        "alt": f"Ten or fewer photographs in a row, {good} as they are and {len(shown) - good} spoilt, and "
        "below "
        f"them for {', '.join(there)} the grey mesh from the front and from the side, each before and "
        f"after stray "
        "bodies, in orange, are removed.",
        "note": f"Not run for want of a checkpoint: {', '.join(missing)}."
        if missing
        else "All networks of the paper.",
        "provenance": provenance.collect({"level": LEVEL}, 0, [paths[name] for name in there]),
    }
    provenance.write_json(out.with_suffix(".json"), about)
    return about
