"""``vrn table1``: Table 1 of the paper from the checkpoints at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def table1(
    profile: Annotated[str, typer.Option(help="laptop, or another profile that has checkpoints.")] = "laptop",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path(
        "results/table1"
    ),
    faces: Annotated[int, typer.Option(help="Faces a database; half as many of the controls.")] = 300,
    workers: Annotated[int, typer.Option(help="Processes; 0 is one a processor.")] = 0,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; repeatable.", show_default=False)
    ] = None,
    database: Annotated[
        list[str] | None, typer.Option(help="Only this embedded database; repeatable.", show_default=False)
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A real database as NAME=PATH (AFLW2000-3D, BU-4DFE, Florence); repeatable.",
            show_default=False,
        ),
    ] = None,
    author_arrays: Annotated[
        Path | None,
        typer.Option(
            help="A copy of chapter_faces of the author's thesis, to summarise his errors again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure every method on every database, beside the paper's numbers, with verdicts.

    What is done is kept: the same command again goes on where it stopped, and after a training computes
    only what that network changes.

    vrn table1 --profile laptop
    """
    from vrnlib.table1.report import markdown
    from vrnlib.table1.run import parse_data, run

    content = run(
        out, profile=profile, faces=faces, workers=workers, methods=method, databases=database,
        data=parse_data(data or []), author_arrays=author_arrays, say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    typer.echo(markdown(content))
