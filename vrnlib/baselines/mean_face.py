"""The trivial baseline: the average training face, laid onto the landmarks.

What a method must beat to be worth anything: it knows the pose from 68 points and nothing of the person.
"""

from __future__ import annotations

import numpy as np

from vrnlib.baselines.common import Mesh, checked_landmarks, posed_mesh
from vrnlib.baselines.morphable import Morphable, load_morphable
from vrnlib.baselines.weak_perspective import WeakPerspective


def mean_face(landmarks: np.ndarray, size: int, model: Morphable | None = None) -> Mesh:
    """The mean face in the weak-perspective pose nearest to the landmarks (least squares over all 68).

    Parameters
    ----------
    landmarks : (68, 2) pixels of the crop; size : of the crop in pixels.

    Raises
    ------
    VrnError : not 68 finite landmarks, or no model.
    """
    model = model or load_morphable()
    landmarks = checked_landmarks(landmarks)
    camera = WeakPerspective.fit(model.mean[model.landmarks], landmarks)
    return posed_mesh(model, model.mean, camera, size)
