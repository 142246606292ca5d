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
# # Solutions: the methods that fit a face model
#
# Answers to the exercises of [07_baselines](07_baselines.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import figures

# %% [markdown]
# **1.** All vertices move along one axis together: 3 SD of 2 mm each.

# %%
answer = 3 * 2.0
figures.check("1. an axis", answer, 3 * 2.0, tolerance=1e-6)

# %% [markdown]
# **2.** The derivative is 2·3(3a - 6) + 2·9a = 0, so a = 18 / (9 + 9) = 1: half of the 2 SD that the landmark alone asks for.

# %%
a = np.linspace(0, 3, 30001)
answer = a[((3 * a - 6) ** 2 + 9 * a**2).argmin()]
figures.check("2. the prior", answer, 3 * 6 / (3 * 3 + 9), tolerance=1e-4)

# %% [markdown]
# **3.** The first term is in squared pixels and grows by 4; the second has no pixels. So the same λ means another thing in another picture, and a λ without the
# picture's size is half a number.

# %%
answer = 2.0**2
figures.check("3. pixels", answer, 4.0, tolerance=1e-6)
