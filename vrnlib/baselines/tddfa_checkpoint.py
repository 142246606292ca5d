"""The state of a 3DDFA training run on disk, as :mod:`vrnlib.checkpoint` keeps that of a VRN.

`checkpoint.json` names the files of the newest complete checkpoint and is replaced last. Beside weights and
Adam's moments there are the states of the faces that are between two iterations; their images are drawn
again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.tddfa_network import Regressor
from vrnlib.checkpoint import MANIFEST, State
from vrnlib.errors import VrnError
from vrnlib.params import strict
from vrnlib.provenance import read_json, replacing, write_json


def save_state(
    out: Path, params: dict[str, Any], network: Regressor, optimiser: torch.optim.Optimizer, state: State,
    flying: list[Tensor],
) -> None:  # fmt: skip
    """Write the whole state of a run; the former checkpoint is valid until this one is, then it is removed.

    `flying` are the states (N, P) of the faces in flight, the newest first.

    Raises
    ------
    VrnError : a weight is not finite (the former checkpoint stays), or the folder can't be written to.
    """
    folder = out / "checkpoint"
    files = {part: f"{part}-{state.step:07d}.safetensors" for part in ("model", "optimiser")}
    networks.save(network, folder / files["model"], {"step": state.step})
    slots = optimiser.state_dict()["state"]
    tensors = {f"{i}.{key}": v.contiguous() for i, slot in slots.items() for key, v in slot.items()}
    tensors |= {f"flying.{i}": u.contiguous() for i, u in enumerate(flying)}
    with replacing(folder / files["optimiser"]) as draft:
        draft.write_bytes(to_bytes(tensors))
    write_json(out / MANIFEST, {"params": params, "state": asdict(state), "files": files})
    for file in folder.iterdir():
        if file.name not in files.values():
            file.unlink(missing_ok=True)


def load_state(
    out: Path, network: Regressor, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], State, list[Tensor]]:
    """Put the checkpoint in `out` into `network` and `optimiser`; return parameters, state and
    the faces' states.

    Raises
    ------
    VrnError : a file is missing or damaged, or the run has another network.
    """
    content = read_json(out / MANIFEST)
    try:
        params, state = dict(content["params"]), strict(State, content["state"], str(out / MANIFEST))
        files = {part: out / "checkpoint" / content["files"][part] for part in ("model", "optimiser")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VrnError(f"{out / MANIFEST} is damaged ({error!r}): start a new run elsewhere") from None
    saved, _ = networks.load(files["model"])
    if saved.design != network.design:
        raise VrnError(f"{out} holds a run of another network, {saved.design}: choose another folder")
    network.load_state_dict(saved.state_dict())
    try:
        with safe_open(files["optimiser"], framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
    except (SafetensorError, OSError) as error:
        raise VrnError(f"{files['optimiser']} is damaged ({error}): start a new run elsewhere") from None
    flying = [tensors.pop(f"flying.{i}") for i in range(sum(n.startswith("flying.") for n in tensors))]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
        slots.setdefault(int(index), {})[key] = value.contiguous(memory_format=order)
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    return params, state, flying
