"""Photograph to face: geometry, colours, frames. A network of known answer stands in for a trained one."""

import os
import re

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from skimage.data import astronaut

import vrnlib
from vrnlib import networks, predict, texture, viewer, voxel
from vrnlib.anatomy import MIRROR_68
from vrnlib.crop import Crop
from vrnlib.errors import VrnError
from vrnlib.predict import Network, for_inference, load_network

SIZE, DEPTH = 48, 50
BALL = np.linalg.norm(np.indices((34, 32, 32)).T - [16.5, 15.5, 15.5], axis=-1).T < 10
BALL = BALL.astype(np.float32)


class Blob(torch.nn.Module):
    """Answers every window with one solid: an ellipsoid cut flat behind, and a stray body in a corner."""

    def __init__(self, semi_axes: tuple[float, float, float] = (12, 15, 10), stray: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        d, y, x = np.meshgrid(np.arange(DEPTH), np.arange(SIZE), np.arange(SIZE), indexing="ij")
        z, c = (d - (DEPTH - 1) / 2) / 2, (SIZE - 1) / 2
        a, b, e = semi_axes
        solid = 1 - ((x - c) / a) ** 2 - ((y - c) / b) ** 2 - (z / e) ** 2
        solid = 12 * np.minimum(solid, (z + 4) / 8)
        if stray:
            solid[4:8, 2:5, 2:5] = 3
        self.logits = torch.from_numpy(solid.astype(np.float32))[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the second window, if there is one, is the mirrored first
        return torch.cat([self.logits, self.logits.flip(3)])[: len(x)]


@pytest.fixture(scope="module")
def blob() -> Network:
    return Network(Blob().eval(), SIZE)


@pytest.fixture(scope="module")
def face(blob) -> vrnlib.Face:
    return vrnlib.reconstruct(astronaut(), network=blob)


@pytest.fixture
def tiny(tmp_path):
    """A checkpoint of random weights, smoke size."""
    torch.manual_seed(0)
    return networks.save(
        networks.VRN(16, 1, 2, 2, 34, "low"), tmp_path / "tiny.safetensors", {"profile": "smoke"}
    )


def test_mesh_is_closed_outwards_one_body_and_where_the_face_is(face):
    assert face.mesh.is_watertight and face.mesh.volume > 0
    assert face.mesh.body_count == 1 and face.removed_bodies == 1 and face.faces_found == 1
    centre = (face.landmarks.min(0) + face.landmarks.max(0)) / 2
    middle = face.mesh.bounds.mean(0)
    assert np.abs(middle[:2] - centre).max() < 1.5 / face.crop.scale
    # the semi-axes of the solid, in pixels of the photograph
    extent = face.mesh.extents * face.crop.scale
    assert extent[0] == pytest.approx(24, abs=1) and extent[1] == pytest.approx(30, abs=1)
    assert extent[2] == pytest.approx(10 + 4, abs=0.6)  # from the cut to the front
    assert face.volume.shape == (DEPTH, SIZE, SIZE) and face.volume.dtype == np.float16
    assert face.landmarks.shape == (68, 2) and face.crop.size == SIZE


def test_front_vertices_have_the_colour_of_the_pixel_under_them(face):
    """A smooth photograph, so that averaging to the size of a vertex changes nothing."""
    y, x = np.mgrid[:300, :300]
    photo = np.stack([50 + x / 2, 50 + y / 2, 200 - x / 2], -1).astype(np.uint8)
    result = vrnlib.reconstruct(photo, network=Network(Blob().eval(), SIZE), landmarks=_square(100, 90, 110))
    points, colours = result.mesh.vertices, result.mesh.visual.vertex_colors[:, :3].astype(float)
    frontal = result.mesh.vertex_normals[:, 2] > 0.8
    assert frontal.sum() > 200
    expected = np.stack([50 + points[:, 0] / 2, 50 + points[:, 1] / 2, 200 - points[:, 0] / 2], -1)
    assert np.abs(colours - expected)[frontal].max() < 4


def test_no_background_bleeds_onto_the_face(blob):
    """A red face on a blue wall, its landmarks a little smaller than the solid: rim, walls and back must be
    red.
    """
    photo = np.zeros((200, 200, 3), np.uint8)
    photo[:] = (0, 0, 255)
    landmarks = _square(100, 100, 80)
    crop = Crop.from_landmarks(landmarks, SIZE)
    y, x = np.mgrid[:200, :200]
    centre, radii = crop.invert(np.full((1, 2), (SIZE - 1) / 2))[0], np.array([12, 15]) / crop.scale
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
    photo[inside] = (255, 0, 0)
    result = vrnlib.reconstruct(photo, network=blob, landmarks=landmarks)
    colours = result.mesh.visual.vertex_colors[:, :3].astype(float)
    assert (colours[:, 0] > 200).mean() > 0.995 and (colours[:, 2] > 100).mean() < 0.002


def _square(cx: float, cy: float, side: float) -> np.ndarray:
    """(68, 2) points on the outline of a square."""
    t = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return np.clip(np.stack([np.cos(t), np.sin(t)], -1) * 2, -1, 1) * side / 2 + [cx, cy]


def test_known_landmarks_and_boxes_need_no_detector(blob, face):
    class Never:
        name = "never"

        def detect(self, image):
            raise AssertionError("searched")

        def landmarks(self, image, box):
            return face.landmarks

    by_landmarks = vrnlib.reconstruct(astronaut(), network=blob, landmarks=face.landmarks, detector=Never())
    by_box = vrnlib.reconstruct(astronaut(), network=blob, box=(178, 83, 272, 176), detector=Never())
    np.testing.assert_array_equal(by_landmarks.mesh.vertices, by_box.mesh.vertices)
    # what a detector finds is cropped at its reference scale, what a user gives is taken as it is
    Never.reference = face.detection.reference
    by_box = vrnlib.reconstruct(astronaut(), network=blob, box=(178, 83, 272, 176), detector=Never())
    np.testing.assert_array_equal(by_box.mesh.vertices, face.mesh.vertices)


@pytest.mark.parametrize("extension", ["glb", "obj", "ply"])
def test_exports_are_upright_closed_and_coloured(tmp_path, face, extension):
    path = face.export(tmp_path / f"face.{extension}")
    mesh = trimesh.load(path, force="mesh", process=False)
    height = astronaut().shape[0]
    assert mesh.volume > 0
    # y up: the top of the head, smallest y in the photograph, is the largest in the file
    np.testing.assert_allclose(mesh.bounds[:, 1], height - 1 - face.mesh.bounds[::-1, 1], atol=1e-2)
    np.testing.assert_allclose(mesh.bounds[:, [0, 2]], face.mesh.bounds[:, [0, 2]], atol=1e-2)
    assert mesh.visual.kind == ("texture" if extension == "glb" else "vertex")


def test_textured_surface_shows_what_the_vertex_colours_show(face):
    surface = face.surface(textured=True)
    h, w = surface.picture.shape[:2]
    texel = surface.uv * [w, h] - 0.5
    seen = texture.sample(surface.picture, texel.astype(np.float32)).astype(float)
    frontal = surface.normals[:, 2] > 0.9
    assert np.abs(seen - surface.colours)[frontal].mean() < 12
    closed = trimesh.Trimesh(surface.vertices, surface.faces, process=True, merge_tex=True, merge_norm=True)
    assert closed.is_watertight  # the vertices that occur twice lie on one another
    assert ((surface.uv >= 0) & (surface.uv <= 1)).all()
    sides = (surface.uv[:, 0] > 0.5)[surface.faces]
    assert (sides.all(1) | ~sides.any(1)).all()  # no triangle spans both pictures
    assert 0.2 < sides.all(1).mean() < 0.8


def test_all_faces_come_from_left_to_right(blob):
    two = np.concatenate([astronaut()[:300, 80:380]] * 2, 1)
    faces = vrnlib.reconstruct(two, network=blob, face="all")
    assert [f.faces_found for f in faces] == [2, 2]
    assert faces[0].landmarks[:, 0].max() < 300 < faces[1].landmarks[:, 0].min()
    second = vrnlib.reconstruct(two, network=blob, face=2)
    np.testing.assert_array_equal(second.landmarks, faces[1].landmarks)


def test_checkpoint_by_path_and_by_environment(tiny, monkeypatch):
    net = load_network(tiny)
    assert net.size == 32 and net.meta["profile"] == "smoke"
    assert load_network(tiny) is net  # kept
    monkeypatch.setenv("VRN_WEIGHTS", str(tiny))
    assert load_network() is net
    window = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    volume = net.predict(window)
    assert volume.shape == (34, 32, 32) and volume.dtype == np.float32
    with torch.inference_mode():
        x = torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255
        expected = networks.load(tiny)[0].probabilities(x)[0].numpy()
    np.testing.assert_allclose(volume, expected, atol=2e-2 if predict.bfloat16_is_fast("cpu") else 1e-5)


@pytest.fixture
def guided() -> Network:
    torch.manual_seed(3)
    model = networks.Guided(16, 1, 1, 2, 34, "low")
    torch.nn.init.normal_(model.volume.head[-1].weight, std=5)  # an answer that depends on its input
    return Network(for_inference(model), 32)


def test_averaging_over_the_mirror_image_has_no_favourite_side(guided, monkeypatch):
    monkeypatch.setattr(predict, "bfloat16_is_fast", lambda device: False)  # to see small differences
    rng = np.random.default_rng(1)
    window = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    points = rng.uniform(6, 26, (68, 2))
    mirrored = points[MIRROR_68] * [-1, 1] + [31, 0]
    tolerance = 1e-5
    for there, back in (((), ()), ((points,), (mirrored,))):
        once = guided.predict(window, *there)
        volume = guided.predict(window, *there, mirror=True)
        other = guided.predict(np.ascontiguousarray(window[:, ::-1]), *back, mirror=True)
        np.testing.assert_allclose(other, volume[:, :, ::-1], atol=tolerance)
        assert np.abs(volume - once).max() > 5 * tolerance
        assert np.abs(guided.predict(window) - guided.predict(window, points)).max() > 5 * tolerance


def test_confidence_is_the_height_of_the_networks_own_peaks(guided, tiny, monkeypatch):
    monkeypatch.setattr(predict, "bfloat16_is_fast", lambda device: False)
    window = np.random.default_rng(2).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        image = torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255
        peaks = guided.model.heads(image).heatmaps.sigmoid().amax((2, 3))[0].numpy()
    np.testing.assert_allclose(guided.answer(window).confidence, peaks, atol=1e-5)
    points = np.full((68, 2), 9.0)  # the network's own, whatever guides the volume
    np.testing.assert_allclose(guided.answer(window, points).confidence, peaks, atol=1e-5)
    both = guided.answer(window, mirror=True).confidence
    other = guided.answer(np.ascontiguousarray(window[:, ::-1]), mirror=True).confidence
    np.testing.assert_allclose(other, both[MIRROR_68], atol=1e-5)
    assert np.abs(both - peaks).max() > 1e-4
    assert load_network(tiny).answer(window).confidence is None


def test_the_detectors_landmarks_guide_a_guided_network(guided, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Network,
        "answer",
        lambda self, window, points=None, mirror=False: (
            seen.append((points, mirror)) or predict.Answer(BALL, None)
        ),
    )
    own, given = (
        vrnlib.reconstruct(astronaut(), network=guided, guidance=g) for g in ("network", "detector")
    )
    plain = vrnlib.reconstruct(astronaut(), network=guided, mirror=False)
    assert [points is None for points, _ in seen] == [True, False, True]
    assert [mirror for _, mirror in seen] == [True, True, False]
    np.testing.assert_allclose(seen[1][0], given.crop.apply(given.landmarks), atol=1e-4)
    np.testing.assert_array_equal(own.landmarks, plain.landmarks)


def test_guidance_of_others_and_unknown(guided, tiny):
    window, points = np.zeros((32, 32, 3), np.uint8), np.zeros((68, 2))
    other = load_network(tiny)  # takes no landmarks
    np.testing.assert_array_equal(other.predict(window, points), other.predict(window))
    with pytest.raises(VrnError, match="did you mean 'detector'"):
        vrnlib.reconstruct(astronaut(), network=guided, guidance="detectr")


@pytest.mark.skipif(not predict.CHECKPOINT.is_file(), reason="needs the trained network in results/")
def test_the_mesh_of_the_trained_network_is_that_of_its_plain_forward(face):
    """Rewriting the network for speed (`vrnlib.winograd`) moves no surface."""
    net = load_network(predict.CHECKPOINT)
    window = face.detection.crop(net.size).image(astronaut())
    with torch.inference_mode():
        x = torch.from_numpy(window).permute(2, 0, 1)[None].contiguous().float() / 255
        plain = networks.load(predict.CHECKPOINT)[0].to(memory_format=torch.contiguous_format)
        expected = voxel.isosurface(plain.probabilities(x)[0].numpy())[0]
    got = voxel.isosurface(net.predict(window))[0]
    distance = np.concatenate(
        [cKDTree(a).query(b)[0] for a, b in ((got, expected), (expected, got))]  # network pixels
    )
    assert len(got) > 5000
    assert distance.mean() < (0.2 if predict.bfloat16_is_fast("cpu") else 0.02)


def test_a_checkpoint_written_anew_is_read_anew(tiny):
    first = load_network(tiny)
    networks.save(networks.VRN(16, 1, 1, 2, 34, "low"), tiny, {})
    os.utime(tiny, (1, 1))
    assert load_network(tiny) is not first


def test_no_checkpoint_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("VRN_WEIGHTS", raising=False)
    monkeypatch.setattr(predict, "CHECKPOINT", tmp_path / "absent.safetensors")
    with pytest.raises(VrnError, match=r"absent\.safetensors'.*--network.*VRN_WEIGHTS"):
        load_network()
    monkeypatch.setenv("VRN_WEIGHTS", str(tmp_path / "gone.safetensors"))
    with pytest.raises(VrnError, match=r"VRN_WEIGHTS names '.*gone\.safetensors'"):
        load_network()


def test_wrong_and_damaged_checkpoints_are_refused(tmp_path, tiny):
    with pytest.raises(VrnError, match=r"missing\.safetensors"):
        load_network(tmp_path / "missing.safetensors")
    with pytest.raises(VrnError, match="folder"):
        load_network(tmp_path)
    text = tmp_path / "text.safetensors"
    text.write_text("not a network")
    with pytest.raises(VrnError, match=r"text\.safetensors"):
        load_network(text)
    data = tiny.read_bytes()
    for name, damaged in {
        "cut": data[: len(data) // 2],
        "flipped": data[:-100] + bytes(b ^ 255 for b in data[-100:]),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(VrnError, match=rf"{name}\.safetensors"):
            load_network(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"level": 0}, "between 0 and 1"),
        ({"level": 1.5}, "between 0 and 1"),
        ({"face": "biggest"}, "largest, all"),
        ({"landmarks": np.zeros((5, 2))}, "68"),
        ({"landmarks": np.full((68, 2), np.nan)}, "68"),
        ({"landmarks": np.zeros((68, 2))}, "no area"),
        ({"face": 2}, "only one face was found"),
        ({"detector": "dlibb"}, "did you mean 'dlib'"),
        ({"box": (5, 5, 5, 5)}, "box"),
    ],
)
def test_wrong_arguments(blob, arguments, says):
    with pytest.raises(VrnError, match=says):
        vrnlib.reconstruct(astronaut(), network=blob, **arguments)


def test_a_network_that_sees_nothing_says_so(face):
    nothing = Blob(stray=False)
    nothing.logits -= 100
    with pytest.raises(VrnError, match="sees no face"):
        vrnlib.reconstruct(astronaut(), network=Network(nothing.eval(), SIZE), landmarks=face.landmarks)


def test_page_is_self_contained(tmp_path, face):
    path = viewer.write(tmp_path / "face.html", face, ["a <b> & c.jpg"])
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page), "something is loaded from outside"
    assert not re.search(r"https?://|//cdn", page.split("<script>")[0])
    assert "a &lt;b&gt; &amp; c.jpg" in page and "<b>" not in page
    assert "$TITLE" not in page and "$SECTIONS" not in page and "${" not in page.split("<script>")[0]
    assert page.count("<circle") == 68 and 'alt="' in page and "<title>" in page
    assert len(page) - 60 * len(face.mesh.vertices) < 1_500_000


def test_page_of_several_faces_has_a_heading_each(face):
    page = viewer.html([face, face], ["one.jpg", "two.jpg"])
    assert "<h2>one.jpg</h2>" in page and "<h2>two.jpg</h2>" in page and page.count("<canvas") == 2
    for wrong in ([], [face]):
        with pytest.raises(VrnError, match="title"):
            viewer.html(wrong, ["one.jpg", "two.jpg"])


def test_still_views_turn_the_head(face):
    front, side = viewer.still(face, 0, 120), viewer.still(face, 90, 120)
    paper = np.array((238, 241, 244))
    widths = [
        np.ptp(np.flatnonzero((np.abs(p.astype(int) - paper).max(-1) > 8).any(0))) for p in (front, side)
    ]
    depth_to_width = face.mesh.extents[2] / face.mesh.extents[0]
    assert widths[1] / widths[0] == pytest.approx(depth_to_width, abs=0.06)
    clay = viewer.still(face, 0, 120, clay=True)
    assert np.ptp(clay[60, 60].astype(int)) < 40 < np.abs(clay.astype(int) - front).max()


def test_a_landmark_network_is_not_taken_for_a_volume_network(tmp_path):
    from vrnlib.networks import architecture_of, build, save
    from vrnlib.params import profile

    path = save(build(architecture_of(profile("smoke"), "landmarks")), tmp_path / "fan.safetensors", {})
    with pytest.raises(VrnError, match="finds landmarks"):
        vrnlib.reconstruct(astronaut(), network=path)
