"""Figures: one palette, PNG first with alternative text, meshes drawn by our own rasteriser.

Every figure of a notebook is shown by :func:`show`, which needs a description: readers who can't see the
picture, search engines and the HTML export (it refuses a picture without one) all use it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np

from vrnlib.errors import VrnError
from vrnlib.render import rasterise, vertex_normals

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Okabe and Ito's colours: told apart with any colour vision."""
NEUTRAL = np.array([0.78, 0.74, 0.70])
VIEWS: dict[str, float] = {"front": 0.0, "three-quarter": 45.0, "side": 90.0, "other side": -90.0}
"""Named turns of the viewer about the vertical axis, degrees; positive shows the face's own right cheek."""


def style() -> None:
    """Set matplotlib's defaults for the suite (palette, sizes, no top and right spines)."""
    matplotlib.rcParams.update({
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "axes.spines.top": False, "axes.spines.right": False,
        "figure.dpi": 90, "savefig.dpi": 90, "savefig.bbox": "tight", "figure.constrained_layout.use": True,
        "font.size": 10, "image.interpolation": "nearest",
    })  # fmt: skip


_FEW, _SOME = 3000, 10_000
"""A plot, and no photograph, has at most `_FEW` colours, or at most `_SOME` and one of them on half of it."""


def show(figure: Any, alt: str, *, photo: bool = False) -> None:
    """Display a figure as PNG with its alternative text, in a notebook or its HTML export.

    Parameters
    ----------
    figure : a matplotlib figure, or an image (H, W) or (H, W, 3) uint8.
    alt : what is to be seen, in a sentence or two.
    photo : JPEG instead, several times smaller where photographs fill the picture.

    Raises
    ------
    VrnError : `alt` is empty.
    """
    from IPython.display import display
    from PIL import Image

    if not alt.strip():
        raise VrnError("a figure needs an alternative text: say in a sentence what is to be seen")
    if isinstance(figure, np.ndarray):
        picture = Image.fromarray(figure)
    else:
        import matplotlib.pyplot as plt

        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        plt.close(figure)
        picture = Image.open(drawn).convert("RGB")
    buffer, mime = io.BytesIO(), "image/jpeg" if photo else "image/png"
    if photo:
        picture.convert("RGB").save(buffer, "jpeg", quality=80, optimize=True)
    else:
        picture = picture.convert("RGB")
        counts = [n for n, _ in picture.getcolors(_SOME) or ()]
        plot = counts and (len(counts) <= _FEW or max(counts) > sum(counts) / 2)
        if plot:  # a palette shows the same in a third of the bytes
            picture = picture.quantize(256, dither=Image.Dither.NONE)
        picture.save(buffer, "png", optimize=True)
    display({mime: buffer.getvalue(), "text/plain": alt}, raw=True, metadata={mime: {"alt": alt}})


def note(text: str) -> None:
    """Display Markdown: how a notebook puts computed numbers into sentences."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers in the cells are formatted by the caller."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def this_run(profile: str, seconds: float) -> str:
    """A sentence on what the run of a notebook took, and where."""
    from vrnlib.provenance import machine

    m = machine()
    return (
        f"This run: profile `{profile}`, {seconds:.0f} seconds on {m['processor']}, {m['cores']} core(s), "
        f"{m['system']}."
    )


def check(title: str, got: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Check an answer of a reader at once: prints what was expected and what was given.

    Parameters
    ----------
    got : None as long as there is no answer: then the expected value is not given away.
    tolerance : largest absolute difference of a right answer, for numbers and arrays.
    """
    if got is None:
        print(f"{title}: no answer yet")
        return
    if isinstance(expected, (str, bool)):
        right = got == expected
    else:
        a, b = np.asarray(got, float), np.asarray(expected, float)
        right = a.shape == b.shape and bool((np.abs(a - b) <= tolerance).all())
    print(f"{title}: expected {_plain(expected)}, got {_plain(got)}: {'right' if right else 'not yet'}")


def _plain(value: Any) -> str:
    if isinstance(value, (str, bool)):
        return repr(value)
    return np.array2string(np.asarray(value), precision=4, suppress_small=True, threshold=12)


def sheet(images: Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """Arrange equally large (H, W, 3) uint8 images row by row with white gaps; the last row is filled up with
    white.
    """
    h, w = images[0].shape[:2]
    rows = -(-len(images) // columns)
    out = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = (i // columns) * (h + gap), (i % columns) * (w + gap)
        out[y : y + h, x : x + w] = image
    return out


def mesh_view(
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray | None = None,
    *,
    turn: float = 0.0,
    size: int = 240,
    centre: np.ndarray | None = None,
    extent: float | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """Draw a mesh of the image frame (x right, y down, z towards the viewer) with soft light.

    Parameters
    ----------
    vertices : (V, 3) pixels; faces : (F, 3) int.
    colours : (V, 3) uint8, or None for plaster.
    turn : degrees about the vertical axis through `centre`.
    size : side of the picture in pixels; extent : side of what it shows, in the mesh's pixels (default: fits
    the mesh).

    Returns
    -------
    (size, size, 3) uint8.
    """
    v = np.asarray(vertices, np.float32)
    centre = (v.min(0) + v.max(0)) / 2 if centre is None else np.asarray(centre, np.float32)
    extent = float(np.linalg.norm(np.ptp(v, axis=0)) * 0.8) if extent is None else extent
    angle = np.deg2rad(turn)
    c, s = np.cos(angle), np.sin(angle)
    turned = (v - centre) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32).T
    k = 2  # supersampling
    scale = k * size / extent
    pixels = turned * scale + [k * size / 2, k * size / 2, 0]
    tri, bary, _ = rasterise(pixels, faces, k * size, k * size)
    seen = tri >= 0
    weights = np.stack([1 - bary.sum(-1), bary[..., 0], bary[..., 1]], -1)[seen][..., None]
    corners = np.asarray(faces)[tri[seen]]
    normals = (vertex_normals(turned, faces)[corners] * weights).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    # whichever way the mesh is oriented, what is seen faces the viewer
    normals *= np.where(normals[:, 2:] < 0, -1, 1)
    light = (
        0.32
        + 0.5 * np.clip(normals @ np.array([-0.35, -0.45, 0.82]), 0, 1)
        + 0.25 * np.clip(normals @ np.array([0.7, -0.1, 0.7]), 0, 1)
    )
    if colours is None:
        albedo: np.ndarray = NEUTRAL
    else:
        albedo = (np.asarray(colours, np.float32)[corners, :3] * weights).sum(1) / 255
        light = 0.55 + 0.5 * light
    out = np.broadcast_to(np.array(background, np.float32), (k * size, k * size, 3)).copy()
    out[seen] = np.clip(light[:, None] * albedo, 0, 1) * 255
    return out.reshape(size, k, size, k, 3).mean((1, 3)).astype(np.uint8)


def depth_shading(volume: np.ndarray, level: float = 0.5) -> np.ndarray:
    """A volume (D, H, W) seen from the front as a shaded relief, (H, W) uint8; black where it is empty."""
    filled = np.asarray(volume) > level
    relief = np.where(filled.any(0), filled.shape[0] - 1 - filled[::-1].argmax(0), 0).astype(np.float32)
    gy, gx = np.gradient(relief * 0.5)
    return (255 * filled.any(0) / np.sqrt(1 + 0.4 * (gx**2 + gy**2))).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (H, W, 3) uint8, to stand in a row with colour images."""
    return np.repeat(image[..., None], 3, axis=2)


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel `factor` times along rows and columns: (H, W[, 3]) -> (factor H, factor W[, 3])."""
    return image.repeat(factor, 0).repeat(factor, 1)


def row(
    images: Sequence[np.ndarray], titles: Sequence[str], height: float = 2.4, columns: int | None = None
) -> Any:
    """Images side by side under their titles, as a matplotlib figure.

    Parameters
    ----------
    images : (H, W) or (H, W, 3) uint8 each; they may differ in size.
    titles : one for each; an empty one leaves the place free.
    height : of a row, in inches.
    columns : images in a row; default: all in one.
    """
    import matplotlib.pyplot as plt

    columns = columns or len(images)
    rows = -(-len(images) // columns)
    widths = [max(im.shape[1] / im.shape[0] for im in images[c::columns]) for c in range(columns)]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(height * sum(widths) + 0.1 * columns, (height + 0.3) * rows),
        width_ratios=widths,
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(
            image,
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest" if image.shape[0] < 200 else "antialiased",
        )
        axis.set_title(title, fontsize=9)
    return figure


def turned(
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray | None = None,
    turns: Sequence[float] = (0, 45, 90),
    size: int = 200,
    **options: Any,
) -> list[np.ndarray]:
    """The mesh seen from several sides at one scale: a list of `mesh_view` pictures (options as there)."""
    v = np.asarray(vertices, np.float32)
    options.setdefault("extent", float(np.linalg.norm(np.ptp(v, axis=0)) * 0.8))
    options.setdefault("centre", (v.min(0) + v.max(0)) / 2)
    return [mesh_view(v, faces, colours, turn=turn, size=size, **options) for turn in turns]


def playground(draw: Callable[..., np.ndarray], **sliders: Any) -> None:
    """Sliders beside the picture they change; needs a live kernel, so still pictures of some states should
    follow.

    Parameters
    ----------
    draw : gets the sliders' values by name, returns (H, W) or (H, W, 3) uint8.
    sliders : ipywidgets controls, by the names of `draw`'s arguments.
    """
    import ipywidgets
    from IPython.display import display
    from PIL import Image

    def png() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(draw(**{name: slider.value for name, slider in sliders.items()})).save(buffer, "png")
        return buffer.getvalue()

    picture = ipywidgets.Image(value=png(), format="png")
    for slider in sliders.values():
        slider.observe(lambda _: setattr(picture, "value", png()), names="value")
    display(ipywidgets.HBox([ipywidgets.VBox(list(sliders.values())), picture]))
