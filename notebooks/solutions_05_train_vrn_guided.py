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
# # Solutions: training VRN-Guided
#
# Answers to the exercises of [05_train_vrn_guided](05_train_vrn_guided.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: changes nothing here
seed: int = 0  # changes nothing here

# %%
import numpy as np

from vrnlib import figures
from vrnlib.heatmaps import heatmaps
from vrnlib.networks import VRN

# %% [markdown]
# **1.** One 7 x 7 kernel for every pair of an input and an output channel. 68 of the 71 input channels are Gaussians, so nearly all of
# these weights look at landmarks.

# %%
answer = 7 * 7 * 71 * 64
first = VRN(256, 1, 1, 1, 8, "low", 71).stem[0]
figures.check("1. weights of the first convolution", answer, first.weight.numel())

# %% [markdown]
# **2.** The corner is 3 pixels off in x and in y: $e^{-(3^2 + 3^2) / 2} = e^{-9}$. Cutting the Gaussian off there loses nothing.

# %%
answer = np.exp(-(3**2 + 3**2) / 2)
figures.check("2. corner of the patch", answer, float(heatmaps(np.array([[10.0, 10.0]]), 21)[0, 7, 7]), tolerance=1e-5)

# %% [markdown]
# **3.** Through $(-1, a), (0, b), (1, c)$ goes the parabola $b + \frac{c - a}{2} x - \frac{2b - a - c}{2} x^2$; its derivative is zero at
# $\frac{c - a}{2 (2b - a - c)}$. With logarithms for $a, b, c$ the peak lies a little on the side of the larger neighbour.

# %%
a, b, c = np.log([0.5, 0.8, 0.4])
answer = (c - a) / (2 * (2 * b - a - c))
fine = np.linspace(-1, 1, 20001)
parabola = np.polyval(np.polyfit([-1, 0, 1], [a, b, c], 2), fine)
figures.check("3. peak between cells", answer, float(fine[parabola.argmax()]), tolerance=0.002)
