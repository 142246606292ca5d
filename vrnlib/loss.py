"""The loss of the volumetric network: sigmoid cross-entropy over all voxels (Jackson et al. 2017, Eq. 1).

Twice: `voxel_loss` as one reads it, `slices_loss` as one trains with it. The tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vrnlib import networks


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
    """``voxel_loss(enlarge(slices, target.shape[2:]), target)`` and its gradient, four times faster on a CPU.

    At full size the loss touches a million voxels a face, ten times over in the plain form, and that took a
    third of a training step. Here one face at a time is enlarged, compared and reduced, so that it stays in
    the processor's cache, and the gradient, which is ``sigmoid(logit) - target`` per voxel, is computed on
    the way.

    Parameters
    ----------
    slices : (N, D, h, w) float, the output of `VRN.slices`.
    target : (N, D, H, W) uint8, 0 or 1.
    """
    return _SlicesLoss.apply(slices, target)


def _flat(volume: Tensor) -> Tensor:
    # (1, D, H, W) -> (H W D,), no copy where depth columns are contiguous, as they are in training
    return volume.permute(0, 2, 3, 1).reshape(-1)


class _SlicesLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slices: Tensor, target: Tensor) -> Tensor:
        gradient, total = torch.empty_like(slices, dtype=torch.float32), torch.zeros((), device=slices.device)
        for one, filled, into in zip(
            slices.float().split(1), target.split(1), gradient.split(1), strict=True
        ):
            logits, wanted = networks.enlarge(one, filled.shape[2:]), filled.float()  # (1, D, H, W)
            # -log(sigmoid(x)) is softplus(x) - x and -log(1 - sigmoid(x)) is softplus(x)
            total += F.softplus(logits).sum() - torch.dot(_flat(logits), _flat(wanted))
            error = torch.sigmoid_(logits).sub_(wanted)
            into.copy_(torch.ops.aten.upsample_bilinear2d_backward(error, error.shape[2:], one.shape, True))
        ctx.save_for_backward(gradient.div_(target.numel()).to(slices.dtype))
        return total / target.numel()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.saved_tensors[0] * outer, None
