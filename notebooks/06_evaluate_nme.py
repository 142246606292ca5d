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
# # The error of the paper, and how to score your own meshes
#
# **How wrong is a reconstructed face, and what does that one number leave out?**
#
# ## Learning goals
# - Compute the normalised mean error (NME) of a handful of points by hand.
# - Say why ICP finds the pairs but must not move the mesh, and why z is shifted.
# - Predict which mistakes the rigidly aligned variant forgives.
# - Tell a real difference between two methods from chance.
# - Score meshes of your own.
#
# ## Prerequisites
# [02](02_volumes.ipynb): volumes and isosurfaces.
#
# ## Input files
# none
#
# ## Output files
# - `results/notebooks/06_evaluate_nme/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the volumes, and how many faces are scored
seed: int = 60  # of the faces
out: str = "../results"  # folder for what this notebook writes

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from vrnlib import evaluate_meshes, figures, meshio, metrics, params, provenance, score_meshes, scores
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.voxel import isosurface

started = time.perf_counter()
figures.style()
scale = params.profile(profile)
count = {"smoke": 6, "laptop": 40, "paper": 100}[profile]  # faces that methods are compared on

# %% [markdown]
# ## By hand
# > "the Normalised Mean Error (NME) is used defined as the average per vertex Euclidean distance between the estimated and
# > ground truth reconstruction (...) normalised by the outer 3D interocular distance" ([2], Sec. 2.4)
#
# $$NME = \frac{1}{N} \sum_{k=1}^{N} \frac{||x_k - y_k||_2}{d}$$
#
# Five points of a face in profile, seen from above: x to the right, z towards the viewer. The reconstruction has seven
# vertices. It is one unit too far to the right, and it floats at another depth.

# %%
truth = np.array([[-4.0, 0, 0], [-2, 0, 2.5], [0, 0, 4], [2, 0, 2.5], [4, 0, 0]])
vertices = np.array([[-3.0, 0, 9], [-1, 0, 11.5], [0.2, 0, 12.6], [1, 0, 13], [3, 0, 11.5], [5, 0, 9], [1, 0, 6]])
eyes = np.array([[-4.0, 0, 0], [4, 0, 0]])
d = metrics.interocular(eyes)
figures.note(f"**Step 1.** d, the distance of the outer eye corners: {d:g}.")

shift = metrics.front_shift(vertices, truth, d)
figures.note(f"**Step 2.** A first shift in depth, so that both front surfaces lie at about the same z: {shift:g}.")

found = metrics.correspond(vertices, truth, start=shift)
figures.note(f"**Step 3.** ICP moves the points onto the vertices, in {found.iterations} iterations, and names a vertex for each point: {found.matches.tolist()}. "
             "Its motion is then forgotten.")  # fmt: skip

partners = vertices[found.matches]
shift = metrics.depth_shift(partners, truth)
figures.note(f"**Step 4.** The mean z of the points is {truth[:, 2].mean():g}, that of their partners {partners[:, 2].mean():g}: the reconstruction is shifted by {shift:g}.")

errors = metrics.paired_errors(partners + [0, 0, shift], truth, d)
rows = [
    (k, f"({x[0]:g}, {x[2]:g})", f"({y[0]:g}, {y[2] + shift:g})", f"{e * d:.3f}", f"{e:.4f}")
    for k, (x, y, e) in enumerate(zip(truth, partners, errors, strict=True))
]
figures.note("**Step 5.** Distances and their mean:")
figures.note(figures.table(["k", "truth (x, z)", "partner (x, z)", "distance", "over d"], rows))
figures.note(f"NME = **{errors.mean():.4f}**. The library, in one call: {metrics.nme(vertices, truth, eyes):.4f}.")

cheap = metrics.score(vertices, truth, eyes, correspondence="nearest")
fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
for axis, s, title in zip(axes, (metrics.score(vertices, truth, eyes), cheap), ("pairs by ICP", "nearest vertex"), strict=True):
    moved = vertices + [0, 0, s.shift]
    axis.plot(truth[:, 0], truth[:, 2], "o-", label="truth", color=figures.PALETTE[0])
    axis.plot(moved[:, 0], moved[:, 2], "s", label="vertices, shifted in z", color=figures.PALETTE[1], markerfacecolor="none")
    for x, y in zip(truth, moved[s.matches], strict=True):
        axis.plot([x[0], y[0]], [x[2], y[2]], color=figures.PALETTE[6], linewidth=1.3)
    axis.set(title=f"{title}: NME {s.nme:.4f}", xlabel="x", aspect="equal")
axes[0].set_ylabel("z (viewer above)")
axes[1].legend(frameon=False, fontsize=7, loc=(0.2, 0.3))
figures.show(fig, alt="Five points of a profile and seven vertices, one to the right of them. Left: each point is joined to the vertex that belongs to it, by equal horizontal lines. Right: points are joined to whatever vertex is nearest.")

# %% [markdown]
# **What to notice.** The error is the mistake that was made: everything is one unit off, 1/8 of d. The nearest vertices are nearer
# than the true partners, so the nearest-vertex error is smaller. The vertex far behind (the back of a solid) is nobody's partner: it
# costs nothing, and the mean in step 4 does not see it.
#
# ## ICP for the pairs, and only for them
# The authors say it in their issues [3]: the moved mesh is thrown away. A face tells why. Take the isosurface of a true volume
# and push it sideways.

# %%
data = SynthLP(scale.size, scale.depth, seed=seed, augment=False, truth=True)
sample = next(s for s in (data[i * POSES_PER_FACE] for i in range(100)) if abs(s["pose"][1]) < np.deg2rad(25))
surface, triangles = isosurface(sample["volume"])
truth, eyes = sample["points"].astype(float), sample["eyes"].astype(float)
d = metrics.interocular(eyes)
floor = metrics.score(surface, truth, eyes)

pushes = np.linspace(0, 0.15, 6)
curves = {"Eq. 2, pairs by ICP": [], "Eq. 2, nearest vertex": [], "after rigid alignment": []}
for push in pushes:
    s = metrics.score(surface + [push * d, 0, 0], truth, eyes)
    curves["Eq. 2, pairs by ICP"].append(s.nme)
    curves["after rigid alignment"].append(s.rigid)
    curves["Eq. 2, nearest vertex"].append(metrics.nme(surface + [push * d, 0, 0], truth, eyes, correspondence="nearest"))
fig, axis = plt.subplots(figsize=(5.2, 3.2))
for (name, values), mark in zip(curves.items(), "os^", strict=True):
    axis.plot(pushes, values, f"{mark}-", label=name)
axis.plot(pushes, pushes, ":", color="grey", label="the push itself")
axis.set(xlabel="sideways push, in interocular distances", ylabel="error")
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="Error against a sideways push: with pairs by ICP it grows almost as the push itself, with nearest vertices less, after rigid alignment it stays at the level of the volume's own error.")
figures.note(f"Pushed by {pushes[-1]:.2f} d, Eq. 2 says {curves['Eq. 2, pairs by ICP'][-1]:.3f} with ICP, {curves['Eq. 2, nearest vertex'][-1]:.3f} with the nearest vertex, and "
             f"{curves['after rigid alignment'][-1]:.3f} on the moved mesh. Unpushed, the voxels alone cost {floor.nme:.3f}.")  # fmt: skip

# %% [markdown]
# **What to notice.** On smooth skin a nearest vertex lies beside the true partner: sliding along the cheek is free. ICP undoes the push
# to find out who belongs to whom. If its mesh were kept, the push would be forgiven altogether: that is the lowest curve.
#
# ## Why z is shifted
# The camera is orthographic: a face nearer to it makes the same image. No method can know z, so none is asked.

# %%
shifts = np.linspace(-0.5, 0.5, 7)
fixed = [metrics.nme(surface + [0, 0, floor.shift + s * d], truth, eyes, align_z=False) for s in shifts]
free = [metrics.nme(surface + [0, 0, floor.shift + s * d], truth, eyes) for s in shifts]
fig, axis = plt.subplots(figsize=(4.8, 2.9))
axis.plot(shifts, fixed, "s-", color=figures.PALETTE[1], label="z as it is")
axis.plot(shifts, free, "o-", color=figures.PALETTE[0], label="z aligned over the pairs")
axis.set(xlabel="shift in depth, in interocular distances", ylabel="NME")
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="NME against a shift in depth: a steep V without alignment, a flat line with it.")
plain = metrics.mean_shift(surface.astype(float), truth)
figures.note(f"The mean z of *all* vertices would shift this isosurface by {plain:+.1f} pixels, the mean over the pairs by {floor.shift:+.1f}: a solid has a back and walls, the truth is a surface.")

# %% [markdown]
# ## What the second variant forgives
# The supplementary table repeats all numbers "with rigid alignment": errors on the mesh that ICP has moved. Here is one face with five
# mistakes, each made on purpose.

# %%
rng = np.random.default_rng(seed)
middle = truth.mean(0)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points turned about the vertical axis through the middle of the face."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (points - middle) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + middle


mistakes = {
    "none": surface,
    "in another place": surface + [0.06 * d, 0.04 * d, 0],
    "turned by 6 degrees": turned(surface, 6),
    "5 % too large": (surface - middle) * 1.05 + middle,
    "depth flattened by 15 %": (surface - middle) * [1, 1, 0.85] + middle,
    "rough by 0.03 d": surface + rng.normal(0, 0.03 * d, surface.shape),
}
results = {name: metrics.score(v, truth, eyes) for name, v in mistakes.items()}
rows = [(name, f"{s.nme:.4f}", f"{s.rigid:.4f}", f"{s.registration.motion.degrees:.1f}") for name, s in results.items()]
figures.note(figures.table(["mistake", "NME (Eq. 2)", "after rigid alignment", "ICP turned by, degrees"], rows))
extent = np.ptp(surface, axis=0).max() * 1.3
pictures = [figures.mesh_view(v, triangles, size=150, turn=40, centre=middle, extent=extent) for v in mistakes.values()]
fig = figures.row(pictures, list(mistakes), height=1.7, columns=3)
figures.show(fig, alt="The isosurface of one face, seen obliquely, as it is and with five mistakes: shifted, turned, larger, flatter, rough. Only the last looks wrong at a glance.", photo=True)

# %% [markdown]
# **What to notice.** Place and turn are mistakes of the pose, and rigid alignment forgives them. Size, flatness and roughness are mistakes of
# the shape, and stay. Neither number is wrong: they answer different questions.
#
# ## A metric can reorder methods
# Two imaginary methods on the same faces. *Shape* knows the shape perfectly but misplaces every face a little. *Place* is always in the right place
# but flattens depth.

# %%
table = {"Shape": [], "Place": []}
yaws = []
for i in range(count):
    sample = data[i * POSES_PER_FACE + i % POSES_PER_FACE]
    v, _ = isosurface(sample["volume"])
    t, e = sample["points"].astype(float), sample["eyes"].astype(float)
    size, centre = metrics.interocular(e), t.mean(0)
    angle, length = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.06, 0.14)
    yaws.append(float(np.rad2deg(sample["pose"][1])))
    table["Shape"].append(metrics.score(v + [length * np.cos(angle), length * np.sin(angle), 0], t, e))
    table["Place"].append(metrics.score((v - centre) * [1, 1, rng.uniform(0.88, 0.96)] + centre, t, e))
numbers = {(m, k): np.array([getattr(s, k) for s in values]) for m, values in table.items() for k in ("nme", "rigid")}
rows = []
for key, label in (("nme", "NME (Eq. 2)"), ("rigid", "after rigid alignment")):
    c = scores.compare(numbers["Shape", key], numbers["Place", key])
    means = [f"{numbers[m, key].mean():.4f}" for m in table]
    rows.append((label, *means, f"{c['difference']:+.4f}", "{:+.4f} to {:+.4f}".format(*c["interval"]), f"{c['p']:.1e}"))
figures.note(figures.table(["error", "Shape", "Place", "difference", "95 % interval (paired bootstrap)", "p (paired t-test)"], rows))
fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.8), sharey=True)
for axis, (key, label) in zip(axes, (("nme", "NME (Eq. 2)"), ("rigid", "after rigid alignment")), strict=True):
    for m in table:
        x, y = scores.cumulative_curve(numbers[m, key], most=0.12)
        axis.plot(x, 100 * y, label=m)
    axis.set(xlabel=label, ylim=(0, 102))
    axis.grid(alpha=0.3)
axes[0].set_ylabel("faces with at most this error, %")
axes[1].legend(frameon=False, fontsize=8)
figures.show(fig, alt="Cumulative error curves of the two methods under both errors: under Eq. 2 the method that knows the place is ahead, after rigid alignment the one that knows the shape.")

# %% [markdown]
# **What to notice.** Read the signs of the two differences. The same meshes, two tables, two winners are possible: so a table must say which error it
# holds, and we print both. The comparison is *paired*: both methods meet the same faces, and what makes a face hard for both cancels out.
#
# One warning. Several images of one person are not independent faces. `scores.bootstrap_interval(..., groups=identity)` draws persons
# instead; the t-test of the thesis does not.
#
# ## Score your own meshes, step by step
# On a command line (the same as the cells below):
#
#     vrn evaluate --write-truth faces --faces 100
#     # reconstruct faces/*.png with any method into meshes/NAME.obj (or .ply, .glb, .npz)
#     vrn evaluate --predictions meshes --out my-evaluation --faces 100
#
# **1.** Images and ground truth. Each NPZ holds `points`, `eyes`, `height` and what is known of the face. Your own database needs nothing else.

# %%
folder = Path(tempfile.mkdtemp())
few = min(count, 8)
evaluate_meshes.export_truths("synth-lp", folder / "faces", few, scale.size, seed)
names = sorted(p.stem for p in (folder / "faces").glob("*.npz"))
zoom = max(1, 96 // scale.size)
shown = [figures.enlarge(np.asarray(Image.open(folder / "faces" / f"{n}.png")), zoom) for n in names[:6]]
fig = figures.row(shown, [n[-6:] for n in names[:6]], height=1.2)
figures.show(fig, alt="The first images of the database, drawn faces in different poses, with their numbers.", photo=True)
one = score_meshes.read_truth(folder / "faces" / f"{names[0]}.npz")
figures.note(f"`{names[0]}.npz`: points {one.points.shape}, eyes {one.eyes.shape}, height {one.height}, yaw {one.yaw:.1f}.")

# %% [markdown]
# **2.** Your meshes. Here they are isosurfaces of true volumes, roughened; one is stored upside-down, one in metres, and one is missing.
# Files for viewers have y up: `y = height - 1 - y_image`. That is what is expected (`--frame file`).

# %%
(folder / "meshes").mkdir()
for i, name in enumerate(names[:-1]):
    volume = data[int(name.rsplit("-", 1)[1])]["volume"]
    v, f = isosurface(volume)
    v = v + rng.normal(0, 0.02 * scale.size / 3, v.shape)
    if i != 1:
        v = v * [1, -1, 1] + [0, scale.size - 1, 0]
    if i == 2:
        v = v * 0.001
    grey = np.full((len(v), 3), 160, np.uint8)
    normals = np.tile(np.float32([0, 0, 1]), (len(v), 1))
    meshio.write(folder / "meshes" / f"{name}.ply", meshio.Surface(v.astype(np.float32), f[:, ::-1].copy(), grey, normals))
options = {"faces": few, "size": scale.size, "seed": seed, "workers": 1}
result = evaluate_meshes.evaluate_folder(folder / "meshes", "synth-lp", folder / "scores", **options)
lines = score_meshes.read_rows(folder / "scores" / "errors.csv")
rows = [(r["name"][-6:], f"{r['nme']:.4f}", f"{r['nme_rigid']:.4f}", r["icp_iterations"], r["status"], r["warning"]) for r in lines]
figures.note(figures.table(["face", "NME", "after rigid alignment", "ICP iterations", "status", "warning"], rows))
print(evaluate_meshes.describe(result))

# %% [markdown]
# **What to notice.** The two meshes in a wrong frame are scored as they are, since nobody should correct your results in silence, but the warning
# names the ratio. The missing face counts as failed; it is in no mean, and the cumulative curve never reaches it.
#
# **3.** Mend the meshes and run again. Rows whose mesh has not changed are kept; an evaluation that was interrupted goes on in the same way.

# %%
for i in (1, 2):
    path = folder / "meshes" / f"{names[i]}.ply"
    v, f = score_meshes.read_mesh(path)
    v = v * [1, -1, 1] + [0, scale.size - 1, 0] if i == 1 else v * 1000
    grey, normals = np.full((len(v), 3), 160, np.uint8), np.tile(np.float32([0, 0, 1]), (len(v), 1))
    meshio.write(path, meshio.Surface(v.astype(np.float32), np.asarray(f, np.int32), grey, normals))
result = evaluate_meshes.evaluate_folder(folder / "meshes", "synth-lp", folder / "scores", **options)
print(evaluate_meshes.describe(result))
figures.show(np.asarray(Image.open(folder / "scores" / "curves.png").convert("RGB")), alt="Cumulative curves of both errors, as the evaluation writes them: a step for each face; they end below 100 % because one face is missing.")

# %% [markdown]
# ## Check yourself
# Solutions: [solutions_06_evaluate_nme](solutions_06_evaluate_nme.ipynb).
#
# **1.** Three pairs are 0, 3 and 6 pixels apart, after z was aligned. The outer eye corners lie at (10, 20, 5) and (70, 20, 5). What is the NME?

# %%
answer = None
figures.check("1. three pairs", answer, 3 / 60, tolerance=1e-6)

# %% [markdown]
# **2.** Partners have z of 10, 12 and 17, the points of the truth 1, 2 and 3. What is added to the reconstruction's z?

# %%
answer = None
figures.check("2. shift in depth", answer, metrics.depth_shift(np.array([[0, 0, 10.0], [0, 0, 12], [0, 0, 17]]), np.array([[0, 0, 1.0], [0, 0, 2], [0, 0, 3]])))

# %% [markdown]
# **3.** A method doubles the number of vertices of its meshes by subdivision, without changing the surface. Can its NME rise? Answer True or False.

# %%
answer = None
figures.check("3. finer meshes", answer, True)

# %% [markdown]
# ## Summary
# The NME measures unmoved vertices against their partners, in units of the eye distance. ICP names the partners, z is shifted because no camera knows it.
# The second variant forgives pose and keeps shape. Both can order methods differently; a paired test says whether a difference is more than chance.

# %%
content = {
    "headline": {"nme_of_volume": floor.nme, "nme_of_volume_rigid": floor.rigid},
    "mistakes": {name: {"nme": s.nme, "rigid": s.rigid} for name, s in results.items()},
    "methods": {f"{m}, {k}": float(v.mean()) for (m, k), v in numbers.items()},
    "faces": count,
}
target = Path(out) / "notebooks" / "06_evaluate_nme" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, content)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [03](03_train_vrn.ipynb) reads the evaluation of our network, which is made by `python -m vrnlib.evaluate`.
#
# ## References
# 1. A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos. Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric
#    CNN Regression. ICCV 2017.
# 2. A. Mauricio, J. López. Paper review of [1].
# 3. github.com/AaronJackson/vrn, issues 99, 143 and 144: correspondence and alignment in the words of the author.
# 4. P. J. Besl, N. D. McKay. A method for registration of 3-D shapes. PAMI 1992.
