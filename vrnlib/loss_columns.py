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
# 2**f for 0 <= f < 1, least squares at Chebyshev points: relative error below 2e-7
_F = (1 + np.cos(np.pi * (np.arange(64) + 0.5) / 64)) / 2
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (
    np.float32(c) for c in np.polynomial.polynomial.polyfit(_F, 2**_F, 6, w=2**-_F)
)
PRODUCT = 100
"""So many factors between 1 and 2 are multiplied before a logarithm is taken: 2**100 is a float32."""


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def exp_minus(a):
    """exp(-a) of a float32 a >= 0, and never below 2**-120."""
    t = max(-a * _LOG2E, _FAR)
    whole = np.floor(t)
    f = t - whole
    p = _C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
    return p * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _column(near, far, weight, wanted, error):
    # one pixel column: logits between two cells, their loss; `error` becomes sigmoid - wanted
    loss = 0.0
    depth = error.shape[0]
    for start in range(0, depth, PRODUCT):
        product, rest = _ONE, _ZERO
        for d in range(start, min(start + PRODUCT, depth)):
            x = near[d] + weight * (far[d] - near[d])
            e = exp_minus(abs(x))
            r = _ONE / (_ONE + e)  # the sigmoid of |x|
            full = np.float32(wanted[d])
            # -log(sigmoid(x)) is softplus(x) - x, and softplus(x) is max(x, 0) + log(1 + exp(-|x|))
            product *= _ONE + e
            rest += max(x, _ZERO) - x * full
            error[d] = (r if x >= _ZERO else e * r) - full
        loss += rest + np.log(np.float64(product))
    return loss


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
            for d in range(depth):
                row[x, d] = cells[top, x, d] + down * (cells[bottom, x, d] - cells[top, x, d])
        back[:] = _ZERO
        for x in range(columns):
            left, right, across = _cell(x, columns, w)
            loss += _column(row[left], row[right], across, wanted[y, x], error)
            _give_back(error, across, back[left], back[right])
        for x in range(w):
            _give_back(back[x], down, gradient[top, x], gradient[bottom, x])
    return loss
