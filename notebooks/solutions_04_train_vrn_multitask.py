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
# # Solutions: training VRN-Multitask
#
# Answers to the exercises of [04_train_vrn_multitask](04_train_vrn_multitask.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: changes nothing here
seed: int = 0  # changes nothing here

# %%
import numpy as np
import torch
from torch import nn

from vrnlib import figures, loss

# %% [markdown]
# **1.** A weight for every pair of an input and an output channel, a bias for every output channel.

# %%
answer = 256 * 68 + 68
figures.check("1. parameters of the head", answer, sum(p.numel() for p in nn.Conv2d(256, 68, 1).parameters()))

# %% [markdown]
# **2.** The product of the two, 3 * 4 + 4 * 3, over the product of their lengths, 5 * 5: they pull nearly the same way.

# %%
answer = (3 * 4 + 4 * 3) / (5 * 5)
expected = torch.cosine_similarity(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0]), dim=0)
figures.check("2. cosine", answer, float(expected), tolerance=0.001)

# %% [markdown]
# **3.** One cell should be 1 and costs $-\log 0.01$; the other 575 should be 0 and cost $-\log 0.99$ each; the mean is over all. Silence is
# cheap: the one bright cell makes up less than half of it.

# %%
answer = -(np.log(0.01) + 575 * np.log(0.99)) / 576
wanted = torch.zeros(1, 1, 24, 24)
wanted[0, 0, 3, 5] = 1
logits = torch.full((1, 1, 24, 24), float(np.log(0.01 / 0.99)))
figures.check("3. loss of near-silence", answer, float(loss.voxel_loss(logits, wanted)), tolerance=0.0005)
