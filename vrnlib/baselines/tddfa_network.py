"""The cascade of 3DDFA: a small CNN that corrects the parameters, again and again
(`notebooks/07_baselines`).

Zhu et al. (CVPR 2016), Sec. 3.1: ``p(k+1) = p(k) + Net_k(I, PNCC(p(k)))``. From the paper: the input (image
and PNCC stacked, six channels), the additive update, the constant start, three iterations. Ours:

- one network for all iterations, trained on the states of all of them, so that a small budget trains every
  weight more often. Zhu et al. write one for each, ``Net_k``; Jackson et al. (Sec. 1) describe the method as
  "a single CNN that is iteratively applied";
- the network: four levels of 3x3 convolutions with batch normalisation and three identity skips, a fully
  connected layer of 256 and a linear one. The paper's (as we remember it) has four convolutions, the last two
  locally connected, three poolings and two fully connected layers on 100x100 pixels. As there, what follows
  the convolutions sees *where* a feature is: nothing is pooled globally;
- the last layer is also given the parameters that the PNCC shows, with weights that begin at -1: a change is
  the difference of what the picture says and what the PNCC says, and the second is known exactly. Without it
  short runs ended at larger errors, and iterations beyond the third led away from the face;
- whitened parameters ``u = (p - p0) / scale`` inside.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from vrnlib.baselines.pncc import pncc
from vrnlib.baselines.tddfa_model import Shapes
from vrnlib.errors import VrnError
from vrnlib.params import strict
from vrnlib.provenance import replacing

FORMAT = "vrnlib-3ddfa-1"
"""Marks our checkpoints in the header of the safetensors file."""
ITERATIONS = 3
"""Of the paper's cascade."""
REACH = 6.0
"""Whitened parameters are kept within +- this many standard deviations: an early network must not diverge."""


@dataclass(frozen=True)
class Design:
    """What decides the network's shape.

    Attributes
    ----------
    parameters : P of :class:`vrnlib.baselines.tddfa_model.Shapes`.
    size : side of the window in pixels, a multiple of 16.
    widths : channels at a half, a quarter, an eighth and a sixteenth of the resolution.
    hidden : outputs of the first fully connected layer.
    """

    parameters: int
    size: int = 96
    widths: tuple[int, ...] = (32, 64, 128, 192)
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.size % 16 or len(self.widths) != 4 or min(self.size, self.parameters, *self.widths) < 1:
            raise VrnError(
                f"3DDFA: size {self.size} must be a multiple of 16, with four widths, not {self.widths}"
            )


class Regressor(nn.Module):
    """Image and PNCC (N, 6, size, size), centred at 0, and the whitened parameters (N, P) that the PNCC
    shows -> their change (N, P).
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        a, b, c, d = design.widths
        self.features = nn.Sequential(
            _down(6, a, 5),  # (N, a, S/2, S/2)
            _down(a, b),
            _Skip(b),  # (N, b, S/4, S/4)
            _down(b, c),
            _Skip(c),  # (N, c, S/8, S/8)
            _down(c, d),
            _Skip(d),  # (N, d, S/16, S/16)
        )
        self.hidden = nn.Linear(d * (design.size // 16) ** 2, design.hidden)
        self.out = nn.Linear(design.hidden + design.parameters, design.parameters)
        with torch.no_grad():
            self.out.weight[:, : design.hidden].normal_(std=0.01)  # the first steps shall be small
            self.out.weight[:, design.hidden :] = -torch.eye(design.parameters)
        nn.init.zeros_(self.out.bias)
        # what whitens the parameters belongs to the weights
        self.register_buffer("start", torch.zeros(design.parameters))
        self.register_buffer("scale", torch.ones(design.parameters))

    start: Tensor
    scale: Tensor

    def read(self, x: Tensor) -> Tensor:
        """What is seen (N, 6, size, size) -> features (N, hidden)."""
        return torch.relu(self.hidden(self.features(x).flatten(1)))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        return self.out(torch.cat([self.read(x), u], 1))

    def whiten(self, p: Tensor) -> Tensor:
        """Parameters (N, P) -> u; 0 is the first guess."""
        return (p - self.start) / self.scale

    def unwhiten(self, u: Tensor) -> Tensor:
        """u (N, P) -> parameters."""
        return self.start + u * self.scale


def _down(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Skip(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.branch(x))


def look(shapes: Shapes, network: Regressor, image: Tensor, u: Tensor) -> Tensor:
    """What the network sees: images (N, 3, S, S) 0..1 with the PNCC of states u (N, P) -> (N, 6, S, S)."""
    with torch.no_grad():
        vertices = shapes.vertices(network.unwhiten(u))
    drawn = torch.from_numpy(pncc(vertices.numpy(), shapes.faces, shapes.codes, image.shape[-1]))
    return (torch.cat([image, drawn], 1) - 0.5).contiguous(memory_format=torch.channels_last)


def correct(network: Regressor, seen: Tensor, u: Tensor, bf16: bool = False) -> Tensor:
    """One iteration: what `look` shows and the states (N, P) -> the next states, float32; differentiable."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        features = network.read(seen)
    change = network.out(torch.cat([features.float(), u], 1))  # parameters need more digits than bf16 has
    return (u + change).clamp(-REACH, REACH)


def fit(
    shapes: Shapes, network: Regressor, image: Tensor, iterations: int = ITERATIONS, bf16: bool = False
) -> list[Tensor]:
    """Run the cascade on images (N, 3, S, S) 0..1.

    Returns
    -------
    The parameters (N, P) after 0, 1, ... `iterations` iterations; the first are the first guess.
    """
    states = [torch.zeros(len(image), network.design.parameters)]
    with torch.inference_mode():
        for _ in range(iterations):
            states.append(correct(network, look(shapes, network, image, states[-1]), states[-1], bf16))
        return [network.unwhiten(u) for u in states]


def save(network: Regressor, path: str | Path, meta: dict[str, Any], *, half: bool = False) -> Path:
    """Write a network as safetensors: weights, and in the header its design, `meta` and a checksum.

    `half` stores matrices and kernels as float16, half the size.

    Raises
    ------
    VrnError : a weight is not finite, or the folder can't be written to.
    """
    tensors = {}
    for name, value in network.state_dict().items():
        value = value.detach()
        value = value.half() if half and value.is_floating_point() and value.ndim > 1 else value
        if not torch.isfinite(value).all():
            raise VrnError(f"{path} was not written: '{name}' holds a NaN or infinite value")
        tensors[name] = value.contiguous()
    header = {
        "format": FORMAT,
        "design": json.dumps(asdict(network.design)),
        "meta": json.dumps(meta),
        "sha256": _checksum(tensors),
    }
    with replacing(path) as draft:
        draft.write_bytes(to_bytes(tensors, metadata=header))
    return Path(path)


def load(path: str | Path) -> tuple[Regressor, dict[str, Any]]:
    """Read a file of `save`: the network in evaluation mode, float32; and its `meta`.

    Raises
    ------
    VrnError : missing, damaged, or not a 3DDFA network.
    """
    path = Path(path)
    if not path.is_file():
        raise VrnError(
            f"{path}: no such checkpoint: train one with python -m vrnlib.baselines.tddfa_train --out FOLDER"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise VrnError(
            f"{path} is not a readable safetensors file, or was cut short ({error}): fetch it again"
        ) from None
    if header.get("format") != FORMAT:
        raise VrnError(f"{path} is not a 3DDFA network (format {header.get('format')!r})")
    try:
        design, meta = json.loads(header["design"]), json.loads(header["meta"])
        network = Regressor(strict(Design, design, str(path)))
        if _checksum(tensors) != header.get("sha256"):
            raise VrnError(f"{path} is damaged: the weights do not match their checksum: fetch it again")
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except (KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise VrnError(
            f"{path}: header and weights do not belong together ({error}): fetch it again"
        ) from None
    return network.eval().to(memory_format=torch.channels_last), meta


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
