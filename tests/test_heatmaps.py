"""Heat-maps against the formula, at the border, and the two ways of drawing against each other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vrnlib.errors import VrnError
from vrnlib.heatmaps import heatmaps, heatmaps_batch


def formula(landmark: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """One channel, written out: a square patch of the Gaussian about the nearest pixel."""
    x, y = np.floor(landmark + 0.5)
    rows, columns = np.mgrid[:size, :size]
    gaussian = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    near = np.maximum(abs(rows - y), abs(columns - x)) <= np.ceil(3 * sigma)
    return np.where(near, gaussian, 0)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 0.5])
def test_follows_the_formula_inside_at_the_border_and_outside(sigma):
    rng = np.random.default_rng(0)
    points = rng.uniform(-8, 48, (68, 2))
    maps = heatmaps(points, 40, sigma)
    assert maps.shape == (68, 40, 40) and maps.dtype == np.float32
    for channel, point in zip(maps, points, strict=True):
        assert np.allclose(channel, formula(point, 40, sigma), atol=1e-6)
    empty = ~maps.any((1, 2))
    assert 0 < empty.sum() < 68  # some of these points are too far out to be seen


def test_patch_of_sigma_one_is_seven_pixels_wide_and_peaks_at_the_nearest_pixel():
    (channel,) = heatmaps(np.array([[20.4, 9.6]]), 64)
    rows, columns = np.nonzero(channel)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (7, 7)
    assert channel[10, 20] == 1.0 and (channel == 1).sum() == 1
    assert channel[10, 21] == pytest.approx(np.exp(-0.5)) and channel[10, 21] == channel[11, 20]


def test_a_landmark_on_the_corner_keeps_a_quarter():
    (channel,) = heatmaps(np.array([[0.0, 31.0]]), 32)
    assert channel[31, 0] == 1.0
    rows, columns = np.nonzero(channel)
    assert rows.min() == 28 and columns.max() == 3 and len(rows) == 16
    # three pixels outside, the last column of the patch is still seen; four pixels outside, nothing
    seen, lost = heatmaps(np.array([[-3.0, 16.0], [-4.0, 16.0]]), 32)
    assert np.count_nonzero(seen) == 7 and not lost.any()


@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=6),
    st.sampled_from([1.0, 1.5, 3.0]),
)
def test_batch_on_a_device_equals_one_by_one(points, sigma):
    faces = np.array([points, np.array(points) % 24])
    batch = heatmaps_batch(torch.from_numpy(faces), 24, sigma)
    assert batch.dtype == torch.float32
    for one, face in zip(batch.numpy(), faces, strict=True):
        assert np.allclose(one, heatmaps(face, 24, sigma), atol=1e-7)


def test_halves_are_rounded_alike():
    points = np.arange(-4, 20, 0.5)[:, None].repeat(2, 1)
    batch = heatmaps_batch(torch.from_numpy(points)[None].float(), 16)
    assert np.allclose(batch[0].numpy(), heatmaps(points.astype(np.float32), 16), atol=1e-7)


@pytest.mark.parametrize(
    ("points", "size", "sigma", "message"),
    [
        (np.zeros((68, 3)), 32, 1.0, r"\(68, 3\)"),
        (np.full((2, 2), np.nan), 32, 1.0, "NaN"),
        (np.full((2, 2), np.inf), 32, 1.0, "infinite"),
        (np.zeros((2, 2)), 0, 1.0, "positive size"),
        (np.zeros((2, 2)), 32, 0.0, "sigma"),
        (np.zeros((2, 2)), 32, np.nan, "sigma"),
    ],
)
def test_bad_landmarks_are_named(points, size, sigma, message):
    with pytest.raises(VrnError, match=message):
        heatmaps(points, size, sigma)
    with pytest.raises(VrnError, match=message.replace("68, 3", "1, 68, 3")):
        heatmaps_batch(torch.from_numpy(points)[None], size, sigma)
