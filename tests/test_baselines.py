"""EOS, the mean face, MediaPipe and the list of methods."""

from __future__ import annotations

import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vrnlib import networks
from vrnlib.baselines import eos_fit, eos_sweep, mediapipe, methods
from vrnlib.baselines.common import Mesh, NotRunError, posed_mesh
from vrnlib.baselines.mean_face import mean_face
from vrnlib.baselines.morphable import Morphable, load_morphable
from vrnlib.baselines.weak_perspective import WeakPerspective
from vrnlib.databases.sample import FRONT_MARGIN
from vrnlib.errors import VrnError
from vrnlib.faces import MIRROR_68
from vrnlib.provenance import read_json
from vrnlib.voxel import Grid

SIZE = 96
POSES = ((0.0, 0.0, 0.0), (0.2, 0.8, -0.3), (-0.3, -1.4, 0.2))


@pytest.fixture(scope="module")
def model() -> Morphable:
    return load_morphable()


def view(model: Morphable, shape: np.ndarray, pose: tuple[float, ...]) -> tuple[WeakPerspective, np.ndarray]:
    """The camera of a normalised crop and the landmarks that it sees."""
    camera = WeakPerspective.normalised(shape[model.landmarks], np.array(pose), SIZE)
    return camera, camera.apply(shape[model.landmarks])[:, :2]


def face(model: Morphable, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return model.shape(rng.normal(size=80), rng.normal(size=29))


def error(model: Morphable, found: eos_fit.Fit, shape: np.ndarray, camera: WeakPerspective) -> float:
    """Mean distance over the interocular one, mean depth aligned; correspondence is known."""
    fitted = found.camera.apply(model.points(model.shape(found.identity, found.expression)))
    true = camera.apply(model.points(shape))
    fitted[:, 2] += (true - fitted)[:, 2].mean()
    eyes = camera.apply(shape[model.landmarks[[36, 45]]])
    return float(np.linalg.norm(fitted - true, axis=1).mean() / np.linalg.norm(eyes[0] - eyes[1]))


class TestEos:
    def test_the_library_has_our_model(self, model: Morphable) -> None:
        rng = np.random.default_rng(3)
        a, e = rng.normal(size=80), rng.normal(size=29)
        mesh = eos_fit._tools(model).model.draw_sample(a.tolist(), e.tolist(), [])
        np.testing.assert_allclose(np.array(mesh.vertices)[:, :3], model.shape(a, e), atol=2e-3)
        np.testing.assert_array_equal(mesh.tvi, model.faces)

    @pytest.mark.parametrize("pose", POSES, ids=str)
    def test_pose_of_the_mean_face_is_recovered_exactly(
        self, model: Morphable, pose: tuple[float, ...]
    ) -> None:
        camera, landmarks = view(model, model.mean, pose)
        found = eos_fit.fit(landmarks, SIZE)
        np.testing.assert_allclose(found.camera.pose, pose, atol=1e-3)
        np.testing.assert_allclose(found.camera.rotation @ found.camera.rotation.T, np.eye(3), atol=1e-5)
        assert found.camera.scale == pytest.approx(camera.scale, rel=1e-3)
        np.testing.assert_allclose(found.camera.offset[:2], camera.offset[:2], atol=0.02)
        assert found.residual < 0.01
        assert np.abs(found.identity).max() < 0.01

    @pytest.mark.parametrize("pose", POSES, ids=str)
    def test_a_face_of_the_model_is_recovered_the_better_the_smaller_lambda(
        self, model: Morphable, pose: tuple[float, ...]
    ) -> None:
        shape = face(model)
        camera, landmarks = view(model, shape, pose)
        found = [
            eos_fit.fit(landmarks, SIZE, weight=w, expression_weight=min(w, 30), iterations=50)
            for w in (5000, 30, 1, 0.01)
        ]
        residuals = [f.residual for f in found]
        assert residuals == sorted(residuals, reverse=True)
        assert residuals[-1] < 0.06  # pixels
        errors = [error(model, f, shape, camera) for f in found]
        assert errors[0] > errors[1] > errors[2] > 0.01
        assert errors[-1] < (0.5 if pose[1] else 0.8) * errors[0]  # a frontal view hides depth
        lengths = [np.linalg.norm(f.identity) for f in found]
        assert lengths == sorted(lengths)
        assert lengths[0] < 0.05  # the paper's lambda leaves the mean identity

    def test_lambda_means_the_same_whatever_the_size_of_the_crop(self, model: Morphable) -> None:
        _, landmarks = view(model, face(model), POSES[1])
        one = eos_fit.fit(landmarks, SIZE, weight=30)
        two = eos_fit.fit((landmarks + 0.5) * 2 - 0.5, 2 * SIZE, weight=30)
        np.testing.assert_allclose(two.identity, one.identity, atol=1e-3)
        assert two.camera.scale == pytest.approx(2 * one.camera.scale, rel=1e-4)
        np.testing.assert_allclose(two.camera.offset[:2], (one.camera.offset[:2] + 0.5) * 2 - 0.5, atol=0.01)

    def test_a_mirrored_face_gives_the_mirrored_pose(self, model: Morphable) -> None:
        _, landmarks = view(model, face(model), POSES[1])
        mirrored = landmarks[MIRROR_68] * [-1, 1] + [SIZE - 1, 0]
        one, two = eos_fit.fit(landmarks, SIZE), eos_fit.fit(mirrored, SIZE)
        np.testing.assert_allclose(two.camera.pose, one.camera.pose * [1, -1, -1], atol=0.02)

    def test_the_mesh_lies_on_the_landmarks_and_at_the_front_of_the_volume(self, model: Morphable) -> None:
        shape = face(model)
        _, landmarks = view(model, shape, POSES[1])
        mesh = eos_fit.eos_mesh(landmarks, SIZE, weight=0.01, iterations=50)
        inner = model.landmarks[model.landmarks < model.surface_size]
        on = landmarks[model.landmarks < model.surface_size]
        np.testing.assert_allclose(mesh.vertices[inner, :2], on, atol=0.3)
        front = Grid(SIZE, 100).z_of(99) - FRONT_MARGIN / 2
        assert mesh.vertices[:, 2].max() == pytest.approx(front, abs=1e-3)

    def test_contours_are_built_and_fit_a_frontal_face(self, model: Morphable) -> None:
        camera, landmarks = view(model, model.mean, (0.0, 0.0, 0.0))
        found = eos_fit.fit(landmarks, SIZE, contours=True)
        assert found.residual < 1.5
        assert error(model, found, model.mean, camera) < 0.06

    def test_edges_know_their_triangles(self) -> None:
        sides, edges = eos_fit.edge_topology(np.array([[0, 1, 2], [2, 1, 3]]))
        found = dict(zip(map(tuple, edges), sides, strict=True))
        assert found == {(1, 2): [0, 1], (1, 3): [0, 1], (2, 3): [1, 2], (2, 4): [0, 2], (3, 4): [0, 2]}

    def test_the_jaw_line_runs_over_edges_from_ear_to_chin(self, model: Morphable) -> None:
        line = eos_fit.jaw_line(model, eos_fit.RIGHT_JAW)
        assert [v for v in line if v in model.landmarks[:8]] == model.landmarks[:8].tolist()
        edges = {tuple(sorted(e)) for f in model.faces.tolist() for e in zip(f, f[1:] + f[:1], strict=True)}
        assert all(tuple(sorted(e)) in edges for e in pairwise(line))

    @pytest.mark.parametrize("bad", [np.zeros((67, 2)), np.full((68, 2), np.nan)], ids=["67", "NaN"])
    def test_bad_landmarks_are_refused(self, bad: np.ndarray) -> None:
        with pytest.raises(VrnError, match="68 finite landmarks"):
            eos_fit.fit(bad, SIZE)
        with pytest.raises(VrnError, match="68 finite landmarks"):
            mean_face(bad, SIZE)

    def test_landmarks_without_extent_are_refused(self) -> None:
        with pytest.raises(VrnError, match="on a line or a point"):
            eos_fit.fit(np.full((68, 2), 20.0), SIZE)
        with pytest.raises(VrnError, match="on a line or a point"):
            mean_face(np.stack([np.arange(68.0), np.arange(68.0)], 1), SIZE)

    def test_without_the_package_it_is_not_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "eos", None)
        with pytest.raises(NotRunError, match="pip install eos-py"):
            eos_fit.fit(np.zeros((68, 2)), SIZE)


class TestMeanFace:
    @pytest.mark.parametrize("pose", POSES, ids=str)
    def test_the_mean_face_itself_is_placed_exactly(self, model: Morphable, pose: tuple[float, ...]) -> None:
        camera, landmarks = view(model, model.mean, pose)
        mesh = mean_face(landmarks, SIZE)
        fine, _ = model.surface(model.mean)
        expected = camera.in_front(fine, Grid(SIZE, 100)).apply(fine)
        np.testing.assert_allclose(mesh.vertices, expected, atol=1e-3)

    def test_triangles_look_outwards(self, model: Morphable) -> None:
        _, landmarks = view(model, model.mean, (0.0, 0.0, 0.0))
        mesh = mean_face(landmarks, SIZE)
        a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
        normals = np.cross(b - a, c - a)
        assert normals[:, 2].sum() > 0
        assert (normals[:, 2] > 0).mean() > 0.9
        assert mesh.vertices.dtype == np.float32
        assert mesh.faces.dtype == np.int32


class TestMethods:
    @pytest.fixture
    def repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A repository of its own with three tiny networks of the `vrn`, `guided` and `landmarks` kinds."""
        import torch

        torch.manual_seed(0)
        for kind in ("vrn", "guided", "landmarks"):
            shape = networks.Architecture(8, 1, 1, 1, 34, kind=kind)
            networks.save(
                networks.build(shape),
                tmp_path / f"results/checkpoints/{kind}-laptop.safetensors",
                {"size": 32},
            )
        monkeypatch.setattr(methods, "project_folder", lambda: tmp_path)
        return tmp_path

    def test_networks_answer_with_a_mesh_in_the_window(self, repository: Path) -> None:
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for name in ("vrn", "guided"):
            method = methods.open_method(name)
            mesh = method.predict(image)
            assert (method.name, method.sees_truth) == (name, False)
            assert isinstance(mesh, Mesh)
            assert mesh.vertices[:, :2].min() >= -1
            assert mesh.vertices[:, :2].max() <= 32
            assert mesh.faces.max() < len(mesh.vertices)

    def test_given_landmarks_guide_the_guided_network_alone(self, repository: Path) -> None:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        points = rng.uniform(4, 28, (68, 2))
        guided = methods.open_method("guided-gt")
        assert guided.sees_truth
        volume = guided.network.predict(image, points)
        assert np.abs(volume - guided.network.predict(image)).max() > 1e-4
        found = methods.landmark_finder(repository / "results/checkpoints/guided-laptop.safetensors")(image)
        np.testing.assert_allclose(
            guided.network.predict(image, found), guided.network.predict(image), atol=1e-2
        )
        vrn = methods.open_method("vrn")
        np.testing.assert_array_equal(vrn.predict(image).vertices, vrn.predict(image, points).vertices)

    def test_fits_take_their_landmarks_from_the_network_or_the_truth(
        self, repository: Path, model: Morphable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        found = methods.landmark_finder()(image)
        assert found.shape == (68, 2)
        camera = WeakPerspective.normalised(model.mean[model.landmarks], np.array([0, 0.4, 0]), 32)
        truth = camera.apply(model.mean[model.landmarks])[:, :2]
        for name in ("eos", "eos-30", "mean-face"):
            method, upper = methods.open_method(name), methods.open_method(name + "-gt")
            assert (method.sees_truth, upper.sees_truth) == (False, True)
            expected = upper.predict(image, truth).vertices
            np.testing.assert_array_equal(method.predict(image, truth).vertices, expected)
            np.testing.assert_array_equal(
                method.predict(image).vertices, upper.predict(image, found).vertices
            )
            with pytest.raises(VrnError, match="needs landmarks"):
                upper.predict(image)

    def test_what_is_missing_is_not_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(methods, "project_folder", lambda: tmp_path)
        for name in ("vrn", "multitask", "guided", "guided-gt", "eos", "eos-30", "mean-face"):
            with pytest.raises(NotRunError, match="no checkpoint|no landmark network"):
                methods.open_method(name)
        assert methods.open_method("mean-face-gt").name == "mean-face-gt"  # needs neither

    def test_unknown_names_and_wrong_windows_are_refused(self, repository: Path) -> None:
        with pytest.raises(VrnError, match="did you mean 'guided'"):
            methods.open_method("giuded")
        with pytest.raises(VrnError, match=r"vrn reads crops \(32, 32, 3\)"):
            methods.open_method("vrn").predict(np.zeros((48, 48, 3), np.uint8))
        with pytest.raises(VrnError, match="landmark network reads crops"):
            methods.open_method("mean-face").predict(np.zeros((32, 32, 3), np.float32))

    def test_every_name_is_its_methods_name(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mediapipe, "FaceMesh", object)  # nothing is fetched here
        for name in methods.METHODS:
            try:
                method = methods.open_method(name)
            except NotRunError:
                continue
            assert method.name == name


CONNECTIONS = "FACEMESH_TESSELATION = frozenset([(0, 1), (1, 2), (2, 0), (2, 1), (1, 3), (3, 2)])\n"


class TestMediaPipe:
    def test_triangles_from_the_list_of_edges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mediapipe, "_CORNERS", ())
        np.testing.assert_array_equal(mediapipe.triangles(CONNECTIONS), [[0, 1, 2], [2, 1, 3]])
        with pytest.raises(VrnError, match="not where it was"):
            mediapipe.triangles("OTHER = 1")
        with pytest.raises(VrnError, match="do not form triangles"):
            mediapipe.triangles("FACEMESH_TESSELATION = frozenset([(0, 1), (1, 2), (3, 0)])")

    def test_an_opening_is_sewn_shut_in_the_sense_of_its_surroundings(self) -> None:
        # a square ring: outer corners 0..3, inner 4..7
        ring = [[0, 1, 4], [1, 5, 4], [1, 2, 5], [2, 6, 5], [2, 3, 6], [3, 7, 6], [3, 0, 7], [0, 4, 7]]
        closed = np.concatenate([ring, mediapipe._sewn(mediapipe._loop(np.array(ring), 4))])
        directed = [(a, b) for f in closed.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)]
        assert len(closed) == 10
        assert len(set(directed)) == len(directed)
        border = {e for e in directed if e[::-1] not in directed}
        assert border == {(0, 1), (1, 2), (2, 3), (3, 0)}

    def test_a_look_returns_to_the_picture(self) -> None:
        """What the network sees at a place comes back as that place, turned or not."""
        image = np.zeros((120, 150, 3), np.uint8)
        image[40, 90] = 255  # a single bright pixel

        class Finder:
            def setInput(self, blob: np.ndarray) -> None:
                weight = blob[0].sum(0)
                y, x = np.mgrid[0:192, 0:192] + 0.5  # the network counts from a pixel's corner
                self.seen = (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum(), -19.2

            def forward(self, names: object) -> list[np.ndarray]:
                return [np.tile(self.seen, (468, 1)).astype(np.float32)]

        network = mediapipe.FaceMesh.__new__(mediapipe.FaceMesh)
        network.net, network.output = Finder(), None
        for roll in (0.0, 0.5, -1.2):
            points = network.look(image, np.array([85.0, 45.0]), 48.0, roll)
            np.testing.assert_allclose(points[0], [90, 40, 19.2 * 48 / 192], atol=0.1)

    def test_offline_or_another_wheel_is_not_run_and_keeps_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "kept"

        def offline(command: list[str], **_: object) -> SimpleNamespace:
            return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution")

        monkeypatch.setattr(subprocess, "run", offline)
        with pytest.raises(NotRunError, match="No matching distribution"):
            mediapipe.fetch(target)

        def other(command: list[str], **_: object) -> SimpleNamespace:
            folder = Path(command[command.index("-d") + 1])
            with zipfile.ZipFile(folder / "mediapipe-0.10.21-any.whl", "w") as archive:
                archive.writestr(mediapipe._MODEL, b"another network")
                archive.writestr(mediapipe._CONNECTIONS, CONNECTIONS)
            return SimpleNamespace(returncode=0, stderr="")

        monkeypatch.setattr(subprocess, "run", other)
        with pytest.raises(NotRunError, match="not the file of mediapipe"):
            mediapipe.fetch(target)
        assert not target.exists()

        monkeypatch.setattr(mediapipe, "MODEL_SHA256", mediapipe._sha(b"another network"))
        monkeypatch.setattr(mediapipe, "CONNECTIONS_SHA256", mediapipe._sha(CONNECTIONS.encode()))
        assert mediapipe.fetch(target) == target
        monkeypatch.setattr(subprocess, "run", offline)
        assert mediapipe.fetch(target) == target  # from the cache
        (target / "face_landmark.tflite").write_bytes(b"damaged")
        with pytest.raises(NotRunError):
            mediapipe.fetch(target)

    def test_coverage_is_the_middle_of_the_face(self, model: Morphable) -> None:
        covered, points = mediapipe.coverage(), model.points(model.mean)
        assert covered.shape == (19000,)
        assert 0.7 < covered.mean() < 0.95
        near = np.linalg.norm(points[:, :2] - model.mean[model.landmarks[30], :2], axis=1) < 45
        assert covered[near].mean() > 0.99
        assert np.abs(points[~covered, 0]).mean() > np.abs(points[covered, 0]).mean()
        left, right = covered[points[:, 0] > 0].mean(), covered[points[:, 0] < 0].mean()
        assert abs(left - right) < 0.03

    def test_coverage_of_other_points_follows_their_place(self, model: Morphable) -> None:
        rng = np.random.default_rng(0)
        some = rng.choice(19000, 5000, replace=False)
        pose = (0.1, 0.7, -0.2)
        camera = WeakPerspective.from_angles(0.31, np.array(pose), (47.0, 40.0, 9.0))
        shape = model.shape(rng.normal(size=80) * 0.7)
        found = mediapipe.coverage(camera.apply(model.points(shape))[some], np.array(pose))
        assert (found == mediapipe.coverage()[some]).mean() > 0.95

    @pytest.mark.skipif(not (mediapipe.folder() / "face_landmark.tflite").is_file(), reason="not fetched")
    def test_the_network_finds_a_drawn_face(self, model: Morphable) -> None:
        from vrnlib.databases import SynthLP

        sample = SynthLP(SIZE, 100, seed=2_000_003, augment=False, truth=True)[0]
        method = methods.open_method("mediapipe")
        assert method.network.faces.shape == (898, 3)
        mesh = method.predict(sample["image"])
        assert abs(mesh.vertices[33, :2] - sample["eyes"][0, :2]).max() < 3
        assert abs(mesh.vertices[263, :2] - sample["eyes"][1, :2]).max() < 3
        a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
        assert np.cross(b - a, c - a)[:, 2].sum() > 0


def test_a_posed_mesh_has_its_front_where_samples_have_it(model: Morphable) -> None:
    camera, _ = view(model, model.mean, POSES[2])
    mesh = posed_mesh(model, model.mean, camera, SIZE)
    assert mesh.vertices[:, 2].max() == pytest.approx(Grid(SIZE, 100).z_of(99) - FRONT_MARGIN / 2, abs=1e-4)
    assert len(mesh.faces) == 16 * model.surface_face_count


class TestSweep:
    def test_lambda_pulls_to_the_mean_and_errors_of_landmarks_cost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(eos_sweep, "LAMBDAS", (5000.0, 1.0))
        out = tmp_path / "sweep.json"
        assert eos_sweep.main(["--faces", "4", "--out", str(out)]) == 0
        report = read_json(out)
        found = {
            (r["method"], r["lambda"], r["noise"], r["contours"]): r["nme_known"] for r in report["rows"]
        }
        assert found["eos", 1.0, 0.0, False] < found["eos", 5000.0, 0.0, False]
        assert found["eos", 1.0, 0.0, False] < found["eos", 1.0, 0.03, False]
        assert 0 < report["span_floor"] < min(found.values())
        assert report["provenance"]["params"]["eos"] == "1.5.0"

    def test_known_error_is_free_of_depth_and_counts_the_rest(self) -> None:
        truth = np.random.default_rng(0).normal(size=(50, 3))
        eyes = np.array([[0, 0, 0], [3.0, 0, 4.0]])
        assert eos_sweep.known_error(truth + [0, 0, 9.0], truth, eyes) == pytest.approx(0, abs=1e-12)
        assert eos_sweep.known_error(truth + [0, 2.0, 9.0], truth, eyes) == pytest.approx(0.4)
