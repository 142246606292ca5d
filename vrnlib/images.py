"""Photographs in: any image a user may bring, as (H, W, 3) uint8 RGB, upright.

The first step of `vrnlib.reconstruct`; the notebook ``00_start_here`` uses it. Everything that cannot be read
as a photograph ends in one `VrnError` that names the file and the remedy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vrnlib.errors import VrnError

ImageLike = str | PathLike[str] | np.ndarray | Image.Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""What counts as a photograph when a folder is given (in any case). A file named explicitly may be called
anything.
"""

MIN_SIDE = 32
"""Pixels. Below this there is no face to find, whatever the network size."""

_PHOTO_HINT = "give a photograph as JPEG, PNG, WebP, TIFF or BMP (HEIC and raw files must be converted first)"


def load(source: ImageLike) -> NDArray[np.uint8]:
    """Read a photograph as 8-bit RGB, upright.

    Greyscale is repeated in three channels, transparency is laid on white, 16 bits are reduced to 8, palettes
    are resolved, and the EXIF orientation is applied.

    Parameters
    ----------
    source : path, PIL image or array
        An array is (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, of type uint8, uint16, bool, or float
        in 0..1.

    Returns
    -------
    image : (H, W, 3) uint8
        RGB, 0..255, row 0 at the top; C-contiguous.

    Raises
    ------
    VrnError
        If it is missing, not an image, truncated, or smaller than `MIN_SIDE` pixels.
    """
    if isinstance(source, np.ndarray):
        image, where = _from_array(source), f"an array of shape {source.shape}"
    elif isinstance(source, Image.Image):
        image, where = _from_pil(source), f"an image of {source.width}x{source.height} pixels"
    else:
        path, where = Path(source), f"'{source}'"
        image = _from_file(path)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise VrnError(
            f"{where} is too small: {width}x{height} pixels, and at least {MIN_SIDE}x{MIN_SIDE} are needed; "
            "use a larger version of the photograph, with a face of 80 pixels or more"
        )
    return np.ascontiguousarray(image)


def expand(sources: Iterable[str | PathLike[str]]) -> list[Path]:
    """List the photographs meant by `sources`: a folder stands for the images in it, sorted by name, not
    deeper.

    A path that is not a folder is kept as it is, even if it does not exist, so that each bad one is reported
    on its own when it is loaded. A path that occurs twice is kept once.

    Raises
    ------
    VrnError
        If a folder holds no image.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.iterdir() if _is_photograph(p))
            if not inside:
                raise VrnError(
                    f"no photographs in the folder '{source}': it needs files ending in "
                    f"{', '.join(EXTENSIONS)}"
                )
            paths += inside
        else:
            paths.append(source)
    return list(dict.fromkeys(paths))


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _from_file(path: Path) -> NDArray[np.uint8]:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {_reason(error)}; check the path") from error
    if path.is_dir():
        raise VrnError(f"'{path}' is a folder, not a photograph: give one of the files in it")
    if size == 0:
        raise VrnError(f"'{path}' is empty (0 bytes): copy or download the photograph again")
    try:
        with warnings.catch_warnings():
            # a photograph of more than 90 megapixels is no attack; beyond twice that Pillow refuses, see
            # below
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return _from_pil(picture)
    except UnidentifiedImageError as error:
        deep = _from_deep_tiff(path)
        if deep is None:
            raise VrnError(f"'{path}' is not an image that can be read: {_PHOTO_HINT}") from error
        return deep
    except Image.DecompressionBombError as error:
        raise VrnError(
            f"'{path}' has too many pixels to open safely: reduce it, 4000 pixels wide is plenty"
        ) from error
    except PermissionError as error:
        raise VrnError(f"cannot read '{path}': {_reason(error)}; check its permissions") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow reports a broken stream by any of these, depending on the format
        raise VrnError(
            f"'{path}' is truncated or damaged ({error}): copy or download the photograph again"
        ) from error


def _from_pil(picture: Image.Image) -> NDArray[np.uint8]:
    """Any PIL mode to (H, W, 3) uint8."""
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _from_array(_to_unit_range(np.asarray(picture)))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return _from_array(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _from_deep_tiff(path: Path) -> NDArray[np.uint8] | None:
    """What Pillow does not know (TIFF with 16 bits in each of three channels) through OpenCV, or None."""
    import cv2

    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None:
        return None
    if pixels.ndim == 3 and pixels.shape[2] >= 3:  # BGR(A) -> RGB(A)
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    return _from_array(_to_unit_range(pixels) if pixels.dtype.kind == "f" else pixels)


def _from_array(pixels: np.ndarray) -> NDArray[np.uint8]:
    """Any array allowed by `load` to (H, W, 3) uint8."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise VrnError(
            f"an array of shape {pixels.shape} is not a photograph: it must be (height, width), "
            "(height, width, 3) RGB "
            "or (height, width, 4) RGBA"
        )
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
            raise VrnError(
                f"float pixels must lie in 0..1, these lie in {pixels.min():g}..{pixels.max():g}: "
                "divide by 255, or convert to uint8"
            )
        pixels = np.round(pixels * 255).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise VrnError(f"pixels of type {pixels.dtype} are ambiguous: use uint8, uint16, or float in 0..1")
    if pixels.shape[2] == 4:  # on white
        alpha = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _to_unit_range(pixels: np.ndarray) -> NDArray[np.float32]:
    """Deep pixels of unknown full scale to 0..1: the full scale is the smallest usual one that holds the
    maximum.
    """
    top = float(pixels.max(initial=0))
    full = next((limit for limit in (1.0, 255.0, 4095.0, 65535.0) if top <= limit), max(top, 1.0))
    if pixels.dtype == np.uint16 or (pixels.dtype.kind in "iu" and full == 1.0):
        # 16 bits; but a sensor's 12 bits stored in 16 would be all but black
        full = 65535.0 if top > 4095 or top <= 255 else 4095.0
    return np.clip(pixels.astype(np.float32) / full, 0, 1)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
