"""How well the cascade of 3DDFA does on people that it has not seen, iteration by iteration."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.morphable import Morphable
from vrnlib.baselines.tddfa_data import TrueParameters
from vrnlib.baselines.tddfa_model import Shapes
from vrnlib.baselines.tddfa_network import Regressor
from vrnlib.baselines.tddfa_recipe import TddfaParams
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.params import depth_of

HeldOut = tuple[Tensor, Tensor, list[dict[str, np.ndarray]]]
"""Images (N, 3, S, S), true parameters (N, P), samples."""


def held_out_faces(p: TddfaParams, model: Morphable) -> HeldOut:
    """Images, true parameters and samples of held-out people, one pose each."""
    data = SynthLP(p.size, depth_of(p.size), seed=p.validation_seed, augment=False, truth=True)
    numbers = [i * POSES_PER_FACE + i % POSES_PER_FACE for i in range(p.validation_faces)]
    samples = [data[n] for n in numbers]
    image = torch.from_numpy(np.stack([s["image"] for s in samples])).permute(0, 3, 1, 2).float() / 255
    return image, TrueParameters(data, model).many(numbers), samples


def errors_by_iteration(
    shapes: Shapes, network: Regressor, held_out: HeldOut, iterations: int = networks.ITERATIONS + 2
) -> dict[str, Tensor]:
    """Errors of held-out faces after 0, 1, ... iterations, (iterations + 1, N) each.

    `nme`: 3-D distance of corresponding vertices over the 3-D outer interocular distance, mean z aligned
    (the correspondence is known here, so no ICP is needed). `landmark_error`: 2-D distance of the 68
    landmarks over the same distance.
    """
    image, truth, samples = held_out
    network.eval()
    true = shapes.vertices(truth)
    d = torch.from_numpy(np.stack([s["eyes"][0] - s["eyes"][1] for s in samples])).norm(dim=1)
    marks = torch.from_numpy(np.stack([s["landmarks"] for s in samples]))
    nme, landmark_error = [], []
    for p in networks.fit(shapes, network, image, iterations):
        found = shapes.vertices(p)
        apart = found - true
        apart[..., 2] -= apart[..., 2].mean(1, keepdim=True)
        nme.append(apart.norm(dim=2).mean(1) / d)
        landmark_error.append((shapes.project_landmarks(found) - marks).norm(dim=2).mean(1) / d)
    return {"nme": torch.stack(nme), "landmark_error": torch.stack(landmark_error)}
