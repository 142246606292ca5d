"""What the notebooks that train (03, 04, 05) share: a small world to learn, its networks while they learn,
and looks into a network. The functions return arrays or pictures; the notebooks show them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import torch
from torch import Tensor, nn

from vrnlib import databases, figures, metrics, networks
from vrnlib.checkpoint import read_log
from vrnlib.databases import SynthLP
from vrnlib.hourglass import Residual
from vrnlib.landmarks import decode
from vrnlib.networks import Network
from vrnlib.params import Kind, depth_of
from vrnlib.provenance import read_json
from vrnlib.recipe import TrainParams, bf16_is_fast
from vrnlib.train import train


def code(thing: object) -> None:
    """Show the source of a function or class."""
    figures.note(f"```python\n{inspect.getsource(thing)}```")  # type: ignore[arg-type]


class Recycled:
    """The first `count` people of a database, one pose each, drawn once and then repeated."""

    def __init__(self, source: SynthLP, count: int) -> None:
        self.samples = [source[i * (databases.POSES_PER_FACE + 1)] for i in range(count)]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.samples[index % len(self.samples)]


@dataclass(frozen=True)
class Answer:
    """What a network says about N windows.

    Attributes
    ----------
    volume : (N, D, S, S) float32, probability 0..1, or None.
    heatmaps : (N, 68, C, C) float32, probability 0..1, or None.
    landmarks : (N, 68, 2) float32, decoded from the heat-maps, pixels of the window, or None.
    """

    volume: np.ndarray | None
    heatmaps: np.ndarray | None
    landmarks: np.ndarray | None


def ask(model: Network, images: Iterable[np.ndarray], landmarks: np.ndarray | None = None) -> Answer:
    """What `model`, of any kind, answers to windows (S, S, 3) uint8.

    Parameters
    ----------
    landmarks : (N, 68, 2) pixels that guide a VRN-Guided in place of those it detects.
    """
    x = torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 255
    guide = () if landmarks is None else (torch.as_tensor(landmarks, dtype=torch.float32),)
    half = torch.autocast("cpu", torch.bfloat16) if bf16_is_fast() and not x.is_cuda else nullcontext()
    with torch.inference_mode(), half:
        volume, heatmaps = model.eval().heads(x, *guide)  # type: ignore[call-arg]
    points = None if heatmaps is None else decode(heatmaps, x.shape[-1])[0].numpy()
    filled = None if volume is None else networks.enlarge(volume.float(), x.shape[2:])
    return Answer(
        None if filled is None else torch.sigmoid(filled).numpy(),
        None if heatmaps is None else torch.sigmoid(heatmaps.float()).numpy(),
        points,
    )


@dataclass(frozen=True)
class Learned:
    """A small network and how it became what it is.

    Attributes
    ----------
    model : the network after the last stage.
    rows : of the log (:func:`vrnlib.checkpoint.read_log`).
    stages : faces shown when the network was asked; the first is 0.
    answers : at each stage, to the windows that were watched.
    """

    model: Network
    rows: list[dict[str, Any]]
    stages: list[int]
    answers: list[Answer]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The rows of one event, ``train`` or ``validate``."""
        return [row for row in self.rows if row["event"] == event]


def small_plan(
    kind: Kind, size: int, shown: int, stops: int, seed: int, learning_rate: float
) -> tuple[TrainParams, list[int]]:
    """The training of a small network of `kind` on a `Recycled` world, and where to stop it (`learn`).

    Parameters
    ----------
    size : side of the window in pixels; shown : faces until the end, repetitions counted.
    """
    batch = 16
    stages = doubling(shown // 32, shown, stops, batch)
    plan = TrainParams.of(
        "smoke", kind=kind, size=size, depth=depth_of(size), features=32, batch_size=batch, seed=seed,
        learning_rate=learning_rate, lr_drop=(0.75, 0.9), lr_drop_factor=0.3, max_faces=stages[-1],
        validation_faces=32, nme_faces=0, validate_minutes=60.0, log_steps=max(1, shown // batch // 24),
        workers=0, data_tag="recycled",
    )  # fmt: skip
    return plan, stages


def learn(
    plan: TrainParams,
    folder: str | Path,
    world: Recycled,
    unseen: Recycled,
    watched: Sequence[dict[str, np.ndarray]],
    stages: Sequence[int],
    say: Callable[[str], None] = print,
) -> Learned:
    """Train by `plan`, and stop at each of `stages` (faces shown, increasing) to ask about `watched`.

    Each stage resumes the run of the one before: the weights are those of a run that was not interrupted.
    """
    folder, images = Path(folder), [sample["image"] for sample in watched]
    drops = tuple(at * stages[-1] if at < 1 else at for at in plan.lr_drop)  # of the whole, not of a stage
    torch.manual_seed(plan.seed)
    model = networks.build(plan.architecture)
    answers = [ask(model, images)]

    def progress(line: str) -> None:
        if line.startswith(("step", "training")):
            say(line.replace(str(folder), "run"))

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the precision is told once, by us
    for faces in stages:
        part = replace(plan, max_faces=faces, lr_drop=drops)
        # the run draws its curves, with a layout of its own
        with matplotlib.rc_context({"figure.constrained_layout.use": False}):
            train(part, folder, dataset=world, validation=unseen, say=progress)
        model, _ = networks.load(folder / f"{plan.kind}-{plan.profile}.safetensors")
        answers.append(ask(model, images))
    return Learned(model, read_log(folder / "log.jsonl"), [0, *stages], answers)


def doubling(first: int, last: int, count: int, batch: int) -> list[int]:
    """`count` numbers of faces from `first` to `last`, by about the same factor, multiples of `batch`."""
    numbers = np.geomspace(max(first, batch), last, count)
    return sorted({max(batch, round(n / batch) * batch) for n in numbers})


def trained(path: str | Path, learned: Network, size: int) -> tuple[Network, int, str]:
    """The committed network if its file is there, else the small one of `size` pixels; the side of its
    window; and a sentence that says which it is.
    """
    path, count = Path(path), networks.parameter_count(learned)
    name = f"results/checkpoints/{path.name}"
    if not path.is_file():
        text = (
            f"The `laptop` network has **not been trained yet**, there is no `{name}`. Below is the "
            f"small network of this notebook, {count:,} parameters, trained for a minute or two: its "
            "mistakes are those of a beginner."
        )
        return learned, size, text
    model, meta = networks.load(path)
    text = (
        f"What follows shows the `laptop` network, `{name}`: {networks.parameter_count(model):,} parameters, "
        f"trained on {meta.get('faces', 0):,} drawn faces in {meta.get('minutes', 0):.0f} minutes."
    )
    return model, int(meta["size"]), text


def trace(model: nn.Module, size: int, channels: int = 3) -> list[tuple[str, tuple[int, ...]]]:
    """(kind of module, output shape) in the order of computation, for a black window of `size` pixels."""
    steps: list[tuple[str, tuple[int, ...]]] = []
    hooks = [
        m.register_forward_hook(lambda m, _, y: steps.append((type(m).__name__, tuple(y.shape[1:]))))
        for m in model.modules()
        if isinstance(m, (Residual, nn.MaxPool2d, nn.Upsample))
        or (isinstance(m, nn.Conv2d) and m.kernel_size == (7, 7))
    ]
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(1, channels, size, size))
    for hook in hooks:
        hook.remove()
    return [("image", (channels, size, size)), *steps, ("answer", tuple(logits.shape[1:]))]


def changes(steps: Sequence[tuple[str, tuple[int, ...]]]) -> list[tuple[int, str, str]]:
    """The rows of a `trace` where the shape changes: number of the step, module, shape in words."""
    rows, previous = [], None
    for number, (kind, shape) in enumerate(steps):
        if shape != previous:
            rows.append((number, kind, " x ".join(map(str, shape))))
        previous = shape
    return rows


def feature_maps(model: nn.Module, part: nn.Module, run: Callable[[], Any]) -> list[Tensor]:
    """The features of one window at every scale of `part`, in the order of computation.

    Parameters
    ----------
    part : stem, hourglass or whole network, inside `model`.
    run : calls the model on one window.

    Returns
    -------
    list of (C, h, w) tensors
        The output of the last residual module before each change of resolution.
    """
    seen: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _x, y: seen.append(y[0].float()))
        for m in part.modules()
        if isinstance(m, Residual)
    ]
    model.eval()
    run()
    for hook in hooks:
        hook.remove()
    last = [a for a, b in pairwise(seen) if a.shape[1:] != b.shape[1:]]
    return [*last, seen[-1]]


def components(features: Tensor, side: int) -> np.ndarray:
    """Features (C, h, w) as a picture (side, side, 3) uint8: their three strongest principal components as
    red, green and blue. Places of one colour have like features.
    """
    c, h, w = features.shape
    flat = features.reshape(c, -1).T - features.reshape(c, -1).mean(1)
    _, _, axes = torch.linalg.svd(flat, full_matrices=False)
    values = (flat @ axes[:3].T).numpy()
    low, high = np.percentile(values, [2, 98], axis=0)
    scaled = np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours = np.zeros((h * w, 3), np.uint8)
    colours[:, : scaled.shape[1]] = 255 * scaled
    return cv2.resize(colours.reshape(h, w, 3), (side, side), interpolation=cv2.INTER_NEAREST)


def occlusion(
    effect: Callable[[list[np.ndarray]], np.ndarray], image: np.ndarray, patch: int, step: int
) -> np.ndarray:
    """How much it matters that a part of the window is hidden: (size / step, size / step) float.

    Parameters
    ----------
    effect : windows (S, S, 3) uint8 -> one number each.
    patch, step : side of the grey square and the distance between its places, pixels.
    """
    size = len(image)
    centres = np.arange(step // 2, size, step)
    hidden = []
    for y in centres:
        for x in centres:
            covered = image.copy()
            top, left = max(0, y - patch // 2), max(0, x - patch // 2)
            covered[top : y + patch // 2 + 1, left : x + patch // 2 + 1] = 128
            hidden.append(covered)
    values = [effect(hidden[i : i + 16]) for i in range(0, len(hidden), 16)]
    return np.concatenate(values).reshape(len(centres), len(centres))


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """1 - IoU of a volume (D, S, S) with each of others (N, D, S, S), probabilities: (N,) float."""
    return np.array([1 - metrics.iou(other, before > 0.5) for other in after > 0.5])


def heat(values: np.ndarray, image: np.ndarray, most: float | None = None) -> np.ndarray:
    """A coarse map over its window (S, S, 3) uint8: the brighter, the higher; `most` is the brightest."""
    size = len(image)
    smooth = cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    share = np.clip(smooth / max(most or float(values.max()), 1e-9), 0, 1)[..., None]
    grey = image.mean(2, keepdims=True)
    return (0.45 * grey + share * np.array([255.0, 150.0, 0.0]) * 0.55).astype(np.uint8)


def side(volume: np.ndarray) -> np.ndarray:
    """The volume from the side, summed along x: (H, depth in whole pixels) uint8, viewer on the right."""
    thickness = volume.sum(2).T[:, ::2].astype(np.float32)
    return (255 * thickness / max(thickness.max(), 1e-6)).astype(np.uint8)


def dots(image: np.ndarray, landmarks: np.ndarray, zoom: int, truth: np.ndarray | None = None) -> np.ndarray:
    """A window enlarged `zoom` times with landmarks (68, 2) as orange dots; true ones, if given, as blue."""
    out = np.ascontiguousarray(figures.enlarge(image, zoom))
    for points, colour in ((truth, (0, 114, 178)), (landmarks, (230, 120, 0))):
        for x, y in () if points is None else points:
            place = (round((float(x) + 0.5) * zoom), round((float(y) + 0.5) * zoom))
            cv2.circle(out, place, max(1, zoom // 2), colour, -1, cv2.LINE_AA)
    return out


def stop(learned: Learned, watched: Sequence[dict[str, np.ndarray]], stage: int, zoom: int = 2) -> np.ndarray:
    """What a network answered to the watched faces at one stage, in a row: landmarks, if it finds them
    (orange, the true ones blue), and the relief of the volume.
    """
    answer, pictures = learned.answers[stage], []
    for k, one in enumerate(watched):
        if answer.landmarks is not None:
            pictures.append(dots(one["image"], answer.landmarks[k], zoom, one["landmarks"]))
        if answer.volume is not None:
            pictures.append(relief(answer.volume[k], zoom))
    return figures.sheet(pictures, len(pictures))


def stops(learned: Learned, watched: Sequence[dict[str, np.ndarray]], height: float = 0.95) -> Any:
    """`stop` of every stage below each other, the truth at the end, as a matplotlib figure."""
    heard = learned.answers[0].landmarks is not None  # then each window stands beside its volume
    images, reliefs = (
        [draw(one) for one in watched] for draw in (_window, lambda one: relief(one["volume"], 2))
    )
    truth = [p for pair in zip(images, reliefs, strict=True) for p in pair] if heard else reliefs
    rows = [stop(learned, watched, k) for k in range(len(learned.stages))] + [
        figures.sheet(truth, len(truth))
    ]
    titles = [f"{faces:,} faces" for faces in learned.stages] + ["truth"]
    if not heard:
        rows.append(figures.sheet(images, len(images)))
        titles.append("what it was shown")
    return figures.row(rows, titles, height, columns=1)


def _window(sample: dict[str, np.ndarray]) -> np.ndarray:
    return figures.enlarge(sample["image"], 2)


def relief(volume: np.ndarray, zoom: int) -> np.ndarray:
    """A volume (D, S, S) as a shaded relief (zoom S, zoom S, 3) uint8."""
    return figures.enlarge(figures.grey(figures.depth_shading(volume)), zoom)


def study(path: str | Path, alt: str) -> dict[str, Any] | None:
    """Show the figure of a study (``<study>.json``, its ``.png`` beside it); its contents, None if it has not
    run.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        figures.note(f"The study has **not run**: `python -m vrnlib.studies {path.stem}`.")
        return None
    with Image.open(path.with_suffix(".png")) as picture:
        figures.show(np.asarray(picture.convert("RGB")), alt=alt)
    return read_json(path)


def plus_minus(value: dict[str, Any] | None) -> str:
    """A mean over seeds and half of its interval (:func:`vrnlib.studies.arms.over_seeds`), in words."""
    if not value:
        return ""
    low, high = value["interval"] or (0.0, 0.0)
    return f"{value['mean']:.3f}" + (f" ± {(high - low) / 2:.3f}" if high > low else "")
