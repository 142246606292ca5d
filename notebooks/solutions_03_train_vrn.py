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
# # Solutions: training VRN
#
# Answers to the exercises of [03_train_vrn](03_train_vrn.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the samples
seed: int = 0  # of the samples

# %%
import numpy as np

from vrnlib import figures, networks
from vrnlib.networks import Residual

# %% [markdown]
# **1.** A tenth of the voxels should be 1 and cost $-\log 0.8$, the rest should be 0 and cost $-\log 0.2$.

# %%
answer = 0.1 * -np.log(0.8) + 0.9 * -np.log(0.2)
figures.check("1. loss of a constant", answer, -(0.1 * np.log(0.8) + 0.9 * np.log(0.2)), tolerance=0.001)

# %% [markdown]
# **2.** Convolutions: 64 to 32 with 1x1, 32 to 32 with 3x3, 32 to 64 with 1x1, each with biases. A batch normalisation has a scale and a
# shift per channel.

# %%
convolutions = (64 * 32 + 32) + (32 * 32 * 9 + 32) + (32 * 64 + 64)
normalisations = 2 * (64 + 32 + 32)
answer = convolutions + normalisations
figures.check("2. parameters of a module", answer, networks.parameter_count(Residual(64, 64, 32)))

# %% [markdown]
# **3.** Each level halves once: 48, 24, 12, 6, 3.

# %%
answer = 48 // 2**4
figures.check("3. lowest resolution", answer, 3)
