"""Every detector answers in the same form; reference scales come from the file; jitter; weights."""

from __future__ import annotations

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from vrnlib import detect, networks
from vrnlib.crop import Crop
from vrnlib.detect import calibration, fetch, files, free
from vrnlib.detect.calibrate import difference, is_face, summary
from vrnlib.detect.interface import Detection, Landmarks, Pair, Reference, Scored
from vrnlib.detect.scenes import Scene, chosen, scene
from vrnlib.errors import VrnError

MEDIAPIPE = all((files.cache_folder() / f.name).is_file() for f in files.PLACES)
NEEDS_MEDIAPIPE = pytest.mark.skipif(
    not MEDIAPIPE, reason="MediaPipe's files are not in the cache: python -m vrnlib.detect.fetch mediapipe"
)
FREE = ("free", "free-lbp", pytest.param("free-blazeface", marks=NEEDS_MEDIAPIPE))
OFFLINE = ("dlib", *FREE, pytest.param("mediapipe", marks=NEEDS_MEDIAPIPE), "truth")


def tiny(kind: str) -> networks.Network:
    """A landmark (or guided, ...) network with few, random weights."""
    import torch

    torch.manual_seed(0)
    return networks.build(networks.Architecture(8, 1, 1, 2, 8, "low", kind=kind)).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return networks.save(tiny("landmarks"), folder / "landmarks-laptop.safetensors", {"size": 32})


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(1001, harsh=False)


def made(name: str, checkpoint, drawn: Scene):
    if name == "truth":
        return detect.TruthDetector(drawn.landmarks)
    return detect.get(name, checkpoint if name.startswith("free") else None)


@pytest.mark.parametrize("name", OFFLINE)
def test_every_detector_answers_in_the_same_form(name, checkpoint, drawn):
    detector = made(name, checkpoint, drawn)
    assert detector.name == name
    found = detector.detect(drawn.image)
    good = [d for d in found if is_face(np.array(d.box).reshape(2, 2), drawn.landmarks)]
    assert good, "this face is easy"
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    for d in found:
        assert len(d.box) == 4 and d.box[0] < d.box[2] and d.box[1] < d.box[3]
        assert all(isinstance(v, float) for v in d.box) and isinstance(d.score, float)
        assert d.landmarks.shape == (68, 2) and d.landmarks.dtype == np.float32
        assert d.confidence.shape == (68,) and d.confidence.dtype == np.float32
        assert d.confidence.min() >= 0 and d.confidence.max() <= 1
        assert d.detector == name
    points, confidence = detector.landmarks(drawn.image, good[0].box)
    np.testing.assert_array_equal(points, good[0].landmarks)
    np.testing.assert_array_equal(confidence, good[0].confidence)
    (by_box,) = detect.detect(drawn.image, detector, boxes=[good[0].box])
    assert by_box.detector == name and by_box.reference == good[0].reference
    np.testing.assert_array_equal(by_box.landmarks, good[0].landmarks)


@pytest.mark.parametrize("name", ["dlib", pytest.param("mediapipe", marks=NEEDS_MEDIAPIPE)])
def test_an_easy_drawn_face_is_marked_where_it_is_and_cropped_as_the_truth_is(name, checkpoint, drawn):
    detector = made(name, checkpoint, drawn)
    found = max(detector.detect(drawn.image), key=lambda d: d.score)
    eyes = np.linalg.norm(drawn.eyes[0] - drawn.eyes[1])
    assert np.linalg.norm(found.landmarks - drawn.landmarks, axis=1).mean() < 0.12 * eyes
    true, own = Crop.from_landmarks(drawn.landmarks), found.crop()
    assert abs(np.log(own.scale / true.scale)) < 0.15
    assert np.linalg.norm(own.apply(true.invert(np.full((1, 2), 95.5))) - 95.5) < 0.2 * 90


@pytest.mark.parametrize("name", ["dlib", *FREE, pytest.param("mediapipe", marks=NEEDS_MEDIAPIPE)])
def test_nothing_is_found_where_there_is_nothing(name, checkpoint):
    flat = np.full((120, 160, 3), 127, np.uint8)
    assert detect.get(name, checkpoint if name.startswith("free") else None).detect(flat) == []


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), "photo.jpg"])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(VrnError, match=r"\(H, W, 3\) uint8"):
        detect.detect(image, "dlib")


# reference scales


def test_reference_corrects_a_box_that_is_off_in_a_known_way():
    truth = np.array([[40.0, 50.0], [140.0, 170.0]])
    wrong = np.array([[35.0, 42.0], [135.0, 162.0]]) * 1.25
    d = difference(wrong, truth)
    mended = Reference(float(np.exp(d[0])), tuple(d[1:])).apply(*wrong)
    np.testing.assert_allclose(mended, truth)
    measured = summary([d] * 5, 7)
    assert measured["scale"] == pytest.approx(0.8) and measured["found"] == 5 and measured["scenes"] == 7
    assert measured["shift"][0] == 0  # nothing prefers left to right
    assert summary([d] * 4, 7) is None


def test_crop_at_the_reference_scale():
    rng = np.random.default_rng(0)
    points = rng.uniform(50, 150, (68, 2)).astype(np.float32)
    plain = Detection((0, 0, 9, 9), 1.0, points)
    assert plain.crop(96) == Crop.from_landmarks(points, 96)
    larger = Detection((0, 0, 9, 9), 1.0, points, reference=Reference(1.1, (0.0, 0.2)))
    assert larger.crop(96).scale == pytest.approx(plain.crop(96).scale / 1.1)
    side = np.sqrt(np.prod(np.ptp(points, axis=0)))
    middle = plain.crop(96).invert(np.full((1, 2), 47.5))[0] + [0, 0.2 * side]
    np.testing.assert_allclose(larger.crop(96).apply(middle[None])[0], 47.5, atol=1e-3)
    with pytest.raises(VrnError, match="no area"):
        Detection((0, 0, 9, 9), 1.0, np.zeros((68, 2), np.float32), reference=Reference(1.1)).crop()
    with pytest.raises(VrnError, match="finite"):
        Detection((0, 0, 9, 9), 1.0, points * np.nan, reference=Reference(1.1)).crop()


def test_every_constant_of_the_committed_file_was_measured_and_is_used(checkpoint):
    content = json.loads(calibration.PATH.read_text())
    assert content["provenance"]["params"]["scenes"] >= 50
    for kind, names in (("boxes", {"hog", "lbp", "blazeface"}), ("landmarks", {"dlib", "facemesh"})):
        assert names <= set(content[kind])
        for entry in content[kind].values():
            assert entry["found"] >= 5 and 0.5 < entry["scale"] < 2 and entry["scale_sd"] < 0.3
    dlib, own = detect.get("dlib"), detect.get("free", checkpoint)
    assert dlib.reference == Reference(
        content["landmarks"]["dlib"]["scale"], tuple(content["landmarks"]["dlib"]["shift"])
    )
    assert own.box_reference.scale == content["boxes"]["hog"]["scale"]
    assert calibration.mesh_points().shape == (68,)


def test_damaged_and_missing_constants(tmp_path):
    assert calibration.reference("boxes", "hog", tmp_path / "none.json") == Reference()
    assert calibration.reference("boxes", "a finder of tomorrow") == Reference()
    for i, text in enumerate(
        ('{"boxes": {}}', '{"boxes": {"hog": {"scale": 9, "shift": [0, 0]}}, "landmarks": {}}')
    ):
        path = tmp_path / f"{i}.json"
        path.write_text(text)
        with pytest.raises(VrnError, match="damaged.*calibrate"):
            calibration.reference("boxes", "hog", path)


# our own landmark network


def test_the_network_looks_again_round_what_it_found(checkpoint, monkeypatch):
    """A network that answers relative to its window, right only where the face is well in the middle."""
    truth = np.stack(np.meshgrid(np.linspace(90, 150, 17), [100, 120, 135, 160]), -1).reshape(68, 2)
    finder = free.NetworkPoints(checkpoint, rounds=3)
    crops = []
    original = Crop.image

    def image(self, photo):
        crops.append(self)
        return original(self, photo)

    def look(window):
        seen = crops[-1].apply(truth.astype(np.float64))
        off = (seen.max(0) + seen.min(0)) / 2 - 15.5
        sure = np.exp(-np.abs(off).max() / 10)
        return (seen - 0.4 * off).astype(np.float32), np.full(68, sure, np.float32)

    monkeypatch.setattr(Crop, "image", image)
    monkeypatch.setattr(finder, "look", look)
    photo = np.zeros((240, 240, 3), np.uint8)
    box = (70.0, 80.0, 140.0, 150.0)  # off by a fifth of the face
    found = finder.points(photo, box, Reference())
    assert len(crops) == 3
    first = crops[0].invert(look_at(crops[0], truth))
    alone = free.NetworkPoints(checkpoint, rounds=1)
    alone.look = look
    assert np.abs(alone.points(photo, box, Reference()).points - first).max() < 1e-3
    assert np.abs(found.points - truth).mean() < 0.55 * np.abs(first - truth).mean()


def look_at(crop, truth):
    seen = crop.apply(truth.astype(np.float64))
    off = (seen.max(0) + seen.min(0)) / 2 - 15.5
    return seen - 0.4 * off


def test_landmark_half_of_every_kind(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    for kind in ("landmarks", "guided", "multitask"):
        model = tiny(kind)
        path = networks.save(model, tmp_path / f"{kind}-laptop.safetensors", {"size": 32})
        found = free.NetworkPoints(path, rounds=1).points(image, (5.0, 5.0, 35.0, 35.0), Reference())
        assert found.points.shape == (68, 2) and np.isfinite(found.points).all()
        if kind == "guided":  # the half alone answers the same
            half = networks.save(model.landmarks, tmp_path / "half.safetensors", {"size": 32})
            alone = free.NetworkPoints(half, rounds=1).points(image, (5.0, 5.0, 35.0, 35.0), Reference())
            np.testing.assert_array_equal(alone.points, found.points)
    assert free.find_checkpoint(tmp_path).name == "landmarks-laptop.safetensors"
    plain = networks.save(tiny("vrn"), tmp_path / "vrn.safetensors", {"size": 32})
    with pytest.raises(VrnError, match="plain VRN and knows no landmarks"):
        free.NetworkPoints(plain)


# weights


def test_weights_that_are_missing_or_of_no_use(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(
        VrnError, match=r"face_detection_short_range.tflite.*vrnlib.detect.fetch.*--detector free"
    ):
        detect.get("mediapipe", tmp_path)
    with pytest.raises(VrnError, match="not a folder"):
        files.find(files.BLAZEFACE, tmp_path / "nowhere", tmp_path)
    with pytest.raises(VrnError, match="knows landmarks.*vrn train landmarks"):
        detect.get("free", tmp_path)
    with pytest.raises(VrnError, match="does not exist"):
        detect.get("free", tmp_path / "no.safetensors")
    with pytest.raises(VrnError, match="takes no --weights"):
        detect.get("dlib", tmp_path)
    (tmp_path / files.BLAZEFACE.name).write_bytes(b"not a network")
    begins = hashlib.sha256(b"not a network").hexdigest()[:12]
    with pytest.raises(VrnError, match=f"damaged: their SHA-256 begins with {begins}, 3bc182eb9f33"):
        detect.get("mediapipe", tmp_path)


def test_fetching_without_npm_or_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(VrnError, match="npm is needed"):
        fetch.fetch_mediapipe(tmp_path)
    false = tmp_path / "npm"
    false.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(false))
    with pytest.raises(VrnError, match="could not fetch.*no route to host"):
        fetch.fetch_mediapipe(tmp_path)
    assert list(tmp_path.iterdir()) == [false]


@NEEDS_MEDIAPIPE
def test_files_at_hand_are_not_fetched_again(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert [p.name for p in fetch.fetch_mediapipe()] == [f.name for f in files.PLACES]


# several faces, one face, none


def test_only_refuses_a_group_as_the_review_does():
    faces = [Detection((x, 0.0, x + 50.0, 50.0), 1.0, np.zeros((68, 2), np.float32)) for x in (0.0, 80.0)]
    assert detect.choose(faces[:1], "only") == faces[:1]
    with pytest.raises(VrnError, match="2 faces were found in 'group.jpg'.*largest, all, or 1 to 2"):
        detect.choose(faces, "only", "'group.jpg'")


def test_a_pair_drops_what_its_landmark_finder_says_is_no_face():
    class Two:
        name = "two"

        def boxes(self, image):
            return [Scored((0.0, 0.0, 20.0, 20.0), 0.6), Scored((20.0, 20.0, 40.0, 40.0), 0.9)]

    class Doubter:
        name, least = "doubter", 0.5

        def points(self, image, box, reference):
            return Landmarks(np.zeros((68, 2)), np.full(68, 0.9 if box[0] == 0 else 0.1))

    pair = Pair("pair", Two(), Doubter())
    image = np.zeros((50, 50, 3), np.uint8)
    assert [b.score for b in pair.boxes(image)] == [0.9, 0.6]
    assert [d.score for d in pair.detect(image)] == [0.6]
    assert len(detect.detect(image, pair, boxes=[(20, 20, 40, 40)])) == 1  # the user knows better


# jitter, truth, scenes


def test_jitter(drawn):
    (truth,) = detect.TruthDetector(drawn.landmarks).detect(drawn.image)
    same = detect.jitter(truth, np.random.default_rng(1))
    assert same is truth
    low, high = (
        detect.jitter(truth, np.random.default_rng(1), noise=v).landmarks - truth.landmarks
        for v in (0.01, 0.02)
    )
    np.testing.assert_allclose(high, 2 * low, atol=1e-3)  # levels share their draws
    side = np.sqrt(np.prod(np.ptp(truth.landmarks, axis=0)))
    assert low.std() == pytest.approx(0.01 * side, rel=0.15)
    draws = [detect.jitter(truth, np.random.default_rng(i), scale=0.1, shift=0.05).crop() for i in range(300)]
    assert np.log([c.scale for c in draws]).std() == pytest.approx(0.1, rel=0.12)
    moves = [truth.crop().apply(c.invert(np.full((1, 2), 95.5)))[0] - 95.5 for c in draws]
    assert np.std(moves) == pytest.approx(0.05 * 90, rel=0.12)
    with pytest.raises(VrnError, match="not negative"):
        detect.jitter(truth, np.random.default_rng(1), noise=-1)


def test_truth_of_several_faces():
    faces = np.random.default_rng(0).uniform(0, 50, (2, 68, 2)).astype(np.float32) + [[[0, 0]], [[200, 0]]]
    detector = detect.TruthDetector(faces)
    assert len(detector.detect(np.zeros((300, 300, 3), np.uint8))) == 2
    np.testing.assert_array_equal(
        detector.landmarks(None, (190, 0, 260, 50)).points, faces[1].astype(np.float32)
    )
    with pytest.raises(VrnError, match=r"\(68, 2\)"):
        detect.TruthDetector(np.zeros((5, 2)))


def test_scenes_are_what_they_say(drawn):
    again = scene(1001, harsh=False)
    np.testing.assert_array_equal(again.image, drawn.image)
    assert drawn.image.shape == (288, 288, 3) and drawn.image.dtype == np.uint8
    side = np.sqrt(np.prod(np.ptp(drawn.landmarks, axis=0)))
    assert 92 <= side <= 124
    # eye corners of both kinds of truth agree
    np.testing.assert_allclose(drawn.eyes[:, :2], drawn.landmarks[[36, 45]], atol=1e-3)
    assert chosen(4, 7) == [7, 8, 9, 10]
    bands = chosen(6, 0, ((0, 30), (30, 60), (60, 90.01)))
    assert len(bands) == 6 == len(set(bands))
    with pytest.raises(VrnError, match="0 to 1999"):
        scene(2000)


@NEEDS_MEDIAPIPE
def test_blazeface_finds_a_small_face_in_its_quarter():
    photo = np.full((900, 900, 3), 90, np.uint8)
    photo[560:816, 600:856] = cv2.resize(astronaut()[:384, 32:416], (256, 256), interpolation=cv2.INTER_AREA)
    boxes = detect.get("mediapipe").boxes(photo)
    assert len(boxes) == 1 and 600 < boxes[0].box[0] < boxes[0].box[2] < 856


@pytest.mark.parametrize("name", detect.DETECTORS)
def test_every_output_names_the_detector_and_its_terms(name):
    from pathlib import Path
    from types import SimpleNamespace

    from vrnlib import cli, viewer

    mesh = SimpleNamespace(vertices=[0])
    face = SimpleNamespace(
        detection=SimpleNamespace(detector=name),
        faces_found=1,
        removed_bodies=0,
        mesh=mesh,
        timings={"total": 1.0},
    )
    assert f"1 face by {name}," in cli._line(Path("photo.jpg"), [face], "largest", [])
    assert name in viewer._by(face) and detect.LICENCES[name] in viewer._by(face)
    assert ("iBUG-trained" in detect.LICENCES[name]) == (name.startswith("free") or name == "mediapipe")
