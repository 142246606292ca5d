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
# # Solutions: dynamic labelling
#
# Answers to the exercises of [09_dynamic_labelling](09_dynamic_labelling.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import bumps, figures, labelling_steps, labelling_voxels

# %% [markdown]
# **1.** The first three fragments make the labels 1, 2 and 3. The fourth, (5, 6, 9), meets 2 and 3: 2 wins, and vertex 9 gets it. The fifth, (2, 9, 10), meets 1 and 2: 1 wins,
# and with 2 goes what was 3 before, since its first father is 2.

# %%
answer = [1] * 11
*_, last = labelling_steps.steps(11, np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [5, 6, 9], [2, 9, 10]]))
figures.check("1. labels", answer, last.labels)

# %% [markdown]
# **2.** The wall of the hollow shares no vertex with the outside of the ball: on the mesh there are three bodies, outside, wall and crumb. Among voxels the ball is one body, hollow or not.
# So the default of `vrn reconstruct` also closes hollows: their walls are deleted as stray bodies.

# %%
answer = [3, 2]
ball = np.zeros((20, 20, 20), np.float32)
ball[3:13, 3:13, 3:13], ball[7:9, 7:9, 7:9], ball[16:18, 16:18, 16:18] = 1, 0, 1
counted = [bumps.mesh_bodies(*bumps.isosurface(ball))[0], len(labelling_voxels.body_sizes(ball > 0.5))]
figures.check("2. mesh and voxels", answer, counted)

# %% [markdown]
# **3.** If a share p has one, n faces without any have the probability (1 - p)^n. At 5 % that gives p = 1 - 0.05^(1/n), which is 3/n to good accuracy. It counts
# persons: several pictures of one person are not independent.

# %%
answer = 1 - 0.05 ** (1 / 750)
figures.check("3. the rule of three", answer, 3 / 750, tolerance=5e-4)
