"""Dynamic labelling as the review writes it, one fragment at a time (`notebooks/09_dynamic_labelling`).

The lines of the pseudocode (Mauricio and Lopez, Sec. 3.1) stand beside the code, in quotation marks. `steps`
yields its state after every fragment; `largest_body` is the whole algorithm, with the very results of
:func:`vrnlib.labelling.largest_body`, the fast form.

Where the pseudocode leaves something open:

- Its last lines ("Calculate objects size", "Preserve just the biggest object") stand inside of the loop over
  the fragments. There they would delete bodies that later fragments join to the face, so here they come after
  the loop, as the text has it ("Finally bodies are eliminated"). `largest_body` can do it either way.
- "Size" is the number of fragments. Of equal bodies the one that holds the smallest vertex stays.
- "If Child does not exist then Create it": a label that is new to the tree is its own father.

Searching and relinking *all* labels after *each* fragment makes this form quadratic; `Step.work` counts what
it does. The fast form leaves the tree as it is and shortens only the paths it walks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vrnlib.labelling import checked_faces, compact

NONE = 0
"""The label of a vertex that no fragment has touched: black in the review's Figure 7."""


@dataclass(frozen=True)
class Step:
    """The state after a fragment; nothing in it changes when the next one comes.

    Attributes
    ----------
    fragment : number of the triangle that was added, from 0.
    vertices : (3,) int, its vertices.
    labels : (V,) int32, label of each vertex after it: its first father; `NONE` is unlabelled.
    parents : label -> its father in the tree; a first father is its own. Labels count from 1.
    sizes : first father -> fragments of its body.
    created : the new label g, or None if a vertex had one.
    joined : first fathers that became children of m with this fragment, in ascending order; often empty.
    smallest : the label m (or g) that the fragment's vertices now have.
    changed : (C,) int, vertices whose label is another than before.
    work : labels and vertices looked at for this fragment, a count of steps.
    """

    fragment: int
    vertices: NDArray[np.int32]
    labels: NDArray[np.int32]
    parents: dict[int, int]
    sizes: dict[int, int]
    created: int | None
    joined: tuple[int, ...]
    smallest: int
    changed: NDArray[np.int64]
    work: int


def steps(n_vertices: int, faces: NDArray[np.integer]) -> Iterator[Step]:
    """Label the vertices of a mesh, fragment by fragment.

    Parameters
    ----------
    n_vertices : int
    faces : (F, 3) int. A vertex may occur twice in a triangle, a triangle twice in the list, an edge in any
        number of triangles.

    Yields
    ------
    Step
        One for each triangle, in the order of `faces`.

    Raises
    ------
    VrnError
        A face refers to a vertex that does not exist, or `faces` is not (F, 3).
    """
    faces = checked_faces(n_vertices, faces)
    labels = np.full(n_vertices, NONE, np.int32)
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for fragment, corners in enumerate(faces):  # "for each fragment do"
        before, joined, created = labels.copy(), (), None
        met = sorted({int(label) for label in labels[corners]} - {NONE})
        if met:  # "if at least one vertex has a label: then"
            # "Search all labels related to the vertices labels."
            related = [label for label, father in parents.items() if father in met]
            # "From all labels look for the smallest number -> m."
            m = min(related)
            # "Previous labels are now connected with m."
            joined = tuple(label for label in met if label != m)
            for label in met:
                parents[label] = m
            # "label the vertices with m"
            labels[corners] = m
        else:
            # "Create new label g." "Label related vertices with g."
            m = created = len(parents) + 1
            labels[corners] = created
            parents[created] = created  # "if Child does not exist then Create it."
        for label in parents:  # "for each label do"
            # "Find the first parent generated in tree." "Relate directly with the first father."
            parents[label] = first_father(parents, label)
        # "Label each vertex with their own first father."
        known = labels != NONE
        fathers = np.array([NONE, *(parents[label] for label in range(1, len(parents) + 1))], np.int32)
        labels[known] = fathers[labels[known]]
        # "Calculate objects size."
        sizes[m] = sizes.get(m, 0) + 1 + sum(sizes.pop(label) for label in joined)
        yield Step(
            fragment, corners.copy(), labels.copy(), dict(parents), dict(sizes), created, joined, m,
            np.flatnonzero(labels != before), 2 * len(parents) + n_vertices,
        )  # fmt: skip


def first_father(parents: dict[int, int], label: int) -> int:
    """The root of `label` in the tree."""
    while parents[label] != label:
        label = parents[label]
    return label


def largest_body(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], *, literal: bool = False
) -> tuple[NDArray[np.floating], NDArray[np.int32], int]:
    """The whole pseudocode: label, measure, "preserve just the biggest object".

    Parameters, results and errors are those of :func:`vrnlib.labelling.largest_body`.

    Parameters
    ----------
    literal : delete after every fragment, as the pseudocode is laid out, not after the last one. What is
        deleted is gone, even if a later fragment would have joined it to the face.
    """
    vertices = np.asarray(vertices)
    faces = checked_faces(len(vertices), faces)
    if not len(faces):
        return vertices[:0], faces, 0
    if literal:
        return _literal(vertices, faces)
    *_, step = steps(len(vertices), faces)
    of_face = step.labels[faces[:, 0]]
    biggest = max(step.sizes.values())
    # of equal ones, that of the smallest vertex
    equal = [label for label, size in step.sizes.items() if size == biggest]
    keep = min(equal, key=lambda label: int(np.flatnonzero(step.labels == label)[0]))
    return *compact(vertices, faces[of_face == keep]), len(step.sizes) - 1


def _literal(
    vertices: NDArray[np.floating], faces: NDArray[np.int32]
) -> tuple[NDArray[np.floating], NDArray[np.int32], int]:
    kept = faces[:0]
    removed = 0
    for fragment in faces:
        kept = np.concatenate([kept, fragment[None]])
        *_, last = steps(len(vertices), kept)
        biggest = max(last.sizes, key=lambda label: (last.sizes[label], -label))
        kept = kept[last.labels[kept[:, 0]] == biggest]
        removed += len(last.sizes) - 1
    return *compact(vertices, kept), removed
