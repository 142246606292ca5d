"""Databases whose faces are drawn when asked for."""

from __future__ import annotations

import numpy as np

from vrnlib.appearance import Look, sample_light, sample_look
from vrnlib.databases.sample import POSES_PER_FACE, Augmentation, render_sample, worn
from vrnlib.faces import load_basis, sample_expression, sample_identity
from vrnlib.props import Scene
from vrnlib.variation import EVERYTHING, TRAINING, Ranges, Variation
from vrnlib.voxel import Grid


class SynthLP:
    """`synth-lp`: endless training faces after 300W-LP, any sample reproducible from (seed, index) alone.

    Each identity with its expression is drawn in :data:`POSES_PER_FACE` poses (yaw to +-90 degrees), each
    time under new light, before a new background and through a new camera. With `augment` the paper's
    augmentation is part of the camera: rotation, shift, scale and flip act on the mesh, so image, landmarks
    and volume stay aligned exactly.
    """

    def __init__(
        self,
        size: int = 192,
        depth: int = 200,
        seed: int = 0,
        augment: bool | Augmentation = True,
        truth: bool = False,
        *,
        variation: Variation = EVERYTHING,
        ranges: Ranges = TRAINING,
    ):
        self.grid = Grid(size, depth)
        self.seed = seed
        self.augment = Augmentation() if augment is True else (augment or None)
        self.truth = truth
        self.variation, self.ranges = variation, ranges
        self._faces: dict[int, tuple[np.ndarray, Look]] = {}
        self._worn: dict[int, Scene] = {}  # 0.4 MB each

    def __len__(self) -> int:
        return 10**9

    def _face(self, identity: int) -> tuple[np.ndarray, Look]:
        if identity not in self._faces:
            if len(self._faces) >= 300:  # a block of shuffled training samples holds 256 (`train.SHUFFLE`)
                oldest = next(iter(self._faces))
                del self._faces[oldest]
                self._worn.pop(oldest, None)
            rng = np.random.default_rng((self.seed, 1, identity))
            head = load_basis().vertices(sample_identity(rng) + sample_expression(rng))
            self._faces[identity] = (head, sample_look(rng, ranges=self.ranges))
        return self._faces[identity]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        identity = index // POSES_PER_FACE
        head, look = self._face(identity)
        if identity not in self._worn:
            self._worn[identity] = worn(head, look, self.variation)
        rng = np.random.default_rng((self.seed, 2, index))
        yaw = rng.normal(0, 0.45) if rng.random() < 0.4 else rng.uniform(-np.pi / 2, np.pi / 2)
        pitch, roll = np.clip(rng.normal(0, 0.22), -0.7, 0.7), np.clip(rng.normal(0, 0.12), -0.6, 0.6)
        pose = np.array([pitch, np.clip(yaw, -np.pi / 2, np.pi / 2), roll])
        light = sample_light(rng, ranges=self.ranges)
        return render_sample(
            head, look, pose, light, self.grid, rng, self.augment, self.truth,
            variation=self.variation, ranges=self.ranges, dressed=self._worn[identity],
        )  # fmt: skip
