"""Are the drawn people plausible? Caliper distances on a head, against published norms of adults (used by
`notebooks/01_face_databases`).

Norms: men and women, 18 to 30 years, of three groups, mean and SD in millimetres.

* Kenyans: Virdi, Wertheim, Naini, *Normative anthropometry and proportions of the Kenyan-African face*,
  Maxillofacial Plastic and Reconstructive Surgery 41 (2019), article 191, table 9: read there. It gives the
  height to the menton, not to the gnathion, and its value for men (101.8) contradicts that for women (117.1):
  that entry is left out.
* North American whites and Singapore Chinese: Farkas et al., *International anthropometric study of facial
  morphology in various ethnic groups/races*, Journal of Craniofacial Surgery 16 (2005). **Recalled, not
  read.** Checked: the differences between whites and Kenyans that Virdi et al. state agree for the nose's
  height and width, and the inner canthi lie within 2 mm of a pooled analysis of 67 studies (PMC9029890, 2022:
  whites 31.4, Asians 36.4 mm).

Our people mix ancestries freely and are of all adult ages, so they are held against all groups and both sexes
together: the mean of the groups' means, and the SD of their mixture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from vrnlib.faces import load_basis

NORMS: dict[str, tuple[tuple[float, float], ...]] = {
    # white men, white women, Chinese men, Chinese women, Kenyan men, Kenyan women
    "ex-ex": ((91.2, 3.0), (87.8, 3.2), (91.7, 4.0), (87.3, 5.8), (98.2, 3.5), (94.4, 4.9)),
    "en-en": ((33.3, 2.7), (31.8, 2.3), (37.6, 3.1), (36.5, 3.2), (32.2, 1.9), (32.1, 1.4)),
    "al-al": ((34.9, 2.1), (31.4, 2.0), (39.2, 2.9), (37.2, 2.1), (43.2, 3.8), (40.7, 3.7)),
    "n-sn": ((54.8, 3.3), (50.6, 3.1), (53.5, 3.0), (51.7, 3.6), (51.0, 1.9), (47.6, 3.1)),
    "ch-ch": ((54.5, 3.0), (50.2, 3.5), (48.3, 3.9), (47.3, 3.5), (55.9, 3.3), (52.0, 4.0)),
    "n-gn": ((124.7, 5.7), (111.4, 4.8), (123.6, 5.5), (116.1, 5.0)),
    "zy-zy": ((139.1, 5.3), (130.0, 4.6), (144.6, 5.6), (136.2, 4.2), (133.8, 4.6), (130.1, 3.5)),
}
"""Mean and SD (mm) by Farkas' names: biocular and intercanthal width, width of the nose, its height, width of
the mouth, height and width of the face."""
NAMES = {
    "ex-ex": "outer canthi", "en-en": "inner canthi", "al-al": "nose width", "n-sn": "nose height",
    "ch-ch": "mouth width", "n-gn": "face height", "zy-zy": "face width",
}  # fmt: skip
# Points that are no iBUG landmark, in canonical millimetres (the template's): nasion lies above the iBUG
# bridge point, the alae outside the nostrils' corners, zygion where the cheek bone stands out most.
_NASION, _ALA, _ZYGION = (0.0, 7.0, 22.0), (-17.1, -38.1, 21.9), (-69.6, -10.5, -44.7)
_SUBNASALE, _GNATHION = 33, 8


@lru_cache(maxsize=1)
def _ends() -> dict[str, tuple[int, int]]:
    # the two vertices of each distance
    basis = load_basis()
    surface = basis.template[basis.surface]

    def vertex(place: tuple[float, float, float]) -> int:
        return int(basis.surface[((surface - np.array(place)) ** 2).sum(1).argmin()])

    l, nasion, ala, zygion = basis.landmarks, vertex(_NASION), vertex(_ALA), vertex(_ZYGION)
    return {
        "ex-ex": (l[36], l[45]),
        "en-en": (l[39], l[42]),
        "al-al": (ala, basis.mirror[ala]),
        "n-sn": (nasion, l[_SUBNASALE]),
        "ch-ch": (l[48], l[54]),
        "n-gn": (nasion, l[_GNATHION]),
        "zy-zy": (zygion, basis.mirror[zygion]),
    }


def measure(head: np.ndarray) -> dict[str, np.ndarray]:
    """Seven distances in millimetres on heads of our topology, (..., V, 3) -> (...) each; neutral expression
    is expected.
    """
    return {
        name: np.linalg.norm(head[..., a, :] - head[..., b, :], axis=-1) for name, (a, b) in _ends().items()
    }


def norm(name: str) -> tuple[float, float]:
    """Mean and SD in millimetres over all groups and both sexes, each group with the same weight."""
    means, sds = np.array(NORMS[name]).T
    return float(means.mean()), float(np.sqrt((sds**2).mean() + means.var()))


def plausible(head: np.ndarray, limit: float = 3.0) -> np.ndarray:
    """Whether all seven distances of heads (..., V, 3) lie within `limit` SD of the norm: (...) bool."""
    inside = [np.abs(v - norm(k)[0]) <= limit * norm(k)[1] for k, v in measure(head).items()]
    return np.logical_and.reduce(inside)


def summary(heads: np.ndarray) -> list[dict[str, Any]]:
    """A row a distance for heads (N, V, 3): name, mean and SD of the norm and of the heads (mm), and the
    share within 3 SD.
    """
    rows = []
    for key, value in measure(heads).items():
        mean, sd = norm(key)
        inside = float((np.abs(value - mean) <= 3 * sd).mean())
        rows.append(
            {"measure": NAMES[key], "points": key, "norm_mean": mean, "norm_sd": sd,
             "mean": float(value.mean()), "sd": float(value.std()), "inside": inside}
        )  # fmt: skip
    return rows


def component_views(count: int = 4, steps: tuple[float, ...] = (-2.0, 0.0, 2.0)) -> list[list[np.ndarray]]:
    """Data of a figure: heads (V, 3) mm along the first phenotype components, `steps` SD from the mean; a
    list a component.
    """
    basis = load_basis()
    rows = []
    for k in np.flatnonzero(basis.kind == 0)[:count]:
        coefficients = np.zeros(len(basis.names), np.float32)
        row = []
        for step in steps:
            coefficients[k] = step
            row.append(basis.vertices(coefficients))
        rows.append(row)
    return rows
