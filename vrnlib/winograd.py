"""The same network, faster on a processor: fewer multiplications and fewer passes over memory for the same
answer.

Three exact rewritings of a trained network in evaluation mode (up to rounding, about 1e-5 of the largest
value):

* A batch normalisation that follows a convolution is a scale and a shift of its weights: it is folded into
  them.
* The 3x3 convolutions, two thirds of VRN's work, are computed 4x4 pixels at a time after Winograd (Lavin and
  Gray, CVPR 2016): 36 multiplications in place of 144 for each pair of channels, as one batch of 36 matrix
  products.
* What stands between two matrix products of a residual module (shift, ReLU, Winograd's transforms, the sum
  with the module's input) is done in three passes over the pixels, not in a dozen.

Where the processor multiplies bfloat16 itself none is needed, and where there is a GPU its library does this
already. `vrnlib.predict.for_inference` decides.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from vrnlib.networks import Residual

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
_inlined = numba.njit(cache=True, nogil=True, inline="always")

_ZERO, _TWO, _FOUR, _FIVE, _EIGHT = (np.float32(n) for n in (0, 2, 4, 5, 8))
_QUARTER, _SIXTH = np.float32(1 / 4), np.float32(1 / 6)

# The three transforms of F(4, 3), along one axis: interpolation at 0, 1, -1, 2, -2 and infinity.


@_inlined
def _filter_transform(a, b, c):
    outer = _SIXTH * (a + c)
    far = _QUARTER * _SIXTH * a + _SIXTH * c
    inner, far_inner = _SIXTH * b, _TWO * _QUARTER * _SIXTH * b
    return _QUARTER * a, -outer - inner, inner - outer, far + far_inner, far - far_inner, c


@_inlined
def _input_transform(a, b, c, d, e, f):
    sum_, difference = e - _FOUR * c, d - _FOUR * b
    outer, inner = e - c, _TWO * (d - b)
    return (
        _FOUR * a - _FIVE * c + e,
        sum_ + difference,
        sum_ - difference,
        outer + inner,
        outer - inner,
        _FOUR * b - _FIVE * d + f,
    )


@_inlined
def _output_transform(a, b, c, d, e, f):
    even1, odd1, even2, odd2 = b + c, b - c, d + e, d - e
    return a + even1 + even2, odd1 + _TWO * odd2, even1 + _FOUR * even2, odd1 + _EIGHT * odd2 + f


@_jit
def _normalise(x, scale, shift, offset, activated, moved):
    """(P, C) -> ``activated = relu(x * scale + shift)`` and ``moved = x + offset``, in one pass."""
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = x[p, c]
            activated[p, c] = max(v * scale[c] + shift[c], _ZERO)
            moved[p, c] = v + offset[c]


@_jit
def _to_filters(weight, filters):
    """(3, 3, C, K) weights of a convolution -> (36, C, K) transformed."""
    half = np.empty((6, 3, weight.shape[3]), np.float32)  # of one input channel, transformed along y
    for c in range(weight.shape[2]):
        for j in range(3):
            for k in range(weight.shape[3]):
                a, b, d, e, f, g = _filter_transform(
                    weight[0, j, c, k], weight[1, j, c, k], weight[2, j, c, k]
                )
                half[0, j, k] = a
                half[1, j, k] = b
                half[2, j, k] = d
                half[3, j, k] = e
                half[4, j, k] = f
                half[5, j, k] = g
        for i in range(6):
            for k in range(weight.shape[3]):
                a, b, d, e, f, g = _filter_transform(half[i, 0, k], half[i, 1, k], half[i, 2, k])
                filters[6 * i, c, k] = a
                filters[6 * i + 1, c, k] = b
                filters[6 * i + 2, c, k] = d
                filters[6 * i + 3, c, k] = e
                filters[6 * i + 4, c, k] = f
                filters[6 * i + 5, c, k] = g


@_jit
def _to_tiles(x, shift, tiles):
    """(N, H, W, C) -> relu(x + shift), padded by zeros, as transformed tiles (36, N * H/4 * W/4, C)."""
    n_images, height, width, channels = x.shape
    down, across = -(-height // 4), -(-width // 4)
    band = np.zeros((6, 4 * across + 2, channels), np.float32)  # six rows of the picture, a pixel of padding
    half = np.empty_like(band)  # transformed along y
    flat, flat_half = band.reshape(6, -1), half.reshape(6, -1)
    for n in range(n_images):
        for r in range(down):
            for i in range(6):
                y = 4 * r + i - 1
                if 0 <= y < height:
                    for k in range(width):
                        for c in range(channels):
                            band[i, k + 1, c] = max(x[n, y, k, c] + shift[c], _ZERO)
                else:
                    band[i] = _ZERO
            for k in range(flat.shape[1]):
                a, b, c, d, e, f = _input_transform(
                    flat[0, k], flat[1, k], flat[2, k], flat[3, k], flat[4, k], flat[5, k]
                )
                flat_half[0, k] = a
                flat_half[1, k] = b
                flat_half[2, k] = c
                flat_half[3, k] = d
                flat_half[4, k] = e
                flat_half[5, k] = f
            first = (n * down + r) * across
            for i in range(6):
                for j in range(across):
                    k, t = 4 * j, first + j
                    for q in range(channels):
                        a, b, c, d, e, f = _input_transform(
                            half[i, k, q], half[i, k + 1, q], half[i, k + 2, q],
                            half[i, k + 3, q], half[i, k + 4, q], half[i, k + 5, q],
                        )  # fmt: skip
                        tiles[6 * i, t, q] = a
                        tiles[6 * i + 1, t, q] = b
                        tiles[6 * i + 2, t, q] = c
                        tiles[6 * i + 3, t, q] = d
                        tiles[6 * i + 4, t, q] = e
                        tiles[6 * i + 5, t, q] = f


@_jit
def _from_tiles(tiles, shift, out):
    """(36, N * H/4 * W/4, K) -> ``out = relu(back-transformed + shift)``, (N, H, W, K)."""
    n_images, height, width, channels = out.shape
    down, across = -(-height // 4), -(-width // 4)
    half = np.empty((6, 4 * across, channels), np.float32)  # transformed back along x
    for n in range(n_images):
        for r in range(down):
            first = (n * down + r) * across
            for i in range(6):
                for j in range(across):
                    k, t = 4 * j, first + j
                    for q in range(channels):
                        a, b, c, d = _output_transform(
                            tiles[6 * i, t, q], tiles[6 * i + 1, t, q], tiles[6 * i + 2, t, q],
                            tiles[6 * i + 3, t, q], tiles[6 * i + 4, t, q], tiles[6 * i + 5, t, q],
                        )  # fmt: skip
                        half[i, k, q] = a
                        half[i, k + 1, q] = b
                        half[i, k + 2, q] = c
                        half[i, k + 3, q] = d
            y = 4 * r
            rows = min(4, height - y)
            for k in range(width):
                if rows == 4:
                    for q in range(channels):
                        a, b, c, d = _output_transform(
                            half[0, k, q], half[1, k, q], half[2, k, q],
                            half[3, k, q], half[4, k, q], half[5, k, q],
                        )  # fmt: skip
                        out[n, y, k, q] = max(a + shift[q], _ZERO)
                        out[n, y + 1, k, q] = max(b + shift[q], _ZERO)
                        out[n, y + 2, k, q] = max(c + shift[q], _ZERO)
                        out[n, y + 3, k, q] = max(d + shift[q], _ZERO)
                else:
                    for q in range(channels):
                        four = _output_transform(
                            half[0, k, q], half[1, k, q], half[2, k, q],
                            half[3, k, q], half[4, k, q], half[5, k, q],
                        )  # fmt: skip
                        for i in range(rows):
                            out[n, y + i, k, q] = max(four[i] + shift[q], _ZERO)


class FastResidual(nn.Module):
    """A `vrnlib.networks.Residual` in evaluation mode, for float32 on the processor.

    The filters are transformed anew in each call: that takes a twentieth of the network's time, and kept they
    would be four times as large as the weights.

    Parameters
    ----------
    module : Residual
        Its weights are copied; nothing flows back to them.
    """

    @torch.no_grad()
    def __init__(self, module: Residual) -> None:
        super().__init__()
        first, _, conv1, bn1, _, conv2, bn2, _, conv3 = module.bottleneck
        self.scale = first.weight / torch.sqrt(first.running_var + first.eps)
        self.shift = first.bias - first.running_mean * self.scale
        self.narrow, narrow_shift = _folded(conv1, bn1)  # (cin, mid), (mid,)
        conv, conv_shift = _folded(conv2, bn2)  # (3, 3, mid, mid), (mid,)
        self.widen, self.offset = _folded(conv3)  # (mid, cout), (cout,)
        self.skip = None
        if isinstance(module.skip, nn.Conv2d):
            self.skip, skip_shift = _folded(module.skip)  # (cin, cout)
            self.offset = self.offset + skip_shift
        # what only the compiled functions read, as their arrays
        self.normalisation = [t.numpy() for t in (self.scale, self.shift, self.offset)]
        self.narrow_shift, self.conv, self.conv_shift = narrow_shift.numpy(), conv.numpy(), conv_shift.numpy()

    def forward(self, x: Tensor) -> Tensor:
        """(N, cin, H, W) -> (N, cout, H, W), both channels last."""
        n, _, h, w = x.shape
        pixels = _pixels(x)  # (P, cin)
        activated = torch.empty_like(pixels)
        if self.skip is None:
            out = torch.empty_like(pixels)
            _normalise(pixels.numpy(), *self.normalisation, activated.numpy(), out.numpy())
        else:
            torch.addcmul(self.shift, pixels, self.scale, out=activated).relu_()
            out = torch.addmm(self.offset, pixels, self.skip)
        narrow = activated @ self.narrow  # (P, mid)
        image = narrow.view(n, h, w, -1).numpy()
        mid = image.shape[3]
        tiles = narrow.new_empty(36, n * -(-h // 4) * -(-w // 4), mid)
        filters = narrow.new_empty(36, mid, mid)
        _to_tiles(image, self.narrow_shift, tiles.numpy())
        _to_filters(self.conv, filters.numpy())
        _from_tiles(torch.bmm(tiles, filters).numpy(), self.conv_shift, image)
        return _image(out.addmm_(narrow, self.widen), x)


class FastPointwise(nn.Module):
    """A 1x1 convolution, the batch normalisation that may follow it folded in, as one matrix product.

    Parameters
    ----------
    conv : nn.Conv2d
    norm : nn.BatchNorm2d, optional
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        self.weight, self.bias = _folded(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, cin, H, W) -> (N, cout, H, W), both channels last."""
        return _image(torch.addmm(self.bias, _pixels(x), self.weight), x)


def _pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C); a view if `x` is channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _image(pixels: Tensor, like: Tensor) -> Tensor:
    """(N * H * W, C) -> (N, C, H, W), a view; N, H and W are those of `like`."""
    n, _, h, w = like.shape
    return pixels.view(n, h, w, -1).permute(0, 3, 1, 2)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> tuple[Tensor, Tensor]:
    """Copies of a convolution's weight as (kh, kw, cin, cout), or (cin, cout) if it is 1x1, and bias (cout,),
    the batch normalisation that follows folded in.
    """
    weight = conv.weight
    bias = conv.bias if conv.bias is not None else weight.new_zeros(len(weight))
    if norm is not None:
        weight, bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    weight = weight.detach().permute(2, 3, 1, 0)
    if weight.shape[:2] == (1, 1):
        weight = weight[0, 0]
    return weight.clone(memory_format=torch.contiguous_format), bias.detach().clone()


@torch.no_grad()
def accelerate(model: nn.Module) -> nn.Module:
    """Rewrite a model in place: its `Residual` modules, 1x1 convolutions in an `nn.Sequential`, and what is
    normalised after a convolution there.

    Returns
    -------
    model : nn.Module
        For evaluation only, float32, on the processor: it cannot be moved, saved or trained any more.

    Raises
    ------
    ValueError
        If the model is in training mode: its normalisation depends on the batch.
    """
    if model.training:
        raise ValueError("only a model in evaluation mode can be rewritten")
    for name, child in model.named_children():  # one after the other: a second copy of all never exists
        if isinstance(child, Residual):
            setattr(model, name, FastResidual(child))
        else:
            accelerate(child)
    if isinstance(model, nn.Sequential):
        _fold_sequence(model)
    return model


def _fold_sequence(layers: nn.Sequential) -> None:
    for i, conv in enumerate(layers):
        if not isinstance(conv, nn.Conv2d):
            continue
        norm = layers[i + 1] if i + 1 < len(layers) and isinstance(layers[i + 1], nn.BatchNorm2d) else None
        if conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1:
            layers[i] = FastPointwise(conv, norm)
        elif norm is not None:
            layers[i] = fuse_conv_bn_eval(conv, norm)
        if norm is not None:
            layers[i + 1] = nn.Identity()
