"""``vrn convert``: the authors' released network as a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    t7: Annotated[Path, typer.Argument(help="The authors' vrn-unguided.t7.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Checkpoint to write; default: beside it, .safetensors.", show_default=False
        ),
    ] = None,
) -> None:
    """Convert the authors' released network (Torch7) to a checkpoint.

    vrn convert vrn-unguided.t7 --out vrn.safetensors
    """
    from vrnlib.convert import write

    path, conversion = write(t7, out)
    typer.echo(f"{conversion.summary}\n-> {path}")
