"""3DDFA: parameters, PNCC, costs, the cascade's training and its files, on a tiny 3DMM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vrnlib.baselines import tddfa_network as networks
from vrnlib.baselines.common import NotRunError
from vrnlib.baselines.morphable import Morphable, build
from vrnlib.baselines.pncc import ncc, pncc
from vrnlib.baselines.tddfa import TDDFA, camera_of
from vrnlib.baselines.tddfa_costs import pdc, vdc, wpdc, wpdc_weights
from vrnlib.baselines.tddfa_data import TrueParameters
from vrnlib.baselines.tddfa_model import POSE, Shapes, first_guess, posing, quaternion
from vrnlib.baselines.tddfa_network import Design, Regressor
from vrnlib.baselines.tddfa_recipe import TddfaParams
from vrnlib.baselines.tddfa_train import faces, train
from vrnlib.checkpoint import State
from vrnlib.databases import SynthLP
from vrnlib.errors import VrnError
from vrnlib.faces import rotation_matrix
from vrnlib.metrics import score

SIZE = 32


@pytest.fixture(scope="module")
def model() -> Morphable:
    return build(60, identities=8, expressions=5)[0]


@pytest.fixture(scope="module")
def shapes(model: Morphable) -> Shapes:
    return Shapes.of(model)


@pytest.fixture(scope="module")
def model_file(model: Morphable, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model.save(tmp_path_factory.mktemp("model") / "3dmm.safetensors"))


def _random(shapes: Shapes, count: int, seed: int = 0) -> torch.Tensor:
    # plausible parameters (N, P)
    rng = np.random.default_rng(seed)
    p = np.zeros((count, shapes.parameters), np.float32)
    for row in p:
        r = rotation_matrix(*rng.uniform([-0.6, -1.5, -0.5], [0.6, 1.5, 0.5]))
        row[:4] = quaternion(r, rng.uniform(0.1, 0.6))
    p[:, 4:POSE] = rng.uniform(10, 20, (count, 2))
    p[:, POSE:] = rng.normal(size=(count, shapes.parameters - POSE))
    return torch.from_numpy(p)


# --- parameters


@given(
    st.tuples(*(st.floats(-a, a) for a in (1.5, np.pi / 2, 1.5))), st.floats(0.01, 5.0)
)  # yaw up to +-90 degrees, where Euler angles fail
def test_quaternion_and_posing_are_inverse(angles: tuple[float, float, float], scale: float) -> None:
    r = rotation_matrix(*angles)
    q = quaternion(r, scale)
    assert q @ q == pytest.approx(scale)
    assert q[0] >= 0
    down = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(
        posing(torch.from_numpy(q)[None])[0].numpy(), scale * down @ r, atol=1e-6 * scale
    )


def test_half_turns_have_a_quaternion() -> None:
    for axis in range(3):
        r = -np.eye(3)
        r[axis, axis] = 1  # trace -1: the real part is 0
        got = posing(torch.from_numpy(quaternion(r, 2.0))[None])[0].numpy()
        np.testing.assert_allclose(got, 2 * np.diag([1, -1, 1]) @ r, atol=1e-9)


@pytest.mark.parametrize(
    ("rotation", "scale", "message"),
    [
        (np.eye(3) * 2, 1.0, "not a rotation"),
        (np.diag([-1.0, 1, 1]), 1.0, "not a rotation"),
        (np.eye(3), 0.0, "positive"),
    ],
)
def test_bad_poses_are_refused(rotation: np.ndarray, scale: float, message: str) -> None:
    with pytest.raises(VrnError, match=message):
        quaternion(rotation, scale)


def test_vertices_are_the_model_seen_by_its_camera(model: Morphable, shapes: Shapes) -> None:
    p = _random(shapes, 3)
    found = shapes.vertices(p).numpy()
    for row, vertices in zip(p.numpy(), found, strict=True):
        a = row[POSE:]
        want = camera_of(row).apply(model.shape(a[:8], a[8:]))
        np.testing.assert_allclose(vertices, want, atol=1e-3)


@pytest.mark.parametrize("size", [32, 96, 192])
def test_first_guess_fills_the_crop_as_crops_are_made(shapes: Shapes, size: int) -> None:
    p = first_guess(shapes, size)
    marks = shapes.project_landmarks(shapes.vertices(p[None]))[0].numpy()
    low, high = marks.min(0), marks.max(0)
    np.testing.assert_allclose((low + high) / 2, (size - 1) / 2, atol=1e-3)
    assert np.sqrt(np.prod(high - low)) == pytest.approx(90 * size / 192, rel=1e-4)
    assert (p[POSE:] == 0).all()
    assert (p[1:4] == 0).all()


def test_true_parameters_put_landmarks_where_samples_have_them() -> None:
    rich = build(400, identities=40, expressions=20)[0]
    data = SynthLP(48, 50, seed=0, truth=True)
    true = TrueParameters(data, rich)
    numbers = [0, 13, 27, 100]  # 0 and 100 are mirrored, 13 and 27 are not
    vertices = Shapes.of(rich).vertices(true.many(numbers)).numpy()
    mirrored = 0
    for number, found in zip(numbers, vertices, strict=True):
        sample = data[number]
        apart = np.linalg.norm(found[rich.landmarks, :2] - sample["landmarks"], axis=1)
        assert apart.mean() < 0.25  # of 48 pixels; what the axes leave out
        result = score(found, sample["points"], sample["eyes"], correspondence="nearest")
        assert result.nme < 0.07  # vertices lie apart; a wrong depth or shape would be far off
        mirrored += np.abs(rich.points(found)[:, 0] - sample["points"][:, 0]).mean() > 5
    assert mirrored == 2


# --- PNCC


def test_a_frontal_mean_face_shows_its_own_coordinates(model: Morphable) -> None:
    codes = ncc(model.mean)
    assert codes.min() == 0
    assert codes.max() == 1
    size = 64
    scale = 0.3
    vertices = model.mean * [scale, -scale, scale] + [size / 2, 22, 0]
    image = pncc(vertices, model.faces, codes, size)
    seen = image.any(0)
    assert 0.2 < seen.mean() < 0.9
    rows, columns = np.nonzero(seen)
    low, extent = model.mean.min(0), np.ptp(model.mean, axis=0)
    x = ((columns - size / 2) / scale - low[0]) / extent[0]  # what a pixel shows is where it is
    y = ((22 - rows) / scale - low[1]) / extent[1]
    np.testing.assert_allclose(image[0][seen], x, atol=1e-4)
    np.testing.assert_allclose(image[1][seen], y, atol=1e-4)
    nose = np.round(vertices[model.landmarks[30], :2]).astype(int)
    assert image[2, nose[1], nose[0]] > 0.9  # the nearest point of the face


def test_pncc_shows_what_is_in_front_in_any_order() -> None:
    square = np.array([[0, 0], [7, 0], [0, 7], [7, 7]], float)
    near, far = (np.c_[square, np.full(4, z)] for z in (5.0, -5.0))
    faces = np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
    codes = np.r_[np.full((4, 3), 0.25), np.full((4, 3), 0.75)]
    for vertices, want in ((np.r_[near, far], 0.25), (np.r_[far, near], 0.75)):
        np.testing.assert_allclose(pncc(vertices, faces, codes, 8), want)
        np.testing.assert_allclose(pncc(vertices, faces[:, ::-1], codes, 8), want)  # both sides are seen


def test_pncc_of_many_is_pncc_of_each(shapes: Shapes) -> None:
    vertices = shapes.vertices(_random(shapes, 3)).numpy()
    many = pncc(vertices, shapes.faces, shapes.codes, SIZE)
    for image, one in zip(many, vertices, strict=True):
        np.testing.assert_array_equal(image, pncc(one, shapes.faces, shapes.codes, SIZE))


def test_a_face_out_of_sight_is_an_empty_pncc(shapes: Shapes) -> None:
    for far in (1e3, -1e3, 1e30):
        moved = shapes.mean.numpy() + np.float32(far)
        assert not pncc(moved, shapes.faces, shapes.codes, SIZE).any()
    with pytest.raises(VrnError, match="diverged"):
        pncc(np.full_like(moved, np.nan), shapes.faces, shapes.codes, SIZE)
    with pytest.raises(VrnError, match="belong together"):
        pncc(moved[:-1], shapes.faces, shapes.codes, SIZE)
    with pytest.raises(VrnError, match="flat"):
        ncc(np.array([[0, 0, 0], [1, 1, 0]]))


# --- costs


def test_the_truth_costs_nothing(shapes: Shapes) -> None:
    truth, scale = _random(shapes, 2), torch.ones(shapes.parameters)
    for cost in (pdc, vdc, wpdc):
        assert cost(shapes, truth, truth, scale).tolist() == [0, 0]
        off = cost(shapes, truth + 0.01, truth, scale)
        assert (off > 0).all()


def test_vdc_of_a_shifted_face_is_the_squared_shift(shapes: Shapes) -> None:
    truth = _random(shapes, 2)
    moved = truth.clone()
    moved[:, 4:POSE] += torch.tensor([3.0, 4.0])
    np.testing.assert_allclose(vdc(shapes, moved, truth, truth[0]).numpy(), 25, rtol=1e-4)


def test_wpdc_weights_are_the_vertices_displacements(shapes: Shapes) -> None:
    """Against Eq. 10 done by the letter: one parameter of the estimate among true ones."""
    truth = _random(shapes, 3, seed=1)
    estimate = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    weights = wpdc_weights(shapes, estimate, truth)
    there = shapes.vertices(truth)
    want = torch.empty_like(truth)
    for i in range(shapes.parameters):
        one = truth.clone()
        one[:, i] = estimate[:, i]
        want[:, i] = (shapes.vertices(one) - there).flatten(1).norm(dim=1)
    want /= want.amax(1, keepdim=True)
    np.testing.assert_allclose(weights.numpy(), want.numpy(), atol=2e-3)


def test_wpdc_weighs_what_moves_more_vertices(shapes: Shapes) -> None:
    truth = _random(shapes, 1)
    weights = wpdc_weights(shapes, truth + 0.1, truth)[0]
    sizes = shapes.components.flatten(1).norm(dim=1)
    order = sizes.argsort()
    assert (weights[POSE:][order].diff() >= 0).all()  # the same error in a larger component weighs more
    assert weights[:4].max() == 1  # a tenth of a quaternion turns the whole face


def test_gradients_of_the_costs(shapes: Shapes) -> None:
    truth, scale = _random(shapes, 1), torch.full((shapes.parameters,), 2.0)
    start = truth + 0.05
    for cost in (pdc, vdc):
        p = start.clone().requires_grad_()
        cost(shapes, p, truth, scale).sum().backward()
        step = torch.zeros_like(start)
        step[0, POSE] = 0.01
        rise = cost(shapes, start + step, truth, scale) - cost(shapes, start - step, truth, scale)
        assert p.grad[0, POSE].item() == pytest.approx(rise.item() / 0.02, rel=0.02)
    p = start.clone().requires_grad_()
    wpdc(shapes, p, truth, scale).sum().backward()
    want = 2 * wpdc_weights(shapes, start, truth) * (start - truth) / 4  # the weights are constants
    np.testing.assert_allclose(p.grad.numpy(), want.numpy(), rtol=1e-4, atol=1e-7)


# --- the cascade, its training, its files

TINY = {
    "size": SIZE, "widths": (8, 8, 8, 8), "hidden": 16, "batch_size": 8, "validation_faces": 2,
    "log_steps": 2, "precision": "32-true",
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Drawn once for all runs below."""
    return str(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def run(model_file: str, kept: str, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("whole")
    params = TddfaParams(**TINY, max_faces=48, model=model_file, keep=kept)
    return params, out, train(params, out, say=_quiet)


def _quiet(_: str) -> None:
    pass


def test_a_stopped_run_arrives_at_the_same_weights(run, model_file: str, tmp_path, monkeypatch) -> None:
    params, whole, metrics = run
    assert metrics["finished"]
    assert (
        len(metrics["validation"]["nme"]) == networks.ITERATIONS + 3
    )  # two more than trained for, and the start
    parts = tmp_path / "parts"
    with monkeypatch.context() as patch:  # as if a signal came after the fourth of six steps
        patch.setattr(TddfaParams, "progress", _stopping(4))
        train(params, parts, say=_quiet)
    (parts / "metrics.json").unlink()
    train(params, parts, say=_quiet)
    a, b = (networks.load(folder / "3ddfa-laptop.safetensors")[0].state_dict() for folder in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "keep" in (whole / "params.json").read_text()
    assert params.keep not in (whole / "params.json").read_text() + (whole / "provenance.json").read_text()


def _stopping(step: int):
    whole = TddfaParams.progress

    def progress(self: TddfaParams, state) -> float:
        return 1.0 if state.step >= step else whole(self, state)

    return progress


def test_a_recipe_says_what_each_step_learns() -> None:
    params = TddfaParams(max_faces=900, iterations=3, vdc_from=0.5)
    at = [State(step=1000, position=n) for n in (0, 299, 300, 600, 899, 900)]
    assert [params.iterations_at(s) for s in at] == [1, 1, 2, 3, 3, 3]
    assert [params.cost_at(s) for s in at] == ["wpdc"] * 3 + ["vdc"] * 3
    rates = [params.rate(s) for s in at]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
    assert params.rate(State()) < 0.01 * params.learning_rate  # warmed up
    assert TddfaParams(cost="pdc").cost_at(at[-1]) == "pdc"
    with pytest.raises(VrnError, match="multiple of 16"):
        TddfaParams(distinct_faces=40)


def test_distinct_faces_come_again(run, model: Morphable) -> None:
    params = replace(run[0], distinct_faces=16)
    data = SynthLP(SIZE, 34, seed=0)
    source = faces(params, data, TrueParameters(data, model), 8)
    batches = [next(source) for _ in range(4)]
    assert torch.equal(batches[0][0], batches[2][0])
    assert torch.equal(batches[1][1], batches[3][1])
    assert not torch.equal(batches[0][1], batches[1][1])


def test_a_run_refuses_other_parameters(run, tmp_path) -> None:
    params, out, _ = run
    other = TddfaParams(**{**TINY, "hidden": 8}, max_faces=48, model=params.model, keep=params.keep)
    with pytest.raises(VrnError, match="another network|hidden = 16, not 8"):
        train(other, out, say=_quiet)
    with pytest.raises(VrnError, match="must be positive"):
        TddfaParams(batch_size=0)


def test_training_learns_the_faces_it_sees(shapes: Shapes, model: Morphable) -> None:
    torch.manual_seed(0)
    network = Regressor(Design(shapes.parameters, SIZE, (8, 16, 16, 16), 32))
    network.start.copy_(first_guess(shapes, SIZE))
    network.scale[:POSE] = torch.tensor([0.05, 0.05, 0.15, 0.05, 3.0, 3.0])
    truth = network.start + torch.randn(12, shapes.parameters) * network.scale * 0.7
    image = torch.from_numpy(pncc(shapes.vertices(truth).numpy(), shapes.faces, shapes.codes, SIZE))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        u = torch.zeros_like(truth)
        optimiser.zero_grad()
        u = networks.correct(network, networks.look(shapes, network, image, u), u)
        wpdc(shapes, network.unwhiten(u), truth, network.scale).mean().backward()
        optimiser.step()
    # no batch statistics of its own for so few faces: as in training
    with torch.no_grad():
        after = networks.correct(network, networks.look(shapes, network, image, 0 * truth), 0 * truth)
    before = vdc(shapes, network.start.expand_as(truth), truth, truth[0]).mean()
    assert vdc(shapes, network.unwhiten(after), truth, truth[0]).mean() < 0.1 * before


def test_predict_gives_a_mesh_in_the_crop(run, model: Morphable, model_file: str) -> None:
    from vrnlib.baselines.morphable import load_morphable

    _, out, _ = run
    path = out / "3ddfa-laptop.safetensors"
    method = TDDFA(path, load_morphable(model_file))
    image = SynthLP(SIZE, 34, seed=3, augment=False)[5]["image"]
    mesh = method.predict(image)
    assert mesh.vertices.dtype == np.float32
    assert np.isfinite(mesh.vertices).all()
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.cross(b - a, c - a)[:, 2].mean() > 0  # outwards is towards the viewer
    assert mesh.vertices[:, 2].max() == pytest.approx(
        33 / 4 - 3 * SIZE / 192, abs=1e-3
    )  # where samples have it
    steps = method.fit(image[None])
    assert len(steps) == 4
    np.testing.assert_allclose(steps[0][0], first_guess(method.shapes, SIZE), atol=1e-5)
    with pytest.raises(VrnError, match=r"reads crops \(32, 32, 3\)"):
        method.predict(image[:16])
    with pytest.raises(VrnError, match="another 3DMM"):
        TDDFA(path, build(60, identities=8, expressions=4)[0])
    with pytest.raises(VrnError, match="another 3DMM"):
        TDDFA(path, build(50, identities=8, expressions=5)[0])


def test_missing_and_damaged_checkpoints_are_named(run, tmp_path, monkeypatch) -> None:
    from vrnlib.baselines import tddfa

    with pytest.raises(VrnError, match=r"gone.safetensors: no such checkpoint"):
        TDDFA(tmp_path / "gone.safetensors")
    monkeypatch.setattr(tddfa, "CHECKPOINT", tmp_path / "gone.safetensors")
    with pytest.raises(NotRunError, match="no checkpoint"):
        TDDFA()
    content = (run[1] / "3ddfa-laptop.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content[:-100])
    with pytest.raises(VrnError, match="cut short"):
        networks.load(bad)
    bad.write_bytes(content[:-100] + bytes(100))
    with pytest.raises(VrnError, match="checksum"):
        networks.load(bad)
    network, _ = networks.load(run[1] / "3ddfa-laptop.safetensors")
    with torch.no_grad():
        network.out.bias[0] = float("nan")
    with pytest.raises(VrnError, match=r"out.bias.*NaN"):
        networks.save(network, bad, {})


def test_a_damaged_run_is_named(run, tmp_path) -> None:
    params, _, _ = run
    (tmp_path / "checkpoint.json").write_text('{"params": {}, "state": {"step": 1}}')
    with pytest.raises(VrnError, match="checkpoint.json is damaged"):
        train(params, tmp_path, say=_quiet)
