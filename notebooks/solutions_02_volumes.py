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
# # Solutions: volumes
#
# Answers to the exercises of [02_volumes](02_volumes.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the samples
seed: int = 0  # of the samples

# %%
import numpy as np

from vrnlib import figures, params
from vrnlib.databases import SynthLP
from vrnlib.runs import runs_of
from vrnlib.voxel import Grid

scale = params.profile(profile)
volume = SynthLP(scale.size, scale.depth, seed=seed, augment=False)[0]["volume"]

# %% [markdown]
# **1.** From the drawing: $d = 2 z + (D - 1) / 2$.

# %%
answer = 2 * -10.25 + (200 - 1) / 2
figures.check("1. index of z = -10.25", answer, Grid(192, 200).d_of(-10.25))

# %% [markdown]
# **2.** The counter goes 1, 2, 1, 0: it is not 0 from the first crossing to the last. "Odd or even" would leave a hole from -1 to 2.

# %%
answer = [-3, 5]
figures.check("2. overlapping parts", answer, [-3, 5])

# %% [markdown]
# **3.** Runs are half open, `begin <= d < end`, so each holds `end - begin` voxels. Here for another column, the fullest of a sample;
# its runs are found where the column changes between empty and filled.

# %%
y, x = np.unravel_index(volume.sum(0).argmax(), volume.shape[1:])
changes = np.flatnonzero(np.diff(np.r_[0, volume[:, y, x], 0].astype(int)))
spans = list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))
answer = sum(end - begin for begin, end in spans)
figures.check("3. voxels of a column", answer, int(volume[:, y, x].sum()))

# %% [markdown]
# **4.** Four bytes and twice two are eight bytes a run, whatever the size of the volume. Where a column changes from empty to filled, a
# run begins.

# %%
columns = volume.transpose(1, 2, 0).astype(int)
number = int((np.diff(columns, axis=2, prepend=0) == 1).sum())
answer = 8 * number
figures.check("4. bytes of the runs", answer, sum(a.nbytes for a in runs_of(volume)))
