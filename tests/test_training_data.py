"""Training on a folder: shards, and a real database by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_files as rf

from vrnlib.databases import DATA_VERSION, SynthLP, bfm, w300lp
from vrnlib.databases.shards import write_shards
from vrnlib.errors import VrnError
from vrnlib.recipe import TrainParams
from vrnlib.train import train
from vrnlib.training_data import open_data


def params(**changes: Any) -> TrainParams:
    small = {"max_faces": 8, "validation_faces": 2, "nme_faces": 0, "workers": 0, "threads": 1}
    return TrainParams.of("smoke", **{**small, "precision": "32-true", **changes})


def test_drawn_faces_are_named_by_their_version_and_held_out_ones_are_other_people() -> None:
    faces, held_out, name = open_data(params())
    assert name == DATA_VERSION and faces.seed != held_out.seed
    assert held_out.truth and not faces.truth  # without an NME as well: the eyes divide other errors, too


def test_trains_on_shards_as_on_the_faces_in_them(tmp_path: Path) -> None:
    p = params()
    write_shards(
        SynthLP(p.size, p.depth, seed=0),
        4,
        tmp_path / "shards",
        {"size": p.size, "depth": p.depth},
        per_shard=2,
        say=lambda _: None,
    )
    stored, _, name = open_data(params(data=str(tmp_path / "shards")))
    assert name == "shards"
    drawn = SynthLP(p.size, p.depth, seed=0)
    assert all((stored[i]["image"] == drawn[i]["image"]).all() for i in range(4))
    metrics = train(params(data=str(tmp_path / "shards")), tmp_path / "run", say=lambda _: None)
    assert metrics["finished"] and metrics["faces"] == 8 and metrics["data"] == "shards"


def test_trains_on_300w_lp_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfm, "N_VERTICES", 4538)  # the package's basis plays the Basel model
    rf.write_300w_lp(tmp_path / "300W_LP")
    rf.write_bfm(tmp_path / "bfm")
    where = {"data": str(tmp_path / "300W_LP"), "bfm": str(tmp_path / "bfm")}
    for kind in ("multitask", "guided"):
        metrics = train(params(kind=kind, **where), tmp_path / kind, say=lambda _: None)
        assert metrics["finished"] and metrics["data"] == "300W-LP"


def test_held_out_photographs_have_their_eyes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfm, "N_VERTICES", 4538)
    monkeypatch.setattr(w300lp, "evaluation_mask", lambda: np.arange(0, 4538, 50))  # the authors' is fetched
    rf.write_300w_lp(tmp_path / "300W_LP")
    rf.write_bfm(tmp_path / "bfm")
    where = {"validation_data": str(tmp_path / "300W_LP"), "bfm": str(tmp_path / "bfm")}
    assert open_data(params(**where))[1][0]["eyes"].shape == (2, 3)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", ["exclude", "bfm"])
def test_what_would_be_ignored_is_refused(tmp_path: Path, stored: bool, name: str) -> None:
    p = params()
    if stored:
        write_shards(
            SynthLP(p.size, p.depth), 1, tmp_path, {"size": p.size, "depth": p.depth}, say=lambda _: None
        )
    data = {"data": str(tmp_path)} if stored else {}
    with pytest.raises(VrnError, match=f"{name} .* leave {name} out"):
        open_data(params(**data, **{name: "something"}))


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_no_database_is_refused(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "faces"
    if make:
        folder.mkdir()
        (folder / "notes.txt").write_text("none here")
    with pytest.raises(VrnError, match="faces"):
        open_data(params(data=str(folder)))


def test_shards_of_another_size_are_refused(tmp_path: Path) -> None:
    write_shards(
        SynthLP(32, 34, seed=0), 2, tmp_path, {"size": 32, "depth": 34}, per_shard=2, say=lambda _: None
    )
    with pytest.raises(VrnError, match="32"):
        open_data(TrainParams.of("laptop", max_faces=8, data=str(tmp_path)))
