"""Files other programs can read, upright, and never half of one."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from vrnlib import meshio
from vrnlib.errors import VrnError
from vrnlib.meshio import Surface


@pytest.fixture
def surface() -> Surface:
    """An egg, point up, coloured by height."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = (ball.vertices * [1, 2, 1] + [10, 20, 0]).astype(np.float32)
    t = np.clip((vertices[:, 1] - 18) / 4, 0, 1)
    colours = np.stack([255 * t, 0 * t + 100, 255 * (1 - t)], -1).astype(np.uint8)
    mesh = trimesh.Trimesh(vertices, ball.faces, process=False)
    return Surface(vertices, ball.faces.astype(np.int32), colours, mesh.vertex_normals.astype(np.float32))


def textured(surface: Surface) -> Surface:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :64], picture[:, 64:] = (200, 50, 50), (50, 50, 200)
    uv = np.stack([(surface.vertices[:, 0] - 9) / 2, (22 - surface.vertices[:, 1]) / 4], -1)
    return Surface(
        surface.vertices, surface.faces, surface.colours, surface.normals, uv.astype(np.float32), picture
    )


@pytest.mark.parametrize("extension", [".glb", ".obj", ".ply", ".GLB"])
def test_written_meshes_are_read_back(tmp_path, surface, extension):
    path = meshio.write(tmp_path / f"egg{extension}", surface)
    mesh = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices, surface.vertices, atol=1e-3)
    np.testing.assert_array_equal(mesh.faces, surface.faces)
    assert mesh.is_watertight and mesh.volume > 0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing temporary left
    if extension.lower() != ".glb":
        assert np.abs(mesh.visual.vertex_colors[:, :3].astype(int) - surface.colours).max() <= 1


def test_glb_colours_are_linear_as_gltf_demands(surface):
    import io

    scene = trimesh.load(io.BytesIO(meshio.glb_bytes(surface)), file_type="glb", process=False)
    (mesh,) = scene.geometry.values()
    colour = mesh.visual.vertex_attributes["color"][:, :3].astype(float)
    colour /= 65535 if colour.max() > 255 else 255 if colour.max() > 1 else 1
    srgb = surface.colours / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    assert np.abs(colour - linear).max() < 1 / 128


def test_glb_carries_the_texture_the_right_way_up(tmp_path, surface):
    surface = textured(surface)
    mesh = trimesh.load(meshio.write(tmp_path / "egg.glb", surface), force="mesh", process=False)
    # trimesh counts v upwards
    np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], surface.uv, atol=1e-6)
    material = mesh.visual.material
    assert material.baseColorTexture.size == (128, 64)
    assert np.abs(np.asarray(material.baseColorTexture)[10, 10, :3].astype(int) - (200, 50, 50)).max() < 8


def test_glb_is_aligned_as_the_format_demands(surface):
    data = meshio.glb_bytes(textured(surface))
    assert data[:4] == b"glTF" and int.from_bytes(data[8:12], "little") == len(data) and len(data) % 4 == 0
    length = int.from_bytes(data[12:16], "little")
    assert length % 4 == 0 and data[16:20] == b"JSON"


def test_obj_is_in_the_authors_form(surface):
    lines = meshio.obj_bytes(surface).decode().splitlines()
    v = [line.split() for line in lines if line.startswith("v ")]
    f = [line.split() for line in lines if line.startswith("f ")]
    assert len(v) == len(surface.vertices) and all(len(row) == 7 for row in v)
    assert (
        min(float(x) for row in v for x in row[4:]) >= 0 and max(float(x) for row in v for x in row[4:]) <= 1
    )
    assert min(int(i) for row in f for i in row[1:]) == 1


def test_jpeg_keeps_red_red():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 220
    back = cv2.imdecode(np.frombuffer(meshio.jpeg_bytes(picture), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert back[8, 8, 0] > 200 and back[8, 8, 2] < 20


@pytest.mark.parametrize("name", ["face.stl", "face", "face.glb.zip"])
def test_unknown_extension_lists_the_three(tmp_path, surface, name):
    with pytest.raises(VrnError, match=r"\.glb, \.obj or \.ply"):
        meshio.write(tmp_path / name, surface)
    assert [p.name for p in tmp_path.iterdir()] == []


def test_missing_folder(tmp_path, surface):
    with pytest.raises(VrnError, match=r"does not exist; create it first \(mkdir -p"):
        meshio.write(tmp_path / "no" / "face.glb", surface)


def test_folder_that_cannot_be_written(tmp_path, surface, monkeypatch):
    """By mode for users, by a refusing system call for root, who may write everywhere."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        monkeypatch.setattr("tempfile.mkstemp", _refuse)
    with pytest.raises(VrnError, match=r"face\.glb'.*not writable.*choose another"):
        meshio.write(folder / "face.glb", surface)


def _refuse(*args: object, **kwargs: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_full_disk_leaves_the_former_file(tmp_path, surface, monkeypatch):
    path = tmp_path / "face.glb"
    path.write_bytes(b"former")

    class Full:
        def __init__(self, handle: int, mode: str) -> None:
            os.close(handle)

        def __enter__(self):
            return self

        def __exit__(self, *args: object) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("vrnlib.meshio.os.fdopen", Full)
    with pytest.raises(VrnError, match="no space left"):
        meshio.write(path, surface)
    assert path.read_bytes() == b"former" and [p.name for p in tmp_path.iterdir()] == ["face.glb"]


def test_a_folder_is_no_file(tmp_path, surface):
    (tmp_path / "face.glb").mkdir()
    with pytest.raises(VrnError, match="is a folder"):
        meshio.write(tmp_path / "face.glb", surface)


def test_permissions_are_the_usual_ones(tmp_path, surface):
    Path(tmp_path / "other").touch()
    path = meshio.write(tmp_path / "face.ply", surface)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
