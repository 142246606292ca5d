"""The face source, the crop and the drawn database."""

import numpy as np
import pytest
import trimesh
from scipy.ndimage import distance_transform_edt
from threadpoolctl import threadpool_limits

from vrnlib.crop import Crop
from vrnlib.databases import POSES_PER_FACE, Augmentation, SynthLP, face_points
from vrnlib.errors import VrnError
from vrnlib.faces import (
    MIRROR_68,
    expression_coefficients,
    face_solid,
    load_basis,
    rotation_matrix,
    sample_expression,
    sample_identity,
)
from vrnlib.voxel import Grid, voxelise


def test_basis_is_symmetric_and_landmarks_mirror():
    basis = load_basis()
    assert (MIRROR_68[MIRROR_68] == np.arange(68)).all()
    assert (basis.mirror[basis.landmarks] == basis.landmarks[MIRROR_68]).all()
    assert (
        np.abs(basis.mean[basis.landmarks] * [-1, 1, 1] - basis.mean[basis.landmarks[MIRROR_68]]).max() < 1.0
    )  # mm
    assert len(set(basis.landmarks)) == 68


def test_anatomy_of_random_people_is_within_human_ranges():
    # Farkas' anthropometry of adults, with a margin for the sexes' and populations' extremes, millimetres.
    rng = np.random.default_rng(0)
    basis = load_basis()
    heads = np.stack([basis.vertices(sample_identity(rng)) for _ in range(200)])
    p = heads[:, basis.landmarks]
    measures = {
        "outer canthi": (np.linalg.norm(p[:, 45] - p[:, 36], axis=1), 75, 105),
        "inner canthi": (np.linalg.norm(p[:, 42] - p[:, 39], axis=1), 22, 46),
        "mouth width": (np.linalg.norm(p[:, 54] - p[:, 48], axis=1), 38, 68),
        "nasion to chin": (np.linalg.norm(p[:, 27] - p[:, 8], axis=1), 92, 140),
    }
    for name, (value, low, high) in measures.items():
        assert np.mean((value > low) & (value < high)) > 0.97, (name, value.min(), value.max())
    assert heads.std(0).mean() > 1.0  # people differ


def test_expressions_are_named_and_bounded():
    rng = np.random.default_rng(1)
    basis = load_basis()
    assert max(sample_expression(rng).max() for _ in range(50)) <= 1.1
    both = expression_coefficients({"mouthSmile": 0.5})
    assert both[basis.index("mouthSmileLeft")] == both[basis.index("mouthSmileRight")] == 0.5
    with pytest.raises(VrnError, match="no field 'moutSmile"):
        expression_coefficients({"moutSmile": 1.0})
    opened = basis.vertices(expression_coefficients({"jawOpen": 1.0}))[basis.landmarks]
    assert opened[62, 1] - opened[66, 1] > 15  # the lips part by more than 15 mm


def test_rotation_is_300w_lps():
    assert np.allclose(rotation_matrix(0, 0, 0), np.eye(3))
    r = rotation_matrix(0.3, -0.5, 0.2)
    assert np.allclose(r @ r.T, np.eye(3)) and np.isclose(np.linalg.det(r), 1)
    # vrn-facts: Rx = [[1,0,0],[0,c,s],[0,-s,c]]
    assert np.allclose(rotation_matrix(np.pi / 2, 0, 0) @ [0, 1, 0], [0, 0, -1])
    assert np.allclose(rotation_matrix(0, np.pi / 2, 0) @ [0, 0, 1], [-1, 0, 0])


def test_face_solid_is_watertight_for_any_expression():
    rng = np.random.default_rng(2)
    basis = load_basis()
    for _ in range(10):
        head = basis.vertices(sample_identity(rng) + sample_expression(rng))
        mesh = trimesh.Trimesh(face_solid(head[basis.surface]), basis.solid, process=False)
        assert mesh.is_watertight and mesh.is_winding_consistent


def test_no_hole_in_the_solid_at_any_pose():
    rng = np.random.default_rng(3)
    data = SynthLP(48, 50, seed=9)
    basis = load_basis()
    for i in range(60):
        head = basis.vertices(sample_identity(rng) + sample_expression(rng))
        rotation = rotation_matrix(*rng.uniform(-0.8, 0.8, 3) * [0.6, 1.9, 1])
        points = face_solid(head[basis.surface]) @ rotation.T * 0.2
        points += [23.5, 23.5, 0] - points.mean(0)
        volume = voxelise(points, basis.solid, data.grid)
        filled = volume.any(0)
        # a hole through the face would be an empty pixel column surrounded by filled ones
        inner = filled[1:-1, 1:-1] | ~(
            filled[:-2, 1:-1] & filled[2:, 1:-1] & filled[1:-1, :-2] & filled[1:-1, 2:]
        )
        assert inner.all(), i


def test_crop_inverts_exactly_and_normalises_the_box():
    rng = np.random.default_rng(4)
    landmarks = rng.uniform(100, 400, (68, 2))
    crop = Crop.from_landmarks(landmarks, 192)
    inside = crop.apply(landmarks)
    assert np.sqrt(np.prod(np.ptp(inside, axis=0))) == pytest.approx(90)
    assert np.allclose((inside.min(0) + inside.max(0)) / 2, 95.5)
    points = rng.uniform(-50, 500, (100, 3))
    assert np.allclose(crop.invert(crop.apply(points)), points, atol=1e-9)
    with pytest.raises(VrnError, match="no area"):
        Crop.from_landmarks(np.zeros((68, 2)))


def test_crop_image_agrees_with_crop_points():
    # a bright dot must land where the points say, at every scale
    for factor in (0.5, 1.0, 2.7, 9.0):
        size = int(300 * factor)
        image = np.zeros((size, size, 3), np.uint8)
        at = np.array([110.0, 170.0]) * factor
        radius = max(2, int(4 * factor))
        yy, xx = np.mgrid[:size, :size]
        image[(xx - at[0]) ** 2 + (yy - at[1]) ** 2 <= radius**2] = 255
        crop = Crop(0.6 / factor, (12.3, -20.7), 128)
        out = crop.image(image)[..., 0].astype(float)
        rows, columns = np.indices(out.shape)
        centre = np.array([(columns * out).sum(), (rows * out).sum()]) / out.sum()
        assert np.abs(centre - crop.apply(at)).max() < 0.15, factor


@pytest.mark.parametrize("augment", [False, True])
def test_samples_depend_on_seed_and_index_alone(augment):
    a, b = SynthLP(32, 34, seed=5, augment=augment), SynthLP(32, 34, seed=5, augment=augment)
    b[400]
    for key, value in a[37].items():
        assert np.array_equal(value, b[37][key]), key
    assert not np.array_equal(a[37]["image"], a[38]["image"])
    assert not np.array_equal(a[37]["image"], SynthLP(32, 34, seed=6, augment=augment)[37]["image"])


def test_sample_is_aligned_in_image_landmarks_and_volume():
    data = SynthLP(64, 66, seed=11, augment=True, truth=True)
    for i in range(0, 240, 12):
        s = data[i]
        assert s["image"].shape == (64, 64, 3) and s["image"].dtype == np.uint8
        assert s["volume"].shape == (66, 64, 64) and set(np.unique(s["volume"])) == {0, 1}
        grid = Grid(64, 66)
        # ground-truth points lie on the skin of the solid: a voxel next to each is filled
        p = s["points"]
        d = np.round(grid.d_of(p[:, 2])).astype(int)
        x, y = np.round(p[:, :2]).astype(int).T
        inside = (np.abs(p[:, :2] - 31.5) < 30).all(1) & (d >= 0) & (d < grid.depth)
        distance = distance_transform_edt(s["volume"] == 0, sampling=(0.5, 1, 1))[
            d[inside], y[inside], x[inside]
        ]
        assert np.mean(distance <= 1.5) > 0.99 and inside.mean() > 0.7, i
        # the tip of the nose is inside the silhouette's neighbourhood
        nose = s["landmarks"][30]
        if (np.abs(nose - 31.5) < 29).all():
            nx, ny = np.round(nose).astype(int)
            assert s["volume"][:, ny - 2 : ny + 3, nx - 2 : nx + 3].any()


def test_flip_mirrors_everything():
    both = [
        SynthLP(48, 50, seed=2, truth=True, augment=Augmentation(0, 0, (1, 1), flip, (1, 1)))[5]
        for flip in (0.0, 1.0)
    ]
    plain, flipped = both
    assert (flipped["volume"] == plain["volume"][:, :, ::-1]).all()
    assert (flipped["image"] == plain["image"][:, ::-1]).all()
    back = flipped["landmarks"][MIRROR_68] * [-1, 1] + [47, 0]
    assert np.allclose(back, plain["landmarks"], atol=1e-4)
    assert np.allclose(flipped["eyes"][::-1] * [-1, 1, 1] + [47, 0, 0], plain["eyes"], atol=1e-4)
    assert np.allclose(flipped["pose"], plain["pose"] * [1, -1, -1])


def test_heads_do_not_depend_on_the_threads_of_blas():
    # a worker has one thread, a notebook all: both must draw the very same head
    rng = np.random.default_rng(0)
    for _ in range(20):
        coefficients = sample_identity(rng) + sample_expression(rng)
        heads = []
        for threads in (1, 2):
            with threadpool_limits(threads, user_api="blas"):
                heads.append(load_basis().vertices(coefficients))
        assert np.array_equal(*heads)


def test_a_head_at_hand_from_another_pose_changes_nothing():
    data, again = (SynthLP(32, 34, seed=8, augment=False) for _ in range(2))
    for index in range(POSES_PER_FACE):
        kept, fresh = data[index], again[index]
        again._worn.clear()
        assert np.array_equal(kept["image"], fresh["image"]), index


def test_one_person_in_several_poses():
    data = SynthLP(32, 34, seed=1, augment=False)
    yaws = [float(data[i]["pose"][1]) for i in range(POSES_PER_FACE)]
    assert np.ptp(yaws) > 0.5
    assert face_points()[0].shape == (19000, 3)
