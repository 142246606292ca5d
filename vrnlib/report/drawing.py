"""The pictures of one face for the report: still views with transparent ground, and the mesh made small.

`views` draws what the page's interactive viewer would show, with the same light and lens. `packed` is the
mesh as the viewer receives it: a tenth of a GLB file, nothing left out.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vrnlib import figures, meshio, texture
from vrnlib.errors import VrnError
from vrnlib.render import rasterise
from vrnlib.viewer import CLAY

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

LENS = 0.12
"""Perspective: a point one radius nearer is drawn so much larger."""
FIT = 0.95
"""Share of the picture that the mesh's sphere fills."""
TEXTURE_SIDE = 640
"""Longest side of one of the two pictures of the mesh in the page, texels."""
PHOTO_SIDE = 720
"""Longer side of the photograph in the page, pixels."""
_STEPS = 256
"""A pixel is so many steps of the packed coordinates."""


def views(
    surface: meshio.Surface, yaws: Sequence[float] = (0, 45, 90), size: int = 240
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Still views of a mesh, drawn by our rasteriser.

    Parameters
    ----------
    surface : Surface
        With texture, as `Face.surface(textured=True)` makes it.
    yaws : degrees by which the head is turned; positive turns the nose to the right of the picture.
    size : side of a picture in pixels.

    Returns
    -------
    list of (coloured, clay), one pair a yaw : (size, size, 4) uint8 RGBA each
        In the photograph's colours, and grey so that the shape can be judged; transparent around.

    Raises
    ------
    VrnError : the mesh has no triangles.
    """
    if not len(surface.faces) or surface.uv is None or surface.picture is None:
        raise VrnError("the mesh has no triangles, or no texture: there is nothing to draw")
    side = 2 * size  # drawn at twice the size, then averaged
    centre, radius = sphere(surface.vertices)
    height, width = surface.picture.shape[:2]
    light = np.array([-0.45, 0.55, 0.75], np.float32)
    light /= np.linalg.norm(light)
    out = []
    for yaw in yaws:
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        points = ((surface.vertices - centre) / radius) @ turn.T  # -1..1, y up
        nearer = 1 / (1 - LENS * points[:, 2:])
        pixels = np.concatenate([points[:, :2] * nearer, points[:, 2:]], 1) * np.float32([1, -1, 1])
        pixels = pixels * np.float32(FIT * side / 2) + np.float32([(side - 1) / 2, (side - 1) / 2, 0])
        triangle, weights, _ = rasterise(pixels, surface.faces, side, side)
        hit = triangle >= 0
        # the mesh is finer than the picture: light is computed a vertex, and interpolated
        normals = surface.normals @ turn.T
        head = np.maximum(normals[:, 2], 0)
        soft = np.clip(head / 0.75, 0, 1)
        clay = 0.16 + 0.34 * head + 0.52 * np.maximum(normals @ light, 0)
        lit = 0.62 + 0.38 * soft * soft * (3 - 2 * soft)
        texel = surface.uv * np.float32([width, height]) - np.float32(0.5)
        known = np.column_stack([texel, lit, clay]).astype(np.float32)  # (V, 4)
        i, j, k = surface.faces[triangle[hit]].T
        wj, wk = weights[hit].T[..., None]
        seen = known[i] * (1 - wj - wk) + known[j] * wj + known[k] * wk  # (P, 4)
        photo = texture.sample(surface.picture, np.ascontiguousarray(seen[:, :2])) * seen[:, 2:3]
        out.append((_smaller(photo, hit, size), _smaller(seen[:, 3:] * (255 * np.float32(CLAY)), hit, size)))
    return out


def _smaller(colour: NDArray[np.floating], hit: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Colours (P, 3) 0..255 of the pixels `hit` (2 size, 2 size) -> RGBA at half that size."""
    drawn = np.zeros((*hit.shape, 4), np.uint8)
    drawn[hit, :3] = np.minimum(colour, 255)
    drawn[hit, 3] = 255
    drawn = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
    edge = (drawn[..., 3] > 0) & (drawn[..., 3] < 255)  # there the average took in black: it is premultiplied
    drawn[edge, :3] = np.minimum(drawn[edge, :3] * (255 / drawn[edge, 3:]), 255)
    return drawn


def slices(volume: NDArray[np.floating], count: int = 6) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """Slices of a volume (D, H, W), 0..1, evenly from the front to the back of what is filled.

    Returns
    -------
    pictures : list of (H, W) uint8, 255 = surely face
    indices : list of int, depth of each; the largest is nearest the viewer
    """
    filled = np.flatnonzero((volume > 0.5).any((1, 2)))
    if not len(filled):
        raise VrnError("the volume is empty: there are no slices to show")
    steps = np.linspace(filled[-1], filled[0], count + 2)[1:-1].round().astype(int)
    return [np.round(255 * volume[d].astype(np.float32)).astype(np.uint8) for d in steps], steps.tolist()


def side_cut(volume: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The middle column of a volume (D, H, W) as a picture (H, D / 2): the profile, viewer on the right."""
    middle = volume[:, :, volume.shape[2] // 2].astype(np.float32)
    return np.round(255 * middle.T.reshape(middle.shape[1], -1, 2).mean(-1)).astype(np.uint8)


def strip(face: Face) -> tuple[NDArray[np.uint8], list[str]]:
    """What the network saw and answered, side by side: window, relief, cut from the side, six slices.

    Returns
    -------
    picture : (S, n S, 3) uint8, n squares without gaps
    captions : list of str, one a square
    """
    window = face.crop.image(face.image)
    size = face.crop.size
    cut = side_cut(face.volume)
    square = np.zeros((size, size), np.uint8)
    left = (size - cut.shape[1]) // 2
    if left >= 0:
        square[:, left : left + cut.shape[1]] = cut
    else:
        square = cut[:, -left : -left + size]
    pictures, depths = slices(face.volume)
    grey = [figures.depth_shading(face.volume), square, *pictures]
    captions = ["its window", "relief of the volume", "cut from the side", *(f"slice {d}" for d in depths)]
    return np.concatenate([window, *(figures.grey(g) for g in grey)], axis=1), captions


def photograph(face: Face) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """The photograph cut to the surroundings of the face.

    Returns
    -------
    picture : (h, w, 3) uint8, at most `PHOTO_SIDE` a side
    box : left, top, right, bottom of the cut in the photograph, pixel edges
    """
    height, width = face.image.shape[:2]
    (x0, y0), (x1, y1) = face.crop.invert(np.array([[-0.5, -0.5], [face.crop.size - 0.5] * 2]))
    side = x1 - x0
    left, top = int(max(0, x0 - side / 3)), int(max(0, y0 - side / 3))
    right, bottom = int(min(width, x1 + side / 3 + 1)), int(min(height, y1 + side / 3 + 1))
    part = face.image[top:bottom, left:right]
    factor = PHOTO_SIDE / max(part.shape[:2])
    if factor < 1:
        part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return part, (left, top, right, bottom)


def packed(face: Face, surface: meshio.Surface) -> dict[str, Any]:
    """The mesh for the page's viewer; positions in steps of 1/256 network pixel, normals left to the viewer.

    Vertices come in the order in which the triangles first use them. So most indices are "the next new one",
    or near it, and are stored as the distance from that; coordinates as the difference from the vertex
    before. Both are split into planes of bytes and deflated.

    Returns
    -------
    dict : ``vertices``, ``triangles``, ``front`` (so many vertices are on the picture's left half: the
        visible side), ``low`` and ``step`` (network pixels), ``size`` (of the window), ``data`` (base64).
    """
    height = face.image.shape[0]
    inside = face.crop.apply((surface.vertices - [0, height - 1, 0]) * [1, -1, 1])
    hidden = surface.uv[:, 0] > 0.5
    # triangles of the visible side first: then a count tells on which picture a vertex is
    far = hidden[surface.faces[:, 0]]
    triangles = np.concatenate([surface.faces[~far], surface.faces[far]])
    used, first = np.unique(triangles, return_index=True)
    order = used[np.argsort(first, kind="stable")]
    new = np.zeros(len(inside), np.int64)
    new[order] = np.arange(len(order))
    triangles, points = new[triangles].ravel(), inside[order]
    low = points.min(0)
    steps = np.round((points - low) * _STEPS).astype(np.int64)
    change = np.diff(steps, axis=0, prepend=np.zeros((1, 3), np.int64)).T.ravel()
    zigzag = np.where(change < 0, -2 * change - 1, 2 * change)
    highest = np.maximum.accumulate(np.concatenate([[-1], triangles]))[:-1]
    planes = [*_bytes(zigzag), *_bytes(highest + 1 - triangles)]
    return {
        "vertices": len(order),
        "triangles": len(triangles) // 3,
        "front": int((~hidden[order]).sum()),
        "low": [round(float(v), 4) for v in low],
        "step": 1 / _STEPS,
        "size": face.crop.size,
        "data": base64.b64encode(zlib.compress(b"".join(planes), 6)).decode("ascii"),
    }


def _bytes(numbers: NDArray[np.int64]) -> list[bytes]:
    """Three planes, low byte first, of numbers from 0 to 2^24 - 1."""
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < 1 << 24:
        raise VrnError("the mesh is too large for the page: more than 16 million vertices")
    return [((numbers >> shift) & 255).astype(np.uint8).tobytes() for shift in (0, 8, 16)]


def sphere(vertices: NDArray[np.floating]) -> tuple[NDArray[np.floating], float]:
    """Centre of the bounding box, and the largest distance of a vertex from it."""
    centre = (vertices.min(0) + vertices.max(0)) / 2
    return centre, max(float(np.linalg.norm(vertices - centre, axis=1).max()), 1e-6)


def webp(picture: NDArray[np.uint8], quality: int = 82) -> str:
    """A picture (h, w, 3 or 4) uint8 as a data address (WebP keeps transparency, and is half a JPEG)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "webp", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def small_texture(surface: meshio.Surface) -> str:
    """Both pictures of the mesh, side by side, at most `TEXTURE_SIDE` high, as a data address."""
    picture = surface.picture
    if picture.shape[0] > TEXTURE_SIDE:
        picture = cv2.resize(picture, (2 * TEXTURE_SIDE, TEXTURE_SIDE), interpolation=cv2.INTER_AREA)
    return webp(picture, 85)
