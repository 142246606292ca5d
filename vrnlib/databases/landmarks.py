"""Landmarks of scans: BU-4DFE's 83 points (.bnd), or 68 points in a table (.csv); and the face's own frame.

Neither scan database comes with the 68 iBUG points that the crop needs. BU-4DFE's makers sell 83 points a
frame (`BU4DFE_BND_V1.1`), which are carried over to the 68 here; for Florence, or other landmarks, give a
table: 68 lines `x,y,z` in the frame and unit of the scan, iBUG order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vrnlib.errors import VrnError
from vrnlib.faces import load_basis

BND_POINTS = 83
_UNITS = {"millimetres": 1.0, "metres": 1000.0, "centimetres": 10.0, "micrometres": 0.001}
# Groups of the 83 points: eyes (8 each), brows (10 each), nose 12, mouth 12 outer + 8 inner, jaw 15. Which
# point of a ring comes first is not relied on: corners are found by geometry.
_EYES, _BROWS = (slice(0, 8), slice(8, 16)), (slice(16, 26), slice(26, 36))
_NOSE, _OUTER_LIPS, _INNER_LIPS, _JAW = slice(36, 48), slice(48, 60), slice(60, 68), slice(68, 83)


def read_bnd(path: str | Path) -> np.ndarray:
    """A .bnd file: 83 lines ``index x y z`` in the scan's frame -> (83, 3) float64.

    Raises
    ------
    VrnError : missing, another number of points, no numbers, NaN.
    """
    rows = [r for r in _rows(path) if r]
    if len(rows) != BND_POINTS or any(len(r) not in (3, 4) for r in rows):
        raise VrnError(f"'{path}' holds {len(rows)} points, a .bnd file has {BND_POINTS} lines: index x y z")
    return np.array([r[-3:] for r in rows])


def read_csv(path: str | Path) -> np.ndarray:
    """A table of 68 lines ``x,y,z`` or ``index,x,y,z``, with or without a header -> (68, 3) float64.

    Raises
    ------
    VrnError : missing, another number of points, no numbers, NaN.
    """
    rows = [r for r in _rows(path, header=True) if r]
    if len(rows) != 68 or any(len(r) not in (3, 4) for r in rows):
        raise VrnError(f"'{path}' holds {len(rows)} rows, needed are 68 rows x,y,z (iBUG order)")
    return np.array([r[-3:] for r in rows])


def _rows(path: str | Path, header: bool = False) -> list[list[float]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VrnError(f"cannot read the landmarks '{path}': {error}") from error
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = [float(n) for n in line.replace(",", " ").replace(";", " ").split()]
        except ValueError as error:
            if header and number == 1:
                continue
            raise VrnError(f"'{path}', line {number}: '{line.strip()[:60]}' is no point") from error
        if not np.isfinite(row).all():
            raise VrnError(f"'{path}', line {number}: a landmark is NaN or infinite")
        out.append(row)
    return out


def from_bnd(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """BU-4DFE's 83 points (83, 3) -> the 68 iBUG points (68, 3), both in the scan's frame.

    Rings (eyes, brows, lips) are cut at their left and right ends into an upper and a lower line and divided
    evenly; the jaw's 15 points are divided into 17. The bridge of the nose, which the 83 points do not have,
    runs from the middle of the inner eye corners to the nose tip over the surface; the tip is the front-most
    vertex between the nose's points. An approximation of a few millimetres for what lies between the corners;
    the eye and mouth corners, which matter for the error's unit, are the marked points themselves.

    Parameters
    ----------
    vertices : (V, 3), the scan.
    """
    p = np.asarray(points, np.float64)
    out = np.zeros((68, 3))
    sides = sorted(_EYES, key=lambda s: p[s, 0].mean())  # the subject's right eye has the smaller x
    for start, ring in zip((36, 42), sides, strict=True):
        out[start : start + 4] = _upper(p[ring], 4)
        out[[start + 5, start + 4]] = _upper(p[ring], 4, lower=True)[1:3]
    for start, ring in zip((17, 22), sorted(_BROWS, key=lambda s: p[s, 0].mean()), strict=True):
        out[start : start + 5] = _upper(p[ring], 5)
    for start, ring, n in ((48, _OUTER_LIPS, 7), (60, _INNER_LIPS, 5)):
        out[start : start + n] = _upper(p[ring], n)
        out[start + n : start + 2 * n - 2] = _upper(p[ring], n, lower=True)[-2:0:-1]
    jaw = p[_JAW] if p[_JAW][0, 0] < p[_JAW][-1, 0] else p[_JAW][::-1]
    out[:17] = _divide(jaw, 17)
    out[27:36] = _nose(p[_NOSE], (out[39] + out[42]) / 2, vertices)
    return out


def _upper(ring: np.ndarray, count: int, lower: bool = False) -> np.ndarray:
    # `count` points from the left to the right end of a ring, along its upper (or lower) line
    x, y = ring[:, 0], ring[:, 1]  # of two points at one end the upper is taken
    left, right = ring[np.lexsort((-y, x))[0]], ring[np.lexsort((-y, -x))[0]]
    t = (ring[:, 0] - left[0]) / max(right[0] - left[0], 1e-9)
    above = ring[:, 1] - (left[1] + t * (right[1] - left[1]))
    between = (t > 0) & (t < 1) & ((above < 0) if lower else (above >= 0))
    line = ring[between][np.argsort(ring[between, 0])]
    return _divide(np.concatenate([left[None], line, right[None]]), count)


def _divide(line: np.ndarray, count: int) -> np.ndarray:
    # `count` points at even arc length
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, length[-1], count)
    return np.stack([np.interp(at, length, line[:, i]) for i in range(3)], 1)


def _nose(nose: np.ndarray, root: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    # iBUG 27..35 from the nose's outline
    low, high = nose.min(0), nose.max(0)
    middle = (low[0] + high[0]) / 2
    inside = vertices[
        (np.abs(vertices[:, 0] - middle) < 0.25 * (high[0] - low[0]))
        & (vertices[:, 1] > low[1])
        & (vertices[:, 1] < high[1])
    ]
    tip = inside[inside[:, 2].argmax()] if len(inside) else nose[nose[:, 2].argmax()]
    front = vertices[vertices[:, 2] > low[2] - (high[1] - low[1])]  # not the back of the head
    bridge = [_on_surface(root + t * (tip - root), front) for t in (0, 1 / 3, 2 / 3)]
    lower = nose[nose[:, 1] < low[1] + 0.5 * (high[1] - low[1])]
    left, right = lower[lower[:, 0].argmin()], lower[lower[:, 0].argmax()]
    base = lower[np.abs(lower[:, 0] - middle).argsort()[:3]]
    foot = base[base[:, 1].argmin()]
    return np.stack([*bridge, tip, left, (left + foot) / 2, foot, (foot + right) / 2, right])


def _on_surface(point: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    # the front-most vertex within a few units around (x, y), at its depth
    off = np.linalg.norm(vertices[:, :2] - point[:2], axis=1)
    near = vertices[off < max(2.0, 1.5 * off.min())]
    return np.array([point[0], point[1], near[:, 2].max()])


def to_millimetres(landmarks: np.ndarray, where: str | Path) -> float:
    """Millimetres per unit of a scan, told by the outer eye corners of its landmarks (68, 3).

    Raises
    ------
    VrnError : in no usual unit they are 60 to 130 mm apart.
    """
    width = float(np.linalg.norm(landmarks[36] - landmarks[45]))
    for factor in _UNITS.values():
        if 60 <= width * factor <= 130:
            return factor
    raise VrnError(
        f"'{where}': the outer eye corners are {width:.3g} apart, which is no face in millimetres, "
        "centimetres or metres: the landmarks do not belong to this scan, or are not in iBUG order"
    )


def frontal(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation that turns a scan into the face's own frame, and its origin, from 68 landmarks (68, 3) mm.

    The least-squares rotation (Kabsch) of the 51 inner landmarks onto those of the mean synthetic face: so
    yaw 0 and pitch 0 mean the same face for every scan and for the training data.

    Returns
    -------
    rotation (3, 3), origin (3,): ``(vertices - origin) @ rotation.T``.

    Raises
    ------
    VrnError : the landmarks are mirrored, or not those of a face (misfit above 15 mm).
    """
    basis = load_basis()
    target = basis.mean[basis.landmarks[17:]].astype(np.float64)
    source = landmarks[17:]
    origin, centre = source.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((source - origin).T @ (target - centre))
    sign = np.sign(np.linalg.det(vt.T @ u.T))
    rotation = vt.T @ np.diag([1, 1, sign]) @ u.T
    k = np.linalg.norm(target - centre) / max(np.linalg.norm(source - origin), 1e-9)
    error = np.linalg.norm(k * (source - origin) @ rotation.T + centre - target, axis=1).mean()
    if error > 15 or s[1] < 1e-6:
        raise VrnError(
            f"the landmarks do not look like a face ({error:.0f} mm from the mean face on average): is their "
            "order iBUG's, x to the viewer's right, y up?"
        )
    return rotation, origin - rotation.T @ (centre / k)
