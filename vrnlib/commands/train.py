"""``vrn train``: one command for every network of the paper, on a laptop or a cluster."""

from __future__ import annotations

import math
import typing
from pathlib import Path
from typing import Annotated, Any

import typer

from vrnlib.errors import VrnError, did_you_mean

RECIPES = ("laptop", "paper")


def train(
    kind: Annotated[str, typer.Argument(help="vrn, multitask, guided, or landmarks (Guided's detector).")],
    profile: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "laptop",
    data: Annotated[
        str,
        typer.Option(
            help="synth-lp (drawn on the fly), a folder of shards (vrn data write), or that of 300W-LP."
        ),
    ] = "synth-lp",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the run; default: build/KIND-PROFILE.", show_default=False
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many.", show_default=False)] = None,
    faces: Annotated[int | None, typer.Option(help="Stop after so many.", show_default=False)] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Stop after so many times 61,225 faces.", show_default=False)
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="laptop: 4e-4, halved seven times until the end; paper: 1e-4, after 40 epochs 1e-5, "
            "50 epochs, float32."
        ),
    ] = "laptop",
    weights: Annotated[
        Path | None,
        typer.Option(help="A network to start from instead of random weights.", show_default=False),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="key=value, repeatable: any field of TrainParams.", show_default=False
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Refuse a folder that already holds a run.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost; times two steps here.")
    ] = False,
    tflops: Annotated[
        float | None,
        typer.Option(help="With --estimate: what a GPU sustains, for the hours there.", show_default=False),
    ] = None,
    processes: Annotated[int, typer.Option(help="With --estimate: how many will share the work.")] = 1,
) -> None:
    """Train a network. The same command again goes on where it stopped (Ctrl-C saves).

    vrn train guided --profile laptop --minutes 120
    """
    from vrnlib.train import train as run
    from vrnlib.weights import start_from

    params = gather(kind, profile, data, minutes, faces, epochs, recipe, parameter or [], ends=estimate)
    if estimate:
        from vrnlib.estimate import estimate as cost_of

        for line in cost_of(params, processes=processes).lines(params, processes, tflops):
            typer.echo(line)
        return
    out = out or Path("build") / f"{kind}-{profile}"
    model = start_from(weights, params.architecture) if weights else None
    run(params, out, resume=not new, model=model, say=typer.echo)


def gather(
    kind: str,
    profile: str,
    data: str,
    minutes: float | None,
    faces: int | None,
    epochs: float | None,
    recipe: str,
    assignments: list[str],
    ends: bool = False,
) -> Any:
    """The words of the command line -> :class:`vrnlib.recipe.TrainParams`; what is more special wins.

    `ends` supplies an end (one epoch) where none is named, for an estimate.

    Raises
    ------
    VrnError
        An unknown word, a value that makes no sense, or no end.
    """
    from vrnlib.notebook import parse_assignments
    from vrnlib.params import Kind
    from vrnlib.recipe import EPOCH, LAPTOP, PAPER, TrainParams

    for word, known, what in ((kind, typing.get_args(Kind), "network"), (recipe, RECIPES, "recipe")):
        if word not in known:
            raise VrnError(f"unknown {what} '{word}'{did_you_mean(word, known)}: use {', '.join(known)}")
    if faces is not None and epochs is not None:
        raise VrnError("--faces and --epochs are two words for one thing: leave one of them out")
    values: dict[str, Any] = dict({"laptop": LAPTOP, "paper": PAPER}[recipe])
    if epochs is not None:
        if not (math.isfinite(epochs) and epochs > 0):
            raise VrnError(f"--epochs {epochs}: give a positive number")
        faces = round(epochs * EPOCH)
    end = {"max_faces": faces, "max_minutes": minutes}
    values |= {name: value for name, value in end.items() if value is not None}
    given = parse_assignments(assignments, typing.get_type_hints(TrainParams))
    for name in ("profile", "kind", "data"):
        if name in given:
            raise VrnError(f"-p {name}=...: say it without -p")
    values |= given
    if not values.keys() & {"max_faces", "max_minutes"}:
        if not ends:
            raise VrnError("how long? Say --minutes 120, --faces 100000, --epochs 40 or --recipe paper")
        values["max_faces"] = EPOCH
    return TrainParams.of(profile, kind=kind, data=data, **values)
