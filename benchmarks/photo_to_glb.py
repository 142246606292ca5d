"""Photograph to mesh file at the released network's size, our way against the plain way, side by side in one
run.

    python benchmarks/photo_to_glb.py --out results/benchmarks/photo_to_glb.json

*Ours* is `vrnlib.reconstruct` and `Face.export` to GLB. *Plain* is what the authors' scripts do: float32
forward in the default layout, a volume of bytes, marching cubes at level 10 (PyMCubes), nearest-neighbour
colours (scikit-learn), a Python loop that writes OBJ (``pip install pymcubes scikit-learn``; without them
scikit-image and SciPy stand in, and the result says so). Detection is left out of both.

The network has 19.2 million random weights: it is timed in full, and its answer, noise, is then replaced in
both ways by the same volume of a synthetic face, so that the surface has the size of a face's. Each way runs
in its own process, for its peak memory. The ways take turns, so that whatever else runs on the machine slows
both. Wall seconds are the least of all rounds; so are CPU seconds, which are summed over threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.params import PROFILES
from vrnlib.provenance import collect, write_json

PAPER = PROFILES["paper"]
SEED = 0


def face_logits() -> np.ndarray:
    """(D, H, W) float32 logits of a synthetic face, mean shape, frontal; soft as a network's answer is."""
    import cv2

    from vrnlib.databases import FRONT_MARGIN
    from vrnlib.faces import face_solid, load_basis
    from vrnlib.voxel import Grid, solid_faces, voxelise

    grid, basis = Grid(PAPER.size, PAPER.depth), load_basis()
    surface = basis.mean[basis.surface]
    solid = face_solid(surface) * [1, -1, 1] * (90 / 135)
    solid += [
        (grid.size - 1) / 2,
        grid.size * 0.45,
        grid.z_of(grid.depth - 1) - FRONT_MARGIN - solid[:, 2].max(),
    ]
    filled = voxelise(solid, solid_faces(basis.surface_faces, len(surface)), grid).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(slice_, (0, 0), 1.0) for slice_ in filled])
    soft = np.clip(soft, 1e-4, 1 - 1e-4)
    return np.log(soft / (1 - soft))


class Stages:
    """Wall and CPU seconds by stage."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.rows[name] = [time.perf_counter() - wall, time.process_time() - cpu]


def ours(folder: Path) -> Callable[[], tuple[dict[str, list[float]], dict[str, Any]]]:
    """Our way, ready to run."""
    import torch
    from skimage.data import astronaut
    from torch import nn

    import vrnlib
    from vrnlib.detect import detect
    from vrnlib.networks import VRN
    from vrnlib.predict import Network, for_inference

    class Answer(nn.Module):
        """The network, run in full; then the face's logits, in the memory layout the network's own have."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(SEED)
            self.net = for_inference(VRN.of_profile(PAPER))
            self.face = torch.from_numpy(face_logits())[None].to(memory_format=torch.channels_last)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).copy_(self.face)

    image = astronaut()
    landmarks = detect(image)[0].landmarks
    network = Network(Answer().eval(), PAPER.size)

    def run() -> tuple[dict[str, list[float]], dict[str, Any]]:
        stages = Stages()
        with stages("total"):
            with stages("reconstruct"):
                face = vrnlib.reconstruct(image, network=network, landmarks=landmarks, mirror=False, smooth=0)
            with stages("export"):
                face.export(folder / "ours.glb")
        rows = stages.rows | {
            name: [s, float("nan")]
            for name, s in face.timings.items()
            if name not in ("total", "load", "detect")
        }
        return rows, {"vertices": len(face.mesh.vertices), "faces": len(face.mesh.faces)}

    return run


def plain(folder: Path) -> Callable[[], tuple[dict[str, list[float]], dict[str, Any]]]:
    """The plain way, ready to run."""
    import torch
    from skimage.data import astronaut

    from vrnlib.detect import detect
    from vrnlib.networks import VRN

    try:
        import mcubes
    except ImportError:
        from skimage.measure import marching_cubes as skimage_cubes

        surface_by = "skimage.measure.marching_cubes, lorensen"

        def surface(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return skimage_cubes(volume, 10, method="lorensen")[:2]
    else:
        surface_by = "PyMCubes"

        def surface(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return mcubes.marching_cubes(volume, 10)

    try:
        from sklearn.neighbors import NearestNeighbors
    except ImportError:
        from scipy.spatial import cKDTree

        colours_by = "scipy.spatial.cKDTree"

        def nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
            return cKDTree(known).query(asked)[1]
    else:
        colours_by = "scikit-learn NearestNeighbors"

        def nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
            return NearestNeighbors(n_neighbors=1).fit(known).kneighbors(asked, return_distance=False)[:, 0]

    image = astronaut()
    crop = detect(image)[0].crop(PAPER.size)
    torch.manual_seed(SEED)
    model, logits = VRN.of_profile(PAPER).eval(), torch.from_numpy(face_logits())

    def run() -> tuple[dict[str, list[float]], dict[str, Any]]:
        stages = Stages()
        with stages("total"):
            window = crop.image(image)
            with stages("network"), torch.no_grad():
                model(torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255)
                volume = (torch.sigmoid(logits) * 255).numpy().astype(np.uint8)
            with stages("isosurface"):
                vertices, triangles = surface(volume.astype(float))
                vertices = vertices[:, (2, 1, 0)]
                vertices[:, 2] *= 0.5
            with stages("colours"):
                x, y = np.meshgrid(np.arange(PAPER.size), np.arange(PAPER.size))
                found = nearest(np.stack([x.ravel(), y.ravel()], 1), vertices[:, :2])
                rows = np.hstack([vertices, window.reshape(-1, 3)[found] / 255])
            with stages("export"), (folder / "plain.obj").open("w") as file:
                for v in rows:
                    file.write(f"v {v[0]:0.2f} {v[1]:0.2f} {v[2]:0.2f} {v[3]:0.2f} {v[4]:0.2f} {v[5]:0.2f}\n")
                for t in triangles:
                    file.write("f {} {} {}\n".format(*(t + 1)))
        return stages.rows, {
            "vertices": len(rows), "faces": len(triangles),
            "isosurface by": surface_by, "colours by": colours_by,
        }  # fmt: skip

    return run


def child(way: str, threads: int) -> None:
    """Runs one way a round for each line of stdin, answering with a line of JSON."""
    import cv2
    import torch

    from vrnlib.predict import bfloat16_is_fast

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = {"ours": ours, "plain": plain}[way](Path(folder))
        idle = _rss()
        for _ in sys.stdin:
            rows, facts = run()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            bfloat16 = way == "ours" and bfloat16_is_fast("cpu")
            print(
                json.dumps([rows, facts | {"peak_mb": peak, "ready_mb": idle, "bfloat16": bool(bfloat16)}]),
                flush=True,
            )


def _rss() -> float:
    """Resident memory now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/photo_to_glb.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--way", choices=("ours", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        child(arguments.way, arguments.threads)
        return
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    command = [sys.executable, __file__, "--threads", str(arguments.threads), "--way"]
    children = {
        way: subprocess.Popen(
            [*command, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for way in ("plain", "ours")
    }
    answers: dict[str, list[Any]] = {way: [] for way in children}
    for round_ in range(arguments.rounds + 1):  # the first one warms up and is not counted
        for way, process in children.items():
            print(file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the {way} way failed, see above")
            if round_:
                answers[way].append(json.loads(line))
    for process in children.values():
        process.stdin.close()
        process.wait()

    result: dict[str, Any] = {}
    for way, rounds in answers.items():
        stages = {
            name: {"wall": min(r[0][name][0] for r in rounds), "cpu": min(r[0][name][1] for r in rounds)}
            for name in rounds[0][0]
        }
        result[way] = {"seconds": stages, **rounds[-1][1]}
    ratio = {
        clock: result["plain"]["seconds"]["total"][clock] / result["ours"]["seconds"]["total"][clock]
        for clock in ("wall", "cpu")
    }
    result |= {
        "times_faster": ratio,
        "volume": "the network's answer (random weights) is replaced by a synthetic face's volume in both",
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "load_average": os.getloadavg()[0],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    seconds = time.perf_counter() - started
    write_json(arguments.out, {**result, "provenance": collect(vars(PAPER), SEED, [], seconds)})
    for way in ("plain", "ours"):
        r = result[way]
        print(
            f"{way:6}",
            *(f"{k} {v['wall'] * 1e3:.0f} ms" for k, v in r["seconds"].items() if v["wall"] > 5e-4),
            sep="  ",
        )
        print(
            f"        {r['vertices']:,} vertices, {r['faces']:,} triangles, peak {r['peak_mb']:.0f} MB "
            f"(ready {r['ready_mb']:.0f} MB)"
        )
    print(
        f"{ratio['wall']:.1f} times faster by the clock, {ratio['cpu']:.1f} times less CPU, "
        f"{arguments.threads} threads"
    )


if __name__ == "__main__":
    main()
