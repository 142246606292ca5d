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
# # The methods that fit a face model
#
# **What does a method know before it has seen the photograph, and what can it then never say?**
#
# ## Learning goals
# - Read a 3D morphable model: mean, axes, standard deviations, span.
# - Predict what the weight of the prior does to a fit, for clean and for noisy landmarks.
# - Follow 3DDFA from its first guess through its iterations.
# - Say why a mean face at the right pose is a hard opponent.
# - Name what a comparison with MediaPipe can and can't show.
#
# ## Prerequisites
# [06](06_evaluate_nme.ipynb): the error. Least squares and principal components by name.
#
# ## Input files
# - `results/checkpoints/3dmm.safetensors`: the morphable model, with `results/checkpoints/3dmm.json`, its statistics
# - If it is there, `results/checkpoints/3ddfa-laptop.safetensors`: the trained cascade
# - If it is there, `results/baselines/mediapipe-coverage.npz`: which part of the face MediaPipe's points cover
#
# ## Output files
# - `results/notebooks/07_baselines/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the pictures, and how many faces are fitted
seed: int = 2000003  # of the held-out faces
fetch: bool = False  # fetch MediaPipe's network (36 MB, through pip) if it is not in the cache
out: str = "../results"  # folder for what this notebook writes

# %%
import time
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch

from vrnlib import figures, metrics, params, provenance, scores
from vrnlib.baselines import mediapipe
from vrnlib.baselines.common import Mesh, NotRunError, posed_mesh
from vrnlib.baselines.eos_fit import DEFAULT_LAMBDA, PAPER_LAMBDA, fit
from vrnlib.baselines.mean_face import mean_face
from vrnlib.baselines.model_statistics import heldout_heads, span_floor
from vrnlib.baselines.morphable import load_morphable
from vrnlib.baselines.pncc import pncc
from vrnlib.baselines.tddfa import TDDFA
from vrnlib.baselines.tddfa_costs import wpdc_weights
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.voxel import isosurface

started = time.perf_counter()
figures.style()
torch.set_num_threads(1)
scale = params.profile(profile)
count = {"smoke": 4, "laptop": 24, "paper": 60}[profile]  # faces that are fitted
model = load_morphable()
statistics = provenance.read_json("../results/checkpoints/3dmm.json")
data = SynthLP(scale.size, scale.depth, seed=seed, augment=False, truth=True)
samples = [data[i * POSES_PER_FACE + i % POSES_PER_FACE] for i in range(count)]
zoom = max(1, 160 // scale.size)

# %% [markdown]
# ## A model of faces
# > "3DMM describes the 3D face space with a Principal Component Analisys (PCA), but applied over an iterative flow procedure for dense
# > image correspondence becomes prone to failures." ([2], Sec. 1)
#
# A 3D morphable model says: every face is the mean face, plus so much of each of a few directions. Ours is learned from the same drawn
# people that VRN is trained on, identity and expression apart:
#
# $$S = \bar{S} + \sum_i a_i A_i + \sum_j e_j E_j$$
#
# The coefficients are in standard deviations: 0 is the average training face, and ±2 holds about 95 % of them.

# %%
DOWN = np.array([1.0, -1.0, 1.0])


def view(vertices: np.ndarray, turn: float = 0.0, size: int = 130) -> np.ndarray:
    """A face of the model, millimetres, as a picture (size, size, 3)."""
    fine, faces = model.surface(vertices, 1)
    return figures.mesh_view(fine * DOWN, faces[:, ::-1], turn=turn, size=size, centre=np.array([0, 25, 0]), extent=215)


def axis(kind: str, number: int, amount: float) -> np.ndarray:
    """The mean face moved along one axis by so many standard deviations."""
    a = np.zeros(number + 1)
    a[number] = amount
    return model.shape(**{kind: a})


def at(identity_1: float, identity_2: float, identity_3: float, expression_1: float, expression_2: float, turn: float) -> np.ndarray:
    """What the sliders show."""
    return view(model.shape(np.array([identity_1, identity_2, identity_3]), np.array([expression_1, expression_2])), turn, 220)


sliders = {n: ipywidgets.FloatSlider(min=-3, max=3, step=0.25, value=0, description=n.replace("_", " ")) for n in ("identity_1", "identity_2", "identity_3", "expression_1", "expression_2")}
figures.playground(at, **sliders, turn=ipywidgets.FloatSlider(min=-90, max=90, step=5, value=20, description="turn"))

images, titles = [], []
for kind, number in (("identity", 0), ("identity", 1), ("identity", 2), ("expression", 0), ("expression", 1), ("expression", 2)):
    for amount in (-2.5, 2.5):
        images.append(view(axis(kind, number, amount), turn=20))
        titles.append(f"{kind} {number + 1}: {amount:+.1f} SD")
fig = figures.row([view(model.mean, 20), view(model.mean, 90), *images[:4], *images[4:10], *images[10:]], ["mean", "mean, from the side", *titles], height=1.3, columns=6)
figures.show(fig, alt="The mean face from two sides, and faces at plus and minus two and a half standard deviations along the first three axes of identity and of expression.", photo=True)

# %% [markdown]
# **What to notice.** The axes are not "nose" or "age": each one mixes what varies together in the training faces. The sliders need a live kernel; the
# pictures are some of their positions.
#
# ## The span, and its floor
# A fit is a point of the span. If the face is not in it, no picture, no landmark and no network helps: the nearest face of the model is the best
# there is. We call the error of that nearest face the *span floor*. Two kinds of people: others of training's own kind, and those of the
# test databases, whose shapes come from elsewhere.

# %%
people = {"training kind": "synth-lp", "test databases": "wild"}
axes_kept = (0, 2, 5, 10, 20, 40, len(model.identity_basis))
floors: dict[str, list[float]] = {}
for name, kind in people.items():
    heads = model.of_head(heldout_heads(kind, max(12, 2 * count)))
    for k in axes_kept:
        short = type(model)(**{**{f: getattr(model, f) for f in model.__dataclass_fields__}, "identity_basis": model.identity_basis[:k]})
        floors.setdefault(name, []).append(float(span_floor(short, heads).mean()))
explained = [0.0, *statistics["identity"]["explained_cumulative"]]
fig, panels = plt.subplots(1, 2, figsize=(7.6, 2.7))
panels[0].plot(range(len(explained)), 100 * np.array(explained))
panels[0].set(xlabel="axes of identity", ylabel="% of the variance", title="of the training faces", ylim=(0, 102))
for (name, values), mark in zip(floors.items(), "os", strict=True):
    panels[1].plot(axes_kept, values, f"{mark}-", label=name)
panels[1].set(xlabel="axes of identity", ylabel="span floor (NME)", title="of people it has not seen", ylim=(0, None))
panels[1].legend(frameon=False, fontsize=8)
figures.show(fig, alt="Left: variance of the training faces explained by the first axes. Right: the error of the best face of the model for unseen people, falling with the number of axes; it stays higher for the people of the test databases.")
solid = [isosurface(s["volume"]) for s in samples[:4]]
voxels = np.mean([metrics.nme(v, s["points"][::6], s["eyes"]) for (v, _), s in zip(solid, samples, strict=False)])
figures.note(f"With all {axes_kept[-1]} axes the floor is {floors['training kind'][-1]:.4f} for the training kind and {floors['test databases'][-1]:.4f} for the people of the test databases "
             f"({max(12, 2 * count)} each). A volume has a floor too: true volumes of {scale.size} x {scale.size} x {scale.depth} score {voxels:.4f}.")  # fmt: skip

# %% [markdown]
# **What to notice.** The floor says what a method *can't* do, not what it does. Compare it with the errors below and in [08](08_table_1.ipynb): here the span is not what
# holds fitting back. That is a property of our databases. Test people whose shapes come from the same family of head models are nearly in the
# span; for real people a model of real people would be needed, and its floor would be another.
#
# ## The trivial opponent: the mean face
# The mean face, turned and shifted until its 68 points lie as near as possible to the landmarks. It knows the pose and nothing about the person.
# A method that can't beat it has not understood the face.


# %%
def overlay(image: np.ndarray, mesh: Mesh, marks: np.ndarray | None = None) -> list[np.ndarray]:
    """The crop (with landmarks), the mesh as the camera sees it, and the mesh turned."""
    shown = figures.enlarge(image, zoom).copy()
    for x, y in ([] if marks is None else np.clip(np.round((marks + 0.5) * zoom), 1, len(shown) - 2).astype(int)):
        shown[y - 1 : y + 2, x - 1 : x + 2] = (86, 180, 233)
    middle = np.array([(image.shape[0] - 1) / 2, (image.shape[0] - 1) / 2, mesh.vertices[:, 2].mean()])
    views = [figures.mesh_view(mesh.vertices, mesh.faces, turn=t, size=len(shown), centre=middle, extent=image.shape[0]) for t in (0, 45)]
    return [shown, *views]


def error(mesh: Mesh, sample: dict[str, np.ndarray]) -> metrics.Score:
    """Both variants of the error of one mesh, on every sixth true point: enough to compare on few faces."""
    return metrics.score(mesh.vertices, sample["points"][::6], sample["eyes"])


means = [mean_face(s["landmarks"], scale.size, model) for s in samples]
mean_scores = [error(m, s) for m, s in zip(means, samples, strict=True)]
images, titles = [], []
for s, m, e in list(zip(samples, means, mean_scores, strict=True))[:2]:
    images += overlay(s["image"], m, s["landmarks"])
    titles += ["crop and true landmarks", f"mean face: NME {e.nme:.3f}", "turned by 45 degrees"]
figures.show(figures.row(images, titles, height=1.5, columns=6), alt="Two drawn faces with 68 landmarks, and the mean face laid onto them, from the front and turned.", photo=True)
summary = scores.summary([e.nme for e in mean_scores])
figures.note(f"On {count} faces, with *true* landmarks: NME {summary['mean']:.4f} (95 % {summary['interval'][0]:.4f} to {summary['interval'][1]:.4f}).")

# %% [markdown]
# **What to notice.** With true landmarks the pose is nearly free of error, and the pose is most of what Eq. 2 measures: it compares unmoved vertices. Keep this
# number in mind when you read Table 1.
#
# ## EOS: fit the model to 68 points
# > "Both methods perform 3DMM fitting (3DDFA uses a CNN), a process completely bypassed by VRN." ([2], Sec. 4.1)
#
# EOS alternates a camera and coefficients. The coefficients are regularised least squares, in pixels of the landmarks:
#
# $$\min_a \sum_k ||P(\bar{S} + A a)_k - y_k||^2 + \lambda ||a||^2$$
#
# (the library divides the first term by a fixed variance). With λ = 0 the 68 points may drag the face anywhere; with a huge λ nothing moves and the
# mean face is left. The paper runs EOS with λ = 5000; the library's default is 30. Both are in this table of faces, with all between.

# %%
noises = (0.0, 2.0, 5.0)  # standard deviation of the landmarks' error, pixels of the paper's window
lambdas = (0.3, 3.0, DEFAULT_LAMBDA, 300.0, PAPER_LAMBDA, 1e5)
rng = np.random.default_rng(seed)
disturbed = rng.normal(size=(count, 68, 2))
sweep = np.zeros((len(noises), len(lambdas), count, 2))
for i, noise in enumerate(noises):
    for j, weight in enumerate(lambdas):
        for n, s in enumerate(samples[: max(2, count // 2)]):
            marks = s["landmarks"] + disturbed[n] * noise * scale.size / 192
            found = fit(marks, scale.size, weight=weight, model=model)
            mesh = posed_mesh(model, model.shape(found.identity, found.expression), found.camera, scale.size)
            e = error(mesh, s)
            sweep[i, j, n] = e.nme, e.rigid
fitted = max(2, count // 2)
sweep = sweep[:, :, :fitted]
baseline = np.array([[e.nme, e.rigid] for e in mean_scores[:fitted]]).mean(0)
fig, panels = plt.subplots(1, 2, figsize=(7.8, 2.9))
for panel, k, title in ((panels[0], 0, "NME (Eq. 2)"), (panels[1], 1, "after rigid alignment")):
    for i, noise in enumerate(noises):
        panel.semilogx(lambdas, sweep[i, :, :, k].mean(1), "osd"[i] + "-", label=f"landmarks off by {noise:g} px")
    panel.axhline(baseline[k], ls=":", color="grey", label="mean face, true landmarks")
    panel.axvline(PAPER_LAMBDA, color="grey", lw=0.6)
    panel.set(xlabel="λ (line: the paper's)", title=title, ylim=(0, None))
panels[0].legend(frameon=False, fontsize=7)
figures.show(fig, alt="Error of EOS against lambda, for true landmarks and two sizes of noise, with the mean face as a dotted line: without noise a small lambda is good, with noise a large one.")
best = {f"{noise:g}": lambdas[int(sweep[i, :, :, 0].mean(1).argmin())] for i, noise in enumerate(noises)}
figures.note("Best λ of this sweep, by Eq. 2: " + ", ".join(f"{weight:g} for landmarks off by {noise} px" for noise, weight in best.items()) + f" ({fitted} faces).")

# %%
one = samples[1]


def fitted_view(log_lambda: float, noise: float) -> np.ndarray:
    """What the sliders show: the fit of one face, from the front."""
    found = fit(one["landmarks"] + disturbed[1] * noise * scale.size / 192, scale.size, weight=10.0**log_lambda, model=model)
    return view(model.shape(found.identity, found.expression), 25, 220)


figures.playground(fitted_view, log_lambda=ipywidgets.FloatSlider(min=-1, max=6, step=0.5, value=1.5, description="log10 λ"), noise=ipywidgets.FloatSlider(min=0, max=8, step=1, value=0, description="noise, px"))

images, titles = [], []
for noise in (0.0, 5.0):
    marks = one["landmarks"] + disturbed[1] * noise * scale.size / 192
    for weight in (0.3, DEFAULT_LAMBDA, PAPER_LAMBDA):
        found = fit(marks, scale.size, weight=weight, model=model)
        images.append(view(model.shape(found.identity, found.expression), 25))
        titles.append(f"λ {weight:g}, {noise:g} px off")
figures.show(figures.row(images, titles, height=1.4, columns=6), alt="The same face fitted with three values of lambda, to true and to noisy landmarks: a small lambda and noise make a caricature, a large lambda keeps close to the mean face.", photo=True)

# %% [markdown]
# **What to notice.** On the left of each panel 68 points drag the face wherever they, and their errors, lead: the more noise, the worse. On the right identity has given
# up, the curves are flat, and only pose and expression (whose own weight stays at 30) are fitted. The paper's value lies on the flat side. λ is not a property of
# faces: it is the answer to "how far off are my landmarks?", in pixels of the picture. So our table has both values, with detected and with true landmarks.
#
# ## 3DDFA: look, correct, look again
# > "The method of [2] is currently considered the state-of-the-art in 3DMM fitting. It is based on a single CNN that is iteratively applied to
# > estimate the model parameters using as input the 2D image and a 3D-based representation produced at the previous iteration." ([2], Sec. 1)
#
# The representation is the PNCC: the current fit, drawn with each vertex's place on the mean face as its colour. The network sees picture and PNCC and
# answers with a *correction* of the parameters. It starts from the mean face in the middle of the crop.

# %%
tddfa: TDDFA | None = None
try:
    tddfa = TDDFA()
except NotRunError as why:
    figures.note(f"**not run**: {why}")
iteration_nme: list[list[float]] = []
if tddfa is not None:
    crops = SynthLP(tddfa.size, params.depth_of(tddfa.size), seed=seed, augment=False, truth=True)
    seen = [crops[i * POSES_PER_FACE + i % POSES_PER_FACE] for i in range(count)]
    steps = tddfa.fit(np.stack([s["image"] for s in seen]), iterations=4)
    iteration_nme = [[error(tddfa.mesh(p[n]), seen[n]).nme for n in range(count)] for p in steps]
    images, titles = [], []
    for n in (1, 2):
        images.append(figures.enlarge(seen[n]["image"], 2))
        titles.append("crop")
        for k, p in enumerate(steps[:4]):
            drawn = pncc(tddfa.shapes.vertices(p[n][None])[0].numpy(), tddfa.shapes.faces, tddfa.shapes.codes, tddfa.size)
            images.append(figures.enlarge((255 * drawn.transpose(1, 2, 0)).astype(np.uint8), 2))
            titles.append(f"after {k}: NME {iteration_nme[k][n]:.3f}")
    figures.show(figures.row(images, titles, height=1.4, columns=5), alt="Two crops, and the coloured mean face as 3DDFA sees it before the first and after each of three iterations: it turns towards the pose of the photograph.", photo=True)
    fig, panel = plt.subplots(figsize=(4.6, 2.7))
    panel.boxplot(iteration_nme, positions=range(len(steps)), widths=0.5, showfliers=False)
    panel.plot(range(len(steps)), np.mean(iteration_nme, 1), "o-", label="mean")
    panel.axhline(np.mean([e.nme for e in mean_scores]), ls=":", color="grey", label="mean face, true landmarks")
    panel.set(xlabel="iterations", ylabel="NME", ylim=(0, None))
    panel.legend(frameon=False, fontsize=8)
    figures.show(fig, alt="Error after none, one, two, three and four iterations: boxes with the middle half of the faces, and a line through the means.")
    walk = " -> ".join(f"{np.mean(v):.4f}" for v in iteration_nme)
    figures.note(f"Mean NME of {count} faces after 0, 1, 2, 3, 4 iterations: {walk}.")

# %% [markdown]
# **What to notice.** The first correction has to find the pose, from a guess that knows nothing; later ones see how the mesh lies on the face and repair. Read from the
# numbers whether they do: a cascade converges only if its network has seen its own mistakes in training. It was trained for three iterations; a fourth is extrapolation.
#
# ### What is a mistake worth? Three costs
# A rotation that is a little off moves every vertex; the thirtieth coefficient hardly moves any. PDC, the plain distance of parameters, does not know that. VDC measures
# vertices, which is what we want, but turns slowly where parameters compensate each other. WPDC weighs each parameter by how far the vertices move
# if it alone is wrong. Here are these weights, for 3DDFA's first guess of one face.

# %%
if tddfa is not None:
    with torch.no_grad():
        weights = wpdc_weights(tddfa.shapes, steps[0][:count].clone(), steps[3][:count].clone()).mean(0).numpy()
    groups = {"turn and size": weights[:4], "place": weights[4:6], "identity 1-10": weights[6:16], "identity, others": weights[16 : 6 + tddfa.shapes.identities], "expression": weights[6 + tddfa.shapes.identities :]}
    fig, panel = plt.subplots(figsize=(5.2, 2.4))
    panel.barh(list(groups), [w.mean() for w in groups.values()])
    panel.invert_yaxis()
    panel.set(xlabel="mean WPDC weight (largest of a face: 1), first guess against the last estimate")
    figures.show(fig, alt="Mean weight of each group of parameters: turn, size and place far above the coefficients of shape.")

# %% [markdown]
# **What to notice.** At the start pose is everything. As it gets right, the weights move towards shape by themselves: that is the point of WPDC.
#
# ## A modern peer: MediaPipe
# Everything above has seen only drawn faces. MediaPipe's face network was trained on real photographs by other people with other aims, and gives 468
# points. Scoring it here turns the usual question round: how does a network of *real* faces do on *our* drawings?

# %%
kept = mediapipe.folder() / "face_landmark.tflite"
peer: mediapipe.FaceMesh | None = None
if fetch or kept.is_file():
    try:
        peer = mediapipe.FaceMesh()
    except NotRunError as why:
        figures.note(f"**not run**: {why}")
else:
    figures.note("**not run**: MediaPipe's network is not in the cache; run this notebook with `-p fetch=true`.")
peer_scores: list[metrics.Score] = []
if peer is not None:
    region = mediapipe.coverage()
    meshes = [peer.mesh(s["image"]) for s in samples]
    peer_scores = [metrics.score(m.vertices, s["points"][region], s["eyes"]) for m, s in zip(meshes, samples, strict=True)]
    images, titles = [], []
    for n in (0, 1):
        images += overlay(samples[n]["image"], meshes[n])
        titles += ["crop", f"NME {peer_scores[n].nme:.3f}, aligned {peer_scores[n].rigid:.3f}", "turned by 45 degrees"]
    figures.show(figures.row(images, titles, height=1.5, columns=6), alt="Two drawn faces and MediaPipe's mesh of them, from the front and turned.", photo=True)
    figures.note(f"On {count} faces, on the {100 * region.mean():.0f} % of the face region that its points cover: NME {np.mean([e.nme for e in peer_scores]):.4f}, after rigid alignment {np.mean([e.rigid for e in peer_scores]):.4f}.")

# %% [markdown]
# **What to notice.** The comparison is fair in region and metric, and unfair in everything else: its points lie where its makers put them, it gets a picture of
# 96 pixels where it expects 192, and it never saw a drawn face. A large error here is about our drawings as much as about MediaPipe; and VRN's
# error on photographs, which nobody can measure without 3-D ground truth, may be as large.
#
# ## Check yourself
# Solutions: [solutions_07_baselines](solutions_07_baselines.ipynb).
#
# **1.** A face lies 3 SD out along one axis of the model and is the mean face otherwise. The axis moves the vertices by 2 mm (root mean square) per SD.
# How far, in millimetres, is the mean face from it?

# %%
answer = None
figures.check("1. an axis", answer, 3 * 2.0, tolerance=1e-6)

# %% [markdown]
# **2.** One coefficient $a$, one landmark: the mean face puts it at 0 pixels, one SD moves it by 3 pixels, it was seen at 6. What does
# $\min_a (3a - 6)^2 + \lambda a^2$ give for λ = 9?

# %%
answer = None
figures.check("2. the prior", answer, 3 * 6 / (3 * 3 + 9), tolerance=1e-6)

# %% [markdown]
# **3.** You double the picture's side, so that all pixel distances double. By which factor must λ grow for the same answer?

# %%
answer = None
figures.check("3. pixels", answer, 4.0, tolerance=1e-6)

# %% [markdown]
# ## Summary
# A morphable model turns reconstruction into a few numbers: safe, smooth, never outside its span. EOS finds them from 68 points and a prior, 3DDFA from the picture in
# a few corrected guesses. A mean face at the right pose is a strong opponent, because Eq. 2 is mostly pose. VRN gives up the model, its safety and its span.

# %%
content = {
    "headline": {
        "span_floor_training_kind": floors["training kind"][-1],
        "span_floor_test_databases": floors["test databases"][-1],
        "mean_face_true_landmarks": summary["mean"],
        "eos_paper_lambda_true_landmarks": float(sweep[0, lambdas.index(PAPER_LAMBDA), :, 0].mean()),
        "eos_default_lambda_true_landmarks": float(sweep[0, lambdas.index(DEFAULT_LAMBDA), :, 0].mean()),
    },
    "faces": count,
    "sweep": {f"{noise:g} px": dict(zip(map(str, lambdas), sweep[i, :, :, 0].mean(1).tolist(), strict=True)) for i, noise in enumerate(noises)},
    "best_lambda": best,
    "iterations_of_3ddfa": [float(np.mean(v)) for v in iteration_nme] or None,
    "mediapipe": float(np.mean([e.nme for e in peer_scores])) if peer_scores else None,
}
target = Path(out) / "notebooks" / "07_baselines" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, content)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [08](08_table_1.ipynb): all methods on all databases, beside the paper's numbers.
#
# ## References
# 1. A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos. Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric
#    CNN Regression. ICCV 2017.
# 2. A. Mauricio, J. López. Paper review of [1].
# 3. V. Blanz, T. Vetter. A morphable model for the synthesis of 3D faces. SIGGRAPH 1999.
# 4. P. Huber et al. A multiresolution 3D morphable face model and fitting framework. VISAPP 2016.
# 5. X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li. Face alignment across large poses: a 3D solution. CVPR 2016.
# 6. Y. Kartynnik, A. Ablavatski, I. Grishchenko, M. Grundmann. Real-time facial surface geometry from monocular video on mobile GPUs. 2019.
