"""The bump study: counts, errors and verdicts on cases of known answer."""

import dataclasses

import numpy as np
import pytest
import torch

from vrnlib import bump_analysis, bump_study, bumps, bumps_figure, bumps_training, labelling, networks
from vrnlib.databases import POSES_PER_FACE, SynthLP
from vrnlib.errors import VrnError
from vrnlib.labelling_voxels import body_sizes
from vrnlib.predict import Network
from vrnlib.provenance import read_json


def test_counts_depend_on_the_isovalue():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[2:12, 2:12, 2:12] = 0.95  # 1000 voxels
    volume[15:17, 15:17, 15:17] = 0.4  # 8
    volume[2, 18, 18] = 0.06
    row = bumps.count(volume)
    assert [row[bumps.column("strays", lv)] for lv in bumps.LEVELS] == [2, 2, 1, 1, 1, 0, 0, 0]
    assert row["share_05"] == pytest.approx(9 / 1000) and row["share_50"] == 0
    assert np.isnan(bumps.count(volume * 0.5, [0.9])["strays_90"])


def test_inclination_is_the_angle_between_nose_and_camera():
    from vrnlib.faces import rotation_matrix

    rng = np.random.default_rng(0)
    for pitch, yaw, roll in rng.uniform(-85, 85, (20, 3)):
        forward = rotation_matrix(*np.deg2rad([pitch, yaw, roll])) @ [0, 0, 1]
        assert bumps.inclination(pitch, yaw) == pytest.approx(np.rad2deg(np.arccos(forward[2])), abs=1e-4)


def test_hausdorff_is_symmetric_and_sees_a_single_far_point():
    a = np.random.default_rng(0).normal(size=(400, 3))
    b = np.concatenate([a, [[50, 0, 0]]])
    far, most = bumps.hausdorff(a, b)
    assert far == pytest.approx(np.linalg.norm(a - [50, 0, 0], axis=1).min()) and most == 0
    assert bumps.hausdorff(b, a) == (far, most)
    assert bumps.hausdorff(a, a[:0]) == (np.inf, np.inf)


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    return SynthLP(48, 50, seed=3, augment=False, truth=True)[0]


def test_what_labelling_does_to_the_errors(sample):
    """A bump far from the face: NME does not see it, the Hausdorff distance does, labelling removes both it
    and a hole.
    """
    volume = sample["volume"].astype(np.float32)
    plain = bumps.effect_row(volume, sample)
    assert plain["mesh_bodies"] == 1 and plain["hausdorff"] == 0 == plain["hausdorff_labelled"]
    column = np.argwhere(volume.sum(0) == volume.sum(0).max())[0]
    y, x = column
    middle = int(np.flatnonzero(volume[:, y, x]).mean())
    volume[middle - 1 : middle + 2, y, x] = 0  # a hole
    volume[1:5, 1:4, 1:4] = 1  # a bump
    assert len(body_sizes(volume > 0.5)) == 2
    row = bumps.effect_row(volume, sample)
    assert (row["mesh_bodies"], row["cavities"], row["mesh_bodies_labelled"]) == (3, 1, 1)
    assert row["hausdorff"] > 0.2 > 0.02 > row["hausdorff_labelled"]
    assert row["nme"] == pytest.approx(plain["nme"], abs=1e-3)
    assert row["nme_labelled"] == pytest.approx(plain["nme"], abs=1e-9)
    assert row["closed"] == row["closed_labelled"] == 1
    empty = bumps.effect_row(np.zeros_like(volume), sample)
    assert all(np.isnan(v) for v in empty.values()) and set(empty) == set(row)


def test_rows_survive_a_file(tmp_path):
    rows = [{"name": "a", "x": 0.5, "n": 3}, {"name": "b", "x": float("nan"), "extra": 1.25}]
    back = bumps.read_rows(bumps.write_rows(tmp_path / "rows.csv", rows))
    assert back[0]["name"] == "a" and back[0]["x"] == 0.5 and np.isnan(back[0]["extra"])
    assert np.isnan(back[1]["x"]) and back[1]["extra"] == 1.25 and np.isnan(back[1]["n"])
    with pytest.raises(VrnError, match="bump_study"):
        bumps.read_rows(tmp_path / "none.csv")


def rows_of(angles: np.ndarray, strays: np.ndarray) -> list[dict]:
    return [
        {"database": "d", "identity": i, "inclination": float(a), "yaw": float(a), "pitch": 0.0,
         "strays_50": float(n), "share_50": 0.01 * n}
        for i, (a, n) in enumerate(zip(angles, strays, strict=True))
    ]  # fmt: skip


class TestVerdicts:
    rng = np.random.default_rng(1)
    angles = rng.uniform(0, 90, 300)

    def verdict(self, mean: np.ndarray) -> str:
        return bump_analysis.against(rows_of(self.angles, self.rng.poisson(mean)), "inclination", 0.5)[
            "verdict"
        ]

    def test_proportional(self):
        assert self.verdict(self.angles / 30) == "supported"

    def test_grows_but_not_from_zero(self):
        assert self.verdict(2 + self.angles / 60) == "a trend only"

    def test_does_not_depend(self):
        counts = np.random.default_rng(5).poisson(1.0, 300)
        assert (
            bump_analysis.against(rows_of(self.angles, counts), "inclination", 0.5)["verdict"]
            == "not supported"
        )

    def test_falls(self):
        assert self.verdict(3 - self.angles / 30) == "contradicted"

    def test_too_few_to_tell(self):
        told = bump_analysis.against(rows_of(self.angles, self.angles > 89.9), "inclination", 0.5)
        assert told["verdict"] == "not testable" and told["rho"] is None

    def test_slope_and_intercept_are_those_of_the_line(self):
        told = bump_analysis.against(rows_of(self.angles, 1 + self.angles / 10), "inclination", 0.5)
        assert told["intercept"] == pytest.approx(1) and told["slope"] == pytest.approx(0.1)
        assert told["rho"] == pytest.approx(1)


def test_correlation_is_spearmans():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=200), rng.poisson(1.0, 200)  # with ties
    assert bump_analysis.correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(bump_analysis.correlation(x, np.zeros(200)))


def test_no_bump_among_n_faces_is_not_no_bump_at_all():
    told = bump_analysis.rate(rows_of(np.zeros(60), np.zeros(60)), 0.5)
    assert told["with_bumps"] == 0 and told["with_bumps_interval"] == (0, pytest.approx(3 / 60))


class TestTargets:
    def volume(self) -> torch.Tensor:
        v = np.zeros((1, 12, 12, 10), np.uint8)  # (N, H, W, D)
        v[0, 2:9, 2:9, 2:4] = v[0, 2:9, 2:9, 7:9] = 1  # two sheets, one behind the other
        v[0, 11, 11, 5] = 1  # a speck
        return torch.from_numpy(v).permute(0, 3, 1, 2)

    def test_visible_has_no_hidden_surface_and_one_body(self):
        volume = self.volume()
        before = volume.clone()
        out = bumps_training.cleaned(volume, "visible")
        assert torch.equal(volume, before)
        assert out.dtype == torch.uint8 and out.shape == volume.shape
        assert out.sum() == 7 * 7 * 7 and out[0, 2:9, 2:9, 2:9].all()
        columns = np.diff(out[0].numpy().astype(int), axis=0, prepend=0, append=0)
        assert (columns == 1).sum(0).max() == 1  # one run a column

    def test_smooth_keeps_the_inside_and_softens_the_border(self):
        volume = torch.ones(1, 6, 6, 6, dtype=torch.uint8)
        assert torch.equal(bumps_training.cleaned(volume, "smooth"), volume.float())
        out = bumps_training.cleaned(self.volume(), "smooth")
        assert out[0, 2, 5, 5] == pytest.approx(2 / 3) and 0 < out[0, 5, 11, 11] < 0.3

    def test_plain_is_untouched_and_unknown_refused(self):
        volume = self.volume()
        assert bumps_training.cleaned(volume, "plain") is volume
        with pytest.raises(VrnError, match="did you mean 'smooth'"):
            bumps_training.cleaned(volume, "smoth")


def test_a_small_training_from_end_to_end(tmp_path, monkeypatch):
    budget = bumps_training.Budget(
        size=32, features=8, levels=1, people=16, faces=32, test_faces=3, snapshots=(16, 32),
        effect_at=(32,), effect_faces=2, seeds=1,
    )  # fmt: skip
    result = bumps_training.run(budget, tmp_path / "out", tmp_path / "faces", say=lambda _: None)
    rows = bumps.read_rows(tmp_path / "out" / "training.csv")
    assert len(rows) == 3 * 2 * 3
    assert {(r["targets"], r["faces"]) for r in rows} == {
        (t, f) for t in bumps_training.TARGETS for f in (16, 32)
    }
    # the same faces, the same first weights: before anything is learnt, only the loss differs
    course = read_json(tmp_path / "out" / "training.json")["course"]
    assert len(course) == 6 and all(c["loss"] > 0 for c in course)
    assert set(result["claims"]) == {"visible", "smooth"} or all(
        np.isnan(r["nme"]) for r in rows if r["faces"] == 32
    )
    assert read_json(tmp_path / "out" / "training.json")["provenance"]["params"]["size"] == 32
    # what is finished is not trained again, and another budget does not mix with it
    monkeypatch.setattr(bumps_training, "train", lambda *_: pytest.fail("trained again"))
    again = bumps_training.run(budget, tmp_path / "out", tmp_path / "faces", say=lambda _: None)
    assert len(again["course"]) == 6
    other = dataclasses.replace(budget, faces=64)
    with pytest.raises(VrnError, match="another budget"):
        bumps_training.run(other, tmp_path / "out", tmp_path / "faces", say=lambda _: None)


class Constant(torch.nn.Module):
    """One volume for every image: a box, and a bump of probability 0.3."""

    def __init__(self, size: int, depth: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        volume = torch.full((1, depth, size, size), -9.0)
        volume[:, depth // 3 : -4, size // 4 : -size // 4, size // 4 : -size // 4] = 9
        volume[:, 2:4, 1:3, 1:3] = -0.85
        self.volume = volume

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.volume.repeat(len(x), 1, 1, 1)


def test_study_counts_every_database_and_crop_and_does_not_repeat_itself(tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = networks.save(networks.VRN(8, 1, 1, 1, 34, "low"), tmp_path / "tiny.safetensors", {})
    network = Network(Constant(32, 34), 32)
    network.model.architecture = networks.Architecture(depth=34)
    monkeypatch.setattr(bump_study, "load_network", lambda _: network)
    monkeypatch.setattr(bump_study, "NAMES", ("synth-lp", "synth-wild"))
    said: list[str] = []
    absent = tmp_path / "guided-laptop.safetensors"
    result = bump_study.study([path, absent], tmp_path / "out", faces=3, say=said.append)
    assert result["networks"]["guided-laptop"] == "not run"
    rows = bumps.read_rows(tmp_path / "out" / "bumps-tiny.csv")
    assert {(r["database"], r["crop"]) for r in rows} == {
        ("synth-lp", "plain"), ("synth-wild", "plain"), *(("synth-lp", c) for c in bump_study.CROPS)
    }  # fmt: skip
    assert len(rows) == 15 and all(r["strays_20"] == 1 and r["strays_50"] == 0 for r in rows)
    told = result["networks"]["tiny"]
    assert told["databases"]["synth-lp"]["0.2"]["with_bumps"] == 1
    assert told["wrong crops"]["effect"]["0.5"] == {"scored": 0, "changed": 0}
    said.clear()
    assert bump_study.study([path], tmp_path / "out", faces=3, say=said.append)["networks"]["tiny"] == told
    assert said == ["tiny"]  # nothing was run again
    again = networks.save(networks.VRN(8, 1, 1, 1, 34, "low"), path, {"changed": True})
    assert bump_study.run_network(again, tmp_path / "out", 3, said.append) is True


def test_wrong_crops_are_wrong_by_what_they_say():
    """The true landmarks leave the place that training has them in."""
    index = 5 * POSES_PER_FACE
    right = SynthLP(48, 50, seed=1, augment=False)[index]["landmarks"]
    spread = {}
    for name, augment in bump_study.CROPS.items():
        spread[name] = SynthLP(48, 50, seed=1, augment=augment)[index]["landmarks"]
    shift = (spread["shifted"] - right).mean(0)
    np.testing.assert_allclose(spread["shifted"], right + shift, atol=0.02)
    assert 0.5 < np.abs(shift).max() <= 10  # 40 of 192 pixels are 10 of 48
    assert 0.5 <= np.ptp(spread["too wide"], axis=0)[1] / np.ptp(right, axis=0)[1] <= 0.7
    assert np.linalg.norm(spread["turned"] - spread["turned"].mean(0)) == pytest.approx(
        np.linalg.norm(right - right.mean(0)), rel=1e-3
    )


class TestFigure9:
    volume = np.zeros((30, 24, 24), np.float32)
    volume[8:20, 6:18, 6:18] = 1
    volume[24:28, 2:5, 2:5] = 1

    def test_voxels_are_closed_cubes_of_the_right_volume_and_place(self):
        import trimesh

        vertices, faces = bumps_figure.voxel_surface(self.volume > 0.5)
        mesh = trimesh.Trimesh(vertices, faces, process=True)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx((self.volume > 0.5).sum() * 0.5)  # half a pixel deep
        np.testing.assert_allclose(mesh.bounds[:, :2], [[1.5, 1.5], [17.5, 17.5]])
        np.testing.assert_allclose(mesh.bounds[:, 2], [(8 - 0.5 - 14.5) / 2, (28 - 0.5 - 14.5) / 2])

    def test_bump_is_coloured_then_gone(self):
        before, after, voxels = bumps_figure.figure_9(self.volume, turn=20, size=120)

        def vermilion(picture: np.ndarray) -> int:
            r, g, b = picture.astype(int).transpose(2, 0, 1)
            return int(((r > g + 60) & (r > b + 60)).sum())

        assert vermilion(before) > 30 and vermilion(after) == vermilion(voxels) == 0
        assert before.shape == (120, 120, 3)
        same = (before == after).all(-1)
        assert same.mean() > 0.9 and not same.all()  # the face stands where it stood

    def test_largest_body_has_the_colour_of_plaster(self):
        from vrnlib.voxel import isosurface

        vertices, faces = isosurface(self.volume)
        colours = bumps_figure.body_colours(vertices, faces)
        kept, _, _ = labelling.largest_body(vertices, faces)
        assert (colours[:, 0] == colours[0, 0]).sum() in (len(kept), len(vertices) - len(kept))
        assert len(np.unique(colours, axis=0)) == 2
