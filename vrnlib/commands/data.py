"""``vrn data``: real databases checked and shown, drawn ones written out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vrnlib.errors import VrnError, did_you_mean

app = typer.Typer(
    name="data",
    help="Databases: check and preview 300W-LP, AFLW2000-3D, BU-4DFE, Florence; write shards of synth-lp.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Folder = Annotated[Path, typer.Argument(help="Folder of the database.", show_default=False)]
_Bfm = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the morphable model's parts (300W-LP, AFLW2000-3D). [default: in or beside PATH]",
        show_default=False,
    ),
]
_Landmarks = Annotated[
    Path | None,
    typer.Option(help="Folder of the scans' landmarks (.bnd or .csv).", show_default=False),
]


@app.command()
def check(
    path: _Folder,
    bfm: _Bfm = None,
    landmarks: _Landmarks = None,
    samples: Annotated[int, typer.Option(help="How many samples to draw as a test.", min=0)] = 20,
) -> None:
    """Say which database a folder holds, what is complete, what is missing and where to ask for it.

    Exit code 1: it can't be used yet, or some files are bad.

    vrn data check ~/data/300W_LP --bfm ~/data/bfm
    """
    from vrnlib.databases import check as checking

    report = checking.check(path, bfm, landmarks, samples)
    typer.echo(checking.describe(report))
    if report.missing or report.problems:
        raise typer.Exit(1)


@app.command()
def preview(
    path: _Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")] = Path("preview.png"),
    bfm: _Bfm = None,
    landmarks: _Landmarks = None,
    count: Annotated[int, typer.Option(help="Number of samples.", min=1)] = 12,
    size: Annotated[int, typer.Option(help="Side of the network's window, pixels.", min=32, max=512)] = 96,
    augment: Annotated[bool, typer.Option(help="With the paper's augmentation.")] = False,
    skip_bad: Annotated[bool, typer.Option(help="Leave out bad files and list them.")] = False,
) -> None:
    """Write a contact sheet: pictures, their landmarks, and their meshes laid over them.

    vrn data preview ~/data/AFLW2000-3D --bfm ~/data/bfm --out sheet.png
    """
    from vrnlib.databases import preview as previewing
    from vrnlib.databases.check import open_database
    from vrnlib.params import depth_of

    options = {"bfm": bfm, "landmarks": landmarks, "augment": augment, "skip_bad": skip_bad}
    data = open_database(path, size, depth_of(size), **options)
    written = previewing.write_sheet(out, data, count)
    typer.echo(f"{data.name}: {written}")
    for cause in data.skipped.values():
        typer.echo(f"skipped: {cause}", err=True)
    if data.skipped:
        raise typer.Exit(1)


@app.command()
def write(
    shards: Annotated[Path, typer.Option(help="Folder for the tar shards.", show_default=False)],
    samples: Annotated[int, typer.Option(help="How many samples.")] = 10_000,
    database: Annotated[str, typer.Option(help="synth-lp.")] = "synth-lp",
    profile: Annotated[
        str, typer.Option(help="smoke, laptop or paper: the size of image and volume.")
    ] = "laptop",
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    augment: Annotated[bool, typer.Option(help="With the paper's augmentation.")] = True,
    truth: Annotated[bool, typer.Option(help="With the points and eye corners of evaluation.")] = False,
    per_shard: Annotated[int, typer.Option(help="Samples of a shard.")] = 1000,
    workers: Annotated[
        int | None, typer.Option(help="Processes. [default: one a core]", show_default=False)
    ] = None,
) -> None:
    """Write samples as WebDataset tar shards; the same command again goes on where it stopped.

    vrn data write --shards shards/ --samples 60000 --profile paper
    """
    from vrnlib.databases import DATA_VERSION, SynthLP
    from vrnlib.databases.shards import write_shards
    from vrnlib.params import profile as profile_named

    if database != "synth-lp":
        raise VrnError(
            f"unknown database '{database}'{did_you_mean(database, ['synth-lp'])}: there is synth-lp"
        )
    scale = profile_named(profile)
    recipe = {
        "database": database,
        "version": DATA_VERSION,
        "size": scale.size,
        "depth": scale.depth,
        "seed": seed,
        "augment": augment,
        "truth": truth,
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    index = write_shards(
        SynthLP(scale.size, scale.depth, seed=seed, augment=augment, truth=truth),
        samples,
        shards,
        recipe,
        per_shard=per_shard,
        workers=cores if workers is None else workers,
    )
    size = sum(s["bytes"] for s in index["shards"])
    print(f"{samples} samples in {len(index['shards'])} shards, {size / 2**20:.0f} MiB: {shards}")
