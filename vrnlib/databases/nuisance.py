"""What goes wrong in pictures taken anywhere: things in front of the face, patterned shadow, a moving or poor
camera. Used by :mod:`vrnlib.databases.wild`, on finished pictures.

Never in training: medical masks, phones, strands of hair across the face, shadow of blinds and leaves,
overexposure, vignettes, photon noise. Hands, microphones, motion, defocus, low resolution and JPEG occur
there too, drawn otherwise and weaker (blur of SD up to 0.75 px in a window of 96, quality 25 to 95; here a
smear of up to 6 % of the window, a disc of radius up to 1.8 %, quality 10 to 40). Pictures are (S, S, 3)
uint8 sRGB; lengths scale with S.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vrnlib.appearance import to_linear
from vrnlib.databases.heldout import shifted_look

Effect = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(picture (S, S, 3) uint8, landmarks (68, 2) px, rng) -> picture (S, S, 3) uint8."""
_FIXED = 4  # OpenCV draws with this many fractional bits
_NOSE_BRIDGE, _JAW = 28, slice(2, 15)


def _blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> np.ndarray:
    # colour (3,) or (S, S, 3) in 0..255 over the picture where mask (S, S) is 1; the rim is one pixel soft
    mask = cv2.GaussianBlur(mask, (0, 0), 0.6)[..., None]
    return np.clip(image + mask * (colour - image.astype(np.float32)) + 0.5, 0, 255).astype(np.uint8)


def _polygon(points: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(points * 2**_FIXED).astype(np.int32)], 1.0, cv2.LINE_AA, _FIXED)
    return mask


def _relief(size: int, angle: float, strength: float) -> np.ndarray:
    # (S, S, 1) brightness that falls off in one direction: a plain thing looks lit
    y, x = np.mgrid[:size, :size] / size - 0.5
    return (1 + strength * (x * np.cos(angle) + y * np.sin(angle)))[..., None]


def medical_mask(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A folded paper mask from the bridge of the nose to below the chin."""
    size = len(image)
    jaw = landmarks[_JAW]
    top = landmarks[_NOSE_BRIDGE] * 0.5 + landmarks[30] * 0.5
    chin = jaw.mean(0)
    outline = np.concatenate([chin + (jaw - chin) * 1.04, top[None]])
    mask = _polygon(cv2.convexHull(outline.astype(np.float32))[:, 0], size)
    colour = np.array([[150, 190, 210], [235, 235, 235], [40, 40, 45], [160, 200, 180]])[rng.integers(4)]
    along = landmarks[8] - landmarks[27]
    y, x = np.mgrid[:size, :size]
    at = (x * along[0] + y * along[1]) / max(float(along @ along), 1.0)
    folds = 1 - 0.16 * (np.sin(at * 2 * np.pi * 7) > 0.75)
    return _blend(image, mask, colour * folds[..., None] * _relief(size, rng.uniform(0, 6.3), 0.5))


def phone(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A telephone or a card held up before a part of the face: a rectangle with round corners."""
    size = len(image)
    width = rng.uniform(0.14, 0.22) * size
    half = np.array([width / 2, width * rng.uniform(0.8, 1.0)])
    r = 0.18 * width
    t = np.linspace(0, np.pi / 2, 6)
    corner = np.stack([np.cos(t), np.sin(t)], 1) * r + (half - r)
    outline = np.concatenate([corner, corner[::-1] * [-1, 1], -corner, corner[::-1] * [1, -1]])
    a = rng.normal(0, 0.4)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    at = landmarks[rng.integers(68)] + rng.normal(0, 0.04, 2) * size
    colour = rng.uniform(10, 70, 3) if rng.random() < 0.6 else rng.uniform(60, 250, 3)
    fill = colour * _relief(size, rng.uniform(0, 6.3), rng.uniform(0.2, 0.8))
    return _blend(image, _polygon(outline @ turn.T + at, size), fill)


def microphone(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A microphone from below: a shaded ball before the chin or the mouth, on a stick."""
    size = len(image)
    at = landmarks[[8, 57, 54, 48][rng.integers(4)]] + rng.normal(0, 0.02, 2) * size
    radius = rng.uniform(0.05, 0.085) * size
    foot = at + np.array([rng.normal(0, 0.3), 1.0]) * size
    mask = np.zeros((size, size), np.float32)
    ends = [tuple(int(v) for v in np.round(p)) for p in (at, foot)]
    cv2.line(mask, ends[0], ends[1], 1.0, max(1, round(radius * 0.9)), cv2.LINE_AA)
    cv2.circle(mask, ends[0], max(1, round(radius)), 1.0, -1, cv2.LINE_AA)
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(x - at[0] + radius * 0.4, y - at[1] + radius * 0.4) / radius
    shine = np.clip(1.6 - 0.6 * distance, 0.6, 1.6)[..., None]
    return _blend(image, mask, rng.uniform(20, 90) * shine * np.ones(3))


def hand(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand laid against cheek or chin: a palm and four bent fingers, darker between them."""
    size = len(image)
    side = rng.choice([0, 1])
    at = landmarks[(4, 12)[side]] + rng.normal(0, 0.02, 2) * size
    inward = landmarks[30] - at
    inward /= max(float(np.linalg.norm(inward)), 1e-6)
    across = np.array([-inward[1], inward[0]])
    thick = rng.uniform(0.035, 0.05) * size
    skin = np.clip(255 * shifted_look(rng).skin ** (1 / 2.2) * rng.uniform(0.7, 1.1), 5, 250)
    out = image
    palm = np.zeros((size, size), np.float32)
    axes = (round(thick * 2.4), round(thick * 2.0))
    middle = tuple(int(v) for v in np.round(at - inward * thick * 1.5))
    cv2.ellipse(palm, middle, axes, float(np.rad2deg(np.arctan2(inward[1], inward[0]))), 0, 360, 1.0, -1)
    out = _blend(out, palm, skin * 0.9 * _relief(size, rng.uniform(0, 6.3), 0.5))
    for i in range(4):
        root = at + across * (i - 1.5) * thick * 1.05 - inward * thick
        tip = root + (inward * rng.uniform(2.5, 4.0) + across * rng.normal(0, 0.3)) * thick
        for width, shade in ((1.08, 0.6), (0.92, 1.0)):  # a dark rim first
            mask = np.zeros((size, size), np.float32)
            ends = [tuple(int(v) for v in np.round(p)) for p in (root, tip)]
            cv2.line(mask, ends[0], ends[1], 1.0, max(1, round(thick * width)), cv2.LINE_AA)
            out = _blend(out, mask, skin * shade)
    return out


def hair_strands(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strands of hair blown across the face: bent thin lines from above."""
    size = len(image)
    colour = np.array([[25, 20, 15], [70, 45, 30], [150, 115, 75], [110, 50, 30]])[rng.integers(4)]
    start = landmarks[17:27].mean(0) + np.array([rng.normal(0, 0.2), -0.2]) * size
    lean = rng.normal(0, 0.5)
    out = image
    for _ in range(int(rng.integers(8, 25))):
        t = np.linspace(0, 1, 20)[:, None]
        p0 = start + rng.normal(0, 0.05, 2) * size
        p2 = p0 + np.array([lean + rng.normal(0, 0.12), rng.uniform(0.4, 0.8)]) * size
        p1 = (p0 + p2) / 2 + rng.normal(0, 0.08, 2) * size
        curve = (1 - t) ** 2 * p0 + 2 * t * (1 - t) * p1 + t**2 * p2
        mask = np.zeros((size, size), np.float32)
        fixed = np.round(curve * 2**_FIXED).astype(np.int32)
        cv2.polylines(mask, [fixed], False, 1.0, max(1, round(size / 120)), cv2.LINE_AA, _FIXED)
        out = _blend(out, mask * rng.uniform(0.5, 1), colour * rng.uniform(0.7, 1.2))
    return out


def blinds(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light through a blind or leaves: parallel soft stripes, or blotches, of shadow over everything."""
    size = len(image)
    y, x = np.mgrid[:size, :size] / size
    if rng.random() < 0.5:
        a = rng.uniform(-0.6, 0.6)
        wave = np.sin((y * np.cos(a) + x * np.sin(a)) * 2 * np.pi * rng.uniform(4, 9) + rng.uniform(0, 6.3))
    else:
        cells = rng.normal(size=(int(rng.integers(5, 10)),) * 2).astype(np.float32)
        wave = cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
    lit = 1 / (1 + np.exp(-wave * 6))
    factor = 1 - rng.uniform(0.5, 0.85) * (1 - lit[..., None])
    return _encode(_decode(image) * factor)


def motion_blur(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The camera moved: a straight smear of 2 to 6 % of the window."""
    length = max(3, round(rng.uniform(0.02, 0.06) * len(image)) | 1)
    kernel = np.zeros((length, length), np.float32)
    a, middle = rng.uniform(0, np.pi), length // 2
    step = np.array([np.cos(a), np.sin(a)]) * middle
    ends = [tuple(int(v) for v in np.round(middle + s * step)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def defocus(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: light is spread over a disc (in linear light, so that highlights bloom)."""
    radius = rng.uniform(0.006, 0.018) * len(image)
    n = int(np.ceil(radius))
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return _encode(cv2.filter2D(_decode(image), -1, disc / disc.sum()))


def low_light(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Too little light: photon noise (20 to 120 photons for white) and colour noise in patches."""
    photons = rng.uniform(20, 120)
    linear = rng.poisson(_decode(image) * photons) / photons
    colour = cv2.GaussianBlur(rng.normal(0, 1, image.shape), (0, 0), 1.5) * rng.uniform(0.03, 0.12)
    return _encode(linear * rng.uniform(0.5, 1.2) + colour * 0.3)


def overexposed(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Too much light: highlights burn out."""
    return _encode(_decode(image) * rng.uniform(1.8, 3.5))


def vignette(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darker towards one corner, as at the edge of a wide lens."""
    size = len(image)
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0.1, 0.9, 2)[:, None, None]
    return _encode(_decode(image) / (1 + rng.uniform(0.8, 2.5) * (x**2 + y**2))[..., None] ** 2)


def few_pixels(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small face enlarged: 30 to 60 % of the resolution."""
    size = len(image)
    small = max(8, round(size * rng.uniform(0.3, 0.6)))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_CUBIC)


def hard_jpeg(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compressed hard: JPEG quality 10 to 40."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 41))]
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)


def _decode(image: np.ndarray) -> np.ndarray:
    return to_linear(image.astype(np.float32) / 255)


def _encode(linear: np.ndarray) -> np.ndarray:
    return (255 * np.clip(linear, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)


OCCLUDERS: dict[str, Effect] = {
    "mask": medical_mask, "phone": phone, "microphone": microphone, "hand": hand, "hair": hair_strands,
}  # fmt: skip
CAMERA: dict[str, tuple[float, Effect]] = {
    "blinds": (0.12, blinds), "overexposed": (0.06, overexposed), "vignette": (0.15, vignette),
    "motion": (0.15, motion_blur), "defocus": (0.10, defocus), "low light": (0.12, low_light),
    "few pixels": (0.15, few_pixels), "jpeg": (0.45, hard_jpeg),
}  # fmt: skip
"""Probability and effect, in the order in which they happen to a picture."""
