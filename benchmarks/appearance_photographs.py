"""What can be measured of a reconstruction on a photograph that has no 3D truth. Used by
`appearance_ablation.py`.

========== ==================================================================== ===========================
measure    what it is                                                           better
========== ==================================================================== ===========================
outline    distance of the jaw's landmarks (a 2D detector, trained on           lower
           photographs) from the outline of the volume, over the distance of
           the outer eye corners
agreement  IoU with the volume of the face model fitted to the 68 landmarks     higher
           (:func:`fit_volume`): right place, pose and size; the colours of
           the picture and all networks have no part in it
flip       1 - IoU of the answers for the picture and for its mirror image      lower
photometry 1 - IoU of the answers for the picture and for the same picture      lower
           lighter, darker, tinted, grey, lit from a side, noisy, blurred, and
           compressed, mean over :data:`CHANGES`
========== ==================================================================== ===========================

The limits. Consistency is not accuracy: a network that always answers with the mean face is perfectly
consistent. Outline and agreement see the outline and the pose, hardly any relief, and inherit the detector's
errors. How far they follow the NME is measured where the truth is known (:func:`calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from skimage.measure import find_contours

from vrnlib import gallery, images, metrics
from vrnlib.crop import REFERENCE_SIZE, Crop
from vrnlib.databases import FRONT_MARGIN
from vrnlib.detect import choose, detect
from vrnlib.errors import VrnError
from vrnlib.faces import face_solid, load_basis, rotation_matrix
from vrnlib.voxel import Grid, column_runs, fill_runs, one_body

MEASURES = ("outline", "agreement", "flip", "photometry")
JAW = slice(2, 15)
"""Jaw landmarks that lie on the outline of a face seen about from the front."""
WINDOWS = ((1.0, 0.0, 0.0), (0.93, 0.02, 0.0), (1.07, -0.02, 0.0), (1.0, 0.0, 0.03), (1.0, 0.0, -0.03))
"""Of each photograph: scale of the crop, shift right and down as a share of its side. Means over several
windows are less noisy; they are no more photographs."""
FIELDS = 60
"""Displacements of the face model that a fit uses: the largest at the landmarks."""
Predict = Callable[[np.ndarray], np.ndarray]
"""Window (S, S, 3) uint8 -> probabilities (D, S, S)."""


def _gains(*gains: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.clip(x * np.array(gains), 0, 255)


def _gamma(power: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: 255 * (x / 255) ** power


def _side_light(side: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(x: np.ndarray) -> np.ndarray:
        ramp = np.linspace(0.45, 1.2, x.shape[1])[::side]
        return np.clip(x * ramp[None, :, None], 0, 255)

    return change


def _noise(x: np.ndarray) -> np.ndarray:
    return np.clip(x + np.random.default_rng(0).normal(0, 12, x.shape), 0, 255)


def _jpeg(x: np.ndarray) -> np.ndarray:
    coded = cv2.imencode(".jpg", x.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "darker": _gamma(1.8),
    "lighter": _gamma(0.6),
    "warm": _gains(1.25, 1.0, 0.75),
    "cool": _gains(0.75, 1.0, 1.25),
    "grey": lambda x: np.repeat((x @ [0.3, 0.59, 0.11])[..., None], 3, -1),
    "lit from the left": _side_light(-1),
    "lit from the right": _side_light(1),
    "noise": _noise,
    "blur": lambda x: cv2.GaussianBlur(x, (0, 0), 0.8),
    "jpeg": _jpeg,
}
"""Window (S, S, 3), 0..255, to the same scene in another picture."""


def photographs(fetched: Path | None) -> dict[str, np.ndarray | Path]:
    """The photographs of :mod:`vrnlib.gallery`: those in packages; with a folder also fetched portraits."""
    found: dict[str, np.ndarray | Path] = dict(gallery.packaged())
    if fetched is not None:
        found |= {path.stem: path for path in gallery.fetch(fetched)}
    return found


def windows(photos: Mapping[str, np.ndarray | Path], size: int) -> list[dict[str, Any]]:
    """Rows with `photo`, `window` (number), `image` (S, S, 3) uint8 and `landmarks` (68, 2) in its pixels.
    Photographs without a face that the detector finds are left out.
    """
    rows = []
    for name, photo in photos.items():
        image = images.load(photo) if isinstance(photo, Path) else photo
        try:
            points = choose(detect(image, "dlib"), "largest", name)[0].landmarks
        except VrnError:
            continue
        plain = Crop.from_landmarks(points, size)
        for number, (factor, right, down) in enumerate(WINDOWS):
            middle = (size - 1) / 2
            x, y = (
                middle + factor * (o - middle) + s * size
                for o, s in zip(plain.offset, (right, down), strict=True)
            )
            crop = Crop(plain.scale * factor, (x, y), size)
            landmarks = crop.apply(points.astype(np.float64))
            rows.append({"photo": name, "window": number, "image": crop.image(image), "landmarks": landmarks})
    return rows


def fit_volume(landmarks: np.ndarray, grid: Grid) -> np.ndarray:
    """The face model's solid, fitted to landmarks (68, 2) in pixels of the window: (D, S, S) uint8.

    Weak perspective; the coefficients are held near the mean face by their standard deviations.
    """
    basis = load_basis()
    at = basis.landmarks
    mean = basis.mean[at].astype(np.float64)
    fields = basis.fields.reshape(len(basis.names), -1, 3)[:, at].astype(np.float64)
    used = np.argsort(-np.square(fields).sum((1, 2)))[:FIELDS]
    # half-size coefficients: facial actions are 0..1, local changes are bounded well below 1 SD
    spread = np.where(basis.kind[used] == 0, 1.0, 0.35)

    moves = fields[used] * spread[:, None, None]  # (K, 68, 3)
    down = np.array([1.0, -1.0])

    def posed(x: np.ndarray) -> np.ndarray:
        shape = mean + np.tensordot(x[6:], moves, 1)
        return (shape @ rotation_matrix(*x[:3]).T)[:, :2] * down * np.exp(x[3]) + x[4:6]

    def slopes(x: np.ndarray) -> np.ndarray:
        turned = moves @ rotation_matrix(*x[:3]).T
        out = np.zeros((68, 2, len(x)))
        for k in range(3):  # the three angles by difference, all else by formula
            step = 1e-5 * np.eye(len(x))[k]
            out[..., k] = (posed(x + step) - posed(x - step)) / 2e-5
        out[..., 3] = posed(x) - x[4:6]
        out[:, 0, 4] = out[:, 1, 5] = 1
        out[..., 6:] = (turned[..., :2] * down * np.exp(x[3])).transpose(1, 2, 0)
        return np.concatenate([out.reshape(136, -1) / noise, np.eye(len(x))[6:]])

    size = float(np.sqrt(np.prod(np.ptp(landmarks, axis=0))))
    scale = size / float(np.sqrt(np.prod(np.ptp(mean[:, :2], axis=0))))
    start = np.concatenate([[0, 0, 0, np.log(scale)], landmarks.mean(0), np.zeros(len(used))])
    start[4:6] -= (mean[:, :2] * [1, -1]).mean(0) * scale
    noise = 0.02 * size  # pixels that a landmark may be wrong

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.concatenate([((posed(x) - landmarks) / noise).ravel(), x[6:]])

    x = least_squares(residuals, start, slopes, max_nfev=60).x
    coefficients = np.zeros(len(basis.names), np.float32)
    coefficients[used] = x[6:] * spread
    solid = face_solid(basis.vertices(coefficients)[basis.surface]) @ rotation_matrix(*x[:3]).T
    solid = solid * (np.array([1, -1, 1]) * np.exp(x[3])) + [*x[4:6], 0]
    margin = FRONT_MARGIN * (grid.size / REFERENCE_SIZE)
    solid[:, 2] += grid.z_of(grid.depth - 1) - margin - solid[: len(basis.surface), 2].max()
    return fill_runs(one_body(column_runs(solid, basis.solid, grid), grid), grid)


def outline_distance(volume: np.ndarray, landmarks: np.ndarray) -> float:
    """Mean distance of the jaw's landmarks from the outline of a volume (D, S, S) seen from the front, over
    the distance of the outer eye corners in the picture. NaN if the volume is empty.
    """
    seen = np.pad(np.asarray(volume, np.float32).max(0), 1)
    contours = find_contours(seen, 0.5)
    if not contours:
        return float("nan")
    outline = np.concatenate(contours)[:, ::-1] - 1  # x, y
    distance, _ = cKDTree(outline).query(landmarks[JAW])
    return float(distance.mean() / np.linalg.norm(landmarks[36] - landmarks[45]))


def measures(
    predict: Predict, image: np.ndarray, landmarks: np.ndarray, fitted: np.ndarray
) -> dict[str, float]:
    """The :data:`MEASURES` of one window."""
    answer = predict(image)
    mirrored = predict(np.ascontiguousarray(image[:, ::-1]))[:, :, ::-1]
    changed = [predict(change(image.astype(np.float64)).astype(np.uint8)) for change in CHANGES.values()]
    return {
        "outline": outline_distance(answer, landmarks),
        "agreement": metrics.iou(answer, fitted),
        "flip": 1 - metrics.iou(answer, mirrored),
        "photometry": float(np.mean([1 - metrics.iou(answer, other) for other in changed])),
    }


def calibration(
    predict: Predict, samples: list[dict[str, Any]], nmes: list[float], most_yaw: float = 30
) -> dict[str, Any]:
    """How `outline` and `agreement` behave where the truth is known: drawn faces seen about from the front.

    Returns
    -------
    `faces`; `floor`: the measures of the true volumes with the true landmarks; `rank correlation with NME`
    over the faces, Spearman's: +1 for outline and -1 for agreement would be perfect stand-ins.
    """
    near = [
        i for i, s in enumerate(samples) if abs(np.rad2deg(s["pose"][1])) < most_yaw and np.isfinite(nmes[i])
    ]
    rows: dict[str, list[float]] = {"outline": [], "agreement": []}
    floor: dict[str, list[float]] = {"outline": [], "agreement": []}
    for i in near:
        sample = samples[i]
        points, volume = sample["landmarks"].astype(np.float64), sample["volume"]
        fitted = fit_volume(points, Grid(volume.shape[1], volume.shape[0]))
        answer = predict(sample["image"])
        for into, solid in ((rows, answer), (floor, volume)):
            into["outline"].append(outline_distance(solid, points))
            into["agreement"].append(metrics.iou(solid, fitted))
    errors = np.array([nmes[i] for i in near])
    return {
        "faces": len(near),
        "floor": {name: float(np.nanmean(values)) for name, values in floor.items()},
        "rank correlation with NME": {
            name: float(spearmanr(errors, values, nan_policy="omit").statistic)
            for name, values in rows.items()
        },
    }
