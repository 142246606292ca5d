"""The environment, the pins, and what a fresh clone finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vrnlib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def pyproject(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


def direct(root: Path, python: str = "3.11") -> dict[str, str]:
    """Direct dependencies for a version of Python, with those for development: name -> version."""
    project = pyproject(root)["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    requirements = [Requirement(text) for text in wanted]
    kept = [r for r in requirements if r.marker is None or r.marker.evaluate({"python_version": python})]
    return {canonicalize_name(r.name): str(r.specifier) for r in kept}


def constraints(root: Path, python: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (root / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    kept = [r for r in pins if r.marker is None or r.marker.evaluate({"python_version": python})]
    names = [canonicalize_name(r.name) for r in kept]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return dict(zip(names, (str(r.specifier) for r in kept), strict=True))


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_every_dependency_is_pinned_once(root: Path, python: str) -> None:
    pins = direct(root, python)
    assert len(pins) > 25
    for name, pin in pins.items():
        assert re.fullmatch(r"==[\w.]+", pin), f"{name} is not pinned exactly: {pin}"


def test_environment_yml_has_the_same_pins_and_says_who_uses_them(root: Path) -> None:
    text = (root / "environment.yml").read_text()
    pip = next(entry["pip"] for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, dict))
    pins = [Requirement(line) for line in pip if not line.startswith("-")]
    assert {canonicalize_name(r.name): str(r.specifier) for r in pins} == direct(root)
    for line in text.splitlines():
        if "==" in line:
            assert re.search(r"#\s+(all|none|[\d ]+):\s+\w", line), f"no notebook named: {line.strip()}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_constraints_agree_with_the_direct_pins(root: Path, python: str) -> None:
    pins = constraints(root, python)
    for name, pin in direct(root, python).items():
        assert pins.get(name) == pin
    for name, pin in pins.items():
        assert re.fullmatch(r"==[\w.]+", pin), f"{name}{pin}: no ranges, no local versions"
    assert not {"anny", "roma", "warp-lang"} & set(pins)


def test_what_is_installed_is_what_is_pinned(root: Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = constraints(root, python)
    wrong = {}
    for name in direct(root, python):
        version = metadata.version(name).split("+")[0]
        if pins[name] != f"=={version}":
            wrong[name] = f"{version} is installed, {pins[name]} is pinned"
    assert not wrong, "run make test to renew the environment"


def test_importing_vrnlib_is_cheap() -> None:
    heavy = "{'torch', 'numpy', 'matplotlib', 'cv2', 'numba', 'papermill', 'nbconvert', 'dlib'}"
    code = f"import sys, vrnlib, vrnlib.params, vrnlib.errors; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(vrnlib.__all__) <= set(dir(vrnlib))
    with pytest.raises(AttributeError, match="no attribute 'recontruct'"):
        vrnlib.recontruct  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+\.\d+", vrnlib.__version__)


def test_reconstruct_stays_a_function_when_its_module_is_imported() -> None:
    code = "from vrnlib.reconstruct import Face; import vrnlib; print(callable(vrnlib.reconstruct))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


def test_citation_names_the_paper_and_the_review(root: Path) -> None:
    cff = yaml.safe_load((root / "CITATION.cff").read_text())
    assert cff["version"] == vrnlib.__version__
    assert cff["license"] == "MIT"
    assert [reference["authors"][0]["family-names"] for reference in cff["references"]] == [
        "Jackson",
        "Mauricio",
    ]
    assert "The vrnlib authors" in (root / "LICENSE").read_text()


def test_package_data_is_shipped(root: Path) -> None:
    patterns = pyproject(root)["tool"]["setuptools"]["package-data"]["vrnlib"]
    package = root / "vrnlib"
    shipped = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    other = {
        p for p in package.rglob("*") if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts
    }
    assert other, "the page template at least"
    assert other <= shipped


MAKE = shutil.which("make")


def make(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, **environment}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # these tests may run under make themselves
        env.pop(name, None)
    return subprocess.run([MAKE, *words], cwd=root, capture_output=True, text=True, env=env, timeout=300)


@pytest.mark.skipif(MAKE is None, reason="there is no make")
class TestMakefile:
    def test_help_lists_the_targets(self, root: Path) -> None:
        said = make(root, "help").stdout
        for target in ("reproduce", "test", "lab", "lint", "clean", "notebooks"):
            assert f"make {target}" in said

    def test_an_old_python_is_refused(self, root: Path, tmp_path: Path) -> None:
        old = tmp_path / "python3.8"
        old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.exit(sys.version_info < (3, 10))` comes to
        old.chmod(0o755)
        run = make(root, "test", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
        assert run.returncode != 0
        assert "is not Python 3.10 or newer" in run.stderr
        assert not (tmp_path / "venv").exists()

    def test_a_python_without_venv_is_refused_with_the_remedy(self, root: Path, tmp_path: Path) -> None:
        bare = tmp_path / "python3"
        bare.write_text('#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexit 0\n')
        bare.chmod(0o755)
        run = make(root, "test", f"PYTHON={bare}", f"VENV={tmp_path / 'venv'}")
        assert run.returncode != 0
        assert "has no venv module" in run.stderr
        assert "python3-venv" in run.stderr

    def test_no_python_at_all(self, root: Path, tmp_path: Path) -> None:
        run = make(root, "test", "PYTHON=", f"VENV={tmp_path / 'venv'}")
        assert run.returncode != 0
        assert "no Python 3.10 or newer found" in run.stderr

    def test_what_the_targets_run(self, root: Path, tmp_path: Path) -> None:
        stamp = tmp_path / "venv" / ".installed"
        stamp.parent.mkdir()
        stamp.touch()  # newer than the pins: the environment counts as built
        ask = lambda target: make(root, "-n", target, f"VENV={stamp.parent}").stdout  # noqa: E731
        assert "-m vrnlib run --all" in ask("reproduce")
        assert "-m pytest -q" in ask("test")
        assert "pip install" not in ask("test")
        assert "jupyterlab" in ask("lab")


def test_ci_runs_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash")
    assert "set -euo pipefail" in text
    assert "make test" in text


def test_no_path_of_a_machine_and_no_registry_in_the_sources(root: Path) -> None:
    """Sources are published: no home folder, no scratch folder, no package index's address."""
    bad = re.compile(
        r"/(?:root|home/\w+|Users/\w+|work/(?:main|shared))\b|/tmp/\w|\b(?:pypi|npmjs|anaconda)\.org\b"
    )
    names = ("Makefile", "pyproject.toml", "constraints.txt", "environment.yml", "README.md", "CREDITS.md")
    files = [root / name for name in names]
    for folder in (root / "vrnlib", root / "tests", root / "notebooks", root / ".ci"):
        files += [p for p in folder.rglob("*") if p.suffix in (".py", ".j2", "")]
    found = {}
    for path in files:
        if not path.is_file() or path == Path(__file__).resolve():
            continue
        if hit := bad.search(path.read_text(errors="replace")):
            found[path.name] = hit[0]
    assert not found
