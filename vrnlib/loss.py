"""The loss of the volumetric network: sigmoid cross-entropy over all voxels (Jackson et al. 2017, Eq. 1).

Twice: `voxel_loss` as one reads it, `slices_loss` as one trains with it. The tests hold them equal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vrnlib import networks
from vrnlib.loss_columns import columns_loss


def voxel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Sigmoid cross-entropy (Eq. 1), as the mean over voxels; the plain form of `slices_loss`.

    The paper's sum is the mean times the number of voxels. RMSProp divides each gradient by its own running
    size, so a constant factor in the loss changes nothing but the weight of its epsilon; the mean is
    comparable between profiles.

    Parameters
    ----------
    logits : (N, D, H, W) float, before the sigmoid.
    target : (N, D, H, W) uint8, 0 or 1.

    Returns
    -------
    () float32 tensor.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def slices_loss(slices: Tensor, target: Tensor) -> Tensor:
    """``voxel_loss(enlarge(slices, target.shape[2:]), target)`` and its gradient, many times faster on a CPU.

    At full size the loss touches a million voxels a face, ten times over in the plain form, and that took a
    third of a training step. On a CPU a compiled pass (:mod:`vrnlib.loss_columns`) enlarges, compares and
    hands the gradient back, pixel column by pixel column; on other devices the plain form is used.

    Parameters
    ----------
    slices : (N, D, h, w) float, the output of `VRN.slices`.
    target : (N, D, H, W) uint8, 0 or 1.
    """
    if slices.device.type != "cpu":
        return voxel_loss(networks.enlarge(slices.float(), target.shape[2:]), target)
    return _SlicesLoss.apply(slices, target)


def _columns(volumes: Tensor) -> np.ndarray:
    # (N, D, H, W) -> (N, H, W, D), no copy where depth columns are contiguous, as they are in training
    return volumes.permute(0, 2, 3, 1).contiguous().numpy()


class _SlicesLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slices: Tensor, target: Tensor) -> Tensor:
        cells, wanted = _columns(slices.detach().float()), _columns(target)
        gradient = np.empty_like(cells)
        with ThreadPoolExecutor(min(torch.get_num_threads(), len(cells))) as threads:
            total = sum(threads.map(columns_loss, cells, wanted, gradient))
        into = torch.from_numpy(gradient).permute(0, 3, 1, 2).div_(target.numel())
        ctx.save_for_backward(into.to(slices.dtype))
        return torch.tensor(total / target.numel(), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.saved_tensors[0] * outer, None
