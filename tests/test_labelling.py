"""Union-find over triangles, against SciPy's connected components."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vrnlib.labelling import labels, largest_body


def by_scipy(n: int, faces: np.ndarray) -> np.ndarray:
    """Smallest vertex index of each vertex's component."""
    a, b = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    _, component = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)
    smallest = np.full(component.max(initial=-1) + 1, n)
    np.minimum.at(smallest, component, np.arange(n))
    return smallest[component]


@st.composite
def meshes(draw):
    n = draw(st.integers(1, 40))
    m = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # neighbours close in index make several bodies; a corner may occur twice
    first = rng.integers(0, n, (m, 1))
    return n, np.minimum(first + rng.integers(0, 4, (m, 3)), n - 1)


@settings(max_examples=300, deadline=None)
@given(meshes())
def test_labels_are_the_smallest_vertex_of_the_component(mesh):
    n, faces = mesh
    np.testing.assert_array_equal(labels(n, faces), by_scipy(n, faces))


@settings(max_examples=200, deadline=None)
@given(meshes())
def test_largest_body_keeps_one_whole_component(mesh):
    n, faces = mesh
    vertices = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    kept, kept_faces, removed = largest_body(vertices, faces)
    bodies, sizes = np.unique(by_scipy(n, faces)[faces[:, 0]], return_counts=True) if len(faces) else ([], [])
    if not len(faces):
        assert (len(kept), len(kept_faces), removed) == (0, 0, 0)
        return
    assert len(kept_faces) == sizes.max() and removed == len(bodies) - 1
    assert kept.dtype == vertices.dtype and kept_faces.dtype == np.int32
    expected = faces[by_scipy(n, faces)[faces[:, 0]] == bodies[np.argmax(sizes)]]
    np.testing.assert_array_equal(
        kept[kept_faces], vertices[expected]
    )  # the same triangles in the same order
    assert set(kept_faces.ravel()) == set(range(len(kept)))  # nothing loose


def test_large_chain_is_linear_and_one_body():
    """A ribbon of 200,000 triangles, shuffled: deep trees, no recursion."""
    strip = np.arange(200_000)[:, None] + np.arange(3)
    np.random.default_rng(0).shuffle(strip)
    assert (labels(200_002, strip) == 0).all()


def test_two_boxes_and_a_loose_vertex():
    import trimesh

    box, ball = trimesh.creation.box(), trimesh.creation.icosphere(subdivisions=2)
    vertices = np.concatenate([[[9, 9, 9]], box.vertices, ball.vertices + 5])
    faces = np.concatenate([box.faces + 1, ball.faces + 1 + len(box.vertices)])
    kept, kept_faces, removed = largest_body(vertices, faces)
    assert removed == 1 and len(kept) == len(ball.vertices)
    assert trimesh.Trimesh(kept, kept_faces, process=False).volume == pytest.approx(ball.volume)


def test_of_equal_bodies_the_first_stays():
    vertices = np.arange(18.0).reshape(6, 3)
    kept, _, removed = largest_body(vertices, np.array([[3, 4, 5], [0, 1, 2]]))
    np.testing.assert_array_equal(kept, vertices[:3])
    assert removed == 1


def test_faces_beyond_the_vertices_are_refused():
    with pytest.raises(ValueError, match="vertices"):
        labels(2, np.array([[0, 1, 2]]))
