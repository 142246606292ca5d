"""Profiles and strict parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrnlib import provenance
from vrnlib.errors import VrnError
from vrnlib.params import PROFILES, Profile, conform, depth_of, describe, profile, strict


@dataclass(frozen=True)
class Sample:
    count: int
    rate: float = 1e-4
    name: str = "x"
    on: bool = False
    limit: float | None = None
    mode: Literal["low", "skip"] = "low"
    span: tuple[float, float] = (0.0, 1.0)
    sizes: tuple[int, ...] = ()


def test_profiles_follow_the_papers_proportions() -> None:
    assert [(p.name, p.size, p.depth) for p in PROFILES.values()] == [
        ("smoke", 32, 34), ("laptop", 96, 100), ("paper", 192, 200)
    ]  # fmt: skip
    for p in PROFILES.values():
        assert p.depth % 2 == 0
        assert p.size // 4 % 2 ** (p.levels - 1) == 0, "a quarter of the crop must halve in the hourglass"


@given(st.integers(8, 1024))
def test_depth_is_even_and_near_its_proportion(size: int) -> None:
    depth = depth_of(size)
    assert depth % 2 == 0
    assert abs(depth - size * 200 / 192) <= 1 + 1e-9


def test_unknown_profile_is_named_with_a_suggestion() -> None:
    with pytest.raises(
        VrnError, match=r"unknown profile 'laptp' \(did you mean 'laptop'\?\).*smoke, laptop, paper"
    ):
        profile("laptp")
    assert profile("paper").features == 256


def test_strict_builds_from_json() -> None:
    text = '{"count": 3, "rate": 1, "limit": 2, "mode": "skip", "span": [1, 2], "sizes": [1, 2, 3]}'
    made = strict(Sample, json.loads(text), "params.json")
    assert made == Sample(3, 1.0, limit=2.0, mode="skip", span=(1.0, 2.0), sizes=(1, 2, 3))
    assert isinstance(made.rate, float)
    assert strict(Profile, vars(PROFILES["smoke"]), "x") == PROFILES["smoke"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": True}, r"'count' must be int, not True \(bool\)"),
        ({"count": 1.0}, r"'count' must be int, not 1.0 \(float\)"),
        ({"count": "1"}, "'count' must be int"),
        ({"rate": "1e-4"}, r"'rate' must be float, not '1e-4' \(str\)"),
        ({"rate": False}, "'rate' must be float"),
        ({"on": 1}, "'on' must be bool"),
        ({"limit": "no"}, "'limit' must be float or None"),
        ({"mode": "mid"}, "'mode' must be one of 'low', 'skip'"),
        ({"span": [1, 2, 3]}, "'span' must be tuple"),
        ({"span": [1, "2"]}, "'span' must be tuple"),
        ({"sizes": [1.5]}, "'sizes' must be tuple"),
        ({"nane": "y"}, r"unknown parameter 'nane' \(did you mean 'name'\?\)"),
    ],
)
def test_strict_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(VrnError, match=f"^run.json: .*{message}"):
        strict(Sample, {"count": 1, **wrong}, "run.json")


def test_strict_reports_everything_at_once() -> None:
    with pytest.raises(VrnError, match="unknown parameter 'zzz'.*'rate' must be.*missing parameter 'count'"):
        strict(Sample, {"zzz": 1, "rate": "x"}, "here")


@given(
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False),
        st.booleans(),
        st.text(),
        st.none(),
        st.lists(st.integers()),
    )
)
def test_conform_never_lets_a_type_through(value: Any) -> None:
    for hint in (int, float, bool, str, float | None, tuple[int, ...], list[int], Literal["a", 1]):
        try:
            kept = conform(value, hint)
        except TypeError:
            continue
        assert kept == value or (isinstance(value, list) and kept == tuple(value))
        if hint is float:
            assert type(kept) is float
        if hint is int:
            assert type(kept) is int
        assert describe(hint)


def test_provenance_holds_what_it_should_and_no_path(tmp_path: Path, root: Path) -> None:
    data = tmp_path / "input.bin"
    data.write_bytes(b"abc")
    params = {"out": tmp_path / "x.json", "profile": PROFILES["smoke"], "bad": float("nan")}
    record = provenance.collect(params, {"data": 1}, [data, root / "pyproject.toml"], 1.23456)
    assert record["inputs"]["input.bin"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert "pyproject.toml" in record["inputs"]
    assert record["params"]["profile"]["size"] == 32
    assert record["wall_seconds"] == 1.235
    assert record["versions"]["numpy"]
    text = provenance.write_json(tmp_path / "new" / "provenance.json", record).read_text()
    assert str(tmp_path) not in text
    assert str(Path.home()) + "/" not in text
    assert json.loads(text)["params"]["bad"] is None
    with pytest.raises(VrnError, match="cannot read"):
        provenance.collect(inputs=[tmp_path / "none"])


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    provenance.write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), provenance.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert provenance.read_json(target) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "file").touch()
    with pytest.raises(VrnError, match="cannot write to folder"):
        provenance.write_json(tmp_path / "file" / "b.json", {})
    target.write_text("{")
    with pytest.raises(VrnError, match=r"a.json' is not valid JSON"):
        provenance.read_json(target)
