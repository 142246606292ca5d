"""Best, median and worst faces of each method, and where on the face the error lies.

Example faces are drawn and predicted anew, three a method; that the error comes out as it was stored is
checked, so the pictures show what the table counts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib import figures, metrics
from vrnlib.baselines.common import NotRunError
from vrnlib.errors import VrnError
from vrnlib.provenance import replacing
from vrnlib.table1 import entrants, samples
from vrnlib.table1.store import Store

PLACES = ("best", "median", "worst")
MAPS = {"nme": 0.12, "rigid": 0.05}
"""Error map -> error that is drawn brightest."""
SIZE = 128
"""Side of a picture in pixels."""


def examples(store: Store, indices: Sequence[int], error: str = "nme") -> dict[str, int]:
    """Which faces are a method's best, median and worst; failed ones are left out. Empty if all failed."""
    values = store.column(error, indices)
    good = np.flatnonzero(np.isfinite(values))
    if not len(good):
        return {}
    order = good[np.argsort(values[good], kind="stable")]
    return dict(zip(PLACES, (indices[int(order[k])] for k in (0, (len(order) - 1) // 2, -1)), strict=True))


def example_sheet(
    target: Path,
    faces: samples.Faces,
    stores: Mapping[str, Store],
    methods: Mapping[str, entrants.Entrant],
    indices: Sequence[int],
) -> list[dict[str, Any]]:
    """Write a JPEG: a row a method, for its best, median and worst face the crop and the mesh, seen from the
    camera and turned by 45 degrees. Returns what it shows: method, place, index, the stored error and the
    difference to the error found again.
    """
    import cv2

    images: list[np.ndarray] = []
    titles: list[str] = []
    shown = []
    for name, entrant in methods.items():
        chosen = examples(stores[name], indices) if name in stores else {}
        if not chosen:
            continue
        try:
            runner = entrants.open_runner(name, **entrant.options)
        except NotRunError:  # its rows were kept, it can't run here any more
            continue
        for place, index in chosen.items():
            sample, info = faces.data[index], faces.info(index)
            try:
                found = runner.predict(sample)
            except VrnError as error:
                raise VrnError(
                    f"{name} on {faces.name} {index} fails now and did not before ({error}): delete its rows"
                ) from error
            points = sample["points"]
            if runner.mask_only:
                points = points[samples.mediapipe_region(faces.name, sample, info)]
            again = metrics.score(found.vertices, points, sample["eyes"]).nme
            stored = stores[name].rows[index]["nme"]
            shown.append({"method": name, "place": place, "index": index, "nme": stored,
                          "found_again_differs_by": again - stored})  # fmt: skip
            images.append(cv2.resize(sample["image"], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))
            titles.append(f"{entrants.label(name)}, {place}: {stored:.3f}")
            middle = (found.vertices.min(0) + found.vertices.max(0)) / 2
            middle[:2] = (faces.size - 1) / 2
            for turn in (0, 45):
                images.append(figures.mesh_view(found.vertices, found.faces, turn=turn, size=SIZE,
                                                centre=middle, extent=faces.size))  # fmt: skip
                titles.append("")
    if not images:
        return []
    _write(target, images, titles, columns=9, left=True)
    return shown


def _write(
    target: Path, images: Sequence[np.ndarray], titles: Sequence[str], columns: int, left: bool = False
) -> None:
    # titled pictures as one JPEG
    import matplotlib
    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    with matplotlib.rc_context():
        figures.style()
        figure = figures.row(images, titles, height=1.25, columns=columns)
        for axis in figure.axes:
            axis.title.set_fontsize(9 if left else 6)
            if left:  # over the pictures beside it, too
                axis.title.set_horizontalalignment("left")
                axis.title.set_x(0.0)
                axis.title.set_in_layout(False)
        figure.savefig(buffer, format="png", dpi=100)
        plt.close(figure)
    with replacing(target) as temporary:
        Image.open(buffer).convert("RGB").save(temporary, "jpeg", quality=85, optimize=True)


def error_map_sheet(
    target: Path, stores: Mapping[str, Mapping[str, Store]], methods: Sequence[str], kind: int, most: float
) -> bool:
    """Write a JPEG: a row a database, a column a method, `error_map` each. False if there is none to show.

    Raises
    ------
    VrnError : the mean face of `mapped-scans` can't be had.
    """
    images, titles, columns = [], [], 1
    for name, by_method in stores.items():
        surface = samples.surface(name)
        row = {m: error_map(by_method[m], surface, kind, most) for m in methods if m in by_method and surface}
        for m, picture in row.items():
            blank = np.full((170, 170, 3), 255, np.uint8)
            images.append(blank if picture is None else picture)
            titles.append("\n".join([*entrants.label(m).split(", "), name]))
        columns = len(row)
    if not images:
        return False
    _write(target, images, titles, columns)
    return True


def error_map(
    store: Store,
    surface: samples.Surface,
    kind: int = 0,
    most: float = 0.1,
    size: int = 170,
    turn: float = 0.0,
) -> np.ndarray | None:
    """The mean error of each place drawn on the database's mean face, (size, size, 3) uint8: from 0, dark, to
    `most`, bright; grey where nothing was measured. None without measurements.

    `kind` 0 is the error of Eq. 2, 1 that after rigid alignment.
    """
    import matplotlib

    values = store.error_map(kind)
    if values is None:
        return None
    table = matplotlib.colormaps["cividis"]
    colours = (np.array(table(np.clip(np.nan_to_num(values) / most, 0, 1)))[:, :3] * 255).astype(np.uint8)
    colours[~np.isfinite(values)] = 170
    vertices = surface.vertices * [1, -1, 1]  # y down
    return figures.mesh_view(vertices, surface.faces[:, ::-1], colours, size=size, turn=turn, extent=190)
