"""Points drawn and found again, their confidence, their error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vrnlib.errors import VrnError
from vrnlib.landmarks import decode, landmark_error, targets


def logits_of(maps: torch.Tensor) -> torch.Tensor:
    return torch.logit(maps.double().clamp(1e-12, 1 - 1e-12)).float()


@pytest.mark.parametrize(("size", "cells"), [(192, 48), (96, 48), (96, 24), (32, 32)])
def test_landmarks_are_found_again_between_cells(size: int, cells: int) -> None:
    torch.manual_seed(0)
    step = (size - 1) / (cells - 1)
    landmarks = step + torch.rand(3, 68, 2) * (size - 1 - 2 * step)  # a cell away from the border
    found, confidence = decode(logits_of(targets(landmarks, size, cells)), size)
    assert torch.allclose(found, landmarks, atol=0.01 * step)
    # the peak of a Gaussian between four cells is seen at exp(-1/4) at least
    assert confidence.min() > 0.77 and confidence.max() <= 1


def test_targets_follow_the_formula() -> None:
    landmarks = torch.tensor([[[10.0, 40.0], [95.0, 0.0], [-300.0, 50.0]]])
    maps = targets(landmarks, 96, 24, sigma=1.5)[0].numpy()
    assert maps.shape == (3, 24, 24)
    rows, columns = np.mgrid[:24, :24]
    for (x, y), one in zip(landmarks[0].numpy() * 23 / 95, maps, strict=True):
        assert np.allclose(one, np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.5**2)), atol=1e-6)
    assert maps[1, 0, 23] == 1  # corners are aligned
    assert maps[2].max() == 0  # far outside there is nothing


def test_a_point_on_the_border_keeps_its_cell_and_noise_does_not_throw_it_out() -> None:
    landmarks = torch.tensor([[[0.0, 50.0], [95.0, 95.0]]])
    found, _ = decode(logits_of(targets(landmarks, 96, 48)), 96)
    assert torch.allclose(found, landmarks, atol=0.1)
    torch.manual_seed(0)
    found, confidence = decode(torch.randn(5, 68, 24, 24) * 20, 96)
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() < 95.001
    assert 0 <= confidence.min() <= confidence.max() <= 1
    flat, low = decode(torch.full((1, 68, 24, 24), -8.0), 96)
    assert torch.isfinite(flat).all() and low.max() < 0.001  # a plain map is not trusted


def test_x_is_the_column_and_y_the_row() -> None:
    maps = torch.full((1, 1, 8, 8), -5.0)
    maps[0, 0, 2, 5] = 5.0
    found, confidence = decode(maps, 8)
    assert torch.equal(found, torch.tensor([[[5.0, 2.0]]]))
    assert confidence.item() == pytest.approx(1 / (1 + np.exp(-5)))


def test_error_is_in_units_of_the_interocular_distance() -> None:
    torch.manual_seed(0)
    truth = torch.rand(2, 68, 2) * 90
    moved = truth + torch.tensor([3.0, 4.0])
    distance = (truth[:, 36] - truth[:, 45]).norm(dim=1)
    assert torch.allclose(landmark_error(moved, truth), 5 / distance)
    # a profile: in the picture the eyes coincide, in space they do not
    truth[:, 45] = truth[:, 36]
    with pytest.raises(VrnError, match="eye corners"):
        landmark_error(moved, truth)
    eyes = torch.tensor([[[0.0, 0, 0], [0, 0, 50]], [[0, 0, 0], [30, 0, 40]]])
    assert torch.allclose(landmark_error(truth + 1, truth, eyes), torch.full((2,), 2**0.5 / 50))
    with pytest.raises(VrnError, match="compared with as many"):
        landmark_error(truth[:1], truth)
