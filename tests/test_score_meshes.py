"""Scoring folders of meshes: formats, frames, warnings, bad files, interruption."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from vrnlib import evaluate_meshes, meshio, score_meshes
from vrnlib.commands.evaluate import evaluate
from vrnlib.errors import VrnError
from vrnlib.score_meshes import Truth

HEIGHT = 120


def head(seed: int = 0) -> trimesh.Trimesh:
    """A ball with a nose, 60 pixels wide, in the image frame: y down, z towards the viewer."""
    ball = trimesh.creation.icosphere(4, radius=30)
    v = np.asarray(ball.vertices)
    nose = np.exp(-((v[:, 0] - 2) ** 2 + (v[:, 1] - 6 - seed) ** 2) / 40) * (v[:, 2] > 0)
    chin = np.exp(-(v[:, 0] ** 2 + (v[:, 1] - 25) ** 2) / 60) * (v[:, 2] > 0)
    ball.vertices = v + np.outer(nose, [0, 0, 9]) + np.outer(chin, [0, 8, 4]) + [64, 70, 5]
    return ball


def truth_of(mesh: trimesh.Trimesh, **fields: object) -> Truth:
    v = np.asarray(mesh.vertices)
    eyes = np.array([[42.0, 60, 25], [86, 60, 25]])
    return Truth(v[v[:, 2] > 8], eyes, height=HEIGHT, crop=(0.5, 10.0, 20.0), **fields)


def save(path: Path, mesh: trimesh.Trimesh, frame: str = "file") -> None:
    v, f = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)
    if frame == "file":
        v, f = v * [1, -1, 1] + [0, HEIGHT - 1, 0], f[:, ::-1]
    elif frame == "network":
        v = v * 0.5 + [10, 20, 0]
    v = v.astype(np.float32)
    if path.suffix == ".npz":
        np.savez(path, vertices=v, faces=f)
    else:
        colours = np.full((len(v), 3), 128, np.uint8)
        meshio.write(path, meshio.Surface(v, f.copy(), colours, np.tile(np.float32([0, 0, 1]), (len(v), 1))))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four faces with truth, and perfect meshes of them in four formats."""
    truth, meshes = tmp_path / "truth", tmp_path / "meshes"
    truth.mkdir(), meshes.mkdir()
    for i, kind in enumerate((".obj", ".ply", ".glb", ".npz")):
        mesh = head(i)
        who, label = ("anna", "happy") if i < 2 else ("ben", "sad")
        score_meshes.write_truth(
            truth / f"face{i}.npz", truth_of(mesh, yaw=20.0 * i, identity=who, expression=label)
        )
        save(meshes / f"face{i}{kind}", mesh)
    return meshes, truth


def test_perfect_meshes_of_every_format_score_zero(folders, tmp_path):
    meshes, truth = folders
    result = evaluate_meshes.evaluate_folder(meshes, str(truth), tmp_path / "out")
    with (tmp_path / "out" / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == ["face0", "face1", "face2", "face3"]
    assert [r["status"] for r in rows] == ["ok"] * 4 and not any(r["warning"] for r in rows)
    assert max(float(r["nme"]) for r in rows) < 1e-4  # an OBJ keeps three digits
    assert result["interval_over"] == "persons" and result["persons"] == 2
    assert set(result["by_expression"]) == {"happy", "sad"}
    assert [b["faces"] for b in result["by_yaw"]] == [2, 1, 1]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["nme"]["faces"] == 4
    assert (tmp_path / "out" / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("frame", ["image", "network"])
def test_other_frames(tmp_path, frame):
    mesh = head()
    save(tmp_path / "a.ply", mesh, frame)
    row = score_meshes.score_one("a", tmp_path / "a.ply", truth_of(mesh), frame)
    assert row["status"] == "ok" and row["nme"] < 1e-4
    wrong = score_meshes.score_one("a", tmp_path / "a.ply", truth_of(mesh), "file")
    assert wrong["nme"] > 0.02 and wrong["warning"]


def test_upside_down_other_unit_and_far_away_are_told_with_the_ratio():
    mesh, v = head(), np.asarray(head().vertices)
    truth = truth_of(mesh)
    assert score_meshes.suspicion(v, truth) == ""
    assert score_meshes.suspicion(v * 1.2 + [3, 2, 500], truth) == ""  # a bad answer is not a wrong frame
    turned = score_meshes.suspicion(v * [1, -1, 1] + [0, HEIGHT - 1, 0], truth)
    assert turned.startswith("upside-down: with y") and "times smaller" in turned
    assert "0.00101 times" in score_meshes.suspicion(v * 0.001, truth)
    assert "1.01e+03 times" in score_meshes.suspicion(v * 1000, truth)
    assert score_meshes.suspicion(v + [400, 0, 0], truth).startswith("place: 6.")


def test_bad_files_become_rows_that_say_why(folders, tmp_path):
    meshes, truth = folders
    (meshes / "face0.obj").write_text("# nothing\n")
    (meshes / "face1.ply").write_bytes(b"ply\nbroken")
    (meshes / "face2.glb").unlink()
    bad = np.load(meshes / "face3.npz")["vertices"]
    bad[5] = np.nan
    np.savez(meshes / "face3.npz", vertices=bad)
    rows = score_meshes.score_all(
        score_meshes.predictions(meshes), score_meshes.folder_truths(truth), tmp_path / "t.csv"
    )
    assert [np.isnan(r["nme"]) for r in rows] == [True] * 4
    for row, part in zip(rows, ("empty mesh", "damaged", "missing", "1 of"), strict=True):
        assert part in row["status"], row["status"]
        assert str(tmp_path) not in row["status"]  # tables are published
    result = evaluate_meshes.summarise(rows)
    assert result["nme"]["mean"] is None and result["nme"]["failed"] == 4
    assert "failed: 1 faces, first 'face2': missing" in evaluate_meshes.describe({**result, "unused": []})


def test_wrong_ground_truth_is_named(folders, tmp_path):
    meshes, truth = folders
    np.savez(tmp_path / "no_eyes.npz", points=np.zeros((3, 3)))
    with pytest.raises(VrnError, match=r"no_eyes.npz' has no array 'eyes'.*outer eye corners"):
        score_meshes.read_truth(tmp_path / "no_eyes.npz")
    np.savez(tmp_path / "bad.npz", points=np.full((3, 3), np.nan), eyes=np.zeros((2, 3)))
    with pytest.raises(VrnError, match="NaN"):
        score_meshes.read_truth(tmp_path / "bad.npz")
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(VrnError, match="not an NPZ"):
        score_meshes.read_truth(tmp_path / "text.npz")
    for path in truth.iterdir():
        path.rename(truth / f"other-{path.name}")
    with pytest.raises(VrnError, match="another database"):
        evaluate_meshes.evaluate_folder(meshes, str(truth), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(VrnError, match="no ground truth"):
        score_meshes.folder_truths(meshes / "none")
    with pytest.raises(VrnError, match="synth-lp"):
        evaluate_meshes.open_truths("synth-pl", 2, 32, 0)
    mesh = head()
    with pytest.raises(VrnError, match="height"):
        score_meshes.to_image(np.asarray(mesh.vertices), "file", Truth(np.ones((2, 3)), np.eye(3)[:2]))


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_any_damaged_byte_of_ground_truth_is_an_error_or_harmless(tmp_path, flip):
    path = score_meshes.write_truth(tmp_path / "a.npz", truth_of(trimesh.creation.icosphere(1, radius=30)))
    good, refused = path.read_bytes(), 0
    for at in range(0, len(good), 3):
        spoilt = bytearray(good)
        spoilt[at] ^= flip
        path.write_bytes(spoilt)
        try:
            score_meshes.read_truth(path)
        except VrnError:
            refused += 1
    assert refused > len(good) / 6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"points": np.full((3, 3), "x")}, "must be numbers, got <U1"),
        ({"eyes": np.full((2, 3), True)}, "must be numbers, got .* and bool"),
        ({"eyes": np.zeros((2, 2))}, r"eyes \(2, 3\), got"),
        ({"height": np.array([100, 100])}, "height must be one finite number"),
        ({"height": np.array(np.inf)}, "height must be one finite number"),
        ({"yaw": np.array("left")}, "yaw must be one finite number, got <U4"),
        ({"crop": np.array([1.0, 2.0])}, r"crop must be 3 finite numbers, got float64 of shape \(2,\)"),
        ({"crop": np.array([0.0, 2.0, 3.0])}, "scale of crop.* must be positive, got 0"),
    ],
)
def test_ground_truth_of_another_kind_is_named(tmp_path, wrong, message):
    np.savez(tmp_path / "a.npz", **{"points": np.ones((3, 3)), "eyes": np.eye(3)[:2], **wrong})
    with pytest.raises(VrnError, match=f"a.npz'.*{message}"):
        score_meshes.read_truth(tmp_path / "a.npz")


def test_wrong_triangles_are_a_row_that_says_so(tmp_path):
    mesh = head()
    vertices = np.asarray(mesh.vertices)
    path = tmp_path / "a.npz"
    for faces in ([["a", "b", "c"]], [[0, 1, 10**6]], np.zeros((4, 2))):
        np.savez(path, vertices=vertices, faces=faces)
        row = score_meshes.score_one("a", path, truth_of(mesh), "image", "surface")
        assert row["status"] != "ok" and np.isnan(row["nme"])
        assert score_meshes.score_one("a", path, truth_of(mesh), "image")["status"] == "ok"  # not needed
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n")
    row = score_meshes.score_one("a", tmp_path / "a.obj", truth_of(mesh), "image", "surface")
    assert "damaged" in row["status"]


def test_interrupted_evaluation_continues(folders, tmp_path, monkeypatch):
    meshes, truth = folders
    table = tmp_path / "t.csv"
    found, truths = score_meshes.predictions(meshes), score_meshes.folder_truths(truth)
    real, scored = score_meshes.score_one, []

    def counting(name, *rest):
        if name == "face2" and len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(name)
        return real(name, *rest)

    monkeypatch.setattr(score_meshes, "score_one", counting)
    with pytest.raises(KeyboardInterrupt):
        score_meshes.score_all(found, truths, table, chunk=1)
    assert [r["name"] for r in score_meshes.read_rows(table)] == ["face0", "face1"]
    scored.append("restart")
    rows = score_meshes.score_all(found, truths, table, chunk=1)
    assert scored == ["face0", "face1", "restart", "face2", "face3"]
    monkeypatch.undo()
    fresh = score_meshes.score_all(found, truths, tmp_path / "fresh.csv", workers=2)
    assert table.read_text() == (tmp_path / "fresh.csv").read_text()
    assert [r["nme"] for r in rows] == pytest.approx([r["nme"] for r in fresh], rel=1e-5)
    # a mesh that has changed is scored again
    save(meshes / "face1.ply", head(9))
    again = score_meshes.score_all(found, truths, table)
    assert again[1]["nme"] > rows[1]["nme"] + 1e-4 and again[0]["stamp"] == rows[0]["stamp"]


def test_other_settings_are_refused(folders, tmp_path):
    meshes, truth = folders
    evaluate_meshes.evaluate_folder(meshes, str(truth), tmp_path / "out", correspondence="nearest")
    with pytest.raises(VrnError, match="other settings"):
        evaluate_meshes.evaluate_folder(meshes, str(truth), tmp_path / "out")
    with pytest.raises(VrnError, match="both predictions"):
        save(meshes / "face0.ply", head())
        score_meshes.predictions(meshes)


def test_named_database_round_trip(tmp_path):
    """Write truth and images, then score the true points themselves."""
    count = evaluate_meshes.export_truths("synth-lp", tmp_path / "faces", 2, 32, 5)
    assert count == 2 and len(list((tmp_path / "faces").glob("*.png"))) == 2
    (tmp_path / "m").mkdir()
    for path in (tmp_path / "faces").glob("*.npz"):
        points = score_meshes.read_truth(path).points
        np.savez(tmp_path / "m" / path.name, vertices=points)
    for i, source in enumerate(("synth-lp", str(tmp_path / "faces"))):
        result = evaluate_meshes.evaluate_folder(
            tmp_path / "m", source, tmp_path / f"out{i}", frame="network", faces=2, size=32, seed=5
        )
        assert result["nme"]["mean"] == pytest.approx(0, abs=1e-6) and not result["warnings"]


def test_command_refuses_in_one_line():
    with pytest.raises(VrnError, match="--predictions"):
        evaluate(predictions=None, write_truth=None)


@pytest.mark.parametrize(
    ("name", "value"), [("size", 0), ("size", -5), ("size", 31), ("seed", -1), ("faces", -1)]
)
def test_numbers_that_make_no_sense_are_refused(folders, tmp_path, name, value):
    with pytest.raises(VrnError, match=f"{name} is {value}: "):
        evaluate(write_truth=tmp_path / "faces", database="synth-wild", **{name: value})
    assert not (tmp_path / "faces").exists()
    with pytest.raises(VrnError, match="workers is -1: "):
        evaluate_meshes.evaluate_folder(folders[0], str(folders[1]), tmp_path / "out", workers=-1)


def test_a_folder_that_cannot_be_one_is_refused(folders, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(VrnError, match="not a folder; choose another"):
            evaluate_meshes.evaluate_folder(folders[0], str(folders[1]), out)
        with pytest.raises(VrnError, match="not a folder; choose another"):
            evaluate_meshes.export_truths("synth-lp", out, 1, 32, 0)


def test_a_frozen_database_has_people_and_expressions(tmp_path):
    truths, image = evaluate_meshes.open_truths("synth-expressions-frontal", 6, 48, 0)
    found = [t() for t in truths.values()]
    assert len(found) == 6 and {t.expression for t in found} <= {
        "Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise"
    }  # fmt: skip
    assert len({t.identity for t in found}) > 1
    assert image(next(iter(truths))).shape == (48, 48, 3)
