"""Dynamic labelling: keep the face, remove the stray bodies of an isosurface.

A VRN volume may hold islands of voxels beside the face. On the mesh they are connected components: two
triangles belong to the same body if they share a vertex. The review's algorithm (Sec. 3.1) walks once over
the triangles; a triangle unites the labels of its three vertices, and the smallest label wins. That is a
union-find. The smaller tree is hung below the larger one and paths are halved on the way, so n triangles take
O(n a(n)) steps (Tarjan and van Leeuwen 1984); the smallest label is kept at the root.

`largest_body` is what `vrnlib.reconstruct` calls. :mod:`vrnlib.labelling_steps` is the same in the words of
the pseudocode, :mod:`vrnlib.labelling_voxels` the same before there is a mesh; the notebook
``09_dynamic_labelling`` teaches all three.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vrnlib.errors import VrnError


@numba.njit(cache=True, nogil=True)
def _root(parent, i):
    # The root of i's tree, and how many links were followed. Every second link on the way is shortened.
    hops = 0
    while parent[i] >= 0:
        up = parent[i]
        if parent[up] >= 0:
            parent[i] = parent[up]
        i = up
        hops += 1
    return i, hops


@numba.njit(cache=True, nogil=True)
def _unite(n_vertices, faces):
    # parent[i] < 0 marks a root, and is minus the vertices of its tree; low[root] is its smallest vertex.
    parent = np.full(n_vertices, -1, np.int32)
    low = np.arange(n_vertices).astype(np.int32)
    work = 0
    for f in range(faces.shape[0]):
        a, hops = _root(parent, faces[f, 0])
        work += hops
        for c in range(1, 3):
            b, hops = _root(parent, faces[f, c])
            work += hops
            if a == b:
                continue
            if parent[a] > parent[b]:
                a, b = b, a
            parent[a] += parent[b]
            parent[b] = a
            low[a] = min(low[a], low[b])
    label = np.empty(n_vertices, np.int32)
    for i in range(n_vertices):
        root, hops = _root(parent, i)
        work += hops
        label[i] = low[root]
    return label, work


@numba.njit(cache=True, nogil=True)
def _sizes(label, faces):
    # Triangles of the body of each label, and the label of most (the smallest of equal ones).
    sizes = np.zeros(label.shape[0], np.int32)
    for f in range(faces.shape[0]):
        sizes[label[faces[f, 0]]] += 1
    bodies = 0
    for i in range(sizes.shape[0]):
        bodies += sizes[i] > 0
    return sizes, bodies, sizes.argmax()


@numba.njit(cache=True, nogil=True)
def _compact(n_vertices, faces, new_index):
    # Renumber the vertices that `faces` uses, in their old order; returns their number.
    for f in range(faces.shape[0]):
        for c in range(3):
            new_index[faces[f, c]] = 0
    n = 0
    for i in range(n_vertices):
        if new_index[i] == 0:
            new_index[i] = n
            n += 1
    for f in range(faces.shape[0]):
        for c in range(3):
            faces[f, c] = new_index[faces[f, c]]
    return n


def checked_faces(n_vertices: int, faces: NDArray[np.integer]) -> NDArray[np.int32]:
    """Triangles as contiguous (F, 3) int32; an empty list of any shape is (0, 3).

    Raises
    ------
    VrnError
        Not (F, 3), or a face refers to a vertex that does not exist.
    """
    faces = np.asarray(faces)
    if not faces.size:
        return np.empty((0, 3), np.int32)
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise VrnError(
            f"triangles are (F, 3) vertex numbers, got shape {faces.shape}: triangulate the mesh first"
        )
    low, high = int(faces.min()), int(faces.max())
    if low < 0 or high >= n_vertices:
        raise VrnError(
            f"triangles refer to vertices {low} to {high}, but there are {n_vertices} (counting from 0): "
            "the mesh is damaged"
        )
    return np.ascontiguousarray(faces, dtype=np.int32)


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
    VrnError
        See `checked_faces`.
    """
    return _unite(n_vertices, checked_faces(n_vertices, faces))[0]


def work(n_vertices: int, faces: NDArray[np.integer]) -> int:
    """Links of the trees that `labels` follows in all: its cost, without the noise of a clock."""
    return int(_unite(n_vertices, checked_faces(n_vertices, faces))[1])


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
        Only those that a kept triangle uses, in their old order; the array itself if these are all.
    faces : (F', 3) int32
        In their old order. Of two bodies equally large, the one with the smallest label stays.
    removed_bodies : int
        Number of other bodies of at least one triangle. Loose vertices are dropped, and not counted.

    Raises
    ------
    VrnError
        See `checked_faces`.
    """
    vertices = np.asarray(vertices)
    faces = checked_faces(len(vertices), faces)
    if len(faces) == 0:
        return vertices[:0], faces, 0
    label = _unite(len(vertices), faces)[0]
    _, bodies, largest = _sizes(label, faces)
    kept = faces if bodies == 1 else faces[label[faces[:, 0]] == largest]
    return *compact(vertices, kept), bodies - 1


def compact(
    vertices: NDArray[np.floating], faces: NDArray[np.int32]
) -> tuple[NDArray[np.floating], NDArray[np.int32]]:
    """A mesh without the vertices that no triangle uses: (V', 3) and renumbered (F, 3), both in their old
    order.
    """
    new_index = np.full(len(vertices), -1, np.int32)
    faces = faces.copy()
    n = _compact(len(vertices), faces, new_index)
    return vertices if n == len(vertices) else vertices[new_index >= 0], faces
