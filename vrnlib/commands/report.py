"""``vrn report``: a folder of photographs in, one page and a folder of meshes out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from vrnlib.errors import VrnError

NOTEBOOK = "11_report"


def report(
    photos: Annotated[
        Path, typer.Argument(help="A folder of photographs, or one photograph.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    meshes: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the meshes (GLB); default: beside the page, NAME-meshes.", show_default=False
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(help="Checkpoint; default: VRN_WEIGHTS, else results/checkpoints.", show_default=False),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="dlib, free, face-alignment, ... (see vrn reconstruct).")
    ] = "dlib",
    weights: Annotated[
        Path | None, typer.Option(help="The detector's weight files, if it needs any.", show_default=False)
    ] = None,
    face: Annotated[
        str, typer.Option(help="Which faces: all, largest, or N counted from 1 at the left.")
    ] = "all",
    level: Annotated[float, typer.Option(help="Isovalue of the surface, between 0 and 1.")] = 0.5,
    bodies: Annotated[
        str, typer.Option(help="Which bodies stay: largest, landmarks, min-share=0.1, all.")
    ] = "largest",
) -> None:
    """Reconstruct every face in a folder of photographs; write one page to look at.

    vrn report holiday/ --out report.html
    """
    began = time.perf_counter()
    from vrnlib import detect, images, labelling_voxels

    # everything that can be refused is refused before the notebook starts
    paths = images.expand([photos])
    if len(paths) == 1:
        images.load(paths[0])
    detect.parse_policy(face)
    labelling_voxels.parse_policy(bodies)
    detect.get(detector, weights)  # missing weight files are said now
    if not 0 < level < 1:
        raise VrnError(f"--level is {level:g}, it must lie between 0 and 1 (0.5 is the surface)")
    if out.resolve() in {p.resolve() for p in paths}:
        raise VrnError(f"--out would overwrite the photograph '{out}': choose another name")

    from vrnlib import report as reports
    from vrnlib.predict import default_checkpoint, load_network

    folder = reports.mesh_folder(out) if meshes is None else meshes
    path = network or default_checkpoint()
    load_network(path)
    reports.check(out, None)
    values = {
        "photos": str(photos.resolve()),
        "page": str(out.resolve()),
        "meshes": str(folder.resolve()),
        "network": str(path.resolve()),
        "detector": detector,
        "detector_weights": "" if weights is None else str(weights.resolve()),
        "face": face,
        "level": float(level),
        "bodies": bodies,
    }
    done = _run(values)
    typer.echo(
        f"{done['faces']} face(s) from {done['photographs']} photograph(s)"
        + (f", {done['failed']} without a face (the page says why)" if done["failed"] else "")
        + f", {time.perf_counter() - began:.0f} s\npage: {out}\nmeshes: {folder}"
    )
    if done["failed"]:
        raise typer.Exit(1)


def _run(values: dict[str, object]) -> dict[str, Any]:
    """Execute the notebook with these parameters; its numbers. Its own `VrnError` comes out as it went in."""
    from papermill.exceptions import PapermillExecutionError

    from vrnlib import provenance, runner

    try:
        (done,) = runner.run(
            [NOTEBOOK], parameters=values, force=True, root=provenance.project_folder(), progress=sys.stderr
        )
    except VrnError as error:
        cause = error.__cause__
        if isinstance(cause, PapermillExecutionError) and cause.ename == "VrnError":
            raise VrnError(cause.evalue) from error
        raise
    return provenance.read_json(done.metrics[0])["headline"]
