"""The report's HTML: one card a face, the list of failures, settings and where everything came from.

The page is one file without anything external; `vrnlib/templates/report.html` is its frame and style,
``report.js`` its viewer. Words that come from outside (names of files, reasons) are escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib import __version__
from vrnlib.report import drawing
from vrnlib.report.measures import Measures

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

YAWS = (0, 45, 90)
_NAMES = ("front", "three-quarter", "side")
_BUTTONS = (("Front", 0), ("Three-quarter", 45), ("Right side", 90), ("Left side", -90))


@dataclass(frozen=True)
class Entry:
    """One reconstructed face.

    Attributes
    ----------
    photograph : name of its file
    title : what the page calls it; other than `photograph` if that shows several faces
    number : counts the page's faces from 1
    mesh : name of the mesh's file, relative to the page, or None
    measures : Measures
    minds : what to keep in mind about this face, sentences
    thumbs : two (T, T, 3 or 4) uint8 pictures, photograph and mesh
    window : (S, S, 3) uint8, what the network saw
    card : the HTML of its card
    """

    photograph: str
    title: str
    number: int
    mesh: str | None
    measures: Measures
    minds: tuple[str, ...]
    thumbs: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    window: NDArray[np.uint8]
    card: str


@dataclass(frozen=True)
class Failure:
    """A photograph that gave no face, and why."""

    photograph: str
    reason: str


def card(
    face: Face,
    title: str,
    number: int,
    mesh: str | None,
    measures: Measures,
    minds: Sequence[str],
    rank: str = "",
) -> tuple[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The HTML of one face, and its two thumbnails.

    Parameters
    ----------
    title : not yet escaped.
    mesh : address of the mesh's file as seen from the page.
    rank : where its doubt stands among reference faces, in words.

    Raises
    ------
    VrnError : the mesh has no triangles.
    """
    name = html.escape(title, quote=True)
    surface = face.surface(textured=True)
    large = drawing.views(surface, YAWS[:1], 480)[0]
    front = tuple(cv2.resize(p, (240, 240), interpolation=cv2.INTER_AREA) for p in large)
    pictures = [front, *drawing.views(surface, YAWS[1:], 240)]
    packed = drawing.packed(face, surface)
    texels = min(surface.picture.shape[0], drawing.TEXTURE_SIDE)
    packed |= {"texels": texels, "picture": drawing.small_texture(surface)}
    shown = [
        (
            picture,
            f"The reconstructed face of {name} from {'the ' if view != 'three-quarter' else ''}{view}, {how}",
        )
        for kind, how in ((0, "in the photograph's colours"), (1, "as grey plaster"))
        for view, picture in ((n, p[kind]) for n, p in zip(_NAMES, pictures, strict=True))
    ]
    views = "".join(
        f'<img src="{drawing.webp(picture)}" width="240" height="240" loading="lazy" alt="{alt}">'
        for picture, alt in shown
    )
    buttons = "".join(f'<button type="button" data-yaw="{yaw}">{text}</button>' for text, yaw in _BUTTONS)
    link = ""
    if mesh:
        link = (
            f'<a class="noprint" href="{quote(mesh)}" download>Mesh file</a>'
            f'<span class="onlyprint">Mesh file: {html.escape(mesh)}</span>'
        )
    window = drawing.photograph(face)[0]
    thumb = cv2.resize(_square(window), (150, 150), interpolation=cv2.INTER_AREA)
    small = cv2.resize(pictures[1][1], (150, 150), interpolation=cv2.INTER_AREA)
    text = f"""<section class="face" id="face-{number}" data-name="{name}" aria-labelledby="title-{number}">
<h2 id="title-{number}">{name}</h2>
<div class="pair">
<figure><div class="frame">{_photo(face, name)}</div>
<figcaption>The photograph, 68 landmarks, and the window that the network sees.</figcaption></figure>
<figure><div class="frame solid"><img src="{drawing.webp(large[0])}" width="480" height="480"
 alt="The reconstructed face of {name} from the front, in the photograph's colours">
<button type="button" class="turn" aria-label="Turn {name} in 3-D"><span>Turn it in 3-D</span></button></div>
<figcaption>The reconstruction. {link}</figcaption></figure>
</div>
<div class="bar" role="toolbar" aria-label="Views of {name}">{buttons}
<button type="button" data-clay aria-pressed="false">Shape only</button>
<button type="button" data-marks aria-pressed="true">Landmarks</button></div>
{_minds(minds)}
{_measures(face, measures, rank)}
<h3>Front, three-quarter and side; in colour, and the shape alone</h3>
<div class="views">{views}</div>
<h3>What the network saw, and its volume</h3>
{_strip(face, name)}
<script type="application/json">{json.dumps(packed)}</script>
</section>"""
    return text, (thumb, small)


def _photo(face: Face, name: str) -> str:
    """The photograph as SVG, landmarks and window drawn over it."""
    picture, (left, top, right, bottom) = drawing.photograph(face)
    (x0, y0), (x1, y1) = face.crop.invert(np.array([[-0.5, -0.5], [face.crop.size - 0.5] * 2]))
    dot = (x1 - x0) / 130
    # pixel edges of the cut are at -0.5 of its first pixel
    dots = "".join(
        f'<circle cx="{x - left + 0.5:.1f}" cy="{y - top + 0.5:.1f}" r="{dot:.2f}"/>'
        for x, y in face.landmarks[:, :2]
    )
    window = (
        f'x="{x0 - left + 0.5:.1f}" y="{y0 - top + 0.5:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    )
    w, h = right - left, bottom - top
    return f"""<svg viewBox="0 0 {w} {h}" role="img"
 aria-label="The photograph {name} with 68 landmarks on the face and a dashed square round it">
<image width="{w}" height="{h}" preserveAspectRatio="none" href="{drawing.webp(picture, 80)}"/>
<g class="marks"><rect {window} fill="none" stroke="#fff" stroke-opacity=".85"
 stroke-width="{dot:.2f}" stroke-dasharray="{4 * dot:.1f}"/>
<g fill="#ffd33d" stroke="#14181d" stroke-width="{dot / 3:.2f}">{dots}</g></g></svg>"""


def _strip(face: Face, name: str) -> str:
    """Nine squares of one picture, each with a caption that wraps with it."""
    picture, captions = drawing.strip(face)
    size, count = picture.shape[0], len(captions)
    source = drawing.webp(picture, 80)
    alt = html.escape(", ".join(captions))
    identity = f"strip-{hash((name, source[-64:])) & 0xFFFFFFFF:x}"
    squares = []
    for i, caption in enumerate(captions):
        image = (
            f'<image id="{identity}" width="{count * size}" height="{size}" href="{source}"/>'
            if i == 0
            else f'<use href="#{identity}" x="{-i * size}"/>'
        )
        squares.append(
            f'<div><svg viewBox="0 0 {size} {size}" role="img" aria-label="{name}: '
            f'{html.escape(caption)}">{image}</svg>'
            f"{html.escape(caption)}</div>"
        )
    return f'<div class="strip" role="group" aria-label="{alt}">{"".join(squares)}</div>'


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle square of a picture."""
    h, w = picture.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return picture[top : top + side, left : left + side]


def _minds(minds: Sequence[str]) -> str:
    if not minds:
        return ""
    items = "".join(f"<li>{html.escape(m)}</li>" for m in minds)
    return f'<ul class="mind" aria-label="To keep in mind">{items}</ul>'


def _measures(face: Face, m: Measures, rank: str) -> str:
    found = face.faces_found
    score = face.detection.score
    rows = [
        (
            "Turned",
            f"{abs(m.pose.yaw):.0f}°",
            _side(m.pose.yaw, "to the right of the picture", "to the left of the picture"),
        ),
        ("Looks", f"{abs(m.pose.pitch):.0f}°", _side(m.pose.pitch, "down", "up")),
        ("Tilted", f"{abs(m.pose.roll):.0f}°", _side(m.pose.roll, "anticlockwise", "clockwise")),
        ("Between the outer eye corners", f"{m.interocular:.0f} px", "in the photograph"),
        ("Size for the network", f"{100 * m.enlarged:.0f} %", "of the size in the photograph"),
        ("Doubt", f"{m.doubt:.2f}", rank),
        ("Stray bodies removed", f"{m.removed_bodies}", ""),
        ("Mesh", f"{m.vertices:,} vertices", f"{m.triangles:,} triangles"),
        (
            "Faces in the photograph",
            f"{found}",
            f"score of the detection {score:.2f}" if np.isfinite(score) else "",
        ),
        ("Time", f"{m.seconds:.2f} s", "from the pixels to the mesh"),
    ]
    items = "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{v}{f'<small>{html.escape(s)}</small>' if s else ''}</dd></div>"
        for k, v, s in rows
    )
    return f"<dl>{items}</dl>"


def _side(angle: float, negative: str, positive: str) -> str:
    return "" if abs(angle) < 0.5 else negative if angle < 0 else positive


def page(
    entries: Sequence[Entry],
    failures: Sequence[Failure],
    photographs: int,
    lead: str,
    reading: Sequence[str],
    settings: Mapping[str, Any],
) -> str:
    """The whole page.

    Parameters
    ----------
    photographs : how many were given.
    lead : the sentence below the title.
    reading : paragraphs on how far to trust what is shown (HTML).
    settings : name -> value, for the table at the end.
    """
    title = _count(len(entries), "face") + " from " + _count(photographs, "photograph")
    template = Template(_read("report.html"))
    howto = (
        '<p class="noprint">Press <em>Turn it in 3-D</em> on a face, then drag. With the keyboard: arrows '
        "turn, + and - zoom, "
        "0 is the front. The file needs no internet: keep it, mail it, open it in ten years.</p>"
        if entries
        else ""
    )
    return template.safe_substitute(
        VERSION=__version__,
        TITLE=html.escape(title),
        LEAD=html.escape(lead),
        HOWTO=howto,
        CONTENTS=_contents(entries),
        FAILED=_failed(failures),
        FACES="\n".join(e.card for e in entries),
        READING='<section class="plain" id="reading"><h2>How far to trust this</h2>'
        + "".join(f"<p>{p}</p>" for p in reading)
        + "</section>",
        SETTINGS=_settings(settings),
        SCRIPT=_read("report.js"),
    )


def _contents(entries: Sequence[Entry]) -> str:
    items = []
    for e in entries:
        photo, mesh = (drawing.webp(t, 75) for t in e.thumbs)
        name = html.escape(e.title, quote=True)
        flag = (
            ' <span class="flag" title="See the remarks"><span aria-hidden="true">&#9873;</span></span>'
            if e.minds
            else ""
        )
        items.append(
            f'<li><a href="#face-{e.number}"><span class="two"><img src="{photo}" width="150" height="150" '
            f'alt="Photograph {name}">'
            f'<img src="{mesh}" width="150" height="150" alt="Its reconstruction as grey plaster, '
            f'three-quarter view"></span>'
            f'<span class="name">{name}{flag}</span></a></li>'
        )
    return (
        f'<nav aria-label="All faces"><ul class="contents">{"".join(items)}</ul></nav>'
        if len(items) > 1
        else ""
    )


def _failed(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(f.photograph)}</th><td>{html.escape(f.reason)}</td></tr>"
        for f in failures
    )
    return (
        f'<section class="plain" id="failed"><h2>{_count(len(failures), "photograph")} without a face</h2>'
        f"<table>{rows}</table></section>"
    )


def _settings(settings: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
        for k, v in settings.items()
    )
    return f'<section class="plain" id="settings"><h2>How it was made</h2><table>{rows}</table></section>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _read(name: str) -> str:
    return resources.files("vrnlib").joinpath(f"templates/{name}").read_text(encoding="utf-8")
