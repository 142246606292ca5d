"""A database of files as a map-style data set: order, epochs, bad files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vrnlib.databases.sample import Augmentation
from vrnlib.errors import VrnError
from vrnlib.voxel import Grid

_GIVE_UP = 100  # bad files one after the other


class FileDatabase:
    """What 300W-LP, AFLW2000-3D and renderings of scans share; a subclass says what an item is.

    ``len(data)`` items a round, in their own order, or, with `augment`, in an order shuffled once by `seed`
    (neighbours on disk show one person). An index beyond the end begins another round with other
    augmentations, so that training can draw without end; iteration stops after one round. A sample depends on
    (seed, index) and the files alone.

    Parameters
    ----------
    size, depth : of the volume.
    augment : True (Sec. 3.5 of the paper), False, or an :class:`Augmentation`.
    truth : also give `points` and `eyes`.
    skip_bad : list a bad item in `skipped` (path -> cause) and give the next one instead of raising.
    """

    name = "files"
    skipped: dict[Path, str]

    def __init__(
        self,
        size: int = 192,
        depth: int = 200,
        *,
        seed: int = 0,
        augment: bool | Augmentation = False,
        truth: bool = False,
        skip_bad: bool = False,
    ):
        self.grid = Grid(size, depth)
        self.seed = seed
        self.augment = Augmentation() if augment is True else (augment or None)
        self.truth = truth
        self.skip_bad = skip_bad
        self.skipped = {}

    def _count(self) -> int:
        raise NotImplementedError

    def path(self, number: int) -> Path:
        """The file that item `number` (0 .. len - 1, in the database's own order) is read from."""
        raise NotImplementedError

    def _sample(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[i] for i in range(len(self)))

    def number(self, index: int) -> int:
        """Which item the sample `index` (0, 1, ...) shows."""
        if index < 0:
            raise IndexError(f"samples are counted from 0, got {index}")
        at = index % len(self)
        if self.augment is None:
            return at
        if not hasattr(self, "_order"):
            self._order = np.random.default_rng((self.seed, 3)).permutation(len(self))
        return int(self._order[at])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        failed = 0
        for step in range(len(self)):
            number = self.number(index + step)
            path = self.path(number)
            if path in self.skipped:
                continue
            try:
                return self._sample(number, np.random.default_rng((self.seed, 4, index)))
            except VrnError as error:
                where = "" if str(path) in str(error) else f"'{path}': "
                if not self.skip_bad:
                    raise VrnError(f"{where}{error}") from error
                self.skipped[path] = f"{where}{error}"
                failed += 1
                if failed == _GIVE_UP:
                    break
        causes = "; ".join(list(self.skipped.values())[-2:])
        raise VrnError(f"{self.name}: no good item is left, {len(self.skipped)} were skipped ({causes})")
