"""`mapped-scans`, after the Florence protocol: faces of another topology and shape space, one real scan."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from vrnlib import camera
from vrnlib.appearance import Look, Scene, dress, sample_light, sample_look
from vrnlib.databases.sample import SUPERSAMPLING
from vrnlib.databases.scan_source import MAPPED, ScanData, load_scans
from vrnlib.databases.surface_sample import LUMA, Camera, Surface, photograph, surface_sample, textured
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, rotation_matrix
from vrnlib.props import clothe
from vrnlib.render import vertex_normals
from vrnlib.shading import exposed, labels
from vrnlib.surface import EYEBALL, HAIRLINE, SKIN
from vrnlib.variation import Ranges
from vrnlib.voxel import Grid, solid_faces

PITCHES = (-15.0, -20.0, -25.0)
YAWS = (-80.0, -40.0, 0.0, 40.0, 80.0)
"""Degrees, as in the authors' file names `florence_SS_PITCH_YAW_vol.raw` (files beside Jackson's thesis)."""
SEED = 7_000_001
TUCK = 1.0
"""Our head around a mapped face is drawn so many millimetres under its own surface: the mask wins."""
LID_SHADE = 0.5
"""Share of the light that falls on the eyes of a mapped face."""
_POINTS = 19000
_WIDTH = 64.0  # mm from the middle: the evaluation's face region, as in `face_points`


class MappedScans:
    """45 mapped faces and one real textured scan in 15 poses each: 690 images, frozen.

    What differs from training: topology and shape space of the 45. Their lids are half shut, so eyes are
    drawn on a closed surface; skin, brows and lips are ours, carried over by a non-rigid registration, and
    ears, neck and hair are our mean head warped around the mask. The 46th face is a man as he was scanned,
    shape and skin, whose texture already holds studio light; it is only shaded a little further, before other
    surroundings, with another exposure and camera. Persons share nothing with training.

    The solid closes the open mask by training's rule (its border, and a plane behind). The mask reaches less
    far towards the ears and the angle of the jaw than training's face surface; the scan's region is cut to
    training's.

    The geometry is fetched when first needed (:func:`vrnlib.databases.scan_source.load_scans`).

    Raises
    ------
    VrnError : the faces can't be fetched; callers show "not run".
    """

    def __init__(self, size: int = 192, depth: int = 200, truth: bool = False):
        self.grid = Grid(size, depth)
        self.truth = truth
        self._data = load_scans()

    def __len__(self) -> int:
        return (MAPPED + 1) * len(PITCHES) * len(YAWS)

    def info(self, index: int) -> dict[str, Any]:
        """What sample `index` shows: identity (0..45; 45 is the real scan), expression, pitch, yaw and roll
        in degrees, and the kind of face, `mapped` or `scan`.

        Raises
        ------
        VrnError : there is no such sample.
        """
        if not 0 <= index < len(self):
            raise VrnError(f"mapped-scans has samples 0 to {len(self) - 1}, asked for {index}")
        identity, pose = divmod(index, len(PITCHES) * len(YAWS))
        return {
            "identity": identity,
            "expression": "neutral",
            "pitch": PITCHES[pose // len(YAWS)],
            "yaw": YAWS[pose % len(YAWS)],
            "roll": 0.0,
            "kind": "scan" if identity == MAPPED else "mapped",
        }

    def parameters(self, index: int) -> list[np.ndarray]:
        """The numbers that sample `index` is made from, for the manifest."""
        info = self.info(index)
        return [np.array([SEED, info["identity"], info["pitch"], info["yaw"]])]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        info = self.info(index)
        pose = np.deg2rad([info["pitch"], info["yaw"], info["roll"]])
        rng = np.random.default_rng((SEED, 2, index))
        if info["kind"] == "scan":
            surface, draw = _scan_surface(), partial(_scan_picture, self._data, rng=rng)
        else:
            surface = _mapped_surface(info["identity"])
            draw = partial(_mapped_picture, info["identity"], rng=rng)
        return surface_sample(surface, pose, self.grid, draw, self.truth)


def _spread(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Points even by area over the middle of a face: (P, 3) vertex numbers and (P, 3) weights.
    faces = faces[(np.abs(vertices[faces][..., 0]) < _WIDTH).all(1)]
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    rng = np.random.default_rng(0)
    which = rng.choice(len(faces), _POINTS, p=area / area.sum())
    u, v = np.sort(rng.random((2, _POINTS)), axis=0)
    return faces[which], np.stack([u, v - u, 1 - v], 1)


@lru_cache(maxsize=1)
def _mapped_topology() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # the solid's triangles, and the points that correspond on all 45 faces
    data = load_scans()
    ids, weights = _spread(data.vertices.mean(0).astype(np.float64), data.faces)
    return solid_faces(data.faces, data.vertices.shape[1]), ids, weights


@lru_cache(maxsize=MAPPED)
def _mapped_surface(identity: int) -> Surface:
    data = load_scans()
    solid, ids, weights = _mapped_topology()
    vertices = data.vertices[identity]
    return Surface(vertices, solid, data.landmarks[identity], np.einsum("pk,pkc->pc", weights, vertices[ids]))


@lru_cache(maxsize=1)
def _scan_surface() -> Surface:
    data = load_scans()
    used, faces = np.unique(data.scan_faces[data.scan_region], return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int32)
    vertices = data.scan_vertices[used]
    ids, weights = _spread(vertices.astype(np.float64), faces)
    points = np.einsum("pk,pkc->pc", weights, vertices[ids])
    return Surface(vertices, solid_faces(faces, len(vertices)), data.scan_landmarks, points)


@lru_cache(maxsize=8)
def _scene(identity: int) -> tuple[Scene, Look]:
    # The mask with our head around it, in the colours of one person.
    data = load_scans()
    rng = np.random.default_rng((SEED, 1, identity))
    look = sample_look(rng, ranges=Ranges(headwear=0.0))
    look.values[HAIRLINE] = rng.uniform(62, 84)  # the mask has no hair of its own to lift
    head = data.heads[identity]
    scene = dress(head, look)
    n, beyond = len(head), scene.teeth[1]  # the mouth is shut: no teeth; what follows them is hair
    tucked = scene.vertices.copy()
    tucked[:n] -= TUCK * vertex_normals(head, load_basis().faces)
    first, second = len(tucked), len(tucked) + data.vertices.shape[1]
    closed = [scene.faces[: len(data.kept)][data.kept], data.faces[~data.split] + first]
    closed.append(data.split_faces + second)
    part = [np.full(len(f), SKIN, np.uint8) for f in closed]
    part[-1][data.eye] = EYEBALL
    none = np.zeros((data.vertices.shape[1] + len(data.split_corners), 3), np.float32)
    scene = replace(
        scene,
        vertices=np.concatenate([tucked, *_refined(data, data.vertices[identity])]),
        faces=np.concatenate([*closed, scene.faces[beyond:]]).astype(np.int32),
        part=np.concatenate([*part, scene.part[beyond:]]),
        canon=np.concatenate([scene.canon, *_refined(data, data.canon)]),
        tangent=np.concatenate([scene.tangent, none]),
        occlusion=np.concatenate([scene.occlusion, *_refined(data, data.occlusion)]),
        lips=np.concatenate([scene.lips, *_refined(data, data.lips)]),
        teeth=(0, 0),
        culled=sum(map(len, closed)),
    )
    return scene, look


def _refined(data: ScanData, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Values (7160, ...) of the mask's vertices, and those of the small triangles around the eyes.
    return values, np.einsum("nk,nk...->n...", data.split_weights, values[data.split_corners])


def _mapped_picture(identity: int, view: Camera, rng: np.random.Generator) -> np.ndarray:
    scene, look = _scene(identity)
    large = view.enlarged(SUPERSAMPLING)
    yaw = np.arctan2(view.rotation[0, 2], view.rotation[2, 2])
    body = rotation_matrix(rng.normal(0, 0.06), np.clip(-yaw * rng.uniform(0.3, 0.9), -1.4, 1.4), 0)
    build = (rng.uniform(0.8, 1.1), rng.uniform(0.3, 1.0), rng.uniform(-4, 16))
    scene = clothe(scene, load_scans().heads[identity], view.rotation.T @ body, build)
    seen = (scene, large.rotation, large.scale, large.centre)
    drawn, bright = exposed(*seen, sample_light(rng), large.size)
    # the eyes lie flat on the lids instead of below them: give them the lids' shade
    drawn[labels(*seen, large.size) == EYEBALL, :3] *= LID_SHADE
    target = np.clip(0.05 + 0.42 * float(look.skin @ LUMA), 0.03, 0.3) * np.exp(rng.normal(0, 0.3))
    return photograph(drawn, camera.backdrop(rng, view.size), target / max(bright, 1e-3), rng)


def _scan_picture(data: ScanData, view: Camera, rng: np.random.Generator) -> np.ndarray:
    lamp = rng.normal(size=3) * [1, 0.6, 0.5] + [0, 0.3, 0.6]
    lamp /= np.linalg.norm(lamp)
    tint = np.exp(rng.normal(0, 0.08) * np.array([1, 0, -1]))  # cooler or warmer
    drawn = textured(
        view.enlarged(SUPERSAMPLING), data.scan_vertices, data.scan_faces, data.scan_uv, data.scan_texture,
        lamp, rng.uniform(0.0, 0.5), tint,
    )  # fmt: skip
    bright = float((drawn[..., :3] @ LUMA).sum() / drawn[..., 3].sum())
    gain = 0.13 / bright * np.exp(rng.normal(0, 0.3))
    return photograph(drawn, camera.backdrop(rng, view.size), gain, rng)
