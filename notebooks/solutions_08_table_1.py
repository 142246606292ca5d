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
# # Solutions: Table 1
#
# Answers to the exercises of [08_table_1](08_table_1.ipynb), with the reasons. Try them yourself first.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: nothing here depends on it

# %%
import numpy as np

from vrnlib import figures, scores
from vrnlib.table1 import paper
from vrnlib.table1 import table as tables

# %% [markdown]
# **1.** A is below B and below C, as in the paper. But its interval ends at 0.053, and that of B begins at 0.052: the order is reproduced, without separation.

# %%
ours = {"A": {"mean": 0.050, "interval": (0.047, 0.053)}, "B": {"mean": 0.056, "interval": (0.052, 0.060)}, "C": {"mean": 0.080, "interval": (0.076, 0.084)}}
answer = paper.REPRODUCED
figures.check("1. the verdict of A", answer, tables.verdict("A", ours, {"A": 1.0, "B": 2.0, "C": 3.0})["verdict"])

# %% [markdown]
# **2.** Yes. If hard faces are hard for both, the means vary together and their difference hardly varies at all. An example: errors between 0.02 and 0.1, and a second
# method that is 0.002 better on every face, give or take a little.

# %%
rng = np.random.default_rng(0)
first = rng.uniform(0.02, 0.1, 60)
second = first - 0.002 + rng.normal(0, 0.001, 60)
intervals = scores.bootstrap_interval(first), scores.bootstrap_interval(second)
test = scores.compare(second, first)
print(f"intervals {intervals[0][0]:.3f} to {intervals[0][1]:.3f} and {intervals[1][0]:.3f} to {intervals[1][1]:.3f}; paired p = {test['p']:.0e}")
answer = bool(tables.overlap(*intervals) and test["p"] < 0.01)
figures.check("2. overlap and pairing", answer, True)

# %% [markdown]
# **3.** A quarter is left, three quarters are gone.

# %%
answer = (0.08 - 0.02) / 0.08
figures.check("3. pose and place", answer, 1 - 0.02 / 0.08, tolerance=1e-6)
