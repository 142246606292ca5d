# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-all
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training VRN
#
# **How is the network built and trained, and what does it get right and wrong on faces it has never seen?**
#
# ## Learning goals
# - Read the loss of the paper and say what its gradient does.
# - Explain a residual module and an hourglass, and why a face needs both.
# - Tell the two wirings of the hourglass apart.
# - Watch a small network learn, and judge a trained one on held-out faces.
#
# ## Prerequisites
# [02](02_volumes.ipynb): the volume. Convolution, batch normalisation and gradient descent by name.
#
# ## Input files
# - `results/checkpoints/vrn-laptop.safetensors`: the trained network
# - `results/runs/vrn-laptop/log.jsonl`: the log of its training
# - If it is there, `results/studies/architecture.json`, with its figure `results/studies/architecture.png`: what the parts of the network buy
# - If it is there, `results/evaluation/vrn-laptop`: its error on held-out faces
# - If they are there, `results/runs/vrn-paper`, `results/evaluation/vrn-paper` and `results/checkpoints/vrn-paper.safetensors`: the same of a
#   network of the paper's size
#
# ## Output files
# - `results/notebooks/03_train_vrn/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine. The training of the committed network is a run of its own;
# its log says how long that took.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: how long the small network trains, how many faces are judged
seed: int = 77  # of the held-out faces and of the small network
learning_rate: float = 0.001  # of the small network
weights: str = "../results/checkpoints/vrn-laptop.safetensors"  # the trained network
log: str = "../results/runs/vrn-laptop/log.jsonl"  # the log of its training
study: str = "../results/studies/architecture.json"  # the study of the architecture, if there is one
evaluation: str = "../results/evaluation/vrn-laptop"  # its evaluation, if there is one
paper_log: str = "../results/runs/vrn-paper/log.jsonl"  # the log of a network of the paper's size, if there is one
paper_evaluation: str = "../results/evaluation/vrn-paper"  # its evaluation
paper_weights: str = "../results/checkpoints/vrn-paper.safetensors"  # the network itself
out: str = "../results"  # folder for what this notebook writes

# %%
import tempfile
import time
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

from vrnlib import (
    appearance,
    checkpoint,
    databases,
    faces,
    figures,
    loss,
    metrics,
    networks,
    params,
    provenance,
    recipe,
    train,
)
from vrnlib.databases import SynthLP
from vrnlib.networks import VRN, Hourglass, Residual
from vrnlib.predict import load_network
from vrnlib.scores import compare
from vrnlib.studies import lesson
from vrnlib.voxel import Grid, isosurface

started = time.perf_counter()
figures.style()
small = params.profile("smoke")
shown_faces = {"smoke": 320, "laptop": 8000, "paper": 8000}[profile]  # to the small network, counting repetitions
drawn_faces = {"smoke": 48, "laptop": 480, "paper": 480}[profile]  # different ones among them
stops = {"smoke": 2, "laptop": 5, "paper": 5}[profile]  # in its training, to ask it about a few faces
judged = {"smoke": 12, "laptop": 96, "paper": 200}[profile]  # held-out faces for the trained network
patches = {"smoke": 4, "laptop": 8, "paper": 16}[profile]  # places across the window that are covered, one at a time

# %% [markdown]
# ## The loss
# > "In training, the 3D image is represented as 3D binary matrix, which means that classification is done using logistic
# > regression, in paper's case is sigmoid cross entropy loss" ([2], Sec. 2.4)
#
# $$l_1 = \sum_{w=1}^{W} \sum_{h=1}^{H} \sum_{d=1}^{D} V_{whd} \log \hat{V}_{whd} + (1 - V_{whd}) \log (1 - \hat{V}_{whd})$$
#
# $V$ is the target, 0 or 1, and $\hat{V}$ the network's probability (the review writes $W$ and $W'$). As printed, the sum is
# negative and should be *maximised*: paper and review leave out a minus sign. Each voxel is a yes-or-no question, and all count alike.
# The lines that implement it:

# %%
lesson.code(loss.voxel_loss)

# %%
logit = np.linspace(-6, 6, 200)
probability = 1 / (1 + np.exp(-logit))
fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.5))
axes[0].plot(logit, -np.log(probability), label="target 1")
axes[0].plot(logit, -np.log(1 - probability), label="target 0")
axes[0].set(xlabel="logit (output before the sigmoid)", ylabel="loss", title="loss of one voxel")
axes[1].plot(logit, probability - 1, label="target 1")
axes[1].plot(logit, probability, label="target 0")
axes[1].set(xlabel="logit", ylabel="gradient", title="its gradient: probability minus target")
for axis in axes:
    axis.legend(frameon=False)
figures.show(fig, alt="Left: the loss falls to zero where the answer is right and grows linearly where it is wrong. Right: the gradient is probability minus target.")
filled = float(np.mean([SynthLP(small.size, small.depth, seed=seed, augment=False)[12 * i]["volume"].mean() for i in range(10)]))
ignorant = -np.log(0.5)
constant = -(filled * np.log(filled) + (1 - filled) * np.log(1 - filled))
figures.note(
    f"Two landmarks on the scale of the loss: a network that says one half everywhere has {ignorant:.3f}; one that only knows that "
    f"{100 * filled:.0f} % of the voxels are filled has {constant:.3f}. Learning about *faces* starts below the second number."
)

# %% [markdown]
# **What to notice.** The gradient is bounded and never dies while the answer is wrong. A voxel that is right asks for nothing: what
# remains to be learned lies at the surface.
#
# ## The residual module
# > "Due backpropagation learning impact reduction, some feedback from original source is needed, then a residual signal from
# > original is added." ([2], Sec. 2.3)
#
# In plain words: a gradient that passes through many layers is distorted. It fades, or, where batch normalisation holds the sizes of
# the features, it grows. So each module *adds* to its input instead of replacing it: the sum lets the gradient through unchanged.

# %%
lesson.code(Residual)

# %%
torch.manual_seed(seed)


def gradient_at(modules: list[nn.Module]) -> np.ndarray:
    """Size of the gradient at the input of each module of a chain, relative to that at the end."""
    x = torch.randn(4, 32, 16, 16, requires_grad=True)
    values = [x]
    for module in modules:
        values.append(module(values[-1]))
        values[-1].retain_grad()
    (values[-1] * torch.randn_like(values[-1])).sum().backward()
    sizes = np.array([v.grad.norm().item() for v in values])
    return sizes / sizes[-1]


chain = [Residual(32, 32, 16) for _ in range(30)]
fig, axis = plt.subplots(figsize=(5.2, 2.5))
with_skip, without = gradient_at(chain), gradient_at([r.bottleneck for r in chain])
axis.semilogy(with_skip, label="with the addition")
axis.semilogy(without, label="without")
axis.set(xlabel="module, from the image to the output", ylabel="relative gradient")
axis.legend(frameon=False)
figures.show(fig, alt="Gradient along a chain of thirty modules: nearly level with the skip connection, changing by orders of magnitude without.")
figures.note(
    f"From the end of the chain to its start the gradient changes by a factor of {with_skip[0]:.2g} with the addition, and of "
    f"{without[0]:.2g} without it (random weights, before any training)."
)

# %% [markdown]
# **What to notice.** Without the addition no single learning rate fits both ends of the chain. With it, one does.
#
# ## The hourglass
# > "While local evidence is essential for identifying features like faces and hands, a final pose estimate requires a coherent
# > understanding of the full body." ([2], Sec. 2.2)
#
# For us: a dark spot may be a nostril, the corner of an eye or a mole. How deep it lies depends on where the rest of the face
# is. So the network must see everything at once (small resolution, wide view), and still say what happens at each
# pixel (full resolution). The hourglass does both: one branch goes down and up again, the other stays, and they are added.

# %%
lesson.code(Hourglass)

# %% [markdown]
# The paper draws the ordinary hourglass (wiring `low`). The *released* network is wired in another way (`skip`): its inner
# hourglasses hang in the branch that is not pooled. The structure of the published weights says so. Both
# wirings are made of the same kinds of blocks, and have nearly as many parameters: easily confused.
#
#     low:   in -+- residuals ------------------------------ + - out      skip:  in -+- residuals - [inner hourglass] - + - out
#                +- pool - residuals - [inner] - residuals -x2                       +- pool - residuals - residuals --x2
#
# The trace below runs an image through both and notes the resolution after each module.

# %%
laptop = params.profile("laptop")
wirings = {}
for wiring in ("low", "skip"):
    wirings[wiring] = VRN(laptop.features, laptop.modules, laptop.stacks, laptop.levels, laptop.depth, wiring)
traces = {wiring: lesson.trace(model, laptop.size) for wiring, model in wirings.items()}
fig, axes = plt.subplots(2, 1, figsize=(7.6, 3.6), sharex=True, sharey=True)
for axis, (wiring, steps), colour in zip(axes, traces.items(), figures.PALETTE, strict=False):
    axis.step(range(len(steps)), [shape[1] for _, shape in steps], where="mid", color=colour)
    axis.set(yscale="log", ylabel="side in pixels", title=f"wiring {wiring}")
    axis.set_yticks([3, 6, 12, 24, 48, 96], labels=["3", "6", "12", "24", "48", "96"])
    axis.set_yticks([], minor=True)
axes[-1].set_xlabel("step, in the order of computation")
figures.show(fig, alt="Resolution after each step. In wiring low, both hourglasses go down to 3 pixels and up again; in wiring skip they never go below 12.")
rows = lesson.changes(traces["low"])
half = next(i for i, r in enumerate(rows) if i > 6 and r[1] == "Upsample" and f"{laptop.size // 4} x" in r[2])
figures.note("The `laptop` network up to the end of the first hourglass; rows where the shape changes:")
figures.note(figures.table(["step", "module", "channels x rows x columns"], [*rows[: half + 1], rows[-1]]))
counts = {wiring: networks.parameter_count(model) for wiring, model in wirings.items()}
lowest = {wiring: min(shape[1] for _, shape in steps) for wiring, steps in traces.items()}
figures.note(
    f"Parameters: low {counts['low']:,}, skip {counts['skip']:,}. Lowest resolution: low {lowest['low']}, skip {lowest['skip']} pixels."
)

# %% [markdown]
# **What to notice.** The last step jumps from a quarter of the resolution to all of it: a bilinear enlargement. (Our trained network puts
# one more module at half the resolution in between, `refine`, which is left out here.) The depth slices of the volume are *channels*; the network has no third dimension to convolve over.
#
# ### How far does one pixel see?
# Which pixels of the photograph can change the answer in the middle of the window? The picture shows the gradient of the
# middle column of the volume with respect to the image, averaged over networks with random weights.

# %%


def sight(wiring: str, levels: int, size: int = 96, networks_drawn: int = 4) -> np.ndarray:
    """(size, size) float 0..1: influence of each pixel on the middle column of the volume, relative to the strongest."""
    total = np.zeros((size, size))
    for k in range(networks_drawn):
        torch.manual_seed(seed + k)
        model = VRN(32, 1, 2, levels, 20, wiring).eval()
        image = torch.rand(1, 3, size, size, requires_grad=True)
        model(image)[0, :, size // 2, size // 2].sum().backward()
        influence = image.grad[0].abs().sum(0).numpy()
        total += influence / influence.max()
    return total / total.max()


views = {"low, 3 levels": sight("low", 3), "low, 1 level": sight("low", 1), "skip, 3 levels": sight("skip", 3)}
pictures = [figures.enlarge((255 * (np.log10(np.maximum(v, 1e-4)) / 4 + 1)).astype(np.uint8), 2) for v in views.values()]
fig = figures.row(pictures, list(views), height=2.0)
figures.show(fig, alt="Influence of each pixel on the middle, logarithmic grey: with three pooled levels it covers the whole window; with one level or the skip wiring it is a smaller patch.", photo=True)
rows = [(name, f"{100 * (v > 0).mean():.0f} %", f"{100 * (v > 0.001).mean():.0f} %") for name, v in views.items()]
figures.note(figures.table(["network", "pixels that can matter", "pixels above a thousandth of the strongest"], rows))

# %% [markdown]
# **What to notice.** Pooling buys sight. A network that sees half of a face can still guess the rest from what it learned about
# faces; it just can't look.
#
# ## RMSProp and the schedule
# > "Each of the architectures was trained end-to-end using RMSProp with an initial learning rate of 10^-4, which was lowered
# > after 40 epochs to 10^-5." ([2], Sec. 2.5)
#
# RMSProp divides each parameter's gradient by its own running size: $s \leftarrow \alpha s + (1 - \alpha) g^2$, then
# $w \leftarrow w - \eta \, g / (\sqrt{s} + \epsilon)$. Every weight moves at about the same speed, however steep its slope. The figure lets it
# run down a valley that is a hundred times steeper across than along, with some noise on the gradient, as from small batches.

# %%
steep = torch.tensor([1.0, 100.0])


def descend(make: type[torch.optim.Optimizer], rate: float, drop: float = 1.0, steps: int = 400) -> np.ndarray:
    """Height over the bottom at each step; the rate is multiplied by `drop` after 80 % of the steps."""
    torch.manual_seed(seed)
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimiser = make([w], lr=rate)
    path = []
    for step in range(steps):
        if step == int(0.8 * steps):
            optimiser.param_groups[0]["lr"] = rate * drop
        height = 0.5 * (steep * w**2).sum()
        path.append(height.item())
        optimiser.zero_grad()
        height.backward()
        w.grad += steep.sqrt() * 0.3 * torch.randn(2)
        optimiser.step()
    return np.array(path)


fractions = np.linspace(0, 1, 200, endpoint=False)
schedules = {}
for name, of in (("the paper's", recipe.PAPER), ("laptop", recipe.LAPTOP)):
    end = of.get("max_faces", 1_000_000)
    run_params = train.TrainParams.of("laptop", **{**of, "max_faces": end})
    schedules[name] = [train.learning_rate(run_params, checkpoint.State(position=int(end * f))) for f in fractions]
fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.4))
for make, rate, drop, label in [
    (torch.optim.SGD, 0.01, 1.0, "plain gradient descent"),
    (torch.optim.RMSprop, 0.02, 1.0, "RMSProp"),
    (torch.optim.RMSprop, 0.02, 0.1, "RMSProp, rate dropped"),
]:
    path = descend(make, rate, drop)
    axes[0].semilogy(np.convolve(path, np.ones(15) / 15, "valid"), label=label)
axes[0].set(xlabel="step", ylabel="height (mean of 15 steps)", title="a valley")
axes[0].legend(frameon=False, fontsize=7)
for name, rates in schedules.items():
    axes[1].semilogy(100 * fractions, rates, label=name)
axes[1].legend(frameon=False, fontsize=7)
axes[1].set(xlabel="% of the run", ylabel="learning rate", title="two recipes")
figures.show(fig, alt="Left: RMSProp falls down the valley fast and then rattles at the bottom; with the rate dropped at the end it comes lower. Right: the learning rate of the paper, constant, then a tenth, and that of a short run, four times as large at first and halved seven times.")

# %% [markdown]
# **What to notice.** At a constant rate RMSProp does not settle: it rattles. That is what the drops at the end of a schedule are for.
# Our faces are drawn without end, so we count the run in faces or minutes and not in epochs.
#
# ## Watch a small network learn
# The `smoke` network is tiny. It sees the same drawn faces again and again, without augmentation: a small world that can be learned
# in a minute or two. The lines below are the log of `vrnlib.train`, which trains the large ones too.

# %%
world = lesson.Recycled(SynthLP(small.size, small.depth, seed=seed, augment=False), drawn_faces)
unseen = lesson.Recycled(SynthLP(small.size, small.depth, seed=seed + 1, augment=False), 48)
stages = lesson.doubling(shown_faces // 32, shown_faces, stops, 8)
plan = train.TrainParams.of(
    "smoke", features=32, batch_size=8, learning_rate=learning_rate, max_faces=stages[-1], seed=seed, workers=0,
    validation_faces=48, validate_minutes=60.0, log_steps=max(5, shown_faces // 8 // 12), data_tag="recycled",
)  # fmt: skip
watched = unseen.samples[:5]
with tempfile.TemporaryDirectory() as folder:
    learned = lesson.learn(plan, folder, world, unseen, watched, stages)

# %%
steps, checks = learned.of("train"), learned.of("validate")
fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.4))
axes[0].plot([r["faces"] for r in steps], [r["loss"] for r in steps], label="faces it trains on")
axes[0].plot([r["faces"] for r in checks], [r["loss"] for r in checks], "o-", label="faces it never saw")
axes[0].axhline(constant, color="grey", linestyle=":", label="knows only how full volumes are")
axes[0].set(xlabel="faces shown", ylabel="loss")
axes[0].legend(frameon=False, fontsize=8)
axes[1].plot([r["faces"] for r in checks], [r["iou"] for r in checks], "o-", color=figures.PALETTE[1])
axes[1].set(xlabel="faces shown", ylabel="IoU on unseen faces", ylim=(0, 1))
figures.show(fig, alt="Left: training and held-out loss fall from the first minute on. Right: intersection over union on unseen faces rises.")

# %% [markdown]
# Its answers to five faces that it never sees, at each stop. The slider shows one stop at a time.

# %%
figures.playground(lambda stage: lesson.stop(learned, watched, stage, 3), stage=ipywidgets.IntSlider(len(stages), 0, len(stages), description="stop"))

# %%
fig = lesson.stops(learned, watched, 0.75)
figures.show(fig, alt="Reliefs of five faces at each stop of the training: a grey block, a blob, then faces that turn the right way; the truth and the windows below.", photo=True)
gap = checks[-1]["loss"] - steps[-1]["loss"]
figures.note(
    f"After {checks[-1]['faces']:,} faces shown ({drawn_faces} different ones) in {60 * checks[-1]['minutes']:.0f} s the small network, "
    f"{networks.parameter_count(learned.model):,} parameters, reaches an IoU of {checks[-1]['iou']:.2f} on faces it never saw. Its loss there is "
    f"{gap:+.3f} above that on its own faces."
)

# %% [markdown]
# **What to notice.** First it learns where a face is and how large; which way the face looks comes later. Compare the predicted reliefs
# with each other: the more alike they are, the closer the network still is to *one* average face. The gap between the two losses is *overfitting*: the same few
# faces again and again. The large network never sees a face twice.
#
# ## The trained network
# The committed network learned by the same loop, for longer, from faces that never repeat, in several sittings. Its curves come from its log.

# %%
records = checkpoint.read_log(log)
steps = [r for r in records if r["event"] == "train"]
checks = [r for r in records if r["event"] == "validate"]
fig, axes = plt.subplots(1, 3, figsize=(8.6, 2.4))
axes[0].plot([r["faces"] / 1000 for r in steps], [r["loss"] for r in steps], label="training (augmented)", linewidth=1)
axes[0].plot([r["faces"] / 1000 for r in checks], [r["loss"] for r in checks], "o-", markersize=3, label="held out")
axes[0].set(xlabel="thousand faces", ylabel="loss", yscale="log")
axes[0].legend(frameon=False, fontsize=8)
axes[1].plot([r["faces"] / 1000 for r in checks], [r["iou"] for r in checks], "o-", markersize=3, color=figures.PALETTE[1])
axes[1].set(xlabel="thousand faces", ylabel="IoU, held out")
axes[2].semilogy([r["faces"] / 1000 for r in steps], [r["learning_rate"] for r in steps], color=figures.PALETTE[2])
axes[2].set(xlabel="thousand faces", ylabel="learning rate")
figures.show(fig, alt="Three curves of the committed training run over the number of faces: loss, intersection over union on held-out faces, learning rate.")
last = records[-1]
figures.note(
    f"The log covers {last['faces']:,} faces in {last['minutes']:.0f} minutes"
    + (f"; the last check on held-out faces gave IoU {checks[-1]['iou']:.3f}." if checks else "; held-out faces were not checked yet.")
    + f" It was shown {checkpoint.data_shown(records)}."
)
for r in records:
    if r["event"] == "phase" and "learning_rate" in r["changed"]:
        before, now = r["changed"]["learning_rate"]
        figures.note(
            f"At {r['faces']:,} faces a new schedule began, from {now:g} instead of {before:g}"
            + (", and so did the refinement of the head." if r["changed"].get("refine", [1])[0] == 0 else ".")
        )

# %% [markdown]
# ## On faces it has never seen
# Held-out people, poses, light and backgrounds, from another seed than training and validation. For each face: the image, the true
# and the predicted relief, and true and predicted volume seen from the side, as if it were of glass.

# %%
network = load_network(weights)
held_out = SynthLP(network.size, network.model.architecture.depth, seed=seed + 2_000_000, augment=False)
grid = Grid(network.size, network.model.architecture.depth)
basis = faces.load_basis()
records = []
for k in range(judged):
    sample = held_out[k * (databases.POSES_PER_FACE + 1)]
    answer = network.predict(sample["image"])
    rng = np.random.default_rng(k)
    mean_face = databases.render_sample(
        basis.mean, appearance.sample_look(rng), sample["pose"], appearance.sample_light(rng), grid, rng, None
    )
    truth = sample["volume"]
    records.append(
        {
            "index": k,
            "yaw": float(np.rad2deg(sample["pose"][1])),
            "iou": metrics.iou(answer, truth),
            "iou of the mean face": metrics.iou(mean_face["volume"], truth),
            "sample": sample,
            "answer": answer.astype(np.float16),
        }
    )
scores = np.array([r["iou"] for r in records])
baseline = np.array([r["iou of the mean face"] for r in records])


def gallery(chosen: list[dict]) -> tuple[list[np.ndarray], list[str]]:
    pictures, titles = [], []
    for r in chosen:
        truth, answer = r["sample"]["volume"], r["answer"].astype(np.float32)
        pictures += [r["sample"]["image"], figures.grey(figures.depth_shading(truth)), figures.grey(figures.depth_shading(answer))]
        pictures += [figures.grey(lesson.side(truth)), figures.grey(lesson.side(answer))]
        titles += [f"yaw {r['yaw']:.0f}", "truth", f"IoU {r['iou']:.2f}", "truth", "answer"]
    zoom = max(1, 96 // network.size)
    return [figures.enlarge(p, zoom) for p in pictures], titles


fig = figures.row(*gallery(records[:3]), height=1.1, columns=10)
figures.show(fig, alt="Three held-out faces: image, true relief, predicted relief, true and predicted view from the side.", photo=True)
figures.note(
    f"Over {judged} held-out faces the mean IoU is **{scores.mean():.3f}** (standard deviation {scores.std():.3f}). The mean face in the "
    f"true pose would score {baseline.mean():.3f}. The network beats it on {100 * (scores > baseline).mean():.0f} % of the faces."
)

# %% [markdown]
# **What to notice.** The mean face in the *true* pose is a strong opponent: it is told the pose, which the network has to find. Where
# the network wins, it has seen something of the person.
#
# ## Feature maps of every scale
# What the network computes on the way, at each resolution, for one face. Colours are the three strongest principal components of the
# channels: places of one colour look alike to the network.

# %%
model, _ = networks.load(weights)
windows = [r["sample"]["image"] for r in records[:3]]
maps, titles = [figures.enlarge(windows[0], max(1, 96 // network.size))], ["image"]
for name, part in [("stem", model.stem), ("hourglass", model.stacks[0])]:
    for features in lesson.feature_maps(model, part, lambda: lesson.ask(model, windows[:1])):
        maps.append(lesson.components(features, 96))
        titles.append(f"{name}\n{features.shape[1]} x {features.shape[2]}")
fig = figures.row(maps, titles, height=0.8, columns=8)
figures.show(fig, alt="Feature maps from the stem through the first hourglass: fine at first, a few large patches at its bottom, fine again with the outline of the face.", photo=True)

# %% [markdown]
# **What to notice.** At the bottom of an hourglass a handful of cells must say all about the face. On the way up the outline returns: it
# comes through the branch that was not pooled.
#
# ## What the network sees
# A grey square hides a part of the photograph. The brighter a place, the more hiding it changes the volume (1 - IoU with the answer to the whole
# window).

# %%
whole = lesson.ask(model, windows).volume
step = network.size // patches
found = [
    lesson.occlusion(lambda hidden, k=k: lesson.changed(whole[k], lesson.ask(model, hidden).volume), windows[k], step + step // 2, step)
    for k in range(len(windows))
]
most = max(float(v.max()) for v in found)
tiles = [t for v, image in zip(found, windows, strict=True) for t in (image, lesson.heat(v, image, most))]
fig = figures.row(tiles, ["image", "what matters"] * len(windows), height=1.2)
figures.show(fig, alt="Three faces, each with a map of how much hiding a part of it changes the predicted volume.", photo=True)
figures.note(f"The brightest place changes the volume by {most:.3f}; over all places the mean is {np.mean(found):.4f}.")

# %% [markdown]
# **What to notice.** Where a face has structure, its photograph matters; background does not, unless it hides where the head ends.
#
# ## What it gets wrong

# %%
order = np.argsort(scores)
fig = figures.row(*gallery([records[i] for i in order[:3]]), height=1.1, columns=10)
figures.show(fig, alt="The three held-out faces with the lowest score: image, true relief, predicted relief, and both from the side.", photo=True)

yaws = np.abs([r["yaw"] for r in records])
bands = [(0, 30), (30, 60), (60, 91)]
rows = []
for low, high in bands:
    inside = (yaws >= low) & (yaws < high)
    mean = [f"{v[inside].mean():.3f}" if inside.any() else "-" for v in (scores, baseline)]
    rows.append((f"{low} to {min(high, 90)} degrees", int(inside.sum()), *mean))
figures.note(figures.table(["absolute yaw", "faces", "IoU of the network", "IoU of the mean face in the true pose"], rows))

error = np.zeros(grid.shape[1:])
for r in records:
    error += ((r["answer"] > 0.5) != (r["sample"]["volume"] > 0)).mean(0)
error /= len(records)
depth_error = np.mean([((r["answer"] > 0.5) != (r["sample"]["volume"] > 0)).mean((1, 2)) for r in records], axis=0)
fig, axes = plt.subplots(1, 2, figsize=(6.6, 2.5), width_ratios=[1, 1.6])
axes[0].imshow(error, cmap="magma")
axes[0].set_title("wrong voxels per column")
axes[0].set_axis_off()
axes[1].plot(grid.z_of(np.arange(grid.depth)), 100 * depth_error)
axes[1].set(xlabel="z in pixels (viewer on the right)", ylabel="wrong voxels, %", title="by depth")
figures.show(fig, alt="Where the wrong voxels are, averaged over the held-out faces: a map over the window and a curve over depth.")

# %% [markdown]
# **What to notice.** Look for what the worst faces share: sunglasses, a bar across the face, almost no light, a profile that
# looks away. Errors gather along the outline and at the back of the solid, which no photograph shows.
#
# ## The error of the paper
# The NME on held-out faces is computed by the evaluation of the suite, not here. The table is read from its file.

# %%
file = Path(evaluation) / "metrics.json"
if file.is_file():
    content = provenance.read_json(file)
    bands = [("all", content["nme"]), *((f"{b['low']:g} to {b['high']:g}", b) for b in content["by_yaw"])]
    rows = [
        (name, b["faces"], b["failed"], f"{b['mean']:.4f}", "{:.4f} to {:.4f}".format(*b["interval"]), f"{b['median']:.4f}")
        for name, b in bands
        if b["mean"] is not None
    ]
    header = ["absolute yaw, degrees", "faces", "without a result", "mean NME", "95 % interval of the mean", "median"]
    figures.note(figures.table(header, rows))
    figures.note("Drawn faces, `laptop` volume: not to be set beside the paper's numbers, which are for photographs and scans at 192 pixels.")
else:
    figures.note("The evaluation has **not run**: there is no `results/evaluation/vrn-laptop/metrics.json`.")

# %% [markdown]
# ## The paper's size
# At 192 pixels a face has eight times the voxels, and the network of 256 features has seven times the weights. Nobody has to begin there: `vrnlib.grow` makes the small network wider and
# deeper, and its training goes on from there (`make paper-size`). More channels and modules alone change nothing that it computes; the larger image, a
# level more and the head without refinement do, and training has to mend that. What does the larger grid buy, and what does it cost?

# %%
judged_both = [Path(e) / "errors.csv" for e in (evaluation, paper_evaluation)]
if Path(paper_log).is_file() and all(f.is_file() for f in judged_both):
    large = checkpoint.read_log(paper_log)
    large_checks = [r for r in large if r["event"] == "validate"]
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.4))
    for axis, name, label in ((axes[0], "iou", "IoU, held out"), (axes[1], "nme", "NME, held out")):
        known = [r for r in large_checks if r.get(name) is not None]
        axis.plot([r["faces"] / 1000 for r in known], [r[name] for r in known], "o-", markersize=3, label="192 pixels, from the grown network on")
        axis.axhline(checks[-1][name], linestyle="--", color=figures.PALETTE[1], label="96 pixels, where it ended")
        axis.set(xlabel="thousand faces at 192 pixels", ylabel=label)
    axes[1].legend(frameon=False, fontsize=7)
    axes[1].set_ylim(top=1.25 * max(r["nme"] for r in large_checks if r.get("nme") is not None))  # room for the legend
    figures.show(fig, alt="Two curves of the training at 192 pixels over the number of faces, IoU and NME on held-out faces, with the last value of the small network as a line.")
    tables = [pd.read_csv(f).set_index("index") for f in judged_both]
    both = tables[0].index.intersection(tables[1].index)
    small_errors, large_errors = (t.loc[both] for t in tables)
    rows = []
    for name, title in (("nme", "NME (Eq. 2)"), ("nme_rigid", "NME after rigid alignment"), ("iou", "IoU, each with its own grid"), ("floor", "NME of the true volume")):
        test = compare(large_errors[name], small_errors[name], groups=small_errors["identity"].tolist())
        rows.append((title, f"{small_errors[name].mean():.4f}", f"{large_errors[name].mean():.4f}", f"{test['difference']:+.4f}", "{:+.4f} to {:+.4f}".format(*test["interval"])))
    figures.note(f"The same {len(both)} held-out faces:")
    figures.note(figures.table(["", "96 pixels", "192 pixels", "difference", "95 % interval, paired"], rows))
    speeds = [np.median([r["faces_per_second"] for r in log_ if r["event"] == "train"]) for log_ in (steps, large)]
    figures.note(f"The large network was shown {large[-1]['faces']:,} faces in {large[-1]['minutes']:.0f} minutes, {speeds[1]:.1f} a second; the small one before it {last['faces']:,}, at {speeds[0]:.0f} a second.")
else:
    figures.note("**Not run**: `make paper-size`, then `python -m vrnlib.evaluate --network results/checkpoints/vrn-paper.safetensors --out results/evaluation/vrn-paper`.")

# %%
if Path(paper_weights).is_file():
    large_network = load_network(paper_weights)
    fine = SynthLP(large_network.size, large_network.model.architecture.depth, seed=seed + 2_000_000, augment=False)
    pictures, titles, seconds = [], [], []
    for r in [r for r in records if abs(r["yaw"]) < 45][:3]:
        sample = fine[r["index"] * (databases.POSES_PER_FACE + 1)]  # the same person, pose and light at twice the resolution
        began = time.perf_counter()
        answer = large_network.predict(sample["image"])
        between = time.perf_counter()
        network.predict(r["sample"]["image"])
        seconds.append((between - began, time.perf_counter() - between))
        meshes = [isosurface(v) for v in (r["answer"].astype(np.float32), answer, sample["volume"].astype(np.float32))]
        pictures += [sample["image"], *(t for mesh in meshes for t in figures.turned(*mesh, turns=(0, 60)))]
        titles += [f"yaw {r['yaw']:.0f}", f"{network.size} pixels", "", f"{large_network.size} pixels", "", "truth", ""]
    fig = figures.row(pictures, titles, height=1.2, columns=7)
    figures.show(fig, alt="Three held-out faces: the image, then the surface that the small and the large network answer and the true surface, each from the front and turned by 60 degrees.", photo=True)
    slow, quick = np.median(seconds, axis=0)
    figures.note(f"An answer took the large network {slow:.2f} s here, the small one {quick:.2f} s ({slow / quick:.0f} times as long).")
else:
    figures.note(f"There is no `{Path(paper_weights).name}` to show faces of.")

# %% [markdown]
# **What to notice.** The first steps at 192 pixels were too large for a grown network: its scores fell before they rose, and rose when the steps were
# halved. With a twentieth of the faces it is level with the small network by Eq. 2 and closer to the truth once place and pose are taken out, as finer voxels
# should be; its IoU is lower. Its surfaces have *terraces*: as in the paper, logits stand on a grid of a quarter of the image's side, and one
# bilinear step of four enlarges them. Between two cells whose logits are both far from 0 that makes a stair. The small network smooths it with one module more at half the resolution
# (`refine`), which the paper's shape does not have.

# %% [markdown]
# ## What do hourglass, modules and stacks buy?
# The thesis that extends [1] varied stacks and modules at full size, and found NMEs between .0621 and .0639: next to nothing. Nobody left the hourglass or
# the additions out. `python -m vrnlib.studies architecture` does, with small networks, each from several seeds, all on the very same faces.

# %%
content = lesson.study(study, alt="Left and middle: IoU and NME on held-out faces of networks with other numbers of hourglasses and modules, the released wiring, a chain in place of the hourglass, and no residual additions; means and intervals over the seeds. Right: cost in training and parameters.")
if content:
    rows = [(a["label"], f"{a['parameters']:,}", a["residual_modules"], a["lowest_side"], lesson.plus_minus(a["iou"]), lesson.plus_minus(a["nme"])) for a in content["arms"].values()]
    figures.note(figures.table(["network", "parameters", "residual modules", "smallest map", "IoU", "NME"], rows))
    figures.note("\n".join(f"- {line}" for line in content["conclusion"]))

# %% [markdown]
# **What to notice.** The budget is small: it says what is learned *soon*. A difference that the intervals do not bear out is not one. What stands out are
# the residual additions: without them the same modules learn clearly worse. More modules or hourglasses buy little for what they cost, as in the thesis, and even
# the chain in place of the hourglass is not clearly behind: at 64 pixels its few cells see the whole face as well.
#
# ## Check yourself
# Solutions: [solutions_03_train_vrn](solutions_03_train_vrn.ipynb).
#
# **1.** What is the loss of a network that answers a probability of 0.8 in every voxel, if a tenth of the voxels are filled?

# %%
answer = None
figures.check("1. loss of a constant", answer, -(0.1 * np.log(0.8) + 0.9 * np.log(0.2)), tolerance=0.001)

# %% [markdown]
# **2.** How many parameters has `Residual(64, 64, 32)`? Count weights and biases of three convolutions and of three batch
# normalisations.

# %%
answer = None
figures.check("2. parameters of a module", answer, networks.parameter_count(Residual(64, 64, 32)))

# %% [markdown]
# **3.** An hourglass of wiring `low` with 4 levels stands on 48 pixels (the paper's size). What is its lowest resolution?

# %%
answer = None
figures.check("3. lowest resolution", answer, min(s[1] for _, s in lesson.trace(VRN(16, 1, 1, 4, 8, "low"), 192)))

# %% [markdown]
# ## Summary
# Each voxel is a yes-or-no question; residual modules keep the gradient alive; hourglasses let every pixel see the whole face; RMSProp
# moves all weights at one pace. The trained network is judged on held-out faces against the mean face in the true pose.

# %%
numbers = {
    "headline": {
        "iou_held_out": float(scores.mean()),
        "iou_mean_face_true_pose": float(baseline.mean()),
        "share_better_than_mean_face": float((scores > baseline).mean()),
        "training_faces": last["faces"],
        "training_minutes": last["minutes"],
    },
    "held_out_faces": judged,
    "iou_standard_deviation": float(scores.std()),
    "small_network": {"faces_shown": shown_faces, "final_loss": learned.of("validate")[-1]["loss"], "final_iou": learned.of("validate")[-1]["iou"]},
}
target = Path(out) / "notebooks" / "03_train_vrn" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, numbers)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# Train your own: `vrn train vrn --profile laptop --out build/my-run --minutes 120`; stop it with Ctrl-C, and the same command
# goes on. Then `python -m vrnlib reconstruct photo.jpg --network build/my-run/vrn-laptop.safetensors --out face.glb`, or back to
# [00](00_start_here.ipynb) with the parameter `weights`.
#
# ## References
# 1. Jackson et al. *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression.* ICCV 2017, Sec. 3.
# 2. A. Mauricio, J. López. *Paper Review* of [1].
# 3. K. He, X. Zhang, S. Ren, J. Sun. *Identity Mappings in Deep Residual Networks.* ECCV 2016.
# 4. A. Newell, K. Yang, J. Deng. *Stacked Hourglass Networks for Human Pose Estimation.* ECCV 2016.
# 5. T. Tieleman, G. Hinton. *RMSProp.* Lecture 6.5, Neural Networks for Machine Learning, 2012.
