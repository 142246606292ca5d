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
# # Training VRN-Multitask
#
# **Two questions to one network, where are the landmarks and what is the volume: do the answers help each other?**
#
# ## Learning goals
# - Read the fork of VRN-Multitask and say which weights serve which answer.
# - Tell what a heat-map head is trained to answer, and why most of its loss is silence.
# - Measure whether two tasks pull shared weights the same way.
# - Watch landmarks and volume appear during training.
# - Find out which part of a photograph each answer needs.
#
# ## Prerequisites
# [03](03_train_vrn.ipynb): loss, residual modules, hourglass, RMSProp.
#
# ## Input files
# None that must be there. If there is one, the trained network `results/checkpoints/multitask-laptop.safetensors`.
#
# ## Output files
# - `results/notebooks/04_train_vrn_multitask/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: how long the small networks train, how many faces are judged
seed: int = 44  # of the faces and of the small networks
learning_rate: float = 0.002  # of the small networks
weights: str = "../results/checkpoints/multitask-laptop.safetensors"  # the trained network, if there is one
out: str = "../results"  # folder for what this notebook writes

# %%
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch

from vrnlib import batches, figures, landmarks, metrics, networks, objective, params, provenance
from vrnlib.databases import SynthLP
from vrnlib.networks import Multitask
from vrnlib.studies import lesson

started = time.perf_counter()
figures.style()
size, depth = 48, params.depth_of(48)  # of the small networks
shown_faces = {"smoke": 48, "laptop": 9600, "paper": 120_000}[profile]  # to each small network, counting repetitions
drawn_faces = {"smoke": 16, "laptop": 960, "paper": 4000}[profile]  # different ones among them
stops = {"smoke": 2, "laptop": 5, "paper": 5}[profile]  # in its training, to ask it about a few faces
judged = {"smoke": 8, "laptop": 64, "paper": 200}[profile]  # held-out faces for the network that is looked into
patches = {"smoke": 4, "laptop": 8, "paper": 16}[profile]  # places across the window that are covered, one at a time
print(f"small networks: {size} pixels, {depth} slices, {shown_faces:,} faces shown")

# %% [markdown]
# ## One trunk, a fork
# > "The first hourglass provides features to a fork of two hourglasses. The first of this fork regresses the 68 iBUG landmarks as 2D
# > Gaussians, each on a separate channel. The second hourglass of this fork directly regresses the 3D structure of the face as a
# > volume" ([2], Sec. 2.4)
#
#     image - stem - hourglass -+- hourglass - head: 68 heat-maps
#                               +- hourglass - head: volume

# %%
lesson.code(Multitask)

# %%
laptop = params.profile("laptop")
network = networks.build(networks.architecture_of(laptop, "multitask"))
alone = networks.build(networks.architecture_of(laptop, "vrn"))
parts = {"stem": network.stem, "shared hourglass": network.shared, "volume branch": network.volume, "heat-map branch": network.heatmaps}
counts = {name: networks.parameter_count(part) for name, part in parts.items()}
total = networks.parameter_count(network)
figures.note(figures.table(["part", "parameters", "share"], [*((n, f"{c:,}", f"{100 * c / total:.0f} %") for n, c in counts.items()), ("together", f"{total:,}", "")]))
figures.note(f"A VRN of the same profile has {networks.parameter_count(alone):,}. For the volume alone, both have the same path: stem, two hourglasses, head.")
steps = lesson.trace(network, laptop.size)
figures.note("Shapes along the way; the rows of the branches come one after the other, the volume's first:")
figures.note(figures.table(["step", "module", "channels x rows x columns"], lesson.changes(steps)))

# %% [markdown]
# **What to notice.** Asking for landmarks costs the volume nothing: take the heat-map branch away and a VRN remains. If the second task helps, it helps through
# what it teaches the shared part.
#
# ## What the second head should say
# > "same loss (sigmoid cross entropy) on both tails, even weights" (thesis that extends [1])
#
# Each heat-map is a yes-or-no question in every cell, as the volume is in every voxel. The two means are added.

# %%
lesson.code(objective.heatmap_loss)
lesson.code(objective.losses)

# %%
sample = SynthLP(laptop.size, laptop.depth, seed=seed, augment=False)[5 * 13]
cells = laptop.size // (2 if laptop.refine else 4)
wanted = landmarks.targets(torch.from_numpy(sample["landmarks"])[None], laptop.size, cells)[0].numpy()
big = laptop.size * 2 // cells
pictures = [lesson.dots(sample["image"], sample["landmarks"], 2), figures.enlarge((255 * wanted.max(0)).astype(np.uint8), big)]
pictures += [figures.enlarge((255 * wanted[k]).astype(np.uint8), big) for k in (30, 36, 48, 8)]
fig = figures.row(pictures, ["landmarks", "all targets", "30: nose tip", "36: eye corner", "48: mouth corner", "8: chin"], height=1.7, columns=6)
figures.show(fig, alt="A face with 68 dots, the 68 target Gaussians in one picture on a coarser grid, and four of them alone.", photo=True)
base = float(wanted.mean())
silent = float(-(base * np.log(base) + (1 - base) * np.log(1 - base)))
entropy = float(-(wanted * np.log(np.clip(wanted, 1e-9, 1)) + (1 - wanted) * np.log(np.clip(1 - wanted, 1e-9, 1))).mean())
figures.note(
    f"The targets' mean is {base:.4f}. A network that says so in every cell has a loss of {silent:.4f}; one that draws every Gaussian exactly still "
    f"has {entropy:.4f}, because a target of one half is a question without an answer. All there is to learn lies between the two."
)

# %% [markdown]
# **What to notice.** Nearly all cells are black. Silence is most of the way to a small loss, and a network learns it first: its heat-maps stay dark for a
# while, and then light up.
#
# ## Do the two tasks agree?
# Both send gradients into the shared part. Their cosine says whether a step for one is a step for the other: 1 the same way, 0
# indifferent, below 0 against each other. Here is the cosine of a small network before training; after training it is measured again.

# %%
world = lesson.Recycled(SynthLP(size, depth, seed=seed, augment=False), drawn_faces)
unseen = lesson.Recycled(SynthLP(size, depth, seed=seed + 1, augment=False, truth=True), 32)
plan, stages = lesson.small_plan("multitask", size, shown_faces, stops, seed, learning_rate)


def agreement(model: Multitask) -> dict[str, tuple[float, float]]:
    """For stem and shared hourglass: cosine of the two tasks' gradients, and how many times the volume's is larger."""
    batch = batches.pack([world[k] for k in range(16)])
    image, volume, points = objective.inputs(batch, model.architecture)
    parts = objective.losses(model.train(), model.architecture, image, volume, points)
    out = {}
    for name, part in (("stem", model.stem), ("shared hourglass", model.shared)):
        weights = [w for w in part.parameters() if w.ndim > 1]
        flat = [torch.cat([g.flatten() for g in torch.autograd.grad(parts[k], weights, retain_graph=True)]) for k in ("volume", "heatmaps")]
        out[name] = (torch.cosine_similarity(*flat, dim=0).item(), (flat[0].norm() / flat[1].norm()).item())
    return out


torch.manual_seed(seed)
before = agreement(networks.build(plan.architecture))

# %% [markdown]
# ## Watch it learn
# A small VRN-Multitask learns a small world of drawn faces, and beside it a VRN of the same size: the same faces, seed and
# rate. Both are stopped a few times and asked about faces that they never see.

# %%
watched = unseen.samples[:3]
with tempfile.TemporaryDirectory() as folder:
    learned = lesson.learn(plan, Path(folder) / "multitask", world, unseen, watched, stages)
    plain = lesson.learn(replace(plan, kind="vrn"), Path(folder) / "vrn", world, unseen, watched, stages, say=lambda _: None)

# %%
checks, plain_checks = learned.of("validate"), plain.of("validate")
fig, axes = plt.subplots(1, 3, figsize=(8.8, 2.4))
for name, label in (("loss_volume", "volume"), ("loss_heatmaps", "heat-maps")):
    axes[0].plot([r["faces"] for r in learned.of("train")], [r[name] for r in learned.of("train")], label=label)
axes[0].plot([r["faces"] for r in plain.of("train")], [r["loss"] for r in plain.of("train")], ":", color="0.3", label="volume, VRN alone")
axes[0].set(xlabel="faces shown", ylabel="training loss", yscale="log")
axes[0].legend(frameon=False, fontsize=8)
axes[1].plot([r["faces"] for r in checks], [r["iou"] for r in checks], "o-", label="Multitask")
axes[1].plot([r["faces"] for r in plain_checks], [r["iou"] for r in plain_checks], "s:", color="0.3", label="VRN alone")
axes[1].set(xlabel="faces shown", ylabel="IoU on unseen faces", ylim=(0, 1))
axes[1].legend(frameon=False, fontsize=8)
axes[2].plot([r["faces"] for r in checks], [100 * r["landmark_error"] for r in checks], "o-", color=figures.PALETTE[1])
axes[2].set(xlabel="faces shown", ylabel="landmark error, % of\ninterocular distance", ylim=(0, None))
figures.show(fig, alt="Left: both losses fall, the volume's about as that of a VRN alone. Middle: IoU on unseen faces of both networks. Right: the landmark error falls.")
gain = checks[-1]["iou"] - plain_checks[-1]["iou"]
figures.note(
    f"After {checks[-1]['faces']:,} faces shown ({drawn_faces} different ones): IoU on unseen faces {checks[-1]['iou']:.3f} with the second task, "
    f"{plain_checks[-1]['iou']:.3f} without: {gain:+.3f}. One seed, 32 faces: a difference of a hundredth or two says nothing. Landmarks are "
    f"{100 * checks[-1]['landmark_error']:.0f} % of the interocular distance off."
)
after = agreement(learned.model)
rows = [(part, *(f"{x:+.2f}" for x in (before[part][0], after[part][0])), *(f"{x:.1f}" for x in (before[part][1], after[part][1]))) for part in before]
figures.note(figures.table(["weights of", "cosine before training", "after", "volume's gradient over the heat-maps', before", "after"], rows))

# %% [markdown]
# **What to notice.** The paper reports the same: its difference between Multitask and VRN is not significant ([1], and the thesis that extends it). Look at
# the cosines for a reason: the further below 1, the more the second task asks of the trunk for itself.
#
# The same three faces at each stop: found landmarks (orange; blue: true), and the volume. The slider shows one stop at a time.

# %%
figures.playground(lambda stage: lesson.stop(learned, watched, stage), stage=ipywidgets.IntSlider(len(stages), 0, len(stages), description="stop"))

# %%
fig = lesson.stops(learned, watched, 0.8)
figures.show(fig, alt="Three faces at each stop of the training: dots that gather on the face, reliefs that turn from noise into faces; the truth below.", photo=True)

# %% [markdown]
# ## The trained network

# %%
model, window, said = lesson.trained(weights, learned.model, size)
figures.note(said)
zoom = max(1, 96 // window)
held_out = SynthLP(window, model.architecture.depth, seed=seed + 2_000_000, augment=False, truth=True)
faces = [held_out[k * 13] for k in range(judged)]
windows = [f["image"] for f in faces]
answer_of = lesson.ask(model, windows)
ious = np.array([metrics.iou(v, f["volume"]) for v, f in zip(answer_of.volume, faces, strict=True)])
true_points = torch.from_numpy(np.stack([f["landmarks"] for f in faces]))
eyes = torch.from_numpy(np.stack([f["eyes"] for f in faces]))
off = landmarks.landmark_error(torch.from_numpy(answer_of.landmarks), true_points, eyes).numpy()
tiles, titles = [], []
for k in range(4):
    glow = figures.enlarge((255 * answer_of.heatmaps[k].max(0)).astype(np.uint8), max(1, window * zoom // answer_of.heatmaps.shape[-1]))
    tiles += [lesson.dots(windows[k], answer_of.landmarks[k], zoom, faces[k]["landmarks"]), figures.grey(glow)]
    tiles += [lesson.relief(faces[k]["volume"], zoom), lesson.relief(answer_of.volume[k], zoom)]
    titles += [f"{100 * off[k]:.0f} % off", "heat-maps", "truth", f"IoU {ious[k]:.2f}"]
fig = figures.row(tiles, titles, height=1.05, columns=8)
figures.show(fig, alt="Four held-out faces: found and true landmarks, all heat-maps in one picture, true relief, predicted relief.", photo=True)
figures.note(
    f"Over {judged} held-out faces of {window} pixels: IoU {ious.mean():.3f} (standard deviation {ious.std():.3f}), landmarks {100 * off.mean():.1f} % of the interocular "
    f"distance off (median {100 * np.median(off):.1f} %)."
)

# %% [markdown]
# ## Feature maps of every scale
# One face on its way: the shared part, then both branches. Colours are the three strongest principal components of the channels.

# %%
ways = [("stem", model.stem), ("shared", model.shared), ("volume", model.volume), ("heat-maps", model.heatmaps)]
maps, titles = [figures.enlarge(windows[0], max(1, 144 // window))], ["image"]
for name, part in ways:
    for features in lesson.feature_maps(model, part, lambda: lesson.ask(model, windows[:1])):
        maps.append(lesson.components(features, 144))
        titles.append(f"{name}\n{features.shape[1]} x {features.shape[2]}")
fig = figures.row(maps, titles, height=1.15, columns=7)
figures.show(fig, alt="Feature maps of the stem, the shared hourglass and both branches, from fine to a few cells and back.")

# %% [markdown]
# **What to notice.** After the fork the maps part ways: the volume's branch paints surfaces, the heat-maps' branch draws places.
#
# ## What each answer needs to see
# A grey square hides a part of the photograph. How much does the volume change (1 - IoU with the answer to the whole window)? How far do the landmarks
# move?

# %%
whole = lesson.ask(model, windows[:3])


def of_volume(face: int):
    """For `lesson.occlusion`: change of the volume."""
    return lambda hidden: lesson.changed(whole.volume[face], lesson.ask(model, hidden).volume)


def of_landmarks(face: int):
    """For `lesson.occlusion`: mean way of the landmarks in pixels."""
    return lambda hidden: np.linalg.norm(lesson.ask(model, hidden).landmarks - whole.landmarks[face], axis=2).mean(1)


step = window // patches
found = {(k, name): lesson.occlusion(make(k), windows[k], step + step // 2, step) for k in range(3) for name, make in (("volume", of_volume), ("landmarks", of_landmarks))}
most = {name: max(float(v.max()) for (_, n), v in found.items() if n == name) for name in ("volume", "landmarks")}
tiles, titles = [], []
for k in range(3):
    tiles += [figures.enlarge(windows[k], zoom)] + [figures.enlarge(lesson.heat(found[k, n], windows[k], most[n]), zoom) for n in most]
    titles += ["image", *most]
fig = figures.row(tiles, titles, height=1.15, columns=9)
figures.show(fig, alt="Three faces, and for volume and landmarks a map of how much hiding each part changes the answer.", photo=True)
figures.note(f"The brightest places: covering one changes the volume by {most['volume']:.3f}, and moves the landmarks by {most['landmarks']:.1f} pixels on average.")

# %% [markdown]
# **What to notice.** Both answers need the same places: those that give away where the face is and how it is turned.
#
# ## Failures

# %%
order = np.argsort(ious)
tiles, titles = [], []
for i in order[:4]:
    tiles += [lesson.dots(windows[i], answer_of.landmarks[i], zoom, faces[i]["landmarks"]), lesson.relief(faces[i]["volume"], zoom), lesson.relief(answer_of.volume[i], zoom)]
    titles += [f"landmarks {100 * off[i]:.0f} % off", "truth", f"IoU {ious[i]:.2f}"]
fig = figures.row(tiles, titles, height=1.15, columns=6)
figures.show(fig, alt="The four held-out faces with the lowest IoU: found landmarks in orange and true ones in blue, true relief, predicted relief.", photo=True)
relation = float(np.corrcoef(off, ious)[0, 1])
figures.note(f"Correlation of landmark error and IoU over {judged} faces: {relation:+.2f}.")

# %% [markdown]
# **What to notice.** The two heads never speak to each other after the fork. Where they fail together, it is what they share that failed: the view of
# the face.
#
# ## Check yourself
# Solutions: [solutions_04_train_vrn_multitask](solutions_04_train_vrn_multitask.ipynb).
#
# **1.** The paper's heat-map head ends in a 1 x 1 convolution from 256 channels to 68 heat-maps. How many parameters has it, biases included?

# %%
answer = None
figures.check("1. parameters of the head", answer, 256 * 68 + 68)

# %% [markdown]
# **2.** A gradient of the volume is (3, 4), one of the heat-maps (4, 3). What is their cosine?

# %%
answer = None
figures.check("2. cosine", answer, (3 * 4 + 4 * 3) / 25, tolerance=0.001)

# %% [markdown]
# **3.** Of 24 x 24 cells a heat-map wants 1 in one cell and 0 in all others. What is the loss of a network that answers 0.01 everywhere?

# %%
answer = None
figures.check("3. loss of near-silence", answer, -(np.log(0.01) + 575 * np.log(0.99)) / 576, tolerance=0.0005)

# %% [markdown]
# ## Summary
# One trunk, two branches, two equal losses. The volume's path is that of a VRN; the landmarks come on top, for half as many weights again. Whether they help the volume is a
# small question with a small answer, in the paper as here.

# %%
numbers = {
    "headline": {"iou": float(ious.mean()), "landmark_error": float(off.mean()), "small_iou_gain_over_vrn": gain},
    "network": "laptop" if Path(weights).is_file() else "small",
    "held_out_faces": judged,
    "small_network": {k: checks[-1].get(k) for k in ("faces", "iou", "landmark_error")},
    "small_vrn_alone": {k: plain_checks[-1].get(k) for k in ("faces", "iou")},
    "cosine_of_gradients": {"before": {k: v[0] for k, v in before.items()}, "after": {k: v[0] for k, v in after.items()}},
    "correlation_landmark_error_iou": relation,
}
target = Path(out) / "notebooks" / "04_train_vrn_multitask" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, numbers)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# Train one in earnest: `vrn train multitask --profile laptop --out build/my-multitask --minutes 120`, or this notebook with `--profile paper`, in which the small networks see
# more faces. Then [05](05_train_vrn_guided.ipynb): the landmarks as an input instead.
#
# ## References
# 1. Jackson et al. *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression.* ICCV 2017, Sec. 3.4.
# 2. A. Mauricio, J. López. *Paper Review* of [1].
# 3. A. Newell, K. Yang, J. Deng. *Stacked Hourglass Networks for Human Pose Estimation.* ECCV 2016.
# 4. T. Yu et al. *Gradient Surgery for Multi-Task Learning.* NeurIPS 2020 (the cosine of two tasks' gradients).
