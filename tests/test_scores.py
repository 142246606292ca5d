"""Intervals, curves, breakdowns and paired comparisons against theory and counting."""

from __future__ import annotations

import numpy as np
import pytest

from vrnlib import scores
from vrnlib.errors import VrnError


def test_bootstrap_interval_has_the_width_theory_gives() -> None:
    values = np.random.default_rng(1).normal(5, 2, 1000)
    low, high = scores.bootstrap_interval(values)
    standard_error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.25 * standard_error)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.25 * standard_error)
    assert scores.bootstrap_interval(values) == (low, high)
    narrow = scores.bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    with pytest.raises(VrnError, match="finite"):
        scores.bootstrap_interval([1.0, float("nan")])


def test_summary_counts_failures() -> None:
    out = scores.summary([1.0, 2.0, 6.0, float("nan")])
    assert (out["faces"], out["failed"], out["mean"], out["median"]) == (4, 1, 3.0, 2.0)
    assert out["interval"][0] < 3 < out["interval"][1]
    assert scores.summary([])["mean"] is None


def test_by_yaw_puts_every_face_into_one_band() -> None:
    rows = scores.by_yaw([1, 2, 3, 4, 5], [0, -29.9, 30, -60, 90])
    assert [row["faces"] for row in rows] == [2, 1, 2]
    assert [row["mean"] for row in rows] == [1.5, 3, 4.5]
    assert [(row["low"], row["high"]) for row in rows] == [(0, 30), (30, 60), (60, 90)]
    with pytest.raises(VrnError, match="outside"):
        scores.by_yaw([1.0], [95.0])
    with pytest.raises(VrnError, match="one yaw"):
        scores.by_yaw([1.0, 2.0], [5.0])


def test_cluster_bootstrap_is_wider_for_repeated_faces() -> None:
    rng = np.random.default_rng(2)
    people = rng.normal(0.06, 0.02, 40)
    values, who = np.repeat(people, 25), np.repeat(np.arange(40), 25)
    plain = np.ptp(scores.bootstrap_interval(values))
    clustered = np.ptp(scores.bootstrap_interval(values, groups=who))
    # 1000 faces, but only 40 independent ones: theory says a factor of 5
    assert clustered / plain == pytest.approx(5, rel=0.15)
    assert clustered == pytest.approx(2 * 1.96 * people.std() / 40**0.5, rel=0.15)
    alone = scores.bootstrap_interval(people, groups=np.arange(40))
    assert alone == pytest.approx(scores.bootstrap_interval(people), abs=0.002)
    with pytest.raises(VrnError, match="one group a value"):
        scores.bootstrap_interval(values, groups=[1, 2])


def test_curve_and_shares_count_faces_and_failures() -> None:
    values = [0.01, 0.05, 0.07, float("nan")]
    thresholds, share = scores.cumulative_curve(values, most=0.1, points=11)
    assert thresholds[5] == pytest.approx(0.05)
    assert share[[0, 1, 6, 10]].tolist() == [0, 0.25, 0.5, 0.75]  # the failed face is never reached
    assert (np.diff(share) >= 0).all()
    assert scores.shares(values) == {"0.05": 0.25, "0.08": 0.75, "0.10": 0.75}
    assert scores.shares([]) == {"0.05": None, "0.08": None, "0.10": None}


def test_by_label_is_the_summary_of_its_part() -> None:
    rows = scores.by_label([1.0, 2.0, 4.0, float("nan")], ["b", "a", "a", "b"])
    assert list(rows) == ["a", "b"]
    assert rows["a"]["mean"] == 3 and rows["b"]["failed"] == 1
    with pytest.raises(VrnError, match="one label"):
        scores.by_label([1.0], ["a", "b"])


def test_paired_comparison_sees_what_an_unpaired_one_does_not() -> None:
    rng = np.random.default_rng(5)
    difficulty = rng.gamma(4, 0.015, 300)
    a = difficulty + rng.normal(0, 0.002, 300)
    b = difficulty + 0.001 + rng.normal(0, 0.002, 300)
    out = scores.compare(a, b)
    d = a - b
    assert out["difference"] == pytest.approx(d.mean())
    assert out["t"] == pytest.approx(d.mean() / (d.std(ddof=1) / 300**0.5))
    assert out["p"] < 0.01 and out["interval"][1] < 0
    same = scores.compare(a, difficulty + rng.normal(0, 0.002, 300))
    assert same["p"] > 0.01 and same["interval"][0] < 0 < same["interval"][1]
    swapped = scores.compare(b, a)
    assert swapped["difference"] == pytest.approx(-out["difference"]) and swapped["p"] == pytest.approx(
        out["p"]
    )


def test_comparison_leaves_out_failures_and_says_so() -> None:
    out = scores.compare([1.0, 2.0, float("nan")], [1.0, 1.5, 3.0])
    assert (out["faces"], out["left_out"]) == (2, 1)
    assert scores.compare([1.0, 2.0], [0.0, 1.0])["p"] is None
    with pytest.raises(VrnError, match="at least 2"):
        scores.compare([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(VrnError, match="same faces"):
        scores.compare([1.0, 2.0], [1.0])
