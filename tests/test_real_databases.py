"""The real databases, read back from small files in their exact formats with known geometry."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import real_files as rf
import scipy.io
from typer.testing import CliRunner

from vrnlib import batches
from vrnlib.appearance import sample_light, sample_look
from vrnlib.commands.data import app
from vrnlib.crop import Crop
from vrnlib.databases import (
    FRONT_MARGIN,
    Augmentation,
    bfm,
    landmarks,
    mask,
    matfile,
    protocol,
    scans,
    w300lp,
)
from vrnlib.databases.check import check, describe, identify, open_database
from vrnlib.databases.preview import contact_sheet
from vrnlib.databases.region import height_field
from vrnlib.databases.sample import render_sample
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, rotation_matrix
from vrnlib.metrics import iou
from vrnlib.voxel import Grid

N = 4538  # vertices of the package's basis, which plays the Basel model
GRID = Grid(48, 50)


@pytest.fixture(autouse=True)
def small_model(monkeypatch):
    monkeypatch.setattr(bfm, "N_VERTICES", N)


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("real")
    rf.write_bfm(root / "bfm")
    rf.write_300w_lp(root / "300W_LP", 3)
    for i in range(2):
        name = root / "AFLW2000" / f"image{i:05d}.jpg"
        rf.write_picture(name, seed=20 + i, pose=(-0.2, 0.3 - 0.6 * i, 0.3), aflw=True)
    rf.write_bu4dfe(root / "BU4DFE")
    rf.write_florence(root / "Florence", 1)
    return root


@pytest.fixture
def lp(files: Path, tmp_path: Path) -> Path:
    """A copy of 300W-LP's three pictures, to be damaged; its model's parts beside it."""
    shutil.copytree(files / "300W_LP", tmp_path / "300W_LP")
    (tmp_path / "bfm").symlink_to(files / "bfm")
    return tmp_path / "300W_LP"


def change(path: Path, **arrays: object) -> None:
    """Replace or (None) remove arrays of a .mat file."""
    old = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")} | arrays
    scipy.io.savemat(path, {k: v for k, v in old.items() if v is not None})


# the model ----------------------------------------------------------------------------------------------


def test_rotation_and_projection_are_3ddfas():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, y, r = rng.uniform(-1.5, 1.5, 3)
        c, s = np.cos, np.sin
        # 3DDFA's RotationMatrix.m, multiplied out by hand
        expected = [
            [c(y) * c(r), c(y) * s(r), -s(y)],
            [s(p) * s(y) * c(r) - c(p) * s(r), s(p) * s(y) * s(r) + c(p) * c(r), s(p) * c(y)],
            [c(p) * s(y) * c(r) + s(p) * s(r), c(p) * s(y) * s(r) - s(p) * c(r), c(p) * c(y)],
        ]
        assert np.allclose(rotation_matrix(p, y, r), expected)
    given = {"pose": np.zeros(3), "scale": 2.0, "translation": np.array([10.0, 20.0, 5.0])}
    point = np.array([1.0, 2.0, 3.0])
    assert np.allclose(w300lp.to_image(point, given, 450), [12, 450 - 24 - 1, 11])
    # counted from 1 in MATLAB: (x, h + 1 - y)
    assert np.allclose(w300lp.to_image(point, given, 450, "3ddfa") + [1, 1, 0], [12, 450 + 1 - 24, 11])
    with pytest.raises(VrnError, match="unknown convention 'x'"):
        w300lp.to_image(point, given, 450, "x")


def test_all_three_sets_of_model_files_give_the_same_known_face(files, tmp_path, monkeypatch):
    basis, _, _, faces = rf.basis_rows()
    parts = scipy.io.loadmat(files / "bfm" / "Model_Shape.mat")
    exp = scipy.io.loadmat(files / "bfm" / "Model_Exp.mat")
    (tmp_path / "one").mkdir()
    names = {"shapeMU": "mu_shape", "shapePC": "w", "tri": "tri", "kpt_ind": "keypoints"}
    struct = {k: parts[v] for k, v in names.items()} | {"expMU": exp["mu_exp"], "expPC": exp["w_exp"]}
    scipy.io.savemat(tmp_path / "one" / "BFM.mat", {"model": struct})
    # BFM 2009 as it comes: more vertices, others trimmed away
    two = tmp_path / "two" / "deeper"
    two.mkdir(parents=True)
    monkeypatch.setattr(bfm, "N_FULL", N + 3)
    trim = np.delete(np.arange(N + 3), [0, 100, N + 2])
    mu, pc = np.full((3 * (N + 3), 1), 9e9), np.zeros((3 * (N + 3), 199), np.float32)
    rows = (3 * trim[:, None] + np.arange(3)).ravel()
    mu[rows], pc[rows] = parts["mu_shape"], parts["w"]
    scipy.io.savemat(two / "01_MorphableModel.mat", {"shapeMU": mu, "shapePC": pc})
    info = {"trimIndex": trim[:, None] + 1, "tri": parts["tri"], "keypoints": parts["keypoints"]}
    scipy.io.savemat(two / "model_info.mat", info)
    shutil.copy(files / "bfm" / "Model_Exp.mat", two / "Model_Expression.mat")

    given = rf.person(3)
    for folder in (files / "bfm", tmp_path / "one", tmp_path / "two"):
        model = bfm.load_model(folder)
        assert np.allclose(model.vertices(*given[:2]), given[2], atol=1e-3), folder  # mm
        assert np.array_equal(model.landmarks, basis.landmarks)
        assert np.array_equal(model.faces, faces[:, ::-1])
    ids = np.array([5, 77, 4000])
    assert np.allclose(model.part(ids).vertices(*given[:2]), given[2][ids], atol=1e-3)
    with pytest.raises(VrnError, match="Shape_Para has 198 coefficients, the model in .* has 199"):
        model.vertices(given[0][:198], given[1])


@pytest.mark.parametrize(
    "name, arrays, cause",
    [
        ("Model_Shape.mat", {"mu_shape": np.ones((3 * 53490, 1))}, "mean shape has 53490 vertices"),
        ("Model_Shape.mat", {"w": None}, "has no w"),
        ("Model_Shape.mat", {"keypoints": np.arange(1.0, 60)[None]}, "59 keypoints, expected 68"),
        ("Model_Shape.mat", {"keypoints": np.full((1, 68), N + 1.0)}, f"vertex numbers 1..{N}"),
        ("Model_Shape.mat", {"tri": np.ones((3, 5))}, "triangle 1 of tri names a vertex twice"),
        ("Model_Shape.mat", {"mu_shape": np.full((3 * N, 1), np.nan)}, "mu_shape holds NaN"),
        ("Model_Shape.mat", {"mu_shape": np.ones((3 * N, 1))}, "outer eye corners"),
        ("Model_Exp.mat", {"w_exp": np.ones((30, 29))}, "expression basis has 10 vertices"),
    ],
)  # fmt: skip
def test_model_of_another_version_is_refused(files, tmp_path, name, arrays, cause):
    shutil.copytree(files / "bfm", tmp_path / "bfm")
    change(tmp_path / "bfm" / name, **arrays)
    with pytest.raises(VrnError, match=cause) as error:
        bfm.load_model(tmp_path / "bfm")
    assert name in str(error.value)


def test_incomplete_model_names_what_is_missing_and_where_to_ask(files, tmp_path):
    with pytest.raises(VrnError, match=r"missing Model_Exp.mat, Model_Shape.mat .*faces.dmi.unibas.ch"):
        bfm.load_model(tmp_path)
    shutil.copy(files / "bfm" / "Model_Shape.mat", tmp_path)
    with pytest.raises(VrnError, match="missing Model_Exp.mat;"):
        bfm.load_model(tmp_path)


# 300W-LP and AFLW2000-3D --------------------------------------------------------------------------------


def test_sample_is_the_face_that_was_written(files):
    basis = load_basis()
    data = open_database(files / "300W_LP", 96, 100, bfm=files / "bfm", truth=True, mask=basis.surface[::3])
    assert len(data) == 3 and isinstance(data, w300lp.W300LP)
    grid = Grid(96, 100)
    for i, seed in enumerate((0, 2, 1)):  # AFW, AFW_Flip, HELEN
        s = data[i]
        head = rf.person(seed)[2]
        pose = s["pose"].astype(np.float64)
        assert np.allclose(pose, (0.1, (0.5, -0.9, 1.2)[seed], -0.15), atol=1e-6)
        # what was projected by hand when the files were written
        placed = (1.1 * head @ rotation_matrix(*pose).T + [225, 240, -66.7]) * [1, -1, 1] + [0, 449, 0]
        crop = Crop.from_landmarks(placed[basis.landmarks, :2], 96)
        assert np.allclose(s["landmarks"], crop.apply(placed[basis.landmarks, :2]), atol=1e-3)
        assert np.allclose(s["points"][:, :2], crop.apply(placed[basis.surface[::3], :2]), atol=1e-3)
        depth = s["points"][:, 2] - crop.scale * placed[basis.surface[::3], 2]
        assert np.ptp(depth) < 1e-3  # z: one shift for all
        apart = crop.scale * (placed[basis.surface[0]] - placed[basis.landmarks[36]])
        assert np.allclose(s["points"][0] - s["eyes"][0], apart, atol=1e-3)
        # the same head through the synthetic database: the same volume, up to the border of the face region
        rng = np.random.default_rng(0)
        drawn = render_sample(head, sample_look(rng), pose, sample_light(rng), grid, rng, None, True)
        assert iou(s["volume"], drawn["volume"]) > 0.98
        assert s["image"].shape == (96, 96, 3) and s["image"].dtype == np.uint8
        assert s["volume"].shape == (100, 96, 96) and s["volume"].dtype == np.uint8
        assert s["volume"].transpose(1, 2, 0).flags.c_contiguous
        front = max(np.flatnonzero(s["volume"].any((1, 2))))
        assert (
            0 <= grid.z_of(99) - FRONT_MARGIN / 2 - grid.z_of(front) < 1.5
        )  # the tip is not on a pixel centre
        assert {k: v.dtype for k, v in s.items()} == {k: v.dtype for k, v in drawn.items()}


def test_augmentation_moves_picture_landmarks_volume_and_truth_together(lp):
    basis = load_basis()
    keep = lp / "AFW" / "AFW_134212_1_0.jpg"
    for path in lp.rglob("*.jpg"):
        if path != keep:
            path.unlink()
    # the picture: black with a disc on the left eye's outer corner (iBUG 45), which a flip moves to 36
    given = w300lp.read_parameters(keep.with_suffix(".mat"))
    corner = w300lp.to_image(rf.person(0)[2], given, 450)[basis.landmarks[45]]
    yy, xx = np.mgrid[:450, :450]
    disc = np.where((xx - corner[0]) ** 2 + (yy - corner[1]) ** 2 <= 36, 200, 0).astype(np.uint8)
    cv2.imwrite(str(keep), np.repeat(disc[..., None], 3, 2), [cv2.IMWRITE_JPEG_QUALITY, 100])
    strong = Augmentation(flip=0.5)
    data = open_database(lp, 64, 66, augment=strong, truth=True, mask=basis.surface)
    plain = open_database(lp, 64, 66, truth=True, mask=basis.surface)[0]
    flips, angles, sizes = 0, [], []
    for i in range(30):
        s = data[i]
        weight = s["image"].astype(float).sum(2)
        weight[weight < 60] = 0
        centre = np.array([(xx[:64, :64] * weight).sum(), (yy[:64, :64] * weight).sum()]) / weight.sum()
        distance = np.linalg.norm(s["landmarks"][[45, 36]] - centre, axis=1)
        assert distance.min() < 0.5, i
        flipped = distance.argmin() == 1
        flips += flipped
        assert np.isclose(s["pose"][1], -plain["pose"][1] if flipped else plain["pose"][1])
        # the truth's points lie on the volume: filled just behind them, in the face's inner part
        inner = s["points"][np.abs(rf.person(0)[2][basis.surface][:, 0]) < 25] - [0, 0, 1.5]
        column, row = np.round(inner[:, :2]).astype(int).T
        d = np.round((inner[:, 2]) / 0.5 + 65 / 2).astype(int)
        ok = (column >= 0) & (column < 64) & (row >= 0) & (row < 64) & (d >= 0)
        assert ok.sum() > 200 and s["volume"][d[ok], row[ok], column[ok]].mean() > 0.9
        assert np.allclose(s["eyes"][:, :2], s["landmarks"][[36, 45]], atol=1e-3)
        across = (s["landmarks"][45] - s["landmarks"][36]) @ [1, 1j]
        before = (plain["landmarks"][45] - plain["landmarks"][36]) @ [1, 1j]
        if not flipped:
            angles.append(np.rad2deg(np.angle(across / before)))
        sizes.append(abs(across / before))
    assert 5 < flips < 25
    assert min(angles) < -15 and max(angles) > 15 and max(np.abs(angles)) < 45.1
    assert min(sizes) < 0.92 and max(sizes) > 1.08 and min(sizes) > 0.849 and max(sizes) < 1.151


def test_rounds_order_and_repeatability(files):
    data = open_database(files / "300W_LP", 48, 50, bfm=files / "bfm", augment=True, seed=3)
    again = open_database(files / "300W_LP", 48, 50, bfm=files / "bfm", augment=True, seed=3)
    assert sorted(data.number(i) for i in range(3)) == [0, 1, 2] and data.number(4) == data.number(1)
    again[0]
    for key, value in data[7].items():
        assert np.array_equal(value, again[7][key]), key
    assert not np.array_equal(data[1]["image"], data[4]["image"])  # another round, another augmentation
    assert len(list(data)) == 3
    plain = open_database(files / "300W_LP", 48, 50, bfm=files / "bfm")
    assert [plain.number(i) for i in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        data[-1]


def test_training_draws_batches_without_end(files):
    data = open_database(files / "300W_LP", 48, 50, bfm=files / "bfm", augment=True)
    stream = batches.endless(data, seed=0, start=0, batch_size=4, workers=0)
    image, volume = batches.unpack(next(stream), 50)
    assert image.shape == (4, 3, 48, 48) and volume.shape == (4, 50, 48, 48)
    assert 0.02 < volume.float().mean() < 0.5 and len(np.unique(image[:, 0].reshape(4, -1).sum(1))) == 4


def test_aflw2000_is_recognised_and_its_landmarks_checked(files, tmp_path):
    assert identify(files / "AFLW2000") == "AFLW2000-3D" and identify(files / "300W_LP" / "AFW") == "300W-LP"
    folder = tmp_path / "AFLW2000"
    shutil.copytree(files / "AFLW2000", folder)
    data = open_database(f"AFLW2000-3D={folder}", 48, 50, bfm=files / "bfm")
    assert data.name == "AFLW2000-3D" and len(data) == 2 and "points" not in data[0]
    change(
        folder / "image00000.mat",
        Shape_Para=np.flip(scipy.io.loadmat(folder / "image00000.mat")["Shape_Para"]) * 9,
    )
    with pytest.raises(VrnError, match=r"image00000.mat.* px from pt3d_68"):
        data[0]


def test_exclude_leaves_pictures_out(files, tmp_path):
    listed = tmp_path / "test.txt"
    listed.write_text("HELEN_2908549\n\n")
    data = w300lp.W300LP(files / "300W_LP", 48, 50, bfm=files / "bfm", exclude=listed)
    assert [p.name for p in data.paths] == ["AFW_134212_1_0.jpg"] * 2
    with pytest.raises(VrnError, match="cannot read the list"):
        w300lp.W300LP(files / "300W_LP", bfm=files / "bfm", exclude=tmp_path / "none.txt")


@pytest.mark.parametrize(
    "arrays, cause",
    [
        ({"Pose_Para": None}, "has no Pose_Para; it holds Color_Para"),
        ({"Pose_Para": np.zeros((1, 6), np.float32)}, "Pose_Para has shape 1 x 6, expected 1 x 7"),
        ({"Shape_Para": np.zeros((40, 1))}, "Shape_Para has 40 coefficients"),
        ({"Exp_Para": np.full((29, 1), np.nan)}, "Exp_Para holds NaN"),
        ({"Pose_Para": np.zeros((1, 7), np.float32)}, "the scale f of Pose_Para is 0"),
        ({"Pose_Para": np.array([[0, 0, 0, 2000, 200, 0, 1e-3]], np.float32)}, "outside its picture"),
        ({"Pose_Para": np.array(["x"])}, "Pose_Para is of type char"),
        ({"Pose_Para": {"a": 1}}, "Pose_Para is of type struct"),
        ({"Exp_Para": np.array([["x"]], object)}, "Exp_Para is of type cell"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named_or_skipped(lp, arrays, cause):
    change(lp / "AFW" / "AFW_134212_1_0.mat", **arrays)
    with pytest.raises(VrnError, match=cause) as error:
        open_database(lp, 48, 50)[0]
    assert "AFW_134212_1_0" in str(error.value)
    data = open_database(lp, 48, 50, skip_bad=True)
    assert np.array_equal(data[0]["landmarks"], data[1]["landmarks"])  # the next good one
    assert list(data.skipped) == [lp / "AFW" / "AFW_134212_1_0.jpg"]
    assert "AFW_134212_1_0" in next(iter(data.skipped.values()))


def test_damaged_and_hostile_mat_files(lp, monkeypatch):
    path = lp / "AFW" / "AFW_134212_1_0.mat"
    data = open_database(lp, 48, 50)
    whole = path.read_bytes()
    for keep in (0, 60, 130, 400, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(VrnError, match=r"AFW_134212_1_0.mat"):
            data[0]
    rng = np.random.default_rng(0)
    for _ in range(30):  # bytes changed at random: a message or a sample, never another exception
        broken = bytearray(whole)
        for at in rng.integers(len(whole), size=8):
            broken[at] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            data[0]
        except VrnError as error:
            assert "AFW_134212_1_0" in str(error)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n")
    with pytest.raises(VrnError, match="v7.3"):
        data[0]
    path.write_bytes(b"\0" * (matfile.SAMPLE_BYTES + 1))
    with pytest.raises(VrnError, match="more than the"):
        data[0]
    # 40 MB that compress to 40 kB: refused by its declared shape, before it is unfolded
    scipy.io.savemat(path, {"Pose_Para": np.zeros((1, 7)), "Exp_Para": np.zeros((29, 1)),
                            "Shape_Para": np.zeros((5_000_000, 1))}, do_compression=True)  # fmt: skip
    unfold = matfile._Array.values

    def small_only(array: matfile._Array) -> np.ndarray:
        assert array.name != "Shape_Para", "it was unfolded"
        return unfold(array)

    monkeypatch.setattr(matfile._Array, "values", small_only)
    with pytest.raises(VrnError, match="too large"):
        data[0]


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_are_read_as_scipy_reads_them(tmp_path, compressed):
    rng = np.random.default_rng(0)
    arrays = {"double": rng.normal(size=(7, 3)), "single": rng.normal(size=(1, 7)).astype(np.float32),
              "small": np.array([[3.0]]), "cube": rng.normal(size=(2, 3, 4)), "empty": np.zeros((0, 3)),
              "a_name_of_more_than_eight_letters": np.arange(5)[None]}  # fmt: skip
    arrays |= {t: np.arange(6).astype(t).reshape(2, 3) for t in ("int8", "uint8", "int16", "uint16", "int64")}
    others = {"text": "abc", "cells": np.array([["x", 1.0]], object), "struct": {"a": 1.0}}
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {**others, **arrays}, do_compression=compressed)
    expected = scipy.io.loadmat(path)
    found = matfile.load(path, dict.fromkeys(arrays))
    for name in arrays:
        assert np.array_equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype, name
    shapes = matfile.names(path)
    assert all(shapes[n] == (tuple(s), c) for n, s, c in scipy.io.whosmat(path) if n != "text")
    for name, kind in (("text", "char"), ("cells", "cell"), ("struct", "struct")):
        with pytest.raises(VrnError, match=f"{name} is of type {kind}"):
            matfile.load(path, {name: None})
    scipy.io.savemat(path, {"z": np.array([[1 + 2j]])}, do_compression=compressed)
    with pytest.raises(VrnError, match="z is of type complex"):
        matfile.load(path, {"z": None})


def test_pictures_without_parameters_and_damaged_pictures(lp):
    (lp / "AFW" / "AFW_134212_1_0.mat").unlink()
    with pytest.raises(VrnError, match=r"AFW_134212_1_0.jpg' has no .mat beside it"):
        open_database(lp, 48, 50)
    data = open_database(lp, 48, 50, skip_bad=True)
    assert len(data) == 2 and len(data.skipped) == 1
    for path in lp.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VrnError, match=r"no good item is left, 3 were skipped .*truncated or damaged"):
        data[0]


def test_face_partly_outside_its_picture_is_cut_off_not_moved(lp):
    path = lp / "AFW" / "AFW_134212_1_0.mat"
    before = open_database(lp, 48, 50)[0]
    change(
        path, Pose_Para=scipy.io.loadmat(path)["Pose_Para"] - np.array([[0, 0, 0, 200, 0, 0, 0]], np.float32)
    )
    after = open_database(lp, 48, 50)[0]
    assert np.allclose(after["landmarks"], before["landmarks"], atol=1e-3)  # the crop follows the face
    assert iou(after["volume"], before["volume"]) > 0.999
    assert (after["image"][:, :12] == 0).all()  # outside of the picture is black
    # a crop that cuts through the face: what lies outside the window is cut off
    moved = open_database(lp, 48, 50, augment=Augmentation(0.0, 90.0, (1.0, 1.0), 0.0))
    volumes = [moved[i]["volume"] for i in range(0, 30)]
    counts = np.array([v.sum() for v in volumes])
    assert counts.min() < 0.9 * before["volume"].sum() and counts.min() > 0


# the evaluation mask ------------------------------------------------------------------------------------


def test_mask_is_fetched_checked_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = np.zeros((mask.N_VERTICES, 1), np.uint8)
    chosen = np.sort(np.random.default_rng(0).choice(mask.N_VERTICES, mask.N_MASK, replace=False))
    flags[chosen] = 1
    source = tmp_path / "florence_detected.mat"
    scipy.io.savemat(source, {"vertexfilter": flags})
    nowhere = (tmp_path / "none.mat").as_uri()
    with pytest.raises(VrnError, match=r"can't be fetched .*go online once, or save .* as"):
        mask.evaluation_mask(url=nowhere)
    with pytest.raises(VrnError, match="not the authors' file any more"):
        mask.evaluation_mask(url=source.as_uri())
    assert not mask.cache_path().exists()
    with pytest.raises(VrnError, match="is not the authors' evaluation mask"):
        mask.evaluation_mask(source)
    monkeypatch.setattr(mask, "SHA256", mask.sha256(source))
    assert np.array_equal(mask.evaluation_mask(url=source.as_uri()), chosen)
    assert np.array_equal(mask.evaluation_mask(url=nowhere), chosen)  # from the cache
    flags[chosen[0]] = 0
    scipy.io.savemat(source, {"vertexfilter": flags})
    monkeypatch.setattr(mask, "SHA256", mask.sha256(source))
    with pytest.raises(VrnError, match="19617 vertices"):
        mask.evaluation_mask(source)


def test_mask_that_does_not_fit_the_model(files):
    with pytest.raises(VrnError, match="the mask needs vertex 53000"):
        open_database(files / "300W_LP", 48, 50, bfm=files / "bfm", truth=True, mask=np.array([3, 53000]))


# scans --------------------------------------------------------------------------------------------------


def test_vrml_and_obj_are_read_exactly(tmp_path):
    mesh = rf.scan_mesh(1)
    picture = rf.texture(1)
    for write, name in ((rf.write_wrl, "000.wrl"), (rf.write_obj, "110920150452.obj")):
        scan = scans.read_scan(write(tmp_path / name, mesh, picture))
        assert np.abs(scan.vertices - mesh["vertices"]).max() < 1e-3  # mm
        assert np.array_equal(scan.faces, mesh["faces"]) and np.array_equal(scan.uv_faces, mesh["faces"])
        assert np.abs(scan.uv - mesh["uv"]).max() < 1e-5 and scan.dropped == 0
    assert scan.texture.name == "skin colour.png"


def test_vrml_grammar(tmp_path):
    cv2.imwrite(str(tmp_path / "a b.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "x.wrl").write_text(
        "#VRML V2.0 utf8\nTransform { children [ Shape { appearance Appearance { texture ImageTexture {\n"
        'url "C:\\scans\\a b.png" } } geometry DEF face IndexedFaceSet { # coordIndex [ 9 9 9 ]\n'
        "texCoord DEF t TextureCoordinate{point[0 0,1 0,1 1,0 1]} coord DEF c Coordinate {\n"
        "point [ 0 0 0, 1.5e0 0 0, 1 1 -.5 0 1 0 ] } coordIndex [ 0, 1, 2, 3 -1 0 1 2 -1 1 1 2 ] } } ] }\n"
    )
    scan = scans.read_wrl(tmp_path / "x.wrl")
    assert scan.texture.name == "a b.png" and scan.dropped == 1
    # a quadrilateral becomes two triangles; without texCoordIndex the corners' own indices count
    assert scan.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]] == scan.uv_faces.tolist()
    assert scan.vertices[2].tolist() == [1, 1, -0.5]


def test_obj_grammar(tmp_path):
    cv2.imwrite(str(tmp_path / "only.png"), np.zeros((40, 40, 3), np.uint8))
    text = "v 0 0 0 1 1 1\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1 0\nvn 0 0 1\n"
    (tmp_path / "x.obj").write_text(text + "f -4/1/1 -3/2/1 -2/3/1 4/-1/1\n")
    scan = scans.read_obj(tmp_path / "x.obj")
    assert scan.faces.tolist() == [[0, 1, 2], [0, 2, 3]] and scan.uv_faces.tolist() == [[0, 1, 2], [0, 2, 2]]
    assert scan.texture.name == "only.png"


@pytest.mark.parametrize(
    "old, new, cause",
    [
        ("#VRML V2.0", "#VRML V1.0", "is no VRML 2 file"),
        ("IndexedFaceSet", "Sphere", "holds no IndexedFaceSet"),
        ("texCoord TextureCoordinate", "color Color", "the scan has no texture"),
        ("0 1 0 ]", "0 1 nan ]", "NaN or infinite"),
        ("0 1 0 ]", "0 1 x ]", "something that is no number"),
        ("0 1 0 ]", "0 1 ]", "not a multiple of 3"),
        ("coordIndex [ 0 1 2 -1", "coordIndex [ 0 1 7 -1", "names vertex 7, but there are 4"),
        ("coordIndex [ 0 1 2 -1", "coordIndex [ 0 1 -1", "fewer than three corners"),
        ("0 2 3 -1 ]", "0 2 2 -1 ]", None),
        ("0 1 2 -1 0 2 3 -1 ]\ntex", "0 0 2 -1 0 2 2 -1 ]\ntex", "all 2 triangles are degenerate"),
        ("texCoordIndex [ 0 1 2 -1 ", "texCoordIndex [ ", "do not belong together"),
        ("0 2 3 -1 ]\ntexCoordIndex", "0 2 3", "something that is no number"),
    ],
)
def test_damaged_vrml_is_named(tmp_path, old, new, cause):
    text = (
        "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet {\n"
        "coord Coordinate { point [ 0 0 0 1 0 0 1 1 0 0 1 0 ] }\n"
        "texCoord TextureCoordinate { point [ 0 0 1 0 1 1 0 1 ] }\n"
        "coordIndex [ 0 1 2 -1 0 2 3 -1 ]\ntexCoordIndex [ 0 1 2 -1 0 2 3 -1 ]\n} }\n"
    )
    assert old in text
    path = tmp_path / "000.wrl"
    path.write_text(text.replace(old, new, 1))
    cv2.imwrite(str(tmp_path / "000.jpg"), np.zeros((40, 40, 3), np.uint8))
    if cause is None:  # one degenerate triangle is dropped and counted
        scan = scans.read_wrl(path)
        assert scan.dropped == 1 and len(scan.faces) == 1 == len(scan.uv_faces)
        return
    with pytest.raises(VrnError, match=cause) as error:
        scans.read_wrl(path)
    assert "000.wrl" in str(error.value)


def test_scan_without_texture_or_damaged_obj(tmp_path):
    mesh = rf.scan_mesh(1)
    with pytest.raises(VrnError, match=r"000.wrl' has no texture: '000.jpg' is not beside it"):
        scans.read_scan(rf.write_wrl(tmp_path / "000.wrl", mesh, None))
    with pytest.raises(VrnError, match=r"a.obj' has no texture: 'skin colour.png'"):
        scans.read_scan(rf.write_obj(tmp_path / "a.obj", mesh, None))
    for text, cause in (
        ("v 0 0\nf 1 1 1\n", "fewer than three numbers"),
        ("v 0 0 q\n", "line 1"),
        ("f 1 2 3\n", "0 vertices"),
        ("v 0 0 0\nf 1//1 1//1 1//1\n", "no texture coordinates"),
        ("v 0 0 0\nvt 0 0\nf 1/1 2/1 9/1\n", "names vertex 8"),
        ("v 0 0 0\nf 1 1\n", "line 2"),
    ):
        (tmp_path / "b.obj").write_text(text)
        (tmp_path / "b.png").touch()
        with pytest.raises(VrnError, match=cause) as error:
            scans.read_scan(tmp_path / "b.obj")
        assert "b.obj" in str(error.value)
    with pytest.raises(VrnError, match=r"c.ply' is no scan"):
        scans.read_scan(tmp_path / "c.ply")
    with pytest.raises(VrnError, match="cannot read"):
        scans.read_scan(tmp_path / "none.wrl")


def test_landmark_files(tmp_path):
    mesh = rf.scan_mesh(4)
    points = rf.bnd_points(mesh["landmarks"])
    path = rf.write_bnd(tmp_path / "000.bnd", points)
    assert np.allclose(landmarks.read_bnd(path), points, atol=1e-5)
    got = landmarks.from_bnd(landmarks.read_bnd(path), mesh["vertices"])
    error = np.linalg.norm(got - mesh["landmarks"], axis=1)
    assert error[[36, 39, 42, 45, 48, 54, 30]].max() < 1e-5  # corners are the marked points, the tip is found
    assert error[17:].mean() < 4 and error[:17].mean() < 8  # mm
    # the order within a ring is not relied on
    shuffled = points.copy()
    for ring in (slice(0, 8), slice(16, 26), slice(48, 60), slice(60, 68)):
        shuffled[ring] = np.roll(points[ring], 3, 0)[::-1]
    shuffled[68:] = points[68:][::-1]
    shuffled[:16] = np.roll(shuffled[:16], 8, 0)  # and the eyes exchanged
    assert np.allclose(landmarks.from_bnd(shuffled, mesh["vertices"]), got, atol=1e-5)

    table = rf.write_csv(tmp_path / "a.csv", mesh["landmarks"])
    assert np.allclose(landmarks.read_csv(table), mesh["landmarks"], atol=1e-4)
    for text, reader, cause in (
        ("0 1 2 3\n" * 82, landmarks.read_bnd, "holds 82 points"),
        ("0 1 2 nan\n" * 83, landmarks.read_bnd, "line 1: a landmark is NaN"),
        ("0 1 2 x\n" * 83, landmarks.read_bnd, "'0 1 2 x' is no point"),
        ("1,2,3\n" * 67, landmarks.read_csv, "holds 67 rows"),
        ("1,2\n" * 68, landmarks.read_csv, "needed are 68 rows"),
    ):
        path.write_text(text)
        with pytest.raises(VrnError, match=cause):
            reader(path)


def test_scan_in_any_position_and_unit_is_turned_to_the_front(tmp_path):
    mesh, picture = rf.scan_mesh(1), rf.texture(1)
    plain = protocol.Item(rf.write_obj(tmp_path / "a" / "a.obj", mesh, picture),
                          rf.write_csv(tmp_path / "a.csv", mesh["landmarks"]), "a")  # fmt: skip
    turn = rotation_matrix(0.3, -0.4, 0.2)

    def moved(points: np.ndarray) -> np.ndarray:
        return (points @ turn.T + [30, -500, 80]) / 1000  # metres

    other = {**mesh, "vertices": moved(mesh["vertices"]), "landmarks": moved(mesh["landmarks"])}
    item = protocol.Item(rf.write_obj(tmp_path / "b" / "b.obj", other, picture),
                         rf.write_csv(tmp_path / "b.csv", other["landmarks"]), "b")  # fmt: skip
    one, two = protocol.prepare(plain), protocol.prepare(item)
    assert np.abs(one.landmarks - two.landmarks).max() < 0.1
    assert np.abs(one.scan.vertices - two.scan.vertices).max() < 0.1  # mm, files have 5 decimals of a metre
    # and the frame is that of the face: the turn from it to the head it was made from is small
    assert np.abs(one.landmarks[17:] - one.landmarks[17:].mean(0)
                  - mesh["landmarks"][17:] + mesh["landmarks"][17:].mean(0)).max() < 5  # fmt: skip
    with pytest.raises(VrnError, match="no face in millimetres"):
        landmarks.to_millimetres(mesh["landmarks"] * 7, "x.csv")
    with pytest.raises(VrnError, match="do not look like a face"):
        landmarks.frontal(np.random.default_rng(0).permutation(mesh["landmarks"]))


def test_non_manifold_scans_give_the_same_surface():
    mesh = rf.scan_mesh(2)
    vertices, faces = mesh["vertices"].astype(np.float32), mesh["faces"]
    one = height_field(vertices, faces, mesh["landmarks"])
    rng = np.random.default_rng(0)
    mixed = np.concatenate([faces, faces[::3, ::-1], faces[::5]])  # doubled, turned round, three on one edge
    two = height_field(vertices, rng.permutation(mixed), mesh["landmarks"])
    assert np.allclose(one[0], two[0], atol=1e-4) and np.array_equal(one[1], two[1])
    # and what it gives is the face: its nodes lie on the mesh's front
    tip = mesh["landmarks"][30]
    nearest = one[0][np.linalg.norm(one[0][:, :2] - tip[:2], axis=1).argmin()]
    assert abs(nearest[2] - tip[2]) < 1.5
    with pytest.raises(VrnError, match="less than a fifth of its face"):
        height_field(vertices + [500, 0, 0], faces, mesh["landmarks"])
    # a torn scan: a hole in the cheek is closed
    centres = vertices[faces].mean(1)
    cheek = (np.linalg.norm(centres[:, :2] - [-35, -40], axis=1) < 9) & (centres[:, 2] > -30)
    torn, _ = height_field(vertices, faces[~cheek], mesh["landmarks"])
    assert cheek.sum() > 4 and abs(len(torn) - len(one[0])) < 0.01 * len(torn)


# renderings ---------------------------------------------------------------------------------------------


def test_protocols_are_the_papers(files):
    assert len(protocol.BU4DFE_POSES) == 21 and len(protocol.FLORENCE_POSES) == 15
    assert {p for p, _ in protocol.BU4DFE_POSES} == {-20, 0, 20}
    assert {y for _, y in protocol.FLORENCE_POSES} == {-80, -40, 0, 40, 80}
    bu = open_database(files / "BU4DFE", 48, 50)
    assert bu.name == "BU-4DFE" and len(bu) == 2 * 2 * 21
    assert [i.scan.parent.name for i in bu.items] == ["Happy", "Surprise"] * 2
    florence = open_database(files / "Florence", 48, 50)
    assert len(florence) == 15 and florence.items[0].scan.parts[-3] == "frontal1"


def test_middle_frame_and_landmarks_elsewhere(files, tmp_path):
    for frame in range(5):
        target = tmp_path / "data" / "F001" / "Happy" / f"{frame:03d}.wrl"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files / "BU4DFE" / "F001" / "Happy" / "000.wrl", target)
    items = protocol.bu4dfe_items(tmp_path / "data")
    assert [i.scan.name for i in items] == ["002.wrl"] and items[0].landmarks is None
    mesh = rf.scan_mesh(5)
    rf.write_bnd(tmp_path / "marks" / "F001" / "Happy" / "002.bnd", rf.bnd_points(mesh["landmarks"]))
    items = protocol.bu4dfe_items(tmp_path / "data", tmp_path / "marks")
    assert items[0].landmarks == tmp_path / "marks" / "F001" / "Happy" / "002.bnd"
    with pytest.raises(VrnError, match=r"002.wrl' has no landmarks: put '002.bnd'"):
        open_database(tmp_path / "data", 48, 50)
    with pytest.raises(VrnError, match="no scans with landmarks"):
        open_database(tmp_path / "data", 48, 50, skip_bad=True)


def test_rendered_scan_is_the_head_in_the_pose(files):
    basis = load_basis()
    data = open_database(files / "Florence", 64, 66, truth=True)
    head = rf.person(1)[2]
    prepared = protocol.prepare(data.items[0])
    for i in (0, 2, 7, 14):
        s = data[i]
        pose = np.deg2rad([*protocol.FLORENCE_POSES[i], 0])
        assert np.allclose(s["pose"], pose, atol=1e-6)
        posed = (prepared.landmarks @ rotation_matrix(*pose).T) * [1, -1, 1]
        assert np.allclose(
            s["landmarks"], Crop.from_landmarks(posed[:, :2], 64).apply(posed[:, :2]), atol=1e-3
        )
        # the same head, drawn: same silhouette of the solid, same place of the front
        rng = np.random.default_rng(0)
        drawn = render_sample(head, sample_look(rng), pose, sample_light(rng), Grid(64, 66), rng, None)
        assert iou(s["volume"], drawn["volume"]) > 0.78
        # from the side the plane behind the face shows, which each scan's own ears place
        limit = 0.95 if abs(pose[1]) < 0.1 else 0.88
        assert iou(s["volume"].any(0), drawn["volume"].any(0)) > limit
        assert len(s["points"]) > 800 and np.allclose(s["eyes"][:, :2], s["landmarks"][[36, 45]], atol=1e-3)
        # picture and volume show one face: the head is drawn wherever the face solid is
        assert (s["image"].max(2)[s["volume"].any(0)] > 8).mean() > 0.97
    # the points are where the true face is (its inner part, frontal pose): within a millimetre or two
    from scipy.spatial import cKDTree

    ids = np.flatnonzero(np.linalg.norm(prepared.scan.vertices - prepared.landmarks[30], axis=1) < 60)
    assert (
        cKDTree(prepared.points).query(prepared.scan.vertices[np.intersect1d(ids, basis.surface)])[0].mean()
        < 1
    )


def test_light_differs_and_repeats(files):
    data = open_database(files / "Florence", 48, 50, seed=1)
    other = open_database(files / "Florence", 48, 50, seed=2)
    assert np.array_equal(data[2]["image"], open_database(files / "Florence", 48, 50, seed=1)[2]["image"])
    assert not np.array_equal(data[2]["image"], other[2]["image"])
    assert np.array_equal(data[2]["volume"], other[2]["volume"])
    white = open_database(files / "Florence", 48, 50, background=(255, 255, 255))
    assert (white[2]["image"][0, [0, -1]] == 255).all() and (data[2]["image"][0, [0, -1]] == 0).all()


def test_texture_lands_where_its_vertices_are(tmp_path):
    # a red spot painted on the texture at the nose tip must be seen at landmark 30, in every pose and flip
    mesh = rf.scan_mesh(1)
    picture = np.full((600, 440, 3), 128, np.uint8)
    tip = (mesh["landmarks"][30, :2] + [110, 170]) / [220, 300]
    cv2.circle(picture, (round(tip[0] * 440 - 0.5), round((1 - tip[1]) * 600 - 0.5)), 9, (0, 0, 255), -1)
    scan = rf.write_obj(tmp_path / "subject_01" / "x.obj", mesh, picture)
    rf.write_csv(scan.with_suffix(".csv"), mesh["landmarks"])
    rows, columns = np.mgrid[:64, :64]
    for augment in (False, Augmentation(flip=0.5, gain=(1.0, 1.0))):
        data = open_database(tmp_path, 64, 66, augment=augment)
        for i in range(15):
            s = data[i]
            if abs(s["pose"][1]) > 1:
                continue
            image = s["image"].astype(float)
            red = np.clip(image[..., 0] - 2.2 * image[..., 1], 0, None)
            centre = np.array([(columns * red).sum(), (rows * red).sum()]) / red.sum()
            assert np.linalg.norm(centre - s["landmarks"][30]) < 1.5, (i, augment)


def test_bad_scan_is_named_or_skipped(files, tmp_path):
    shutil.copytree(files / "BU4DFE", tmp_path / "BU4DFE")
    bad = tmp_path / "BU4DFE" / "F001" / "Happy" / "000.jpg"
    bad.unlink()
    with pytest.raises(VrnError, match=r"000.wrl' has no texture"):
        open_database(tmp_path / "BU4DFE", 32, 34)[3]
    data = open_database(tmp_path / "BU4DFE", 32, 34, skip_bad=True)
    assert np.array_equal(data[3]["pose"], data[21]["pose"])  # the first picture of the next scan
    assert list(data.skipped) == [bad.with_suffix(".wrl")]


# check, preview, commands -------------------------------------------------------------------------------


def test_check_says_what_is_there_and_what_is_missing(files, tmp_path):
    report = check(files / "300W_LP", files / "bfm", samples=3)
    assert report.usable and not report.problems and report.name == "300W-LP"
    text = describe(report)
    assert "3 pictures with .mat files in AFW, AFW_Flip, HELEN" in text and "3 of 3 samples drawn" in text
    assert "without the folders HELEN_Flip, IBUG, IBUG_Flip, LFPW, LFPW_Flip" in text
    alone = tmp_path / "alone" / "300W_LP"
    shutil.copytree(files / "300W_LP", alone)
    report = check(alone)
    assert not report.usable and "Model_Exp.mat" in report.missing[0] and "unibas" in describe(report)
    report = check(files / "BU4DFE", samples=2)
    assert report.usable and "4 scans of 2 people" in describe(report) and "101 people" in describe(report)
    shutil.copytree(files / "Florence", tmp_path / "Florence")
    for table in (tmp_path / "Florence").rglob("*.csv"):
        table.unlink()
    report = check(tmp_path / "Florence")
    assert not report.usable and "68 lines x,y,z" in report.missing[0] and "micc.unifi.it" in describe(report)


def test_folders_that_are_no_database(files, tmp_path):
    for path, cause in ((tmp_path / "none", "is not a folder"), (tmp_path, "is empty")):
        with pytest.raises(VrnError, match=cause):
            identify(path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(VrnError, match=r"is none of 300W-LP, .*it holds notes.txt"):
        identify(tmp_path)
    with pytest.raises(VrnError, match="holds 300W-LP, not Florence"):
        open_database(f"Florence={files / '300W_LP'}")
    with pytest.raises(VrnError, match=r"unknown database 'Florenz' \(did you mean 'Florence'"):
        open_database(f"Florenz={files / 'Florence'}")
    with pytest.raises(VrnError, match="Florence has no option bfm"):
        open_database(files / "Florence", bfm=files / "bfm")


def test_commands(files, tmp_path, lp):
    run = CliRunner().invoke
    out = run(app, ["check", str(lp), "--samples", "2"])
    assert out.exit_code == 0 and "300W-LP, usable" in out.output
    (lp / "AFW" / "AFW_134212_1_0.mat").unlink()
    out = run(app, ["check", str(lp)])
    assert out.exit_code == 1 and "bad: " in out.output and "AFW_134212_1_0.jpg" in out.output
    sheet = tmp_path / "sheet.png"
    out = run(app, ["preview", str(lp), "--out", str(sheet), "--count", "2", "--size", "48", "--skip-bad"])
    assert out.exit_code == 1 and "skipped: " in out.output  # written, but one file was bad
    picture = cv2.imread(str(sheet))
    assert picture.shape == (2 * 48 + 8, 2 * (6 * 48 + 8), 3)
    out = run(app, ["preview", str(lp), "--out", str(sheet)])
    assert isinstance(out.exception, VrnError) and "has no .mat beside it" in str(out.exception)
    out = run(app, ["preview", str(files / "Florence"), "--out", str(tmp_path / "a.jpg")])
    assert isinstance(out.exception, VrnError) and "ends in .png" in str(out.exception)


def test_contact_sheet_shows_mesh_and_landmarks_over_the_picture(files):
    data = open_database(files / "300W_LP", 48, 50, bfm=files / "bfm")
    sheet = contact_sheet(data, 1)[4:-4, 4:-4]
    plain, dots, mesh = (sheet[:, i * 96 : (i + 1) * 96].astype(int) for i in range(3))
    s = data[0]
    green = (dots[..., 1] - dots[..., 0] > 60) & (dots[..., 1] - dots[..., 2] > 60)
    where = np.argwhere(green)[:, ::-1]
    expected = (s["landmarks"] + 0.5) * 2 - 0.5
    assert max(np.linalg.norm(where - p, axis=1).min() for p in expected) < 1.5
    changed = (np.abs(mesh - plain).max(2) > 6).reshape(48, 2, 48, 2).any((1, 3))
    assert iou(changed, s["volume"].any(0)) > 0.85
