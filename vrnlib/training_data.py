"""The faces of a training run: which data sets its parameters name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vrnlib.databases import DATA_VERSION, SynthLP
from vrnlib.recipe import TrainParams


def open_data(params: TrainParams) -> tuple[Any, Any, str]:
    """The data sets of a run: training faces, held-out faces, and the training data's name for the log.

    ``synth-lp`` is drawn on the fly; a folder holds shards (:mod:`vrnlib.databases.shards`) or a real
    database (:mod:`vrnlib.databases.check`). Held-out faces are not augmented, and have ground-truth points
    if `params.nme_faces` asks for an NME.

    Raises
    ------
    VrnError
        A folder is no database, is not complete, or holds another size.
    """
    p, truth = params, params.nme_faces > 0
    if p.data == "synth-lp":
        faces, name = SynthLP(p.size, p.depth, seed=p.seed), DATA_VERSION
    else:
        faces, name = _folder(p.data, p, seed=p.seed, augment=True, exclude=p.exclude or None)
    if p.validation_data == "synth-lp":
        return faces, SynthLP(p.size, p.depth, seed=p.validation_seed, augment=False, truth=truth), name
    return faces, _folder(p.validation_data, p, truth=truth)[0], name


def _folder(path: str, params: TrainParams, **options: Any) -> tuple[Any, str]:
    from vrnlib.databases.check import open_database
    from vrnlib.databases.shards import Shards

    if (Path(path) / "index.json").is_file():
        return Shards(path, params.size, params.depth, runs=True), Path(path).name
    bfm = params.bfm or None
    data = open_database(path, params.size, params.depth, bfm=bfm, skip_bad=True, **options)
    return data, data.name
