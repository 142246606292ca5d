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
# # Solutions: another face detector
#
# Answers to the exercises of [10_face_detectors](10_face_detectors.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import figures

# %% [markdown]
# **1.** Each true box is 1.1 times the detector's; the mean is taken over logarithms, so that twice too large and twice too small cancel out.

# %%
answer = np.exp(np.mean(np.log(np.array([88, 110, 137.5]) / [80, 100, 125])))
figures.check("1. reference scale", answer, 1.1, tolerance=1e-6)

# %% [markdown]
# **2.** The window is scaled until the *found* box, 0.9 of the true one, takes 90 pixels. The true one then takes more: the crop is too tight.

# %%
answer = 90 / 0.9
figures.check("2. a crop that is too tight", answer, 90 / 0.9, tolerance=0.01)

# %% [markdown]
# **3.** The half that A finds may be the easy half. Compare both on the faces that both find, as the paired cost in the study does.

# %%
answer = False
figures.check("3. error and share", answer, False)
