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
# # Solutions: a report on a folder of photographs
#
# Answers to the exercises of [11_report](11_report.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import figures
from vrnlib.report import measures

# %% [markdown]
# **1.** 0.9 and 0.1 have the same entropy, about 0.47 bits; a thousand of them are shared by a hundred filled voxels. The function of the
# report agrees.

# %%
volume = np.full((10, 10, 10), 0.1)
volume[0] = 0.9
answer = measures.entropy(volume)
figures.check("1. entropy", answer, 1000 * (-0.9 * np.log2(0.9) - 0.1 * np.log2(0.1)) / 100, tolerance=0.01)

# %% [markdown]
# **2.** The box has sides of 45 network pixels, so the corners come to lie about 28 network pixels apart, and they were 30. The network sees
# this face at nearly its own size; a smaller one would be enlarged, which adds no detail.

# %%
answer = 96 * 90 / 192 * 0.63 / 30
figures.check("2. enlarged", answer, 96 * 90 / 192 * 0.63 / 30, tolerance=0.05)
