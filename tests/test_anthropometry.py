"""Drawn people against published norms."""

import numpy as np
import pytest

from vrnlib.anthropometry import NAMES, NORMS, component_views, measure, norm, plausible, summary
from vrnlib.faces import load_basis, sample_identity


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    rng = np.random.default_rng(11)
    basis = load_basis()
    return np.stack([basis.vertices(sample_identity(rng)) for _ in range(400)])


def test_distances_are_taken_between_the_named_points():
    basis = load_basis()
    mean = basis.mean
    eyes = np.linalg.norm(mean[basis.landmarks[45]] - mean[basis.landmarks[36]])
    assert measure(mean)["ex-ex"] == pytest.approx(eyes, abs=1e-3)
    # twice as large a head measures twice as much, wherever it stands
    doubled = measure(2 * mean + 5)
    for name, value in measure(mean).items():
        assert doubled[name] == pytest.approx(2 * value, rel=1e-5)
    # the points that are no landmark: nasion above the bridge point, alae wider than the nostrils' corners,
    # cheek bones wider than the eyes
    m = measure(mean)
    assert m["n-sn"] > np.linalg.norm(mean[basis.landmarks[27]] - mean[basis.landmarks[33]]) + 3
    assert m["al-al"] > np.linalg.norm(mean[basis.landmarks[31]] - mean[basis.landmarks[35]]) + 3
    assert m["zy-zy"] > m["ex-ex"] + 30


def test_norms_combine_groups_and_sexes():
    assert set(NORMS) == set(NAMES) == set(measure(load_basis().mean))
    mean, sd = norm("en-en")
    assert mean == pytest.approx(np.mean([m for m, _ in NORMS["en-en"]]))
    # a mixture varies more than its groups do
    assert sd > np.sqrt(np.mean([s**2 for _, s in NORMS["en-en"]]))


def test_at_least_95_of_100_random_people_are_within_3_sd_of_each_norm(people):
    for row in summary(people):
        assert row["inside"] >= 0.95, row
        # neither all alike nor somewhere else: within one SD of the mean, 0.6 to 1.4 times as various
        assert abs(row["mean"] - row["norm_mean"]) < row["norm_sd"], row
        assert 0.6 < row["sd"] / row["norm_sd"] < 1.4, row
    assert plausible(people).mean() >= 0.90  # all seven at once


def test_a_distorted_head_is_not_plausible():
    mean = load_basis().mean
    assert plausible(mean)
    assert not plausible(mean * [1.3, 1, 1])
    assert not plausible(mean * [1, 0.75, 1])
    assert plausible(np.stack([mean, mean * 1.4])).tolist() == [True, False]


def test_component_views_show_the_mean_between_its_extremes():
    rows = component_views(3)
    assert [len(r) for r in rows] == [3, 3, 3]
    for low, middle, high in rows:
        assert np.allclose(middle, load_basis().mean)
        assert np.abs(low + high - 2 * middle).max() < 1e-2  # the basis is linear
        assert np.abs(high - middle).max() > 1.0  # mm: a component shows
