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
# # Solutions: face databases
#
# Answers to the exercises of [01_face_databases](01_face_databases.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the samples
seed: int = 0  # of the samples

# %%
import numpy as np

from vrnlib import databases, faces, figures, params
from vrnlib.databases import SynthLP

scale = params.profile(profile)
data = SynthLP(scale.size, scale.depth, seed=seed, truth=True)

# %% [markdown]
# **1.** Yaw turns about the vertical axis. In 300W-LP's convention a positive one turns the nose to the left of the picture, which is
# -x; z and y of the direction become 0.

# %%
answer = [-1, 0, 0]
figures.check("1. nose at yaw 90", answer, faces.rotation_matrix(0, np.pi / 2, 0) @ [0, 0, 1], tolerance=1e-6)

# %% [markdown]
# **2.** Samples come in blocks of `POSES_PER_FACE`: round down to a multiple.

# %%
answer = 100 - 100 % databases.POSES_PER_FACE
figures.check("2. first sample of a person", answer, 100 // databases.POSES_PER_FACE * databases.POSES_PER_FACE)

# %% [markdown]
# **3.** The length of the difference of the two corners, in all three dimensions: a turned face has a short one in the picture only.

# %%
right, left = data[0]["eyes"]
answer = np.sqrt(((right - left) ** 2).sum())
figures.check("3. interocular distance", answer, np.linalg.norm(np.subtract(*data[0]["eyes"])), tolerance=0.01)
