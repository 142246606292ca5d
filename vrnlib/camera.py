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

from vrnlib.appearance import sample_skin
from vrnlib.faces import load_basis
from vrnlib.variation import TRAINING, Ranges, Variation

# Backgrounds: photographs without people that scikit-image ships.
_PHOTOGRAPHS = (
    "coffee", "chelsea", "rocket", "hubble_deep_field", "brick", "grass", "gravel", "coins", "retina",
    "immunohistochemistry", "moon", "page", "clock", "text",
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
    """Draw a background (size, size, 3) float32 sRGB, about 0..1: a photograph, a room of flat areas,
    lights out of focus, a smooth gradient, blotches.
    """
    kind = rng.random()
    if kind < 0.5:
        pictures = _photographs()
        p = pictures[rng.integers(len(pictures))]
        y, x = (int(rng.integers(0, max(1, p.shape[i] - size))) for i in (0, 1))
        out = cv2.resize(p[y : y + size, x : x + size], (size, size)).astype(np.float32) / 255
        if rng.random() < 0.6:
            out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.005, 0.05) * size)
        out = out[:, ::-1] if rng.random() < 0.5 else out
        return np.clip(out * rng.uniform(0.4, 1.3) * rng.normal(1, 0.1, 3), 0, 1).astype(np.float32)
    saturation = rng.beta(1, 2)
    corners = rng.random((2, 2, 3)) * saturation + rng.random((2, 2, 1)) * (1 - saturation)
    corners = (corners * 0.4 + corners.mean((0, 1)) * 0.6).astype(np.float32)
    if kind < 0.65:
        return cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC)
    out = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    if kind < 0.85:  # furniture, doors, windows
        for _ in range(int(rng.integers(2, 9))):
            colour = rng.random(3) * saturation + rng.random() * (1 - saturation)
            at, extent = rng.uniform(-0.3, 1, 2) * size, np.exp(rng.normal(-1.2, 0.7, 2)) * size
            box = np.array([at, at + [extent[0], 0], at + extent, at + [0, extent[1]]])
            box += rng.normal(0, 0.02, (4, 2)) * size
            cv2.fillPoly(out, [_fixed_point(box)], colour.tolist(), cv2.LINE_AA, _FIXED)
        return cv2.GaussianBlur(out, (0, 0), rng.uniform(0.002, 0.03) * size + 0.1)
    if kind < 0.93:  # lights out of focus
        out *= np.float32(rng.uniform(0.1, 0.8))
        for _ in range(int(rng.integers(4, 25))):
            spot = np.clip(rng.random(3) * saturation + 1 - saturation, 0, 1) * rng.uniform(0.3, 1)
            at, radius = _integers(rng.random(2) * size), max(1, int(rng.uniform(0.01, 0.08) * size))
            cv2.circle(out, at, radius, spot.tolist(), -1, cv2.LINE_AA)
        return cv2.GaussianBlur(out, (0, 0), 0.008 * size + 0.1)
    cells = int(rng.integers(3, 12))
    blotches = np.clip(rng.random(3) * 0.6 + 0.5 * rng.random((cells, cells, 3)), 0, 1).astype(np.float32)
    edges = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
    return cv2.resize(blotches, (size, size), interpolation=edges)


def occlude(image: np.ndarray, rng: np.random.Generator, ranges: Ranges = TRAINING) -> np.ndarray:
    """Put something in front of the face, (S, S, 3) linear RGB: a hand, a microphone, a disc or a bar."""
    size = image.shape[0]
    at = rng.uniform(0.15, 0.85, 2) * size
    kind = rng.random()
    if kind < 0.45:
        return _hand(image, rng, at, sample_skin(rng, ranges)[0])
    mask = np.zeros((size, size), np.float32)
    if kind < 0.6:  # a microphone comes up from below
        at[1] = max(at[1], 0.5 * size)
        radius = rng.uniform(0.04, 0.09) * size
        foot = (int(at[0] + rng.normal(0, 0.2) * size), int(1.2 * size))
        cv2.line(mask, _integers(at), foot, 1.0, max(1, int(radius)), cv2.LINE_AA)
        cv2.circle(mask, _integers(at), int(radius), 1.0, -1, cv2.LINE_AA)
        colour = np.full(3, rng.uniform(0.005, 0.1))
    elif kind < 0.8:
        axes = _integers(rng.uniform(0.04, 0.16, 2) * size)
        cv2.ellipse(mask, _integers(at), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
        colour = rng.random(3) ** 2.2
    else:
        direction = rng.normal(size=2)
        direction *= size / np.linalg.norm(direction)
        thick = int(rng.uniform(0.03, 0.12) * size)
        cv2.line(mask, _integers(at - direction), _integers(at + direction), 1.0, thick, cv2.LINE_AA)
        colour = rng.random(3) ** 2.2
    inner = cv2.GaussianBlur(mask, (0, 0), 0.025 * size)  # darker towards its rim, as round things are
    fill = colour * (0.4 + 0.6 * inner[..., None]) * (1 + 0.5 * (backdrop(rng, size) - 0.5))
    return image + cv2.GaussianBlur(mask, (0, 0), 0.5)[..., None] * (fill.astype(np.float32) - image)


def _hand(image: np.ndarray, rng: np.random.Generator, at: np.ndarray, skin: np.ndarray) -> np.ndarray:
    # Two to four fingers and a palm that come in from the edge, each round and with a nail.
    size = image.shape[0]
    side = rng.uniform(0, 2 * np.pi)
    along, across = np.array([-np.cos(side), -np.sin(side)]), np.array([-np.sin(side), np.cos(side)])
    thick = rng.uniform(0.05, 0.075) * size
    n = int(rng.integers(2, 5))
    lean, spread = rng.normal(0, 0.12), rng.uniform(-0.02, 0.1)
    light = rng.uniform(0.3, 0.8) * np.exp(rng.normal(0, 0.06, 3))
    out = np.ascontiguousarray(image, np.float32)
    shades = ((1.0, 0.5), (0.84, 0.78), (0.62, 0.95), (0.34, 1.05))  # width of a stroke, its brightness

    def stroke(a: np.ndarray, b: np.ndarray, width: float) -> None:
        for share, bright in shades:
            colour = (skin * light * bright * [1.0, 0.97, 0.95]).tolist()
            cv2.line(out, _integers(a), _integers(b), colour, max(1, round(width * share)), cv2.LINE_AA)

    palm = at - along * thick * 4.2
    stroke(palm - along * thick * 2, at - along * size * 1.2, thick * (n + 0.4))
    for i in rng.permutation(n):
        shift = i - (n - 1) / 2
        direction = along + across * (shift * spread + lean)
        knuckle = palm + across * shift * thick
        tip = knuckle + direction * thick * (3.4 - 0.35 * shift**2 + rng.normal(0, 0.25))
        stroke(knuckle - along * thick, tip, thick)
        nail = (np.minimum(skin * 1.25 + 0.03, 1) * light).tolist()
        tilt = float(np.degrees(side))
        axes = _integers(np.maximum([thick * 0.34, thick * 0.24], 1))
        cv2.ellipse(out, _integers(tip), axes, tilt, 0, 360, nail, -1, cv2.LINE_AA)
    return out


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
    glare = rng.uniform(0.02, 0.4) if rng.random() < 0.4 else 0.0  # the glass mirrors a window
    streak = rng.uniform(-0.6, 0.3, 2)
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
        if glare:
            inside, window = np.zeros(canvas.shape[:2], np.float32), np.zeros(canvas.shape[:2], np.float32)
            cv2.fillPoly(inside, fixed, 1.0, cv2.LINE_AA, _FIXED)
            corners = [[-1, 1], [-0.3, 1], [0.4, -1], [-0.3, -1]]
            pane = [[(x + streak[0]) * w, y * h, 0] for x, y in corners]
            cv2.fillPoly(window, [_fixed_point(project(c + np.array(pane))[0])], 1.0, cv2.LINE_AA, _FIXED)
            canvas += (glare * inside * window)[..., None]
        cv2.polylines(canvas, fixed, True, colour, thickness, cv2.LINE_AA, _FIXED)
        hinge, ear = c + [side * w, 4, 0], np.array([side * 74.0, 2.0, -62.0])
        p, q = project(np.stack([hinge, ear]))[0]
        if depths[i] >= max(depths) - 25:
            cv2.line(canvas, _integers(p), _integers(q), colour, thickness, cv2.LINE_AA)
    p, q = project(np.stack([centres[0] + [w, 3, 0], centres[1] + [-w, 3, 0]]))[0]  # the bridge
    cv2.line(canvas, _integers(p), _integers(q), colour, thickness, cv2.LINE_AA)
    return canvas


def develop(
    linear: np.ndarray,
    rngs: dict[str, np.random.Generator],
    gain: np.ndarray,
    variation: Variation,
    ranges: Ranges,
) -> np.ndarray:
    """Take the picture as a cheap camera would: blur, noise, white balance, tone, JPEG.

    Parameters
    ----------
    linear : (S, S, 3) float32, linear RGB, 1 is white; may exceed 1.
    rngs : a generator for each factor (:func:`vrnlib.variation.streams`).
    gain : (3,) factor of each channel in sRGB (the paper's colour augmentation).

    Returns
    -------
    (S, S, 3) uint8 sRGB.
    """
    image = np.clip(linear, 0, 4)
    if variation.blur:
        image = _blurred(image, rngs["blur"], ranges)
    if variation.white_balance:
        warm, green = rngs["white_balance"].normal(0, ranges.cast, 2) * [1.0, 0.3]
        image *= np.exp([warm, green, -warm]).astype(np.float32)
    image = _tone(image, rngs["exposure"] if variation.exposure else None)
    if variation.white_balance:
        image = _colour(image, rngs["white_balance"], ranges)
    image = np.clip(image, 0, 1) * gain.astype(np.float32)
    noisy = rngs["noise"]
    if variation.noise and noisy.random() < 0.6:
        grain = noisy.standard_normal(image.shape, np.float32)
        if noisy.random() < 0.4:  # coarse grain of a small or compressed picture
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * 2
        low, high = ranges.noise
        image = image + grain * np.float32(low + (high - low) * noisy.random() ** 2) * (
            1.2 - 0.5 * np.clip(image, 0, 1)
        )
    out = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    packed = rngs["jpeg"]
    if variation.jpeg and packed.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(packed.integers(*ranges.quality))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], 1)
    return out


def _blurred(image: np.ndarray, rng: np.random.Generator, ranges: Ranges) -> np.ndarray:
    # Defocus, a shaken camera, or a picture that was once small; lengths scale with the window.
    size = image.shape[0]
    kind, sigma = rng.random(), rng.uniform(*ranges.blur) * size / 96
    if kind < 0.18:
        return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1))
    if kind < 0.23:
        angle, length = rng.uniform(0, np.pi), max(3, int(3 * sigma))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        reach = length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(kernel, _integers(length - reach), _integers(length + reach), 1.0, 1, cv2.LINE_AA)
        return cv2.filter2D(image, -1, kernel / kernel.sum())
    if kind < 0.3:
        small = cv2.resize(image, (0, 0), fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    if kind < 0.5:  # a sharpened picture, as phones make them
        return np.clip(
            image + rng.uniform(0.2, 0.8) * (image - cv2.GaussianBlur(image, (0, 0), 1.0)), 0, None
        )
    return image


@lru_cache(maxsize=1)
def _gamma_table() -> np.ndarray:
    # sqrt(linear / 4) in 4096 steps -> sRGB
    return ((np.linspace(0, 1, 4096) ** 2 * 4) ** (1 / 2.2)).astype(np.float32)


def _tone(image: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    # Linear -> sRGB with a soft shoulder instead of a hard clip, then contrast and black level.
    index = (np.sqrt(np.clip(image, 0, 4)) * np.float32(4095 / 2)).astype(np.uint16)
    out = _gamma_table()[index]
    shoulder = 0.75
    over = np.maximum(out - shoulder, 0)
    out = np.minimum(out, shoulder) + over / (1 + over / (1.05 - shoulder))
    if rng is not None:
        out = (out - 0.45) * np.float32(rng.uniform(0.8, 1.3)) + np.float32(0.45 + rng.uniform(-0.06, 0.06))
    return out


def _colour(image: np.ndarray, rng: np.random.Generator, ranges: Ranges) -> np.ndarray:
    # Saturation; now and then black and white
    grey = image @ np.array([[0.3], [0.59], [0.11]], np.float32)
    share = 0.0 if rng.random() < ranges.monochrome else np.float32(rng.uniform(0.6, 1.25))
    return grey + share * (image - grey)


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
