"""Runs the numbered notebooks through papermill: strict parameters, visible progress, nothing half-written.

A notebook ``notebooks/NN_name.py`` (jupytext percent text, the source) is paired with ``NN_name.ipynb`` (the
same cells, no outputs). A run checks the parameters against the cell tagged ``parameters``, executes the
cells in ``notebooks/`` with the Python that runs this module, and leaves

- ``results/executed/NN_name.ipynb``: the executed copy, stamped with where it comes from, without absolute
  paths,
- ``results/html/NN_name.html``: the same as one page that opens offline,
- ``results/executed/NN_name.run.json``: what the run depended on (not committed), by which the next run is
  skipped.

A run with parameters of its own (another profile, another seed) does not touch results/: it goes to
build/runs/ unless `out` says otherwise. A notebook with a parameter called ``out`` is told the folder. A
failed notebook is kept under build/failed/. What a notebook looks like and declares is the business of
`vrnlib.notebook`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vrnlib import export, notebook, provenance
from vrnlib.errors import VrnError
from vrnlib.params import profile as profile_named
from vrnlib.summary import Outcome, duration, summary

# Longest time in seconds one cell may take; the environment variable VRN_CELL_TIMEOUT overrides it.
TIMEOUTS = {"smoke": 600, "laptop": 4 * 3600, "paper": 14 * 24 * 3600}


def run(
    names: Sequence[str] = (),
    profile: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    force: bool = False,
    root: str | Path | None = None,
    timeout: float | None = None,
    progress: Any = None,
) -> list[Outcome]:
    """Run notebooks in order, skipping those that are up to date.

    Parameters
    ----------
    names : sequence of str
        Notebooks by number (``"03"``, ``"3"``), name or path; empty for all numbered ones except solutions.
    profile : str, optional
        Value for the notebooks' ``profile`` parameter.
    parameters : mapping, optional
        Values for the notebooks' parameters, of the annotated types. Every notebook must know every one of
        them.
    out : path, optional
        Where results go. Default: results/ for the notebooks' own parameters, a folder under build/runs/ for
        others.
    force : bool
        Run even what is up to date.
    root : path, optional
        The project; default: the one found from the working directory upwards, else the one this package lies
        in.
    timeout : float, optional
        Longest time in seconds a cell may take; default by profile, see `TIMEOUTS`.
    progress : text stream, optional
        Where progress is written; default standard error.

    Raises
    ------
    VrnError
        Before anything runs: unknown notebook, unknown parameter, wrong type. Later: a cell failed or took
        too long, a declared input or output is missing, a result is too large or cannot be exported. What is
        finished stays finished, and the same call continues where this one stopped.
    """
    root = find_root() if root is None else Path(root).resolve()
    screen = sys.stderr if progress is None else progress
    given = dict(parameters or {})
    if profile is not None:
        profile_named(profile)
        if given.setdefault("profile", profile) != profile:
            raise VrnError(
                f"profile is given twice, as '{profile}' and as '{given['profile']}': give it once"
            )
    books = notebook.select(names, root)
    values = [book.check(given) for book in books]  # all of them, before the first one runs
    for book, value in zip(books, values, strict=True):
        if "profile" in book.parameters:
            try:
                profile_named(value["profile"])
            except VrnError as error:
                raise VrnError(f"notebook {book.name}: {error}") from None
    folder = _destination(root, books, values, given, out)
    outcomes = []
    for number, (book, value) in enumerate(zip(books, values, strict=True), start=1):
        title = f"[{number}/{len(books)}] {book.name}"
        outcomes.append(_run_one(book, value, given, folder, root, force, timeout, title, screen))
    return outcomes


def main_run(
    names: list[str], profile: str | None, parameters: list[str], out: Path | None, all_: bool, force: bool
) -> None:
    """``python -m vrnlib run``: parse the ``-p key=value`` texts, run, and print a summary. See `run` for
    errors.
    """
    if all_ and names:
        raise VrnError("give either notebooks or --all, not both")
    if not all_ and not names:
        known = ", ".join(book.name for book in notebook.select([], find_root()))
        raise VrnError(f"which notebook? give a number or a name, or --all; there are: {known}")
    root = find_root()
    schema: dict[str, Any] = {}
    for book in notebook.select(names, root):
        schema.update({name: p.type for name, p in book.parameters.items()})
    given = notebook.parse_assignments(parameters, schema)
    started = time.monotonic()
    outcomes = run(names, profile, given, out, force=force, root=root)
    print(summary(outcomes, time.monotonic() - started))


def find_root() -> Path:
    """The project: the nearest folder upwards with notebooks/ and pyproject.toml, else the one this package
    lies in.
    """
    for folder in (Path.cwd(), *Path.cwd().parents, provenance.project_folder()):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder.resolve()
    raise VrnError(
        "there is no notebooks/ folder here or above: run this in a checkout of the project "
        "(an installed package has no notebooks)"
    )


def _destination(
    root: Path, books: list[notebook.Notebook], values: list[dict], given: Mapping, out: str | Path | None
) -> Path:
    """The folder results go to; created, and known to be writable."""
    if out is not None:
        folder = Path(out).expanduser().resolve()
    elif all(
        value[name] == p.default
        for b, value in zip(books, values, strict=True)
        for name, p in b.parameters.items()
    ):
        folder = root / "results"
    else:
        text = json.dumps(provenance.plain(given), sort_keys=True)
        label = str(given.get("profile", "own"))
        folder = root / "build" / "runs" / f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VrnError(
            f"cannot make output folder '{folder}': {error.strerror}; choose another with --out"
        ) from error
    if not os.access(folder, os.W_OK):
        raise VrnError(f"output folder '{folder}' is not writable: choose another with --out")
    return folder


def _run_one(
    book: notebook.Notebook, value: dict[str, Any], given: Mapping[str, Any], folder: Path, root: Path,
    force: bool, timeout: float | None, title: str, screen: Any,
) -> Outcome:  # fmt: skip
    executed = folder / "executed" / f"{book.name}.ipynb"
    html = folder / "html" / f"{book.name}.html"
    record_path = folder / "executed" / f"{book.name}.run.json"
    missing = [p for p in book.inputs if not _existing(p, folder, root)]
    if missing:
        raise VrnError(
            f"notebook {book.name} needs {', '.join(missing)}, not found: run the notebook "
            f"that makes it first (the section 'Input files' of notebooks/{book.name}.py says which)"
        )
    depends = fingerprint(book, value, folder, root)
    # what the notebook itself makes, by the name it declares
    made = [_in_results(p, folder, root) for p in book.outputs]
    record = _record(record_path)
    fresh = record.get("depends") == depends and executed.is_file() and html.is_file()
    if fresh and not force and all(_matches(p) for p in made):
        print(f"{title}: up to date", file=screen, flush=True)
        return Outcome(book.name, True, float(record.get("seconds", 0)), executed, html, _metrics(made))
    record_path.unlink(missing_ok=True)

    passed = dict(given)
    if "out" in book.parameters and "out" not in given and folder != root / "results":
        passed["out"] = str(folder)
    limit = (
        timeout or float(os.environ.get("VRN_CELL_TIMEOUT", 0)) or TIMEOUTS[value.get("profile", "laptop")]
    )
    print(f"{title}: running", file=screen, flush=True)
    began = time.monotonic()
    nb = _execute(book, passed, folder, root, limit, screen)
    seconds = time.monotonic() - began

    try:
        page, text = _finish(book, nb, {**value, **passed}, made, seconds, folder, root)
    except VrnError:
        kept = _build(folder, root) / "failed" / f"{book.name}.ipynb"
        with provenance.replacing(kept) as temporary:
            temporary.write_text(notebook.dumps(nb), encoding="utf-8")
        raise
    for path, content in ((executed, text), (html, page)):
        with provenance.replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    # last of all: a run that was interrupted before this line counts as not done
    provenance.write_json(record_path, {"depends": depends, "seconds": round(seconds, 1)})
    print(f"{title}: done in {duration(seconds)}", file=screen, flush=True)
    return Outcome(book.name, False, seconds, executed, html, _metrics(made))


def _finish(
    book: notebook.Notebook,
    nb: Any,
    value: dict[str, Any],
    made: list[Path],
    seconds: float,
    folder: Path,
    root: Path,
) -> tuple[str, str]:
    """Check and stamp what has run; return the page and the executed copy as texts."""
    lost = [p for p, path in zip(book.outputs, made, strict=True) if not _matches(path)]
    if lost:
        raise VrnError(
            f"notebook {book.name} ran but did not write what it declares under 'Output files': "
            f"{', '.join(lost)}"
        )
    nb.metadata["vrnlib"] = {
        "source": book.hash,
        "parameters": provenance.plain(value),
        "seconds": round(seconds, 1),
        **{k: v for k, v in provenance.collect().items() if k in ("git", "versions", "machine")},
    }
    notebook.scrub(nb, root, folder)
    page = export.to_html(nb, book.name, lambda address: _picture(address, folder, root))
    export.relink_notebook(nb)
    text = notebook.dumps(nb)
    export.check_size(len(text.encode()), f"executed notebook {book.name}")
    return page, text


def _execute(
    book: notebook.Notebook, parameters: dict[str, Any], folder: Path, root: Path, limit: float, screen: Any
) -> Any:
    """Run the cells; return the executed notebook, or raise with the failed one kept under build/failed/."""
    import papermill

    from vrnlib import kernel

    build = _build(folder, root)
    draft = build / "running" / f"{book.name}.ipynb"
    kept = build / "failed" / f"{book.name}.ipynb"
    draft.parent.mkdir(parents=True, exist_ok=True)
    source = draft.with_suffix(".source.ipynb")
    source.write_text(notebook.dumps(book.node), encoding="utf-8")
    watch = kernel.Progress(book, screen, injected=bool(parameters))
    try:
        with watch, kernel.quiet():
            return papermill.execute_notebook(
                source, draft, parameters=parameters, cwd=root / "notebooks", kernel_name="python3",
                language="python",
                progress_bar=False, start_timeout=300, execution_timeout=int(limit), log_output=False,
                stdout_file=watch.pipe(), stderr_file=watch.pipe(),
                store_widget_state=True, record_timing=False,
                kernel_manager_class=kernel.ThisPython, on_cell_start=watch.cell_start,
            )  # fmt: skip
    except Exception as error:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            draft.replace(kept)
        cell, reason = kernel.explain(error, watch, limit)
        raise VrnError(
            f"notebook {book.name} failed in {cell}: {reason}; it is kept as {kept} for inspection"
        ) from error
    finally:
        for path in (draft, source):
            path.unlink(missing_ok=True)


def _build(folder: Path, root: Path) -> Path:
    """Where drafts and failed notebooks lie: with the project's other products, or with a run that goes
    elsewhere.
    """
    return root / "build" if folder.is_relative_to(root) else folder


def fingerprint(book: notebook.Notebook, value: Mapping[str, Any], folder: Path, root: Path) -> str:
    """Hash of all that a notebook's result depends on: its cells, vrnlib, its parameters, its declared input
    files.
    """
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent
    sources = [p for p in sorted(package.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    inputs = [p for pattern in book.inputs for p in _existing(pattern, folder, root)]
    digest.update(f"{book.hash}\n{json.dumps(provenance.plain(value), sort_keys=True)}\n".encode())
    for path in (*sources, *inputs):
        digest.update(f"{path.name} {provenance.sha256(path)}\n".encode())
    return digest.hexdigest()


def _in_results(declared: str, folder: Path, root: Path) -> Path:
    """``results/x`` as declared by a notebook -> where this run puts it."""
    return folder / declared.removeprefix("results/") if declared.startswith("results/") else root / declared


def _matches(path: Path) -> list[Path]:
    """The files a path stands for, which may hold ``*``; the files below it, if it is a folder."""
    found = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
    return [f for p in found for f in (sorted(q for q in p.rglob("*") if q.is_file()) if p.is_dir() else [p])]


def _existing(declared: str, folder: Path, root: Path) -> list[Path]:
    """Files of a declared input: those of this run, else the committed ones."""
    return _matches(_in_results(declared, folder, root)) or _matches(root / declared)


def _picture(address: str, folder: Path, root: Path) -> Path:
    """The file of a picture with an address as seen from notebooks/; those of this run come first."""
    path = Path(os.path.normpath(root / "notebooks" / address))
    if path.is_relative_to(root / "results"):
        own = folder / path.relative_to(root / "results")
        return own if own.is_file() else path
    return path


def _metrics(made: list[Path]) -> list[Path]:
    return [p for path in made for p in _matches(path) if p.name == "metrics.json"]


def _record(path: Path) -> dict[str, Any]:
    """The record of the last finished run; empty if there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    return {}
