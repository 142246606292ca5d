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
# # Solutions: the error of the paper
#
# Answers to the exercises of [06_evaluate_nme](06_evaluate_nme.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import figures, metrics

# %% [markdown]
# **1.** The mean distance is 3 pixels, d is 60 pixels.

# %%
answer = (0 + 3 + 6) / 3 / np.linalg.norm([70 - 10, 20 - 20, 5 - 5])
figures.check("1. three pairs", answer, 3 / 60, tolerance=1e-6)

# %% [markdown]
# **2.** The mean of the truth less that of the partners: 2 - 13.

# %%
answer = np.mean([1, 2, 3]) - np.mean([10, 12, 17])
figures.check("2. shift in depth", answer, metrics.depth_shift(np.array([[0, 0, 10.0], [0, 0, 12], [0, 0, 17]]), np.array([[0, 0, 1.0], [0, 0, 2], [0, 0, 3]])))

# %% [markdown]
# **3.** With the nearest vertex and no alignment it can only fall, since every old vertex is still there. But ICP and the shift in z find their pairs anew
# among more vertices, so the partners change, and Eq. 2 is measured without ICP's motion: it can rise. `correspondence="surface"` does not
# depend on the mesh's fineness at all.

# %%
answer = True
figures.check("3. finer meshes", answer, True)
