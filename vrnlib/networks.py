"""The volumetric regression network: residual module, hourglass, VRN (taught in `notebooks/03_train_vrn`).

VRN (Jackson et al. 2017, Sec. 3.3) is an image-to-image network whose output *channels* are the depth slices
of a volume: two stacked hourglasses on a quarter of the image's resolution, then one bilinear enlargement. No
3-D convolution, no transposed convolution, no intermediate supervision. The default arguments are the
released unguided network: 19,184,968 parameters.

Two wirings of the hourglass exist, made of the same blocks. ``skip`` is what the released checkpoint does:
the next hourglass sits in the branch that is *not* pooled, so the lowest resolution of the whole network is
half of the hourglass's input. ``low`` is what the paper draws (after Newell et al. 2016): the next hourglass
sits in the pooled branch, between two groups of modules, and the resolution halves `levels` times. The
released form has one module more at each nesting; ``low`` has 17,897,800 parameters.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from vrnlib.errors import VrnError
from vrnlib.params import Profile, Wiring, strict
from vrnlib.provenance import replacing

FORMAT = "vrnlib-network-1"
"""Marks our checkpoints in the header of the safetensors file."""


@dataclass(frozen=True)
class Architecture:
    """What is needed to rebuild a `VRN`; the fields are its arguments. Written into every checkpoint."""

    features: int = 256
    modules: int = 3
    stacks: int = 2
    levels: int = 4
    depth: int = 200
    wiring: Wiring = "skip"
    in_channels: int = 3
    stem: int | None = None
    refine: int = 0


class Residual(nn.Module):
    """Pre-activation bottleneck (He et al. 2016): (N, cin, H, W) -> (N, cout, H, W).

    ``skip(x) + [BN ReLU 1x1][BN ReLU 3x3][BN ReLU 1x1](x)``; `mid` is the width of the 3x3 convolution, the
    skip is the identity, or a bare 1x1 convolution where the width changes.
    """

    def __init__(self, cin: int, cout: int, mid: int) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(
            nn.BatchNorm2d(cin), nn.ReLU(inplace=True), nn.Conv2d(cin, mid, 1),
            nn.BatchNorm2d(mid), nn.ReLU(inplace=True), nn.Conv2d(mid, mid, 3, padding=1),
            nn.BatchNorm2d(mid), nn.ReLU(inplace=True), nn.Conv2d(mid, cout, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.bottleneck(x) + self.skip(x)


class Hourglass(nn.Module):
    """One hourglass, and inside it the next: (N, C, H, W) -> (N, C, H, W).

    ======== ====================== ================================== =======================
    wiring   up                     low                                sides for 48, 4 levels
    ======== ====================== ================================== =======================
    ``low``  M Res                  pool, M Res, *inner*, M Res, x 2   48 24 12 6 3
    ``skip`` M Res, *inner*, Res    pool, 2 M Res, x 2                 48 24
    ======== ====================== ================================== =======================

    M is `modules`. The innermost hourglass has M Res in place of *inner*, in the pooled branch.
    """

    def __init__(self, features: int, modules: int, levels: int, wiring: Wiring) -> None:
        super().__init__()

        def residuals(n: int) -> list[nn.Module]:
            return [Residual(features, features, features // 2) for _ in range(n)]

        inner = [Hourglass(features, modules, levels - 1, wiring)] if levels > 1 else []
        up, low = residuals(modules), [nn.MaxPool2d(2), *residuals(modules)]  # low: (N, C, H/2, W/2)
        if wiring == "skip":
            up += inner + residuals(len(inner))
            low += residuals(0 if inner else modules)
        else:
            low += inner or residuals(modules)
        low += [*residuals(modules), nn.Upsample(scale_factor=2, mode="nearest")]  # back to (N, C, H, W)
        self.up, self.low = nn.Sequential(*up), nn.Sequential(*low)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) + self.low(x)


def conv_bn_relu(features: int) -> nn.Sequential:
    """1x1 convolution, batch normalisation, ReLU: (N, C, H, W) -> (N, C, H, W)."""
    return nn.Sequential(nn.Conv2d(features, features, 1), nn.BatchNorm2d(features), nn.ReLU(inplace=True))


class VRN(nn.Module):
    """The volumetric regression network.

    Weights start from PyTorch's default initialisation (uniform in +-1/sqrt(fan-in), which is also what
    Torch7 used in 2017); the paper does not give one.

    Parameters
    ----------
    features : channels of the residual modules; the stem grows from a quarter of them to all of them.
    modules : residual modules at each place of an hourglass.
    stacks : hourglasses in a row.
    levels : recursion depth of an hourglass.
    depth : slices of the volume = output channels.
    wiring : "skip" (released network) or "low" (the paper's figure), see the module's text.
    in_channels : 3 for RGB, 71 for RGB and 68 landmark maps (VRN-Guided).
    stem : width of the first convolution; None is a quarter of `features`. The thesis' narrow networks keep
        it at 64.
    refine : 0 is the paper. Otherwise the features are enlarged to half the image's resolution before the
        last convolution, the stem's map of that resolution is added, and so many residual modules follow;
        the last bilinear step is then x2. For small crops: between two cells whose logits are saturated the
        enlarged surface jumps, which shows as terraces where a face is only a few cells wide. The addition
        starts at zero, so that a trained network can go on with it.

    Raises
    ------
    VrnError : an argument is out of range, or an input's shape does not fit.
    """

    def __init__(
        self,
        features: int = 256,
        modules: int = 3,
        stacks: int = 2,
        levels: int = 4,
        depth: int = 200,
        wiring: Wiring = "skip",
        in_channels: int = 3,
        stem: int | None = None,
        refine: int = 0,
    ) -> None:
        super().__init__()
        self.architecture = Architecture(
            features, modules, stacks, levels, depth, wiring, in_channels, stem, refine
        )
        numbers = (features, modules, stacks, levels, depth, in_channels, stem or 1)
        if min(numbers) < 1 or refine < 0 or features % 4 or wiring not in ("skip", "low"):
            raise VrnError(
                f"no such network: {self.architecture}: all sizes >= 1, features a multiple of 4, "
                "wiring 'skip' or 'low', refine >= 0"
            )
        f, s = features, stem or features // 4
        self.stem = nn.Sequential(  # (N, 3, S, S); the shapes are for S = 192, f = 256
            nn.Conv2d(in_channels, s, 7, stride=2, padding=3),  # 64, 96, 96
            nn.BatchNorm2d(s),
            nn.ReLU(inplace=True),
            Residual(s, 2 * s, s),  # 128, 96, 96
            nn.MaxPool2d(2),  # 128, 48, 48
            Residual(2 * s, 2 * s, s),
            Residual(2 * s, f, f // 2),  # 256, 48, 48
        )
        self.stacks = nn.ModuleList(
            nn.Sequential(
                Hourglass(f, modules, levels, wiring),
                Residual(f, f, f // 2),
                conv_bn_relu(f),
                conv_bn_relu(f),
            )
            for _ in range(stacks)
        )
        self.head = nn.Sequential(conv_bn_relu(f), nn.Conv2d(f, depth, 1))
        if refine:  # last, so that the other parameters keep their numbers in an optimiser's state
            self.lateral = nn.Conv2d(2 * s, f, 1)
            self.refine = nn.Sequential(*(Residual(f, f, f // 4) for _ in range(refine)))
            for last in (self.lateral, *(part.bottleneck[-1] for part in self.refine)):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.multiple = 4 * 2 ** (1 if wiring == "skip" else levels)
        """The side of an input must be a multiple of this."""

    @classmethod
    def of_profile(cls, profile: Profile) -> VRN:
        """The network of a profile, with fresh weights."""
        p = profile
        return cls(p.features, p.modules, p.stacks, p.levels, p.depth, p.wiring, refine=p.refine)

    def forward(self, x: Tensor) -> Tensor:
        """Image (N, 3, S, S) float RGB 0..1 -> logits (N, D, S, S); apply a sigmoid for probabilities."""
        return enlarge(self.slices(x), x.shape[2:])

    def slices(self, x: Tensor) -> Tensor:
        """Image (N, 3, S, S) -> logits before the enlargement (N, D, S/4, S/4), or S/2 with `refine`."""
        channels = self.architecture.in_channels
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise VrnError(
                f"the network takes images (N, {channels}, S, S) with S a multiple of {self.multiple}, "
                f"got {tuple(x.shape)}"
            )
        fine = self.stem[:4](x)  # (N, 128, S/2, S/2)
        x = self.stem[4:](fine)  # (N, 256, S/4, S/4)
        for stack in self.stacks:
            x = x + stack(x)
        if not self.architecture.refine:
            return self.head(x)
        x = enlarge(self.head[0](x), fine.shape[2:]) + self.lateral(fine)
        return self.head[1](self.refine(x))

    def probabilities(self, x: Tensor) -> Tensor:
        """Image (N, 3, S, S) float RGB 0..1 -> volume (N, D, S, S), probability 0..1 of filled."""
        return torch.sigmoid(self(x))


def enlarge(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear (N, D, h, w) -> (N, D, *size), corners aligned: Torch7's SpatialUpSamplingBilinear."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters())


def save(model: VRN, path: str | Path, meta: dict[str, Any], *, half: bool = False) -> Path:
    """Write `model` as safetensors: weights, and in the header its architecture, `meta` and a checksum.

    Parameters
    ----------
    model : VRN
    path : the file to write; it is replaced in one step, an interruption leaves the former file.
    meta : anything JSON can hold: profile, run, steps, score.
    half : store the convolutions' weights as float16 (half the size). Batch-normalisation statistics stay
        float32: a variance can leave float16's range.

    Raises
    ------
    VrnError : a value is NaN or infinite, or does not fit into float16, or the file cannot be written.
    """
    path = Path(path)
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().to("cpu", copy=False)
        value = value.half() if half and value.is_floating_point() and value.ndim > 1 else value
        if not torch.isfinite(value).all():
            kind = (
                "a value beyond float16"
                if half and value.dtype == torch.float16
                else "a NaN or infinite value"
            )
            raise VrnError(f"{path} was not written: '{name}' holds {kind}")
        tensors[name] = value.contiguous()
    header = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(model.architecture)),
        "meta": json.dumps(meta),
        "sha256": _checksum(tensors),
    }
    content = to_bytes(tensors, metadata=header)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise VrnError(f"{path} cannot be written: {error.strerror}") from None
    return path


def load(path: str | Path) -> tuple[VRN, dict[str, Any]]:
    """Read a file of `save`: the model, in evaluation mode, float32, channels-last memory; and its `meta`.

    Raises
    ------
    VrnError : the file is missing, damaged, not one of ours, or not the network that its header describes.
    """
    path = Path(path)
    if not path.is_file():
        raise VrnError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise VrnError(
            f"{path} is not a readable safetensors file, or was cut short ({error}): fetch it again"
        ) from None
    if header.get("format") != FORMAT:
        raise VrnError(
            f"{path} is a safetensors file but not a network of vrnlib (format {header.get('format')!r})"
        )
    try:
        architecture, meta = json.loads(header["architecture"]), json.loads(header["meta"])
    except (KeyError, ValueError) as error:
        raise VrnError(f"{path}: its header is damaged ({error}): fetch it again") from None
    if not isinstance(architecture, dict) or not isinstance(meta, dict):
        raise VrnError(f"{path}: its header is damaged: fetch it again")
    with torch.device("meta"):  # shapes only: no weights are drawn that would be replaced at once
        model = VRN(**asdict(strict(Architecture, architecture, str(path))))
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        want = tuple(expected[name].shape) if name in expected else "nothing of that name"
        got = tuple(tensors[name].shape) if name in tensors else "nothing of that name"
        if want != got:
            raise VrnError(
                f"{path} does not match its own header: '{name}' should be {want}, the file has {got}"
            )
    if _checksum(tensors) != header.get("sha256"):
        raise VrnError(f"{path} is damaged: the weights do not match their checksum: fetch it again")
    for name, value in tensors.items():
        tensors[name] = value.float() if value.is_floating_point() else value
    model.load_state_dict(tensors, assign=True)
    return model.eval().to(memory_format=torch.channels_last), meta


def _checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
