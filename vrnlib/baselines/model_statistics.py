"""How good a morphable model is: compactness, generalisation, specificity (Styner et al., IPMI 2003).

*Generalisation*: distance between faces that it has not seen and their projections, root mean square over
vertices, in millimetres. *Specificity*: how far faces drawn from the model are from the nearest training
face: small where the model makes nothing that is not a face. The span floor is generalisation on the ground
truth's points in units of the NME: no fit with this model can be better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vrnlib.baselines.morphable import Morphable, draw_training
from vrnlib.databases.heldout import EXPRESSIONS, sample_person
from vrnlib.faces import load_basis

HELDOUT_SEED = 2_000_003
"""Seed of held-out `synth-lp` people (as in :mod:`vrnlib.evaluate`)."""
_COUNTS = (0, 5, 10, 20, 40, 80)


def heldout_heads(kind: str, count: int) -> np.ndarray:
    """Heads (count, 4538, 3) mm that the model has not seen.

    `synth-lp` are other people of the training distribution; `neutral` are these without expression; `wild`
    are people and expressions of the shifted shape space that `synth-wild` and `synth-expressions` draw from.
    """
    basis = load_basis()
    if kind == "wild":
        heads = []
        for number in range(count):
            rng = np.random.default_rng((HELDOUT_SEED, 3, number))
            person = sample_person(rng)
            expression, strength = str(rng.choice(list(EXPRESSIONS))), rng.uniform(0.3, 1.05)
            heads.append(person.head(expression, strength, rng.normal(0, 0.3, 2)))
        return np.stack(heads)
    people, actions = draw_training(count, HELDOUT_SEED)
    drawn = people if kind == "neutral" else people + actions
    return np.stack([basis.vertices(c) for c in drawn])


def span_floor(model: Morphable, vertices: np.ndarray) -> np.ndarray:
    """NME (N,) of the best face of the model for faces (N, V, 3) mm, with known correspondence and pose."""
    nearest = model.shape(*model.project(vertices))
    eyes = vertices[:, model.landmarks[[36, 45]]]
    d = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1)
    errors = [
        np.linalg.norm(model.points(a) - model.points(b), axis=1).mean()
        for a, b in zip(nearest, vertices, strict=True)
    ]
    return np.array(errors) / d


def generalisation(model: Morphable, vertices: np.ndarray, axes: int | None = None) -> float:
    """RMS mm of faces (N, V, 3) to their projections, with the first `axes` identity axes."""
    short = model if axes is None else replace(model, identity_basis=model.identity_basis[:axes])
    nearest = short.shape(*short.project(vertices))
    return float(np.sqrt(((nearest - vertices) ** 2).sum(-1).mean()))


def specificity(model: Morphable, draws: int, training: int, seed: int = 0) -> tuple[float, float]:
    """Mean RMS mm to the nearest of the first `training` training faces: of faces drawn from the model, and,
    for comparison, of as many held-out people. A model is specific if the first is not much larger.
    """
    rng = np.random.default_rng(seed)
    made = model.shape(
        rng.normal(size=(draws, len(model.identity_basis))),
        rng.normal(size=(draws, len(model.expression_basis))),
    )
    basis = load_basis()
    people, actions = draw_training(training)
    known = np.stack([model.of_head(basis.vertices(c)).ravel() for c in people + actions])
    known -= model.mean.ravel()
    means = []
    for faces in (made, model.of_head(heldout_heads("synth-lp", draws))):
        flat = faces.reshape(draws, -1) - model.mean.ravel()
        squares = (flat**2).sum(1)[:, None] + (known**2).sum(1) - 2 * flat @ known.T
        means.append(float(np.sqrt(np.maximum(squares.min(1), 0) / len(model.mean)).mean()))
    return means[0], means[1]


def statistics(model: Morphable, count: int = 300) -> dict[str, Any]:
    """Everything above for `count` held-out people, as it goes into the model's JSON."""
    report: dict[str, Any] = {"heldout_people": count, "vertices": len(model.mean)}
    report["faces"] = {"all": len(model.faces), "surface": model.surface_face_count}
    for kind in ("synth-lp", "neutral", "wild"):
        faces = model.of_head(heldout_heads(kind, count))
        floor = span_floor(model, faces)
        report[f"generalisation_{kind}"] = {
            "rms_mm_by_identity_axes": {
                k: generalisation(model, faces, k) for k in _COUNTS if k <= len(model.identity_basis)
            },
            "span_floor_nme": {"mean": floor.mean(), "sd": floor.std(), "max": floor.max()},
        }
    made, people = specificity(model, min(count, 200), 2000)
    report["specificity"] = {"drawn_faces_rms_mm": made, "heldout_people_rms_mm": people}
    return report
