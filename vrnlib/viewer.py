"""One self-contained page to turn a reconstructed face: no external script, style or picture, opens offline.

The page shows the photograph with its landmarks beside the mesh, and still views for browsers without WebGL
and for print. Its viewer is a hundred lines of WebGL in ``templates/viewer.html``; the mesh travels in it
quantised to 16 bits. `still` draws the same mesh in NumPy, for figures.
"""

from __future__ import annotations

import base64
import html as escape
import json
from collections.abc import Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib import meshio
from vrnlib.errors import VrnError
from vrnlib.render import rasterise

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

PHOTO_SIDE = 900
"""Longer side of the photograph in the page, pixels."""

CLAY = (0.80, 0.77, 0.73)
"""Colour of the mesh when its shape is to be judged without the photograph."""


def html(faces: Face | Sequence[Face], titles: Sequence[str] | None = None) -> str:
    """A page for one face or several.

    Parameters
    ----------
    faces : Face or sequence of Face
    titles : sequence of str, optional
        One for each face, for example the names of the photographs.

    Returns
    -------
    page : str
        About 20 kB, and for each face 50 bytes a vertex and the pictures.

    Raises
    ------
    VrnError
        If there is no face, or the number of titles is another.
    """
    several = list(faces) if isinstance(faces, Sequence) else [faces]
    names = list(titles) if titles is not None else [f"Face {i}" for i in range(1, len(several) + 1)]
    if not several or len(names) != len(several):
        raise VrnError(
            f"a page needs at least one face and a title for each: got {len(several)} faces, "
            f"{len(names)} titles"
        )
    title = f"{names[0]} in 3D" if len(several) == 1 else f"{len(several)} faces in 3D"
    template = Template(
        resources.files("vrnlib").joinpath("templates/viewer.html").read_text(encoding="utf-8")
    )
    # the page's script uses ${...} itself: only our three upper-case names are replaced
    return template.safe_substitute(
        TITLE=escape.escape(title),
        INTRO="Reconstructed from one photograph by volumetric regression. "
        "Drag to turn, wheel or pinch to zoom, shift-drag to "
        "move; with the keyboard: arrows, + and -, 0 for the front.",
        SECTIONS="\n".join(_section(f, n, len(several) > 1) for f, n in zip(several, names, strict=True)),
    )


def write(
    path: str | PathLike[str], faces: Face | Sequence[Face], titles: Sequence[str] | None = None
) -> Path:
    """Write the page of `html` to a file, completely or not at all.

    Raises
    ------
    VrnError
        If the folder is missing or not writable; and see `html`.
    """
    path = meshio.check_folder(Path(path))
    meshio.write_bytes(path, html(faces, titles).encode("utf-8"))
    return path


def still(
    face: Face,
    yaw: float = 0.0,
    size: int = 400,
    clay: bool = False,
    background: tuple[int, int, int] = (238, 241, 244),
) -> NDArray[np.uint8]:
    """A still view of the mesh, drawn without a graphics card.

    Parameters
    ----------
    face : Face
    yaw : float
        Degrees by which the head is turned; positive turns the nose to the right of the picture.
    size : int
        Side of the picture in pixels.
    clay : bool
        Grey, to judge the shape, instead of the photograph's colours.
    background : (r, g, b), 0..255

    Returns
    -------
    picture : (size, size, 3) uint8 RGB
    """
    surface = face.surface(textured=True)
    factor = 2  # drawn at twice the size, then averaged
    side = size * factor
    centre, radius = _sphere(surface.vertices)
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    points = ((surface.vertices - centre) / radius) @ turn.T  # -1..1, y up
    normals = surface.normals @ turn.T
    pixels = points * [1, -1, 1] * (0.48 * side) + [(side - 1) / 2, (side - 1) / 2, 0]
    triangle, weights, _ = rasterise(pixels.astype(np.float32), surface.faces, side, side)
    hit = triangle >= 0
    corners = surface.faces[triangle[hit]]  # (P, 3)
    w = np.concatenate([1 - weights[hit].sum(1, keepdims=True), weights[hit]], 1)[..., None]  # (P, 3, 1)
    normal = (normals[corners] * w).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    head = np.maximum(normal[:, 2:], 0)
    if clay:
        light = np.array([-0.45, 0.55, 0.75])
        key = np.maximum(normal @ (light / np.linalg.norm(light)), 0)[:, None]
        colour = np.array(CLAY) * (0.16 + 0.34 * head + 0.52 * key)
    else:
        height, width = surface.picture.shape[:2]
        uv = (surface.uv[corners] * w).sum(1) * [width, height] - 0.5
        soft = np.clip(head / 0.75, 0, 1)
        colour = _bilinear(surface.picture, uv) / 255 * (0.62 + 0.38 * soft * soft * (3 - 2 * soft))
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = background
    picture[hit] = np.clip(colour, 0, 1) * 255
    return np.round(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)).astype(np.uint8)


def _section(face: Face, name: str, heading: bool) -> str:
    """The HTML of one face."""
    surface = face.surface(textured=True)
    centre, radius = _sphere(surface.vertices)
    unit = (surface.vertices - centre) / radius  # inside of the unit sphere
    position = np.zeros((len(unit), 4), "<i2")  # padded to 8 bytes
    position[:, :3] = np.round(unit * 32767)
    normal = np.zeros((len(unit), 4), "i1")
    normal[:, :3] = np.round(surface.normals * 127)
    mesh = {
        "position": _base64(position),
        "normal": _base64(normal),
        "uv": _base64(np.round(np.clip(surface.uv, 0, 1) * 65535).astype("<u2")),
        "index": _base64(surface.faces.astype("<u4")),
        "triangles": len(surface.faces),
        "fit": 1.0,
        "picture": _base64(meshio.jpeg_bytes(surface.picture)),
    }
    shown = escape.escape(name, quote=True)
    stills = np.concatenate(
        [still(face, yaw, 300, clay) for clay in (False, True) for yaw in (0, 45, 90)], axis=1
    )
    n = len(face.mesh.vertices)
    size = " x ".join(map(str, face.volume.shape[::-1]))
    yaws = {"Front": 0, "Three-quarter": 45, "Right": 90, "Left": -90}
    buttons = "\n".join(f'<button type="button" data-yaw="{y}">{text}</button>' for text, y in yaws.items())
    alternative = (
        f"Still views of the face from {shown}: front, three-quarter and side, first in the "
        "photograph's colours, "
        "then the shape alone in grey."
    )
    return f"""<section class="face">
{f"<h2>{shown}</h2>" if heading else ""}
<div class="pair">
<figure><div class="frame">{_photo(face, shown)}</div>
<figcaption>The photograph, the 68 landmarks found in it{_by(face)}, and the network's window.
</figcaption></figure>
<figure><div class="frame"><canvas tabindex="0" role="img"
 aria-label="Interactive 3D face reconstructed from {shown}; turn it with the arrow keys"></canvas></div>
<figcaption>{n:,} vertices from a volume of {size} voxels.</figcaption></figure>
</div>
<div class="bar" role="toolbar" aria-label="Views of {shown}">
{buttons}
<button type="button" data-clay aria-pressed="false">Shape only</button>
<button type="button" data-marks aria-pressed="true">Landmarks</button>
</div>
<img class="still" src="data:image/jpeg;base64,{_base64(meshio.jpeg_bytes(stills, 88))}"
 width="{stills.shape[1]}" height="{stills.shape[0]}" alt="{alternative}">
<script type="application/json">{json.dumps(mesh)}</script>
</section>"""


def _photo(face: Face, shown: str) -> str:
    """The photograph as SVG: cut to the surroundings of the face, landmarks and window drawn over it."""
    height, width = face.image.shape[:2]
    corners = face.crop.invert(np.array([[-0.5, -0.5], [face.crop.size - 0.5] * 2]))
    (x0, y0), (x1, y1) = corners
    side = x1 - x0
    left, top = int(max(0, x0 - side / 2)), int(max(0, y0 - side / 2))
    right, bottom = int(min(width, x1 + side / 2)), int(min(height, y1 + side / 2))
    part = face.image[top:bottom, left:right]
    factor = min(1.0, PHOTO_SIDE / max(part.shape[:2]))
    if factor < 1:
        part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    w, h = right - left, bottom - top
    dot = side / 130
    dots = "".join(
        f'<circle cx="{x - left:.1f}" cy="{y - top:.1f}" r="{dot:.2f}"/>' for x, y in face.landmarks
    )
    picture = f"data:image/jpeg;base64,{_base64(meshio.jpeg_bytes(part, 88))}"
    window = f'x="{x0 - left:.1f}" y="{y0 - top:.1f}" width="{side:.1f}" height="{y1 - y0:.1f}"'
    return f"""<svg viewBox="0 0 {w} {h}" role="img"
 aria-label="Photograph {shown} with 68 landmarks on the face">
<image width="{w}" height="{h}" preserveAspectRatio="none" href="{picture}"/>
<g class="marks"><rect {window} fill="none" stroke="#fff" stroke-opacity=".8"
 stroke-width="{dot:.2f}" stroke-dasharray="{4 * dot:.1f}"/>
<g fill="#ffd33d" stroke="#14181d" stroke-width="{dot / 3:.2f}">{dots}</g></g></svg>"""


def _by(face: Face) -> str:
    """Which detector found the landmarks, and what its use asks."""
    from vrnlib.detect import LICENCES

    name = face.detection.detector
    terms = f" ({LICENCES[name]})" if name in LICENCES else ""
    return f" by {escape.escape(name)}{terms}" if name else ""


def _sphere(vertices: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Centre of the bounding box and the largest distance from it."""
    centre = (vertices.min(0) + vertices.max(0)) / 2
    return centre, max(float(np.linalg.norm(vertices - centre, axis=1).max()), 1e-6)


def _bilinear(picture: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.float32]:
    from vrnlib.texture import sample

    return sample(picture, points.astype(np.float32)).astype(np.float32)


def _base64(data: bytes | np.ndarray) -> str:
    raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    return base64.b64encode(raw).decode("ascii")
