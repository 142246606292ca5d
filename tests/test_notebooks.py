"""The notebooks of the suite: their skeleton, their pairs, what is committed of their results, and that they
run.

The tests take whatever lies in notebooks/ and results/.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest

from vrnlib import export, notebook, runner
from vrnlib.params import PROFILES, conform

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NAMES = notebook.available(ROOT)
NUMBERED = [name for name in NAMES if not name.startswith("solutions_")]
EXECUTED = sorted((ROOT / "results" / "executed").glob("*.ipynb"))
PAGES = sorted((ROOT / "results" / "html").glob("*.html"))

# Headings in the order they come in; the body lies between the parameters cell and "Check yourself".
SECTIONS = ("Learning goals", "Prerequisites", "Input files", "Output files", "Run time", "Parameters",
            "Check yourself", "Summary", "Next", "References")  # fmt: skip


def book(name: str) -> notebook.Notebook:
    source = FOLDER / f"{name}.py"
    assert source.is_file(), (
        f"notebooks/{name}.ipynb has no text form: jupytext --to py:percent notebooks/{name}.ipynb"
    )
    return notebook.load(source)


def skeleton_faults(found: notebook.Notebook) -> list[str]:
    """What a numbered notebook lacks of the form they all have."""
    faults, text, cells = [], found.text, found.node.cells
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not re.match(r"# \S", first):
        faults.append("does not begin with a title, '# ...'")
    opening = re.split(r"^## ", first, maxsplit=1, flags=re.MULTILINE)[0]
    if opening.count("?") == 0:
        faults.append("asks no question below its title")
    places = []
    for title in SECTIONS:
        at = re.search(rf"^## {title}\b", text, re.MULTILINE)
        if at is None:
            faults.append(f"has no section '## {title}'")
        else:
            places.append(at.start())
            if not notebook.section(text, title) and title not in ("Parameters", "Check yourself"):
                faults.append(f"has nothing in its section '## {title}'")
    if places != sorted(places):
        faults.append(f"has its sections in another order than {', '.join(SECTIONS)}")
    goals = re.findall(r"^[-*\d]", notebook.section(text, "Learning goals") or "", re.MULTILINE)
    if not 2 <= len(goals) <= 5:
        faults.append(f"has {len(goals)} learning goals, not 2 to 5")
    for title in ("Input files", "Output files"):
        body = notebook.section(text, title) or ""
        if (
            body
            and not notebook.declared_files(text, title)
            and not re.search(r"\bnone\b", body, re.IGNORECASE)
        ):
            faults.append(f"lists no file in backticks under '## {title}', and not 'none' either")
    faults += parameter_faults(found)
    faults += [f"has code that {fault}" for fault in code_faults(found)]
    return faults


def parameter_faults(found: notebook.Notebook) -> list[str]:
    parameters = found.parameters
    if "profile" not in parameters:
        return ["has no parameter 'profile' in a cell tagged 'parameters'"]
    faults = [f"has a parameter '{p.name}' without a comment" for p in parameters.values() if not p.help]
    if parameters["profile"].default not in PROFILES:
        faults.append(f"has an unknown profile '{parameters['profile'].default}' as its default")
    return faults


def code_faults(found: notebook.Notebook) -> list[str]:
    code = "\n".join(c.source for c in found.node.cells if c.cell_type == "code")
    patterns = {
        r"^\s*[!%]\s*(?:pip|conda)\b": "installs packages",
        r"^\s*if\b.*\bsmoke\b": "treats the smoke profile in a way of its own",
        r"(?:filter|simple)warnings?\(\s*[\"']ignore": "silences warnings",
    }
    return [fault for pattern, fault in patterns.items() if re.search(pattern, code, re.MULTILINE)]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no notebooks here")
def test_the_suite_begins_at_its_beginning() -> None:
    assert NUMBERED[0] == "00_start_here"
    assert len({name[:2] for name in NUMBERED}) == len(NUMBERED), "two notebooks have the same number"


@pytest.mark.parametrize("name", NUMBERED)
def test_skeleton(name: str) -> None:
    assert skeleton_faults(book(name)) == []


def test_the_skeleton_test_sees_what_is_missing() -> None:
    """It must not pass by looking at nothing."""
    cell = nbformat.v4.new_markdown_cell(
        "# Title\nNo question.\n## Learning goals\n- one\n## Summary\n## Next\nx"
    )
    code = nbformat.v4.new_code_cell(
        "!pip install x\nif profile == 'smoke':\n    pass", metadata={"tags": []}
    )
    faults = skeleton_faults(notebook.Notebook("x", Path("x"), nbformat.v4.new_notebook(cells=[cell, code])))
    expected = (
        "no question",
        "'## Prerequisites'",
        "1 learning goals",
        "nothing in its section '## Summary'",
        "no parameter 'profile'",
        "installs packages",
        "smoke profile",
    )
    for part in expected:
        assert any(part in fault for fault in faults), part


@pytest.mark.parametrize("name", NAMES)
def test_pair_agrees_and_holds_no_outputs(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    assert path.is_file(), "write it with `make notebooks`"
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    assert notebook.load(path).hash == book(name).hash, "text and notebook differ: `make notebooks`"
    assert node.metadata["kernelspec"]["name"] == "python3"
    for cell in node.cells:
        assert not cell.get("outputs"), "outputs in a source notebook: `make notebooks` drops them"
        assert cell.get("execution_count") is None
        assert set(cell.metadata) <= {"tags"}


@pytest.mark.parametrize("name", NAMES)
def test_code_compiles(name: str) -> None:
    for number, cell in enumerate(book(name).node.cells, start=1):
        if cell.cell_type == "code":
            lines = [re.sub(r"^(\s*)%.*", r"\1pass", line) for line in cell.source.splitlines()]
            compile("\n".join(lines), f"{name}, cell {number}", "exec")


@pytest.mark.parametrize("name", NAMES)
def test_links_to_notebooks_lead_somewhere(name: str) -> None:
    for address in re.findall(r"\]\(([\w./-]+\.ipynb)", book(name).text):
        assert (FOLDER / address).is_file(), address


def executed_faults(node: nbformat.NotebookNode, source: notebook.Notebook, text: str) -> list[str]:
    """Why an executed copy may not be committed; empty if it may."""
    faults = list(export.notebook_problems(node))
    stamp = node.metadata.get("vrnlib", {})
    if stamp.get("source") != source.hash:
        faults.append("is stale: the notebook has changed since (make reproduce)")
    missing = {"source", "parameters", "seconds", "git", "versions"} - set(stamp)
    if missing:
        faults.append(f"is not stamped with {', '.join(sorted(missing))}")
    counts = [c.execution_count for c in node.cells if c.cell_type == "code" and c.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        faults.append("was not executed from first to last cell")
    if leak := re.search(
        r"(?<![\w.:/-])/(?:home|root|tmp|work|Users|mnt|opt|var|private)/[\w.-]+|[A-Z]:\\\\+Users", text
    ):
        faults.append(f"leaks an absolute path: {leak[0]}")
    if len(text.encode()) > export.LIMIT:
        faults.append("is larger than 1 MB")
    return faults


def without_images(node: nbformat.NotebookNode) -> str:
    """Its text, less the base64 of images, in which anything may be found by chance."""
    copy = nbformat.from_dict(json.loads(json.dumps(node)))
    for cell in copy.cells:
        for output in cell.get("outputs", []):
            for mime in list(output.get("data", {})):
                if mime in ("image/png", "image/jpeg"):
                    output.data[mime] = ""
    return nbformat.writes(copy)


@pytest.mark.parametrize("path", EXECUTED, ids=lambda p: p.stem)
def test_executed_copy(path: Path) -> None:
    assert path.stem in NAMES, "there is no such notebook any more: delete its executed copy"
    node = nbformat.read(path, as_version=4)
    source = book(path.stem)
    assert path.stat().st_size <= export.LIMIT
    assert executed_faults(node, source, without_images(node)) == []
    stamp = node.metadata["vrnlib"]["parameters"]
    assert set(stamp) == set(source.parameters)
    for name, parameter in source.parameters.items():
        conform(stamp[name], parameter.type)
    assert (ROOT / "results" / "html" / f"{path.stem}.html").is_file()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_page(path: Path) -> None:
    assert (ROOT / "results" / "executed" / f"{path.stem}.ipynb").is_file()
    assert path.stat().st_size <= export.LIMIT
    assert export.page_problems(path.read_text(encoding="utf-8")) == []


def test_the_test_of_executed_copies_sees_faults() -> None:
    cells = [
        nbformat.v4.new_code_cell("1", execution_count=2),
        nbformat.v4.new_code_cell("2", execution_count=1),
    ]
    cells[0].outputs = [
        nbformat.v4.new_output("error", ename="E", evalue="v", traceback=["/home" + "/someone/x.py"])
    ]
    node = nbformat.v4.new_notebook(cells=cells)
    source = notebook.Notebook("x", Path("x"), notebook.bare(node))
    faults = executed_faults(node, source, nbformat.writes(node))
    for part in ("traceback", "stale", "not stamped", "first to last", "/home" + "/someone"):
        assert any(part in fault for fault in faults), part


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_at_smoke_scale(name: str, tmp_path: Path) -> None:
    """The same path as at any profile; also a test of its page."""
    profile = "smoke" if "profile" in book(name).parameters else None
    (done,) = runner.run([name], profile, out=tmp_path, root=ROOT, timeout=300)
    node = nbformat.read(done.executed, as_version=4)
    assert executed_faults(node, book(name), without_images(node)) == []
    assert done.html.stat().st_size <= export.LIMIT
