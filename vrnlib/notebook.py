"""What a notebook of this project is: its text, parameters, declared files, and what may be stored of its
outputs.

The source of ``notebooks/NN_name`` is the percent script ``NN_name.py``; ``NN_name.ipynb`` holds the same
cells without outputs and is written by `pair` (``make notebooks``). The cell tagged ``parameters`` is the
schema of the parameters::

    # %% tags=["parameters"]
    profile: str = "laptop"  # smoke, laptop or paper
    seed: int = 0  # of the random faces

The sections ``## Input files`` and ``## Output files`` are lists whose items begin with a path from the
project's root in backticks, ``- `results/first/metrics.json`: what it is``. A path may hold ``*``; ``none``
says that there is none. `vrnlib.runner` executes notebooks, `vrnlib.export` makes pages of them.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import sys
import tempfile
import tokenize
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from vrnlib import provenance
from vrnlib.errors import VrnError, did_you_mean
from vrnlib.params import conform, describe

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "tuple": tuple, "list": list, "dict": dict,
          "Literal": typing.Literal, "Optional": typing.Optional}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: its name, type, default and the comment that explains it."""

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Notebook:
    """A source notebook.

    Attributes
    ----------
    name : str
        ``NN_name``.
    path : Path
        The file that was read.
    node : NotebookNode
        Its cells, without outputs.
    """

    name: str
    path: Path
    node: Any

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the type, tags and source of the cells: equal for the text and the notebook form."""
        cells = [[c.cell_type, c.metadata.get("tags", []), c.source.strip()] for c in self.node.cells]
        return hashlib.sha256(json.dumps(cells).encode()).hexdigest()

    @cached_property
    def text(self) -> str:
        """All markdown cells, joined."""
        return "\n\n".join(c.source for c in self.node.cells if c.cell_type == "markdown")

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The schema, from the cell tagged ``parameters``; VrnError if a line of it is not an annotated
        literal.
        """
        tagged = [c for c in self.node.cells if "parameters" in c.metadata.get("tags", [])]
        if len(tagged) > 1:
            raise VrnError(f"notebook {self.name} has {len(tagged)} cells tagged 'parameters': keep one")
        return read_parameters(tagged[0].source, self.name) if tagged else {}

    @cached_property
    def inputs(self) -> list[str]:
        """Declared input files, relative to the project's root."""
        return declared_files(self.text, "Input files")

    @cached_property
    def outputs(self) -> list[str]:
        """Declared output files, relative to the project's root; ``results/`` stands for the run's own
        folder.
        """
        return declared_files(self.text, "Output files")

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters with the `given` values in place of defaults; VrnError on an unknown name or a wrong
        type.
        """
        values, problems = {name: p.default for name, p in self.parameters.items()}, []
        for name, value in given.items():
            if name not in self.parameters:
                problems.append(f"unknown parameter '{name}'{did_you_mean(name, self.parameters)}")
                continue
            try:
                values[name] = conform(value, self.parameters[name].type)
            except TypeError:
                wanted = describe(self.parameters[name].type)
                problems.append(f"'{name}' must be {wanted}, not {value!r} ({type(value).__name__})")
        if problems:
            known = ", ".join(
                f"{p.name}: {describe(p.type)} = {p.default!r}" for p in self.parameters.values()
            )
            raise VrnError(
                f"notebook {self.name}: {'; '.join(problems)}; its parameters are: {known or 'none'}"
            )
        return values


def load(path: Path) -> Notebook:
    """Read a ``.py`` or ``.ipynb`` notebook; VrnError if it can't be read as one."""
    try:
        if path.suffix == ".py":
            import jupytext

            node = jupytext.read(path, fmt="py:percent")
        else:
            node = nbformat.read(path, as_version=4)
    except Exception as error:
        raise VrnError(f"cannot read notebook '{path}': {type(error).__name__}: {error}") from error
    return Notebook(path.stem, path, bare(node))


def bare(node: Any) -> Any:
    """A copy with the cells' type, source and tags alone, python3 kernel, and ids that do not change between
    readings.
    """
    fresh = nbformat.v4.new_notebook(
        metadata={"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    )
    for number, cell in enumerate(node.cells):
        make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
        copy = make.get(cell.cell_type, nbformat.v4.new_raw_cell)(cell.source)
        if tags := cell.metadata.get("tags"):
            copy.metadata["tags"] = list(tags)
        copy["id"] = f"cell-{number:03d}"
        fresh.cells.append(copy)
    return fresh


def available(root: Path) -> list[str]:
    """Names of all notebooks, numbered ones first, solutions last."""
    folder = root / "notebooks"
    names = {p.stem for pattern in ("[0-9][0-9]_*", "solutions_*") for suffix in (".py", ".ipynb")
             for p in folder.glob(pattern + suffix)}  # fmt: skip
    return sorted(names)


def select(names: Sequence[str], root: Path) -> list[Notebook]:
    """Notebooks by number, name or path, in the suite's order; without names all that are numbered.

    Raises
    ------
    VrnError
        If a name fits none, or if the text and the notebook form of one have come apart.
    """
    known = available(root)
    chosen = [name for name in known if not name.startswith("solutions_")] if not names else []
    for name in names:
        stem = re.sub(r"\.(py|ipynb)$", "", Path(name).name)
        number = f"{int(stem):02d}_" if stem.isdecimal() else None
        fits = [k for k in known if k == stem or (number and k.startswith(number))]
        if not fits:
            raise VrnError(
                f"there is no notebook '{name}'{did_you_mean(stem, known)}; "
                f"there are: {', '.join(known) or 'none'}"
            )
        chosen += fits
    if not chosen:
        raise VrnError(f"there are no notebooks in '{root / 'notebooks'}'")
    return [_source(root / "notebooks", name) for name in sorted(set(chosen))]


def _source(folder: Path, name: str) -> Notebook:
    """The text form if there is one, checked against the other."""
    forms = [load(path) for path in (folder / f"{name}.py", folder / f"{name}.ipynb") if path.is_file()]
    if len(forms) == 2 and forms[0].hash != forms[1].hash:
        raise VrnError(
            f"notebooks/{name}.py and notebooks/{name}.ipynb differ: keep the text with "
            f"`make notebooks`, or the notebook with `jupytext --to py:percent notebooks/{name}.ipynb`"
        )
    return forms[0]


def pair(root: Path) -> list[Path]:
    """Write the ``.ipynb`` of every ``.py`` notebook, without outputs; return those that have changed."""
    changed = []
    for name in available(root):
        source = root / "notebooks" / f"{name}.py"
        if not source.is_file():
            continue
        path, text = source.with_suffix(".ipynb"), dumps(load(source).node)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with provenance.replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def dumps(node: Any) -> str:
    """The notebook as JSON text that ends with a newline."""
    return nbformat.writes(node).rstrip("\n") + "\n"


def read_parameters(source: str, where: str) -> dict[str, Parameter]:
    """The schema that the `source` of a parameters cell states; see the head of this module for its form."""
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ").strip()
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            continue  # a docstring
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value):
            raise VrnError(
                f"notebook {where}: line {line.lineno} of its parameters cell is not an annotated literal "
                "like `seed: int = 0  # of the random faces`"
            )
        name, annotation = line.target.id, ast.unparse(line.annotation)
        try:
            kind = eval(annotation, {"__builtins__": {}}, _TYPES)  # names of types only, see _TYPES
            default = conform(ast.literal_eval(line.value), kind)
        except (NameError, TypeError, ValueError, SyntaxError) as error:
            raise VrnError(
                f"notebook {where}: parameter '{name}: {annotation}' has no literal of that type"
            ) from error
        found[name] = Parameter(name, kind, default, comments.get(line.end_lineno or line.lineno, ""))
    return found


def parse_assignments(assignments: Iterable[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """``["seed=1", "rate=1e-4"]`` -> values, read as the schema's types want them.

    A parameter that may be text takes the text as it is; for others ``true``, ``no``, ``null``, numbers,
    lists and quoted texts are read as in YAML, with ``1e-4`` a number. Types are checked later, by
    `Notebook.check`.

    Raises
    ------
    VrnError
        If an assignment has no ``=``, or a name occurs twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise VrnError(f"cannot read parameter '{assignment}': write -p name=value")
        if name in values:
            raise VrnError(f"parameter '{name}' is given twice")
        kind = schema.get(name)
        value = literal(text.strip())
        wants_text = kind is str or (str in typing.get_args(kind) and value is not None)
        values[name] = text.strip().strip("\"'") if wants_text else value
    return values


def literal(text: str) -> Any:
    """A YAML-like scalar or list: ``true``, ``12``, ``1e-4``, ``[1, 2]``, ``null``; anything else is text."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False,
             "null": None, "none": None, "~": None}  # fmt: skip
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def section(text: str, title: str) -> str | None:
    """The markdown below the heading `title`, up to the next heading; None if there is no such heading."""
    found = re.search(
        rf"^#+\s+{re.escape(title)}\s*$(.*?)(?=^#+\s|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    return found[1].strip() if found else None


def declared_files(text: str, title: str) -> list[str]:
    """Paths that the items of section `title` begin with."""
    body = section(text, title) or ""
    return re.findall(r"^\s*[-*]\s+`([^`]+)`", body, re.MULTILINE)


def scrub(node: Any, root: Path, folder: Path) -> None:
    """Take out of an executed notebook, in place, what must not be published or only makes noise in a diff.

    Absolute paths below the project, the run's folder, the interpreter, the temporary and the home folder are
    replaced in sources, outputs and metadata; papermill's and the widgets' metadata are dropped.
    """
    swaps = path_swaps(root, folder)
    node.metadata.pop("papermill", None)
    node.metadata.pop("widgets", None)
    node.metadata["kernelspec"] = dict(KERNEL)
    for number, cell in enumerate(node.cells):
        cell["id"] = f"cell-{number:03d}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        cell["source"] = _swap(cell.source, swaps)
        for output in cell.get("outputs", []):
            for key in list(output):
                if key != "data":
                    output[key] = _swap(output[key], swaps)
            for mime, value in output.get("data", {}).items():
                if not (
                    mime.startswith("image/") and mime != "image/svg+xml"
                ):  # base64 holds no paths, only look-alikes
                    output["data"][mime] = _swap(value, swaps)
    node.metadata = nbformat.from_dict(_swap(dict(node.metadata), swaps))


def path_swaps(root: Path, folder: Path) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of this machine's folders and what stands for them, longest folder first."""
    named = {str(Path.home()): "~", tempfile.gettempdir(): "<temporary>", sys.prefix: "<python>",
             sys.base_prefix: "<python>", str(root / "build"): "build", str(root): ".",
             str(folder): "results"}  # fmt: skip
    both = {
        form: word
        for path, word in named.items()
        for form in (path, str(Path(path).resolve()))
        if len(form) > 1
    }
    return [
        (re.compile(rf"(?<![\w.-]){re.escape(path)}(?![\w-])"), both[path])
        for path in sorted(both, key=len, reverse=True)
    ]


def _swap(value: Any, swaps: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, str):
        for pattern, word in swaps:
            value = pattern.sub(word, value)
        return value
    if isinstance(value, Mapping):
        return nbformat.from_dict({key: _swap(item, swaps) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return [_swap(item, swaps) for item in value]
    return value


if __name__ == "__main__":  # python -m vrnlib.notebook: pair texts and notebooks
    from vrnlib.runner import find_root

    for written in pair(find_root()):
        print(f"wrote {written.relative_to(find_root())}")
