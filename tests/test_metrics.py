"""Known answers: shifted, scaled and shuffled copies, spheres, counted voxels."""

from __future__ import annotations

import numpy as np
import pytest

from vrnlib import metrics
from vrnlib.errors import VrnError

EYES = np.array([[-1.0, 0, 0], [1.0, 0, 0]])  # d = 2


def sphere(n: int, radius: float = 1.0) -> np.ndarray:
    """(n, 3) points spread evenly over a sphere (Fibonacci)."""
    i = np.arange(n) + 0.5
    z, angle = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - z**2)
    return radius * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def face(n: int = 4000) -> np.ndarray:
    """The front half of a sphere: like the truth, an open surface towards the viewer."""
    points = sphere(2 * n)
    return points[points[:, 2] > 0]


def test_a_copy_has_no_error_and_order_does_not_matter() -> None:
    truth = face()
    assert metrics.nme(truth, truth, EYES) == 0
    shuffled = np.random.default_rng(0).permutation(truth)
    assert metrics.nme(shuffled, truth, EYES) == pytest.approx(0, abs=1e-12)


def test_given_matches_make_a_shift_measurable() -> None:
    truth = face()
    same = np.arange(len(truth))
    moved = truth + [0.3, 0.4, 0]
    assert metrics.nme(moved, truth, EYES, matches=same) == pytest.approx(0.5 / 2)
    assert metrics.nme(moved, truth, 5.0, matches=same) == pytest.approx(0.1)


def test_nearest_vertex_of_a_larger_sphere_is_the_radial_gap() -> None:
    error = metrics.nme(sphere(60_000, 1.1), sphere(1000), EYES, align_z=False, correspondence="nearest")
    assert error == pytest.approx(0.1 / 2, abs=1e-3)


def test_a_single_vertex_is_everybodys_partner() -> None:
    truth = np.array([[0, 0, 0], [3, 4, 0.0]])
    assert metrics.nme(np.zeros((1, 3)), truth, 10.0, align_z=False) == pytest.approx(0.25)


@pytest.mark.parametrize("shift", [-7.0, 0.02, 3.0])
def test_a_shift_in_depth_is_taken_out_even_if_the_reconstruction_has_a_back(shift: float) -> None:
    truth = face()
    solid = np.concatenate([truth, truth * [1, 1, 0] + [0, 0, -0.5]])  # a flat back below the front
    moved = solid + [0, 0, shift]
    for correspondence in ("icp", "nearest"):
        score = metrics.score(moved, truth, EYES, correspondence=correspondence)
        assert score.nme < 1e-3
        assert score.shift == pytest.approx(-shift, abs=1e-3)
    assert metrics.nme(moved, truth, EYES, align_z=False, correspondence="nearest") > 0.005
    # the plain mean of all vertices, by contrast, is pulled away by the back
    assert abs(metrics.mean_shift(moved, truth) + shift) > 0.1


def test_only_depth_is_aligned() -> None:
    truth = face()
    assert metrics.nme(truth + [0.5, 0, 0], truth, EYES) > 0.03
    assert metrics.nme(truth * [1, 1, 0.5], truth, EYES) > 0.03


def test_error_scales_with_the_face_not_with_the_units() -> None:
    truth, other = face(), face() * [1, 1, 0.8]
    assert metrics.nme(other * 50, truth * 50, EYES * 50) == pytest.approx(
        metrics.nme(other, truth, EYES), rel=1e-9
    )


@pytest.mark.parametrize(
    ("vertices", "truth", "eyes"),
    [
        (np.zeros((0, 3)), face(), EYES),
        (face(), np.full((5, 3), np.nan), EYES),
        (face()[:, :2], face(), EYES),
        (face(), face(), np.zeros((2, 3))),
        (face(), face(), EYES[:1]),
    ],
)
def test_bad_points_are_named(vertices: np.ndarray, truth: np.ndarray, eyes: np.ndarray) -> None:
    with pytest.raises(VrnError, match=r"reconstruction|truth|eyes|interocular"):
        metrics.nme(vertices, truth, eyes)


def test_matches_must_fit_the_truth() -> None:
    with pytest.raises(VrnError, match="matches"):
        metrics.nme(face(), face(), EYES, matches=np.zeros(3, int))


def test_iou_counts_voxels() -> None:
    a, b = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), np.uint8)
    a[0, :, :2], b[0, :, 1:3] = 0.9, 1
    assert metrics.iou(a, b) == pytest.approx(4 / 12)
    assert metrics.iou(a, b, level=0.95) == 0
    assert metrics.iou(b, b.astype(bool)) == 1
    assert metrics.iou(np.zeros(3), np.zeros(3)) == 1
    with pytest.raises(VrnError, match="shapes"):
        metrics.iou(a, b[0])


def bumpy(n: int = 4000) -> np.ndarray:
    """A face without symmetry, so that ICP has one answer."""
    truth = face(n)
    x, y = truth[:, 0], truth[:, 1]
    nose = 0.5 * np.exp(-((x - 0.1) ** 2 + (y + 0.2) ** 2) / 0.05) + 0.2 * np.exp(
        -((x + 0.5) ** 2 + (y - 0.4) ** 2) / 0.02
    )
    return truth + np.stack([0 * x, 0 * x, nose], 1)


def test_icp_is_used_for_the_pairs_only() -> None:
    """A shifted copy: ICP finds the true partners, so Eq. 2 sees the whole shift, the second variant none."""
    truth, shift = bumpy(), np.array([0.018, 0.024, 0.0])
    score = metrics.score(truth + shift, truth, EYES)
    assert (score.matches == np.arange(len(truth))).mean() > 0.99
    assert score.nme == pytest.approx(0.03 / 2, rel=0.01)
    assert score.rigid < 1e-3
    cheap = metrics.nme(truth + shift, truth, EYES, correspondence="nearest")
    assert cheap < 0.9 * score.nme  # the nearest vertex is often not the true partner


def test_scaled_copy_keeps_its_error_after_rigid_alignment() -> None:
    truth = bumpy()
    score = metrics.score(truth * 1.1, truth, EYES)
    free = metrics.score(truth * 1.1, truth, EYES, scale=True)
    assert 0.01 < score.rigid < score.nme + 1e-9
    assert free.rigid < 0.5 * score.rigid


def test_noise_of_known_size() -> None:
    truth, rng = bumpy(500), np.random.default_rng(0)
    noise = rng.normal(0, 1e-3, truth.shape)  # far smaller than the spacing of the points: partners stay
    noise[:, 2] -= noise[:, 2].mean()
    expected = np.linalg.norm(noise, axis=1).mean() / 2
    assert metrics.nme(truth + noise, truth, EYES) == pytest.approx(expected, rel=0.01)


def test_partial_reconstruction_costs() -> None:
    truth = bumpy()
    half = truth[truth[:, 0] < 0]
    assert metrics.nme(half, truth, EYES) > 0.05
    assert metrics.nme(truth, half, EYES) < 1e-9  # only points of the truth are asked for


def test_a_finer_mesh_of_the_same_surface_scores_the_same() -> None:
    import trimesh

    ball = trimesh.creation.icosphere(3)
    front = ball.vertices[ball.vertices[:, 2] > 0.1]
    coarse, fine = trimesh.creation.icosphere(3), trimesh.creation.icosphere(5)
    errors = {}
    for name, mesh in (("coarse", coarse), ("fine", fine)):
        args = (np.asarray(mesh.vertices) * 1.05, front, EYES)
        errors[name] = metrics.score(*args, correspondence="surface", faces=mesh.faces, align_z=False).nme
    assert errors["fine"] == pytest.approx(0.05 / 2, rel=0.01)
    assert errors["coarse"] == pytest.approx(errors["fine"], rel=0.05)


def test_order_flip_and_unit_do_not_matter() -> None:
    truth, rng = bumpy(), np.random.default_rng(3)
    other = truth * [1.05, 1, 0.9] + rng.normal(0, 0.003, truth.shape)
    base = metrics.score(other, truth, EYES)
    order = rng.permutation(len(other))
    shuffled = metrics.score(other[order], truth, EYES)
    assert (order[shuffled.matches] == base.matches).all() and shuffled.nme == pytest.approx(
        base.nme, abs=1e-12
    )
    flip = np.array([-1.0, 1, 1])
    flipped = metrics.score(other * flip, truth * flip, EYES * flip)
    assert flipped.nme == pytest.approx(base.nme, rel=1e-6)
    assert flipped.rigid == pytest.approx(base.rigid, rel=1e-6)
    big = metrics.score(other * 1000 + 5000, truth * 1000 + 5000, EYES * 1000)
    assert big.nme == pytest.approx(base.nme, rel=1e-6)


def test_eq_2_by_hand() -> None:
    truth = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]])
    partners = np.array([[3.0, 4, 7], [10, 0, 7], [0, 12, 7]])
    shift = metrics.depth_shift(partners, truth)
    assert shift == -7
    errors = metrics.paired_errors(partners + [0, 0, shift], truth, 20.0)
    assert errors.tolist() == pytest.approx([5 / 20, 0, 2 / 20])


def test_unknown_correspondence_and_missing_triangles() -> None:
    with pytest.raises(VrnError, match="unknown correspondence 'ipc'"):
        metrics.nme(face(), face(), EYES, correspondence="ipc")
    with pytest.raises(VrnError, match="triangles"):
        metrics.nme(face(), face(), EYES, correspondence="surface")
