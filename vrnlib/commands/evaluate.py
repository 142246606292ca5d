"""``vrn evaluate``: anybody's meshes scored by the paper's error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vrnlib.errors import VrnError


def evaluate(
    predictions: Annotated[
        Path | None, typer.Option(help="Folder of meshes: NAME.obj, .ply, .glb or .npz.", show_default=False)
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            help="synth-lp, synth-wild, synth-expressions, synth-expressions-frontal, mapped-scans, or a "
            "folder of ground truth NAME.npz."
        ),
    ] = "synth-lp",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("evaluation"),
    frame: Annotated[
        str, typer.Option(help="Of the meshes: file (y up, as exported), image (y down) or network.")
    ] = "file",
    correspondence: Annotated[str, typer.Option(help="icp (the paper's), nearest or surface.")] = "icp",
    faces: Annotated[int, typer.Option(help="How many faces of a named database.")] = 100,
    size: Annotated[int, typer.Option(help="Side of a named database's images.")] = 192,
    seed: Annotated[int, typer.Option(help="Of a named database.")] = 2_000_003,
    workers: Annotated[int, typer.Option(help="Threads; 0 is one a processor.")] = 0,
    write_truth: Annotated[
        Path | None,
        typer.Option(help="Write the database's images and ground truth there instead.", show_default=False),
    ] = None,
) -> None:
    """Score meshes of any method by the paper's error (NME).

    vrn evaluate --write-truth faces; then reconstruct faces/*.png into meshes/, and
    vrn evaluate --predictions meshes --out results/evaluation/mine
    """
    from vrnlib.evaluate_meshes import describe, evaluate_folder, export_truths

    if write_truth is not None:
        count = export_truths(database, write_truth, faces, size, seed)
        typer.echo(f"{count} faces: images and ground truth in {write_truth}")
        return
    if predictions is None:
        raise VrnError("nothing to score: name a folder of meshes with --predictions")
    result = evaluate_folder(
        predictions, database, out, frame=frame, correspondence=correspondence, faces=faces, size=size,
        seed=seed, workers=workers, progress=lambda n, of: typer.echo(f"{n} of {of} faces", err=True),
    )  # fmt: skip
    typer.echo(describe(result))
