"""The faces of a training run: which data sets its parameters name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vrnlib.databases import DATA_VERSION, SynthLP
from vrnlib.errors import VrnError
from vrnlib.recipe import TrainParams


def open_data(params: TrainParams) -> tuple[Any, Any, str]:
    """The data sets of a run: training faces, held-out faces, and the training data's name for the log.

    ``synth-lp`` is drawn on the fly; a folder holds shards (:mod:`vrnlib.databases.shards`) or a real
    database (:mod:`vrnlib.databases.check`). Held-out faces are not augmented, and have their ground truth:
    the eye corners, which errors are divided by, are then the same whatever is measured. Shards have it if
    they were written with it.

    Raises
    ------
    VrnError
        A folder is no database, is not complete, or holds another size; `exclude` or `bfm` has nothing to
        act on.
    """
    p = params
    _check(p)
    if p.data == "synth-lp":
        faces, name = SynthLP(p.size, p.depth, seed=p.seed), DATA_VERSION
    else:
        faces, name = _folder(p.data, p, seed=p.seed, augment=True, exclude=p.exclude or None)
    if p.validation_data == "synth-lp":
        return faces, SynthLP(p.size, p.depth, seed=p.validation_seed, augment=False, truth=True), name
    return faces, _folder(p.validation_data, p, truth=True)[0], name


def _check(p: TrainParams) -> None:
    # Ignored, these two would let a run learn from pictures that its user has left out.
    def no_pictures(path: str) -> bool:
        return path == "synth-lp" or _is_shards(path)

    if p.exclude and no_pictures(p.data):
        raise VrnError(f"exclude names pictures of 300W-LP, data is '{p.data}': leave exclude out")
    if p.bfm and no_pictures(p.data) and no_pictures(p.validation_data):
        raise VrnError(
            f"bfm is a model for 300W-LP, data is '{p.data}' and validation_data '{p.validation_data}': "
            "leave bfm out"
        )


def _is_shards(path: str) -> bool:
    return (Path(path) / "index.json").is_file()


def _folder(path: str, params: TrainParams, **options: Any) -> tuple[Any, str]:
    from vrnlib.databases.check import open_database
    from vrnlib.databases.shards import Shards

    if _is_shards(path):
        return Shards(path, params.size, params.depth, runs=True), Path(path).name
    bfm = params.bfm or None
    data = open_database(path, params.size, params.depth, bfm=bfm, skip_bad=True, **options)
    return data, data.name
