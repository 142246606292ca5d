"""The README says what results/ says."""

import re

import pytest

from vrnlib.errors import VrnError
from vrnlib.provenance import project_folder
from vrnlib.readme import BLOCKS, fill

ROOT = project_folder()


def test_numbers_are_those_of_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- begin (\w+) -->", text)) == set(BLOCKS)
    assert fill(text, ROOT / "results") == text, "run python -m vrnlib.readme"


def test_without_results_it_says_not_run(tmp_path):
    text = "<!-- begin nme -->\nold 0.1\n<!-- end nme -->\n"
    assert fill(text, tmp_path) == "<!-- begin nme -->\nnot run\n<!-- end nme -->\n"
    with pytest.raises(VrnError, match="'other'"):
        fill("<!-- begin other -->\n<!-- end other -->", tmp_path)


def test_files_it_names_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
