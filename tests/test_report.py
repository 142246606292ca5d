"""The report: what it shows, what it says of what it cannot show, and what is left when it fails."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from browser import Browser, needs_browser
from PIL import Image
from skimage.data import astronaut, chelsea

from vrnlib import VrnError, cli, export, meshio, networks, reconstruct, report
from vrnlib.databases import SynthLP
from vrnlib.faces import load_basis, rotation_matrix
from vrnlib.predict import Network, load_network
from vrnlib.reconstruct import Face
from vrnlib.report import drawing, measures, trust

PORTRAIT = astronaut()[:300, 80:380]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights at smoke size: there is some surface, whatever the photograph."""
    torch.manual_seed(0)
    model = networks.VRN(16, 1, 2, 2, 34, "low")
    return networks.save(model, tmp_path_factory.mktemp("net") / "tiny.safetensors", {"faces": 12})


@pytest.fixture(scope="module")
def face(tiny: Path) -> Face:
    return reconstruct(PORTRAIT, network=tiny)


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """What a folder of photographs looks like: good ones, a broken one, a cat, other files."""
    folder = tmp_path / "holiday & more"
    folder.mkdir()
    Image.fromarray(PORTRAIT).save(folder / "a <b>.png")
    Image.fromarray(np.concatenate([PORTRAIT, PORTRAIT[:, ::-1]], 1)).save(folder / "two.jpg", quality=95)
    Image.fromarray(chelsea()).save(folder / "cat.jpg")
    whole = (folder / "two.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "notes.txt").write_text("no photograph")
    (folder / "clip.mp4").write_bytes(bytes(100))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_as_it_comes(holiday: Path, tiny: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    done = report.make(holiday, tmp_path / "r.html", tmp_path / "m", network=tiny, progress=lines.append)
    assert [e.title for e in done.entries] == ["a <b>.png", "two.jpg, face 1 of 2", "two.jpg, face 2 of 2"]
    assert {f.photograph for f in done.failures} == {"broken.jpg", "cat.jpg"}
    reasons = {f.photograph: f.reason for f in done.failures}
    assert "truncated or damaged" in reasons["broken.jpg"] and "no face was found" in reasons["cat.jpg"]
    assert done.photographs == 4 and len(lines) == 4 and lines[0].startswith("1/4 a <b>.png: 1 face(s)")
    assert files(tmp_path / "m") == ["a <b>.glb", "two-1.glb", "two-2.glb"]
    for mesh, entry in zip(done.meshes, done.entries, strict=True):
        assert len(trimesh.load(mesh, force="mesh", process=False).faces) == entry.measures.triangles

    page = done.page.read_text(encoding="utf-8")
    assert export.page_problems(page) == []  # alternative texts, nothing from a network
    assert "<b>" not in re.sub(r"<b>Doubt</b>|<b>Turned[^<]*</b>", "", page) and "a &lt;b&gt;.png" in page
    assert str(tmp_path) not in page and "--box" not in page
    assert not re.search(r"\$[A-Z]{3,}", page)  # every place of the template is filled
    assert page.count('<section class="face"') == 3 and page.count("<circle") == 3 * 68
    assert 'href="m/a%20%3Cb%3E.glb"' in page and 'href="m/two-2.glb"' in page
    for words in (
        "SHA-256",
        "dlib",
        "no commercial use",
        "Isovalue",
        "commit" if (Path.cwd() / ".git").exists() else "",
    ):
        assert words in page
    assert page.index('id="failed"') < page.index('id="face-1"')  # said before the faces, not after fifty


def test_one_photograph_without_meshes(tiny: Path, tmp_path: Path) -> None:
    Image.fromarray(PORTRAIT).save(tmp_path / "me.png")
    done = report.make(tmp_path / "me.png", tmp_path / "r.html", network=tiny)
    assert files(tmp_path) == ["me.png", "r.html"]
    assert done.meshes == () and "Mesh file" not in done.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [{}, {"notes.txt": b"x", "clip.mp4": b"y", ".hidden.jpg": b"z"}])
def test_a_folder_without_photographs(content: dict[str, bytes], tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    with pytest.raises(VrnError, match=r"no photographs in the folder '.*in'"):
        report.make(folder, tmp_path / "r.html", tmp_path / "m", network=tiny)
    assert not (tmp_path / "r.html").exists() and not (tmp_path / "m").exists()


def test_no_face_in_any(tiny: Path, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        Image.fromarray(chelsea()).save(tmp_path / name)
    with pytest.raises(VrnError, match=r"no face in any .*one\.png: no face was found.*\(and 1 more\)"):
        report.make(tmp_path, tmp_path / "r.html", tmp_path / "m", network=tiny)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]


def empty_mesh(face: Face) -> Face:
    return dataclasses.replace(
        face, mesh=trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), int), process=False)
    )


def test_a_mesh_without_triangles_is_a_failure_with_a_reason(
    face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(PORTRAIT).save(tmp_path / name)
    answers = iter([empty_mesh(face), face])
    monkeypatch.setattr(report, "reconstruct", lambda *a, **k: next(answers))
    done = report.make(tmp_path, tmp_path / "r.html", tmp_path / "m", network=load_network_of(face))
    assert [e.title for e in done.entries] == ["b.png"]
    assert [f.photograph for f in done.failures] == ["a.png"] and "no triangles" in done.failures[0].reason
    assert files(tmp_path / "m") == ["b.glb"]


def load_network_of(face: Face) -> Network:
    class Never(torch.nn.Module):
        pass

    return Network(Never(), face.crop.size)


def test_one_triangle_is_drawn_and_packed(face: Face) -> None:
    one = trimesh.Trimesh(
        face.crop.invert(np.array([[4.0, 4, 0], [4, 20, 0], [20, 4, 0]])), [[0, 1, 2]],
        vertex_colors=np.full((3, 3), 200, np.uint8), process=False,
    )  # fmt: skip
    surface = dataclasses.replace(face, mesh=one).surface(textured=True)
    (colour, clay), *_ = drawing.views(surface, (0,), 60)
    assert colour.shape == clay.shape == (60, 60, 4)
    assert drawing.packed(dataclasses.replace(face, mesh=one), surface)["triangles"] == 1


def full_disk(monkeypatch: pytest.MonkeyPatch, fails: Callable[[bytes], bool]) -> None:
    """Writing of what `fails` says breaks off in the middle, as on a full disk."""
    import os

    genuine = os.fdopen

    class Writer:
        def __init__(self, *arguments: object) -> None:
            self.file = genuine(*arguments)

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:1000] if fails(data) else data)
            if fails(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(meshio.os, "fdopen", lambda *a, **k: Writer(*a, **k))


def test_disk_full_while_the_page_is_written(holiday: Path, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "r.html").write_text("the report of yesterday")
    full_disk(monkeypatch, lambda data: data.startswith(b"<!DOCTYPE"))
    with pytest.raises(
        VrnError, match=r"r\.html'?: no space left on device.*3 finished meshes are in '.*m'"
    ) as error:
        report.make(holiday, tmp_path / "r.html", tmp_path / "m", network=tiny)
    assert "\n" not in str(error.value)
    assert (tmp_path / "r.html").read_text() == "the report of yesterday"
    meshes = files(tmp_path / "m")
    assert meshes == ["a <b>.glb", "two-1.glb", "two-2.glb"]
    for name in meshes:
        assert len(trimesh.load(tmp_path / "m" / name, force="mesh").faces) > 10
    assert [f for f in files(tmp_path) if f.startswith((".", "r"))] == ["r.html"]  # nothing half-written


def test_disk_full_at_the_second_mesh(holiday: Path, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    count = iter(range(100))
    full_disk(monkeypatch, lambda data: data[:4] == b"glTF" and next(count) > 1)  # asked twice a mesh
    with pytest.raises(VrnError, match=r"no space left.*; 1 meshes are finished and stay"):
        report.make(holiday, tmp_path / "r.html", tmp_path / "m", network=tiny)
    assert files(tmp_path / "m") == ["a <b>.glb"] and not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"target": "r.jpg"}, "must end in .html"),
        ({"target": "missing/r.html"}, "does not exist"),
        ({"meshes": "a.png"}, "there is a file of that name"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"bodies": "biggest"}, "unknown choice of bodies"),
        ({"face": "biggest"}, "largest, all"),
        ({"detector": "dlibb"}, "did you mean 'dlib'"),
        ({"network": "gone.safetensors"}, r"gone\.safetensors"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    arguments: dict, says: str, tiny: Path, tmp_path, monkeypatch
) -> None:
    Image.fromarray(PORTRAIT).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "reconstruct", lambda *a, **k: pytest.fail("something was computed"))
    values = {"source": "a.png", "target": "r.html", "network": tiny} | arguments
    with pytest.raises(VrnError, match=says):
        report.make(**values)
    assert not (tmp_path / "r.html").exists()


def test_the_packed_mesh_is_the_mesh(face: Face) -> None:
    surface = face.surface(textured=True)
    mesh = drawing.packed(face, surface)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(mesh["data"])), np.uint8).astype(np.int64)
    v, n = mesh["vertices"], 3 * mesh["triangles"]
    assert (
        len(planes) == 3 * (3 * v + n)
        and v == len(surface.vertices)
        and mesh["triangles"] == len(surface.faces)
    )

    def numbers(start: int, count: int) -> np.ndarray:
        low, middle, high = planes[start : start + 3 * count].reshape(3, count)
        return low | middle << 8 | high << 16

    zigzag = numbers(0, 3 * v).reshape(3, v)
    steps = np.where(zigzag & 1, -(zigzag + 1) // 2, zigzag // 2).cumsum(1)
    points = (np.array(mesh["low"])[:, None] + steps * mesh["step"]).T
    index, fresh = [], 0
    for back in numbers(9 * v, n):
        index.append(fresh - back)
        fresh = max(fresh, index[-1] + 1)
    corners = points[np.array(index).reshape(-1, 3)]
    up = (surface.vertices - [0, face.image.shape[0] - 1, 0]) * [1, -1, 1]
    hidden = surface.uv[surface.faces[:, 0], 0] > 0.5
    truth = face.crop.apply(np.concatenate([up[surface.faces[~hidden]], up[surface.faces[hidden]]]))
    np.testing.assert_allclose(corners, truth, atol=mesh["step"])
    assert (np.array(index).reshape(-1, 3)[: (~hidden).sum()] < mesh["front"]).all()
    assert len(json.dumps(mesh)) < 0.25 * len(meshio.glb_bytes(surface))


def test_entropy_of_known_volumes() -> None:
    volume = np.zeros((10, 8, 8), np.float32)
    volume[:5] = 1
    assert measures.entropy(volume) == 0
    volume[9] = 0.5  # 64 coin tosses beside 320 filled voxels
    assert measures.entropy(volume) == pytest.approx(64 / 320)
    bits = -0.9 * np.log2(0.9) - 0.1 * np.log2(0.1)
    volume[:] = np.where(volume == 1, 0.9, 0.1)
    assert measures.entropy(volume) == pytest.approx(640 * bits / 320, rel=2e-3)  # in half precision
    assert measures.entropy(volume) == measures.entropy(volume.astype(np.float16)[:, ::-1])
    assert measures.entropy(np.zeros((4, 4, 4))) == float("inf")


def test_doubt_is_of_the_landmarks_where_the_network_has_its_own() -> None:
    volume = np.full((4, 8, 8), 0.5, np.float32)
    volume[0] = 1
    assert measures.doubt(volume) == measures.entropy(volume) == 3
    assert measures.doubt(volume, np.full(68, 0.75, np.float32)) == pytest.approx(0.25)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -35, 10), (-15, 70, -20)])
def test_pose_of_the_mean_face_is_exact(degrees: tuple[float, ...]) -> None:
    rotation = rotation_matrix(*np.radians(degrees))
    np.testing.assert_allclose(np.degrees(measures.angles(rotation)), degrees, atol=1e-9)
    model = measures._model()
    seen = 0.7 * (model @ rotation.T)[:, :2] + [40, -30]
    got, scale = measures.fitted(model, seen, iterations=60)
    np.testing.assert_allclose(got, rotation, atol=1e-3)
    assert scale == pytest.approx(0.7, rel=1e-3)


def test_pose_of_drawn_faces_from_true_volumes() -> None:
    data = SynthLP(96, 100, seed=5, augment=False)
    errors = []
    for index in range(0, 96, 12):
        sample = data[index + index // 12]
        if abs(sample["pose"][1]) < np.radians(60):
            got = measures.pose(sample["landmarks"], sample["volume"].astype(np.float32))
            errors.append(np.abs(np.array(got) - np.degrees(sample["pose"])))
    assert len(errors) >= 3
    assert (np.mean(errors, axis=0) < 5).all(), np.mean(errors, axis=0)


def test_interocular_and_remarks(face: Face) -> None:
    corners = load_basis().landmarks[[36, 45]]
    assert len(set(corners.tolist())) == 2
    points = np.zeros((68, 2))
    points[36], points[45] = (10, 20), (40, 60)
    assert measures.interocular(points) == 50
    calm = measures.measure(face)._replace(
        pose=measures.Pose(0, 10, 0), enlarged=1, inside=1, removed_bodies=0, doubt=0.5
    )
    known = {"faces": 7, "doubt": {"quantiles": np.linspace(0, 1, 101).tolist()}}
    assert trust.minds(calm, face, known) == ()
    assert trust.rank(0.5, known) == "more than 50 % of 7 drawn test faces" and trust.rank(0.5, None) == ""
    for change, word in (
        ({"pose": measures.Pose(0, -70, 0)}, "70° away"),
        ({"enlarged": 3.0}, "Small in the photograph"),
        ({"inside": 0.6}, "40 % of the network's window"),
        ({"removed_bodies": 2}, "2 stray bodies were"),
        ({"doubt": 9.0}, "is this a face?"),
    ):
        (remark,) = trust.minds(calm._replace(**change), face, known)
        assert word in remark


def test_a_reference_is_of_one_network_only(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    from vrnlib import provenance

    monkeypatch.setattr(provenance, "project_folder", lambda: tmp_path)
    net = load_network(tiny)
    assert trust.reference(net) is None
    place = tmp_path / trust.FOLDER / "tiny.json"
    provenance.write_json(place, {"network_sha256": provenance.sha256(tiny), "faces": 3})
    assert trust.reference(net)["faces"] == 3
    provenance.write_json(place, {"network_sha256": "another", "faces": 3})
    assert trust.reference(net) is None

    evaluated = {"nme": {"faces": 5, "mean": 0.05}, "training": net.meta}
    place = tmp_path / "results" / "evaluation" / "tiny" / "metrics.json"
    provenance.write_json(place, evaluated)
    assert "On 5 drawn faces" in " ".join(trust.reading(net, None))
    provenance.write_json(place, evaluated | {"training": net.meta | {"step": -1}})
    assert "drawn faces that it was not trained on" not in " ".join(trust.reading(net, None))


def test_figure_8_of_the_networks_that_are_there(tiny: Path, tmp_path: Path) -> None:
    from vrnlib import figure8, labelling, provenance, voxel

    with pytest.raises(VrnError, match="no network in"):
        figure8.draw({"astronaut": PORTRAIT}, tmp_path / "f.png", tmp_path)
    (tmp_path / "vrn-laptop.safetensors").write_bytes(tiny.read_bytes())
    about = figure8.draw({"astronaut": PORTRAIT}, tmp_path / "f.png", tmp_path, size=60)
    assert about["photographs"] == ["astronaut", "crop too low"] and about["untouched"] == 1
    assert about["missing"] == ["multitask", "guided"] and list(about["stray"]) == ["vrn"]
    assert provenance.read_json(tmp_path / "f.json")["stray"] == about["stray"]
    assert Image.open(tmp_path / "f.png").height > 5 * 60  # the photographs and four rows of meshes
    (case, _) = figure8.cases({"astronaut": PORTRAIT})
    answer = reconstruct(case.image, network=tiny, landmarks=case.landmarks)
    vertices, faces = voxel.isosurface(answer.volume.astype(np.float32))
    bodies = len(np.unique(labelling.labels(len(vertices), faces)[faces[:, 0]]))
    assert about["stray"]["vrn"][0] == bodies - 1


@needs_browser
def test_the_page_in_a_browser(holiday: Path, tiny: Path, tmp_path: Path) -> None:
    (holiday / "broken.jpg").unlink()
    done = report.make(holiday, tmp_path / "r.html", tmp_path / "m", network=tiny)
    with Browser(tmp_path / "profile") as page:
        page.open(done.page.as_uri())
        assert (
            page.run("document.querySelectorAll('canvas').length") == 0
        )  # nothing is unpacked before it is wanted
        painted = []
        for number in (1, 3):
            section = f"document.getElementById('face-{number}')"
            page.run(f"{section}.querySelector('.turn').click()")
            page.wait(f"{section}.querySelector('canvas')?.dataset.painted === 'face-{number}'")
            assert page.run("document.querySelectorAll('canvas').length") == 1  # one viewer, which has moved
            page.run(f"{section}.scrollIntoView()")
            before = page.picture()
            for _ in range(6):
                page.key("ArrowRight", 39)
            page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            painted += [before, page.picture()]
        assert len(set(painted)) == 4  # turned by the keyboard, each of the two
        for width in (1280, 390):
            page.resize(width, 800, phone=width < 500)
            assert page.run("document.scrollingElement.scrollWidth") <= width, f"wider than {width} pixels"
        printed = base64.b64decode(page.call("Page.printToPDF", printBackground=True)["data"])
        assert 4 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8  # a title page, one a face, the rest
        assert page.errors == []


@pytest.mark.slow
def test_the_command_runs_the_notebook(tiny: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(PORTRAIT).save(folder / "me.png")
    (folder / "broken.jpg").write_bytes(b"no photograph")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        cli.main(["report", "in", "--out", "out.html", "--network", str(tiny), "--bodies", "all"])
    out, err = capsys.readouterr()
    assert leaving.value.code == 1, err  # one photograph failed
    assert "1 face(s) from 2 photograph(s), 1 without a face" in out and "11_report: done" in err
    page = (tmp_path / "out.html").read_text()
    assert files(tmp_path / "out-meshes") == ["me.glb"]
    assert "broken.jpg" in page and "all bodies are kept" in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["empty"], "no photographs in the folder"),
        (["gone.jpg"], "cannot read"),
        (["me.png", "--detector", "dlibb"], "did you mean 'dlib'"),
        (["me.png", "--out", "me.png"], "would overwrite"),
        (["me.png", "--out", "gone/r.html"], "does not exist"),
        (["me.png", "--level", "2"], "between 0 and 1"),
        (["me.png", "--bodies", "biggest"], "unknown choice of bodies"),
        (["me.png", "--face", "biggest"], "largest, all"),
    ],
)
def test_the_command_refuses_before_the_notebook_starts(
    arguments, says, tiny, tmp_path, capsys, monkeypatch
) -> None:
    from vrnlib.commands import report as command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.fromarray(PORTRAIT).save(tmp_path / "me.png")
    monkeypatch.setattr(command, "_run", lambda values: pytest.fail("the notebook was started"))
    with pytest.raises(SystemExit) as leaving:
        cli.main(["report", *arguments, "--network", str(tiny)])
    err = capsys.readouterr().err
    assert leaving.value.code == 2 and err.startswith("error: ") and says in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*meshes")) and not list(tmp_path.glob("*.html"))


def test_the_error_of_the_notebook_comes_out_as_it_went_in(monkeypatch) -> None:
    from papermill.exceptions import PapermillExecutionError

    from vrnlib import runner
    from vrnlib.commands import report as command

    def failing(*_: object, **__: object) -> None:
        cause = PapermillExecutionError(3, 3, "source", "VrnError", "no face in any of them", [])
        raise VrnError("notebook 11_report failed in cell 3; it is kept as x") from cause

    monkeypatch.setattr(runner, "run", failing)
    with pytest.raises(VrnError, match=r"^no face in any of them$"):
        command._run({})
