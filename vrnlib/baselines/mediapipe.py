"""A modern peer that has seen real faces: MediaPipe's network of 468 points, through OpenCV.

Kartynnik et al., *Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs* (2019). The network
(Apache-2.0, 1.2 MB) is taken out of the wheel of ``mediapipe`` 0.10.21, fetched through pip when first needed
(36 MB), checked and kept in the user's cache. Nothing of the package is installed or run: OpenCV's ``dnn``
module runs the network, a few milliseconds a face.

Limits of the comparison. The points cover the mask from the chin to the upper forehead, not the whole face
region: score every method on :func:`coverage` to compare. Eyes and mouth are open in its mesh; they are
closed here by triangles, as the truth's are. It was trained on real photographs of whole heads, partly with
depth from synthetic ones, and was never shown our drawn faces; its depth is weakly defined. Our pictures are
small: at 96 pixels a face is 45 pixels wide, enlarged to the network's 192.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vrnlib import icp
from vrnlib.baselines.common import Mesh, NotRunError
from vrnlib.baselines.morphable import load_morphable, subdivide
from vrnlib.databases.scan_source import cache_folder
from vrnlib.errors import VrnError
from vrnlib.provenance import collect, project_folder, replacing, write_json
from vrnlib.render import rasterise

WHEEL = "mediapipe==0.10.21"
_PLATFORM = ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")
_MODEL = "mediapipe/modules/face_landmark/face_landmark.tflite"
_CONNECTIONS = "mediapipe/python/solutions/face_mesh_connections.py"
MODEL_SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
CONNECTIONS_SHA256 = "cc7171e44d0612db38720cb2fd2516c395992cdd7457efe341543be6f3c22d87"
WINDOW = 192
"""Side of the network's input in pixels."""
POINTS = 468
_LARGEST = 5_000_000  # bytes of a member
_FIRST = 0.8  # side of the first look, as a share of the crop: the paper's crop has the face in its middle
_MARGIN = 1.5  # side of a look over the longer side of the points' box, as in MediaPipe
_LOOKS = 2  # one on the crop, one that follows the points found; more drift away from profiles
_EYES = (33, 263)  # outer corners of the subject's right and left eye
_CORNERS = (33, 263, 78)  # a corner of each opening: right eye, left eye, mouth
COVERAGE = Path("results") / "baselines" / "mediapipe-coverage.npz"
_COVERAGE_FACES, _COVERAGE_SIZE = 40, 192


def folder() -> Path:
    """Where the network is kept: ``mediapipe`` in the user's cache."""
    return cache_folder() / "mediapipe"


def fetch(target: Path | None = None) -> Path:
    """Fetch what is missing into `target` (default: the user's cache) and check it; return the folder.

    Raises
    ------
    NotRunError : pip can't fetch the wheel, or it is not the one we know; nothing wrong is kept.
    """
    target = folder() if target is None else Path(target)
    wanted = {_MODEL: MODEL_SHA256, _CONNECTIONS: CONNECTIONS_SHA256}
    files = {member: target / Path(member).name for member in wanted}
    if all(path.is_file() and _sha(path.read_bytes()) == wanted[m] for m, path in files.items()):
        return target
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, *_PLATFORM, "-d", temporary, WHEEL], capture_output=True, text=True)
        wheels = list(Path(temporary).glob("mediapipe-*.whl"))
        if done.returncode or not wheels:
            said = " ".join(done.stderr.strip().splitlines()[-1:]) or f"pip ended with code {done.returncode}"
            raise NotRunError(
                f"MediaPipe's network could not be fetched: pip download {WHEEL} said '{said}'; connect to a "
                "package index, or go on without this method"
            )
        contents = {member: _member(wheels[0], member, sha) for member, sha in wanted.items()}
    for member, content in contents.items():
        with replacing(files[member]) as part:
            part.write_bytes(content)
    return target


def _member(wheel: Path, name: str, sha: str) -> bytes:
    # one file of the wheel, read into memory and checked
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(name).file_size > _LARGEST:
                raise NotRunError(f"{name} in {wheel.name} is larger than it should be: it is another wheel")
            content = archive.read(name)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise NotRunError(f"{wheel.name} can't be read ({error}): fetch it again") from None
    if _sha(content) != sha:
        raise NotRunError(
            f"{name} in {wheel.name} has sha256 {_sha(content)[:12]}..., expected {sha[:12]}...: it is not "
            f"the file of {WHEEL}"
        )
    return content


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def triangles(connections: str) -> np.ndarray:
    """The mesh over the 468 points, (898, 3) int32, from the source of MediaPipe's list of edges.

    The list names three edges a triangle, one after the other: 852 triangles. Eyes and mouth, open there, are
    closed by 46 more, sewn from corner to corner.

    Raises
    ------
    VrnError : the source holds no such list.
    """
    for node in ast.parse(connections).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FACEMESH_TESSELATION":
            edges = np.array(ast.literal_eval(node.value.args[0]), np.int32).reshape(-1, 3, 2)  # type: ignore[attr-defined]
            break
    else:
        raise VrnError("the list of edges of MediaPipe's face mesh is not where it was: use " + WHEEL)
    faces = edges[:, :, 0]
    if (edges[:, :, 1] != np.roll(faces, -1, 1)).any():
        raise VrnError("the edges of MediaPipe's face mesh do not form triangles: use " + WHEEL)
    return np.concatenate([faces, *(_sewn(_loop(faces, corner)) for corner in _CORNERS)])


def _loop(faces: np.ndarray, start: int) -> list[int]:
    # the border of an opening, from `start`, against the direction of the triangles around it
    directed = {(a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)}
    following = {b: a for a, b in directed if (b, a) not in directed}
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    return loop


def _sewn(loop: list[int]) -> np.ndarray:
    # a strip of triangles over a loop, between its two sides, n - 2 for n points
    i, j, out = 0, len(loop) - 1, []  # what is still open: loop[i] ... loop[j]
    while j - i > 1:
        out.append((loop[i], loop[i + 1], loop[j]))
        i += 1
        if j - i > 1:
            out.append((loop[i], loop[j - 1], loop[j]))
            j -= 1
    return np.array(out, np.int32)


class FaceMesh:
    """The network, ready.

    Raises
    ------
    NotRunError : it can't be fetched.
    """

    def __init__(self) -> None:
        kept = fetch()
        self.net = cv2.dnn.readNetFromTFLite(str(kept / Path(_MODEL).name))
        self.output = self.net.getUnconnectedOutLayersNames()
        self.faces = triangles((kept / Path(_CONNECTIONS).name).read_text(encoding="utf-8"))

    def look(self, image: np.ndarray, centre: np.ndarray, side: float, roll: float) -> np.ndarray:
        """One pass on a square part of a picture.

        Parameters
        ----------
        image : (H, W, 3) uint8 RGB.
        centre, side : of the square in pixels; roll : radians by which the face's right-to-left direction
            is turned, x towards y.

        Returns
        -------
        (468, 3) float64 pixels of the picture, z towards the viewer.
        """
        c, s = np.cos(roll), np.sin(roll)
        turn = np.array([[c, -s], [s, c]]) * (side / WINDOW)  # window -> picture
        back = np.linalg.inv(turn)
        middle = (WINDOW - 1) / 2
        matrix = np.concatenate([back, (middle - back @ centre)[:, None]], 1)
        shown = cv2.warpAffine(image, matrix, (WINDOW, WINDOW), flags=cv2.INTER_LINEAR)
        blob = np.ascontiguousarray(shown.transpose(2, 0, 1)[None], dtype=np.float32) / 255
        self.net.setInput(blob)
        points = np.asarray(self.net.forward(self.output)[0], np.float64).reshape(POINTS, 3)
        xy = (points[:, :2] - 0.5 - middle) @ turn.T + centre  # the network's 0 is a pixel's corner
        return np.concatenate([xy, -points[:, 2:] * (side / WINDOW)], 1)

    def points(self, image: np.ndarray) -> np.ndarray:
        """The 468 points (468, 3) of the face in the middle of a crop: a first look, then one that follows
        its points, upright.
        """
        side = _FIRST * image.shape[0]
        points = self.look(image, np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2]), side, 0.0)
        for _ in range(_LOOKS - 1):
            x, y = points[_EYES[1], :2] - points[_EYES[0], :2]
            roll = float(np.arctan2(y, x)) if np.hypot(x, y) > 0.1 * side else 0.0  # a profile shows no roll
            turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
            upright = points[:, :2] @ turn
            low, high = upright.min(0), upright.max(0)
            side = _MARGIN * float((high - low).max())
            points = self.look(image, turn @ ((low + high) / 2), side, roll)
        return points

    def mesh(self, image: np.ndarray, levels: int = 2) -> Mesh:
        """The face in a crop as a mesh; each triangle is cut `levels` times into four, since the error pairs
        vertices.
        """
        vertices, faces = subdivide(self.points(image), self.faces, levels)
        a, b, c = (vertices[faces[:, i], :2] for i in range(3))
        if ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() < 0:
            faces = faces[:, ::-1]
        return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces))


@lru_cache(maxsize=1)
def _coverage() -> np.ndarray:
    path = project_folder() / COVERAGE
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.unpackbits(file["covered"])[: int(file["count"])].astype(bool)
    except (OSError, ValueError, KeyError) as error:
        raise NotRunError(
            f"'{path.name}' can't be read ({error}): make it with python -m vrnlib.baselines.mediapipe"
        ) from None


def coverage(points: np.ndarray | None = None, pose: np.ndarray | None = None) -> np.ndarray:
    """Which ground-truth points MediaPipe's mesh covers: (P,) bool.

    Without arguments those of the embedded faces (`synth-lp`, `synth-wild`, `synth-expressions`), the same
    19,000 for each. Faces of another topology are laid onto the mean face (similarity ICP), and each point
    takes the answer of the nearest one there.

    Parameters
    ----------
    points : (P, 3) a sample's `points`; pose : (3,) its `pose`, radians.

    Raises
    ------
    NotRunError : the file of the covered points is missing.
    """
    from scipy.spatial import cKDTree

    from vrnlib.faces import rotation_matrix

    known = _coverage()
    if points is None:
        return known
    model = load_morphable()
    mean = model.points(model.mean).astype(np.float64)
    rotation = np.eye(3) if pose is None else rotation_matrix(*pose)
    upright = (np.asarray(points, np.float64) * [1, -1, 1]) @ rotation
    size = [np.sqrt(((p - p.mean(0)) ** 2).sum(1).mean()) for p in (mean, upright)]
    upright = (upright - upright.mean(0)) * (size[0] / size[1]) + mean.mean(0)
    found = icp.register(upright, mean, start=icp.Motion(np.eye(3), np.zeros(3)), scale=True)
    return known[cKDTree(mean).query(found.motion.apply(upright))[1]]


def measure_coverage(faces: int = _COVERAGE_FACES) -> np.ndarray:
    """Share (P,) of frontal training faces on which each ground-truth point lies inside MediaPipe's mesh, as
    the picture shows both.
    """
    from vrnlib.appearance import sample_light
    from vrnlib.databases import SynthLP
    from vrnlib.databases.sample import render_sample
    from vrnlib.params import depth_of
    from vrnlib.variation import Variation
    from vrnlib.voxel import Grid

    size, network, fine = _COVERAGE_SIZE, FaceMesh(), 4
    data = SynthLP(size, depth_of(size), seed=0)
    plain = Variation(**dict.fromkeys(("glasses", "occluders", "blur", "noise", "jpeg"), False))
    inside = []
    for number in range(faces):
        rng = np.random.default_rng((0, 9, number))
        sample = render_sample(
            *data._face(number), np.zeros(3), sample_light(rng), Grid(size, depth_of(size)), rng, None, True,
            variation=plain,
        )  # fmt: skip
        points = network.points(sample["image"])
        enlarged = (points + [0.5, 0.5, 0]) * [fine, fine, 1]
        drawn = rasterise(enlarged, network.faces, size * fine, size * fine)[0]
        x, y = np.clip(np.round((sample["points"][:, :2] + 0.5) * fine).astype(int), 0, size * fine - 1).T
        inside.append(drawn[y, x] >= 0)
    return np.mean(inside, 0)


def main(arguments: list[str] | None = None) -> int:
    """Measure which points of the truth MediaPipe's mesh covers and write them down (a minute)."""
    parser = argparse.ArgumentParser(prog="python -m vrnlib.baselines.mediapipe", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=project_folder() / COVERAGE)
    parser.add_argument("--faces", type=int, default=_COVERAGE_FACES)
    options = parser.parse_args(arguments)
    try:
        share = measure_coverage(options.faces)
        covered = share > 0.5
        with replacing(options.out) as part, part.open("wb") as file:
            np.savez_compressed(file, covered=np.packbits(covered), count=np.array(len(covered)))
        report: dict[str, Any] = {
            "points": len(covered),
            "covered": int(covered.sum()),
            "share": float(covered.mean()),
            "undecided_share": float(((share > 0.1) & (share < 0.9)).mean()),
            "faces": options.faces,
            "provenance": collect({"faces": options.faces, "size": _COVERAGE_SIZE}, 0),
        }
        write_json(options.out.with_suffix(".json"), report)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{report['covered']} of {report['points']} points are covered")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
