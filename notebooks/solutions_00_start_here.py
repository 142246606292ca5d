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
# # Solutions: start here
#
# Answers to the exercises of [00_start_here](00_start_here.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the samples
seed: int = 0  # of the samples

# %%
import numpy as np
import skimage.data

from vrnlib import figures
from vrnlib.reconstruct import reconstruct

face = reconstruct(skimage.data.astronaut())
volume = face.volume.astype(np.float32)

# %% [markdown]
# **1.** Multiply by the scale, add the offset: the crop is a similarity without rotation.

# %%
answer = face.crop.scale * face.landmarks[30] + face.crop.offset
figures.check("1. nose in the window", answer, face.crop.apply(face.landmarks[30]), tolerance=0.01)

# %% [markdown]
# **2.** Count the voxels with a probability of at least one half.

# %%
answer = np.count_nonzero(volume >= 0.5)
figures.check("2. filled voxels", answer, int((volume >= 0.5).sum()))

# %% [markdown]
# **3.** A lower level lets more doubtful voxels in. They lie outside, along the surface; so the face gets fatter.

# %%
answer = "fatter"
figures.check("3. a lower level", answer, "fatter" if (volume > 0.3).sum() > (volume > 0.5).sum() else "thinner")
