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
# # A report on a folder of photographs
#
# **What does the network make of *your* photographs, and how far can you trust it?**
#
# This notebook is what `vrn report FOLDER --out report.html` runs. It takes a folder of photographs, or one, and writes a page that
# anybody can open, without internet, and a folder of meshes for 3-D programs. One bad photograph does not stop the others.
#
# ## Learning goals
# - Make a report of your own photographs, with one command.
# - Read the measures of a face, and tell a doubtful reconstruction from a good one.
# - Say what the entropy of a volume and the heights of heat-maps are worth as measures of confidence.
#
# ## Prerequisites
# [00](00_start_here.ipynb): from a photograph to a 3D face.
#
# ## Input files
# - `results/checkpoints/guided-laptop.safetensors`: the trained network, if no other is named
# - If they are there: `results/report/guided-laptop.json`, what the measures are worth (`python -m vrnlib.report.calibrate`), and
#   `results/figures/figure8.png`, the good and the bad (`python -m vrnlib.gallery --figure8`)
#
# ## Output files
# - `results/notebooks/11_report/metrics.json`: the numbers of all faces
# - The page and the folder of meshes, wherever the parameters say; without a word
#   [results/interactive/11_report.html](../results/interactive/11_report.html) and `11_report-meshes` beside it.
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: in how many steps a photograph is spoilt in the section on doubt
photos: str = ""  # a folder of photographs, or one; empty takes the two that come with the packages
page: str = ""  # the page to write, .html
meshes: str = ""  # folder for the meshes (GLB)
network: str = ""  # another trained network; empty takes the one of the suite
detector: str = "dlib"  # who finds faces and landmarks, see notebook 10
detector_weights: str = ""  # the detector's weight files, if it needs any
face: str = "all"  # which faces of a photograph: all, largest, or a number counted from 1 at the left
level: float = 0.5  # isovalue of the surface, between 0 and 1
bodies: str = "largest"  # which bodies stay: largest, landmarks (the one under them), min-share=0.1, all
out: str = "../results"  # folder for what this notebook writes

# %%
import time
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from vrnlib import figures, gallery, params, provenance, report
from vrnlib.predict import load_network
from vrnlib.report import measures, trust

started = time.perf_counter()
figures.style()
scale = params.profile(profile)
net = load_network(network or None)
target = Path(page) if page else Path(out) / "interactive" / "11_report.html"
folder = Path(meshes) if meshes else report.mesh_folder(target)
if not page:
    target.parent.mkdir(parents=True, exist_ok=True)
source = photos or gallery.packaged()

# %% [markdown]
# ## The report
# All of it is one call. Each line below is a photograph; a photograph that gives no face says why. The mesh of a face is written as
# soon as it is finished, the page at the end, whole or not at all.

# %%
result = report.make(
    source, target, folder, network=net, detector=detector, weights=detector_weights or None, face=face, level=level, bodies=bodies,
    progress=print,
)
figures.note(
    f"**{len(result.entries)} face(s) from {result.photographs} photograph(s)** in {result.seconds:.1f} seconds, "
    f"{result.seconds / result.photographs:.2f} each. The page `{result.page.name}` has {result.page.stat().st_size / 1e6:.1f} MB, "
    f"the {len(result.meshes)} mesh(es) together {sum(m.stat().st_size for m in result.meshes) / 1e6:.1f} MB."
)

# %%
MOST = 24
tiles = []
for entry in result.entries[:MOST]:
    photo, mesh = (t.astype(np.float32) for t in entry.thumbs)
    ground = np.full(photo.shape, 240, np.float32)
    weight = mesh[..., 3:] / 255
    tiles.append(np.concatenate([photo, mesh[..., :3] * weight + ground * (1 - weight)], axis=1).astype(np.uint8))
figures.show(
    figures.sheet(tiles, min(4, len(tiles)), gap=6),
    alt=f"Contact sheet of {len(tiles)} faces: each photograph beside its reconstruction in grey, three-quarter view. "
    + "; ".join(e.title for e in result.entries[:MOST]),
    photo=True,
)
if len(result.entries) > MOST:
    figures.note(f"The first {MOST} of {len(result.entries)} faces; the page shows all of them.")

# %%
rows = [
    (e.title, f"{e.measures.pose.yaw:.0f}, {e.measures.pose.pitch:.0f}, {e.measures.pose.roll:.0f}", f"{e.measures.interocular:.0f}",
     f"{e.measures.doubt:.2f}", e.measures.removed_bodies, " ".join(e.minds) or "-")
    for e in result.entries
]  # fmt: skip
header = ["face", "yaw, pitch, roll (degrees)", "outer eye corners (px apart)", "doubt", "stray bodies", "remarks"]
figures.note(figures.table(header, rows))
figures.note(
    figures.table(["without a face", "reason"], [(f.photograph, f.reason) for f in result.failures])
    if result.failures
    else "Every photograph gave a face."
)

# %% [markdown]
# **What to notice.** The remarks are rules, not opinions: a face turned by more than 45 degrees, a face smaller than the network's
# window wants it, a photograph that ends too near, stray bodies, unusual doubt. The numbers behind them are in `vrnlib.report.trust`.
#
# ## What is the doubt worth?
# The network gives each voxel a probability. Its *binary entropy* is 1 bit at one half and 0 where the network is sure. Added up over the
# volume and divided by the number of filled voxels it says how undecided the volume is:
#
# $$ \text{entropy} = \frac{\sum_v -p_v \log_2 p_v - (1 - p_v) \log_2 (1 - p_v)}{|\{v : p_v > 1/2\}|} $$
#
# That is the doubt of a network without landmarks, such as VRN. VRN-Guided first finds 68 landmarks and then draws a sharp volume round them,
# right or wrong. Its doubt is about the landmarks: with $c_k$ the height of the highest cell of heat-map $k$,
#
# $$ \text{doubt} = 1 - \frac{1}{68} \sum_k c_k $$
#
# A network can be sure and wrong. So the doubt was compared with the true error, on drawn faces, where the truth is known.

# %%
known = trust.reference(net)
if known is None:
    figures.note(f"Not run for `{net.path.name if net.path else 'this network'}`: `python -m vrnlib.report.calibrate` measures it.")
else:
    d = known["doubt"]
    points = np.array(d["points"])
    fig, axis = plt.subplots(figsize=(5.6, 3.6))
    axis.scatter(*points.T, s=9, color=figures.PALETTE[0], alpha=0.6, linewidths=0)
    for entry in result.entries[:MOST]:
        axis.axvline(entry.measures.doubt, color=figures.PALETTE[1], linewidth=0.8, alpha=0.7)
    unit = "1 - height of the peaks" if net.finds_landmarks else "bits a filled voxel"
    axis.set(xlabel=f"doubt ({unit})", ylabel="NME", ylim=(0, np.quantile(points[:, 1], 0.995) * 1.1))
    figures.show(
        fig,
        alt=f"Scatter of {len(points)} drawn faces, doubt to the right and true NME upwards: a cloud that rises. Upright lines mark the doubt "
        "of the faces of this report.",
    )
    low, high = d["interval"]
    figures.note(
        f"Over {d['faces']} faces of `synth-wild` the rank correlation of doubt and NME is **{d['spearman']:.2f}** (95 % interval {low:.2f} to "
        f"{high:.2f}); with the error after rigid alignment it is {d['spearman_rigid']:.2f}. The fifth with the most doubt has a mean NME of "
        f"{d['nme_of_most_doubtful_fifth']:.3f}, the others {d['nme_of_the_others']:.3f}."
        + (f" The entropy of the volume, for comparison: {d['spearman_entropy']:.2f}." if net.finds_landmarks else "")
    )
    p = known["pose"]
    figures.note(
        f"The pose was checked in the same way: with the landmarks of `{p['detector']}` it is off by {p['yaw']:.1f} degrees of yaw, {p['pitch']:.1f} of "
        f"pitch and {p['roll']:.1f} of roll on average, over the {p['faces']} of {p['drawn']} drawn faces that the detector finds."
    )

# %% [markdown]
# **What to notice.** The upright lines are the faces of this report. One that stands far to the right of the cloud deserves no trust; it may be no
# face at all. But a low doubt is no promise: the cloud is wide, and it holds drawn faces, which the network knows.
#
# ### Spoil a photograph
# No truth is known for a photograph, but it can be made worse on purpose. The doubt should rise when detail goes.

# %%
steps = max(3, scale.size // 16)
factors = np.geomspace(1, 1 / 24, steps)
spoilt, titles, curve = [], [], []
window = result.entries[0].window
for factor in factors:
    side = max(2, round(net.size * factor))
    coarse = cv2.resize(cv2.resize(window, (side, side), interpolation=cv2.INTER_AREA), (net.size, net.size), interpolation=cv2.INTER_LINEAR)
    volume, sure = net.answer(coarse)
    curve.append(measures.doubt(volume, sure, level))
    spoilt.append(np.concatenate([coarse, figures.grey(figures.depth_shading(volume))]))
    titles.append(f"{side} px\ndoubt {curve[-1]:.2f}")
fig = figures.row(spoilt, titles, height=2.4)
figures.show(
    fig,
    alt="The window at fewer and fewer pixels, with the relief of the volume below: "
    + ", ".join(t.replace("\n", " ") for t in titles) + ".",
    photo=True,
)  # fmt: skip

# %% [markdown]
# **What to notice.** The face stays a face long after its features are gone: the network falls back to what it knows about faces in general.
#
# ## The good and the bad
# The review's Figure 8 shows photographs above and reconstructions below, "the last two figures show morphological errors (presence of strange
# objects from the face)". Here is the same with the photographs that come with packages, spoilt copies among them, for each network that is
# trained: front and side, before and after the stray bodies (orange) are removed.

# %%
picture = Path("../results/figures/figure8.png")
record = picture.with_suffix(".json")
if picture.is_file() and record.is_file():
    about = provenance.read_json(record)
    figures.show(np.asarray(Image.open(picture).convert("RGB")), alt=about["alt"], photo=True)
    figures.note(figures.table(["network", *about["photographs"]], [(k, *v) for k, v in about["stray"].items()]))
    calm = {k: sum(v[: about["untouched"]]) for k, v in about["stray"].items()}
    wild = {k: sum(v[about["untouched"] :]) for k, v in about["stray"].items()}
    counts = ", ".join(f"{k}: {calm[k]} on the untouched photographs and {wild[k]} on the spoilt ones" for k in calm)
    figures.note(f"The table counts stray bodies; together {counts}. {about['note']}")
else:
    figures.note("Not run: `python -m vrnlib.gallery --figure8` makes it.")

# %% [markdown]
# ## Check yourself
# Solutions: [solutions_11_report](solutions_11_report.ipynb).
#
# **1.** All of a volume's 1000 voxels have the probability 0.9 or 0.1; 100 of them are filled. What is the entropy a filled voxel?

# %%
answer = None
figures.check("1. entropy", answer, 1000 * (-0.9 * np.log2(0.9) - 0.1 * np.log2(0.1)) / 100, tolerance=0.01)

# %% [markdown]
# **2.** A face's outer eye corners are 30 pixels apart in the photograph. The network wants a landmark box with sides of 90/192 of its window of
# 96 pixels, and in a frontal face the corners are about 0.63 of the box apart. How many network pixels is a pixel of the photograph?

# %%
answer = None
figures.check("2. enlarged", answer, 96 * 90 / 192 * 0.63 / 30, tolerance=0.05)

# %% [markdown]
# ## Summary
# A report is the main path over many photographs, with its doubts attached. The doubt orders drawn faces by their error, loosely;
# a photograph cannot be checked that way, so look at the grey side view.

# %%
content = {
    "headline": {"faces": len(result.entries), "photographs": result.photographs, "failed": len(result.failures), "meshes": len(result.meshes),
                 "seconds_a_photograph": result.seconds / result.photographs},
    "faces": {e.title: e.measures._asdict() | {"pose": e.measures.pose._asdict()} for e in result.entries},
    "failures": {f.photograph: f.reason for f in result.failures},
    "spoilt": {f"{factor:.3f}": value for factor, value in zip(factors, curve, strict=True)},
}  # fmt: skip
written = Path(out) / "notebooks" / "11_report" / "metrics.json"
written.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(written, content)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [06](06_evaluate_nme.ipynb): what the error measures. `vrn report --help`: the same from the command line.
#
# ## References
# 1. A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos. Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric
#    CNN Regression. ICCV 2017.
# 2. A. Mauricio, J. López. Paper review of [1], Figure 8.
