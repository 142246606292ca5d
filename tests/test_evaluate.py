"""Scoring a network on held-out faces, and the pictures of photographs."""

import csv
import json

import numpy as np
import pytest

from vrnlib import evaluate, figures, networks, provenance
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.errors import VrnError
from vrnlib.params import profile
from vrnlib.provenance import writable_folder


class Oracle:
    """A network that knows the answer, but for a shift in depth."""

    def __init__(self, data: SynthLP, shift: int) -> None:
        self.data, self.shift, self.next = data, shift, 0

    def predict(self, image: np.ndarray) -> np.ndarray:
        index = self.next * POSES_PER_FACE + self.next % POSES_PER_FACE
        self.next += 1
        sample = self.data[index]
        assert np.array_equal(image, sample["image"])
        return np.roll(sample["volume"], -self.shift, axis=0).astype(np.float32)


@pytest.fixture
def smoke_checkpoint(tmp_path):
    p = profile("smoke")
    return networks.save(
        networks.VRN.of_profile(p), tmp_path / "vrn.safetensors", {"size": p.size, "faces": 0}
    )


def test_true_volumes_score_the_floor_and_depth_is_aligned():
    data = SynthLP(32, 34, seed=3, augment=False, truth=True)
    for shift in (0, 2):
        oracle = Oracle(data, shift)
        rows = [evaluate.score_face(oracle, data[i * POSES_PER_FACE + i % POSES_PER_FACE]) for i in range(4)]
        for row in rows:
            assert row["floor"] < 0.09
            # a shift back may push some of the solid out of the volume, nothing else changes
            assert row["nme"] == pytest.approx(row["floor"], abs=0 if shift == 0 else 0.03)
            assert row["iou"] == 1.0 if shift == 0 else row["iou"] < 1


def test_evaluation_writes_a_row_a_face_and_counts_failures(tmp_path, smoke_checkpoint):
    result = evaluate.evaluate(smoke_checkpoint, tmp_path / "out", faces=3, seed=4, workers=2)
    again = evaluate.evaluate(smoke_checkpoint, tmp_path / "again", faces=3, seed=4, workers=1)
    assert (tmp_path / "out" / "errors.csv").read_text() == (tmp_path / "again" / "errors.csv").read_text()
    assert again["iou"] == result["iou"]
    with (tmp_path / "out" / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == evaluate.COLUMNS and len(rows) == 3
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert stored["nme"]["faces"] == 3 == result["nme"]["faces"]
    failed = sum(row["nme"] == "nan" for row in rows)
    assert stored["nme"]["failed"] == failed
    assert [b["faces"] for b in stored["by_yaw"]] and sum(b["faces"] for b in stored["by_yaw"]) == 3
    assert (tmp_path / "out" / "provenance.json").is_file()


def test_bad_input_is_one_line(tmp_path, capsys):
    assert evaluate.main(["--network", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "o")]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    with pytest.raises(VrnError, match="at least 2"):
        evaluate.evaluate(tmp_path / "none.safetensors", tmp_path / "o", faces=1)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, smoke_checkpoint, monkeypatch):
    monkeypatch.setattr(evaluate, "open_test_set", None)  # would fail
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(VrnError, match="cannot write to folder.*file' is not a folder; choose another"):
            evaluate.evaluate(smoke_checkpoint, out, faces=2)
    assert (tmp_path / "file").read_text() == "mine"
    for name in ("workers", "seed"):
        with pytest.raises(VrnError, match=f"{name} is -1"):
            evaluate.evaluate(smoke_checkpoint, tmp_path / "o", faces=2, **{name: -1})
    assert not (tmp_path / "o").exists()


def test_a_folder_that_can_be_written_to_is_left_as_it_was(tmp_path, monkeypatch):
    for folder in (tmp_path, tmp_path / "new" / "one"):
        assert writable_folder(folder) == folder
    assert not list(tmp_path.iterdir())

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(provenance.tempfile, "TemporaryFile", refuse)  # no mode keeps root out
    with pytest.raises(VrnError, match="one': Permission denied; choose another"):
        writable_folder(tmp_path / "new" / "one")


def test_gallery_offline_says_so_and_leaves_nothing(tmp_path, smoke_checkpoint, monkeypatch, capsys):
    from vrnlib import gallery

    monkeypatch.setattr(gallery, "SDIST", "no-such-package-of-vrnlib==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    out = tmp_path / "photographs.png"
    arguments = [
        "--out",
        str(out),
        "--network",
        str(smoke_checkpoint),
        "--fetch",
        "--cache",
        str(tmp_path / "c"),
    ]
    assert gallery.main(arguments) == 2
    assert "go on without --fetch" in capsys.readouterr().err
    assert not out.exists() and not list((tmp_path / "c").iterdir())


def test_mesh_view_shows_the_right_side():
    # two balls, the red one at the viewer's right: turned by 90 degrees one hides the other
    import trimesh

    ball = trimesh.creation.icosphere(2, radius=10)
    vertices = np.concatenate([ball.vertices - [15, 0, 0], ball.vertices + [15, 0, 0]])
    faces = np.concatenate([ball.faces, ball.faces + len(ball.vertices)])
    colours = np.repeat([[0, 0, 255], [255, 0, 0]], len(ball.vertices), axis=0)
    front = figures.mesh_view(vertices, faces, colours, size=80).astype(int)
    assert (front[40, 55:65, 0] > front[40, 55:65, 2]).all() and (
        front[40, 15:25, 2] > front[40, 15:25, 0]
    ).all()
    assert (front[2, 2] == 255).all()
    side = figures.mesh_view(vertices, faces, colours, size=80, turn=90).astype(int)
    seen = side.min(-1) < 250
    assert np.ptp(np.flatnonzero(seen.any(0))) < 40  # one ball wide


def test_figures_need_a_description():
    with pytest.raises(VrnError, match="alternative text"):
        figures.show(np.zeros((4, 4, 3), np.uint8), alt=" ")


def test_sheet_keeps_the_order():
    tiles = [np.full((3, 4, 3), value, np.uint8) for value in (10, 20, 30)]
    out = figures.sheet(tiles, 2, gap=1)
    assert out.shape == (7, 9, 3)
    assert out[0, 0, 0] == 10 and out[0, 8, 0] == 20 and out[6, 0, 0] == 30 and out[6, 8, 0] == 255
