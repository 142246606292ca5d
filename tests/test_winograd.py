"""The rewritten network is the same function."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vrnlib.networks import VRN, Residual
from vrnlib.params import PROFILES
from vrnlib.winograd import FastPointwise, FastResidual, accelerate


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def trained(model: nn.Module) -> nn.Module:
    """With statistics of normalisation that are not 0 and 1, as after training."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.3, 2)
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(0, 0.2)
    return model.eval()


def assert_same(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got, expected, atol=tolerance * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 24, 24), (2, 8, 12), (1, 4, 4), (1, 6, 10), (3, 3, 1), (1, 5, 7)]
)
@pytest.mark.parametrize(("cin", "cout", "mid"), [(40, 40, 33), (24, 40, 12)])
def test_residual_module(batch, height, width, cin, cout, mid):
    module = trained(Residual(cin, cout, mid))
    x = torch.randn(batch, cin, height, width)
    expected, before = module(x), x.clone()
    fast = FastResidual(module)
    for memory in (torch.contiguous_format, torch.channels_last):
        given = x.to(memory_format=memory)
        assert_same(fast(given), expected, 5e-6)
        assert torch.equal(given, before)  # the input is left as it was


def test_each_shift_and_each_tap_counts():
    """A module whose parts are known by heart: no shift is lost where two passes meet, padding is zero."""
    module = trained(Residual(4, 4, 4))
    conv = module.bottleneck[5]
    for y in range(3):
        for x in range(3):
            conv.weight.zero_()
            conv.weight[:, 0, y, x] = 1
            image = torch.rand(1, 4, 9, 9)
            assert_same(FastResidual(module)(image), module(image), 2e-6)


@pytest.mark.parametrize(("wiring", "size"), [("low", 32), ("skip", 48)])
def test_whole_network(wiring, size):
    model = trained(VRN(64, 1, 2, 2, 34, wiring))
    x = torch.rand(2, 3, size, size)
    expected = model(x)
    residuals = sum(isinstance(m, Residual) for m in model.modules())
    fast = accelerate(model)
    assert_same(fast(x), expected, 2e-5)
    kinds = [type(m) for m in fast.modules()]
    assert kinds.count(FastResidual) == residuals and kinds.count(FastPointwise) == 2 * 2 + 2
    assert not {Residual, nn.BatchNorm2d} & set(kinds)


def test_the_released_networks_size():
    model = VRN.of_profile(PROFILES["paper"]).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    x = torch.rand(1, 3, 192, 192)
    expected = model(x)
    assert expected.std() > 0.05
    torch.testing.assert_close(accelerate(model)(x), expected, atol=1e-3, rtol=0)


def test_no_second_copy_of_the_weights_is_kept():
    """Transformed filters, if they were kept, would be four times as large."""
    model = VRN(64, 1, 2, 2, 34, "low").eval()
    size = sum(p.numel() for p in model.parameters())
    fast = accelerate(model)
    tensors = list(fast.parameters())
    for module in fast.modules():
        if isinstance(module, FastResidual | FastPointwise):
            tensors += [v for v in vars(module).values() if hasattr(v, "shape")]
    held = sum(t.size if not isinstance(t, Tensor) else t.numel() for t in tensors)
    assert 0.95 * size < held < 1.02 * size


def test_other_convolutions_stay_what_they_are():
    layers = trained(
        nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 1, stride=2),
            nn.Conv2d(64, 64, 1, groups=2), nn.Conv2d(64, 64, 1, padding=1), nn.Conv2d(64, 20, 1, bias=False),
            nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 8, 1), nn.PixelShuffle(2),
        )
    )  # fmt: skip
    x = torch.randn(2, 3, 12, 8)
    expected = layers(x)
    fast = accelerate(copy.deepcopy(layers))
    assert_same(fast(x), expected, 2e-6)
    kept = [type(m) for m in fast]
    assert kept[:6] == [nn.Conv2d, nn.Identity, nn.Conv2d, nn.Conv2d, nn.Conv2d, FastPointwise]
    assert kept[6:9] == [nn.Identity, nn.ReLU, FastPointwise]


def test_values_that_are_not_numbers_are_not_hidden():
    fast = FastResidual(trained(Residual(8, 8, 4)))
    x = torch.randn(1, 8, 4, 4)
    x[0, 3, 1, 1] = torch.nan
    assert torch.isnan(fast(x)).any() and F.relu(torch.tensor(torch.nan)).isnan()


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation"):
        accelerate(VRN(16, 1, 1, 1, 10, "low").train())
