"""The review's Figure 7, drawn: how labels spread over a mesh (`notebooks/09_dynamic_labelling`).

`Spread` runs :func:`vrnlib.labelling_steps.steps` once and keeps what each fragment changed. It is drawn as a
picture of one state (`Spread.picture`, for small multiples and sliders with a live kernel), and as a piece of
HTML with its own slider and play button, which needs neither a kernel nor a network (`Spread.animation`).
Label 1 is blue, label 2 red, further ones take other colours in turn; unlabelled vertices are black.
"""

from __future__ import annotations

import html
import json
import zlib
from dataclasses import dataclass, field
from string import Template

import numpy as np
from numpy.typing import NDArray

from vrnlib.faces import face_solid, load_basis
from vrnlib.figures import PALETTE
from vrnlib.labelling import compact, labels
from vrnlib.labelling_steps import Step, steps
from vrnlib.voxel import Grid, isosurface, voxelise

COLOURS = ["#000000", PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4], PALETTE[3], PALETTE[5]]
"""Of label 0 (none), 1, 2, ...; label k > 6 takes that of k - 6."""


def colour(label: int) -> str:
    """Colour of a label, ``#rrggbb``."""
    return COLOURS[(label - 1) % 6 + 1] if label else COLOURS[0]


def example(size: int = 30) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What the camera sees of a coarse mean face with a bump beside it: two open surfaces.

    Returns
    -------
    vertices : (V, 3) float32, pixels of a `size` window. faces : (F, 3) int32.
    """
    from scipy.ndimage import gaussian_filter

    basis = load_basis()
    solid = face_solid(basis.mean[basis.surface]).astype(np.float64)
    low, high = solid.min(0), solid.max(0)
    scale = 0.85 * size / (high - low)[1]
    grid = Grid(size, 4 * int(scale * (high - low)[2]) + 8)
    centred = (solid - (low + high) / 2) * [scale, -scale, scale] + [0.42 * size, 0.49 * size, 0]
    volume = voxelise(centred, basis.solid, grid).astype(np.float32)
    d, y, x = np.indices(grid.shape)
    ball = ((d - grid.depth / 2) / 2) ** 2 + (y - 0.2 * size) ** 2 + (x - 0.88 * size) ** 2
    volume[ball < (0.085 * size) ** 2] = 1
    vertices, faces = isosurface(gaussian_filter(volume, (1.0, 0.5, 0.5)), 0.4)
    return compact(vertices, faces[_normals(vertices, faces)[:, 2] > 0.02])


def _normals(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    corners = np.asarray(vertices, np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def from_two_sides(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.integer]:
    """The triangles in an order in which label 1 grows over the largest body from its left, label 2 from its
    right, until they meet; other bodies come meanwhile.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    n = len(vertices)
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n)).tocsr()
    label = labels(n, faces)
    of_face = label[faces[:, 0]]
    key = np.empty(len(faces))
    bodies, counts = np.unique(of_face, return_counts=True)
    for body in bodies:
        own = np.flatnonzero(label == body)
        ends = own[[vertices[own, 0].argmin(), vertices[own, 0].argmax()]]
        largest = body == bodies[counts.argmax()]
        far = dijkstra(graph, directed=False, indices=ends if largest else ends[:1], unweighted=True)
        # the left comes a little before the right; another body when a third of the way is done
        start = [0.0, 0.5] if largest else [max(1.0, far[np.isfinite(far)].max() / 3)]
        key[of_face == body] = (far[:, faces[of_face == body]].min(2) + np.array(start)[:, None]).min(0)
    return faces[np.argsort(key, kind="stable")]


def shuffled(faces: NDArray[np.integer], seed: int = 0) -> NDArray[np.integer]:
    """The triangles in random order: many labels at first."""
    return np.random.default_rng(seed).permutation(faces)


@dataclass
class Spread:
    """Labels spreading over a mesh, ready to be drawn from the front.

    Parameters
    ----------
    vertices : (V, 3) pixels, x right, y down, z towards the viewer. faces : (F, 3) in the order of labelling.
    """

    vertices: NDArray[np.floating]
    faces: NDArray[np.integer]
    states: list[Step] = field(init=False)

    def __post_init__(self) -> None:
        self.states = list(steps(len(self.vertices), self.faces))
        corners = np.asarray(self.vertices, np.float64)[self.faces]
        normals = _normals(self.vertices, self.faces)
        self._light = np.clip(normals @ [-0.45, -0.4, 0.8], 0, 1)
        seen = np.flatnonzero(normals[:, 2] > 0.02)
        # far ones first
        self._shown = seen[np.argsort(corners[seen][..., 2].mean(1), kind="stable")]
        self._dots = np.unique(np.asarray(self.faces)[self._shown])

    def labels(self, state: int) -> NDArray[np.int32]:
        """Labels of the vertices after `state` fragments; 0 fragments: none."""
        return self.states[state - 1].labels if state else np.zeros(len(self.vertices), np.int32)

    def moments(self, count: int = 8) -> list[int]:
        """States worth a picture: at most `count` numbers of fragments, from none to all. Up to half of them
        stand on both sides of the fragments that changed most vertices, the others are spread evenly.
        """
        n, chosen = len(self.states), set()
        meetings = [i for i, s in enumerate(self.states) if s.joined]
        for i in sorted(meetings, key=lambda i: -len(self.states[i].changed))[: count // 4]:
            chosen |= {i, i + 1}
        chosen |= set(np.linspace(0, n, count - len(chosen)).astype(int).tolist())
        return sorted(chosen)

    def tell(self, state: int) -> str:
        """One line on what the last fragment did."""
        if not state:
            return "no fragment yet: every vertex is unlabelled"
        s = self.states[state - 1]
        if s.created is not None:
            done = f"no vertex has a label: new label {s.created}"
        elif s.joined:
            met = ", ".join(map(str, (s.smallest, *s.joined)))
            done = f"labels {met} meet: {s.smallest} wins, {len(s.changed)} vertices change"
        else:
            done = f"joins label {s.smallest}"
        bodies = len(s.sizes)
        return (
            f"fragment {state} of {len(self.states)}: {done}; {bodies} {'body' if bodies == 1 else 'bodies'}"
        )

    def picture(self, state: int, size: int = 220) -> NDArray[np.uint8]:
        """(size, size, 3) uint8: the mesh from the front, its vertices coloured by label."""
        import matplotlib.pyplot as plt
        from matplotlib.collections import PolyCollection

        label, (low, high) = self.labels(state), self._window()
        figure = plt.Figure(figsize=(2, 2), dpi=size / 2, layout="none")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")
        axis.set_axis_off()
        fills = [
            _mixed(colour(int(label[self.faces[f, 0]])) if f < state else "#ffffff", self._light[f])
            for f in self._shown
        ]
        shapes = np.asarray(self.vertices)[self.faces[self._shown]][..., :2]
        axis.add_collection(PolyCollection(shapes, facecolors=fills, edgecolors="#8a8a8a", linewidths=0.25))
        dots = np.asarray(self.vertices)[self._dots]
        axis.scatter(
            *dots[:, :2].T, s=2.6, c=[colour(int(v)) for v in label[self._dots]], linewidths=0, zorder=3
        )
        figure.canvas = None or _agg(figure)
        figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()

    def _window(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        # a square around the mesh: low and high (x, y)
        points = np.asarray(self.vertices, np.float64)[:, :2]
        low, high = points.min(0), points.max(0)
        half = (high - low).max() / 2 * 1.04
        return (low + high) / 2 - half, (low + high) / 2 + half

    def animation(self, alt: str, start: int | None = None, width: int = 380) -> str:
        """A drawing with a slider and a play button as HTML; opens offline. It does not move by itself.

        Parameters
        ----------
        alt : what is to be seen, for those who can't.
        start : state shown first; default: shortly before the fragment that changes most vertices.
        width : in pixels of the page.
        """
        if start is None:
            start = int(np.argmax([len(s.changed) for s in self.states])) if self.states else 0
        low, high = self._window()
        scale = 1000 / (high - low)[0]
        flat = np.rint((np.asarray(self.vertices, np.float64)[:, :2] - low) * scale).astype(int)
        order = {int(v): i for i, v in enumerate(self._dots)}
        fills = {int(f): i for i, f in enumerate(self._shown)}
        polygons = "".join(
            f'<polygon points="{" ".join(f"{x},{y}" for x, y in flat[self.faces[f]])}"/>' for f in self._shown
        )
        circles = "".join(f'<circle cx="{flat[v][0]}" cy="{flat[v][1]}" r="6"/>' for v in self._dots)
        light = [round(float(self._light[f]), 2) for f in self._shown]
        data = {
            # of each fragment: the drawn triangle, dots and their new labels, new label, labels that meet,
            # vertices changed, bodies
            "steps": [
                [
                    fills.get(s.fragment, -1),
                    [v for pair in self._changes(s, order) for v in pair],
                    s.created or 0,
                    [s.smallest, *s.joined],
                    len(s.changed),
                    len(s.sizes),
                ]
                for s in self.states
            ],
            "corner": [order[int(self.faces[f, 0])] for f in self._shown],
            "light": light,
            "colours": COLOURS,
            "start": start,
        }
        text = json.dumps(data, separators=(",", ":"))
        name = f"spread-{zlib.crc32(text.encode()):08x}"
        return _PAGE.substitute(
            name=name, alt=html.escape(alt, quote=True), polygons=polygons, circles=circles, data=text,
            last=len(self.states), start=start, width=width,
        )  # fmt: skip

    @staticmethod
    def _changes(step: Step, order: dict[int, int]) -> list[tuple[int, int]]:
        return [(order[int(v)], int(step.labels[v])) for v in step.changed if int(v) in order]


def _mixed(name: str, light: float) -> tuple[float, float, float]:
    # a pale version of a colour, darker where the surface turns away
    rgb = np.array([int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return tuple((0.45 + 0.55 * rgb) * (0.35 + 0.65 * light))


def _agg(figure: object) -> object:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(figure)


_PAGE = Template("""<div id="$name" style="max-width:${width}px;font-family:sans-serif;font-size:13px">
<svg viewBox="0 0 1000 1000" role="img" aria-label="$alt" style="width:100%;height:auto;background:#fff">
<g stroke="#8a8a8a" stroke-width="1" fill="#fff">$polygons</g><g>$circles</g></svg>
<div style="display:flex;gap:8px;align-items:center">
<button type="button" style="min-width:60px">Play</button>
<input type="range" min="0" max="$last" value="$start" aria-label="number of fragments" style="flex:1"></div>
<div aria-live="off" style="min-height:2.6em"></div></div>
<script>(function () {
const data = $data;
const root = document.getElementById("$name");
const polygons = root.querySelectorAll("polygon"), circles = root.querySelectorAll("circle");
const slider = root.querySelector("input"), button = root.querySelector("button");
const line = root.lastElementChild;
const colour = k => k ? data.colours[(k - 1) % 6 + 1] : data.colours[0];
const pale = (c, light) => "rgb(" + [1, 3, 5].map(i => {
  const v = parseInt(c.substr(i, 2), 16) / 255;
  return Math.round(255 * (0.45 + 0.55 * v) * (0.35 + 0.65 * light));
}).join(",") + ")";
function tell(state) {
  const [, , created, met, changed, bodies] = data.steps[state - 1];
  const done = created ? "no vertex has a label: new label " + created : met.length > 1 ?
    "labels " + met.join(", ") + " meet: " + met[0] + " wins, " + changed + " vertices change" :
    "joins label " + met[0];
  return "fragment " + state + " of " + data.steps.length + ": " + done + "; " + bodies +
    (bodies === 1 ? " body" : " bodies");
}
let label = new Array(circles.length).fill(0), filled = new Set(), at = 0;
function show(state) {
  if (state < at) { label.fill(0); filled.clear(); at = 0; }
  for (; at < state; at++) {
    const [shape, changes] = data.steps[at];
    if (shape >= 0) filled.add(shape);
    for (let i = 0; i < changes.length; i += 2) label[changes[i]] = changes[i + 1];
  }
  circles.forEach((c, i) => c.setAttribute("fill", colour(label[i])));
  polygons.forEach((p, i) => p.setAttribute("fill",
    pale(filled.has(i) ? colour(label[data.corner[i]]) : "#ffffff", data.light[i])));
  line.textContent = state ? tell(state) : "no fragment yet: every vertex is unlabelled";
}
let timer = null;
function stop() { clearInterval(timer); timer = null; button.textContent = "Play"; }
button.onclick = () => {
  if (timer) return stop();
  if (+slider.value >= data.steps.length) slider.value = 0;
  button.textContent = "Pause";
  timer = setInterval(() => {
    const step = Math.max(1, Math.round(data.steps.length / 300));
    slider.value = Math.min(data.steps.length, +slider.value + step);
    show(+slider.value);
    if (+slider.value >= data.steps.length) stop();
  }, 50);
};
slider.oninput = () => { stop(); show(+slider.value); };
show(data.start);
})();</script>""")
