"""The loss of the volumetric network, compiled: enlargement, cross-entropy and gradient in one pass.

What :func:`vrnlib.loss.slices_loss` runs on a CPU. A pixel column of the volume is one vector of depths that
never leaves the registers and the first cache: four neighbouring cells are interpolated, compared with the
wanted column, and their error is handed back to the same four cells. Nothing of the size of the volume is
written.
"""

from __future__ import annotations

import numba
import numpy as np

# no `nnan`: a logit that is not a number must reach the loss
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_LOG2E = np.float32(1 / np.log(2))
_ONE, _ZERO, _FAR = np.float32(1), np.float32(0), np.float32(-120)
_ROUND = np.float32(3 << 22)  # added to a small float32 it leaves the nearest integer in the lowest bits
# 2**f for |f| <= 0.5, least squares at Chebyshev points: relative error below 3e-7
_F = np.cos(np.pi * (np.arange(64) + 0.5) / 64) / 2
_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(c) for c in np.polynomial.polynomial.polyfit(_F, 2**_F, 5, w=2**-_F)
)
PRODUCT = 100
"""So many factors between 1 and 2 are multiplied before a logarithm is taken: 2**100 is a float32."""


@numba.njit(cache=True, nogil=True, fastmath={"contract"})  # `reassoc` would undo the rounding
def exp_minus(a):
    """exp(-a) of a float32 a >= 0, and never below 2**-120."""
    t = max(-a * _LOG2E, _FAR)
    rounded = t + _ROUND
    f = t - (rounded - _ROUND)
    p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5))))
    # the integer part goes straight into the exponent
    power = np.float32(rounded).view(np.int32) << np.int32(23)
    return np.int32(np.float32(p).view(np.int32) + power).view(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _between(near, far, weight, out):
    for d in range(out.shape[0]):
        out[d] = near[d] + weight * (far[d] - near[d])


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _column(near, far, weight, wanted, error):
    # a piece of one pixel column, at most PRODUCT long: logits between two cells, their loss; `error` becomes
    # sigmoid - wanted. Loops begin at 0, or numba looks out for negative indices and gathers one by one.
    product, rest = _ONE, _ZERO
    for d in range(error.shape[0]):
        x = near[d] + weight * (far[d] - near[d])
        e = exp_minus(abs(x))
        r = _ONE / (_ONE + e)  # the sigmoid of |x|
        full = np.float32(wanted[d])
        # -log(sigmoid(x)) is softplus(x) - x, and softplus(x) is max(x, 0) + log(1 + exp(-|x|))
        product *= _ONE + e
        rest += max(x, _ZERO) - x * full
        error[d] = (r if x >= _ZERO else e * r) - full
    return rest + np.log(np.float64(product))


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _give_back(error, weight, near, far):
    for d in range(error.shape[0]):
        part = weight * error[d]
        near[d] += error[d] - part
        far[d] += part


@numba.njit(cache=True, nogil=True)
def _cell(i, fine, coarse):
    # corners aligned: the cell before pixel i, the one behind it, and the weight of the latter
    at = i * (coarse - 1) / (fine - 1) if fine > 1 else 0.0
    cell = min(int(at), coarse - 1)
    return cell, min(cell + 1, coarse - 1), np.float32(at - cell)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def columns_loss(cells, wanted, gradient):
    """Sum of the sigmoid cross-entropy of one face over its voxels, and the gradient of that sum.

    Parameters
    ----------
    cells : (h, w, D) float32, logits on the coarse grid.
    wanted : (H, W, D) uint8, 0 or 1.
    gradient : (h, w, D) float32, overwritten.

    Returns
    -------
    float64; not a number if a logit is not one.
    """
    h, w, depth = cells.shape
    rows, columns = wanted.shape[:2]
    row, back = np.empty((w, depth), np.float32), np.empty((w, depth), np.float32)
    error = np.empty(depth, np.float32)
    gradient[:] = _ZERO
    loss = 0.0
    for y in range(rows):
        top, bottom, down = _cell(y, rows, h)
        for x in range(w):
            _between(cells[top, x], cells[bottom, x], down, row[x])
        back[:] = _ZERO
        for x in range(columns):
            left, right, across = _cell(x, columns, w)
            for a in range(0, depth, PRODUCT):
                b = min(a + PRODUCT, depth)
                loss += _column(row[left, a:b], row[right, a:b], across, wanted[y, x, a:b], error[a:b])
            _give_back(error, across, back[left], back[right])
        for x in range(w):
            _give_back(back[x], down, gradient[top, x], gradient[bottom, x])
    return loss
