"""The rewritten network is the same function."""

import pytest
import torch
from torch import nn

from vrnlib.networks import VRN
from vrnlib.winograd import WinogradConv, accelerate


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 24, 24), (2, 8, 12), (1, 4, 4), (1, 6, 10)])
@pytest.mark.parametrize("bias", [True, False])
def test_winograd_is_the_convolution(batch, height, width, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(40, 33, 3, padding=1, bias=bias).requires_grad_(False)
    x = torch.randn(batch, 40, height, width)
    expected = conv(x)
    torch.testing.assert_close(
        WinogradConv(conv)(x), expected, atol=2e-5 * expected.abs().max().item(), rtol=0
    )


@pytest.mark.parametrize(("wiring", "size"), [("low", 32), ("skip", 48)])
def test_whole_network(wiring, size):
    torch.manual_seed(0)
    model = VRN(64, 1, 2, 2, 34, wiring).eval().requires_grad_(False)
    for layer in model.modules():  # a trained network's statistics are not 0 and 1
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.3, 2)
            layer.weight.uniform_(0.5, 1.5)
    x = torch.rand(2, 3, size, size)
    expected = model(x)
    layers = len(list(model.modules()))
    got = accelerate(model)(x)
    torch.testing.assert_close(got, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
    assert (
        sum(isinstance(m, WinogradConv) for m in model.modules()) > 10
        and len(list(model.modules())) != layers
    )


def test_strided_grouped_and_narrow_convolutions_stay():
    kept = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 3, padding=1, groups=2), nn.Conv2d(64, 64, 3, padding=2, dilation=2),
    ).eval()  # fmt: skip
    assert all(type(m) is nn.Conv2d for m in accelerate(kept))


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation"):
        accelerate(VRN(16, 1, 1, 1, 10, "low").train())
