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
# # Another face detector
#
# **Is the face detector the critical part of the pipeline, as it decides what the network gets to see?**
#
# ## Learning goals
# - Swap the detector of the pipeline and see what changes.
# - Say why each detector needs a reference scale, and read one off a measurement.
# - Tell which error of a detector costs the reconstruction, and how much.
# - Judge the review's sentence on detectors by numbers with intervals.
# - Choose a detector whose licence fits your use.
#
# ## Prerequisites
# [00](00_start_here.ipynb): the way from a photograph to a face. [06](06_evaluate_nme.ipynb): the NME and its intervals.
#
# ## Input files
# - `vrnlib/data/detectors.json`: the measured reference scales (`python -m vrnlib.detect.calibrate`)
# - `results/checkpoints/vrn-laptop.safetensors`: the trained network
# - If it is there, `results/detectors/summary.json`: the study of detectors (`python -m vrnlib.detector_study`)
# - If it is there, `results/checkpoints/landmarks-laptop.safetensors`: our landmark network
#
# ## Output files
# - `results/notebooks/10_face_detectors/metrics.json`: the numbers of this notebook
#
# ## Run time
# The last cell prints how long this run took, and on which machine.
#
# ## Parameters

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: how many drawn photographs are looked at
photo: str = ""  # path of your photograph; empty takes two that come with the packages
weights: str = ""  # folder of weight files for the detectors that need some; empty looks where they usually are
study: str = "../results/detectors/summary.json"  # the study, if there is one
out: str = "../results"  # folder for what this notebook writes

# %%
import time
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np

from vrnlib import VrnError, crop, detect, figures, gallery, images, params, provenance
from vrnlib.detect import calibration, plots, scenes
from vrnlib.detect.calibrate import is_face
from vrnlib.reconstruct import load_network, reconstruct

started = time.perf_counter()
figures.style()
params.profile(profile)  # refuses an unknown one
count = {"smoke": 2, "laptop": 6, "paper": 12}[profile]  # drawn photographs
numbers = {}

# %% [markdown]
# ## What was asked
# > "Face detector: 2D-FAN-300W module which crop out original photo to get a normalize resized input (...). This means we have
# > to change the 2D-FAN-300W face recognition core algorithm to achieve our second goal. After this change we conclude face
# > recognition algorithm is not the most critic module in pipeline." ([2], Sec. 3.2)
#
# The review shows no number for it. We make it a measurement.
#
# VRN takes one thing from the detector: the box of its 68 landmarks, which becomes the square that the network sees. VRN-Guided
# takes the landmarks themselves as well. A detector has two halves, and each can be swapped:

# %%
rows = []
detectors = {}
for name in detect.DETECTORS:
    try:
        needs_files = name == "mediapipe" or name.startswith("face-alignment")
        detectors[name] = detect.get(name, (weights or None) if needs_files else None)
        halves = detectors[name].finder.name, detectors[name].marker.name
        rows.append((name, *halves, detect.LICENCES[name], "yes"))
    except VrnError as problem:
        rows.append((name, "", "", detect.LICENCES[name], "not run: " + str(problem).split(":")[0].split(" in '")[0].split(" (")[0]))
figures.note(figures.table(["`--detector`", "boxes", "landmarks", "terms of use", "here"], rows))

# %% [markdown]
# **What to notice.** Nothing is downloaded behind your back. `python -m vrnlib.detect.fetch mediapipe` fetches two small networks on request; the
# files of face-alignment are yours to bring (`--weights DIR`); each file's checksum is verified. The default needs no file, but its landmark model was
# trained on iBUG 300-W, which excludes commercial use: `--detector free` or `mediapipe` avoid it, and the program's output names the
# detector that was used.
#
# ## On photographs

# %%
photos = {Path(photo).stem: images.load(photo)} if photo else gallery.packaged()
CONFIDENCE = plt.get_cmap("cividis")


def shown(image, found, window=None, side=400):
    """The photograph with boxes, and landmarks coloured by confidence, cut to a window (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = (0, 0, image.shape[1], image.shape[0]) if window is None else window
    f = side / (y1 - y0)
    matrix = np.array([[f, 0, -f * x0], [0, f, -f * y0]])
    image = cv2.warpAffine(image, matrix, (round(f * (x1 - x0)), side), flags=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)
    place = lambda points: [tuple(round(float(v)) for v in p) for p in (np.asarray(points) - [x0, y0]) * f]  # noqa: E731
    for d in found:
        cv2.rectangle(image, *place(np.reshape(d.box, (2, 2))), (213, 94, 0), 2)
        sure = np.ones(68) if d.confidence is None else d.confidence
        for p, c in zip(place(d.landmarks), sure, strict=True):
            cv2.circle(image, p, 4, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(image, p, 3, [255 * v for v in CONFIDENCE(float(c))[:3]], -1, cv2.LINE_AA)
    return image


pictures, titles, rows = [], [], []
for name, image in photos.items():
    answers = {}
    for d, detector in detectors.items():
        begin = time.perf_counter()
        answers[d] = detector.detect(image), time.perf_counter() - begin
    faces = [f for found, _ in answers.values() for f in found[:1]]
    if not faces:
        continue
    box = np.array([f.box for f in faces])
    middle, half = (box[0, :2] + box[0, 2:]) / 2, (box[0, 2] - box[0, 0]) * 1.1
    for d, (found, seconds) in answers.items():
        pictures.append(shown(image, found, (*(middle - half), *(middle + half))))
        titles.append(f"{name}: {d}")
        best = found[0] if found else None
        rows.append((name, d, len(found), f"{best.score:.2f}" if best else "", f"{best.confidence.mean():.2f}" if best else "", f"{seconds:.2f}"))
fig = figures.row(pictures, titles, height=2.2, columns=max(1, len(detectors)))
figures.show(fig, alt="Each photograph once for every detector at hand: a rectangle round the face and 68 dots on it, yellow where the detector is sure, dark blue where it is not sure.", photo=True)
figures.note(figures.table(["photograph", "detector", "faces", "score", "mean confidence", "seconds (the first includes loading)"], rows))

# %% [markdown]
# **What to notice.** Scores are on each detector's own scale and can't be compared. Colour is confidence: dlib has none of its own, so the box is
# moved a little four ways, and a point that wanders is not trusted; a heat-map network has the height of its peaks.
#
# ## Every detector needs its reference scale
# Detectors frame a face in their own ways: with or without the forehead, tight or loose. face-alignment carries a constant for each
# (195 or 200), typed. We measured ours: on drawn photographs, where the true landmarks are known, the mean of $\ln(s_{true}/s)$ and of
# $(c_{true}-c)/s$, with $s=\sqrt{wh}$ of a box and $c$ its middle.

# %%
constants = calibration.load()
rows = [
    (kind, name, f"{e['scale']:.3f}", f"{e['scale_sd']:.3f}", f"{e['shift'][1]:+.3f}", f"{e['shift_sd'][1]:.3f}", f"{e['found']} of {e['scenes']}")
    for kind in calibration.KINDS
    for name, e in constants[kind].items()
]
figures.note(figures.table(["half", "name", "scale", "SD of its log", "shift down", "SD", "measured on"], rows))

one = next(iter(photos.values()))
found = {d: f[0] for d, detector in detectors.items() if (f := detector.detect(one))}
first = next(iter(found.values()))
rows = []
for d, f in found.items():
    plain, own = crop.Crop.from_landmarks(f.landmarks), f.crop()
    rows.append((d, f"{plain.scale / crop.Crop.from_landmarks(first.landmarks).scale:.3f}", f"{own.scale / first.crop().scale:.3f}"))
figures.note(figures.table(["detector, on the first photograph", f"crop's scale over {next(iter(found))}'s, uncorrected", "at the reference scale"], rows))
spread = {name: e["scale_sd"] for kind in calibration.KINDS for name, e in constants[kind].items()}
figures.note(f"On the faces that dlib finds, its boxes vary {spread['hog'] / spread['dlib']:.1f} times as much as the boxes of its landmarks in them.")

# %% [markdown]
# **What to notice.** The mean is corrected, the spread stays: it is how much the crop of a single face is off. Boxes vary more than the landmarks
# in them, which is why VRN crops by landmarks.
#
# ## Drawn photographs, where the truth is known
# A person of `synth-wild` anywhere in a picture, with the occluders, lights and camera faults of that database.

# %%
cases = [scenes.scene(i, harsh=bool(k % 2)) for k, i in enumerate(scenes.chosen(count, 0, ((0, 30), (30, 60), (60, 90.01))))][:count]
pictures, titles = [], []
for s in cases:
    for d, detector in detectors.items():
        hits = [f for f in detector.detect(s.image) if is_face(np.array(f.box).reshape(2, 2), s.landmarks)]
        pictures.append(shown(s.image, hits[:1], side=300))
        away = np.linalg.norm(hits[0].landmarks - s.landmarks, axis=1).mean() / np.linalg.norm(s.eyes[0] - s.eyes[1]) if hits else None
        titles.append(f"{d}, {s.pose[1]:+.0f}°: " + (f"{away:.2f}" if hits else "missed"))
fig = figures.row(pictures, titles, height=1.75, columns=len(detectors))
for axis in fig.axes:
    axis.title.set_fontsize(7)
figures.show(fig, alt="Drawn people in different poses, a row each and a column for every detector. Above each picture the yaw and the landmark error, or that the face was missed.", photo=True)

# %% [markdown]
# **What to notice.** The number is the mean distance from the true landmarks over the outer eye distance. These detectors learned from photographs; drawings,
# with their odd hair, are foreign to them, and ours are harsh on purpose. Shares found are to be compared with each other, not with those of a
# benchmark of photographs.
#
# ## The study
# `python -m vrnlib.detector_study` shows every detector the same scenes and reconstructs what it crops.

# %%
result = provenance.read_json(study) if Path(study).is_file() else None
if result is None:
    figures.note("The study has **not run**: there is no `results/detectors/summary.json`.")
else:
    names = [d for d in result["detectors"] if d != "truth"]
    figures.show(plots.found(result), alt=plots.ALT["found"])
    rows = []
    for d in names:
        e = result["detectors"][d]
        away, agree = e["landmark_error"], e["confidence_against_error"]
        rows.append((
            d,
            "none found" if away["mean"] is None else f"{away['mean']:.3f} ({away['interval'][0]:.3f} to {away['interval'][1]:.3f})",
            "" if e["crop"]["crop_scale"]["mean"] is None else f"{e['crop']['crop_scale']['mean']:.3f} ± {e['crop']['crop_scale']['sd'] or 0:.3f}",
            f"{e['false_boxes']:.2f}",
            "" if agree is None else f"{agree:+.2f}",
            f"{e['seconds']:.2f}",
        ))  # fmt: skip
    figures.note(figures.table(["detector", "landmark error (95 %)", "true crop's size over its own ± SD", "other boxes a picture", "confidence and error, rank correlation", "seconds"], rows))
    figures.note("Not run: " + "; ".join(f"{n} ({why})" for n, why in result["not_run"].items()) + ".")

# %% [markdown]
# **What to notice.** A negative rank correlation says that confidence knows something about the error. Intervals of shares are Wilson's, the others are over persons. A detector that finds
# only easy faces has a small landmark error for that reason alone.
#
# ## What a detector costs the reconstruction
# The same face once in the crop of the true landmarks, once in the detector's: the difference of the two NMEs, face by face.

# %%
if result is None:
    figures.note("The study has **not run**.")
else:
    networks = list(result["detectors"]["truth"]["networks"])
    rows = []
    for d in names:
        for n in networks:
            e = result["detectors"][d]["networks"][n]
            if e["cost"] is None:
                rows.append((d, n, "fewer than 5 faces found", "", ""))
                continue
            low, high = e["cost"]["interval"]
            rows.append((d, n, e["cost"]["faces"], f"{e['nme']['mean']:.4f}", f"{e['cost']['difference']:+.4f} ({low:+.4f} to {high:+.4f})"))
    figures.note(figures.table(["detector", "network", "faces", "NME", "cost beside the true crop (95 %)"], rows))
    figures.show(plots.cost(result), alt=plots.ALT["cost"])

# %% [markdown]
# **What to notice.** The band is the yardstick of the verdict below, fixed before the study ran: a detector would be the critical part if its
# crops cost as much as half of what the network gets wrong even with perfect landmarks.
#
# ## Errors made on purpose
# Which error hurts? The true landmarks are disturbed: the crop is moved, or scaled, or each point is shaken by itself. The box of shaken points grows, so
# noise moves the crop too.

# %%
if result is None:
    figures.note("The study has **not run**.")
else:
    figures.show(plots.jitter(result), alt=plots.ALT["jitter"])
    rows = [
        (kind, level, n, f"{c['difference']:+.4f} ({c['interval'][0]:+.4f} to {c['interval'][1]:+.4f})")
        for kind in plots.JITTERS
        for n, kinds in result["jitter"].items()
        for level in sorted(kinds[kind], key=float)
        if (c := kinds[kind][level]["cost"])
    ]
    figures.note(figures.table(["disturbance", "SD", "network", "cost in NME (95 %)"], rows))
    absent = [n for n in ("guided", "guided-given") if n not in result["jitter"]]
    if absent:
        figures.note(f"Not run, for want of a checkpoint: {', '.join(absent)}.")

# %% [markdown]
# **What to notice.** In training the crop is moved by up to 0.17 sides and scaled by up to 15 %, so small errors of the crop cost little. `guided` finds its own landmarks in
# the disturbed crop; `guided-given` is guided by the disturbed ones.
#
# ## The verdict
# Two tests, with words that were fixed beforehand (`vrnlib.detect.verdict`). *Where a face is found*: supported, if the whole interval of every detector's cost lies below half
# of the network's own NME. *Whether it is found*: supported, if the default detector finds more than 90 % in every band of yaw, in plain pictures.

# %%
if result is None:
    figures.note("The study has **not run**: no verdict.")
else:
    v = result["verdict"]
    worst = max(v["costs"].items(), key=lambda c: c[1]["interval"][1], default=None)
    e = v["network_error"]
    where = "" if worst is None else (
        f" The costliest detector, {worst[0]}, costs {worst[1]['difference']:+.4f} "
        f"({worst[1]['interval'][0]:+.4f} to {worst[1]['interval'][1]:+.4f}); the network's own NME is {e['mean']:.4f} ({e['interval'][0]:.4f} to {e['interval'][1]:.4f})."
    )  # fmt: skip
    b = result["detectors"][v["default"]]["found_by_yaw"]["plain"]
    shares = ", ".join(f"{x['mean']:.0%} ({x['interval'][0]:.0%} to {x['interval'][1]:.0%})" for x in b)
    figures.note("> *face recognition algorithm is not the most critic module in pipeline* ([2])")
    figures.note(f"Where a face is found: **{v['where_found']}**.{where}")
    figures.note(f"Whether a face is found ({v['default']}, plain pictures, by band of yaw: {shares}): **{v['whether_found']}**.")
    numbers["verdict"] = {"where_found": v["where_found"], "whether_found": v["whether_found"]}

# %% [markdown]
# **What to notice.** The sentence has two readings. Among faces that are found, the choice of the detector can be a detail while a face that isn't found has no reconstruction
# at all: the review says itself that many images "were tested but face detector algorithm rejects them".
#
# ## No face, several faces
# > "if there are much more than 1 face or non-face at all, then the rest of the model does not run" ([2], Sec. 2)
#
# That rule is `--face only`. By default the largest face is taken; `--face all` or a number counted from the left take others, and a box by hand helps where nothing is found.

# %%
left, right = gallery.packaged().values()
group = np.zeros((600, 1024, 3), np.uint8)
group[:512, :512], group[:, 512:] = left, right
found = detect.detect(group)
rows = [("two people", rule, "") for rule in ("only", "largest", "all", "1", "3")] + [("no face", "largest", "")]
for k, (what, rule, _) in enumerate(rows):
    try:
        chosen = detect.choose(found if what == "two people" else [], rule, f"'{what}'")
        answer = ", ".join(f"the face at x = {(d.box[0] + d.box[2]) / 2:.0f}" for d in chosen)
    except VrnError as problem:
        answer = f"refused: {problem}"
    rows[k] = (what, f"`--face {rule}`", answer)
figures.note(figures.table(["photograph", "policy", "answer"], rows))
figures.show(shown(group, found), alt="Two portraits side by side in one picture; the detector has framed both faces and marked their landmarks.", photo=True)

# %% [markdown]
# ## The same face through every detector

# %%
network = load_network()
pictures, titles, centre, extent = [], [], None, None
image = next(iter(photos.values()))
for detector in detectors.values():
    try:
        face = reconstruct(image, network=network, detector=detector)
    except VrnError:
        continue
    vertices = np.asarray(face.mesh.vertices)
    centre = (vertices.min(0) + vertices.max(0)) / 2 if centre is None else centre
    extent = 0.75 * face.crop.size / face.crop.scale if not pictures else extent  # one scale for all rows
    colours = np.asarray(face.mesh.visual.vertex_colors)[:, :3]
    pictures += [figures.mesh_view(vertices, np.asarray(face.mesh.faces), c, turn=t, size=150, centre=centre, extent=extent) for c, t in ((None, 0), (None, 45), (colours, 40))]
    titles += [face.detection.detector, "", ""]
fig = figures.row(pictures, titles, height=1.5, columns=3)
figures.show(fig, alt="One photograph's face reconstructed in the crop of each detector, a row each: plaster from the front and obliquely, and coloured. The rows are hard to tell apart.", photo=True)

# %% [markdown]
# ## Check yourself
# Solutions: [solutions_10_face_detectors](solutions_10_face_detectors.ipynb).
#
# **1.** A detector's landmark boxes have $\sqrt{wh}$ of 80, 100 and 125 pixels where the true ones have 88, 110 and 137.5. What is its reference scale?

# %%
answer = None
figures.check("1. reference scale", answer, 1.1, tolerance=1e-6)

# %% [markdown]
# **2.** The paper's window of 192 pixels holds the face's box as 90 pixels. A detector marks a face 10 % too small. How many pixels does the true box take in the window, without correction?

# %%
answer = None
figures.check("2. a crop that is too tight", answer, 90 / 0.9, tolerance=0.01)

# %% [markdown]
# **3.** Detector A finds every second face and has a landmark error of 0.05 on them; B finds all faces with an error of 0.06. Can it be said that A marks faces better? Answer True or False.

# %%
answer = None
figures.check("3. error and share", answer, False)

# %% [markdown]
# ## Summary
# A detector decides two things: whether there is a reconstruction, and which crop the network sees. The second is corrected on average by a measured reference scale, and what is
# left of it costs little; the first is where detectors differ. The tables above say by how much, on drawn faces. Licences differ too: one flag avoids what was trained on iBUG 300-W.

# %%
numbers["detectors_here"] = list(detectors)
numbers["faces_in_the_group"] = len(found)
target = Path(out) / "notebooks" / "10_face_detectors" / "metrics.json"
target.parent.mkdir(parents=True, exist_ok=True)
provenance.write_json(target, numbers)
figures.note(figures.this_run(profile, time.perf_counter() - started))

# %% [markdown]
# ## Next
# [00](00_start_here.ipynb) takes your own photographs. On a command line:
#
#     vrn reconstruct photo.jpg --out face.glb --detector mediapipe
#
# ## References
# 1. A. S. Jackson, A. Bulat, V. Argyriou, G. Tzimiropoulos. Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric
#    CNN Regression. ICCV 2017.
# 2. A. Mauricio, J. López. Paper review of [1].
# 3. A. Bulat, G. Tzimiropoulos. How far are we from solving the 2D & 3D face alignment problem? ICCV 2017: 2D-FAN.
# 4. V. Kazemi, J. Sullivan. One millisecond face alignment with an ensemble of regression trees. CVPR 2014: dlib's landmarks.
# 5. V. Bazarevsky et al. BlazeFace: sub-millisecond neural face detection on mobile GPUs. 2019. Y. Kartynnik et al. Real-time facial surface geometry from monocular video on
#    mobile GPUs. 2019: FaceMesh.
