"""`mapped-scans`: the registration on known answers, and the fetched faces where they can be had."""

import collections
import io
import tarfile

import numpy as np
import pytest
import trimesh
from scipy.ndimage import binary_dilation

from vrnlib import metrics
from vrnlib.databases import manifest, scan_source
from vrnlib.databases.landmark_transfer import Target, register, similarity, warp
from vrnlib.databases.mapped_scans import MappedScans
from vrnlib.databases.scan_source import load_scans
from vrnlib.databases.surface_sample import Camera, textured
from vrnlib.errors import VrnError
from vrnlib.faces import MIRROR_68, load_basis
from vrnlib.voxel import isosurface


@pytest.fixture(scope="module")
def scans() -> scan_source.ScanData:
    try:
        return load_scans()
    except VrnError as error:
        pytest.skip(f"not run: {error}")


@pytest.fixture(scope="module")
def data(scans) -> MappedScans:
    return MappedScans(64, 67, truth=True)


# --- without the faces


def test_similarity_recovers_a_known_one():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    rotation = trimesh.transformations.random_rotation_matrix(rng.random(3))[:3, :3]
    scale, found, shift = similarity(points, 1.7 * points @ rotation.T + [3, -2, 5])
    assert scale == pytest.approx(1.7) and np.allclose(found, rotation) and np.allclose(shift, [3, -2, 5])


def test_nearest_points_are_on_the_surface():
    sphere = trimesh.creation.icosphere(3, 10.0)
    target = Target(np.asarray(sphere.vertices), np.asarray(sphere.faces, np.int32))
    points = np.random.default_rng(1).normal(size=(200, 3)) * 12
    triangle, weights, border = target.nearest(points)
    ours = target.at(triangle, weights)
    _, distance, _ = trimesh.proximity.closest_point_naive(sphere, points)
    assert np.allclose(np.linalg.norm(points - ours, axis=1), distance, atol=1e-6)
    assert not border.any()  # closed


def test_registration_finds_a_deformed_face_of_another_topology():
    basis = load_basis()
    source = basis.mean[basis.surface].astype(np.float64)
    # the same face, bent smoothly, scaled, turned, and meshed anew
    truth = source * [1.06, 0.95, 1.0] + 3.0 * np.sin(source[:, [1, 2, 0]] / 40)
    rotation = trimesh.transformations.euler_matrix(0.15, -0.2, 0.1)[:3, :3]
    truth = 1.1 * truth @ rotation.T + [20, -30, 60]
    vertices, faces = trimesh.remesh.subdivide(truth, basis.surface_faces)
    anchors = np.searchsorted(basis.surface, basis.landmarks[[39, 42, 30, 48, 54]])
    target = Target(vertices, faces)
    found = register(source, basis.surface_faces, target, anchors, truth[anchors])
    triangle, weights, _ = target.nearest(found)
    assert np.linalg.norm(target.at(triangle, weights) - found, axis=1).mean() < 0.3  # on the surface
    # and in the right place of it, where there are features: brows, nose, eyes, mouth
    features = np.searchsorted(basis.surface, basis.landmarks[17:])
    distance = np.linalg.norm(found - truth, axis=1)
    assert distance[features].mean() < 1.5 and np.quantile(distance, 0.95) < 6.0


def test_warp_is_exact_for_an_affine_map():
    rng = np.random.default_rng(2)
    controls, points = rng.normal(size=(40, 3)) * 50, rng.normal(size=(20, 3)) * 150
    matrix = np.eye(3) + 0.1 * rng.normal(size=(3, 3))
    assert np.allclose(warp(controls, controls @ matrix + 4, points), points @ matrix + 4, atol=1e-6)


def test_textured_drawing_samples_the_right_texel():
    # a unit square of 2 x 2 coloured quarters, drawn upright
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :4], texture[:4, 4:], texture[4:, :4], texture[4:, 4:] = 255, [255, 0, 0], [0, 255, 0], 40
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = ((corners[:, :2] + 1) / 2)[faces]
    view = Camera(np.eye(3), 10.0, (15.5, 15.5), 32)
    out = textured(view, corners, faces, uv, texture, np.array([0, 0, 1.0]), 0.0, np.ones(3))
    assert out[10, 10, :3] == pytest.approx(1.0) and out[10, 21, :3].tolist() == [1, 0, 0]
    assert out[21, 10, :3].tolist() == [0, 1, 0] and 0 < out[21, 21, 0] < 0.05
    assert out[..., 3].sum() == pytest.approx(20 * 20, rel=0.15) and out[0, 0, 3] == 0


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "meshmonk-0.3.0.tar.gz"
    path.write_bytes(b"not the one")
    with pytest.raises(VrnError, match="not the expected meshmonk==0.3.0"):
        scan_source.check_archive(path)
    with pytest.raises(VrnError, match="can't be read"):
        scan_source.prepare(path)


def test_links_and_missing_members_are_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        plain = tarfile.TarInfo("plain")
        plain.size = 2
        tar.addfile(plain, io.BytesIO(b"ok"))
    with tarfile.open(path) as tar:
        assert scan_source._member(tar, "plain") == b"ok"
        with pytest.raises(VrnError, match="not an ordinary file"):
            scan_source._member(tar, "link")
        with pytest.raises(VrnError, match="holds no absent"):
            scan_source._member(tar, "absent")


def test_without_an_index_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(VrnError, match=r"could not be fetched.*go on without this database"):
        scan_source.fetch(tmp_path)


def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch):
    (tmp_path / f"mapped-scans-{scan_source.PREPARED}.npz").write_bytes(b"PK broken")
    monkeypatch.setattr(scan_source, "fetch", lambda folder: (_ for _ in ()).throw(VrnError("fetched again")))
    with pytest.raises(VrnError, match="fetched again"):
        load_scans.__wrapped__(tmp_path)


# --- with them


def test_faces_stand_in_our_frame(scans):
    basis = load_basis()
    assert scans.vertices.shape == (45, 7160, 3) and scans.faces.shape == (14050, 3)
    ours = basis.mean[basis.landmarks]
    for marks in (*scans.landmarks, scans.scan_landmarks):
        assert np.abs(marks[36:48].mean(0)[:2]).max() < 1e-3  # origin between the eyes
        assert 75 < metrics.interocular(marks[[36, 45]]) < 105  # mm
        assert (np.sign(marks[[36, 45], 0]) == [-1, 1]).all() and marks[30, 2] > marks[36, 2] + 15
        # upright and frontal: no more turned against our mean face than a person's own proportions explain
        _, rotation, _ = similarity(ours, marks.astype(np.float64))
        assert np.rad2deg(np.arccos((np.trace(rotation) - 1) / 2)) < 6
    assert scans.vertices.std(0).mean() > 1.0  # 45 different people


def test_landmarks_lie_where_the_shapes_have_them(scans):
    on_mask = list(range(17, 68))
    for vertices, marks in zip(scans.vertices[::7], scans.landmarks[::7], strict=True):
        target = Target(vertices.astype(np.float64), scans.faces)
        triangle, weights, _ = target.nearest(marks[on_mask].astype(np.float64))
        assert np.linalg.norm(target.at(triangle, weights) - marks[on_mask], axis=1).max() < 2.0
        # what can be seen in the shape itself: the tip of the nose stands out most
        tip = vertices[(np.abs(vertices[:, 0]) < 15) & (np.abs(vertices[:, 1] + 35) < 20), :]
        tip = tip[tip[:, 2].argmax()]
        assert np.linalg.norm(tip - marks[30]) < 8
    mean = scans.landmarks.mean(0)  # left and right are alike, on average over 45 people
    assert np.abs(mean * [-1, 1, 1] - mean[MIRROR_68]).max() < 4


def test_scan_region_is_one_disc(scans):
    region = scans.scan_faces[scans.scan_region]
    mesh = trimesh.Trimesh(scans.scan_vertices, region, process=False)
    used = len(np.unique(region))
    edges = len(mesh.edges_unique)
    assert used - edges + len(region) == 1  # Euler: one piece, one border, no hole
    extent = np.ptp(scans.scan_vertices[np.unique(region)], axis=0)
    assert 120 < extent[0] < 180 and 150 < extent[1] < 230


def test_protocol(data):
    infos = [data.info(i) for i in range(len(data))]
    assert len(infos) == 690
    assert collections.Counter(i["kind"] for i in infos) == {"mapped": 675, "scan": 15}
    assert sorted({i["pitch"] for i in infos}) == [-25, -20, -15]
    assert sorted({i["yaw"] for i in infos}) == [-80, -40, 0, 40, 80]
    with pytest.raises(VrnError, match="0 to 689, asked for 690"):
        data[690]


@pytest.mark.parametrize("index", [2, 9 * 15 + 6, 45 * 15 + 2, 45 * 15 + 5])
def test_truth_and_volume_describe_the_same_face(data, index):
    sample = data[index]
    assert sample["image"].shape == (64, 64, 3) and sample["volume"].shape == (67, 64, 64)
    assert np.array_equal(sample["image"], data[index]["image"])
    # the true volume's own surface passes near the true points: less than a voxel on average
    vertices, _ = isosurface(sample["volume"])
    assert metrics.nme(vertices, sample["points"], sample["eyes"]) < 0.05
    # nose and lips lie in the volume's outline, give or take a pixel at its rim
    x, y = np.round(sample["landmarks"][[30, 51]]).astype(int).T
    outline = binary_dilation(sample["volume"].any(0), np.ones((3, 3)))
    assert outline[y, x].all()
    assert sample["image"].std() > 5


def test_a_random_subset_is_still_as_frozen(scans):
    rows = manifest.frozen("mapped-scans")
    assert len(rows) == 690
    for index in [*np.random.default_rng().choice(675, 3, replace=False).tolist(), 680]:
        wrong = manifest.differences(manifest.fingerprint("mapped-scans", index), rows[index])
        assert not wrong, f"mapped-scans {index}: {wrong}"
