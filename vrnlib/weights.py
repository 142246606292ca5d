"""Networks as files, and weights handed from one network to another.

A file is safetensors: the weights, and in its header the architecture, what the writer says about them, and a
checksum. :mod:`vrnlib.networks` offers `load` and `save` too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from vrnlib.errors import VrnError
from vrnlib.params import strict
from vrnlib.provenance import replacing

if TYPE_CHECKING:
    from vrnlib.networks import Architecture, Network

FORMAT = "vrnlib-network-1"
"""Marks our checkpoints in the header of the safetensors file."""


def save(model: Network, path: str | Path, meta: dict[str, Any], *, half: bool = False) -> Path:
    """Write `model` as safetensors: weights, and in the header its architecture, `meta` and a checksum.

    Parameters
    ----------
    model : any network of :mod:`vrnlib.networks`
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


def load(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Read a file of `save`: the model, in evaluation mode, float32, channels-last memory; and its `meta`.

    Raises
    ------
    VrnError : the file is missing, damaged, not one of ours, or not the network that its header describes.
    """
    from vrnlib.networks import Architecture, build  # which imports this module

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
        model = build(strict(Architecture, architecture, str(path)))
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


def transfer(source: Network, target: Network) -> None:
    """Copy the weights of `source` into `target`, which may have a refinement that the source lacks.

    Raises
    ------
    VrnError : the networks differ in anything else.
    """
    here, there = target.architecture, source.architecture
    if there not in (here, replace(here, refine=0)):
        raise VrnError(f"the weights are of another network, {there}, not of {here}")
    target.load_state_dict({**target.state_dict(), **source.state_dict()})


def start_from(path: str | Path, architecture: Architecture) -> Network:
    """A network of that architecture that starts from the weights in a file of `save`.

    A landmark network may start a Guided one: it becomes its detector. A smaller network may start a larger
    one (:mod:`vrnlib.grow`).

    Raises
    ------
    VrnError : the file cannot be used, see `load`, `transfer` and `grow`.
    """
    from vrnlib.grow import grow
    from vrnlib.networks import Guided, build

    model, (saved, _) = build(architecture), load(path)
    detector_only = isinstance(model, Guided) and saved.architecture.kind == "landmarks"
    part = model.landmarks if detector_only else model
    refined = replace(saved.architecture, refine=part.architecture.refine)
    try:
        (transfer if refined == part.architecture else grow)(saved, part)
    except VrnError as error:
        raise VrnError(f"{path} cannot be the start of this run: {error}") from None
    return model


def read_detector(path: str | Path, guided: Network) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a landmark network in a file of `save`, for the detector of `guided`; and its `meta`.

    Raises
    ------
    VrnError : the file cannot be used, is another kind of network, or has another shape.
    """
    part, meta = load(path)
    want = replace(guided.architecture, kind="landmarks")
    if part.architecture != want:
        raise VrnError(f"{path} cannot be the detector: it is {part.architecture}, this one needs {want}")
    return part.state_dict(), meta


def _checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
