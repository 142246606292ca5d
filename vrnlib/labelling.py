"""Dynamic labelling: keep the face, remove the stray bodies of an isosurface.

A VRN volume may hold islands of voxels beside the face. On the mesh they are connected components: two
triangles belong to the same body if they share a vertex. The review's algorithm (Sec. 3.1) walks once over
the triangles; a triangle unites the labels of its three vertices, and the smallest label wins. That is a
union-find, linear in practice. The notebook on post-processing teaches it; `largest_body` is what
`vrnlib.reconstruct` calls.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def _root(parent: NDArray[np.int32], i: int) -> int:
    """The first ancestor of `i`; every second link on the way is shortened (path halving)."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def _unite(n_vertices: int, faces: NDArray[np.int32]) -> NDArray[np.int32]:
    parent = np.arange(n_vertices).astype(np.int32)
    for f in range(faces.shape[0]):
        a, b, c = _root(parent, faces[f, 0]), _root(parent, faces[f, 1]), _root(parent, faces[f, 2])
        m = min(a, b, c)
        # a parent is never larger than its child, so a root is the smallest vertex of its body
        parent[a] = m
        parent[b] = m
        parent[c] = m
    for i in range(n_vertices):  # ascending: parent[i] is final when i is reached
        parent[i] = parent[parent[i]]
    return parent


def labels(n_vertices: int, faces: NDArray[np.integer]) -> NDArray[np.int32]:
    """Label every vertex with its body (review, Sec. 3.1).

    Parameters
    ----------
    n_vertices : int
    faces : (F, 3) int
        Vertex indices. Degenerate triangles (a vertex twice) connect the vertices they have.

    Returns
    -------
    label : (V,) int32
        The smallest vertex index of the body: two vertices are connected through triangles if and only if
        their labels are equal. A vertex of no triangle is its own body.

    Raises
    ------
    ValueError
        If a face refers to a vertex that does not exist.
    """
    faces = np.ascontiguousarray(faces, dtype=np.int32).reshape(-1, 3)
    if len(faces) and (faces.min() < 0 or faces.max() >= n_vertices):
        raise ValueError(f"faces refer to vertices {faces.min()}..{faces.max()}, but there are {n_vertices}")
    return _unite(n_vertices, faces)


def largest_body(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.int32], int]:
    """Keep the body with the most triangles (the face), drop everything else.

    Parameters
    ----------
    vertices : (V, 3) float
        Any frame; the dtype is kept.
    faces : (F, 3) int

    Returns
    -------
    vertices : (V', 3) float
        Only those that a kept triangle uses, in their old order.
    faces : (F', 3) int32
        In their old order. Of two bodies equally large, the one with the smallest label stays.
    removed_bodies : int
        Number of other bodies of at least one triangle. Loose vertices are dropped, and not counted.
    """
    vertices = np.asarray(vertices)
    faces = np.ascontiguousarray(faces, dtype=np.int32).reshape(-1, 3)
    if len(faces) == 0:
        return vertices[:0], faces, 0
    label = labels(len(vertices), faces)[faces[:, 0]]  # (F,)
    sizes = np.bincount(label)
    keep = sizes.argmax()
    faces = faces[label == keep]
    used = np.zeros(len(vertices), dtype=bool)
    used[faces.ravel()] = True
    new_index = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], new_index[faces], int(np.count_nonzero(sizes)) - 1
