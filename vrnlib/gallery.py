"""Photographs that no one here drew, reconstructed: the picture in the README.

    python -m vrnlib.gallery --out results/figures/photographs.png
    python -m vrnlib.gallery --figure8 --fetch      # the review's Figure 8, see `vrnlib.figure8`

Two photographs ship with scikit-image and matplotlib. Four more (portraits by the US government) lie in the
source distribution of the package face_recognition, which is fetched through pip when `--fetch` is given;
without it, or offline, they are left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np

from vrnlib.errors import VrnError
from vrnlib.figures import depth_shading, mesh_view, sheet
from vrnlib.provenance import collect, replacing, write_json

SDIST = "face_recognition==1.3.0"
PORTRAITS = ("obama.jpg", "obama2.jpg", "biden.jpg", "obama_partial_face.jpg")


def packaged() -> dict[str, np.ndarray]:
    """The photographs that come with the project's packages: name -> (H, W, 3) uint8."""
    import matplotlib.cbook
    import skimage.data
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = np.array(Image.open(file).convert("RGB"))
    return {"astronaut": skimage.data.astronaut(), "grace_hopper": hopper}


def fetch(folder: str | Path) -> list[Path]:
    """Fetch the portraits of :data:`SDIST` through pip into `folder` (kept there for the next time).

    Raises
    ------
    VrnError : pip can't fetch the package, or it does not hold the portraits.
    """
    folder = Path(folder)
    wanted = [folder / name for name in PORTRAITS]
    if all(p.is_file() for p in wanted):
        return wanted
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            ":all:",
            "-d",
            temporary,
            SDIST,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        archives = list(Path(temporary).glob("*.tar.gz"))
        if done.returncode or not archives:
            said = done.stderr.strip().splitlines()[-1:]
            raise VrnError(f"pip could not fetch {SDIST} ({said}): go on without --fetch")
        with tarfile.open(archives[0]) as archive:
            members = {Path(m.name).name: m for m in archive.getmembers() if "/tests/test_images/" in m.name}
            for path in wanted:
                content = archive.extractfile(members[path.name]) if path.name in members else None
                if content is None:
                    raise VrnError(f"{SDIST} no longer holds {path.name}: go on without --fetch")
                with replacing(path) as partial:
                    partial.write_bytes(content.read())
    return wanted


def strip(photo: np.ndarray | Path, network: Path | None, size: int = 150) -> list[np.ndarray]:
    """One photograph -> its window, the volume's relief, plaster mesh front, turned and side, textured mesh
    turned both ways.
    """
    from vrnlib.reconstruct import reconstruct

    face = reconstruct(photo, network=network)
    vertices, faces = np.asarray(face.mesh.vertices), np.asarray(face.mesh.faces)
    colours = np.asarray(face.mesh.visual.vertex_colors)[:, :3]
    extent = face.crop.size * 0.72 / face.crop.scale
    window = cv2.resize(face.crop.image(face.image), (size, size), interpolation=cv2.INTER_CUBIC)
    relief = cv2.resize(depth_shading(face.volume), (size, size))
    views = [mesh_view(vertices, faces, turn=turn, size=size, extent=extent) for turn in (0, 45, 90)]
    views += [
        mesh_view(vertices, faces, colours, turn=turn, size=size, extent=extent) for turn in (0, 40, -40)
    ]
    return [window, np.repeat(relief[..., None], 3, 2), *views]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vrnlib.gallery", description="Reconstruct the photographs at hand."
    )
    parser.add_argument("--out", type=Path, default=None, help="default: results/figures/photographs.png")
    parser.add_argument("--network", type=Path, default=None)
    parser.add_argument(
        "--fetch", action="store_true", help="also fetch the portraits of the package face_recognition"
    )
    parser.add_argument("--cache", type=Path, default=Path("cache/photographs"))
    parser.add_argument(
        "--figure8",
        action="store_true",
        help="the review's Figure 8 for every network there is; default --out: results/figures/figure8.png",
    )
    given = parser.parse_args(arguments)
    try:
        photos: dict[str, np.ndarray | Path] = dict(packaged())
        if given.fetch:
            photos |= {p.stem: p for p in fetch(given.cache)}
        if given.figure8:
            from vrnlib import figure8

            out = given.out or Path("results/figures/figure8.png")
            about = figure8.draw(photos, out, Path("results/checkpoints"))
            print(f"{out}: stray bodies {about['stray']}; not run: {', '.join(about['missing']) or 'none'}")
            return 0
        out = given.out or Path("results/figures/photographs.png")
        tiles: list[np.ndarray] = []
        failed = {}
        for name, photo in photos.items():
            try:
                tiles += strip(photo, given.network)
            except VrnError as error:
                failed[name] = str(error)
        if not tiles:
            raise VrnError(f"no photograph could be reconstructed: {failed}")
        out.parent.mkdir(parents=True, exist_ok=True)
        picture = sheet(tiles, 8)
        with replacing(out) as temporary:
            temporary.write_bytes(
                cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
            )
        shown = [name for name in photos if name not in failed]
        write_json(
            out.with_suffix(".json"),
            {"photographs": shown, "failed": failed, "provenance": collect({}, {}, [])},
        )
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{out}: {', '.join(shown)}" + "".join(f"\n  left out {name}: {why}" for name, why in failed.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
