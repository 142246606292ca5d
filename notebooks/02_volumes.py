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
# # Volumes: a face as filled voxels
#
# **Why does the network predict a volume, how does a face become one, and what does that cost?**
#
# ## Learning goals
# - Say why a volume suits a convolutional network better than a list of vertices.
# - Convert between depth index and z, and read the alignment drawing.
# - Walk one column of the voxeliser by hand.
# - Measure what a coarse volume costs, whatever the network does, and judge the paper's claim by it.
# - Store a volume as runs, a hundredth of its size, without loss.
#
# ## Prerequisites
# [01](01_face_databases.ipynb): faces, poses, the network frame.
#
# ## Input files
# none
#
# ## Output files
# - `results/notebooks/02_volumes/metrics.json`: the error of the volume itself, by resolution
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the volume shown, and up to which resolution is measured
seed: int = 10  # of the faces
yaw: float = 50.0  # of the face that is walked through, in degrees
measured: int = 24  # faces for each resolution of the error curve
out: str = "../results"  # folder for what this notebook writes

# %%
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from vrnlib import appearance, databases, faces, figures, metrics, params, provenance, runs, voxel
from vrnlib.crop import Crop
from vrnlib.voxel import Grid

started = time.perf_counter()
figures.style()
scale = params.profile(profile)
sizes = {"smoke": (32, 48, 64), "laptop": (32, 48, 64, 96, 128, 160, 192), "paper": (32, 48, 64, 96, 128, 160, 192)}[profile]
basis = faces.load_basis()

# %% [markdown]
# ## Why a volume?
# > "converts each 3D facial scan into a 3D binary volume by discretizing the 3D space into voxels w, h, d, assigning a value
# > of 1 to all points enclosed by the 3D facial scan, and 0 otherwise" ([2], Sec. 2.4)
#
# A network could answer in other ways. Each has its price:
#
# | the answer is | what it asks of the network | the price |
# |---|---|---|
# | coefficients of a face model | one vector, far from the pixels | only faces of the model; needs the model |
# | vertices | which vertex is where: a correspondence | one mesh topology for all training data |
# | a depth map | one number per pixel | nothing is known of what the pixel does not see |
# | a volume | one yes or no per voxel | memory, and the voxel's size |
#
# The volume turns 3D reconstruction into *segmentation*: image in, labels out, everything in place. Convolutions are made for
# that. No correspondence is needed, so that any closed surface can teach: a model, a scan. And hidden parts are
# part of the answer.
#
# > "Notice that the process creates a volume fully aligned with the 2D image." ([2], Sec. 2.4)

# %%
grid = Grid(scale.size, scale.depth)
rng = np.random.default_rng(seed)
head = basis.vertices(faces.sample_identity(rng) + faces.sample_expression(rng))
pose = np.deg2rad([8.0, yaw, 5.0])


def in_window(points: np.ndarray, head: np.ndarray, pose: np.ndarray, grid: Grid) -> np.ndarray:
    """Model millimetres (N, 3) -> network frame of the window that fits `head` in `pose`, as in `vrnlib.databases`."""
    rotation, down = faces.rotation_matrix(*pose), np.array([1.0, -1.0, 1.0])
    crop = Crop.from_landmarks(((head[basis.landmarks] @ rotation.T) * down)[:, :2], grid.size)
    depth = (head[basis.surface] @ rotation[2]).max() * crop.scale
    front = grid.z_of(grid.depth - 1) - databases.FRONT_MARGIN * grid.size / 192
    return crop.apply((points @ rotation.T) * down) + [0, 0, front - depth]


solid = in_window(faces.face_solid(head[basis.surface]), head, pose, grid)
volume = voxel.voxelise(solid, basis.solid, grid)
outline = volume.any(0)
sample = databases.render_sample(
    head, appearance.sample_look(rng), pose, appearance.sample_light(rng), grid, np.random.default_rng(seed), None
)
tinted = sample["image"].copy()
tinted[outline] = (0.55 * tinted[outline] + 0.45 * np.array([0, 158, 115])).astype(np.uint8)
zoom = max(1, 192 // grid.size)
fig = figures.row(
    [figures.enlarge(i, zoom) for i in (sample["image"], tinted, figures.grey(figures.depth_shading(volume)))],
    ["photograph", "pixels with face behind", "volume as a relief"],
    height=2.2,
)
figures.show(fig, alt="A drawn face, the same with the outline of its volume in green, and the volume as a relief: all three coincide.", photo=True)

# %% [markdown]
# **What to notice.** The green outline includes the far cheek, which the photograph hides, and excludes ears, hair and neck.
#
# ## The alignment, said once
# Which way an axis runs is the commonest source of silent errors in this field. Here is the drawing that the code keeps to:

# %%
drawing = voxel.__doc__.split("of the depth axis::")[1].split("The face solid")[0]
print(drawing.rstrip())

# %%
indices = [0, grid.depth // 2 - 1, grid.depth // 2, grid.depth - 1]
figures.note(figures.table(["depth index d", "z in pixels"], [(d, f"{grid.z_of(d):+.2f}") for d in indices]))
figures.note(
    f"This is for {grid.depth} slices: a volume of {grid.size} x {grid.size} x {grid.depth} voxels. Depth is {grid.depth * voxel.VOXEL_DEPTH:g} "
    f"pixels, the window {grid.size} pixels."
)

# %% [markdown]
# **What to notice.** Voxels are half as deep as they are wide: the authors stretched z by two in training. A face is flatter
# than it is wide, and depth is what the network has to find out; so depth gets the finer scale. Below we measure whether
# that pays.
#
# ## The face solid
# "Enclosed by the scan" needs something closed. Face meshes are not: eyes and mouth are holes, the neck is cut off. The
# authors filled the face from its front surface back to a fixed distance. We build the same as a mesh: the face surface, a copy of it
# pressed flat onto a plane behind, and a wall between their borders.

# %%
n_surface = len(basis.surface_faces)
parts = {
    "surface": basis.solid[:n_surface],
    "plane behind": basis.solid[n_surface : 2 * n_surface],
    "wall": basis.solid[2 * n_surface :],
}
view = {"centre": solid.mean(0), "extent": np.ptp(solid, axis=0).max() * 1.35}
pictures = [figures.mesh_view(solid, part, turn=-60, size=200, **view) for part in [*parts.values(), basis.solid]]
fig = figures.row(pictures, [*parts, "closed solid"], height=1.9)
figures.show(fig, alt="The front surface of the face, the flat copy behind it, the wall that joins them, and the closed solid, seen obliquely.", photo=True)
figures.note(
    f"Border edges: head mesh {len(voxel.border_edges(basis.faces))}, face surface {len(voxel.border_edges(basis.surface_faces))}, "
    f"face solid **{len(voxel.border_edges(basis.solid))}**. No border means closed."
)

# %% [markdown]
# The same in section: one plane through the face, first the mesh, then the voxels that its columns fill.

# %%


def section(vertices: np.ndarray, triangles: np.ndarray, y: float) -> np.ndarray:
    """Where the triangles cross the plane of constant y: segments (N, 2, 2) of (x, z)."""
    corners = vertices[triangles]  # (F, 3, 3)
    above = corners[..., 1] > y
    segments = []
    for triangle, side in zip(corners, above, strict=True):
        if side.any() and not side.all():
            lone = triangle[side.argmax() if side.sum() == 1 else side.argmin()]
            ends = [p for p, s in zip(triangle, side, strict=True) if s != (side.sum() == 1)]
            segments.append([(lone + (y - lone[1]) / (p[1] - lone[1]) * (p - lone))[[0, 2]] for p in ends])
    return np.array(segments).reshape(-1, 2, 2)


line = round(float(in_window(head[basis.landmarks[[30]]], head, pose, grid)[0, 1]))  # the row of the nose's tip
fig, axis = plt.subplots(figsize=(6.2, 3.4))
extent = (-0.5, grid.size - 0.5, grid.z_of(-0.5), grid.z_of(grid.depth - 0.5))
axis.imshow(volume[:, line], origin="lower", extent=extent, cmap="Greys", vmax=4, aspect="equal")
for (name, part), colour in zip(parts.items(), figures.PALETTE, strict=False):
    for i, segment in enumerate(section(solid, part, line)):
        axis.plot(*segment.T, color=colour, linewidth=1.4, label=name if i == 0 else None)
axis.set(xlabel="x in pixels", ylabel="z in pixels (viewer above)", title=f"section along row {line}, through the tip of the nose")
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="A horizontal section through the face at the nose. The surface is a curve with the nose standing out, the plane behind it is a straight line, the wall closes the ends. The filled voxels lie exactly inside.")
middle = volume[:, line].sum(0)
figures.note(f"Along this row the solid is up to {middle.max()} voxels thick, and never thinner than {middle[middle > 0].min()}.")

# %% [markdown]
# **What to notice.** Solid and voxels turn with the head: the plane behind is straight but not parallel to the picture. The
# nose hides part of the far cheek, and the volume has both.
#
# ## One column, by hand
# Every pixel is the mouth of a column of voxels. A straight line runs down the column, from the back to the viewer. Where it
# enters the solid, a counter goes up by one; where it leaves, down by one. The counter is the *winding number*. A voxel is
# filled where it is not 0. Unlike counting "odd or even", it survives surfaces that overlap.

# %%


def crossings(x: int, y: int) -> list[tuple[float, int]]:
    """Every crossing of the line through pixel (x, y) with the solid: (z, +1 entering or -1 leaving), from the back."""
    a, b, c = (solid[basis.solid[:, i]] for i in range(3))
    weights = []
    for p, q in ((b, c), (c, a), (a, b)):
        weights.append((q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0]))
    w = np.array(weights)  # (3, F): twice the signed area of each part
    inside = (w > 0).all(0) | (w < 0).all(0)
    area = w[:, inside].sum(0)
    z = (w[:, inside] * np.stack([a, b, c])[:, inside, 2]).sum(0) / area
    order = np.argsort(z)
    return [(float(z[i]), int(np.sign(area[i]))) for i in order]


ys, xs = np.nonzero(outline)


def gap(walk: list[tuple[float, int]]) -> float:
    """Widest empty stretch of a column between two parts of the solid, in pixels."""
    return max((b[0] - a[0] for a, b in zip(walk[1:-1:2], walk[2:-1:2], strict=True)), default=0.0)


every = max(1, len(xs) // 300)  # a sample of the columns; the one with the widest gap is shown
x, y = max(zip(xs[::every].tolist(), ys[::every].tolist(), strict=True), key=lambda at: gap(crossings(*at)))
walk = crossings(x, y)
enters = walk[0][1]  # the sign of the first crossing is that of an entry: the orientation of the mesh does not matter
rows, winding = [], 0
for z, sign in walk:
    winding += sign * enters
    rows.append((f"{z:+.2f}", f"{grid.d_of(z):.2f}", "in" if sign == enters else "out", winding))
figures.note(f"The column at x = {x}, y = {y}, from the back to the viewer:")
figures.note(figures.table(["z", "as depth index", "crossing", "winding number after it"], rows))
column, begin, end = voxel.column_runs(solid, basis.solid, grid)
spans = [(int(b), int(e)) for c, b, e in zip(column, begin, end, strict=True) if c == y * grid.size + x]
figures.note("The voxeliser stores the column as runs of filled voxels: " + ", ".join(f"{b} <= d < {e}" for b, e in spans) + ".")

edges = [grid.z_of(-0.5), *[z for z, _ in walk], grid.z_of(grid.depth - 0.5)]
levels = [0, *np.cumsum([s * enters for _, s in walk])]
fig, axis = plt.subplots(figsize=(6.6, 1.9))
axis.stairs(levels, edges, linewidth=1.8, baseline=None)
axis.fill_between(grid.z_of(np.arange(grid.depth)), 0, volume[:, y, x], step="mid", alpha=0.3, label="filled voxels")
axis.set(xlabel="z in pixels (viewer on the right)", ylabel="winding number", yticks=range(0, max(levels) + 1))
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="The winding number along the column: 0 outside, 1 or more inside; filled voxels are where it is not 0.")

# %% [markdown]
# **What to notice.** Voxels are filled exactly where the counter is not 0. The real code does this for all columns at once: it
# rasterises each triangle, collects the crossings of each pixel, sorts them and walks. A pixel centre may fall exactly on an edge or a
# vertex; a tie-break then decides for one triangle, or the column would leak.
#
# ## Is there a hole?
# "Watertight" is a word until it is a count. Surround the volume with air and let the air flow from voxel to voxel, through
# their sides. A voxel it does not reach is an *enclosed* hole. A filled voxel that is not connected to the face is *detached*.
# Both occur where the solid is thinner than a voxel: lips that nearly touch enclose a bubble, a sharp edge breaks into crumbs.
# `one_body` removes both. SciPy, which knows nothing of our code, does the counting.

# %%
small = Grid(48, params.depth_of(48))
found = {"as voxelised": np.zeros(2, int), "after one_body": np.zeros(2, int)}
changed = []
for k in range(5 * measured):
    rng = np.random.default_rng((seed, 1, k))
    someone = basis.vertices(faces.sample_identity(rng) + faces.sample_expression(rng))
    anyhow = rng.uniform([-0.6, -np.pi / 2, -0.5], [0.6, np.pi / 2, 0.5])
    as_runs = voxel.column_runs(in_window(faces.face_solid(someone[basis.surface]), someone, anyhow, small), basis.solid, small)
    before, after = (voxel.fill_runs(r, small).astype(bool) for r in (as_runs, voxel.one_body(as_runs, small)))
    for filled_voxels, count in zip((before, after), found.values(), strict=True):
        padded = np.pad(filled_voxels, 1)
        count += [ndimage.label(~padded)[1] > 1, ndimage.label(padded)[1] > 1]
    changed.append(int((before != after).sum()))
rows = [(name, *count) for name, count in found.items()]
figures.note(figures.table([f"of {5 * measured} faces in any pose, 48 pixels", "with an enclosed hole", "with something detached"], rows))
figures.note(f"`one_body` changed {max(changed)} voxels of a face at most, {np.mean(changed):.2f} on the average.")

# %% [markdown]
# **What to notice.** The second row must be zero. Ten thousand faces, open mouths and lips pushed through each other
# included, are counted by `benchmarks/solid_check.py`.
#
# ## Back to a mesh
# Marching cubes finds the surface of a volume: here the surface where the value is one half.

# %%
reconstructed = []
for size in sizes[:: max(1, len(sizes) // 3)]:
    g = Grid(size, params.depth_of(size))
    posed = in_window(faces.face_solid(head[basis.surface]), head, pose, g)
    vertices, triangles = voxel.isosurface(voxel.voxelise(posed, basis.solid, g))
    picture = figures.mesh_view(vertices, triangles, size=220, turn=20, centre=[g.size / 2, g.size / 2, 0], extent=g.size * 0.75)
    reconstructed.append((f"{size} ({len(vertices):,} vertices)", picture))
fig = figures.row([p for _, p in reconstructed], [t for t, _ in reconstructed], height=1.9)
figures.show(fig, alt="The isosurface of the same face at rising resolution: terraces at first, then nose, lips and eyes become clear.", photo=True)

# %% [markdown]
# **What to notice.** Terraces. The target is binary, and a binary volume knows nothing between two voxels. A *trained* network
# answers with probabilities, and its isosurface is smoother than that of its own targets.
#
# ## What resolution costs
# > "Given that the error of state-of-the-art methods is of the order of a few mms, the paper concludes that discretization by
# > 192 x 192 x 200 produces negligible error." ([2], Sec. 2.4)
#
# The claim can be measured without any network. Voxelise a face, take the isosurface, and compute the error of the paper:
#
# $$NME = \frac{1}{N} \sum_{k=1}^{N} \frac{||x_k - y_k||_2}{d}$$
#
# Here $x_k$ are points of the true face, $y_k$ the nearest vertices of the isosurface, and $d$ is the outer interocular distance. The
# best network in the world can't do better than this, on the average, if its answers are binary.
#
# We say beforehand what "negligible" shall mean: at full size the volume alone costs **less than a tenth** of the error of the
# whole method, .0676 for VRN on AFLW2000-3D ([1], Table 1).

# %%
published = {32: 0.0295, 64: 0.0146, 100: 0.0094, 128: 0.0073, 195: 0.0048}  # read off the plot in Jackson's thesis
ids, weights = databases.face_points()


def discretisation_error(size: int, count: int, stretch: float = 1.0) -> np.ndarray:
    """NME (count,) of voxelise-then-isosurface; `stretch` 0.5 makes voxels twice as deep, at half the number of slices."""
    g = Grid(size, params.depth_of(size))
    coarse = Grid(size, round(g.depth * stretch))
    errors = []
    for k in range(count):
        rng = np.random.default_rng((seed, k))
        head = basis.vertices(faces.sample_identity(rng) + faces.sample_expression(rng))
        pose = np.array([rng.normal(0, 0.2), rng.uniform(-np.pi / 2, np.pi / 2), rng.normal(0, 0.1)])
        solid = in_window(faces.face_solid(head[basis.surface]), head, pose, g) * [1, 1, stretch]
        vertices, _ = voxel.isosurface(voxel.voxelise(solid, basis.solid, coarse))
        truth = in_window(np.einsum("pki,pk->pi", head[ids], weights), head, pose, g)
        eyes = in_window(head[basis.landmarks[[36, 45]]], head, pose, g)
        errors.append(metrics.nme(vertices / [1, 1, stretch], truth, eyes, align_z=False))
    return np.array(errors)


curve = {size: discretisation_error(size, measured) for size in sizes}
root = {size: (size * size * params.depth_of(size)) ** (1 / 3) for size in sizes}
fig, axis = plt.subplots(figsize=(5.6, 3.2))
means = [e.mean() for e in curve.values()]
axis.errorbar(list(root.values()), means, yerr=[e.std() for e in curve.values()], marker="o", capsize=3, label=f"measured here, {measured} faces")
axis.plot(list(published), list(published.values()), "s--", color=figures.PALETTE[1], label="Jackson's thesis, read off the plot")
axis.set(xscale="log", yscale="log", xlabel="cube root of the number of voxels", ylabel="NME of the volume alone")
axis.set_xticks([32, 64, 100, 128, 195], labels=["32", "64", "100", "128", "195"])
axis.set_xticks([], minor=True)
axis.legend(frameon=False, fontsize=8)
figures.show(fig, alt="Error of the volume against its resolution, both axes logarithmic: our measurement and the author's published curve fall along nearly straight lines.")
# the author's curve at our resolutions: a straight line between his points, both axes logarithmic
theirs = np.exp(np.interp(np.log(list(root.values())), np.log(list(published)), np.log(list(published.values()))))
inside = [min(published) <= round(r) <= max(published) for r in root.values()]
rows = [
    (size, params.depth_of(size), f"{root[size]:.0f}", f"{e.mean():.4f}", f"{e.std():.4f}", *((f"{t:.4f}", f"{e.mean() / t:.2f}") if ok else ("-", "-")))
    for (size, e), t, ok in zip(curve.items(), theirs, inside, strict=True)
]
figures.note(figures.table(["size", "depth", "cube root", "NME here", "SD over faces", "thesis, interpolated", "ratio"], rows))
slope = np.polyfit(np.log(list(root.values())), np.log(means), 1)[0]
figures.note(f"Our error falls with the resolution to the power {slope:.2f}. The two curves are for different faces: ours are drawn, the thesis' are of 300W-LP.")

# %%
VRN_NME = 0.0676  # the paper's, on AFLW2000-3D
finest = max(curve)
share = float(curve[finest].mean() / VRN_NME)
goes_on = "" if finest == 192 else f" The paper's 192 is not measured in this profile; {finest} is the finest here."
verdict = ("negligible" if share < 0.1 else "not negligible") + " by the measure set above"
figures.note(f"At {finest} x {finest} x {params.depth_of(finest)} the volume alone costs {curve[finest].mean():.4f}, {share:.1%} of VRN's {VRN_NME}: **{verdict}**.{goes_on}")

# %% [markdown]
# **What to notice.** Halve the voxel, halve the error. A small volume has a price before any training: keep it in mind when you
# compare our `laptop` numbers with the paper's.
#
# ### What the error is made of
# Three things are mixed in that number. The metric looks for the nearest *vertex*, and vertices lie a voxel apart. The surface
# has *terraces*, because the volume is binary. And something is *lost*: a volume can't tell more than it stores. Two changes
# separate them: a finer mesh of the same surface, and a soft volume, whose voxels say which share of them is filled.

# %%


def soft_volume(solid: np.ndarray, g: Grid) -> np.ndarray:
    """The share of each voxel that is filled, (D, H, W) float, from 2 x 2 x 2 parts."""
    fine = Grid(2 * g.size, 2 * g.depth)
    parts_of = voxel.voxelise(solid * 2 + [0.5, 0.5, 0], basis.solid, fine)  # pixel centre c lies between 2 c and 2 c + 1
    return parts_of.reshape(g.depth, 2, g.size, 2, g.size, 2).mean((1, 3, 5))


def with_midpoints(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) and the middle of every edge and triangle: the same surface, more places to be nearest to."""
    corners = vertices[triangles]
    return np.concatenate([vertices, ((corners + np.roll(corners, 1, 1)) / 2).reshape(-1, 3), corners.mean(1)])


grid_here = Grid(scale.size, scale.depth)
cases: dict[str, list[float]] = {"binary, nearest vertex (as above)": [], "binary, finer mesh": [], "soft, nearest vertex": [], "soft, finer mesh": []}
pictured = {}
for k in range(measured):
    rng = np.random.default_rng((seed, k))
    someone = basis.vertices(faces.sample_identity(rng) + faces.sample_expression(rng))
    turned = np.array([rng.normal(0, 0.2), rng.uniform(-np.pi / 2, np.pi / 2), rng.normal(0, 0.1)])
    posed = in_window(faces.face_solid(someone[basis.surface]), someone, turned, grid_here)
    truth = in_window(np.einsum("pki,pk->pi", someone[ids], weights), someone, turned, grid_here)
    eyes = in_window(someone[basis.landmarks[[36, 45]]], someone, turned, grid_here)
    for kind, field in (("binary", voxel.voxelise(posed, basis.solid, grid_here)), ("soft", soft_volume(posed, grid_here))):
        mesh = voxel.isosurface(field)
        for name, points in ((f"{kind}, nearest vertex", mesh[0]), (f"{kind}, finer mesh", with_midpoints(*mesh))):
            key = name if name in cases else name + " (as above)"
            cases[key].append(metrics.nme(points, truth, eyes, align_z=False))
posed = in_window(faces.face_solid(head[basis.surface]), head, pose, grid_here)
for kind, field in (("binary", voxel.voxelise(posed, basis.solid, grid_here)), ("soft", soft_volume(posed, grid_here))):
    mesh = voxel.isosurface(field)
    pictured[kind] = figures.mesh_view(*mesh, size=260, turn=20, centre=[grid_here.size / 2, grid_here.size / 2, 0], extent=grid_here.size * 0.75)
fig = figures.row(list(pictured.values()), list(pictured), height=2.3)
figures.show(fig, alt="The same face twice: from the binary volume with terraces, from the soft volume smooth.", photo=True)
rows = [(name, f"{np.mean(e):.4f}", f"{np.mean(e) / np.mean(cases['binary, nearest vertex (as above)']):.2f}") for name, e in cases.items()]
figures.note(figures.table([f"volume and search, {scale.size} pixels", "NME", "of the first"], rows))

# %% [markdown]
# **What to notice.** Much of the "discretisation error" belongs to the metric, which can hit vertices only: the second row
# has the same surfaces as the first. What the terraces cost shows only when the mesh is fine enough, between the second row and
# the fourth. So the claim is safe, and a soft volume is not what decides the numbers of the paper: it decides how a face looks.
#
# ### Does the half-deep voxel pay?

# %%
half = discretisation_error(scale.size, measured)
whole = discretisation_error(scale.size, measured, stretch=0.5)
rows = [("half a pixel", scale.depth, f"{half.mean():.4f}"), ("one pixel", scale.depth // 2, f"{whole.mean():.4f}")]
figures.note(figures.table(["depth of a voxel", "slices", f"NME at {scale.size} pixels"], rows))
figures.note(f"Half the slices cost a factor of {whole.mean() / half.mean():.2f} in error.")

# %% [markdown]
# ## How small, how fast
# 300W-LP took the author days on many processors [3]. Here the volume of a training sample is made while training, after the
# augmentation, and never stored. What has to travel, from a worker process to the trainer or in a file, travels as runs.

# %%
table, bytes_of = [], {}
for size in sorted({scale.size, 192}):
    g = Grid(size, params.depth_of(size))
    posed = in_window(faces.face_solid(head[basis.surface]), head, pose, g)
    times = []
    for _ in range(9):
        begin_time = time.perf_counter()
        as_runs = voxel.column_runs(posed, basis.solid, g)
        middle_time = time.perf_counter()
        filled_again = voxel.fill_runs(as_runs, g)
        times.append((1000 * (middle_time - begin_time), 1000 * (time.perf_counter() - middle_time)))
    assert all(np.array_equal(a, b) for a, b in zip(runs.runs_of(filled_again), as_runs, strict=True))  # nothing is lost
    dense, bits, small_form = filled_again.nbytes, filled_again.size // 8, sum(a.nbytes for a in as_runs)
    bytes_of[str(size)] = {"dense": dense, "packed bits": bits, "runs": small_form}
    kilo = [f"{n / 1024:,.0f}" for n in (dense, bits, small_form)]
    table.append((f"{g.size} x {g.size} x {g.depth}", *(f"{t:.2f}" for t in np.median(times, 0)), *kilo, f"{dense / small_form:.0f}"))
figures.note(figures.table(["volume", "ms to runs", "ms to fill", "kB dense", "kB as bits", "kB as runs", "dense / runs"], table))

# %% [markdown]
# **What to notice.** Making the volume again costs less than reading it from a disk would. Runs grow with the area of the
# face, not with its volume: the larger the volume, the more they save.
#
# ## Walk through the slices
# In a live notebook the slider moves through the volume, from the back to the viewer.

# %%
import ipywidgets


def slice_picture(d: int) -> np.ndarray:
    """Slice `d` of the volume, (192, 192) or so, uint8."""
    return figures.enlarge((255 * volume[d]).astype(np.uint8), max(1, 192 // grid.size))


figures.playground(slice_picture, d=ipywidgets.IntSlider(grid.depth // 2, 0, grid.depth - 1, description="slice"))

# %%
filled = np.flatnonzero(volume.any((1, 2)))
chosen = np.linspace(filled[0], filled[-1], 8).round().astype(int)
fig = figures.row([slice_picture(d) for d in chosen], [f"d = {d}" for d in chosen], height=1.0)
figures.show(fig, alt="Eight slices from the back to the viewer: first the plane behind, cut obliquely, at last the tip of the nose.")

# %% [markdown]
# ## Check yourself
# Solutions: [solutions_02_volumes](solutions_02_volumes.ipynb).
#
# **1.** Which depth index has the slice at z = -10.25 pixels in the paper's volume of 200 slices?

# %%
answer = None
figures.check("1. index of z = -10.25", answer, Grid(192, 200).d_of(-10.25))

# %% [markdown]
# **2.** A column is crossed at z = -3 (in), -1 (in), 2 (out), 5 (out). The solid overlaps itself. Between which z is it filled?
# Give `[from, to]`.

# %%
answer = None
figures.check("2. overlapping parts", answer, [-3, 5])

# %% [markdown]
# **3.** How many voxels of `volume` are filled in the column of the walk above? Compute it from `spans`.

# %%
answer = None
figures.check("3. voxels of a column", answer, int(volume[:, y, x].sum()))

# %% [markdown]
# **4.** A run is a 32-bit number and two 16-bit numbers. How many bytes do the runs of `volume` take (`column` holds one entry
# a run)?

# %%
answer = None
figures.check("4. bytes of the runs", answer, sum(a.nbytes for a in runs.runs_of(volume)))

# %% [markdown]
# ## Summary
# A volume makes reconstruction a labelling of voxels in place. The face is closed with a plane behind and a wall, voxelised
# column by column by the winding number, and recovered by an isosurface. What is lost on the way is known, falls with the
# resolution, and is partly the metric's. Runs hold the volume exactly.

# %%
numbers = {
    "headline": {f"nme_of_volume_{size}": float(e.mean()) for size, e in curve.items()},
    "faces": measured,
    "nme_standard_deviation": {str(size): float(e.std()) for size, e in curve.items()},
    "published_read_off_plot": {str(k): v for k, v in published.items()},
    "published_at_our_resolutions": {str(s): float(t) for s, t, ok in zip(curve, theirs, inside, strict=True) if ok},
    "power_of_resolution": float(slope),
    "claim": {"finest": finest, "share_of_vrn_nme": share, "verdict": verdict},
    "made_of": {name: float(np.mean(e)) for name, e in cases.items()},
    "cost_of_whole_pixel_depth": float(whole.mean() / half.mean()),
    "holes_in_faces_at_48_px": {n: {"enclosed": int(c[0]), "detached": int(c[1])} for n, c in found.items()},
    "bytes_of_a_volume": bytes_of,
}
target = Path(out) / "notebooks" / "02_volumes" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, numbers)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [03: the network, and how it is trained](03_train_vrn.ipynb).
#
# ## References
# 1. Jackson et al. *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression.* ICCV 2017, Sec. 3.1.
# 2. A. Mauricio, J. López. *Paper Review* of [1].
# 3. A. S. Jackson's thesis, chapter on faces: the fill from the frontal depth map, and the curve of the discretisation error.
# 4. W. Lorensen, H. Cline. *Marching Cubes.* SIGGRAPH 1987; T. Lewiner et al., 2003 (the variant).
