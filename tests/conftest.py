"""What the tests share: where the project is, and tiny projects to run notebooks in."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

# before numpy or torch is imported anywhere: small tests gain nothing from threads
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

from vrnlib import notebook

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("default", deadline=None, max_examples=30)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).resolve().parent.parent
Project = Callable[..., Path]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a project of notebooks given as ``name="percent text"``; returns its folder."""

    def make(**texts: str) -> Path:
        (tmp_path / "pyproject.toml").touch()
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name.removeprefix('nb')}.py").write_text(textwrap.dedent(text).lstrip())
        notebook.pair(tmp_path)
        return tmp_path

    return make
