"""The networks: VRN, its Multitask and Guided forms, the landmark network (taught in
`notebooks/03_train_vrn`).

VRN (Jackson et al. 2017, Sec. 3.3) is an image-to-image network whose output *channels* are the depth slices
of a volume: two stacked hourglasses on a quarter of the image's resolution, then one bilinear enlargement. No
3-D convolution, no transposed convolution, no intermediate supervision. The default arguments are the
released unguided network: 19,184,968 parameters.

============== ============================================================================ ==================
kind           path                                                                         heads
============== ============================================================================ ==================
``vrn``        stem, stacked hourglasses                                                    volume
``multitask``  stem, all hourglasses but the last; then a fork, one hourglass a branch      volume, heat-maps
``landmarks``  as ``vrn``                                                                   heat-maps
``guided``     a ``landmarks`` network; then a ``vrn`` on RGB and 68 Gaussians, 71 channels volume, heat-maps
============== ============================================================================ ==================

Every network answers in two ways. ``heads(image)`` gives `Heads`, the logits of each head on its own grid of
cells, which is what one trains with. ``forward(image)`` gives the logits of what the network is for, at the
size of the image: the volume, or of a landmark network the heat-maps.

A heat-map is predicted on the same grid as the volume's slices, a quarter of the image (half, with
`refine`). The paper gives no number, but the thesis trained its detector on Gaussians "of approximately 3
pixels (sigma = 1)": sigma = 1 on a grid of 4-pixel cells, as Newell et al. (2016) do. The Gaussians that
guide the volume are pictures: drawn at full size, sigma = 1 pixel (:mod:`vrnlib.heatmaps`). Between both
stand 68 points (:mod:`vrnlib.landmarks`).

The hourglass has two wirings, see :mod:`vrnlib.hourglass`: ``skip`` is the released network's, ``low`` the
paper's figure, with 17,897,800 parameters.

Weights start from PyTorch's default initialisation (uniform in +-1/sqrt(fan-in), which is also what Torch7
used in 2017); the paper does not give one. Files of weights: :mod:`vrnlib.weights`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vrnlib.errors import VrnError
from vrnlib.heatmaps import heatmaps_batch
from vrnlib.hourglass import Hourglass, Residual, conv_bn_relu
from vrnlib.landmarks import decode
from vrnlib.params import Kind, Profile, Wiring
from vrnlib.weights import load, save

__all__ = [
    "KINDS", "LANDMARKS", "VRN", "Architecture", "Guided", "Heads", "Hourglass", "LandmarkNetwork",
    "Multitask", "Network", "Residual", "architecture_of", "build", "conv_bn_relu", "enlarge",
    "parameter_count", "load", "save",
]  # fmt: skip

LANDMARKS = 68
"""Points of the iBUG mark-up, and so channels of a heat-map head."""


@dataclass(frozen=True)
class Architecture:
    """What is needed to rebuild a network; its fields are the networks' arguments, and written into every
    checkpoint.

    Attributes
    ----------
    features : channels of the residual modules; the stem grows from a quarter of them to all of them.
    modules : residual modules at each place of an hourglass; the thesis' VRN-Guided has 4.
    stacks : hourglasses in a row, from the image to each head.
    levels : recursion depth of an hourglass.
    depth : slices of the volume = channels of its head (a landmark network has no use for it).
    wiring : "skip" (released network) or "low" (the paper's figure), see the module's text.
    in_channels : channels of the image.
    stem : width of the first convolution; None is a quarter of `features`. The thesis' narrow networks keep
        it at 64.
    refine : 0 is the paper. Otherwise the features are enlarged to half the image's resolution before the
        last convolution, the stem's map of that resolution is added, and so many residual modules follow;
        the last bilinear step is then x2. For small crops: between two cells whose logits are saturated the
        enlarged surface jumps, which shows as terraces where a face is only a few cells wide. The addition
        starts at zero, so that a trained network can go on with it.
    kind : see the module's table. Left to the classes.
    sigma : of the Gaussians: in cells of the heat-maps, and in pixels where they guide a volume.
    """

    features: int = 256
    modules: int = 3
    stacks: int = 2
    levels: int = 4
    depth: int = 200
    wiring: Wiring = "skip"
    in_channels: int = 3
    stem: int | None = None
    refine: int = 0
    kind: Kind = "vrn"
    sigma: float = 1.0


class Heads(NamedTuple):
    """Logits before the enlargement to the image's size; None where the network has no such head.

    Attributes
    ----------
    volume : (N, D, C, C) float, C = S/4, or S/2 with `refine`
    heatmaps : (N, 68, C, C) float
    """

    volume: Tensor | None = None
    heatmaps: Tensor | None = None


def make_stem(a: Architecture) -> nn.Sequential:
    """From the image to a quarter of its resolution; the shapes are for S = 192 and 256 features."""
    f, s = a.features, a.stem or a.features // 4
    return nn.Sequential(  # (N, 3, 192, 192)
        nn.Conv2d(a.in_channels, s, 7, stride=2, padding=3),  # 64, 96, 96
        nn.BatchNorm2d(s),
        nn.ReLU(inplace=True),
        Residual(s, 2 * s, s),  # 128, 96, 96
        nn.MaxPool2d(2),  # 128, 48, 48
        Residual(2 * s, 2 * s, s),
        Residual(2 * s, f, f // 2),  # 256, 48, 48
    )


def make_stack(a: Architecture) -> nn.Sequential:
    """An hourglass and what follows it; its result is added to its input."""
    f = a.features
    hourglass = Hourglass(f, a.modules, a.levels, a.wiring)
    return nn.Sequential(hourglass, Residual(f, f, f // 2), conv_bn_relu(f), conv_bn_relu(f))


class Branch(nn.Module):
    """From the stem's map to logits: hourglasses, each added to its input, then a head.

    (N, F, S/4, S/4) and the stem's map at half the image's resolution -> (N, `channels`, C, C).
    """

    def __init__(self, a: Architecture, stacks: int, channels: int) -> None:
        super().__init__()
        f, s = a.features, a.stem or a.features // 4
        self.stacks = nn.ModuleList(make_stack(a) for _ in range(stacks))
        self.head = nn.Sequential(conv_bn_relu(f), nn.Conv2d(f, channels, 1))
        if a.refine:  # last, so that the other parameters keep their numbers in an optimiser's state
            self.lateral = nn.Conv2d(2 * s, f, 1)
            self.refine = nn.Sequential(*(Residual(f, f, f // 4) for _ in range(a.refine)))
            for last in (self.lateral, *(part.bottleneck[-1] for part in self.refine)):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, fine: Tensor) -> Tensor:
        for stack in self.stacks:
            x = x + stack(x)
        if not hasattr(self, "refine"):
            return self.head(x)
        x = enlarge(self.head[0](x), fine.shape[2:]) + self.lateral(fine)
        return self.head[1](self.refine(x))


class Network(nn.Module):
    """What all networks share. The arguments are the fields of `Architecture`, in its order.

    Raises
    ------
    VrnError : an argument is out of range, or (when called) an image's shape does not fit.
    """

    kind: ClassVar[Kind]

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__()
        self.architecture = a = Architecture(*args, **{**fields, "kind": self.kind})
        sizes = (a.features, a.modules, a.stacks, a.levels, a.depth, a.in_channels, a.stem or 1)
        good = min(sizes) >= 1 and a.refine >= 0 and a.features % 4 == 0 and a.sigma > 0
        if not good or a.wiring not in get_args(Wiring):
            raise VrnError(
                f"no such network: {a}: all sizes >= 1, features a multiple of 4, wiring 'skip' or 'low', "
                "refine >= 0, sigma > 0"
            )
        self.multiple = 4 * 2 ** (1 if a.wiring == "skip" else a.levels)
        """The side of an image must be a multiple of this."""

    @classmethod
    def of_profile(cls, profile: Profile) -> Network:
        """The network of a profile, with fresh weights."""
        return build(architecture_of(profile, cls.kind))

    def heads(self, image: Tensor) -> Heads:
        """Image (N, 3, S, S) float RGB 0..1 -> logits of each head on its own grid."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) float RGB 0..1 -> logits (N, D, S, S); apply a sigmoid for probabilities."""
        volume, heatmaps = self.heads(image)
        return enlarge(heatmaps if volume is None else volume, image.shape[2:])

    def probabilities(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) float RGB 0..1 -> volume (N, D, S, S), probability 0..1 of filled."""
        return torch.sigmoid(self(image))

    def see(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The stem's maps of an image at a quarter and at half of its resolution: (N, F, S/4, S/4), (N, F/2,
        S/2, S/2).
        """
        channels, m = self.architecture.in_channels, self.multiple
        if image.ndim != 4 or image.shape[1] != channels or image.shape[2] % m or image.shape[3] % m:
            raise VrnError(
                f"the network takes images (N, {channels}, S, S) with S a multiple of {m}, "
                f"got {tuple(image.shape)}"
            )
        fine = self.stem[:4](image)
        return self.stem[4:](fine), fine


class _Single(Network):
    # One path, one head: VRN, and the landmark network.
    channels: ClassVar[int | None]

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        a = self.architecture
        self.stem = make_stem(a)
        # the parts of a branch are ours by name: so the released network and our first files call them
        for name, part in Branch(a, a.stacks, self.channels or a.depth).named_children():
            self.add_module(name, part)

    def slices(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) -> logits before the enlargement (N, D, C, C), C = S/4, or S/2 with `refine`."""
        return Branch.forward(self, *self.see(image))


class VRN(_Single):
    """The volumetric regression network: image -> volume."""

    kind, channels = "vrn", None

    def heads(self, image: Tensor) -> Heads:
        return Heads(volume=self.slices(image))


class LandmarkNetwork(_Single):
    """The same, with 68 heat-maps in place of the slices: the detector in VRN-Guided."""

    kind, channels = "landmarks", LANDMARKS

    def heads(self, image: Tensor) -> Heads:
        return Heads(heatmaps=self.slices(image))

    def detect(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (N, 3, S, S) -> landmarks (N, 68, 2) pixels and their confidence (N, 68), 0..1."""
        return decode(self.slices(image), image.shape[-1])


class Multitask(Network):
    """VRN-Multitask: shared hourglasses, then a fork of two, one for the volume, one for the heat-maps."""

    kind = "multitask"

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        a = self.architecture
        self.stem = make_stem(a)
        self.shared = nn.ModuleList(make_stack(a) for _ in range(a.stacks - 1))
        self.volume, self.heatmaps = Branch(a, 1, a.depth), Branch(a, 1, LANDMARKS)

    def heads(self, image: Tensor) -> Heads:
        x, fine = self.see(image)
        for stack in self.shared:
            x = x + stack(x)
        return Heads(self.volume(x, fine), self.heatmaps(x, fine))


class Guided(Network):
    """VRN-Guided: 68 landmarks first, then the volume from the image stacked with their Gaussians."""

    kind = "guided"

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        a = asdict(self.architecture)
        self.landmarks = LandmarkNetwork(**a)
        self.volume = VRN(**{**a, "in_channels": a["in_channels"] + LANDMARKS})
        self.detector_is_fixed = False

    def fix_detector(self, weights: dict[str, Tensor]) -> None:
        """Take these weights for the detector and keep them: only the volume learns from now on."""
        self.landmarks.load_state_dict(weights)
        self.landmarks.requires_grad_(False).eval()
        self.detector_is_fixed = True

    def train(self, mode: bool = True) -> Guided:
        """As in PyTorch; a fixed detector keeps its running statistics."""
        super().train(mode)
        if self.detector_is_fixed:
            self.landmarks.eval()
        return self

    def heads(self, image: Tensor, landmarks: Tensor | None = None) -> Heads:
        """See `Network.heads`. The volume is guided by `landmarks` (N, 68, 2), pixels, if given: the true
        ones in training; otherwise by those that the network detects. No gradient flows through the points.
        Given landmarks and a fixed detector, there is nothing to learn from heat-maps, and none are made.
        """
        side = image.shape[-1]
        heatmaps = None if self.detector_is_fixed and landmarks is not None else self.landmarks.slices(image)
        if landmarks is None:
            landmarks, _ = decode(heatmaps, side)
        gaussians = heatmaps_batch(landmarks, side, self.architecture.sigma).to(image.dtype)
        return Heads(self.volume.slices(torch.cat([image, gaussians], 1)), heatmaps)


KINDS: dict[str, type[Network]] = {c.kind: c for c in (VRN, Multitask, Guided, LandmarkNetwork)}


def build(architecture: Architecture) -> Network:
    """The network that `architecture` describes, with fresh weights."""
    return KINDS[architecture.kind](**asdict(architecture))


def architecture_of(profile: Profile, kind: Kind = "vrn") -> Architecture:
    """The shape of a profile's network of that kind."""
    p = profile
    plain = Architecture(p.features, p.modules, p.stacks, p.levels, p.depth, p.wiring, refine=p.refine)
    # the detector goes into VRN-Guided and has its shape
    modules = p.guided_modules if kind in ("guided", "landmarks") else p.modules
    return replace(plain, kind=kind, modules=modules)


def enlarge(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear (N, D, h, w) -> (N, D, *size), corners aligned: Torch7's SpatialUpSamplingBilinear."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters())
