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
# # Training VRN-Guided
#
# **How do the landmarks get into the network, and do they help?**
#
# ## Learning goals
# - Draw 68 landmarks as 68 pictures, and find the points in such pictures again.
# - Follow a window through both networks of VRN-Guided.
# - Watch landmarks and volume being learned at the same time.
# - Switch guidance off, move it, shake it, and predict what happens to the face.
# - Say from a controlled study which way of guiding is worth what.
#
# ## Prerequisites
# [03](03_train_vrn.ipynb): loss, residual modules, hourglass, RMSProp.
#
# ## Input files
# - `results/studies/guidance.json`: the study of the ways to guide
# - `results/studies/guidance.png`: its figure
# - If it is there, `results/checkpoints/guided-laptop.safetensors`: the trained network
#
# ## Output files
# - `results/notebooks/05_train_vrn_guided/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: how long the small network trains, how many faces are judged
seed: int = 55  # of the faces and of the small network
learning_rate: float = 0.002  # of the small network
weights: str = "../results/checkpoints/guided-laptop.safetensors"  # the trained network, if there is one
study: str = "../results/studies/guidance.json"  # the study of the ways to guide
out: str = "../results"  # folder for what this notebook writes

# %%
import tempfile
import time
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch

from vrnlib import evaluate_landmarks, figures, landmarks, metrics, networks, params, provenance
from vrnlib.databases import SynthLP
from vrnlib.heatmaps import heatmaps
from vrnlib.networks import Guided
from vrnlib.studies import lesson

started = time.perf_counter()
figures.style()
size, depth = 48, params.depth_of(48)  # of the small network
shown_faces = {"smoke": 48, "laptop": 9600, "paper": 120_000}[profile]  # to the small network, counting repetitions
drawn_faces = {"smoke": 16, "laptop": 960, "paper": 4000}[profile]  # different ones among them
stops = {"smoke": 2, "laptop": 5, "paper": 5}[profile]  # in its training, to ask it about a few faces
judged = {"smoke": 8, "laptop": 64, "paper": 200}[profile]  # held-out faces for the network that is looked into
patches = {"smoke": 4, "laptop": 8, "paper": 16}[profile]  # places across the window that are covered, one at a time

# %% [markdown]
# ## From points to pictures
# > "the input to this architecture is an RGB image stacked with 68 channels, each containing a Gaussian (sigma = 1, approximate
# > diameter of 6 pixels) centred on each of the 68 landmarks" ([2], Sec. 2.4)
#
# A convolution can't read a list of numbers, but it can read pictures. So each landmark becomes a picture of its own, with one
# bright spot. The lines that draw it:

# %%
lesson.code(heatmaps)

# %%
laptop = params.profile("laptop")
sample = SynthLP(laptop.size, laptop.depth, seed=seed, augment=False)[7 * 13]
image, points = sample["image"], sample["landmarks"]
stack = heatmaps(points, laptop.size, 1.0)
pictures = [lesson.dots(image, points, 2), figures.enlarge((255 * stack.max(0)).astype(np.uint8), 2)]
pictures += [figures.enlarge((255 * stack[k]).astype(np.uint8), 2) for k in (30, 36, 45, 8)]
titles = ["68 landmarks", "all channels at once", "30: nose tip", "36: eye corner", "45: eye corner", "8: chin"]
fig = figures.row(pictures, titles, height=1.7, columns=6)
figures.show(fig, alt="A face with 68 dots; the 68 Gaussians in one picture; four single channels, each black with one small bright spot.", photo=True)
figures.note(
    f"Image and channels together: {3 + len(stack)} x {laptop.size} x {laptop.size} numbers. {100 * (stack > 0.01).mean():.2f} % of "
    "those in the 68 channels are not nearly zero."
)

# %% [markdown]
# **What to notice.** Which channel holds the spot says *which* landmark it is, its place says *where*. The points are projections of
# points on the head: those on the far side of a turned head are drawn as well, where no camera could see them. That is knowledge that the photograph does
# not contain.
#
# ### Sigma
# The review asks in which "magnitudes" the heat-maps come. Sigma is one of them: it trades a sharp place for one that can be seen from afar.
# With a live kernel the slider changes it.

# %%


def spots(sigma: float) -> np.ndarray:
    """The Gaussians over the window, (3 S, 3 S, 3) uint8."""
    drawn = heatmaps(points, laptop.size, sigma).max(0)[..., None]
    shown = image * (0.55 - 0.35 * drawn) + drawn * np.array([255, 170, 0]) * 0.9
    return figures.enlarge(np.clip(shown, 0, 255).astype(np.uint8), 3)


figures.playground(spots, sigma=ipywidgets.FloatSlider(1.0, min=0.5, max=6, step=0.5, description="sigma"))

# %%
fig = figures.row([spots(s) for s in (0.5, 1, 2, 4)], [f"sigma {s:g}" for s in (0.5, 1, 2, 4)], height=1.8)
figures.show(fig, alt="The landmarks drawn with four sigmas: points, small spots, spots that touch, a glow that covers the face.", photo=True)

# %% [markdown]
# ## From pictures back to points
# > "during testing we used a stacked hourglass network trained for facial landmark localisation" ([2], Sec. 2.4)
#
# That network answers with 68 heat-maps too, on a grid coarser than the window: a quarter of its side in the paper, half of it in our `laptop` network. Which point does a heat-map mean? Three readings:
# the brightest cell (*argmax*); the mean of all cells, weighted by brightness (*soft-argmax*); a parabola through the logarithms of the
# brightest cell and its neighbours. The last is ours: of a Gaussian the logarithm *is* a parabola.

# %%
lesson.code(landmarks.decode)

# %%
cells = laptop.size // 4  # the ratio of the paper
rng = np.random.default_rng(seed)
place = torch.from_numpy(rng.uniform(12, laptop.size - 13, (1, 68, 2)).astype(np.float32))
clean = landmarks.targets(place, laptop.size, cells)


def readings(level: float) -> dict[str, float]:
    """Mean error in pixels of each reading; `level` is a flat doubt, the same in every cell of the map."""
    p = (clean * (1 - level) + level).clamp(1e-4, 1 - 1e-4)
    grid = torch.arange(cells, dtype=torch.float32) * (laptop.size - 1) / (cells - 1)
    share = p / p.sum((2, 3), keepdim=True)
    soft = torch.stack([(share.sum(2) * grid).sum(2), (share.sum(3) * grid).sum(2)], 2)
    best = p.flatten(2).argmax(2)
    hard = torch.stack([grid[best % cells], grid[best // cells]], 2)
    found, _ = landmarks.decode(torch.logit(p), laptop.size)
    return {name: (x - place).norm(dim=2).mean().item() for name, x in (("argmax", hard), ("soft-argmax", soft), ("parabola", found))}


doubts = [0.0, 0.001, 0.01, 0.05]
rows = [(f"{d:g}", *(f"{v:.2f}" for v in readings(d).values())) for d in doubts]
figures.note(figures.table(["doubt in every cell", *readings(0.0)], rows))
figures.note(f"Mean error in pixels of a {laptop.size}-pixel window, {cells} x {cells} cells.")

# %% [markdown]
# **What to notice.** The brightest cell alone is more than a pixel off, because cells are coarse. The mean is exact as long as the
# map is black elsewhere; the least doubt everywhere pulls it to the middle of the window. The parabola looks at three cells only, and does not care.
#
# ## Two networks in a row
# > "many details are necesary to do it, specially how to introduce the heatmaps (...) in network and which method is used to get
# > them" ([2], Sec. 3.3)
#
# What the paper does is in these lines: landmark network, points, fresh Gaussians, 71 channels, volume network. In training the
# Gaussians are those of the *true* landmarks.

# %%
lesson.code(Guided)

# %%
guided = networks.build(networks.architecture_of(laptop, "guided"))
tables = {
    "landmark network": lesson.changes(lesson.trace(guided.landmarks, laptop.size)),
    "volume network": lesson.changes(lesson.trace(guided.volume, laptop.size, 3 + networks.LANDMARKS)),
}
for name, rows in tables.items():
    figures.note(f"**{name}**, {networks.parameter_count(guided.landmarks if 'land' in name else guided.volume):,} parameters; rows where the shape changes:")
    half = next(i for i, r in enumerate(rows) if i > 6 and r[1] == "Upsample" and f"{laptop.size // 4} x" in r[2])
    figures.note(figures.table(["step", "module", "channels x rows x columns"], [*rows[: half + 1], rows[-1]]))

# %% [markdown]
# **What to notice.** Both are the same network but for the first convolution, which has 71 channels in place of 3, and the
# last one. No gradient flows through the points: the landmark network is not told what would help the volume.
#
# ## Watch it learn
# A small VRN-Guided, 48 pixels, learns from a small world of drawn faces: the same ones again and again, without augmentation. It is stopped a few times
# and asked about faces that it never sees.

# %%
world = lesson.Recycled(SynthLP(size, depth, seed=seed, augment=False), drawn_faces)
unseen = lesson.Recycled(SynthLP(size, depth, seed=seed + 1, augment=False, truth=True), 32)
plan, stages = lesson.small_plan("guided", size, shown_faces, stops, seed, learning_rate)
watched = unseen.samples[:3]
with tempfile.TemporaryDirectory() as folder:
    learned = lesson.learn(plan, folder, world, unseen, watched, stages)

# %%
checks = learned.of("validate")
fig, axes = plt.subplots(1, 3, figsize=(8.8, 2.4))
for name, label in (("loss_volume", "volume"), ("loss_heatmaps", "heat-maps")):
    axes[0].plot([r["faces"] for r in learned.of("train")], [r[name] for r in learned.of("train")], label=label)
axes[0].set(xlabel="faces shown", ylabel="training loss", yscale="log")
axes[0].legend(frameon=False, fontsize=8)
axes[1].plot([r["faces"] for r in checks], [r["iou_true_landmarks"] for r in checks], "o-", label="true landmarks")
axes[1].plot([r["faces"] for r in checks], [r["iou"] for r in checks], "s-", label="its own landmarks")
axes[1].set(xlabel="faces shown", ylabel="IoU on unseen faces", ylim=(0, 1))
axes[1].legend(frameon=False, fontsize=8)
axes[2].plot([r["faces"] for r in checks], [100 * r["landmark_error"] for r in checks], "s-", color=figures.PALETTE[1])
axes[2].set(xlabel="faces shown", ylabel="landmark error, % of\ninterocular distance", ylim=(0, None))
figures.show(fig, alt="Left: both losses fall. Middle: IoU on unseen faces rises faster with the true landmarks than with the network's own. Right: its landmark error falls.")
figures.note(
    f"After {checks[-1]['faces']:,} faces shown ({drawn_faces} different ones), {60 * checks[-1]['minutes']:.0f} s: IoU on unseen faces "
    f"{checks[-1]['iou_true_landmarks']:.2f} when it is told the true landmarks, {checks[-1]['iou']:.2f} with its own, which are "
    f"{100 * checks[-1]['landmark_error']:.0f} % of the interocular distance off."
)

# %% [markdown]
# The same three faces at each stop, with the landmarks that it found (orange; blue: true) and the volume that followed. The slider shows one stop at a time.

# %%
figures.playground(lambda stage: lesson.stop(learned, watched, stage), stage=ipywidgets.IntSlider(len(stages), 0, len(stages), description="stop"))

# %%
fig = lesson.stops(learned, watched, 0.8)
figures.show(fig, alt="Three faces at each stop of the training: dots that gather on the face, reliefs that turn from noise into faces; the truth below.", photo=True)

# %% [markdown]
# **What to notice.** The volume network learns at once to trust the landmarks: they say where the face is, how large, and how it
# is turned. So as long as the landmarks are poor, a volume is drawn faithfully in the wrong place. The landmarks are what takes time.
#
# ## The trained network
# %%
model, window, said = lesson.trained(weights, learned.model, size)
figures.note(said)
zoom = max(1, 96 // window)
held_out = SynthLP(window, model.architecture.depth, seed=seed + 2_000_000, augment=False, truth=True)
faces = [held_out[k * 13] for k in range(judged)]
pictures_of = [f["image"] for f in faces]
true_points = np.stack([f["landmarks"] for f in faces])
own = lesson.ask(model, pictures_of)
rng = np.random.default_rng(seed)
pixel = window / 64  # the study's pixel
guides = {
    "its own landmarks": own.landmarks,
    "the true ones": true_points,
    "true, noise of 1/64 of the window": true_points + rng.normal(0, pixel, true_points.shape),
    "true, noise of 4/64": true_points + rng.normal(0, 4 * pixel, true_points.shape),
    "true, moved sideways by 3/64": true_points + [3 * pixel, 0],
    "those of another face": np.roll(true_points, 1, 0),
    "switched off": np.full_like(true_points, -10 * window),
}
answers = {name: own if name == "its own landmarks" else lesson.ask(model, pictures_of, guide) for name, guide in guides.items()}
ious = {name: np.array([metrics.iou(v, f["volume"]) for v, f in zip(a.volume, faces, strict=True)]) for name, a in answers.items()}
figures.note(figures.table(["guided by", "mean IoU", "faces on which it beats its own landmarks"], [
    (name, f"{v.mean():.3f}", "" if name == "its own landmarks" else f"{100 * (v > ious['its own landmarks']).mean():.0f} %")
    for name, v in ious.items()
]))  # fmt: skip
eyes = torch.from_numpy(np.stack([f["eyes"] for f in faces]))
off = landmarks.landmark_error(torch.from_numpy(own.landmarks), torch.from_numpy(true_points), eyes).numpy()
figures.note(f"{judged} held-out faces of {window} pixels; its own landmarks are {100 * off.mean():.1f} % of the interocular distance off.")
scored = Path(out) / "evaluation" / "landmarks" / "metrics.json"
if scored.is_file():
    figures.note("Its landmark network beside Multitask's and dlib's model, on the same windows; error in % of the interocular distance (`python -m vrnlib.evaluate_landmarks`):")
    figures.note(figures.table(list(evaluate_landmarks.COLUMNS), evaluate_landmarks.table(provenance.read_json(scored))))
    figures.note("dlib's jaw is the visible outline, which on a turned face is not the jaw; the last column leaves the jaw out. It has seen photographs only, and few of them in profile.")
else:
    figures.note("Landmark error per band of yaw: not run (`python -m vrnlib.evaluate_landmarks`).")

# %%
chosen = list(answers)
tiles, titles = [], []
for k in range(2):
    tiles += [figures.enlarge(faces[k]["image"], zoom), lesson.relief(faces[k]["volume"], zoom)]
    tiles += [lesson.relief(answers[name].volume[k], zoom) for name in chosen]
    short = ["own", "true", "noise 1", "noise 4", "moved", "another's", "off"]
    titles += ["image", "truth"] + [f"{s}: {ious[name][k]:.2f}" for s, name in zip(short, chosen, strict=True)]
fig = figures.row(tiles, titles, height=0.9, columns=9)
figures.show(fig, alt="Two faces, and their reliefs when guided by the network's own landmarks, by the true ones, by noisy ones, by moved ones, by another face's, by none.", photo=True)

# %% [markdown]
# **What to notice.** Given another face's landmarks, the network builds *that* face's pose over this photograph. It believes the landmarks
# more than its eyes. Switched off, it is lost: it has never seen a window without Gaussians. Noise that moves each point for itself is partly evened out over
# 68 points; a shift of them all is not.
#
# ### Live: shake and shift
# The sliders move the true landmarks of one face; the volume follows.

# %%


def shaken(face: int, noise: float, right: float, turn: float) -> np.ndarray:
    """Landmarks moved by hand and the relief that follows, side by side; `noise` and `right` in 48ths of the window, `turn` in degrees."""
    p = true_points[face]
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    p = (p - p.mean(0)) @ np.array([[c, s], [-s, c]]) + p.mean(0) + [right * pixel, 0]
    p = p + np.random.default_rng(0).normal(0, 1, p.shape) * noise * pixel
    answer = lesson.ask(model, [pictures_of[face]], p[None])
    big = 2 * zoom
    return figures.sheet([lesson.dots(pictures_of[face], p, big), lesson.relief(answer.volume[0], big), lesson.relief(faces[face]["volume"], big)], 3)


figures.playground(
    shaken,
    face=ipywidgets.IntSlider(0, 0, judged - 1, description="face"),
    noise=ipywidgets.FloatSlider(0, min=0, max=6, step=0.5, description="noise"),
    right=ipywidgets.FloatSlider(0, min=-10, max=10, step=1, description="right"),
    turn=ipywidgets.FloatSlider(0, min=-60, max=60, step=10, description="turn"),
)

# %%
states = [(0, 0, 0, 0), (0, 3, 0, 0), (0, 0, 6, 0), (0, 0, 0, 40)]
fig = figures.row([shaken(*s) for s in states], ["as they are", "noise 3", "6 to the right", "turned by 40 degrees"], height=1.0, columns=2)
figures.show(fig, alt="Four states of the sliders: landmarks, predicted and true relief. The relief goes where the landmarks go.", photo=True)

# %% [markdown]
# ## Feature maps of every scale
# What the volume network computes on the way, at each resolution, for one face. Colours are the three strongest principal components of
# the channels: places of one colour look alike to the network.

# %%
stages_of = [model.volume.stem, model.volume.stacks[0], model.volume.stacks[-1]]
maps, titles = [figures.enlarge(pictures_of[0], max(1, 144 // window))], ["image"]
for part, name in zip(stages_of, ("stem", "first hourglass", "last hourglass"), strict=True):
    for features in lesson.feature_maps(model, part, lambda: lesson.ask(model, pictures_of[:1])):
        maps.append(lesson.components(features, 144))
        titles.append(f"{name}\n{features.shape[1]} x {features.shape[2]}")
fig = figures.row(maps, titles, height=1.15, columns=7)
figures.show(fig, alt="Feature maps from the stem through the hourglasses: fine at first, a few large patches at the bottom of each hourglass, fine again with the outline of the face.")

# %% [markdown]
# **What to notice.** At the bottom of an hourglass a handful of cells must say all about the face. On the way up the outline returns: it comes
# through the branch that was not pooled.
#
# ## What the network sees
# A grey square hides a part of the photograph; how much does the volume change? Once with landmarks that the network has to find in the covered
# photograph, once with the true landmarks throughout.

# %%
whole = {"own": lesson.ask(model, pictures_of[:3]).volume, "true": lesson.ask(model, pictures_of[:3], true_points[:3]).volume}


def effect(face: int, true_landmarks: bool):
    """For `lesson.occlusion`: 1 - IoU with the answer to the whole window."""

    def of(windows: list[np.ndarray]) -> np.ndarray:
        guide = np.repeat(true_points[face : face + 1], len(windows), 0) if true_landmarks else None
        return lesson.changed(whole["true" if true_landmarks else "own"][face], lesson.ask(model, windows, guide).volume)

    return of


step = window // patches
found = {(k, t): lesson.occlusion(effect(k, t), pictures_of[k], step + step // 2, step) for k in range(3) for t in (False, True)}
most = max(float(v.max()) for v in found.values())
tiles, titles = [], []
for k in range(3):
    tiles += [figures.enlarge(pictures_of[k], zoom)] + [figures.enlarge(lesson.heat(found[k, t], pictures_of[k], most), zoom) for t in (False, True)]
    titles += ["image", "own landmarks", "true landmarks"]
fig = figures.row(tiles, titles, height=1.15, columns=9)
figures.show(fig, alt="Three faces and two maps each of how much hiding a part changes the volume: with its own landmarks bright over the face, with the true landmarks almost dark.", photo=True)
worst = {t: np.mean([found[k, t].max() for k in range(3)]) for t in (False, True)}
figures.note(f"The worst place to cover changes the volume by {worst[False]:.3f} (1 - IoU) with its own landmarks, by {worst[True]:.3f} with the true ones.")

# %% [markdown]
# **What to notice.** Where the volume takes its shape from: with the landmarks held, what is hidden in the photograph matters less. The photograph is then needed
# mostly to *find* the landmarks.
#
# ## Failures

# %%
mine = ious["its own landmarks"]
order = np.argsort(mine)
tiles, titles = [], []
for i in order[:3]:
    tiles += [lesson.dots(pictures_of[i], own.landmarks[i], zoom, true_points[i]), lesson.relief(faces[i]["volume"], zoom), lesson.relief(own.volume[i], zoom)]
    titles += [f"landmarks {100 * off[i]:.0f} % off", "truth", f"IoU {mine[i]:.2f}"]
fig = figures.row(tiles, titles, height=1.0, columns=9)
figures.show(fig, alt="The three held-out faces with the lowest IoU: found landmarks in orange and true ones in blue, true relief, predicted relief.", photo=True)
fig, axis = plt.subplots(figsize=(4.2, 2.6))
axis.plot(100 * off, mine, "s", color=figures.PALETTE[1], markersize=4, label="its own landmarks")
axis.plot(100 * off, ious["the true ones"], "o", color=figures.PALETTE[0], markersize=4, label="the true ones")
axis.set(xlabel="error of its own landmarks, % of interocular distance", ylabel="IoU")
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="IoU of each held-out face against the error of the landmarks that were found: it falls with the error; with the true landmarks it does not.")
relation = float(np.corrcoef(off, mine)[0, 1])
figures.note(f"Correlation of landmark error and IoU over {judged} faces: {relation:+.2f} with its own landmarks, {np.corrcoef(off, ious['the true ones'])[0, 1]:+.2f} with the true ones.")

# %% [markdown]
# **What to notice.** The blue points stay high whatever the orange ones do: told the true landmarks, the same network draws the same photograph well. Most bad
# volumes begin with bad landmarks.
#
# ## The study: which way of guiding is worth what
# One network says little about a *way*. So small networks were trained for every way, each from several seeds, on the very same faces, and one thing
# was changed at a time from the paper's form: the landmarks in training, sigma, the encoding (68 channels, one summed channel, 136
# coordinates), and the place (at the input, or at the features after the stem). `python -m vrnlib.studies guidance` repeats it.

# %%
content = lesson.study(study, alt="Left: IoU on held-out faces of every way to guide, with true and with predicted landmarks, means and intervals over the seeds, and of no guidance. Right: IoU against noise on the landmarks, by what the network was trained with.")
if content:
    rows = []
    for arm in content["arms"].values():
        tests = arm["test"]
        given = [tests.get("true", tests.get("none")), tests.get("predicted", {})]
        rows.append((arm["label"], f"{arm['parameters']:,}", *(lesson.plus_minus(t.get(score)) for t in given for score in ("iou", "nme"))))
    figures.note(figures.table(["way", "parameters", "IoU, true landmarks", "NME, true", "IoU, predicted", "NME, predicted"], rows))
    budget = content["budget"]
    figures.note(
        f"{content['seeds']} seeds; {budget['faces']:,} training faces of {budget['size']} pixels for each network, {budget['test_faces']} held-out faces; "
        f"means ± half of a 95 % interval over the seeds. The plain VRN stands under 'true', though it is given none. Predicted landmarks are "
        f"{100 * content['detector']['mean']:.1f} % of the interocular distance off. One pixel there is {192 / budget['size']:g} of the paper's."
    )
    figures.note("\n".join(f"- {line}" for line in content["conclusion"]))

# %% [markdown]
# **What to notice.** A photograph brings no true landmarks: compare the orange squares with the line without guidance, and intervals before means.
# True landmarks help more than anything else in this notebook. Those of a small detector *harm* a network that has only ever seen true ones, because it
# follows every error; a network *trained* with such landmarks gains by them. As pictures they help in every form: wider Gaussians, one summed channel, or
# Gaussians at the features do about as well as 68 channels at the input; coordinates do much worse. Our `laptop` network was trained with true landmarks, as
# in the paper, and is ahead of the plain VRN all the same: its detector is several times as exact as the one of this study.
#
# ## Check yourself
# Solutions: [solutions_05_train_vrn_guided](solutions_05_train_vrn_guided.ipynb).
#
# **1.** How many weights (without biases) has the first convolution of VRN-Guided's volume network at the paper's size: 7 x 7, from 71 to 64 channels?

# %%
answer = None
figures.check("1. weights of the first convolution", answer, 7 * 7 * 71 * 64)

# %% [markdown]
# **2.** A Gaussian of sigma 1 is drawn on a patch of 7 x 7 pixels. What is its value at a corner of the patch?

# %%
answer = None
figures.check("2. corner of the patch", answer, float(heatmaps(np.array([[10.0, 10.0]]), 21)[0, 7, 7]), tolerance=1e-5)

# %% [markdown]
# **3.** A heat-map has the values 0.5, 0.8, 0.4 in three neighbouring cells of a row. Where is the peak of the parabola through their logarithms, in cells
# from the middle one, positive towards 0.4?

# %%
answer = None
a, b, c = np.log([0.5, 0.8, 0.4])
figures.check("3. peak between cells", answer, (c - a) / (2 * (2 * b - a - c)), tolerance=0.002)

# %% [markdown]
# ## Summary
# Landmarks enter as 68 pictures beside the image; between the two networks they are points. A guided network trusts its landmarks more than the
# photograph, so it is as good as they are. The study above says which way of guiding paid here.

# %%
numbers = {
    "headline": {
        "iou_own_landmarks": float(mine.mean()),
        "iou_true_landmarks": float(ious["the true ones"].mean()),
        "iou_switched_off": float(ious["switched off"].mean()),
        "landmark_error": float(off.mean()),
    },
    "network": "laptop" if Path(weights).is_file() else "small",
    "held_out_faces": judged,
    "small_network": {k: checks[-1].get(k) for k in ("faces", "iou", "iou_true_landmarks", "landmark_error")},
    "correlation_landmark_error_iou": relation,
}
target = Path(out) / "notebooks" / "05_train_vrn_guided" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, numbers)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# Train one in earnest: `vrn train guided --profile laptop --out build/my-guided --minutes 120`, or this notebook with `--profile paper`, in which the small network sees
# more faces. Then [06](06_evaluate_nme.ipynb): the error of the paper.
#
# ## References
# 1. Jackson et al. *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression.* ICCV 2017, Sec. 3.3.
# 2. A. Mauricio, J. López. *Paper Review* of [1].
# 3. A. Bulat, G. Tzimiropoulos. *How far are we from solving the 2D & 3D face alignment problem?* ICCV 2017.
# 4. A. Newell, K. Yang, J. Deng. *Stacked Hourglass Networks for Human Pose Estimation.* ECCV 2016.
