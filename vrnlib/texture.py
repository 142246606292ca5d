"""The photograph as the face's texture.

The mesh is seen along z, orthographically, so the photograph itself is the texture: a vertex at (x, y) shows
the pixel at (x, y). That is true only of the front. Where the surface turns away or lies behind another part,
the pixel belongs to something else (the background past the cheek, the nose over the far cheek). So two
pictures are made of the window:

``front``  the photograph, fading to its own smoothed colours where the surface turns away from the viewer;
``back``   these smoothed colours, spread over the whole window and fading to the mean colour of the face.

Both agree where they meet, which hides the seam. `vrnlib.reconstruct` samples them into vertex colours,
`vrnlib.meshio` puts them side by side into the GLB file. The notebook ``00_start_here`` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.crop import Crop

MAX_SIDE = 1024
"""Longest side of a picture in texels: beyond it the photograph is reduced."""


@dataclass(frozen=True)
class Texture:
    """Two pictures of the network's window and what separates them.

    Attributes
    ----------
    front, back : (T, T, 3) uint8 RGB
        The window at T texels; texel (i, j) has its centre at network pixel ``((j, i) + 0.5) * size / T -
        0.5``.
    depth : (size, size) float32, network pixels
        z of the front-most surface under each pixel, ``-inf`` where there is none.
    size : int
        Side of the window in network pixels.
    """

    front: NDArray[np.uint8]
    back: NDArray[np.uint8]
    depth: NDArray[np.float32]
    size: int

    def visible(self, vertices: NDArray[np.floating], tolerance: float = 1.5) -> NDArray[np.bool_]:
        """(V,) bool: whether nothing lies in front of each vertex.

        Parameters
        ----------
        vertices : (V, 3) float, network frame
        tolerance : float
            Network pixels a vertex may lie behind the front-most surface under the pixels around it.
        """
        # the lowest front of the pixels around, empty ones left out: a vertex on a cliff belongs to its lower
        # side as well
        near = cv2.erode(
            np.where(np.isfinite(self.depth), self.depth, np.inf).astype(np.float32),
            np.ones((3, 3), np.uint8),
        )
        x, y = np.clip(np.round(vertices[:, :2]).astype(np.int64), 0, self.size - 1).T
        return vertices[:, 2] >= near[y, x] - tolerance

    def colours(self, vertices: NDArray[np.floating], visible: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(V, 3) uint8 RGB of vertices in the network frame, sampled bilinearly from the picture that is
        theirs.

        One colour per vertex cannot hold more than a texel per pixel, so the pictures are averaged to about
        that first.
        """
        out = np.empty((len(vertices), 3), np.uint8)
        for picture, mine in ((self.front, visible), (self.back, ~visible)):
            side = min(picture.shape[0], 2 * self.size)
            small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            texel = (vertices[mine, :2].astype(np.float32) + 0.5) * (side / self.size) - 0.5
            out[mine] = sample(small, texel)
        return out


def make(image: NDArray[np.uint8], crop: Crop, depth: NDArray[np.float32]) -> Texture:
    """Build the texture of a reconstruction.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
        The original photograph.
    crop : Crop
        Where the network's window lies in it.
    depth : (size, size) float32, network pixels
        z of the front-most surface under each pixel, ``-inf`` where there is none
        (`vrnlib.render.rasterise`).
    """
    size = crop.size
    side = int(np.clip(round(size / crop.scale), size, MAX_SIDE))
    finer = side / size
    # the same similarity at `side` texels: pixel edges scale, hence the half pixels
    window = Crop(
        crop.scale * finer,
        ((crop.offset[0] + 0.5) * finer - 0.5, (crop.offset[1] + 0.5) * finer - 0.5),
        side,
    )
    photo = window.image(image)
    inside = _inside(image.shape[:2], crop)
    weight = _facing(depth) * inside  # (size, size)
    small = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    spread, mean = _spread(small, weight)
    distance = cv2.distanceTransform((~np.isfinite(depth) | (weight < 0.5)).astype(np.uint8), cv2.DIST_L2, 3)
    fade = np.clip(distance / (0.15 * size), 0, 1)[..., None] * 0.5
    back = spread * (1 - fade) + mean * fade

    def enlarge(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)

    w = enlarge(weight)[..., None]
    back = enlarge(back)
    front = photo * w + back * (1 - w)
    return Texture(np.round(front).astype(np.uint8), np.round(back).astype(np.uint8), depth, size)


def sample(picture: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bilinear samples (N, 3) uint8 of a (H, W, 3) picture at (N, 2) points (x, y) in its pixels; the border
    is repeated.
    """
    n = len(points)
    width = 4096  # OpenCV's maps must be narrower than 32768
    rows = -(-n // width)
    padded = np.zeros((rows * width, 2), np.float32)
    padded[:n] = points
    if n == 0:
        return np.empty((0, 3), np.uint8)
    grid = padded.reshape(rows, width, 2)
    found = cv2.remap(picture, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[:n]


def _facing(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(size, size) 0..1: how far the photograph is to be trusted, by the angle at which the surface is seen.

    1 up to about 60 degrees, 0 from about 80 degrees and at the outline, where a pixel is partly background.
    """
    solid = np.isfinite(depth)
    flat = np.where(solid, depth, depth[solid].min() if solid.any() else 0).astype(np.float32)
    smooth = cv2.GaussianBlur(flat, (0, 0), 1.0)  # voxel steps are no slopes
    dx, dy = (
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    cosine = 1 / np.sqrt(1 + dx * dx + dy * dy)
    weight = np.clip((cosine - 0.17) / 0.33, 0, 1) * cv2.erode(
        solid.astype(np.uint8), np.ones((3, 3), np.uint8)
    )
    return cv2.GaussianBlur(weight.astype(np.float32), (0, 0), 0.7)


def _inside(shape: tuple[int, int], crop: Crop) -> NDArray[np.float32]:
    """(size, size) 1 where the window lies inside of the photograph, else 0."""
    pixels = np.arange(crop.size)
    x = (pixels - crop.offset[0]) / crop.scale
    y = (pixels - crop.offset[1]) / crop.scale
    fits_x, fits_y = (x >= 0) & (x <= shape[1] - 1), (y >= 0) & (y <= shape[0] - 1)
    return (fits_y[:, None] & fits_x[None, :]).astype(np.float32)


def _spread(
    picture: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth colours of the weighted pixels, continued over the whole picture; and their mean (3,).

    A pyramid of weighted means: where one width of blur has seen nothing, the next wider one answers.
    """
    total = float(weight.sum())
    mean = (picture * weight[..., None]).sum((0, 1)) / total if total > 0 else np.full(3, 160, np.float32)
    out = np.broadcast_to(mean, picture.shape).astype(np.float32)
    size = picture.shape[0]
    for sigma in (size / 8, size / 16, size / 32, size / 64):  # wide to narrow
        w = cv2.GaussianBlur(weight, (0, 0), sigma)
        c = cv2.GaussianBlur(picture * weight[..., None], (0, 0), sigma)
        local = c / np.maximum(w, 1e-6)[..., None]
        trust = np.clip(w / 0.2, 0, 1)[..., None]
        out = local * trust + out * (1 - trust)
    return out, mean.astype(np.float32)
