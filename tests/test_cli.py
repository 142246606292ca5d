"""The command line, as a user meets it: what is written, what is said, which exit code."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from skimage.data import astronaut

from vrnlib import cli, networks


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Random weights, smoke size; a head that answers one half or more in the middle of the window, whatever
    the photograph.
    """
    torch.manual_seed(0)
    model = networks.VRN(16, 1, 2, 2, 34, "low")
    return networks.save(model, tmp_path_factory.mktemp("network") / "tiny.safetensors", {"profile": "smoke"})


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(astronaut()[:300, 80:380]).save(path)
    return path


@pytest.fixture
def vrn(capsys, network):
    """Run ``vrn reconstruct``; returns exit code, stdout, stderr."""

    def run(*arguments: object, net: Path | None = network) -> tuple[int, str, str]:
        words = ["reconstruct", *map(str, arguments), *(["--network", str(net)] if net else [])]
        try:
            cli.main(words)
            code = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def empty(folder: Path) -> bool:
    return not any(folder.iterdir())


@pytest.mark.parametrize("extension", ["glb", "obj", "ply"])
def test_one_photograph(vrn, photo, tmp_path, extension):
    target = tmp_path / f"face.{extension}"
    code, out, err = vrn(photo, "--out", target, "--html", tmp_path / "face.html")
    assert (code, err) == (0, "")
    assert "1 face" in out and str(target) in out
    assert len(trimesh.load(target, force="mesh").faces) > 100
    assert "astronaut.png" in (tmp_path / "face.html").read_text(encoding="utf-8")


def test_several_photographs_and_a_bad_one(vrn, photo, tmp_path):
    folder, out_folder = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out_folder.mkdir()
    (folder / "a.png").write_bytes(photo.read_bytes())
    (folder / "b.jpg").write_text("no photograph")
    (folder / "c.png").write_bytes(photo.read_bytes())
    (folder / "notes.txt").touch()
    code, out, err = vrn(folder, "--out", out_folder, "--format", "ply", "--html", tmp_path / "all.html")
    assert code == 1
    assert sorted(p.name for p in out_folder.iterdir()) == ["a.ply", "c.ply"]
    assert err.count("error:") == 1 and "b.jpg" in err
    assert "2 of 3 photographs done, 1 failed" in out
    assert (tmp_path / "all.html").read_text(encoding="utf-8").count("<canvas") == 2


def test_same_stem_does_not_overwrite(vrn, photo, tmp_path):
    other = tmp_path / "astronaut.webp"
    Image.open(photo).save(other)
    out = tmp_path / "out"
    out.mkdir()
    code, _, _ = vrn(photo, other, "--out", out)
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == ["astronaut.glb", "astronaut.webp.glb"]


def test_several_faces_are_counted_and_numbered(vrn, photo, tmp_path):
    one = np.asarray(Image.open(photo))
    pair = tmp_path / "pair.png"
    Image.fromarray(np.concatenate([one, one], 1)).save(pair)
    code, out, _ = vrn(pair, "--out", tmp_path / "largest.glb")
    assert code == 0 and "2 faces found, largest taken (choose with --face)" in out
    code, out, _ = vrn(pair, "--face", "all", "--out", tmp_path / "all.glb")
    assert code == 0 and (tmp_path / "all-1.glb").is_file() and (tmp_path / "all-2.glb").is_file()
    code, _, err = vrn(pair, "--face", "3", "--out", tmp_path / "third.glb")
    assert code == 2 and "only 2 faces were found" in err and not (tmp_path / "third.glb").exists()


def test_a_box_finds_what_the_detector_misses(vrn, photo, tmp_path):
    code, out, _ = vrn(photo, "--box", "98,83,192,176", "--out", tmp_path / "face.glb")
    assert code == 0 and "1 face" in out


def test_greyscale_rgba_16_bit_and_exif_work(vrn, photo, tmp_path):
    image = Image.open(photo).convert("RGB")
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    image.rotate(-90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    for name in ("grey.png", "rgba.png", "deep.png", "turned.jpg"):
        code, _, err = vrn(tmp_path / name, "--out", tmp_path / f"{name}.glb")
        assert (code, err) == (0, ""), name


def bad_files(folder: Path) -> dict[str, str]:
    """Name -> word that the message must hold."""
    (folder / "text.jpg").write_text("no photograph")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noface.png")
    Image.fromarray(noise[:20, :20]).save(folder / "tiny.png")
    Image.fromarray(noise).save(folder / "cut.jpg")
    data = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    return {
        "text.jpg": "not an image", "noface.png": "--box", "tiny.png": "larger",
        "cut.jpg": "again", "gone.jpg": "path",
    }  # fmt: skip


def test_bad_photographs(vrn, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name, word in bad_files(tmp_path).items():
        code, said, err = vrn(tmp_path / name, "--out", out / "face.glb", "--html", out / "face.html")
        assert code == 2 and said == "", name
        assert err.startswith("error: ") and err.count("\n") == 1
        assert name in err and word in err
        assert empty(out), "something was half written"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "{tmp}/face.stl"], "use .glb, .obj or .ply"),
        (["--out", "{tmp}/no/face.glb"], "mkdir -p"),
        (["--out", "{tmp}/face.glb", "--html", "{tmp}/no/face.html"], "mkdir -p"),
        ([], "--out"),
        (["--out", "{tmp}/face.glb", "--face", "biggest"], "largest, all"),
        (["--out", "{tmp}/face.glb", "--detector", "dlibb"], "did you mean 'dlib'"),
        (["--out", "{tmp}/face.glb", "--level", "1"], "between 0 and 1"),
        (["--out", "{tmp}/face.glb", "--smooth", "-1"], "between 0 (none) and 10"),
        (["--out", "{tmp}/face.glb", "--guidance", "mine"], "unknown guidance"),
        (["--out", "{tmp}/face.glb", "--box", "1,2,3"], "x0,y0,x1,y1"),
        (["--out", "{tmp}/face.glb", "--box", "900,900,990,990"], "outside"),
        (["--out", "{tmp}/face.glb", "--format", "ply"], "contradicts"),
        (["--out", "{tmp}", "--format", "stl"], "glb, obj, ply"),
    ],
)
def test_bad_options(vrn, photo, tmp_path, options, says):
    code, out, err = vrn(photo, *[o.format(tmp=tmp_path) for o in options])
    assert code == 2 and out == "" and err.startswith("error: ") and says in err
    assert empty(tmp_path)


def test_a_folder_to_write_is_needed_for_several(vrn, photo, tmp_path):
    for target in ("faces", "face.glb"):
        code, _, err = vrn(photo, photo.parent / "other.png", "--out", tmp_path / target)
        assert code == 2 and "mkdir -p" in err
    (tmp_path / "nothing").mkdir()
    code, _, err = vrn(tmp_path / "nothing", "--out", tmp_path)
    assert code == 2 and "no photographs in the folder" in err


def test_damaged_and_missing_checkpoints(vrn, photo, network, tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(network.read_bytes()[:1000])
    code, _, err = vrn(photo, "--out", tmp_path / "face.glb", net=damaged)
    assert code == 2 and "damaged.safetensors" in err
    monkeypatch.setenv("VRN_WEIGHTS", str(tmp_path / "gone.safetensors"))
    code, _, err = vrn(photo, "--out", tmp_path / "face.glb", net=None)
    assert code == 2 and "VRN_WEIGHTS" in err
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.safetensors"]


def test_run_hands_everything_to_the_runner(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("vrnlib.runner.main_run", lambda *a: calls.append(a))
    with pytest.raises(SystemExit):
        cli.main(
            ["run", "03", "--profile", "smoke", "-p", "seed=1", "-p", "steps=2", "--out", "x", "--force"]
        )
    assert calls == [(["03"], "smoke", ["seed=1", "steps=2"], Path("x"), False, True)]


def test_an_unexpected_error_keeps_its_traceback(monkeypatch):
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("vrnlib.runner.main_run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "--all"])


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys\nfrom vrnlib import cli\n"
        "try:\n    cli.main(['reconstruct', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'dlib', 'numba', 'trimesh'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--face" in done.stdout


def test_as_a_program(photo, tmp_path):
    command = [sys.executable, "-m", "vrnlib", "reconstruct", str(photo), "--out", str(tmp_path / "face.stl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write") and "Traceback" not in done.stderr
