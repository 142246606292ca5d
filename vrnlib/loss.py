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
    hands the gradient back, pixel column by pixel column; elsewhere one face at a time is at full size.

    Parameters
    ----------
    slices : (N, D, h, w) float, the output of `VRN.slices`.
    target : (N, D, H, W) uint8, 0 or 1.
    """
    return _SlicesLoss.apply(slices, target)


def _on_processor(slices: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # sum of the loss, and its gradient; (N, D, H, W) -> (N, H, W, D) copies nothing where depth columns are
    # contiguous, as they are in training
    cells, wanted = (x.permute(0, 2, 3, 1).contiguous().numpy() for x in (slices, target))
    gradient = np.empty_like(cells)
    with ThreadPoolExecutor(min(torch.get_num_threads(), len(cells))) as threads:
        total = sum(threads.map(columns_loss, cells, wanted, gradient))
    return torch.tensor(total, dtype=torch.float32), torch.from_numpy(gradient).permute(0, 3, 1, 2)


def _face_by_face(slices: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    total, gradient = torch.zeros((), device=slices.device), torch.empty_like(slices)
    for one, filled, into in zip(slices.split(1), target.split(1), gradient.split(1), strict=True):
        logits, wanted = networks.enlarge(one, filled.shape[2:]), filled.float()
        total += F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        error = torch.sigmoid_(logits).sub_(wanted)
        into.copy_(torch.ops.aten.upsample_bilinear2d_backward(error, error.shape[2:], one.shape, True))
    return total, gradient


class _SlicesLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slices: Tensor, target: Tensor) -> Tensor:
        compute = _on_processor if slices.device.type == "cpu" else _face_by_face
        total, gradient = compute(slices.detach().float(), target)
        ctx.save_for_backward(gradient.div_(target.numel()).to(slices.dtype))
        return total / target.numel()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.saved_tensors[0] * outer, None
