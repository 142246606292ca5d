"""One 3D morphable model for EOS and 3DDFA, learned from training faces only.

    python -m vrnlib.baselines.morphable --out results/checkpoints/3dmm.safetensors

``S = mean + sum_i a_i A_i + sum_j e_j E_j`` (Blanz & Vetter 1999; identity and expression apart as in Zhu et
al. 2016, Eq. 1). Identity axes are the principal components of the neutral training faces of `synth-lp`,
expression axes those of their displacements by expression; coefficients are in standard deviations, so 0 is
the average training face and about 95 % of faces have each coefficient within +-2.

The model's mesh is the face surface that VRN's volumes are filled from, plus a strip that reaches back to the
jaw line, where nine of the 68 landmarks lie. Model frame: millimetres, x to the viewer's right, y up, z
towards the viewer, origin between the eyes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from vrnlib.databases.sample import face_points
from vrnlib.errors import VrnError
from vrnlib.faces import load_basis, sample_expression, sample_identity
from vrnlib.provenance import collect, project_folder, replacing, write_json

PATH = Path("results") / "checkpoints" / "3dmm.safetensors"
"""The model that the baselines use, relative to the repository."""
FORMAT = "vrnlib-3dmm-1"
TRAINING_SEED = 0
TRAINING_FACES = 12_000
"""About as many people as the laptop VRN saw in training."""
IDENTITIES, EXPRESSIONS = 80, 29
"""Number of axes: 29 expressions as in 3DDFA; 80 identities where it has 199, for fewer degrees of freedom
of the faces."""
_RINGS = 3  # the strip to the jaw line is this many triangles wide


@dataclass(frozen=True)
class Morphable:
    """The model; V vertices, F triangles, of which the face surface are the first S and G.

    Bases are in millimetres per standard deviation, rows ordered by variance, flattened (V, 3).
    """

    mean: np.ndarray  # (V, 3) float32 mm, the average training face, expression included
    mean_expression: np.ndarray  # (V, 3) float32 mm: mean - mean_expression is the average neutral face
    identity_basis: np.ndarray  # (I, 3 V) float32
    expression_basis: np.ndarray  # (J, 3 V) float32
    faces: np.ndarray  # (F, 3) int32, oriented towards the viewer
    landmarks: np.ndarray  # (68,) int64, vertex of each iBUG point
    mirror: np.ndarray  # (V,) int64, vertex on the other side of the face
    head_vertices: np.ndarray  # (V,) int64, the vertex of `vrnlib.faces.load_basis()` that each one is
    surface_size: int  # S
    surface_face_count: int  # G

    @property
    def surface_faces(self) -> np.ndarray:
        """(G, 3) int32, triangles of the face surface: eyes and mouth are closed; into the first S
        vertices."""
        return self.faces[: self.surface_face_count]

    def shape(self, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> np.ndarray:
        """Coefficients in SD, (..., i) and (..., j) with i, j up to the number of axes (missing ones are 0)
        -> (..., V, 3) float32 mm.

        Raises
        ------
        VrnError : more coefficients than axes.
        """
        out = self.mean.ravel()
        for name, a, basis in (
            ("identity", identity, self.identity_basis),
            ("expression", expression, self.expression_basis),
        ):
            if a is not None:
                a = np.asarray(a, np.float32)
                if a.shape[-1] > len(basis):
                    raise VrnError(
                        f"{a.shape[-1]} {name} coefficients, but the model has {len(basis)} {name} axes"
                    )
                out = out + a @ basis[: a.shape[-1]]
        return out.reshape(*out.shape[:-1], -1, 3)

    def project(self, vertices: np.ndarray, prior: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """The model's face nearest to given ones: identity (..., I) and expression (..., J) in SD, float32.

        Least squares over all vertices; `prior` (mm^2) adds that many times the squared length of the
        coefficients.

        Parameters
        ----------
        vertices : (..., V, 3) mm, model frame (see :meth:`of_head`).
        """
        vertices = np.asarray(vertices)
        flat = (vertices - self.mean).reshape(-1, self.mean.size).astype(np.float64)
        both = np.concatenate([self.identity_basis, self.expression_basis]).astype(np.float64)
        normal = both @ both.T + prior * np.eye(len(both))
        a = np.linalg.solve(normal, both @ flat.T).T.astype(np.float32).reshape(*vertices.shape[:-2], -1)
        return a[..., : len(self.identity_basis)], a[..., len(self.identity_basis) :]

    def of_head(self, head: np.ndarray) -> np.ndarray:
        """Vertices of a head of our face basis, (..., 4538, 3) -> the model's (..., V, 3)."""
        return head[..., self.head_vertices, :]

    def flipped(self, vertices: np.ndarray) -> np.ndarray:
        """The mirror image (..., V, 3) of a face in the model frame."""
        return vertices[..., self.mirror, :] * np.array([-1, 1, 1], vertices.dtype)

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        ids, weights = face_points()
        place = np.full(int(self.head_vertices.max()) + 1, -1)
        place[self.head_vertices] = np.arange(len(self.head_vertices))
        return place[ids], weights

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """The ground-truth points of the face region, (V, 3) -> (P, 3), in the order of a sample's `points`;
        any frame."""
        ids, weights = self._points
        return np.einsum("pki,pk->pi", vertices[ids], weights)

    def surface(self, vertices: np.ndarray, levels: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """The face surface of (V, 3) vertices of any frame as a mesh, each triangle cut `levels` times into
        four.

        The error pairs vertices, so vertices must lie as dense as an isosurface's; cutting changes no shape.

        Returns
        -------
        vertices (N, 3) float32; faces (4^levels G, 3) int32, oriented so that normals point out of the face.
        """
        fine, faces = subdivide(vertices[: self.surface_size], self.surface_faces, levels)
        return fine.astype(np.float32), faces

    def save(self, path: str | Path) -> Path:
        """Write as safetensors: bases as float16 (off by less than 0.01 mm per SD), the rest as it is."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        for name in ("identity_basis", "expression_basis"):
            arrays[name] = arrays[name].astype(np.float16)
        for name in ("landmarks", "mirror", "head_vertices", "faces"):
            arrays[name] = arrays[name].astype(np.uint16)
        content = to_bytes({k: np.ascontiguousarray(v) for k, v in arrays.items()}, {"format": FORMAT})
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return Path(path)


def load_morphable(path: str | Path | None = None) -> Morphable:
    """The model from its file; the last one used is kept in memory.

    Raises
    ------
    VrnError : it is missing, damaged, or not one of ours.
    """
    path = project_folder() / PATH if path is None else Path(path)
    if not path.is_file():
        raise VrnError(f"no morphable model at '{path}': make it with python -m vrnlib.baselines.morphable")
    return _load(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(path: Path, changed: int) -> Morphable:
    try:
        arrays: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise VrnError(
            f"'{path}' is damaged ({error}): make it with python -m vrnlib.baselines.morphable"
        ) from None
    missing = {f.name for f in fields(Morphable)} - set(arrays)
    if missing:
        raise VrnError(f"'{path}' is not a morphable model of this project: it lacks {', '.join(missing)}")
    for name in ("identity_basis", "expression_basis"):
        arrays[name] = arrays[name].astype(np.float32)
    for name in ("landmarks", "mirror", "head_vertices"):
        arrays[name] = arrays[name].astype(np.int64)
    arrays["faces"] = arrays["faces"].astype(np.int32)
    for name in ("surface_size", "surface_face_count"):
        arrays[name] = arrays[name].item()
    return Morphable(**arrays)


def subdivide(vertices: np.ndarray, faces: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut each triangle `levels` times into four at the middles of its sides; the surface stays the same.

    Parameters
    ----------
    vertices : (V, 3); faces : (F, 3) int, every vertex used.

    Returns
    -------
    vertices (N, 3) float64, the first V unchanged; faces (4^levels F, 3) int32.
    """
    faces, parents = _subdivision(np.ascontiguousarray(faces, np.int32).tobytes(), levels)
    out = np.asarray(vertices, np.float64)
    for pair in parents:
        out = np.concatenate([out, out[pair].mean(1)])
    return out, faces


@lru_cache(maxsize=4)
def _subdivision(faces: bytes, levels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    # midpoints: faces after `levels` cuts, and for each cut the two ends (E, 2) of every new vertex
    mesh = np.frombuffer(faces, np.int32).reshape(-1, 3).astype(np.int64)
    count, parents = int(mesh.max()) + 1, []
    for _ in range(levels):
        edges = np.sort(np.concatenate([mesh[:, [0, 1]], mesh[:, [1, 2]], mesh[:, [2, 0]]]), axis=1)
        pairs, number = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = (number.reshape(3, -1) + count).astype(np.int64)
        a, b, c = mesh.T
        corners = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        mesh = np.concatenate([np.stack(t, 1) for t in corners])
        parents.append(pairs)
        count += len(pairs)
    return mesh.astype(np.int32), parents


def _mesh() -> tuple[np.ndarray, np.ndarray]:
    # Vertices of the head (V,), the face surface first, and triangles (F, 3) into them: the surface's, then
    # those of the strip to the jaw line.
    basis = load_basis()
    skin = basis.faces[basis.part == 0]
    inside = np.zeros(len(basis.mean), bool)
    inside[basis.surface] = True
    outer = inside.copy()
    _, y, z = basis.mean.T
    strip = (z < -35) & (y > -95) & (y < 12)  # behind the cheeks; neither the neck nor the temples
    for _ in range(_RINGS):
        near = skin[outer[skin].any(1)].ravel()
        outer[near[strip[near]]] = True
    added = skin[outer[skin].all(1) & ~inside[skin].all(1)]
    ids = np.concatenate([basis.surface, np.setdiff1d(np.unique(added), basis.surface)])
    place = np.full(len(basis.mean), -1)
    place[ids] = np.arange(len(ids))
    return ids, np.concatenate([basis.surface_faces, place[added]]).astype(np.int32)


def draw_training(count: int, seed: int = TRAINING_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the face basis of the first people of `synth-lp`, as `SynthLP` draws them.

    Returns
    -------
    identities, expressions : (count, K) float32 each; a head is ``load_basis().vertices(i + e)``.
    """
    people = [np.random.default_rng((seed, 1, number)) for number in range(count)]
    pairs = [(sample_identity(rng), sample_expression(rng)) for rng in people]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def _axes(drawn: np.ndarray, displacement: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    # PCA of drawn @ displacement without making it: mean (D,), axes (count, D) scaled to 1 SD, all variances
    middle = drawn.mean(0)
    values, vectors = np.linalg.eigh(np.cov(drawn, rowvar=False))
    root = (vectors * np.sqrt(np.maximum(values, 0))).T @ displacement  # (K, D): covariance = root^T root
    small, turn = np.linalg.eigh(root @ root.T)
    order = np.argsort(-small)
    axes = turn[:, order[:count]].T @ root
    return middle @ displacement, axes, np.maximum(small[order], 0)


def build(
    count: int = TRAINING_FACES, identities: int = IDENTITIES, expressions: int = EXPRESSIONS,
    seed: int = TRAINING_SEED,
) -> tuple[Morphable, dict[str, Any]]:  # fmt: skip
    """Learn the model from `count` training faces; return it and how much variance its axes explain.

    Raises
    ------
    VrnError : fewer faces than axes.
    """
    if count <= max(identities, expressions):
        raise VrnError(f"{count} faces are too few for {identities} + {expressions} axes")
    basis = load_basis()
    ids, faces = _mesh()
    displacement = basis.fields.reshape(len(basis.names), -1, 3)[:, ids].reshape(len(basis.names), -1)
    displacement = displacement.astype(np.float64)
    people, actions = draw_training(count, seed)
    middle, identity, identity_variance = _axes(people.astype(np.float64), displacement, identities)
    moved, expression, expression_variance = _axes(actions.astype(np.float64), displacement, expressions)
    place = np.full(len(basis.mean), -1)
    place[ids] = np.arange(len(ids))
    model = Morphable(
        mean=(basis.mean[ids].ravel() + middle + moved).reshape(-1, 3).astype(np.float32),
        mean_expression=moved.reshape(-1, 3).astype(np.float32),
        identity_basis=_upright(identity),
        expression_basis=_upright(expression),
        faces=faces,
        landmarks=place[basis.landmarks],
        mirror=place[basis.mirror[ids]],
        head_vertices=ids,
        surface_size=len(basis.surface),
        surface_face_count=len(basis.surface_faces),
    )
    explained = {
        "training_faces": count,
        "identity": _compactness(identity_variance, identities, len(ids)),
        "expression": _compactness(expression_variance, expressions, len(ids)),
    }
    return model, explained


def _upright(axes: np.ndarray) -> np.ndarray:
    # the sign of an axis means nothing: fix it, so that every build gives the same one
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    return (axes * np.sign(largest)[:, None]).astype(np.float32)


def _compactness(variance: np.ndarray, count: int, vertices: int) -> dict[str, Any]:
    total = variance.sum()
    return {
        "axes": count,
        "explained": float(variance[:count].sum() / total),
        "explained_cumulative": np.round(np.cumsum(variance[:count]) / total, 5),
        "rms_mm": float(np.sqrt(total / vertices)),
        "lost_rms_mm": float(np.sqrt(variance[count:].sum() / vertices)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Build the model, measure it on held-out people, write both. See the module."""
    from vrnlib.baselines.model_statistics import statistics

    parser = argparse.ArgumentParser(prog="python -m vrnlib.baselines.morphable", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=project_folder() / PATH)
    parser.add_argument("--faces", type=int, default=TRAINING_FACES, help="training faces")
    parser.add_argument("--heldout", type=int, default=300, help="people to measure it on")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        model, explained = build(options.faces)
        model = load_morphable(model.save(options.out))  # what is measured is what was written
        report = explained | statistics(model, options.heldout)
        report["provenance"] = collect(
            {"faces": options.faces, "heldout": options.heldout}, TRAINING_SEED,
            wall_seconds=time.perf_counter() - start,
        )  # fmt: skip
        write_json(options.out.with_suffix(".json"), report)
    except VrnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(model.mean)} vertices, {options.out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
