"""The voxeliser and the isosurface against independent judges."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vrnlib.errors import VrnError
from vrnlib.faces import (
    expression_coefficients,
    face_solid,
    load_basis,
    rotation_matrix,
    sample_expression,
    sample_identity,
)
from vrnlib.runs import SPECK, mirror_runs, runs_of
from vrnlib.voxel import (
    Grid,
    border_edges,
    column_runs,
    fill_runs,
    isosurface,
    one_body,
    smooth,
    solid_faces,
    voxelise,
    winding,
)

GRID = Grid(64, 66)


def centres(grid: Grid) -> np.ndarray:
    d, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    return np.stack([x, y, grid.z_of(d)], -1)


def random_blob(rng: np.random.Generator, radius: float = 11.0) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(3, radius=radius)
    bumps = 1 + 0.25 * np.sin(sphere.vertices @ rng.normal(0, 0.35, (3, 3))).sum(1, keepdims=True) / 3
    return sphere.vertices * bumps * [1, 1, 0.8] + [31.3, 30.8, 0.4], sphere.faces


def test_ellipsoid_matches_the_formula_at_every_voxel():
    sphere = trimesh.creation.icosphere(6, radius=1.0)
    radii, middle = np.array([20.0, 24.0, 12.0]), np.array([31.2, 30.1, 0.3])
    volume = voxelise(sphere.vertices * radii + middle, sphere.faces, GRID)
    r = np.linalg.norm((centres(GRID) - middle) / radii, axis=-1)
    assert volume[r < 0.995].all()  # the polyhedron lies a little inside the ellipsoid
    assert not volume[r > 1.0].any()


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_ray_casting(seed):
    rng = np.random.default_rng(seed)
    vertices, faces = random_blob(rng)
    volume = voxelise(vertices, faces, GRID)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    index = np.stack([rng.integers(12, 53, 1500), rng.integers(16, 48, 1500), rng.integers(16, 48, 1500)], 1)
    points = centres(GRID)[tuple(index.T)]
    inside = mesh.contains(points + 1e-7)
    assert inside.any() and not inside.all()
    assert (volume[tuple(index.T)] == inside).all()


def test_every_column_is_closed_when_vertices_lie_on_pixel_centres():
    # a box on integer coordinates: each pixel centre hits edges and corners; the symbolic tie-break must
    # neither leak nor miss
    box = trimesh.creation.box(extents=(20, 14, 10))
    volume = voxelise(box.vertices + [30, 31, 0], box.faces, GRID)
    assert volume.any(0).sum() == 20 * 14
    assert volume.sum() == 20 * 14 * 20


def test_volume_is_preserved_under_rotation():
    rng = np.random.default_rng(5)
    vertices, faces = random_blob(rng, 14.0)
    middle = vertices.mean(0)
    volumes = []
    for _ in range(6):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        q *= np.sign(np.linalg.det(q))
        volumes.append(voxelise((vertices - middle) @ q.T + [31, 31, 0], faces, GRID).sum())
    assert np.ptp(volumes) < 0.01 * np.mean(volumes)


def test_overlapping_bodies_are_united_and_inside_out_meshes_filled():
    a = trimesh.creation.icosphere(3, radius=10.0)
    b = a.vertices + [6, 0, 0]
    both = np.concatenate([a.vertices, b]) + [28, 31, 0]
    faces = np.concatenate([a.faces, a.faces + len(a.vertices)])
    union = voxelise(both, faces, GRID)
    parts = voxelise(a.vertices + [28, 31, 0], a.faces, GRID) | voxelise(b + [28, 31, 0], a.faces, GRID)
    assert (union == parts).all()
    assert (voxelise(both, faces[:, ::-1], GRID) == union).all()


def test_runs_describe_the_volume():
    vertices, faces = random_blob(np.random.default_rng(1))
    column, begin, end = column_runs(vertices, faces, GRID)
    volume = voxelise(vertices, faces, GRID)
    assert (end > begin).all() and (end - begin).sum() == volume.sum()
    assert (fill_runs((column, begin, end), GRID).view(bool) == volume).all()
    assert column.nbytes + begin.nbytes + end.nbytes < volume.size / 8 / 2  # smaller than packed bits


def test_outside_the_window_is_cut_off():
    sphere = trimesh.creation.icosphere(3, radius=20.0)
    whole = voxelise(sphere.vertices + [32, 32, 0], sphere.faces, GRID)
    shifted = voxelise(sphere.vertices + [62, 32, 0], sphere.faces, GRID)
    assert (shifted[:, :, 30:] == whole[:, :, :34]).all()


def test_isosurface_returns_to_the_mesh():
    sphere = trimesh.creation.icosphere(5, radius=1.0)
    truth = trimesh.Trimesh(sphere.vertices * [20, 24, 12] + [31, 30, 1], sphere.faces)
    vertices, faces = isosurface(voxelise(truth.vertices, truth.faces, GRID))
    back = trimesh.Trimesh(vertices, faces, process=False)
    assert back.is_watertight
    assert back.volume == pytest.approx(truth.volume, rel=0.01)
    assert np.abs(back.centroid - truth.centroid).max() < 0.1
    assert np.abs(truth.nearest.signed_distance(vertices[::50])).max() < 0.8


def test_smoothing_takes_steps_away_and_leaves_the_shape():
    sphere = trimesh.creation.icosphere(5, radius=14.0)
    middle = [31.3, 30.2, 0.1]
    volume = voxelise(sphere.vertices + middle, sphere.faces, GRID).astype(np.float32)
    volume.flags.writeable = False
    off, radius = {}, {}
    for sigma in (0, 0.7):
        vertices, faces = isosurface(smooth(volume, sigma))
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
        distance = np.linalg.norm(vertices - middle, axis=1)
        off[sigma], radius[sigma] = distance.std(), distance.mean()
        extent = np.ptp(vertices, axis=0)  # alike along all axes, though voxels are half as deep as wide
        assert np.ptp(extent) < 0.1
    assert off[0.7] < 0.5 * off[0]
    assert radius[0.7] == pytest.approx(radius[0], abs=0.1)
    assert smooth(volume, 0) is volume
    with pytest.raises(VrnError, match="0 or more"):
        smooth(volume, -1)


def test_isosurface_is_closed_at_the_border_and_places_probabilities_between_voxels():
    vertices, faces = isosurface(np.ones((6, 5, 5)))
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    ramp = np.zeros((20, 5, 5))
    ramp[:10] = 1.0
    ramp[10] = 0.75
    vertices, _ = isosurface(ramp)
    # between d = 10 (0.75) and d = 11 (0): level 0.5 is crossed at d = 10 + 1/3
    assert vertices[:, 2].max() == pytest.approx((10 + 1 / 3 - 9.5) * 0.5, abs=1e-4)


def test_solid_of_an_open_surface_is_closed():
    n = 6
    y, x = np.mgrid[:n, :n]
    quad = np.array(
        [
            [r * n + c for r, c in ((i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1))]
            for i in range(n - 1)
            for j in range(n - 1)
        ]
    )
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [2, 1, 3]]])
    surface = np.stack([x.ravel() * 5 + 15.0, y.ravel() * 5 + 15.0, np.sin(x.ravel())], 1)
    solid = trimesh.Trimesh(
        np.concatenate([surface, surface - [0, 0, 8]]), solid_faces(faces, len(surface)), process=False
    )
    assert len(border_edges(faces)) == 4 * (n - 1)
    assert solid.is_watertight and solid.is_winding_consistent
    assert voxelise(solid.vertices, solid.faces, GRID).sum() == pytest.approx(25 * 25 * 16, rel=0.01)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((3, 2)), np.zeros((1, 3), int), "vertices"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "NaN"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), "vertex 3"),
    ],
)
def test_bad_meshes_are_named(vertices, faces, message):
    with pytest.raises(VrnError, match=message):
        voxelise(vertices, faces, GRID)


def test_degenerate_triangles_do_no_harm():
    vertices, faces = random_blob(np.random.default_rng(2))
    with_slivers = np.concatenate([faces, [[0, 0, 1], [2, 2, 2]]])
    assert (voxelise(vertices, with_slivers, GRID) == voxelise(vertices, faces, GRID)).all()


def test_empty_volume_is_one_clear_error():
    with pytest.raises(VrnError, match="empty at level 0.5"):
        isosurface(np.zeros((4, 4, 4)))


# ---- runs


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(
    st.integers(1, 9),
    st.integers(1, 19),
    st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_runs_hold_any_volume_exactly(size, depth, share, seed):
    volume = np.random.default_rng(seed).random((depth, size, size)) < share
    runs = runs_of(volume)
    assert (fill_runs(runs, Grid(size, depth)) == volume).all()
    assert same(mirror_runs(runs, size), runs_of(volume[:, :, ::-1]))


def test_runs_of_the_voxeliser_are_those_of_its_volume():
    vertices, faces = random_blob(np.random.default_rng(6))
    # a second, inside-out body within the first: winding 1 meets 0 and -1 without a gap
    both = np.concatenate([vertices, vertices * [1, 1, 0.5] + [3.3, 0, 4]])
    triangles = np.concatenate([faces, faces[:, ::-1] + len(vertices)])
    for mesh in ((vertices, faces), (both, triangles)):
        assert same(column_runs(*mesh, GRID), runs_of(voxelise(*mesh, GRID)))


@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
def test_one_body_agrees_with_scipys_labelling(seed, level):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(13, 11, 11)), 0.7)
    volume, grid = smooth > level, Grid(11, 13)
    labels, n = ndimage.label(volume)
    if n:
        voxels = np.bincount(labels.ravel())[1:]
        volume = np.isin(labels, 1 + np.flatnonzero(voxels >= SPECK * voxels.max()))
    expected = ndimage.binary_fill_holes(volume)
    runs = one_body(runs_of(smooth > level), grid)
    assert same(runs, runs_of(expected))


# ---- faces, see also benchmarks/solid_check.py


def posed_face(seed: int, size: int) -> np.ndarray:
    """A random face with an extreme mouth in any pose, whole in the window."""
    rng, basis = np.random.default_rng((77, seed)), load_basis()
    mouths = (
        {},
        {"jawOpen": 1.1, "mouthStretch": 0.5},
        {"mouthClose": 0.9, "mouthPress": 1.0, "mouthRollLower": 0.8, "mouthRollUpper": 0.8},
    )
    coefficients = sample_identity(rng) + sample_expression(rng)
    coefficients += expression_coefficients(mouths[seed % 3])
    points = face_solid(basis.vertices(coefficients)[basis.surface])
    pose = rng.uniform([-1, -np.pi / 2, -np.pi], [1, np.pi / 2, np.pi])
    points = points @ rotation_matrix(*pose).T * [1, -1, 1]
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) * (0.47 * size / (high - low).max()) + [size / 2, size / 2, 0]


def test_no_hole_in_200_faces_of_any_expression_at_any_pose():
    grid, basis = Grid(48, 50), load_basis()
    overlap = repaired = 0
    for seed in range(200):
        points = posed_face(seed, grid.size)
        raw = column_runs(points, basis.solid, grid)
        padded = np.pad(fill_runs(one_body(raw, grid), grid), 1)
        assert ndimage.label(padded == 0)[1] == 1, f"face {seed} encloses a hole"
        assert ndimage.label(padded)[1] == 1, f"face {seed} is in pieces"
        repaired += ndimage.label(np.pad(fill_runs(raw, grid), 1) == 0)[1] > 1
        overlap += np.ptp(winding(points, basis.solid, grid)) > 1
    assert overlap > 5 and repaired > 0  # otherwise this test would show little


def test_faces_that_overlap_agree_with_solid_angles():
    grid, basis, checked = Grid(48, 50), load_basis(), 0
    for seed in range(2, 60, 3):  # the mouths whose lips pass through each other
        points = posed_face(seed, grid.size)
        ours = winding(points, basis.solid, grid)
        odd = np.argwhere((ours != 0) & (ours != np.sign(ours.sum())))[:20]
        index = np.concatenate([odd, np.random.default_rng(seed).integers(0, grid.shape, (20, 3))])
        d, y, x = index.T
        for ours_there, at in zip(ours[d, y, x], np.stack([x, y, grid.z_of(d)], 1), strict=True):
            a, b, c = (points[basis.solid[:, k]] - at for k in range(3))
            la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
            ab, bc, ca = (np.einsum("ij,ij->i", *pair) for pair in ((a, b), (b, c), (c, a)))
            det = np.einsum("ij,ij->i", a, np.cross(b, c))
            angle = 2 * np.arctan2(det, la * lb * lc + ab * lc + bc * la + ca * lb).sum()
            assert angle / (4 * np.pi) == pytest.approx(ours_there, abs=1e-3)
        checked += len(odd)
    assert checked > 20


def test_volume_of_a_face_does_not_depend_on_its_pose():
    basis, grid = load_basis(), Grid(96, 100)
    rng = np.random.default_rng(8)
    solid = face_solid(basis.mean[basis.surface]) * 0.2
    solid -= (solid.max(0) + solid.min(0)) / 2
    true = trimesh.Trimesh(solid, basis.solid, process=False).volume
    for _ in range(8):
        pose = rotation_matrix(*rng.uniform([-1, -np.pi / 2, -np.pi], [1, np.pi / 2, np.pi]))
        points = solid @ pose.T * [1, -1, 1] + [47.5, 47.5, 0]
        assert voxelise(points, basis.solid, grid).sum() * 0.5 == pytest.approx(true, rel=0.005)
