"""Known answers: shifted, scaled and shuffled copies, spheres, counted voxels."""

from __future__ import annotations

import numpy as np
import pytest

from vrnlib import metrics
from vrnlib.errors import VrnError

EYES = np.array([[-1.0, 0, 0], [1.0, 0, 0]])  # d = 2


def sphere(n: int, radius: float = 1.0) -> np.ndarray:
    """(n, 3) points spread evenly over a sphere (Fibonacci)."""
    i = np.arange(n) + 0.5
    z, angle = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - z**2)
    return radius * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def face(n: int = 4000) -> np.ndarray:
    """The front half of a sphere: like the truth, an open surface towards the viewer."""
    points = sphere(2 * n)
    return points[points[:, 2] > 0]


def test_a_copy_has_no_error_and_order_does_not_matter() -> None:
    truth = face()
    assert metrics.nme(truth, truth, EYES) == 0
    shuffled = np.random.default_rng(0).permutation(truth)
    assert metrics.nme(shuffled, truth, EYES) == pytest.approx(0, abs=1e-12)


def test_given_matches_make_a_shift_measurable() -> None:
    truth = face()
    same = np.arange(len(truth))
    moved = truth + [0.3, 0.4, 0]
    assert metrics.nme(moved, truth, EYES, matches=same) == pytest.approx(0.5 / 2)
    assert metrics.nme(moved, truth, 5.0, matches=same) == pytest.approx(0.1)


def test_nearest_vertex_of_a_larger_sphere_is_the_radial_gap() -> None:
    error = metrics.nme(sphere(60_000, 1.1), sphere(1000), EYES, align_z=False)
    assert error == pytest.approx(0.1 / 2, abs=1e-3)


def test_a_single_vertex_is_everybodys_partner() -> None:
    truth = np.array([[0, 0, 0], [3, 4, 0.0]])
    assert metrics.nme(np.zeros((1, 3)), truth, 10.0, align_z=False) == pytest.approx(0.25)


@pytest.mark.parametrize("shift", [-7.0, 0.02, 3.0])
def test_a_shift_in_depth_is_taken_out_even_if_the_reconstruction_has_a_back(shift: float) -> None:
    truth = face()
    solid = np.concatenate([truth, truth * [1, 1, 0] + [0, 0, -0.5]])  # a flat back below the front
    moved = solid + [0, 0, shift]
    assert metrics.nme(moved, truth, EYES) < 1e-3
    assert metrics.depth_shift(moved, truth, 2.0) == pytest.approx(-shift, abs=1e-3)
    assert metrics.nme(moved, truth, EYES, align_z=False) > 0.005


def test_only_depth_is_aligned() -> None:
    truth = face()
    assert metrics.nme(truth + [0.5, 0, 0], truth, EYES) > 0.03
    assert metrics.nme(truth * [1, 1, 0.5], truth, EYES) > 0.03


def test_error_scales_with_the_face_not_with_the_units() -> None:
    truth, other = face(), face() * [1, 1, 0.8]
    assert metrics.nme(other * 50, truth * 50, EYES * 50) == pytest.approx(
        metrics.nme(other, truth, EYES), rel=1e-9
    )


@pytest.mark.parametrize(
    ("vertices", "truth", "eyes"),
    [
        (np.zeros((0, 3)), face(), EYES),
        (face(), np.full((5, 3), np.nan), EYES),
        (face()[:, :2], face(), EYES),
        (face(), face(), np.zeros((2, 3))),
        (face(), face(), EYES[:1]),
    ],
)
def test_bad_points_are_named(vertices: np.ndarray, truth: np.ndarray, eyes: np.ndarray) -> None:
    with pytest.raises(VrnError, match=r"reconstruction|truth|eyes|interocular"):
        metrics.nme(vertices, truth, eyes)


def test_matches_must_fit_the_truth() -> None:
    with pytest.raises(VrnError, match="matches"):
        metrics.nme(face(), face(), EYES, matches=np.zeros(3, int))


def test_iou_counts_voxels() -> None:
    a, b = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), np.uint8)
    a[0, :, :2], b[0, :, 1:3] = 0.9, 1
    assert metrics.iou(a, b) == pytest.approx(4 / 12)
    assert metrics.iou(a, b, level=0.95) == 0
    assert metrics.iou(b, b.astype(bool)) == 1
    assert metrics.iou(np.zeros(3), np.zeros(3)) == 1
    with pytest.raises(VrnError, match="shapes"):
        metrics.iou(a, b[0])


def test_bootstrap_interval_has_the_width_theory_gives() -> None:
    values = np.random.default_rng(1).normal(5, 2, 1000)
    low, high = metrics.bootstrap_interval(values)
    standard_error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.25 * standard_error)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.25 * standard_error)
    assert metrics.bootstrap_interval(values) == (low, high)
    narrow = metrics.bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    with pytest.raises(VrnError, match="finite"):
        metrics.bootstrap_interval([1.0, float("nan")])


def test_summary_counts_failures() -> None:
    out = metrics.summary([1.0, 2.0, 6.0, float("nan")])
    assert (out["faces"], out["failed"], out["mean"], out["median"]) == (4, 1, 3.0, 2.0)
    assert out["interval"][0] < 3 < out["interval"][1]
    assert metrics.summary([])["mean"] is None


def test_by_yaw_puts_every_face_into_one_band() -> None:
    rows = metrics.by_yaw([1, 2, 3, 4, 5], [0, -29.9, 30, -60, 90])
    assert [row["faces"] for row in rows] == [2, 1, 2]
    assert [row["mean"] for row in rows] == [1.5, 3, 4.5]
    assert [(row["low"], row["high"]) for row in rows] == [(0, 30), (30, 60), (60, 90)]
    with pytest.raises(VrnError, match="outside"):
        metrics.by_yaw([1.0], [95.0])
    with pytest.raises(VrnError, match="one yaw"):
        metrics.by_yaw([1.0, 2.0], [5.0])
