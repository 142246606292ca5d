"""What each kind of network is trained for, and how it is scored on held-out faces.

Every head has the same loss, sigmoid cross-entropy (Jackson et al. 2017, Eq. 1), and even weights: the means
over the head's values are added. For the heat-maps the targets are Gaussians on the head's own grid; the
volume is compared at full size. VRN-Guided learns its volume from the true landmarks' Gaussians (or, if the
run asks for it, from detected ones), and is scored with those that it detects itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vrnlib import batches, metrics
from vrnlib.errors import VrnError
from vrnlib.landmarks import decode, landmark_error, targets
from vrnlib.loss import slices_loss, voxel_loss
from vrnlib.networks import Architecture, Heads, Network, enlarge

Guidance = Literal["true", "detected"]
"""Whose landmarks VRN-Guided's volume learns from: the true ones (the paper), or its detector's."""
POINT_STEP = 8
"""Every so many of the 19,000 points are enough for the NME of a validation."""


def inputs(
    batch: dict[str, Tensor], architecture: Architecture, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A packed batch -> image (N, 3, S, S), volume (N, D, S, S), landmarks (N, 68, 2) in pixels, on `device`.

    Raises
    ------
    VrnError
        The network learns landmarks, and the data has none.
    """
    image, volume = batches.unpack(batch, architecture.depth)
    landmarks = batch.get("landmarks")
    if landmarks is None and architecture.kind != "vrn":
        raise VrnError(f"the data has no landmarks, and a {architecture.kind} network learns from them")
    points = None if landmarks is None else landmarks.to(device)
    return image.to(device), volume.to(device), points


def losses(
    network: Any,
    architecture: Architecture,
    image: Tensor,
    volume: Tensor,
    landmarks: Tensor | None,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    guidance: Guidance = "true",
) -> dict[str, Tensor]:
    """The loss of each head, () float tensors: ``volume``, ``heatmaps``. Their sum is what is minimised.

    Parameters
    ----------
    network : a :class:`vrnlib.networks.Network`, or what Fabric made of it.
    architecture : the network's.
    image, volume, landmarks : see `inputs`.
    precision : makes the autocast for the network, as in `validate`. Fabric itself applies its precision only
        to `forward`, and to other methods only where it has wrapped the network for many processes.
    guidance : of VRN-Guided, whose landmarks the volume learns from: the true ones (the paper), or those that
        its detector finds at that moment.
    """
    taught = architecture.kind == "guided" and guidance == "true"
    with precision():
        heads = network.heads(image, landmarks) if taught else network.heads(image)
    parts = {}
    if heads.volume is not None:
        parts["volume"] = slices_loss(heads.volume, volume)
    if heads.heatmaps is not None and heads.heatmaps.requires_grad and landmarks is not None:
        parts["heatmaps"] = heatmap_loss(heads.heatmaps, landmarks, image.shape[-1], architecture.sigma)
    return parts


def heatmap_loss(logits: Tensor, landmarks: Tensor, size: int, sigma: float) -> Tensor:
    """Sigmoid cross-entropy of heat-maps (N, 68, C, C) with the Gaussians of landmarks (N, 68, 2) in pixels
    of a `size` x `size` window, mean over cells.
    """
    wanted = targets(landmarks, size, logits.shape[-1], sigma)
    return F.binary_cross_entropy_with_logits(logits.float(), wanted)


def validate(
    model: Network,
    held_out: list[dict[str, Tensor]],
    nme_faces: int = 0,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, float | None]:
    """Mean scores over the held-out faces; leaves `model` in training mode.

    Parameters
    ----------
    held_out : batches of :func:`vrnlib.batches.first`.
    nme_faces : the first so many faces get an isosurface, if the batches hold `points` and `eyes`.
    precision : makes the autocast for the network, a new one each time: one that is entered twice stays on.

    Returns
    -------
    dict
        ``loss`` as in training; ``iou`` at probability 0.5; ``nme`` (Eq. 2, every 8th point, a volume without
        surface left out; None if that is all of them); ``landmark_error`` over the interocular distance,
        if the batches hold `eyes`.
        Of VRN-Guided, ``iou`` and ``nme`` are those with detected landmarks, ``iou_true_landmarks`` is with
        the true ones.
    """
    a, device = model.architecture, next(model.parameters()).device
    model.eval()
    scores: dict[str, list[float]] = {}

    def add(name: str, values: Any) -> None:
        scores.setdefault(name, []).extend(float(v) for v in values)

    seen = 0
    with torch.no_grad():
        for batch in held_out:
            image, volume, landmarks = inputs(batch, a, device)
            with precision():
                heads = model.heads(image)
                taught = model.heads(image, landmarks) if a.kind == "guided" else heads
            add("loss", [_plain_loss(taught, volume, landmarks, a)] * len(image))
            if heads.heatmaps is not None and landmarks is not None and "eyes" in batch:
                found, _ = decode(heads.heatmaps, image.shape[-1])
                add("landmark_error", landmark_error(found, landmarks, batch["eyes"].to(device)))
            if heads.volume is not None:
                truth = volume.cpu().numpy()
                logits = enlarge(heads.volume.float(), volume.shape[2:]).cpu()
                add("iou", _ious(logits, truth))
                if a.kind == "guided":
                    add(
                        "iou_true_landmarks",
                        _ious(enlarge(taught.volume.float(), volume.shape[2:]).cpu(), truth),
                    )
                for i in range(min(len(image), nme_faces - seen) if "points" in batch else 0):
                    points, eyes = (batch[k][i].numpy() for k in ("points", "eyes"))
                    add("nme", [surface_nme(torch.sigmoid(logits[i]).numpy(), points[::POINT_STEP], eyes)])
            seen += len(image)
    model.train()
    return {name: _mean(values) for name, values in scores.items()}


def surface_nme(volume: np.ndarray, points: np.ndarray, eyes: np.ndarray) -> float:
    """NME (Eq. 2) of a volume's largest body, probabilities (D, H, W); NaN if it has no surface."""
    from vrnlib.labelling import largest_body
    from vrnlib.voxel import isosurface

    try:
        vertices, faces = isosurface(volume)
    except VrnError:
        return float("nan")
    vertices, _, _ = largest_body(vertices, faces)
    return metrics.nme(vertices, points, eyes)


def _plain_loss(heads: Heads, volume: Tensor, landmarks: Tensor | None, a: Architecture) -> float:
    total = 0.0
    if heads.volume is not None:
        total += voxel_loss(enlarge(heads.volume.float(), volume.shape[2:]), volume).item()
    if heads.heatmaps is not None and landmarks is not None:
        total += heatmap_loss(heads.heatmaps, landmarks, volume.shape[-1], a.sigma).item()
    return total


def _ious(logits: Tensor, truth: np.ndarray) -> list[float]:
    # a positive logit is a probability above 0.5
    return [metrics.iou(a, b) for a, b in zip((logits > 0).numpy(), truth, strict=True)]


def _mean(values: list[float]) -> float | None:
    good = [v for v in values if np.isfinite(v)]
    return float(np.mean(good)) if good else None
