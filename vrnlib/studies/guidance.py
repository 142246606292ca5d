"""How do the landmarks enter VRN-Guided, and do they help? (the figure is shown in
`notebooks/05_train_vrn_guided`)

The review of Jackson et al. 2017 could not re-implement VRN-Guided: not described are "how to introduce the
heatmaps (every heatmap have properties in size and could be expressed in different tensor vectors and
magnitudes) in network and which method is used to get them". So both are varied, one thing at a time, from
the paper's form: the true landmarks in training, 68 channels of Gaussians with sigma 1 pixel, stacked with
the image. A plain VRN without landmarks is the control.

Every network is tested with the true landmarks, with those of a landmark network, which is all that one has
of a photograph, and with true ones that noise has moved.

    python -m vrnlib.studies guidance --out results/studies
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from vrnlib import batches
from vrnlib.heatmaps import heatmaps_batch
from vrnlib.landmarks import landmark_error, targets
from vrnlib.loss import slices_loss
from vrnlib.networks import LANDMARKS, VRN, Architecture, Branch, LandmarkNetwork, parameter_count
from vrnlib.objective import heatmap_loss
from vrnlib.provenance import replacing
from vrnlib.studies import small
from vrnlib.studies.arms import Run
from vrnlib.studies.small import Budget, Faces, Say

Encoding = Literal["none", "gaussians", "summed", "coordinates"]
Place = Literal["input", "features"]
Source = Literal["true", "predicted", "jittered"]

JITTER = 1.0
"""Standard deviation in pixels (of each coordinate of each point) of the noise on jittered landmarks."""
NOISE = (0.5, 1.0, 2.0, 4.0)
"""Noise in pixels at which the networks with the paper's guidance are tested."""
SHIFT = 3.0
"""All landmarks moved sideways by so many pixels: a detector that sits on something else."""
_CHANNELS: dict[str, int] = {"none": 0, "gaussians": LANDMARKS, "summed": 1, "coordinates": 2 * LANDMARKS}


@dataclass(frozen=True)
class Arm:
    """One way to guide.

    Attributes
    ----------
    label : for figures.
    landmarks : which ones guide in training.
    encoding : ``gaussians``, a channel each; ``summed``, their sum in one channel; ``coordinates``, x and y
        of each, -1..1 across the window, as 136 channels of one value each; ``none``.
    sigma : of the Gaussians, in pixels of the window; where they enter at the features, in cells.
    place : stacked with the image (``input``), or added to the stem's features through a 1x1 convolution,
        drawn on their grid of S/4 cells (``features``).
    against : the arm from which this one differs in one thing.
    """

    label: str
    landmarks: Source = "true"
    encoding: Encoding = "gaussians"
    sigma: float = 1.0
    place: Place = "input"
    against: str = "paper"


PREDICTED: dict[str, Any] = {"landmarks": "predicted", "against": "train-predicted"}
ARMS: dict[str, Arm] = {
    "none": Arm("no guidance (VRN)", encoding="none"),
    "paper": Arm("as in the paper"),
    "train-jittered": Arm("jittered in training", landmarks="jittered"),
    "train-predicted": Arm("predicted in training", landmarks="predicted"),
    "sigma-2": Arm("sigma 2", sigma=2.0),
    "sigma-4": Arm("sigma 4", sigma=4.0),
    "summed": Arm("one summed channel", encoding="summed"),
    "coordinates": Arm("136 coordinates", encoding="coordinates"),
    "features": Arm("at the features", place="features"),
    "predicted-sigma-4": Arm("predicted in training, sigma 4", sigma=4.0, **PREDICTED),
    "predicted-summed": Arm("predicted in training, one channel", encoding="summed", **PREDICTED),
    "predicted-coordinates": Arm("predicted in training, coordinates", encoding="coordinates", **PREDICTED),
    "predicted-features": Arm("predicted in training, at the features", place="features", **PREDICTED),
}
"""The control, the baseline, what differs from it in one thing, and the same again with predicted landmarks
in training, as there are in use."""

NOISY = ("paper", "train-jittered", "train-predicted")
"""Arms that are tested at all levels of `NOISE`, with `SHIFT`, and with their Gaussians left out."""


class GuidedVRN(nn.Module):
    """A VRN that is guided in the way of an `Arm`."""

    def __init__(self, architecture: Architecture, arm: Arm) -> None:
        super().__init__()
        self.arm, channels = arm, _CHANNELS[arm.encoding]
        at_input = channels if arm.place == "input" else 0
        self.vrn = VRN(**asdict(replace(architecture, in_channels=3 + at_input)))
        if arm.place == "features":
            self.inject = nn.Conv2d(channels, architecture.features, 1)

    def slices(self, image: Tensor, landmarks: Tensor | None) -> Tensor:
        """Image (N, 3, S, S) float 0..1 and landmarks (N, 68, 2) pixels -> logits (N, D, S/4, S/4).

        None leaves every channel of the guidance empty, as if no landmark lay in the window.
        """
        size = image.shape[-1]
        if self.arm.place == "input":
            return self.vrn.slices(torch.cat([image, self.encode(landmarks, image)], 1))
        features, fine = self.vrn.see(image)
        cells = features.shape[-1]
        if landmarks is not None:
            features = features + self.inject(targets(landmarks, size, cells, self.arm.sigma))
        return Branch.forward(self.vrn, features, fine)  # a VRN is its own branch

    def encode(self, landmarks: Tensor | None, image: Tensor) -> Tensor:
        """What is stacked with the image: (N, C, S, S) float, C = 68, 1, 136 or 0."""
        n, _, size, _ = image.shape
        if landmarks is None or self.arm.encoding == "none":
            return image.new_zeros(n, _CHANNELS[self.arm.encoding], size, size)
        if self.arm.encoding == "coordinates":
            values = landmarks.flatten(1) * (2 / (size - 1)) - 1
            return values[:, :, None, None].expand(-1, -1, size, size)
        gaussians = heatmaps_batch(landmarks, size, self.arm.sigma)
        return gaussians.sum(1, keepdim=True) if self.arm.encoding == "summed" else gaussians


@dataclass(frozen=True)
class Detector:
    """What the landmark network of one seed finds: pixels of the window.

    Attributes
    ----------
    training : (steps, B, 68, 2) float32, on batch k of the training faces.
    test : (batches, B, 68, 2) float32, on the held-out ones.
    """

    training: Tensor
    test: Tensor


def train_detector(budget: Budget, faces: Faces, seed: int, folder: Path, say: Say) -> Detector:
    """The landmark network of the baseline's shape, trained on other faces of the same kind; its answers are
    kept."""
    path = folder / f"detector-{seed}.safetensors"
    if not path.is_file():
        say(f"landmark network, seed {seed}")
        torch.manual_seed(seed)
        model = LandmarkNetwork(**asdict(replace(budget.architecture(), kind="landmarks")))

        def loss_of(batch: dict[str, Tensor], _: int) -> Tensor:
            return heatmap_loss(model.slices(_image(batch)), batch["landmarks"], budget.size, 1.0)

        small.fit(model, budget, faces, small.detector_order(budget, seed), loss_of, say)
        model.eval()
        found = {
            "training": _detect(model, faces.training(range(budget.steps))),
            "test": _detect(model, faces.test()),
        }
        with replacing(path) as draft:
            save_file(found, draft)
    arrays = load_file(path)
    return Detector(*(torch.from_numpy(arrays[name]) for name in ("training", "test")))


def _detect(model: LandmarkNetwork, stream: Iterable[dict[str, Tensor]]) -> np.ndarray:
    with torch.inference_mode(), small.autocast():
        return np.stack([model.detect(_image(batch))[0].numpy() for batch in stream])


def _image(batch: dict[str, Tensor]) -> Tensor:
    # (N, 3, S, S) float 0..1, without the volume that `batches.unpack` would draw
    return batch["image"].permute(0, 3, 1, 2).float() / 255


def jittered(landmarks: Tensor, noise: float, *seed: int) -> Tensor:
    """Landmarks (N, 68, 2), each moved by Gaussian noise of `noise` pixels."""
    rng = np.random.default_rng(seed)
    return landmarks + torch.from_numpy(rng.normal(0, noise, landmarks.shape).astype(np.float32))


def conditions(arm: str) -> list[str]:
    """The test conditions of an arm: which landmarks it is given."""
    if arm == "none":
        return ["none"]
    more = ["empty", "shifted", *(f"noise {n:g}" for n in NOISE if n != JITTER)] if arm in NOISY else []
    return ["true", "predicted", f"noise {JITTER:g}", *more]


def given(condition: str, truth: Tensor, found: Tensor, *seed: int) -> Tensor | None:
    """The landmarks (N, 68, 2) of a test condition."""
    if condition in ("none", "empty"):
        return None
    if condition == "shifted":
        return truth + torch.tensor([SHIFT, 0.0])
    if condition.startswith("noise "):
        return jittered(truth, float(condition.split()[1]), *seed)
    return truth if condition == "true" else found


def train_arm(
    budget: Budget, faces: Faces, detectors: Callable[[int], Detector], say: Say, name: str, seed: int
) -> Run:
    """Train one arm from one seed and test it under all its conditions."""
    arm, detector = ARMS[name], detectors(seed)
    torch.manual_seed(seed)
    model = GuidedVRN(budget.architecture(), arm)

    def loss_of(batch: dict[str, Tensor], number: int) -> Tensor:
        image, volume = batches.unpack(batch, budget.depth)
        points = batch["landmarks"]
        if arm.landmarks == "predicted":
            points = detector.training[number]
        elif arm.landmarks == "jittered":
            points = jittered(points, JITTER, seed, number)
        return slices_loss(model.slices(image, points), volume)

    report = small.fit(model, budget, faces, small.order(budget, seed), loss_of, say)
    model.eval()
    test = faces.test()
    numbers = {id(batch): k for k, batch in enumerate(test)}
    scores = {}
    for condition in conditions(name):

        def slices_of(batch: dict[str, Tensor], image: Tensor, condition: str = condition) -> Tensor:
            k = numbers[id(batch)]
            points = given(condition, batch["landmarks"], detector.test[k], budget.test_seed, k)
            return model.slices(image, points)

        nme = condition in ("none", "true", "predicted")
        scores[condition] = small.score(slices_of, budget, test, nme)
    about = {"parameters": parameter_count(model), "detector_error": detector_error(budget, faces, detector)}
    return {**report, **about, "test": scores}


def detector_error(budget: Budget, faces: Faces, detector: Detector) -> float:
    """Mean error of the landmark network on the held-out faces over the interocular distance."""
    errors: list[float] = []
    for batch, found in zip(faces.test(), detector.test, strict=True):
        errors += landmark_error(found, batch["landmarks"], batch["eyes"]).tolist()
    return float(np.mean(errors))
