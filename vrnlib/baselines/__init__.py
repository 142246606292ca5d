"""Methods that VRN is compared with, on one 3D morphable model (taught in `notebooks/07_baselines`).

:mod:`~vrnlib.baselines.morphable` builds the model; :mod:`~vrnlib.baselines.methods` lists every method by
name behind one interface.
"""
