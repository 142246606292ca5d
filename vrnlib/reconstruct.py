"""A photograph in, a 3D face out: the main path, in one sitting.

``images.load -> detect -> Crop -> network -> isosurface -> largest body -> texture -> image frame``

Jackson et al. (ICCV 2017), Sec. 3: the network regresses, for each of (D, H, W) voxels, the probability that
it lies inside of the face; the isosurface at one half is the face. The notebook ``00_start_here`` walks
through it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vrnlib import detect as detection
from vrnlib import images, labelling, labelling_voxels, meshio, texture, voxel
from vrnlib.crop import Crop
from vrnlib.errors import VrnError
from vrnlib.predict import (
    Guidance,
    Network,
    check_guidance,
    default_checkpoint,
    for_inference,
    load_network,
)
from vrnlib.render import rasterise, vertex_normals

if TYPE_CHECKING:
    import trimesh

__all__ = ["Face", "Network", "default_checkpoint", "for_inference", "load_network", "reconstruct"]

SMOOTH = 0.7
"""Default blur of a photograph's volume, pixels of the window; chosen by eye. What it does to the error:
`benchmarks/mirror.py`."""
MOST_SMOOTH = 10.0


@dataclass(frozen=True)
class Face:
    """One reconstructed face.

    Attributes
    ----------
    mesh : trimesh.Trimesh
        In the frame of the photograph: pixels, x right, y down, z towards the viewer; oriented outwards; one
        sRGB colour per vertex.
    volume : (D, H, W) float16, 0..1
        Probability of each voxel of the network's window to lie inside of the face (axes: `vrnlib.voxel`).
    landmarks : (68, 2) float32
        Pixels of the photograph.
    crop : Crop
        Photograph to network window, and back.
    detection : vrnlib.detect.Detection
        The face that was reconstructed.
    faces_found : int
        How many faces the photograph shows.
    removed_bodies : int
        Stray bodies that dynamic labelling removed.
    image : (H, W, 3) uint8
        The photograph, RGB, upright.
    texture : vrnlib.texture.Texture
        The window's pictures for the visible and the hidden side.
    timings : dict of str to float
        Seconds by step.
    confidence : (68,) float32, 0..1, or None
        How sure the network is of each of its own landmarks (`vrnlib.predict.Answer`); None where it finds
        none. `landmarks` are the detector's.
    """

    mesh: trimesh.Trimesh
    volume: NDArray[np.float16]
    landmarks: NDArray[np.float32]
    crop: Crop
    detection: detection.Detection
    faces_found: int
    removed_bodies: int
    image: NDArray[np.uint8]
    texture: texture.Texture
    timings: dict[str, float]
    confidence: NDArray[np.float32] | None = None

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the mesh as GLB (with the photograph as texture), OBJ or PLY (with vertex colours), y up.

        Parameters
        ----------
        path : path
            Its extension names the format.

        Returns
        -------
        path : Path

        Raises
        ------
        VrnError
            For another extension, or a folder that is missing or not writable. An existing file is replaced
            at once, or stays as it was.
        """
        path = meshio.check_target(path)
        return meshio.write(path, self.surface(textured=path.suffix.lower() == ".glb"))

    def surface(self, textured: bool = False) -> meshio.Surface:
        """The mesh in the frame of files: y up, y = 0 at the last row of the photograph.

        Parameters
        ----------
        textured : bool
            With texture coordinates into the two pictures of `texture` side by side. Vertices on the border
            between both then occur twice.
        """
        vertices = np.asarray(self.mesh.vertices, np.float32)
        faces = np.asarray(self.mesh.faces, np.int32)
        normals = vertex_normals(vertices, faces)
        colours = np.asarray(self.mesh.visual.vertex_colors)[:, :3]
        uv = picture = None
        if textured:
            inside = self.crop.apply(vertices)
            # (F,) a triangle is on one picture or the other
            shown = self.texture.visible(inside)[faces].all(1)
            n = len(vertices)
            # vertex i of the hidden side becomes n + i; then unused ones are dropped
            doubled = np.where(shown[:, None], faces, faces + n)
            used = np.zeros(2 * n, bool)
            used[doubled.ravel()] = True
            faces = (np.cumsum(used) - 1).astype(np.int32)[doubled]
            kept = np.flatnonzero(used)
            hidden, index = kept >= n, kept % n
            vertices, normals, colours = vertices[index], normals[index], colours[index]
            # half a texel away from the seam between the pictures, lest they bleed into one another
            margin = 0.5 / self.texture.front.shape[0]
            place = np.clip((inside[index, :2] + 0.5) / self.crop.size, margin, 1 - margin)
            uv = np.stack([(place[:, 0] + hidden) / 2, place[:, 1]], 1).astype(np.float32)
            picture = np.concatenate([self.texture.front, self.texture.back], axis=1)
        up = np.array([1, -1, 1], np.float32)
        shift = np.array([0, self.image.shape[0] - 1, 0], np.float32)
        return meshio.Surface(
            vertices * up + shift, np.ascontiguousarray(faces[:, ::-1]), colours, normals * up, uv, picture
        )


def reconstruct(
    image: images.ImageLike,
    *,
    network: str | PathLike[str] | Network | None = None,
    detector: str | detection.Detector = "dlib",
    weights: str | PathLike[str] | None = None,
    face: str | int = "largest",
    landmarks: NDArray[np.floating] | None = None,
    box: Sequence[float] | None = None,
    level: float = 0.5,
    bodies: str = "largest",
    guidance: Guidance = "network",
    mirror: bool = True,
    smooth: float = SMOOTH,
) -> Face | list[Face]:
    """Reconstruct the 3D face in a photograph (Jackson et al. 2017).

    Parameters
    ----------
    image : path, (H, W, 3) uint8 RGB array or PIL image
        See `vrnlib.images.load`.
    network : path or Network, optional
        A checkpoint. Default: the environment variable ``VRN_WEIGHTS``, else the one in
        ``results/checkpoints``.
    detector : str or Detector
        "dlib", "free", or another name of `vrnlib.detect.DETECTORS`, or an object like them.
    weights : path, optional
        Folder of the detector's weight files, or the checkpoint of our landmark network.
    face : "largest", "all", "only" or N
        Which face, if there are several; N counts from 1 at the left.
    landmarks : (68, 2) float, image pixels, optional
        Known landmarks: nothing is detected.
    box : (x0, y0, x1, y1), image pixels, optional
        A box round the face, from the brows to the chin, where the detector misses it.
    level : float
        Isovalue, between 0 and 1: lower makes the face fatter.
    bodies : str
        What dynamic labelling keeps: ``largest`` body of the mesh; or, decided on the voxels before there is
        a mesh, ``landmarks`` (the body seen at most of the landmarks), ``min-share=0.1`` (bodies of at least
        that share of the largest one's volume) or ``all``. See :mod:`vrnlib.labelling_voxels`.
    guidance : "network" or "detector"
        What guides a VRN-Guided: the landmarks that the network finds itself, as in the paper, or those that
        the detector found (or `landmarks`). Of no meaning for other networks. A detector's outline of the
        jaw is not what the network was taught: on drawn faces it does worse (`benchmarks/mirror.py`).
    mirror : bool
        Average the network's answers to the photograph and to its mirror image
        (`vrnlib.predict.Network.predict`).
    smooth : float
        Blur of the volume before its surface is taken, pixels of the network's window; 0 is none.

    Returns
    -------
    face : Face
        A list of them, from left to right, with ``face="all"``.

    Raises
    ------
    VrnError
        For anything that is wrong with the photograph, the checkpoint or the arguments, and if no face is
        found.
    """
    if not 0 < level < 1:
        raise VrnError(f"level is {level:g}, it must lie between 0 and 1 (0.5 is the surface)")
    check_guidance(guidance)
    if not 0 <= smooth <= MOST_SMOOTH:
        raise VrnError(f"smooth is {smooth:g} pixels, it must lie between 0 (none) and {MOST_SMOOTH:g}")
    policy, keep = detection.parse_policy(face), labelling_voxels.parse_policy(bodies)
    where = f"'{image}'" if isinstance(image, (str, PathLike)) else "the photograph"
    timings: dict[str, float] = {}
    with _timed(timings, "load"):
        photo = images.load(image)
    with _timed(timings, "network load"):
        net = network if isinstance(network, Network) else load_network(network)
    with _timed(timings, "detect"):
        if landmarks is not None:
            found = [_given(landmarks, where)]
        else:
            found = detection.detect(photo, detector, None if box is None else [tuple(box)], weights)
        chosen = detection.choose(found, policy, where)
    faces = [
        _one(photo, d, net, level, keep, guidance, mirror, smooth, where, len(found), dict(timings))
        for d in chosen
    ]
    return faces if policy == "all" else faces[0]


def _one(
    photo: NDArray[np.uint8],
    found: detection.Detection,
    net: Network,
    level: float,
    keep: labelling_voxels.Policy,
    guidance: Guidance,
    mirror: bool,
    smooth: float,
    where: str,
    faces_found: int,
    timings: dict[str, float],
) -> Face:
    """From one detection to one face."""
    import torch
    import trimesh

    with _timed(timings, "crop"):
        crop = found.crop(net.size)
        window = crop.image(photo)
    with _timed(timings, "network"):
        points = crop.apply(found.landmarks)
        volume, sure = net.answer(window, points if guidance == "detector" else None, mirror)
    removed, solid = 0, volume
    if keep.name != "largest":
        with _timed(timings, "labelling"):
            solid, removed = labelling_voxels.keep_bodies(volume, level, keep, points)
    with _timed(timings, "isosurface"):
        solid = voxel.smooth(solid, smooth)
        try:
            vertices, faces = voxel.isosurface(solid, level)
        except VrnError:
            raise VrnError(
                f"the network sees no face in {where}: its highest probability is {solid.max():.2f}, below "
                f"the level {level:g}; check the landmarks, or lower the level"
            ) from None
    if keep.name == "largest":
        with _timed(timings, "labelling"):
            vertices, faces, removed = labelling.largest_body(vertices, faces)
    with _timed(timings, "colours"):
        pictures = texture.make(photo, crop, rasterise(vertices, faces, net.size, net.size)[2])
        colours = pictures.colours(vertices, pictures.visible(vertices))
    with _timed(timings, "mesh"):
        mesh = trimesh.Trimesh(
            crop.invert(vertices),
            faces,
            vertex_colors=colours,
            process=False,
            validate=False,
        )
        half = torch.from_numpy(volume).half().numpy()  # several times faster than NumPy's
    timings["total"] = sum(timings.values())
    return Face(
        mesh, half, found.landmarks, crop, found, faces_found, removed, photo, pictures, timings, sure
    )


def _given(landmarks: NDArray[np.floating], where: str) -> detection.Detection:
    """Landmarks from the user as a detection."""
    points = np.asarray(landmarks, dtype=np.float32)
    if points.shape not in ((68, 2), (68, 3)) or not np.isfinite(points).all():
        raise VrnError(
            f"the landmarks for {where} have shape {points.shape}: 68 finite points (x, y) in pixels "
            "are needed"
        )
    points = points[:, :2]
    low, high = points.min(0), points.max(0)
    box = (*map(float, low), *map(float, high))
    return detection.Detection(box, float("inf"), points, detector="given landmarks")


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds the block takes."""
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
