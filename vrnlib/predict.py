"""A trained network, ready to answer: found, loaded, laid out for the processor at hand.

`Network.answer` is the one place where a window of pixels becomes a volume. The notebook ``00_start_here``
uses it; `vrnlib.reconstruct` builds on it.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from vrnlib import params
from vrnlib.anatomy import MIRROR_68
from vrnlib.errors import VrnError, did_you_mean

if TYPE_CHECKING:
    import torch

    from vrnlib import networks

CHECKPOINT = Path("results") / "checkpoints" / "guided-laptop.safetensors"
"""The network used for photographs unless another is named, relative to the repository: VRN-Guided, whose
faces keep their features best on photographs (`results/figures/figure8.png`)."""
Guidance = Literal["detector", "network"]
"""Whose landmarks guide a VRN-Guided: the face detector's, or the network's own (the paper's way)."""


def check_guidance(text: str) -> None:
    """Raise VrnError unless `text` is a `Guidance`."""
    known = get_args(Guidance)
    if text not in known:
        raise VrnError(f"unknown guidance '{text}'{did_you_mean(text, known)}: use {' or '.join(known)}")


class Answer(NamedTuple):
    """What a network says of a window of side S.

    Attributes
    ----------
    volume : (D, S, S) float32, 0..1
        Probability of each voxel to lie inside of the face.
    confidence : (68,) float32, 0..1, or None
        Heights of the peaks of its own heat-maps, one a landmark; None where it makes none.
    """

    volume: NDArray[np.float32]
    confidence: NDArray[np.float32] | None


@dataclass(frozen=True)
class Network:
    """A VRN ready for prediction.

    Attributes
    ----------
    model : torch.nn.Module
        (N, 3, size, size) float RGB 0..1 -> (N, D, size, size) logits, a new tensor each time: it is
        overwritten; in evaluation mode.
    size : int
        Side of its window in pixels.
    meta : dict
        What the checkpoint says about itself.
    path : Path or None
    """

    model: torch.nn.Module
    size: int
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def takes_landmarks(self) -> bool:
        """Whether landmarks can guide it."""
        architecture = getattr(self.model, "architecture", None)
        return architecture is not None and architecture.kind == "guided"

    @property
    def finds_landmarks(self) -> bool:
        """Whether it makes heat-maps of its own."""
        architecture = getattr(self.model, "architecture", None)
        return architecture is not None and architecture.kind in ("guided", "multitask")

    def predict(
        self,
        window: NDArray[np.uint8],
        landmarks: NDArray[np.floating] | None = None,
        mirror: bool = False,
    ) -> NDArray[np.float32]:
        """Occupancy probabilities (D, size, size) float32, 0..1, of a window: the volume of `answer`."""
        return self.answer(window, landmarks, mirror).volume

    def answer(
        self,
        window: NDArray[np.uint8],
        landmarks: NDArray[np.floating] | None = None,
        mirror: bool = False,
    ) -> Answer:
        """The volume of a window, and how sure the network is of its own landmarks.

        Parameters
        ----------
        window : (size, size, 3) uint8 RGB
        landmarks : (68, 2) float, pixels of the window, optional
            What guides a VRN-Guided, in place of the landmarks that it finds itself; of no meaning for
            other networks.
        mirror : bool
            Look at the mirrored window as well, and average the logits of both, and both confidences: twice
            the time. A face has no side that a network should prefer, but a trained one does a little.
        """
        import torch

        from vrnlib.landmarks import decode
        from vrnlib.networks import enlarge

        # (1, 3, S, S), channels last already
        x = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None]
        points = None
        if landmarks is not None and self.takes_landmarks:
            points = torch.from_numpy(np.asarray(landmarks, np.float32))[None]
        if mirror:
            x = torch.cat([x, x.flip(3)])
            if points is not None:
                other = points[:, torch.from_numpy(MIRROR_68)] * torch.tensor([-1.0, 1.0])
                points = torch.cat([points, other + torch.tensor([window.shape[1] - 1.0, 0.0])])
        device = next(self.model.parameters()).device
        precise = (
            nullcontext()
            if not bfloat16_is_fast(device.type)
            else torch.autocast(device.type, torch.bfloat16)
        )
        heatmaps = None
        with torch.inference_mode(), precise:
            image = x.to(device).float().div_(255)
            if self.finds_landmarks:
                known = {} if points is None else {"landmarks": points.to(device)}
                volume, heatmaps = self.model.heads(image, **known)
                logits = enlarge(volume, image.shape[2:])
            else:
                logits = self.model(image)
            # channels last: (D, H, W) is a view of memory in the order (H, W, D), which nothing here minds
            mean = logits[0].float()
            if mirror:
                mean = mean.add_(logits[1].float().flip(2)).mul_(0.5)
            sure = None
            if heatmaps is not None:
                sure = decode(heatmaps, image.shape[-1])[1].cpu().numpy()
                sure = (sure[0] + sure[1, MIRROR_68]) / 2 if mirror else sure[0]
            return Answer(mean.sigmoid_().cpu().numpy(), sure)


def default_checkpoint() -> Path:
    """The checkpoint used when none is named: ``VRN_WEIGHTS``, else `CHECKPOINT` in the repository or in the
    package.

    Raises
    ------
    VrnError
        If there is none, or ``VRN_WEIGHTS`` names a file that does not exist.
    """
    named = os.environ.get("VRN_WEIGHTS")
    if named:
        if not Path(named).is_file():
            raise VrnError(
                f"the environment variable VRN_WEIGHTS names '{named}', which is not a file: correct or "
                "unset it"
            )
        return Path(named)
    package = Path(__file__).resolve().parent
    for path in (package.parent / CHECKPOINT, package / "data" / CHECKPOINT.name):
        if path.is_file():
            return path
    raise VrnError(
        f"no trained network at '{CHECKPOINT}': train one (python -m vrnlib.train --help), or name a "
        "checkpoint with --network or in "
        "the environment variable VRN_WEIGHTS"
    )


def load_network(path: str | PathLike[str] | None = None) -> Network:
    """Load a checkpoint for prediction; the last ones used are kept in memory.

    Raises
    ------
    VrnError
        If it is missing, damaged, or not a VRN.
    """
    path = Path(path) if path is not None else default_checkpoint()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise VrnError(
            f"cannot read the network '{path}' ({(error.strerror or str(error)).lower()}): give the "
            "path of a .safetensors "
            "checkpoint of this project"
        ) from error
    if path.is_dir():
        raise VrnError(f"the network '{path}' is a folder: give the .safetensors file in it")
    return _load_network(path.resolve(), changed)


@lru_cache(maxsize=2)
def _load_network(path: Path, changed: int) -> Network:
    """`changed`: a checkpoint written anew (during training) is not the one in the cache."""
    from vrnlib import networks

    model, meta = networks.load(path)
    if model.architecture.kind == "landmarks":
        raise VrnError(f"'{path}' finds landmarks, not volumes: give a vrn, multitask or guided network")
    return Network(for_inference(model), _window(model, meta), meta, path)


def for_inference(model: torch.nn.Module) -> torch.nn.Module:
    """The same function, laid out for speed: evaluation mode, channels last, on the GPU if there is one.

    On a processor without bfloat16 it is rewritten in place (`vrnlib.winograd`): not for training any more.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.eval().requires_grad_(False)
    if device == "cpu" and not bfloat16_is_fast(device):
        from vrnlib.winograd import accelerate

        model = accelerate(model)
    return model.to(device, memory_format=torch.channels_last)


def _window(model: networks.VRN, meta: dict[str, Any]) -> int:
    """Side of the window: from the checkpoint, else the one that goes with the depth of its volume."""
    if "size" in meta:
        return int(meta["size"])
    depth, step = model.architecture.depth, model.multiple
    return next((s for s in range(step, 8 * depth, step) if params.depth_of(s) == depth), step)


@cache
def bfloat16_is_fast(device: str) -> bool:
    """Whether the processor multiplies bfloat16 itself: elsewhere it is emulated, and several times slower
    than float32.
    """
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return device == "cpu" and any(probe() for probe in probes if probe is not None)
