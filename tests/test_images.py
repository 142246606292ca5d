"""Any photograph a user may bring, and everything that is none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vrnlib import images
from vrnlib.errors import VrnError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(40, 60, 3) uint8, no two corners alike."""
    y, x = np.mgrid[:40, :60]
    return np.stack([4 * x, 6 * y, 255 - 4 * x], -1).astype(np.uint8)


def saved(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_rgb_from_file_array_and_pil_are_the_same(tmp_path, picture):
    path = saved(tmp_path, "a.png", Image.fromarray(picture))
    for source in (path, str(path), picture, Image.fromarray(picture)):
        loaded = images.load(source)
        assert loaded.dtype == np.uint8 and loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, picture)


def test_greyscale_has_three_equal_channels(tmp_path, picture):
    path = saved(tmp_path, "grey.png", Image.fromarray(picture[..., 0]))
    np.testing.assert_array_equal(images.load(path), np.repeat(picture[..., :1], 3, 2))


def test_transparency_is_laid_on_white(tmp_path, picture):
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:, 30:] = 255
    alpha[:, :10] = 128
    loaded = images.load(saved(tmp_path, "a.png", Image.fromarray(np.concatenate([picture, alpha], 2))))
    assert (loaded[:, 10:30] == 255).all()
    np.testing.assert_array_equal(loaded[:, 30:], picture[:, 30:])
    half = 255 + (picture[:, :10].astype(int) - 255) * 128 / 255
    assert np.abs(loaded[:, :10] - half).max() <= 1


def test_palette_with_and_without_transparency(tmp_path, picture):
    palette = Image.fromarray(picture).quantize(64)
    plain = images.load(saved(tmp_path, "a.gif", palette))
    np.testing.assert_array_equal(plain, np.asarray(palette.convert("RGB")))
    index = palette.getpixel((5, 5))
    loaded = images.load(saved(tmp_path, "b.png", palette, transparency=index))
    assert (loaded[np.asarray(palette) == index] == 255).all()


@pytest.mark.parametrize("top", [65535, 4095])
def test_16_bit_greyscale_png_keeps_its_brightness(tmp_path, top):
    deep = np.linspace(0, top, 40 * 60).reshape(40, 60).astype(np.uint16)
    loaded = images.load(saved(tmp_path, "deep.png", Image.fromarray(deep)))
    assert loaded.max() == 255 and loaded.min() == 0
    assert np.abs(loaded[..., 0] - deep * (255 / top)).max() <= 1


@pytest.mark.parametrize("name", ["deep.tif", "deep.png"])
def test_16_bit_colour(tmp_path, picture, name):
    import cv2

    path = tmp_path / name
    assert cv2.imwrite(str(path), picture[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(images.load(path), picture)


def test_exif_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    path = saved(tmp_path, "a.png", Image.fromarray(picture), exif=exif)
    np.testing.assert_array_equal(images.load(path), np.rot90(picture, -1))


def test_cmyk_jpeg(tmp_path, picture):
    loaded = images.load(saved(tmp_path, "a.jpg", Image.fromarray(picture).convert("CMYK"), quality=95))
    assert loaded.shape == picture.shape
    assert np.abs(loaded.astype(int) - picture).mean() < 12


@pytest.mark.parametrize(
    "array",
    [
        np.full((40, 40), 0.5),
        np.full((40, 40, 1), 0.5, np.float32),
        np.full((40, 40, 3), 128 * 257, np.uint16),
        np.dstack([np.full((40, 40, 3), 128, np.uint8), np.full((40, 40), 255, np.uint8)]),
    ],
)
def test_arrays_of_many_kinds(array):
    loaded = images.load(array)
    assert loaded.shape == (40, 40, 3) and np.abs(loaded.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((40, 40, 2), np.uint8), "is not a photograph"),
        (np.zeros((2, 40, 40, 3), np.uint8), "is not a photograph"),
        (np.full((40, 40, 3), 200.0), "0..1"),
        (np.full((40, 40, 3), np.nan), "0..1"),
        (np.zeros((40, 40, 3), np.int64), "uint8"),
        (np.zeros((20, 20, 3), np.uint8), "too small"),
    ],
)
def test_arrays_that_are_no_photographs(array, says):
    with pytest.raises(VrnError, match=says):
        images.load(array)


def refuses(path: Path, *says: str) -> None:
    with pytest.raises(VrnError) as caught:
        images.load(path)
    message = str(caught.value)
    assert str(path) in message
    for word in says:
        assert word in message


def test_bad_files_name_the_file_and_the_remedy(tmp_path, picture):
    text = tmp_path / "notes.jpg"
    text.write_text("this is a letter, not a photograph")
    refuses(text, "not an image", "JPEG")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    refuses(empty, "empty", "again")
    refuses(tmp_path / "missing.jpg", "no such file", "path")
    refuses(tmp_path, "folder")
    refuses(saved(tmp_path, "tiny.png", Image.fromarray(picture[:20, :20])), "20x20", "larger")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
def test_truncated_files(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    path = saved(tmp_path, name, Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refuses(path)


def test_folders_expand_sorted_by_extension(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "inner.jpg").mkdir()
    (tmp_path / "inner.jpg" / "c.jpg").touch()
    expanded = images.expand([tmp_path, tmp_path / "a.png", tmp_path / "missing.jpg"])
    assert [p.name for p in expanded] == ["a.png", "b.JPG", "missing.jpg"]


def test_a_folder_without_photographs_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(VrnError, match="no photographs in the folder"):
        images.expand([tmp_path])
