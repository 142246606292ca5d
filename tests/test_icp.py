"""Nearest neighbours against brute force, ICP against known motions and against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from vrnlib import icp, nearest
from vrnlib.errors import VrnError


def surface(n: int, seed: int = 0) -> np.ndarray:
    """(n, 3) random points of a bumpy surface, some 100 wide."""
    xy = np.random.default_rng(seed).uniform(-50, 50, (n, 2))
    z = 25 * np.exp(-(xy**2).sum(1) / 800) + 6 * np.sin(xy[:, 0] / 9) * np.cos(xy[:, 1] / 13)
    return np.column_stack([xy, z])


def brute(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The lowest number among the nearest vertices."""
    return cdist(points, vertices, "sqeuclidean").argmin(1)


CLOUDS = {
    "surface": surface(3000),
    "volume": np.random.default_rng(1).normal(0, 10, (3000, 3)),
    "lattice with ties": np.stack(np.meshgrid(*[np.arange(12.0)] * 3), -1).reshape(-1, 3),
    "duplicates": np.repeat(surface(200), 5, axis=0),
    "flat": surface(500) * [1, 1, 0],
    "line": surface(500) * [1, 0, 0],
    "one": np.array([[1.0, 2, 3]]),
    "one place": np.full((50, 3), 7.0),
    "stray vertex": np.concatenate([surface(2000), [[1e7, -1e7, 3e6]]]),
    "far from the origin": surface(2000) + 1e5,
    "two clusters": np.concatenate([surface(1000), surface(1000, 1) + [5000, 0, 0]]),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_nearest_is_what_brute_force_gives(name: str) -> None:
    vertices, rng = CLOUDS[name], np.random.default_rng(2)
    middle, spread = np.median(vertices, axis=0), 30.0
    points = np.concatenate(
        [
            middle + rng.normal(0, spread, (300, 3)),
            vertices[:50] + 0.5,
            middle + rng.normal(0, 3000, (100, 3)),
        ]
    )
    index, distance = nearest.Nearest(vertices).query(points)
    true = np.linalg.norm(vertices[None] - points[:, None], axis=2).min(1)
    assert distance == pytest.approx(true, rel=1e-12, abs=1e-12)
    assert np.linalg.norm(vertices[index] - points, axis=1) == pytest.approx(true, rel=1e-12, abs=1e-12)
    if name in ("lattice with ties", "duplicates", "surface"):  # where the arithmetic of both is the same
        assert (index == brute(points, vertices)).all()
    guess = rng.integers(len(vertices), size=len(points))
    assert (nearest.Nearest(vertices).query(points, guess)[0] == index).all()


def test_final_pairs_of_icp_are_exact() -> None:
    """Through all shortcuts of repeated queries."""
    vertices, truth = surface(4000), surface(1500, 7)
    turn = Rotation.from_euler("xyz", [4, -6, 3], degrees=True).as_matrix()
    moving = truth @ turn.T + [3, -2, 5]
    for iterations in (1, 2, 3, 5, 8, 13, 30):
        found = icp.register(moving, vertices, tolerance=0, max_iterations=iterations)
        assert found.iterations == iterations and not found.converged
        assert (found.matches == brute(found.motion.apply(moving), vertices)).all()


def test_same_as_another_implementation_step_by_step() -> None:
    vertices, moving = surface(4000), surface(1500, 7) * 1.02 + [2, 1, -1]
    for iterations in (1, 4, 12):
        ours = icp.register(moving, vertices, tolerance=0, max_iterations=iterations)
        options = {"threshold": -np.inf, "max_iterations": iterations, "reflection": False}
        _, theirs, _ = trimesh.registration.icp(moving, vertices, scale=False, **options)
        assert ours.motion.apply(moving) == pytest.approx(theirs, abs=1e-8)


def test_icp_finds_a_known_motion() -> None:
    vertices = surface(4000)
    turn = Rotation.from_euler("xyz", [2, -3, 2], degrees=True).as_matrix()
    back = icp.Motion(turn, np.array([0.5, -0.4, 0.8])).inverse()
    moving = back.apply(vertices[::3])
    found = icp.register(moving, vertices)
    assert found.converged and found.iterations < icp.MAX_ITERATIONS
    assert (found.matches == np.arange(0, 4000, 3)).all() and found.distances.max() < 1e-6
    assert found.motion.degrees == pytest.approx(np.rad2deg(Rotation.from_matrix(turn).magnitude()), abs=1e-6)
    assert found.motion.inverse().apply(found.motion.apply(moving)) == pytest.approx(moving)
    grown = icp.register(moving / 1.03, vertices, scale=True)
    assert grown.motion.scale == pytest.approx(1.03, rel=0.01)


def test_fit_is_the_least_squares_motion_and_no_reflection() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3))
    turn = Rotation.random(rng=0).as_matrix()
    targets = 1.7 * points @ turn.T + [1, 2, 3]
    motion = icp.fit(points, targets, scale=True)
    assert motion.scale == pytest.approx(1.7) and motion.rotation == pytest.approx(turn)
    assert motion.apply(points) == pytest.approx(targets)
    mirrored = icp.fit(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)
    noisy = targets / 1.7 + rng.normal(0, 0.1, targets.shape)
    align, _ = Rotation.align_vectors(noisy - noisy.mean(0), points - points.mean(0))
    assert icp.fit(points, noisy).rotation == pytest.approx(align.as_matrix(), abs=1e-9)


def test_result_does_not_depend_on_origin_or_unit() -> None:
    vertices, moving = surface(3000), surface(1000, 3) + [1, 2, 0.5]
    here = icp.register(moving, vertices)
    there = icp.register((moving + 700) * 1000, (vertices + 700) * 1000)
    assert there.iterations == here.iterations and (there.matches == here.matches).mean() > 0.999


def test_nearest_point_on_surface() -> None:
    ball = trimesh.creation.icosphere(3, radius=10)
    rng = np.random.default_rng(0)
    points = rng.normal(0, 12, (200, 3))
    found, distance = nearest.nearest_on_surface(points, ball.vertices, ball.faces)
    a, b, c = (np.asarray(ball.vertices)[ball.faces[:, i]] for i in range(3))
    for p, q, d in zip(points, found, distance, strict=True):
        every = trimesh.triangles.closest_point(np.stack([a, b, c], 1), np.tile(p, (len(a), 1)))
        assert d == pytest.approx(np.linalg.norm(every - p, axis=1).min(), abs=1e-9)
        assert np.linalg.norm(q - p) == pytest.approx(d)
    flat = nearest.nearest_on_surface(
        np.array([[0.2, 0.2, 3.0], [5, 0, 0]]), np.eye(3) * [1, 1, 0], np.array([[0, 1, 2]])
    )
    assert flat[0] == pytest.approx(np.array([[0.2, 0.2, 0], [1, 0, 0]]))


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros((4, 2)), np.full((4, 3), np.nan)])
def test_bad_points_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(VrnError, match="vertices"):
        nearest.Nearest(bad)
    with pytest.raises(VrnError, match="moving points"):
        icp.register(bad, surface(10))
    with pytest.raises(VrnError, match="triangles|faces"):
        nearest.nearest_on_surface(surface(3), surface(3), np.array([[0, 1, 9]]))
