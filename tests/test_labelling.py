"""Union-find over triangles, against SciPy's connected components, and against the pseudocode's own steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vrnlib import labelling_steps
from vrnlib.errors import VrnError
from vrnlib.labelling import labels, largest_body, work
from vrnlib.labelling_figure import Spread, example, from_two_sides, shuffled


def by_scipy(n: int, faces: np.ndarray) -> np.ndarray:
    """Smallest vertex index of each vertex's component."""
    a, b = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    _, component = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)
    smallest = np.full(component.max(initial=-1) + 1, n)
    np.minimum.at(smallest, component, np.arange(n))
    return smallest[component]


@st.composite
def meshes(draw):
    """Vertex count and triangles: several bodies, corners that occur twice, triangles that occur twice, edges
    of more than two triangles, shuffled.
    """
    n = draw(st.integers(1, 40))
    m = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # neighbours close in index make several bodies; a corner may occur twice
    faces = np.minimum(rng.integers(0, n, (m, 1)) + rng.integers(0, 4, (m, 3)), n - 1)
    if m and draw(st.booleans()):
        faces = faces[rng.integers(0, m, 2 * m)]  # duplicates
    if draw(st.booleans()):
        faces = rng.permutation(n)[faces]
    return n, faces


@settings(max_examples=200, deadline=None)
@given(meshes())
def test_labels_are_the_smallest_vertex_of_the_component(mesh):
    n, faces = mesh
    np.testing.assert_array_equal(labels(n, faces), by_scipy(n, faces))


@settings(max_examples=150, deadline=None)
@given(meshes())
def test_largest_body_keeps_one_whole_component(mesh):
    n, faces = mesh
    vertices = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    original = faces.copy()
    kept, kept_faces, removed = largest_body(vertices, faces)
    np.testing.assert_array_equal(faces, original)  # the input stays as it was
    bodies, sizes = np.unique(by_scipy(n, faces)[faces[:, 0]], return_counts=True) if len(faces) else ([], [])
    if not len(faces):
        assert (len(kept), len(kept_faces), removed) == (0, 0, 0)
        return
    assert len(kept_faces) == sizes.max() and removed == len(bodies) - 1
    assert kept.dtype == vertices.dtype and kept_faces.dtype == np.int32
    expected = faces[by_scipy(n, faces)[faces[:, 0]] == bodies[np.argmax(sizes)]]
    # the same triangles in the same order
    np.testing.assert_array_equal(kept[kept_faces], vertices[expected])
    assert set(kept_faces.ravel()) == set(range(len(kept)))  # nothing loose


@settings(max_examples=150, deadline=None)
@given(meshes())
def test_the_teaching_form_has_the_results_of_the_fast_form(mesh):
    n, faces = mesh
    vertices = np.random.default_rng(n).normal(size=(n, 3))
    fast, slow = largest_body(vertices, faces), labelling_steps.largest_body(vertices, faces)
    np.testing.assert_array_equal(fast[0], slow[0])
    np.testing.assert_array_equal(fast[1], slow[1])
    assert fast[2] == slow[2]


@settings(max_examples=100, deadline=None)
@given(meshes())
def test_every_step_is_a_labelling_of_the_fragments_so_far(mesh):
    n, faces = mesh
    before = np.zeros(n, int)
    states = list(labelling_steps.steps(n, faces))
    assert len(states) == len(faces)
    for k, step in enumerate(states, start=1):
        truth, touched = by_scipy(n, faces[:k]), np.zeros(n, bool)
        touched[faces[:k]] = True
        # black is unlabelled, and equal labels mean connected
        np.testing.assert_array_equal(step.labels != labelling_steps.NONE, touched)
        pairs = np.unique(np.stack([truth, step.labels])[:, touched], axis=1).T
        assert len(pairs) == len(set(pairs[:, 0])) == len(set(pairs[:, 1]))
        # the tree: every label knows its first father, which is the smallest label of its body
        assert all(step.parents[father] == father <= label for label, father in step.parents.items())
        assert set(step.labels[touched]) == set(step.parents.values()) == set(step.sizes)
        assert sum(step.sizes.values()) == k
        # red turns blue: labels only ever fall, and those that changed are named
        was = before != labelling_steps.NONE
        assert (step.labels[was] <= before[was]).all()
        np.testing.assert_array_equal(step.changed, np.flatnonzero(step.labels != before))
        assert (step.labels[step.vertices] == step.smallest).all()
        before = step.labels


def test_a_step_tells_what_happened():
    """Two triangles apart, then one that joins them: label 2 becomes 1."""
    first, second, third = labelling_steps.steps(7, np.array([[0, 1, 2], [4, 5, 6], [2, 3, 4]]))
    assert (first.created, second.created, third.created) == (1, 2, None)
    np.testing.assert_array_equal(second.labels, [1, 1, 1, 0, 2, 2, 2])
    np.testing.assert_array_equal(third.labels, [1] * 7)
    np.testing.assert_array_equal(third.changed, [3, 4, 5, 6])
    assert third.joined == (2,) and third.smallest == 1
    assert third.parents == {1: 1, 2: 1} and third.sizes == {1: 3} and second.sizes == {1: 1, 2: 1}


def test_deleting_inside_of_the_loop_loses_parts_of_the_face():
    """The pseudocode as it is laid out: what a later triangle would have joined is gone already."""
    vertices = np.arange(21.0).reshape(7, 3)
    faces = np.array([[0, 1, 2], [4, 5, 6], [2, 3, 4]])
    assert len(labelling_steps.largest_body(vertices, faces)[1]) == 3
    assert len(labelling_steps.largest_body(vertices, faces, literal=True)[1]) == 2
    ordered = faces[[0, 2, 1]]  # where each fragment touches the ones before it, it does no harm
    assert len(labelling_steps.largest_body(vertices, ordered, literal=True)[1]) == 3


@pytest.mark.parametrize("body", [largest_body, labelling_steps.largest_body])
class TestBothForms:
    def test_no_triangles(self, body):
        for empty in (np.empty((0, 3), int), np.empty(0, int), []):
            vertices, faces, removed = body(np.ones((5, 3), np.float32), empty)
            assert vertices.shape == (0, 3) and faces.shape == (0, 3) and removed == 0
            assert vertices.dtype == np.float32 and faces.dtype == np.int32
        assert body(np.empty((0, 3)), np.empty((0, 3), int))[2] == 0

    def test_one_triangle(self, body):
        vertices = np.arange(12.0).reshape(4, 3)
        kept, faces, removed = body(vertices, np.array([[3, 1, 0]]))
        np.testing.assert_array_equal(kept, vertices[[0, 1, 3]])
        np.testing.assert_array_equal(faces, [[2, 1, 0]])
        assert removed == 0

    def test_of_equal_bodies_that_of_the_smallest_vertex_stays(self, body):
        vertices = np.arange(36.0).reshape(12, 3)
        faces = np.array([[9, 10, 11], [3, 4, 5], [0, 1, 2], [6, 7, 8]])
        kept, _, removed = body(vertices, faces)
        np.testing.assert_array_equal(kept, vertices[:3])
        assert removed == 3

    def test_duplicates_count_as_triangles_and_points_as_bodies(self, body):
        vertices = np.arange(24.0).reshape(8, 3)
        # one triangle three times, two triangles side by side, a triangle that is a point
        faces = np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6], [0, 1, 2], [2, 1, 0], [7, 7, 7]])
        kept, kept_faces, removed = body(vertices, faces)
        np.testing.assert_array_equal(kept, vertices[:3])
        assert len(kept_faces) == 3 and removed == 2

    def test_edge_of_five_triangles_and_two_fans_that_share_one_vertex(self, body):
        book = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5], [1, 0, 6]])
        kept, faces, removed = body(np.zeros((9, 3)), np.concatenate([book, [[6, 7, 8]]]))
        assert len(faces) == 6 and removed == 0 and len(kept) == 9

    def test_damaged_meshes_are_refused(self, body):
        with pytest.raises(VrnError, match=r"0 to 2, but there are 2"):
            body(np.zeros((2, 3)), np.array([[0, 1, 2]]))
        with pytest.raises(VrnError, match="-1 to 1"):
            body(np.zeros((3, 3)), np.array([[0, 1, -1]]))
        with pytest.raises(VrnError, match="triangulate"):
            body(np.zeros((4, 3)), np.array([[0, 1, 2, 3]]))


def test_two_boxes_and_a_loose_vertex():
    import trimesh

    box, ball = trimesh.creation.box(), trimesh.creation.icosphere(subdivisions=2)
    vertices = np.concatenate([[[9, 9, 9]], box.vertices, ball.vertices + 5])
    faces = np.concatenate([box.faces + 1, ball.faces + 1 + len(box.vertices)])
    kept, kept_faces, removed = largest_body(vertices, faces)
    assert removed == 1 and len(kept) == len(ball.vertices)
    assert trimesh.Trimesh(kept, kept_faces, process=False).volume == pytest.approx(ball.volume)


def strip(n: int) -> np.ndarray:
    """A ribbon of n triangles over n + 2 vertices."""
    return np.arange(n)[:, None] + np.arange(3)


def tournament(n: int) -> np.ndarray:
    """Degenerate triangles that unite equal trees by their deepest vertices: union-find's worst case."""
    rounds = [np.arange(0, n, 2 ** (k + 1)) for k in range(int(np.log2(n)))]
    pairs = [np.stack([a + 2 ** (k + 1) - 1, a + 2**k - 1, a + 2**k - 1], 1) for k, a in enumerate(rounds)]
    return np.concatenate(pairs)


@pytest.mark.parametrize("order", ["as it comes", "shuffled", "renumbered", "tournament"])
def test_steps_are_linear(order):
    """O(n a(n)): the steps per triangle do not grow with n; log n would add six over these sizes."""
    per_triangle = []
    for n in (2**11, 2**14, 2**17):
        rng = np.random.default_rng(n)
        faces = tournament(n) if order == "tournament" else strip(n)
        if order in ("shuffled", "renumbered"):
            rng.shuffle(faces)
        if order == "renumbered":
            faces = rng.permutation(n + 2)[faces]
        assert (labels(n + 2, faces)[faces] == labels(n + 2, faces)[faces[0, 0]]).all()
        per_triangle.append(work(n + 2, faces) / len(faces))
    assert per_triangle[-1] < 6
    assert per_triangle[-1] - per_triangle[0] < 0.5


def test_the_pseudocode_taken_literally_is_quadratic():
    """Per fragment it looks at all labels and all vertices."""
    cost = [sum(s.work for s in labelling_steps.steps(n + 2, strip(n))) for n in (50, 100, 200)]
    assert 3.5 < cost[1] / cost[0] < 4.5 and 3.5 < cost[2] / cost[1] < 4.5
    fast = [work(n + 2, strip(n)) for n in (50, 100, 200)]
    assert fast[1] / fast[0] < 2.2 and fast[2] / fast[1] < 2.2


@pytest.fixture(scope="module")
def spread() -> Spread:
    vertices, faces = example(16)
    return Spread(vertices, from_two_sides(vertices, faces))


class TestFigure7:
    def test_red_meets_blue_and_turns_blue(self, spread):
        """Two labels grow over the face and meet once; the bump keeps a label of its own."""
        meetings = [s for s in spread.states if s.joined]
        biggest = max(meetings, key=lambda s: len(s.changed))
        assert biggest.smallest == 1 and biggest.joined == (2,)
        last = spread.states[-1]
        assert len(last.sizes) == 2 and last.labels[biggest.vertices[0]] == 1
        before = spread.labels(biggest.fragment)
        np.testing.assert_array_equal(before[biggest.changed][before[biggest.changed] > 0], 2)
        assert len(biggest.changed) > 0.2 * len(spread.vertices)

    def test_moments_go_from_none_to_all_and_hold_the_meeting(self, spread):
        moments = spread.moments(8)
        meeting = max((s for s in spread.states if s.joined), key=lambda s: len(s.changed)).fragment
        assert moments[0] == 0 and moments[-1] == len(spread.faces) and len(moments) <= 8
        assert {meeting, meeting + 1} <= set(moments)

    def test_pictures_show_the_colours_of_the_labels(self, spread):
        def share(picture: np.ndarray, colour: str) -> float:
            rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
            return float((np.abs(picture.astype(int) - rgb).max(-1) < 30).mean())

        from vrnlib.labelling_figure import colour

        none, half, full = (spread.picture(s, 160) for s in (0, len(spread.states) // 2, len(spread.states)))
        assert share(none, colour(1)) == share(none, colour(2)) == 0 < share(none, colour(0))
        assert share(half, colour(1)) > 0 < share(half, colour(2))
        assert share(full, colour(2)) == 0 < share(full, colour(1))

    def test_animation_is_self_contained_and_described(self, spread):
        from vrnlib.export import page_problems

        page = spread.animation('A face whose "labels" spread', start=5)
        assert page_problems(page) == [] and "http" not in page
        assert 'aria-label="A face whose &quot;labels&quot; spread"' in page
        assert page.count("<polygon") == len(spread._shown) and "$" not in page
        assert len(page) < 250_000

    def test_shuffling_changes_the_way_not_the_end(self, spread):
        other = Spread(spread.vertices, shuffled(spread.faces))
        assert max(s.created or 0 for s in other.states) > max(s.created or 0 for s in spread.states)
        a, b = spread.states[-1].labels, other.states[-1].labels
        assert len(np.unique(np.stack([a, b]), axis=1).T) == 2
