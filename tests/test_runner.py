"""The runner, on tiny notebooks."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import nbformat
import pytest

from vrnlib import notebook, runner
from vrnlib.errors import VrnError
from vrnlib.params import describe
from vrnlib.summary import duration, headline

TINY = """
# %% [markdown]
# # A tiny notebook
# See [the numbers](../results/tiny/metrics.json) and [the next](02_next.ipynb).
#
# ## Input files
# none
#
# ## Output files
# - `results/tiny/metrics.json`: the numbers

# %% tags=["parameters"]
profile: str = "smoke"  # smoke, laptop or paper
seed: int = 0  # of nothing
rate: float = 0.5  # of learning
out: str = "../results"  # folder of the results

# %%
import json, pathlib
folder = pathlib.Path(out, "tiny")
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.json").write_text(json.dumps({"seed": seed, "nested": {"rate": rate}}))
print("written to", folder.resolve(), "from", pathlib.Path.home() / "x")
"""


def run(root: Path, *names: str, **options: Any) -> tuple[list[runner.Outcome], str]:
    screen = io.StringIO()
    options.setdefault("timeout", 300)
    return runner.run(names, root=root, progress=screen, **options), screen.getvalue()


def test_runs_then_skips_then_notices_a_change(project) -> None:
    root = project(nb01_tiny=TINY)
    (first,), said = run(root)
    assert not first.skipped
    assert "[1/1] 01_tiny: running" in said
    assert "A tiny notebook" in said
    assert "| written to" in said
    assert first.executed == root / "results" / "executed" / "01_tiny.ipynb"
    assert json.loads((root / "results" / "tiny" / "metrics.json").read_text())["seed"] == 0
    assert first.metrics == [root / "results" / "tiny" / "metrics.json"]

    (second,), said = run(root)
    assert second.skipped
    assert "up to date" in said
    (forced,), _ = run(root, force=True)
    assert not forced.skipped

    first.metrics[0].unlink()  # a lost output is made again
    (again,), _ = run(root)
    assert not again.skipped
    source = root / "notebooks" / "01_tiny.py"
    source.write_text(source.read_text().replace("seed: int = 0", "seed: int = 5"))
    notebook.pair(root)
    (changed,), _ = run(root)
    assert not changed.skipped
    assert json.loads(changed.metrics[0].read_text())["seed"] == 5


def test_the_executed_copy_is_stamped_clean_and_leads_to_the_right_places(project) -> None:
    root = project(nb01_tiny=TINY)
    (done,), _ = run(root)
    text = done.executed.read_text()
    nb = nbformat.reads(text, as_version=4)
    stamp = nb.metadata["vrnlib"]
    assert stamp["source"] == notebook.select(["01"], root)[0].hash
    assert stamp["parameters"] == {"profile": "smoke", "seed": 0, "rate": 0.5, "out": "../results"}
    assert stamp["seconds"] > 0
    assert {"git", "versions", "machine"} <= set(stamp)
    assert "papermill" not in nb.metadata
    for folder in (root, Path.home(), Path(sys.prefix)):
        assert f"{folder}/" not in text
        assert f"{folder}/" not in done.html.read_text()
    assert "(../tiny/metrics.json)" in text
    assert "(02_next.ipynb)" in text
    assert 'href="../tiny/metrics.json"' in done.html.read_text()
    assert 'href="02_next.html"' in done.html.read_text()


def test_own_parameters_leave_results_alone(project, tmp_path: Path) -> None:
    root = project(nb01_tiny=TINY)
    (done,), _ = run(root, "1", parameters={"seed": 3})
    assert not (root / "results").exists()
    assert done.executed.is_relative_to(root / "build" / "runs")
    assert json.loads(done.metrics[0].read_text())["seed"] == 3
    assert str(root) not in done.executed.read_text()

    (other,), _ = run(root, "01_tiny", parameters={"rate": 1}, out=tmp_path / "elsewhere")
    assert other.html == tmp_path / "elsewhere" / "html" / "01_tiny.html"
    assert json.loads((tmp_path / "elsewhere" / "tiny" / "metrics.json").read_text())["nested"]["rate"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"sed": 1}}, r"unknown parameter 'sed' \(did you mean 'seed'\?\)"),
        ({"parameters": {"seed": "1"}}, r"'seed' must be int, not '1' \(str\)"),
        ({"parameters": {"seed": True}}, "'seed' must be int"),
        ({"parameters": {"rate": "1e-4"}}, "'rate' must be float"),
        ({"profile": "labtop"}, "unknown profile 'labtop'.*laptop"),
        ({"parameters": {"profile": "huge"}}, "unknown profile 'huge'"),
        ({"profile": "smoke", "parameters": {"profile": "laptop"}}, "profile is given twice"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(project, options: dict, message: str) -> None:
    root = project(nb01_tiny=TINY)
    with pytest.raises(VrnError, match=message):
        run(root, **options)
    assert not (root / "results").exists()
    assert not (root / "build").exists()


def test_selection(project) -> None:
    root = project(nb01_tiny=TINY, nb02_next=TINY, solutions_01=TINY, nb10_last=TINY)
    names = lambda *words: [book.name for book in notebook.select(words, root)]  # noqa: E731
    assert names() == ["01_tiny", "02_next", "10_last"]
    assert names("10", "1") == ["01_tiny", "10_last"]
    assert names("notebooks/02_next.ipynb") == ["02_next"]
    assert names("solutions_01") == ["solutions_01"]
    with pytest.raises(
        VrnError, match=r"no notebook '01_tyny' \(did you mean '01_tiny'\?\); there are: 01_tiny, 02_next"
    ):
        names("01_tyny")
    with pytest.raises(VrnError, match="no notebook '7'"):
        names("7")


def test_text_and_notebook_that_came_apart_are_refused(project) -> None:
    root = project(nb01_tiny=TINY)
    source = root / "notebooks" / "01_tiny.py"
    source.write_text(source.read_text() + "\n# %%\n1 + 1\n")
    with pytest.raises(VrnError, match="differ: .*make notebooks"):
        run(root)
    assert [p.name for p in notebook.pair(root)] == ["01_tiny.ipynb"]
    assert notebook.pair(root) == []
    assert not run(root)[0][0].skipped


FAILING = """
# %% [markdown]
# # Failing
# %% tags=["parameters"]
divisor: int = 0  # by which
# %% [markdown]
# ## The division
# %%
1 / divisor
# %%
print("not reached")
"""


def test_a_failed_notebook_is_named_with_its_cell_and_kept(project) -> None:
    root = project(nb01_tiny=TINY, nb02_fails=FAILING, nb03_after=TINY)
    with pytest.raises(
        VrnError, match=r"02_fails failed in cell 4 \(section 'The division'\): ZeroDivisionError"
    ) as caught:
        run(root)
    kept = root / "build" / "failed" / "02_fails.ipynb"
    assert str(kept) in str(caught.value)
    assert "ZeroDivisionError" in kept.read_text()
    assert sorted(p.name for p in (root / "results" / "executed").glob("*.ipynb")) == ["01_tiny.ipynb"]
    # after a remedy the same call goes on where it stopped
    source = root / "notebooks" / "02_fails.py"
    source.write_text(source.read_text().replace("divisor: int = 0", "divisor: int = 2"))
    notebook.pair(root)
    outcomes, _ = run(root)
    assert [o.skipped for o in outcomes] == [True, False, False]


def test_the_cell_is_counted_as_in_the_source_when_parameters_are_given(project) -> None:
    root = project(nb02_fails=FAILING.replace("1 / divisor", "[][divisor]"))
    with pytest.raises(VrnError, match=r"failed in cell 4 \(section 'The division'\): IndexError"):
        run(root, parameters={"divisor": 1})


def test_a_cell_that_takes_too_long_is_stopped(project) -> None:
    root = project(nb01_slow="# %%\nimport time\ntime.sleep(600)\n")
    began = time.monotonic()
    with pytest.raises(VrnError, match="01_slow failed in cell 1: it took longer than 1 s"):
        run(root, timeout=1)
    assert time.monotonic() - began < 200


def test_a_dead_kernel_is_reported(project) -> None:
    root = project(nb01_dies="# %%\nimport os\nos._exit(1)\n")
    with pytest.raises(VrnError, match="01_dies failed in cell 1: the kernel died"):
        run(root)


CHAIN = """
# %% [markdown]
# ## Input files
# - `results/tiny/metrics.json`: from the first
# ## Output files
# - `results/copy.txt`: a copy
# %% tags=["parameters"]
out: str = "../results"  # folder
# %%
import pathlib
{body}
"""
COPY = 'pathlib.Path(out, "copy.txt").write_text(pathlib.Path(out, "tiny/metrics.json").read_text())'


def test_declared_files_are_required_and_watched(project) -> None:
    root = project(nb02_chain=CHAIN.format(body=COPY))
    with pytest.raises(VrnError, match=r"02_chain needs results/tiny/metrics.json, not found"):
        run(root)
    source = root / "results" / "tiny" / "metrics.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("1")
    assert not run(root)[0][0].skipped
    assert run(root)[0][0].skipped
    source.write_text("2")
    assert not run(root)[0][0].skipped, "a declared input has changed"
    project(nb02_chain=CHAIN.format(body="pass"))
    (root / "results" / "copy.txt").unlink()
    with pytest.raises(
        VrnError, match="did not write what it declares under 'Output files': results/copy.txt"
    ):
        run(root)
    assert (root / "build" / "failed" / "02_chain.ipynb").is_file()


def test_an_undescribed_figure_stops_the_run_and_leaves_the_old_result(project) -> None:
    root = project(nb01_tiny=TINY)
    (done,), _ = run(root)
    before = done.html.read_bytes()
    data = r'b"\x89PNG\r\n\x1a\n0000IHDR00000000"'
    project(nb01_tiny=f'{TINY}\n# %%\nfrom IPython.display import Image\nImage(data={data}, format="png")\n')
    with pytest.raises(VrnError, match="image without alternative text"):
        run(root)
    assert done.html.read_bytes() == before
    with pytest.raises(VrnError, match="image without alternative text"):
        run(root)  # not taken for up to date


def test_output_folder_that_cannot_be_made(project, tmp_path: Path) -> None:
    root = project(nb01_tiny=TINY)
    (tmp_path / "file").touch()
    with pytest.raises(VrnError, match="cannot make output folder .*choose another with --out"):
        run(root, out=tmp_path / "file" / "x")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_run_continues(project) -> None:
    slow = "# %%\nimport time, pathlib\npathlib.Path('here').touch()\ntime.sleep({})\n"
    root = project(nb01_tiny=TINY, nb02_slow=slow.format(600))
    # a shell's background job, as a test run may be, starts with the interrupt ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"from vrnlib import runner; runner.run(root={str(root)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 180
    while not (root / "notebooks" / "here").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to the runner and its kernel
    assert process.wait(timeout=120) != 0
    executed = root / "results" / "executed"
    assert sorted(p.name for p in executed.iterdir()) == ["01_tiny.ipynb", "01_tiny.run.json"]
    project(nb02_slow=slow.format(0))
    assert [o.skipped for o in run(root)[0]] == [True, False]


def test_the_summary_says_what_ran_where_and_the_numbers(project, monkeypatch, capsys) -> None:
    root = project(nb01_tiny=TINY)
    monkeypatch.chdir(root / "notebooks")
    runner.main_run([], None, [], None, all_=True, force=False)
    said = capsys.readouterr()
    for part in (
        "01_tiny  ran in",
        "01_tiny.html",
        "nested.rate  0.5",
        "1 notebook(s) ran, 0 up to date",
        "Results: ",
    ):
        assert part in said.out
    assert "[1/1] 01_tiny: done in" in said.err
    runner.main_run(["1"], None, ["seed=4", "rate=1e-3"], root / "mine", all_=False, force=False)
    assert json.loads((root / "mine" / "tiny" / "metrics.json").read_text()) == {
        "seed": 4,
        "nested": {"rate": 0.001},
    }
    with pytest.raises(VrnError, match="either notebooks or --all"):
        runner.main_run(["1"], None, [], None, all_=True, force=False)
    with pytest.raises(VrnError, match="which notebook.*01_tiny"):
        runner.main_run([], None, [], None, all_=False, force=False)
    with pytest.raises(VrnError, match="'seed' must be int, not 'x'"):
        runner.main_run(["1"], None, ["seed=x"], None, all_=False, force=False)


def test_no_kernel_needs_to_be_registered(project, monkeypatch, tmp_path: Path) -> None:
    """Not one there, and a wrong one in the user's folder that would come first."""
    wrong = tmp_path / "data" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "wrong", "language": "python"}
    (wrong / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
    root = project(
        nb01_which="# %%\nimport sys\nassert sys.executable == EXE\n".replace("EXE", repr(sys.executable))
    )
    assert not run(root)[0][0].skipped


def test_parameters_cell() -> None:
    text = '''
"""Parameters."""
profile: str = "laptop"  # smoke, laptop or paper
mode: Literal["low", "skip"] = "low"
limit: float | None = None  # at most
angles: tuple[int, ...] = (-30, 0)  # degrees
'''
    found = notebook.read_parameters(text, "01")
    assert {name: (describe(p.type), p.default, p.help) for name, p in found.items()} == {
        "profile": ("str", "laptop", "smoke, laptop or paper"),
        "mode": ("one of 'low', 'skip'", "low", ""),
        "limit": ("float or None", None, "at most"),
        "angles": ("tuple[int, ...]", (-30, 0), "degrees"),
    }


@pytest.mark.parametrize(
    "line",
    ["seed = 0", "seed: int = 0.5", "seed: int = range(3)", "seed: Path = 'x'", "import os", "seed: int"],
)
def test_parameters_that_are_no_annotated_literals(line: str) -> None:
    with pytest.raises(VrnError, match="notebook 01: "):
        notebook.read_parameters(line, "01")


def test_assignments_are_read_as_the_schema_wants() -> None:
    schema: dict[str, Any] = {"name": str, "rate": float, "seed": int, "on": bool, "mode": Literal["a"]}
    schema |= {"sizes": tuple[int, ...], "limit": float | None}
    words = ["name=1", "rate=1e-4", "seed=2", "on=yes", "mode=a", "sizes=[1, 2]", "limit=null", "other='q'"]
    expected: dict[str, Any] = {"name": "1", "rate": 1e-4, "seed": 2, "on": True, "mode": "a"}
    expected |= {"sizes": [1, 2], "limit": None, "other": "q"}
    assert notebook.parse_assignments(words, schema) == expected
    for wrong, message in ((["seed"], "write -p name=value"), (["seed=1", "seed=2"], "given twice")):
        with pytest.raises(VrnError, match=message):
            notebook.parse_assignments(wrong, schema)


def test_scrubbing_leaves_look_alikes(project) -> None:
    root = project(nb01_tiny=TINY)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"{root}/a {root}b x{root} '{root}'")])
    notebook.scrub(nb, root, root / "results")
    assert nb.cells[0].source == f"./a {_temporary(root)}b x{root} '.'"


def _temporary(root: Path) -> str:
    """What stands for a neighbour of the project in the temporary folder."""
    import tempfile

    return str(root).replace(tempfile.gettempdir(), "<temporary>")


def test_headline_and_duration() -> None:
    assert headline({"headline": {"nme": 0.05}, "rest": 1}) == {"nme": 0.05}
    assert headline({"a": {"b": 1, "c": "x", "d": True}, "e": 2.5}) == {"a.b": 1, "e": 2.5}
    assert len(headline({str(i): i for i in range(99)})) == 12
    assert [duration(s) for s in (0.25, 42.3, 200, 7500)] == ["0.2 s", "42 s", "3 min 20 s", "2 h 05 min"]
