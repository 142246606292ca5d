"""Bodies of a volume: labels against SciPy's, what is kept, and the options of reconstruction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.data import astronaut
from typer.testing import CliRunner

import vrnlib
from vrnlib import labelling
from vrnlib.cli import app
from vrnlib.errors import VrnError
from vrnlib.labelling_voxels import Policy, body_sizes, keep_bodies, label_voxels, parse_policy
from vrnlib.predict import Network
from vrnlib.voxel import isosurface

STRUCTURE = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3))}


@st.composite
def volumes(draw):
    shape = draw(st.tuples(*[st.integers(1, 8)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    filled = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
    # both memory orders occur: depth contiguous, as networks give it, and not
    return filled if draw(st.booleans()) else np.asfortranarray(filled)


@pytest.mark.parametrize("connectivity", [6, 26])
@settings(max_examples=150, deadline=None)
@given(filled=volumes())
def test_labels_are_scipys_up_to_their_numbers(filled, connectivity):
    mine, sizes = label_voxels(filled, connectivity)
    theirs, count = ndimage.label(filled, STRUCTURE[connectivity])
    assert len(sizes) == count and mine.shape == filled.shape and mine.dtype == np.int32
    pairs = np.unique(np.stack([mine.ravel(), theirs.ravel()]), axis=1).T
    assert len(pairs) == len(set(pairs[:, 0])) == len(set(pairs[:, 1]))  # one to one, 0 to 0
    np.testing.assert_array_equal(mine == 0, ~filled)
    np.testing.assert_array_equal(np.bincount(mine.ravel(), minlength=count + 1)[1:], sizes)
    np.testing.assert_array_equal(body_sizes(filled, connectivity), np.sort(sizes)[::-1])


def test_neighbours_by_side_and_by_corner():
    filled = np.zeros((2, 2, 2), bool)
    filled[0, 0, 0] = filled[1, 1, 1] = True  # a corner in common
    assert len(body_sizes(filled, 6)) == 2 and len(body_sizes(filled, 26)) == 1
    filled[:] = False
    filled[0, 0, 1] = filled[0, 1, 0] = True  # an edge in common, to the lower left
    assert len(body_sizes(filled, 6)) == 2 and len(body_sizes(filled, 26)) == 1
    with pytest.raises(VrnError, match="6 or 26"):
        body_sizes(filled, 18)
    with pytest.raises(VrnError, match="three axes"):
        label_voxels(filled[0])
    labels, sizes = label_voxels(np.zeros((0, 3, 3), bool))
    assert labels.shape == (0, 3, 3) and len(sizes) == 0


def scene() -> np.ndarray:
    """A face (18 x 18 x 20), a wall that is larger, and a speck; smooth values from 0 to 1."""
    volume = np.zeros((40, 48, 48), np.float32)
    volume[10:28, 6:24, 6:26] = 1
    volume[2:8, :, 40:] = 1
    volume[2:38, 30:, 30:] = 1
    volume[30:32, 2:4, 2:4] = 1
    return ndimage.uniform_filter(volume, 2) * 0.9


LANDMARKS = np.stack(np.meshgrid([10, 15, 20], [10, 15, 20]), -1).reshape(-1, 2).astype(float)


def filled_of(volume, where):
    return volume[where] > 0.5


FACE, WALL, SPECK = (19, 15, 15), (20, 40, 40), (31, 3, 3)


@pytest.mark.parametrize(
    ("bodies", "stays"),
    [
        ("largest", (False, True, False)),
        ("all", (True, True, True)),
        ("landmarks", (True, False, False)),
        ("min-share", (True, True, False)),
        ("min-share=0.9", (False, True, False)),
        ("min-share=0", (True, True, True)),
    ],
)
def test_policies(bodies, stays):
    volume = scene()
    before = volume.copy()
    kept, removed = keep_bodies(volume, 0.5, bodies, LANDMARKS)
    assert tuple(bool(filled_of(kept, w)) for w in (FACE, WALL, SPECK)) == stays
    assert removed == 3 - sum(stays)
    np.testing.assert_array_equal(volume, before)
    assert kept is volume if not removed else kept.shape == volume.shape and kept.dtype == volume.dtype


def test_the_surface_of_what_stays_does_not_change():
    """With 26 neighbours the kept isosurface is, vertex for vertex, a body of the whole one."""
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.random((24, 24, 24)).astype(np.float32), 1.2)
    level = float(np.quantile(volume, 0.9))
    sizes = body_sizes(volume > level)
    assert len(sizes) > 5 and sizes[0] > sizes[1]
    kept, removed = keep_bodies(volume, level)
    assert removed == len(sizes) - 1
    ours, our_faces = isosurface(kept, level)
    all_vertices, all_faces = isosurface(volume, level)
    far, partner = cKDTree(all_vertices).query(ours)
    assert far.max() < 1e-5
    # whole bodies of the mesh, and of each body all of its triangles
    label = labelling.labels(len(all_vertices), all_faces)
    kept_bodies = set(label[partner])
    assert len(our_faces) == np.isin(label[all_faces[:, 0]], list(kept_bodies)).sum()
    assert set(label) > kept_bodies


def test_a_cavity_is_a_body_on_the_mesh_and_none_among_voxels():
    ball = np.zeros((20, 20, 20), np.float32)
    ball[3:17, 3:17, 3:17] = 1
    ball[8:12, 8:12, 8:12] = 0
    assert len(body_sizes(ball > 0.5)) == 1
    assert labelling.largest_body(*isosurface(ball))[2] == 1


def test_landmarks_look_at_what_is_in_front():
    """Two bodies in the same columns: the nearer one is seen, though it is smaller."""
    volume = np.zeros((20, 10, 10), np.float32)
    volume[1:9], volume[14:17, 3:7, 3:7] = 1, 1
    kept, removed = keep_bodies(volume, 0.5, "landmarks", [[4, 4], [5, 5], [6.2, 5.9], [0, 0], [99, -5]])
    assert removed == 1 and kept[15, 5, 5] == 1 and kept[5].max() == 0


def test_bad_choices_name_what_is_wrong():
    volume = scene()
    for text, message in {
        "larges": "did you mean 'largest'",
        "min-share=x": "between 0 and 1",
        "min-share=1.5": "between 0 and 1",
        "all=2": "only min-share takes a number",
        "": "unknown choice",
    }.items():
        with pytest.raises(VrnError, match=message):
            parse_policy(text)
    assert parse_policy("min-share=0.25") == Policy("min-share", 0.25)
    with pytest.raises(VrnError, match="landmarks are needed"):
        keep_bodies(volume, 0.5, "landmarks")
    with pytest.raises(VrnError, match="no body lies"):
        keep_bodies(volume, 0.5, "landmarks", [[2.0, 46.0], [200.0, 3.0]])
    with pytest.raises(VrnError, match="finite points"):
        keep_bodies(volume, 0.5, "landmarks", [[np.nan, 1.0]])


@pytest.mark.parametrize("bodies", ["largest", "all", "landmarks", "min-share"])
def test_an_empty_volume_stays_empty(bodies):
    kept, removed = keep_bodies(np.zeros((4, 5, 6), np.float32), 0.5, bodies, LANDMARKS)
    assert removed == 0 and not kept.any()


class Wall(torch.nn.Module):
    """Answers every window with the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        probability = torch.from_numpy(scene()).clamp(0.001, 0.999)
        self.logits = torch.logit(probability)[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # the second window, if there is one, is the mirrored first
        return torch.cat([self.logits, self.logits.flip(3)])[: len(x)]


@pytest.mark.parametrize(
    ("bodies", "removed", "left"),
    [("largest", 2, 1), ("all", 0, 3), ("landmarks", 2, 1), ("min-share", 1, 2)],
)
def test_reconstruct_keeps_what_it_is_told(bodies, removed, left):
    network = Network(Wall().eval(), 48)
    # landmarks such that the crop shows them about where the scene has its face
    found = vrnlib.reconstruct(astronaut(), network=network, landmarks=_landmarks())
    points = found.crop.invert(np.resize(LANDMARKS, (68, 2)).astype(np.float32))
    face = vrnlib.reconstruct(astronaut(), network=network, landmarks=_landmarks(), bodies=bodies, smooth=0)
    assert face.removed_bodies == removed and face.mesh.body_count == left
    inside = face.crop.apply(np.asarray(face.mesh.vertices))
    # the default is what it was: the largest body, and here that is the wall
    assert (inside[:, 0].min() < 12) == (bodies != "largest")
    assert np.isfinite(points).all()
    assert face.mesh.is_watertight


def _landmarks() -> np.ndarray:
    """68 points of a small square whose crop holds them in the middle; the scene's face covers part of it."""
    t = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    square = np.clip(np.stack([np.cos(t), np.sin(t)], -1) * 2, -1, 1) * 50
    square[5:60] *= 0.2  # most of them well inside
    return (square + [180, 180]).astype(np.float32)


def test_command_line_refuses_before_anything_is_loaded(tmp_path):
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(astronaut()).save(photo)
    words = ["reconstruct", str(photo), "--out", str(tmp_path / "face.glb"), "--bodies", "bigest"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, VrnError) and "largest" in str(result.exception)
    assert not (tmp_path / "face.glb").exists()
