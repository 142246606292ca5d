"""The morphable model, its camera, and what is written down about them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vrnlib.baselines import model_statistics
from vrnlib.baselines.morphable import Morphable, build, draw_training, load_morphable, main, subdivide
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, rotation_matrix
from vrnlib.provenance import read_json
from vrnlib.voxel import Grid, border_edges


@pytest.fixture(scope="module")
def model() -> Morphable:
    return load_morphable()


@pytest.fixture(scope="module")
def small() -> Morphable:
    return build(40, identities=12, expressions=6)[0]


@pytest.fixture(scope="module")
def training_faces(small: Morphable) -> np.ndarray:
    people, actions = draw_training(40)
    return small.of_head(np.stack([load_basis().vertices(c) for c in people + actions]))


class TestModel:
    def test_the_mesh_is_one_oriented_piece_with_the_closed_face_surface_first(
        self, model: Morphable
    ) -> None:
        assert model.mean.shape == (len(model.head_vertices), 3) == (1704, 3)
        np.testing.assert_array_equal(model.surface_faces, load_basis().surface_faces)
        np.testing.assert_array_equal(model.head_vertices[: model.surface_size], load_basis().surface)
        assert model.surface_faces.max() < model.surface_size
        sides = Counter((a, b) for f in model.faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True))
        assert max(sides.values()) == 1  # each edge once in each direction at most: consistently oriented
        a, b, c = (model.mean[model.faces[:, i]] for i in range(3))
        assert np.cross(b - a, c - a)[:, 2].sum() > 0
        assert np.isin(np.arange(len(model.mean)), model.faces).all()

    def test_landmarks_and_mirror_are_those_of_the_head(self, model: Morphable) -> None:
        np.testing.assert_array_equal(model.head_vertices[model.landmarks], load_basis().landmarks)
        np.testing.assert_array_equal(model.mirror[model.mirror], np.arange(len(model.mean)))
        twice = model.flipped(model.flipped(model.mean))
        np.testing.assert_array_equal(twice, model.mean)

    def test_zero_is_the_average_training_face(self, small: Morphable, training_faces: np.ndarray) -> None:
        np.testing.assert_allclose(small.shape(), training_faces.mean(0), atol=1e-3)
        neutral = small.mean - small.mean_expression
        people, _ = draw_training(40)
        heads = small.of_head(np.stack([load_basis().vertices(c) for c in people]))
        np.testing.assert_allclose(neutral, heads.mean(0), atol=1e-3)

    def test_axes_are_orthogonal_ordered_and_coefficients_have_unit_variance(self, small: Morphable) -> None:
        for basis in (small.identity_basis, small.expression_basis):
            gram = basis.astype(np.float64) @ basis.T
            length = np.sqrt(np.diag(gram))
            assert (np.diff(length) <= 1e-6).all()
            np.testing.assert_allclose(gram / np.outer(length, length), np.eye(len(gram)), atol=1e-4)
        people, _ = draw_training(40)
        heads = small.of_head(np.stack([load_basis().vertices(c) for c in people]))
        centred = (heads - heads.mean(0)).reshape(40, -1)
        axes = small.identity_basis / (small.identity_basis**2).sum(1, keepdims=True)
        np.testing.assert_allclose((centred @ axes.T).std(0, ddof=1), 1, atol=1e-3)

    def test_all_training_faces_are_spanned_by_enough_axes(self) -> None:
        full, explained = build(12, identities=11, expressions=11)
        people, actions = draw_training(12)
        faces = full.of_head(np.stack([load_basis().vertices(c) for c in people + actions]))
        back = full.shape(*full.project(faces))
        np.testing.assert_allclose(back, faces, atol=5e-3)
        assert explained["identity"]["explained"] == pytest.approx(1, abs=1e-6)

    def test_projection_inverts_shape(self, model: Morphable) -> None:
        rng = np.random.default_rng(0)
        a, e = rng.normal(size=(2, 80)), rng.normal(size=(2, 29))
        found = model.project(model.shape(a, e))
        np.testing.assert_allclose(found[0], a, atol=0.02)
        np.testing.assert_allclose(found[1], e, atol=0.02)
        shrunk = model.project(model.shape(a, e), prior=1e6)
        assert np.linalg.norm(shrunk[0]) < np.linalg.norm(a)

    def test_missing_coefficients_are_zero_and_too_many_refused(self, model: Morphable) -> None:
        np.testing.assert_allclose(model.shape([1.0]), model.shape(np.eye(80)[0], np.zeros(29)), atol=1e-5)
        with pytest.raises(VrnError, match="81 identity coefficients"):
            model.shape(np.zeros(81))

    def test_points_are_those_of_a_sample(self, model: Morphable) -> None:
        data = SynthLP(32, 34, seed=5, augment=False, truth=True)
        sample, head = data[7], data._face(0)[0]
        vertices = model.of_head(head)
        camera = WeakPerspective.normalised(vertices[model.landmarks], sample["pose"], 32)
        camera = camera.in_front(vertices[: model.surface_size], Grid(32, 34))
        np.testing.assert_allclose(camera.apply(model.points(vertices)), sample["points"], atol=2e-4)
        np.testing.assert_allclose(
            camera.apply(vertices[model.landmarks])[:, :2], sample["landmarks"], atol=2e-4
        )


class TestFile:
    def test_it_survives_writing_and_reading(self, small: Morphable, tmp_path: Path) -> None:
        again = load_morphable(small.save(tmp_path / "model.safetensors"))
        np.testing.assert_array_equal(again.mean, small.mean)
        np.testing.assert_array_equal(again.faces, small.faces)
        np.testing.assert_array_equal(again.landmarks, small.landmarks)
        np.testing.assert_allclose(again.identity_basis, small.identity_basis, atol=0.01)
        assert again.surface_size == small.surface_size

    def test_missing_damaged_and_foreign_files(self, tmp_path: Path) -> None:
        from safetensors.numpy import save_file

        with pytest.raises(VrnError, match="no morphable model at"):
            load_morphable(tmp_path / "no.safetensors")
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(b"no model")
        with pytest.raises(VrnError, match="damaged"):
            load_morphable(broken)
        other = tmp_path / "other.safetensors"
        save_file({"x": np.zeros(3)}, other)
        with pytest.raises(VrnError, match="not a morphable model"):
            load_morphable(other)

    def test_the_command_writes_model_and_statistics(self, tmp_path: Path) -> None:
        out = tmp_path / "m.safetensors"
        assert main(["--out", str(out), "--faces", "120", "--heldout", "4"]) == 0
        report = read_json(out.with_suffix(".json"))
        assert report["training_faces"] == 120
        assert report["identity"]["axes"] == 80
        assert load_morphable(out).identity_basis.shape == (80, 5112)

    def test_too_few_faces_are_refused(self) -> None:
        with pytest.raises(VrnError, match="10 faces are too few"):
            build(10)

    def test_the_committed_model_is_what_its_statistics_say(self, model: Morphable, root: Path) -> None:
        report = read_json(root / "results" / "checkpoints" / "3dmm.json")
        assert report["training_faces"] == 12000
        heads = model_statistics.heldout_heads("synth-lp", 12)
        floor = model_statistics.span_floor(model, model.of_head(heads))
        written = report["generalisation_synth-lp"]["span_floor_nme"]
        assert abs(floor.mean() - written["mean"]) < 3 * written["sd"] / np.sqrt(12)
        wild = report["generalisation_wild"]["span_floor_nme"]
        assert wild["mean"] > written["mean"]  # shapes outside the span cost more
        made, people = report["specificity"].values()
        assert made < 1.5 * people
        by_axes = list(report["generalisation_synth-lp"]["rms_mm_by_identity_axes"].values())
        assert by_axes == sorted(by_axes, reverse=True)


def test_specificity_and_generalisation_of_a_known_model(
    small: Morphable, training_faces: np.ndarray
) -> None:
    assert model_statistics.generalisation(small, small.shape(np.ones((3, 12)))) < 1e-3
    made, people = model_statistics.specificity(small, 5, 40)
    assert 1.0 < people < 10.0  # millimetres: nobody is twice in the world
    assert 1.0 < made < 10.0
    few, _ = model_statistics.specificity(small, 5, 4)
    assert few > made  # with fewer known faces the nearest one is further away


def test_subdivision_keeps_the_surface_and_counts_right() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1.0]])
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    fine, cut = subdivide(vertices, faces, 2)
    assert cut.shape == (32, 3)
    np.testing.assert_array_equal(fine[:4], vertices)
    assert len(border_edges(cut)) == 4 * len(border_edges(faces))

    def area(v: np.ndarray, f: np.ndarray) -> float:
        return np.linalg.norm(np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]), axis=1).sum() / 2

    assert area(fine, cut) == pytest.approx(area(vertices, faces))
    same, before = subdivide(vertices, faces, 0)
    np.testing.assert_array_equal(before, faces)
    np.testing.assert_array_equal(same, vertices)


class TestCamera:
    @pytest.mark.parametrize(
        "pose", [(0, 0, 0), (0.3, -1.2, 0.4), (-0.5, 1.5, -0.2), (0.1, 0.2, 2.5)], ids=str
    )
    def test_the_exact_camera_is_recovered(self, model: Morphable, pose: tuple[float, ...]) -> None:
        points = model.mean[model.landmarks].astype(np.float64)
        true = WeakPerspective.from_angles(0.37, np.array(pose), (40.0, 55.0))
        found = WeakPerspective.fit(points, true.apply(points)[:, :2])
        assert found.scale == pytest.approx(true.scale, rel=1e-9)
        np.testing.assert_allclose(found.rotation, true.rotation, atol=1e-9)
        np.testing.assert_allclose(found.offset, true.offset, atol=1e-8)
        np.testing.assert_allclose(found.pose, pose, atol=1e-8)

    def test_no_camera_nearby_is_better_on_noisy_landmarks(self, model: Morphable) -> None:
        rng = np.random.default_rng(1)
        points = model.mean[model.landmarks].astype(np.float64)
        weights = rng.uniform(0.2, 2, 68)
        true = WeakPerspective.from_angles(0.5, np.array([0.2, 0.9, -0.1]), (40.0, 55.0))
        pixels = true.apply(points)[:, :2] + rng.normal(0, 2, (68, 2))

        def cost(camera: WeakPerspective) -> float:
            return float((weights * ((camera.apply(points)[:, :2] - pixels) ** 2).sum(1)).sum())

        best = WeakPerspective.fit(points, pixels, weights)
        for _ in range(200):
            turned = rotation_matrix(*rng.normal(0, 0.01, 3)) @ best.rotation
            other = WeakPerspective(
                best.scale * float(np.exp(rng.normal(0, 0.01))), turned, best.offset + rng.normal(0, 0.1, 3)
            )
            assert cost(other) > cost(best)

    def test_of_an_augmented_sample(self, model: Morphable) -> None:
        data = SynthLP(48, 50, seed=3, augment=True, truth=True)
        sample, vertices = data[14], model.of_head(data._face(1)[0])
        eyes = sample["eyes"]
        residuals = []
        for shape in (vertices, model.flipped(vertices)):
            camera = WeakPerspective.fit(shape[model.landmarks], sample["landmarks"])
            placed = camera.apply(shape)
            residuals.append(np.abs(placed[model.landmarks][:, :2] - sample["landmarks"]).max())
            if residuals[-1] < 1e-3:
                shift = eyes[:, 2] - placed[model.landmarks[[36, 45]], 2]
                assert np.ptp(shift) < 1e-3  # depth too, up to one shift
        assert min(residuals) < 1e-3

    def test_apply_and_invert(self) -> None:
        camera = WeakPerspective.from_angles(0.4, np.array([0.1, -0.4, 0.2]), (10.0, 20.0, -3.0))
        points = np.random.default_rng(0).normal(0, 50, (9, 3))
        np.testing.assert_allclose(camera.invert(camera.apply(points)), points, atol=1e-9)
        # x right, y down, nearer is larger z
        plain = WeakPerspective.from_angles(2.0, np.zeros(3), (5.0, 6.0))
        np.testing.assert_allclose(plain.apply(np.array([1.0, 2.0, 3.0])), [7, 2, 6])

    def test_bad_points_are_refused(self) -> None:
        rng = np.random.default_rng(0)
        points, pixels = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
        with pytest.raises(VrnError, match="as many pixels"):
            WeakPerspective.fit(points, pixels[:9])
        with pytest.raises(VrnError, match="do not lie in one plane"):
            WeakPerspective.fit(points * [1, 1, 0], pixels)
        with pytest.raises(VrnError, match="do not lie in one plane"):
            WeakPerspective.fit(points[:3], pixels[:3])
        with pytest.raises(VrnError, match="NaN"):
            WeakPerspective.fit(points, pixels * np.nan)
        with pytest.raises(VrnError, match="coincide"):
            WeakPerspective.fit(points, np.ones((10, 2)))
