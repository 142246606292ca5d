"""What is behind and before a drawn head, and the camera that takes the picture (taught in
`notebooks/01_face_databases`).

Pictures are (S, S, 3) float, x right, y down, integer coordinates at pixel centres. Each function draws its
own randomness from `rng`, in an order that is part of the data's version.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from vrnlib.appearance import sample_look
from vrnlib.faces import load_basis

# Backgrounds: photographs without people that scikit-image ships.
_PHOTOGRAPHS = (
    "coffee", "chelsea", "rocket", "hubble_deep_field", "brick", "grass", "gravel", "coins", "retina",
    "immunohistochemistry", "moon", "page", "clock",
)  # fmt: skip
_FIXED = 4  # OpenCV draws with this many fractional bits
Project = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Model millimetres (N, 3) -> pixels (N, 2) and depth (N,) in millimetres, larger is nearer."""


@lru_cache(maxsize=1)
def _photographs() -> list[np.ndarray]:
    # each at two scales, (H, W, 3) uint8
    from skimage import data

    out = []
    for name in _PHOTOGRAPHS:
        picture = getattr(data, name)()
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, 2)
        for side in (160, 320):
            scale = side / min(picture.shape[:2])
            out.append(cv2.resize(picture[..., :3], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return out


def backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a background (size, size, 3) float32 sRGB, about 0..1: a photograph, a smooth gradient, a plain
    wall or blotches.
    """
    kind = rng.random()
    if kind < 0.55:
        pictures = _photographs()
        p = pictures[rng.integers(len(pictures))]
        y, x = (int(rng.integers(0, max(1, p.shape[i] - size))) for i in (0, 1))
        out = cv2.resize(p[y : y + size, x : x + size], (size, size)).astype(np.float32) / 255
        if rng.random() < 0.5:
            out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 4))
        out = out[:, ::-1] if rng.random() < 0.5 else out
        return np.clip(out * rng.uniform(0.4, 1.3) * rng.normal(1, 0.1, 3), 0, 1).astype(np.float32)
    corners = rng.random((2, 2, 3)).astype(np.float32)
    if kind < 0.8:
        corners = corners * 0.35 + rng.random(3).astype(np.float32) * 0.65
    if kind < 0.9:
        return cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC)
    cells = int(rng.integers(3, 12))
    blotches = np.clip(rng.random(3) * 0.6 + 0.5 * rng.random((cells, cells, 3)), 0, 1).astype(np.float32)
    edges = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
    return cv2.resize(blotches, (size, size), interpolation=edges)


def add_torso(
    background: np.ndarray, rng: np.random.Generator, neck: np.ndarray, width: float, angle: float
) -> np.ndarray:
    """Shoulders and clothes before a background (S, S, 3) sRGB 0..1; returns the same shape.

    Parameters
    ----------
    neck : (2,) px, the middle of the neck's lower rim.
    width : of the head, px.
    angle : of the body in the image plane, radians, clockwise as seen.
    """
    size = background.shape[0]
    half = width * rng.uniform(0.95, 1.4)
    drop = width * rng.uniform(0.15, 0.45)
    collar = width * rng.uniform(0.3, 0.42)
    right = [[collar, -drop * 0.5], [collar * 1.6, 0], [half, drop], [half * 1.15, 9 * width]]
    outline = np.array([[-x, y] for x, y in right] + right[::-1])
    c, s = np.cos(angle), np.sin(angle)
    points = outline @ np.array([[c, s], [-s, c]]) + neck + [0, -width * rng.uniform(0.0, 0.12)]
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [_fixed_point(points)], 1.0, cv2.LINE_AA, _FIXED)
    colour = rng.random(3) * rng.uniform(0.2, 1)
    plain = colour * (1 + 0.15 * rng.normal())
    cloth = plain + (0.25 * (backdrop(rng, size) - 0.5) if rng.random() < 0.5 else 0)
    return background + mask[..., None] * (np.clip(cloth, 0, 1).astype(np.float32) - background)


def occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put something in front of the face, (S, S, 3) sRGB 0..1: a disc, a bar or a few fingers, plain or
    textured.
    """
    size = image.shape[0]
    mask = np.zeros((size, size), np.float32)
    at = rng.uniform(0.15, 0.85, 2) * size
    kind = rng.random()
    if kind < 0.45:
        axes = _integers(rng.uniform(0.04, 0.16, 2) * size)
        cv2.ellipse(mask, _integers(at), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
        colour = rng.random(3)
    elif kind < 0.7:
        direction = rng.normal(size=2)
        direction *= size / np.linalg.norm(direction)
        thick = int(rng.uniform(0.03, 0.12) * size)
        cv2.line(mask, _integers(at - direction), _integers(at + direction), 1.0, thick, cv2.LINE_AA)
        colour = rng.random(3)
    else:  # fingers come in from the edge
        side = rng.uniform(0, 2 * np.pi)
        root = size / 2 + size * 0.75 * np.array([np.cos(side), np.sin(side)])
        thick = rng.uniform(0.045, 0.075) * size
        for i in range(int(rng.integers(2, 5))):
            across = np.array([-np.sin(side), np.cos(side)]) * (i - 1.5) * thick * 1.05
            tip = at + across + rng.normal(0, 0.02, 2) * size
            cv2.line(mask, _integers(root + across), _integers(tip), 1.0, max(1, int(thick)), cv2.LINE_AA)
        colour = sample_look(rng).skin ** (1 / 2.2) * rng.uniform(0.6, 1.1)
    fill = colour.astype(np.float32) * (1 + 0.25 * (backdrop(rng, size) - 0.5))
    return image + cv2.GaussianBlur(mask, (0, 0), 0.5)[..., None] * (np.clip(fill, 0, 1) - image)


def add_glasses(
    image: np.ndarray, rng: np.random.Generator, head: np.ndarray, project: Project
) -> np.ndarray:
    """Frames in front of the eyes, with temples to the ears; now and then dark glass.

    Parameters
    ----------
    image : (S, S, 3) float32, linear RGB; the result has the same shape.
    head : (V, 3) model millimetres.
    """
    l = load_basis().landmarks
    colour = tuple(float(v) for v in (rng.random(3) * rng.uniform(0, 0.5)))
    dark = rng.uniform(0.3, 0.95) if rng.random() < 0.25 else 0.0  # sunglasses
    thickness = max(1, round(rng.uniform(0.006, 0.018) * image.shape[0]))
    w, h, roundness = rng.uniform(21, 27), rng.uniform(15, 22), rng.uniform(2, 5)
    outline = _superellipse(w, h, roundness)
    forward = np.array([0, 0, rng.uniform(9, 15)])
    canvas = np.ascontiguousarray(image)
    centres = [head[l[a : a + 6]].mean(0) * [1.05, 1, 1] + forward + [0, -3, 0] for a in (36, 42)]
    depths = [float(project(c[None])[1][0]) for c in centres]
    sense = np.sign(_area(outline[:, :2]))
    for i in np.argsort(depths):
        c, side = centres[i], (-1, 1)[i]
        lens = project(c + outline)[0]
        if _area(lens) * sense > 0 and depths[i] < max(depths) - 40:
            continue  # the far lens of a profile hides behind the nose
        fixed = [_fixed_point(lens)]
        if dark:
            layer = canvas.copy()
            cv2.fillPoly(layer, fixed, colour, cv2.LINE_AA, _FIXED)
            canvas = canvas + dark * (layer - canvas)
        cv2.polylines(canvas, fixed, True, colour, thickness, cv2.LINE_AA, _FIXED)
        hinge, ear = c + [side * w, 4, 0], np.array([side * 74.0, 2.0, -62.0])
        p, q = project(np.stack([hinge, ear]))[0]
        if depths[i] >= max(depths) - 25:
            cv2.line(canvas, _integers(p), _integers(q), colour, thickness, cv2.LINE_AA)
    p, q = project(np.stack([centres[0] + [w, 3, 0], centres[1] + [-w, 3, 0]]))[0]  # the bridge
    cv2.line(canvas, _integers(p), _integers(q), colour, thickness, cv2.LINE_AA)
    return canvas


def develop(linear: np.ndarray, rng: np.random.Generator, gain: np.ndarray) -> np.ndarray:
    """Take the picture as a cheap camera would: tone, white balance, blur, noise, JPEG.

    Parameters
    ----------
    linear : (S, S, 3) float32, linear RGB, 1 is white; may exceed 1.
    gain : (3,) factor of each channel in sRGB (the paper's colour augmentation).

    Returns
    -------
    (S, S, 3) uint8 sRGB.
    """
    image = np.clip(linear, 0, None) ** (1 / rng.uniform(1.9, 2.5))
    if rng.random() < 0.12:  # black and white
        image = np.repeat(image @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, 2)
    contrast = rng.uniform(0.8, 1.2)
    image = (image - 0.45) * contrast + 0.45 + rng.uniform(-0.06, 0.06)
    blur = rng.random()
    if blur < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), 0.2 + blur * 3)
    image = np.clip(image, 0, 1) * gain
    if rng.random() < 0.6:
        image = image + rng.normal(0, rng.uniform(0, 0.05), image.shape)
    out = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], 1)
    return out


def _superellipse(width: float, height: float, roundness: float) -> np.ndarray:
    # (28, 3): |x / width|^roundness + |y / height|^roundness = 1 in the plane z = 0; 2 is an ellipse
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / roundness) * width
    y = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / roundness) * height
    return np.stack([x, y, 0 * t], 1)


def _area(polygon: np.ndarray) -> float:
    # signed, so that its sign tells on which side of the polygon the viewer is
    return cv2.contourArea(polygon.astype(np.float32), True)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_FIXED).astype(np.int32)


def _integers(point: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in point)
