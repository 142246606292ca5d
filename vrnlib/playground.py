"""A face under sliders: pose, expression, identity and light, and what the network makes of it, live.

`Playground.draw` is one change of a slider in the notebook ``00_start_here``: a face is drawn, voxelised,
given to the network, and its reconstruction drawn from the front and turned.
"""

from __future__ import annotations

import dataclasses
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib import figures, labelling, voxel
from vrnlib.appearance import Light, Look, sample_light, sample_look
from vrnlib.databases import render_sample
from vrnlib.errors import VrnError
from vrnlib.faces import expression_coefficients, load_basis, sample_identity

if TYPE_CHECKING:
    from vrnlib.predict import Network

SIDE = 220
"""Side of each of the four pictures, pixels."""
TURN = 60.0
"""Degrees by which the reconstruction is turned in its second view, away from the drawn pose."""
_HEIGHT = 0.42  # of the lamp: its direction's component upwards


class Playground:
    """Draws faces under control and reconstructs them.

    Parameters
    ----------
    network : Network
    size, depth : of the volume of the drawn face; the network gets the picture at its own size.
    seed : of the persons.
    """

    def __init__(self, network: Network, size: int, depth: int, seed: int = 0) -> None:
        self.network, self.seed = network, seed
        self.grid = voxel.Grid(size, depth)
        self.milliseconds: list[float] = []
        """How long every call of `draw` took."""

    def sample(
        self,
        yaw: float = 0,
        pitch: float = 0,
        jaw: float = 0,
        smile: float = 0,
        person: int = 0,
        light: float = 0,
    ) -> dict[str, Any]:
        """The drawn face with its volume, see `vrnlib.databases.render_sample`.

        Parameters
        ----------
        yaw, pitch : degrees; 300W-LP's sense.
        jaw, smile : 0..1, activations of the facial actions ``jawOpen`` and ``mouthSmile``.
        person : number of the person; shape, skin and hair.
        light : degrees; direction of the only lamp, 0 from the viewer, 90 from the right of the picture.
        """
        identity, look, room = _person(self.seed, int(person))
        action = expression_coefficients({"jawOpen": jaw, "mouthSmile": smile})
        angle = np.radians(light)
        direction = np.array([np.sin(angle), _HEIGHT, np.cos(angle)])
        lamp = np.concatenate([direction / np.linalg.norm(direction), np.full(3, 1.2)])[None]
        # little else is lit, lest the room hide what the lamp does
        lit = dataclasses.replace(
            room,
            lamps=lamp.astype(np.float32),
            environment=None,
            sky=room.sky * 0.35,
            ground=room.ground * 0.35,
            shadow=0.8,
        )
        rng = np.random.default_rng((self.seed, int(person), 1))
        pose = np.radians([pitch, yaw, 0.0])
        return render_sample(
            load_basis().vertices(identity + action), look, pose, lit, self.grid, rng, augment=None
        )

    def reconstruction(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The network's mesh for a picture (S, S, 3) uint8; empty if it sees no face."""
        side = self.network.size
        if image.shape[0] != side:
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        volume = self.network.predict(image)
        try:
            vertices, faces, _ = labelling.largest_body(*voxel.isosurface(volume))
        except VrnError:
            return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
        return vertices, faces

    def draw(self, **state: float) -> NDArray[np.uint8]:
        """One state of the sliders (the arguments of `sample`) as a picture of four.

        Returns
        -------
        (2 SIDE, 2 SIDE, 3) uint8
            Above, the drawn face and the relief of its true volume; below, the reconstruction from the same
            picture, from the front and turned by `TURN` degrees.
        """
        began = time.perf_counter()
        sample = self.sample(**state)
        vertices, faces = self.reconstruction(sample["image"])
        side = self.network.size
        view = {"size": SIDE, "centre": np.array([side / 2, side / 2, 0.0]), "extent": side * 0.9}
        turn = -TURN if state.get("yaw", 0) > 0 else TURN
        if len(faces):
            below = [figures.mesh_view(vertices, faces, turn=t, **view) for t in (0, turn)]
        else:
            below = [np.full((SIDE, SIDE, 3), 255, np.uint8)] * 2
        relief = figures.grey(figures.depth_shading(sample["volume"]))
        above = [_fitted(sample["image"]), _fitted(relief)]
        picture = np.concatenate([np.concatenate(above, 1), np.concatenate(below, 1)])
        self.milliseconds.append(1000 * (time.perf_counter() - began))
        return picture


@lru_cache(maxsize=8)
def _person(seed: int, number: int) -> tuple[NDArray[np.float32], Look, Light]:
    rng = np.random.default_rng((seed, number))
    return sample_identity(rng), sample_look(rng), sample_light(rng)


def _fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    way = cv2.INTER_NEAREST if picture.shape[0] < SIDE // 2 else cv2.INTER_CUBIC
    return cv2.resize(picture, (SIDE, SIDE), interpolation=way)
