"""The command line: ``python -m vrnlib ...`` or ``vrn ...``.

Each command imports what it needs when it runs, so that ``--help`` and a wrong argument answer at once. A
`VrnError` becomes one line on stderr and exit code 2; where several photographs were given and only some
failed, the code is 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrnlib.commands.convert import convert
from vrnlib.commands.data import app as data
from vrnlib.commands.evaluate import evaluate
from vrnlib.commands.report import report
from vrnlib.commands.table1 import table1
from vrnlib.commands.train import train
from vrnlib.errors import VrnError, did_you_mean

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face

app = typer.Typer(
    name="vrn",
    help="VRN: a 3D face from one photograph, by direct volumetric regression (Jackson et al., ICCV 2017).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FORMATS = ("glb", "obj", "ply")

app.command()(train)
app.command()(evaluate)
app.command()(report)
app.command()(table1)
app.command()(convert)
app.add_typer(data, name="data")


@app.command()
def reconstruct(
    photos: Annotated[
        list[Path], typer.Argument(help="Photographs, or folders of photographs.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Mesh to write (.glb, .obj, .ply); a folder for several photographs.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write one interactive page with all faces.", show_default=False)
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(help="Checkpoint; default: VRN_WEIGHTS, else results/checkpoints.", show_default=False),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="dlib; free (no iBUG-trained model), free-lbp, free-blazeface, mediapipe; face-alignment, "
            "face-alignment-dlib."
        ),
    ] = "dlib",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the detector's weight files, or our landmark network's checkpoint.",
            show_default=False,
        ),
    ] = None,
    face: Annotated[
        str,
        typer.Option(help="Which face: largest, all, only (refuses several), or N from 1 at the left."),
    ] = "largest",
    box: Annotated[
        str | None,
        typer.Option(
            help="x0,y0,x1,y1: the face, if the detector misses it (a profile).", show_default=False
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="Isovalue of the surface, between 0 and 1.")] = 0.5,
    bodies: Annotated[
        str,
        typer.Option(help="Which bodies stay: largest, landmarks (the one under them), min-share=0.1, all."),
    ] = "largest",
    guidance: Annotated[
        str, typer.Option(help="Whose landmarks guide a VRN-Guided: network (its own), or detector.")
    ] = "network",
    mirror: Annotated[
        bool, typer.Option(help="Average over the photograph and its mirror image; twice the network's time.")
    ] = True,
    smooth: Annotated[
        float | None,
        typer.Option(
            help="Blur of the volume before its surface is taken, pixels of the window. [default: 0.7]",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", help="glb, obj or ply, where --out is a folder. [default: glb]", show_default=False
        ),
    ] = None,
) -> None:
    """Reconstruct the 3D face in each photograph.

    vrn reconstruct photo.jpg --out face.glb --html face.html
    """
    from vrnlib import images

    if out is None and html is None:
        raise VrnError(
            "nothing to write: name a mesh with --out face.glb, a page with --html face.html, or both"
        )
    paths = images.expand(photos)
    # everything that can be refused is refused here, before anything is computed
    targets = _targets(paths, out, format_, several=len(paths) > 1 or any(p.is_dir() for p in photos))
    box_ = _parse_box(box)
    if box_ and len(paths) > 1:
        raise VrnError(f"--box describes one photograph, and {len(paths)} were given: run them one at a time")
    _check_choices(detector, face, level, bodies, guidance, smooth)
    if html is not None:
        from vrnlib import meshio

        meshio.check_folder(html)

    from vrnlib import detect
    from vrnlib.reconstruct import load_network
    from vrnlib.reconstruct import reconstruct as run_one

    finder = detect.get(detector, weights)  # a missing weight file is said once, not for each photograph

    net = load_network(network)
    choices: dict[str, Any] = {"level": level, "bodies": bodies, "guidance": guidance, "mirror": mirror}
    if smooth is not None:
        choices["smooth"] = smooth
    shown: list[tuple[str, Face]] = []
    failed = 0
    for path, target in zip(paths, targets, strict=True):
        try:
            result = run_one(path, network=net, detector=finder, face=face, box=box_, **choices)
            faces = result if isinstance(result, list) else [result]
            written = _export(faces, target)
        except VrnError as error:
            if len(paths) == 1:
                raise
            failed += 1
            typer.echo(f"error: {error}", err=True)
            continue
        names = (
            [path.name] if len(faces) == 1 else [f"{path.name}, face {i}" for i in range(1, len(faces) + 1)]
        )
        if html is not None:  # a page shows them all, so they are kept
            shown += zip(names, faces, strict=True)
        typer.echo(_line(path, faces, face, written))
    if html is not None and shown:
        from vrnlib import viewer

        viewer.write(html, [f for _, f in shown], [n for n, _ in shown])
        typer.echo(f"page: {html}")
    if len(paths) > 1:
        typer.echo(
            f"{len(paths) - failed} of {len(paths)} photographs done"
            + (f", {failed} failed" if failed else "")
        )
    if failed:
        raise typer.Exit(1)


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Notebooks, by number or name: 03, 03_train_vrn.", show_default=False),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="smoke, laptop or paper; default: what the notebook says.", show_default=False),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="key=value, repeatable.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; default: results/, or one under build/runs/ where a parameter "
            "differs from the notebook's.",
            show_default=False,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every notebook, in order.")] = False,
    force: Annotated[bool, typer.Option(help="Run again what is up to date.")] = False,
) -> None:
    """Run notebooks through papermill, with strict parameters.

    vrn run 03 --profile smoke -p seed=1
    """
    from vrnlib.runner import main_run

    main_run(names or [], profile, parameter or [], out, all_, force)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 some photographs failed, 2 nothing could be done.

    Parameters
    ----------
    arguments : sequence of str, optional
        In place of ``sys.argv[1:]``.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="vrn")
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left (`vrn ... | head`)
        sys.stderr.close()
        sys.exit(1)


def _targets(
    paths: Sequence[Path], out: Path | None, format_: str | None, several: bool
) -> list[Path | None]:
    """Where each photograph's mesh goes; all checked."""
    from vrnlib import meshio

    if format_ is not None and format_.lower() not in FORMATS:
        raise VrnError(
            f"unknown format '{format_}'{did_you_mean(format_, FORMATS)}: use {', '.join(FORMATS)}"
        )
    if out is None:
        return [None] * len(paths)
    if not several and not out.is_dir():
        if format_ is not None and out.suffix.lower() != f".{format_.lower()}":
            raise VrnError(f"--format {format_} contradicts --out '{out}': leave one of them out")
        meshio.check_target(out)
        _refuse_overwriting(paths, [out])
        return [out]
    if not out.is_dir():
        raise VrnError(
            f"--out '{out}' is not a folder, and several photographs need one: create it first (mkdir "
            f"-p '{out}')"
        )
    extension = f".{(format_ or 'glb').lower()}"
    targets, taken = [], {}
    for path in paths:
        # photo.jpg and photo.png become photo.glb and photo.png.glb
        target = out / f"{path.stem}{extension}"
        if target in taken:
            target = out / f"{path.name}{extension}"
        if target in taken:
            raise VrnError(f"'{path}' and '{taken[target]}' would both be written to '{target}': rename one")
        taken[target] = path
        targets.append(meshio.check_target(target))
    _refuse_overwriting(paths, targets)
    return targets


def _refuse_overwriting(paths: Sequence[Path], targets: Sequence[Path]) -> None:
    """A slip of the keyboard must not cost a photograph."""
    originals = {p.resolve() for p in paths}
    for target in targets:
        if target.resolve() in originals:
            raise VrnError(f"--out would overwrite the photograph '{target}': choose another name")


def _export(faces: Sequence[Face], target: Path | None) -> list[Path]:
    """Write each face; several of one photograph are numbered from the left: photo-1.glb, photo-2.glb."""
    if target is None:
        return []
    if len(faces) == 1:
        return [faces[0].export(target)]
    return [f.export(target.with_name(f"{target.stem}-{i}{target.suffix}")) for i, f in enumerate(faces, 1)]


def _line(path: Path, faces: Sequence[Face], policy: str, written: Sequence[Path]) -> str:
    """What to say of a photograph that is done."""
    found = faces[0].faces_found
    if found == 1:
        which = "1 face"
    else:
        which = f"{found} faces found, " + (
            "all taken" if policy == "all" else f"{policy} taken (choose with --face)"
        )
    removed = sum(f.removed_bodies for f in faces)
    tidy = f", {removed} stray {'body' if removed == 1 else 'bodies'} removed" if removed else ""
    vertices = sum(len(f.mesh.vertices) for f in faces)
    seconds = sum(f.timings["total"] for f in faces)
    goal = f" -> {', '.join(map(str, written))}" if written else ""
    how = f" by {faces[0].detection.detector}" if faces[0].detection.detector else ""
    return f"{path}: {which}{how}{tidy}, {vertices} vertices, {seconds:.2f} s{goal}"


def _parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """``x0,y0,x1,y1`` to four numbers."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(v) for v in text.replace(" ", "").split(","))
    except ValueError as error:
        raise VrnError(
            f"--box '{text}' is not four numbers: write --box x0,y0,x1,y1 in pixels of the photograph"
        ) from error
    return x0, y0, x1, y1


def _check_choices(
    detector: str, face: str, level: float, bodies: str, guidance: str, smooth: float | None
) -> None:
    """Refuse wrong values before a network is loaded."""
    from vrnlib import detect, labelling_voxels
    from vrnlib.predict import check_guidance

    detect.parse_policy(face)
    labelling_voxels.parse_policy(bodies)
    detect.check_name(detector)
    check_guidance(guidance)
    if smooth is not None and not 0 <= smooth <= 10:
        raise VrnError(f"--smooth is {smooth:g} pixels, it must lie between 0 (none) and 10")
    if not 0 < level < 1:
        raise VrnError(f"--level is {level:g}, it must lie between 0 and 1 (0.5 is the surface)")
