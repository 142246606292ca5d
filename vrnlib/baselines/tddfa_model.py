"""What 3DDFA fits: the parameters of a posed 3DMM, and the vertices they stand for
(`notebooks/07_baselines`).

Zhu et al. (CVPR 2016), Eq. 2: ``V(p) = f Pr R (S + A_id a_id + A_exp a_exp) + t2d``. A parameter vector is

    p = [q0, q1, q2, q3,  tx, ty,  a_id (SDs),  a_exp (SDs)]                                    (P,) float32

- Scale and rotation in one quaternion with ``|q|^2 = f`` (pixels a millimetre), as in the authors' journal
  version. The Euler angles of the CVPR paper lose a degree of freedom at yaw +-90 degrees, where a third of
  our training poses are.
- ``(tx, ty)`` is the pixel of the model's origin, the point between the eyes.
- Coefficients are in standard deviations of our 3DMM (:mod:`vrnlib.baselines.morphable`) in place of the
  Basel Face Model's 199 and FaceWarehouse's 29.

Vertices keep their third coordinate (``Pr`` is left out): the released code of the authors measures its costs
in 3-D too, and reconstruction is what we compare. z is towards the viewer, of the model's origin 0: under a
weak perspective camera depth has no origin, and the metric aligns it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vrnlib.baselines.morphable import Morphable
from vrnlib.baselines.pncc import ncc
from vrnlib.crop import Crop
from vrnlib.errors import VrnError

POSE = 6
"""Leading elements of a parameter vector that are not shape: the quaternion and the translation."""


@dataclass(frozen=True)
class Shapes:
    """The 3DMM as 3DDFA reads it; K = Ki + Ke components, model frame (mm, x right, y up, z to the viewer).

    Attributes
    ----------
    mean : (V, 3) float32
    components : (K, V, 3) float32, millimetres at 1 SD, identity first.
    identities : Ki.
    faces : (F, 3) int32
    landmarks : (68,) int64, vertex of each iBUG point.
    """

    mean: Tensor
    components: Tensor
    identities: int
    faces: np.ndarray
    landmarks: np.ndarray

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.components.shape[1:] != self.mean.shape:
            raise VrnError(
                f"3DDFA: a mean {tuple(self.mean.shape)} and components "
                f"{tuple(self.components.shape)} are no 3DMM"
            )

    @classmethod
    def of(cls, model: Morphable) -> Shapes:
        """The parts of our 3DMM that 3DDFA needs."""
        both = np.concatenate([model.identity_basis, model.expression_basis]).astype(np.float32)
        return cls(
            torch.from_numpy(model.mean.astype(np.float32)),
            torch.from_numpy(both.reshape(len(both), -1, 3)),
            len(model.identity_basis),
            model.faces,
            model.landmarks,
        )

    @property
    def parameters(self) -> int:
        """P, the length of a parameter vector."""
        return POSE + len(self.components)

    @cached_property
    def codes(self) -> np.ndarray:
        """(V, 3) float32 colours of PNCC."""
        return ncc(self.mean.numpy())

    @cached_property
    def digest(self) -> str:
        """Short checksum of mean and components: a network fits one 3DMM and no other."""
        both = hashlib.sha256(self.mean.numpy().tobytes())
        both.update(self.components.contiguous().numpy().tobytes())
        return both.hexdigest()[:16]

    def shape(self, p: Tensor) -> Tensor:
        """(N, P) -> (N, V, 3) millimetres, unposed."""
        moved = p[:, POSE:] @ self.components.flatten(1)
        return self.mean + moved.view(len(p), *self.mean.shape)

    def vertices(self, p: Tensor) -> Tensor:
        """V(p): (N, P) -> (N, V, 3) pixels, x right, y down, z towards the viewer; differentiable."""
        return self.shape(p) @ posing(p[:, :4]).transpose(1, 2) + _lift(p[:, 4:6])[:, None]

    def project_landmarks(self, vertices: Tensor) -> Tensor:
        """(N, V, 3) -> (N, 68, 2) pixels of the iBUG points."""
        return vertices[:, self.landmarks, :2]


def posing(q: Tensor) -> Tensor:
    """Quaternions (N, 4), of any length -> (N, 3, 3), ``|q|^2`` times their rotation, rows x, y (down), z.

    Acts on columns of the y-up model frame. Quadratic in q, so differentiable everywhere.
    """
    w, x, y, z = q.unbind(1)
    rows = (
        (w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (-2 * (x * y + w * z), -(w * w - x * x + y * y - z * z), -2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def quaternion(rotation: np.ndarray, scale: float) -> np.ndarray:
    """The inverse of `posing`: a rotation of the y-up frame (3, 3) and f > 0 -> (4,) float64, ``q0 >= 0``.

    Raises
    ------
    VrnError : not a rotation, or f is not positive.
    """
    r = np.asarray(rotation, np.float64)
    if r.shape != (3, 3) or not np.allclose(r @ r.T, np.eye(3), atol=1e-5) or np.linalg.det(r) < 0:
        raise VrnError("3DDFA: the pose is not a rotation matrix")
    if not scale > 0:
        raise VrnError(f"3DDFA: the scale is {scale:g}, it must be positive")
    # the matrix of q q^T / f, from which the row of the largest diagonal element is stable
    t = np.trace(r)
    d = np.array([1 + t, 1 + 2 * r[0, 0] - t, 1 + 2 * r[1, 1] - t, 1 + 2 * r[2, 2] - t])
    skew = [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]
    k = np.diag(d)
    k[0, 1:] = k[1:, 0] = skew
    for i, j in ((0, 1), (0, 2), (1, 2)):
        k[i + 1, j + 1] = k[j + 1, i + 1] = r[i, j] + r[j, i]
    row = k[d.argmax()]
    q = row / np.linalg.norm(row) * np.sqrt(scale)
    return q if q[0] >= 0 else -q


def first_guess(shapes: Shapes, size: int) -> Tensor:
    """p0 (P,): the mean face, frontal, in the crop's middle: where the crop expects a face.

    The paper starts from the face's bounding box. Our crop is made from such a box, so that the guess is the
    same for every crop: its landmark box has the middle and the size of `vrnlib.crop`.
    """
    still = torch.zeros(1, shapes.parameters)
    still[0, 0] = 1.0
    marks = shapes.project_landmarks(shapes.vertices(still))[0].numpy()
    crop = Crop.from_landmarks(marks, size)
    p = still[0]
    p[0] = float(np.sqrt(crop.scale))
    p[4], p[5] = crop.offset
    return p


def _lift(t: Tensor) -> Tensor:
    return torch.cat([t, t.new_zeros(len(t), 1)], 1)
