"""The face solid, the voxeliser and the isosurface before independent judges: spheres and ellipsoids with
their formulas, solid angles and ray casting, and random faces in random poses with SciPy's labelling.

A face has *no hole* if, in its volume padded with one empty voxel on each side,

- the empty voxels are one 6-connected component: nothing empty is enclosed,
- the filled voxels are one 6-connected component: nothing is detached.

Counted besides, because a face without holes may have them: `tunnels`, 1 - the Euler number of such a solid
(its body 26-connected): handles, such as lips that touch in the middle only; and `see through`, empty pixels
that the silhouette encloses: the view between the tip of the nose and the lips from the side.

    python benchmarks/solid_check.py --out results/benchmarks/solid_check.json
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy import ndimage
from skimage.measure import euler_number

from vrnlib.faces import (
    expression_coefficients,
    face_solid,
    load_basis,
    rotation_matrix,
    sample_expression,
    sample_identity,
)
from vrnlib.params import depth_of
from vrnlib.provenance import collect, write_json
from vrnlib.voxel import VOXEL_DEPTH, Grid, column_runs, fill_runs, isosurface, one_body, voxelise, winding

SEED = 20170900
MOUTHS: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 1.1, "mouthStretch": 0.5},  # wide open
    {"mouthClose": 0.9, "mouthPress": 1.0, "mouthRollLower": 0.8, "mouthRollUpper": 0.8},  # lips pass through
    {"jawOpen": 0.15, "mouthPucker": 1.0, "noseSneer": 1.0, "cheekPuff": 1.0, "jawLeft": 0.8},
)
"""What is added to a random expression, in turn; more than a training face ever gets."""


def posed_face(number: int, grid: Grid) -> np.ndarray:
    """Vertices of face `number`'s solid in the network frame, whole in the window, at any pose."""
    rng, basis = np.random.default_rng((SEED, number)), load_basis()
    coefficients = sample_identity(rng) + sample_expression(rng)
    coefficients += expression_coefficients(MOUTHS[number % len(MOUTHS)])
    solid = face_solid(basis.vertices(coefficients)[basis.surface])
    pose = rng.uniform([-np.pi / 3, -np.pi / 2, -np.pi], [np.pi / 3, np.pi / 2, np.pi])
    points = solid @ rotation_matrix(*pose).T * [1, -1, 1]
    low, high = points.min(0), points.max(0)
    middle = [(grid.size - 1) / 2, (grid.size - 1) / 2, 0.0] + rng.uniform(-0.5, 0.5, 3)
    room = np.array([grid.size, grid.size, grid.depth * VOXEL_DEPTH])
    return (points - (low + high) / 2) * (0.9 * room / (high - low)).min() + middle


def holes(volume: np.ndarray) -> dict[str, int]:
    """Counts by the module's definitions; `enclosed` and `detached` are 0 for a solid without holes."""
    box = tuple(
        slice(w[0], w[-1] + 1)
        for w in (np.flatnonzero(volume.any(a)) for a in ((1, 2), (0, 2), (0, 1)))
    )  # fmt: skip
    padded = np.ascontiguousarray(np.pad(volume[box], 1)).astype(bool)
    enclosed = ndimage.label(~padded)[1] - 1
    detached = ndimage.label(padded)[1] - 1
    return {
        "enclosed": enclosed,
        "detached": detached,
        "see through": ndimage.label(~padded.any(0))[1] - 1,
        "tunnels": 1
        + enclosed
        - int(euler_number(padded, 3))
        + ndimage.label(padded, np.ones((3, 3, 3)))[1]
        - 1,
    }


def check_faces(size: int, numbers: range) -> dict[str, Any]:
    """Faces with holes as voxelised, and after `one_body`; how much that changes; how many overlap."""
    grid, basis = Grid(size, depth_of(size)), load_basis()
    counts: dict[str, Counter[str]] = {"as voxelised": Counter(), "one body": Counter()}
    changed, overlapping = [], 0
    for number in numbers:
        points = posed_face(number, grid)
        runs = column_runs(points, basis.solid, grid)
        volumes = {"as voxelised": fill_runs(runs, grid), "one body": fill_runs(one_body(runs, grid), grid)}
        same = np.array_equal(*volumes.values())
        found = holes(volumes["as voxelised"])
        for name in counts:
            if name == "one body" and not same:
                found = holes(volumes[name])
            for kind, count in found.items():
                counts[name][kind] += count > 0
        changed.append((volumes["as voxelised"] != volumes["one body"]).sum() / volumes["one body"].sum())
        numbers_inside = winding(points, basis.solid, grid)
        overlapping += bool((abs(numbers_inside) > 1).any() or np.ptp(numbers_inside) > 1)
    return {
        "faces": len(numbers),
        "grid": grid.shape,
        "faces with": {
            name: {kind: c[kind] for kind in ("enclosed", "detached", "see through", "tunnels")}
            for name, c in counts.items()
        },
        "faces that overlap themselves": overlapping,
        "share of voxels that one_body changes": {"mean": np.mean(changed), "max": np.max(changed)},
    }


def solid_angle_winding(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Winding number (P,) float of a mesh at `points`: its solid angle / 4 pi (Van Oosterom and Strackee)."""
    out = np.empty(len(points))
    for i, point in enumerate(points):
        a, b, c = (vertices[faces[:, k]] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        det = np.einsum("ij,ij->i", a, np.cross(b, c))
        dots = [np.einsum("ij,ij->i", *pair) for pair in ((a, b), (b, c), (c, a))]
        out[i] = 2 * np.arctan2(det, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb).sum()
    return out / (4 * np.pi)


def check_points(faces: int, points_each: int) -> dict[str, Any]:
    """Random voxel centres near random faces: our winding number against solid angles and trimesh's rays."""
    grid, basis = Grid(96, 100), load_basis()
    wrong, rays_wrong, rays, total, inside = 0, 0, 0, 0, 0
    for number in range(faces):
        vertices = posed_face(number, grid)
        ours = winding(vertices, basis.solid, grid)
        rng = np.random.default_rng((SEED, 7, number))
        # half of them anywhere, half within some voxels of the surface
        near = vertices[rng.integers(0, len(vertices), points_each // 2)] + rng.normal(
            0, 1.5, (points_each // 2, 3)
        )
        far = rng.uniform(vertices.min(0), vertices.max(0), (points_each - len(near), 3))
        index = np.concatenate([near, far])[:, [2, 1, 0]]
        index[:, 0] = grid.d_of(index[:, 0])
        d, y, x = np.clip(np.round(index).astype(int), 0, np.array(grid.shape) - 1).T
        centres = np.stack([x, y, grid.z_of(d)], 1)
        truth = np.rint(solid_angle_winding(centres, vertices, basis.solid)).astype(int)
        wrong += int((truth != ours[d, y, x]).sum())
        inside += int((truth != 0).sum())
        total += len(truth)
        # rays tell odd from even only
        cast = trimesh.Trimesh(vertices, basis.solid, process=False).contains(centres + 1e-6)
        plain = abs(truth) < 2
        rays += int(plain.sum())
        rays_wrong += int((cast != (truth != 0))[plain].sum())
    return {
        "faces": faces,
        "points": total,
        "inside": inside,
        "differ from solid angles": wrong,
        "points cast": rays,
        "differ from trimesh's rays": rays_wrong,
    }


def check_ellipsoids(size: int, count: int) -> dict[str, Any]:
    """Spheres (the first ones) and ellipsoids of known volume and surface, at random places and poses."""
    grid, rng = Grid(size, depth_of(size)), np.random.default_rng((SEED, 8))
    unit = trimesh.creation.icosphere(5)
    volumes, distances, worst, areas = [], [], [], []
    for i in range(count):
        radii = size * (
            np.repeat(rng.uniform(0.1, 0.23), 3) if i < count // 4 else rng.uniform(0.08, 0.23, 3)
        )
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        middle = np.array([(size - 1) / 2, (size - 1) / 2, 0]) + rng.uniform(-2, 2, 3)
        filled = voxelise(unit.vertices * radii @ q.T + middle, unit.faces, grid)
        volumes.append(filled.sum() * 0.5 / (4 / 3 * np.pi * radii.prod()) - 1)
        vertices, triangles = isosurface(filled)
        # distance to the ellipsoid, to first order: f / |grad f| of its equation
        local = (vertices - middle) @ q
        f = ((local / radii) ** 2).sum(1) - 1
        distance = abs(f) / np.linalg.norm(2 * local / radii**2, axis=1)
        distances.append(distance.mean())
        worst.append(distance.max())
        p = 1.6075  # Thomsen's formula, within 1.1 %
        a, b, c = radii**p
        areas.append(trimesh.Trimesh(vertices, triangles, process=False).area
                     / (4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / p)))  # fmt: skip
    return {
        "grid": grid.shape,
        "bodies": count,
        "relative error of the volume": {"mean": np.mean(volumes), "largest": np.max(np.abs(volumes))},
        "distance of the isosurface in pixels": {"mean": np.mean(distances), "largest": np.max(worst)},
        "area of the isosurface / true area": {"mean": np.mean(areas), "largest": np.max(areas)},
    }


def check_volume_under_pose(size: int, faces: int, poses: int) -> dict[str, Any]:
    """Filled volume of a face over random poses, against the mesh's own volume."""
    grid, basis = Grid(size, depth_of(size)), load_basis()
    errors = []
    for number in range(faces):
        rng = np.random.default_rng((SEED, 9, number))
        head = basis.vertices(sample_identity(rng) + sample_expression(rng))
        solid = face_solid(head[basis.surface]) * (size / 480)
        solid -= (solid.max(0) + solid.min(0)) / 2
        true = abs(trimesh.Trimesh(solid, basis.solid, process=False).volume)
        for _ in range(poses):
            pose = rng.uniform([-np.pi / 3, -np.pi / 2, -np.pi], [np.pi / 3, np.pi / 2, np.pi])
            points = solid @ rotation_matrix(*pose).T * [1, -1, 1] + [(size - 1) / 2, (size - 1) / 2, 0]
            errors.append(voxelise(points, basis.solid, grid).sum() * 0.5 / true - 1)
    return {
        "grid": grid.shape,
        "faces": faces,
        "poses each": poses,
        "relative error of the volume": {"mean": np.mean(errors), "largest": np.max(np.abs(errors))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--faces", type=int, default=10_000, help="at 48 pixels; 1/10 at 96, 1/50 at 192")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/solid_check.json"))
    arguments = parser.parse_args()
    started, n = time.perf_counter(), arguments.faces
    result: dict[str, Any] = {
        "ellipsoids": [check_ellipsoids(size, 40) for size in (48, 96, 192)],
        "points": check_points(max(2, n // 200), 400),
        "volume under pose": [check_volume_under_pose(size, max(1, n // 500), 10) for size in (48, 96, 192)],
        "faces": [check_faces(size, range(k)) for size, k in ((192, n // 50), (96, n // 10), (48, n)) if k],
    }
    result["faces with a hole"] = sum(
        sum(f["faces with"]["one body"][kind] for kind in ("enclosed", "detached")) for f in result["faces"]
    )
    seconds = time.perf_counter() - started
    write_json(arguments.out, {**result, "provenance": collect({"faces": n}, SEED, [], seconds)})
    for row in (*result["ellipsoids"], result["points"], *result["volume under pose"], *result["faces"]):
        print(*(f"{key}: {value}" for key, value in row.items()), sep="\n    ")
    print(f"{result['faces with a hole']} faces with a hole; {seconds:.0f} s")


if __name__ == "__main__":
    main()
