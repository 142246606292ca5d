"""What is printed elsewhere: the numbers of Table 1, and the words that our verdicts use.

`NME` is Table 1 of Jackson et al. (ICCV 2017), `RIGID` the same after rigid alignment, from his thesis
(chapter "faces", the supplementary table of the paper). They are quoted, never mixed with ours. The thesis'
curve of 3DDFA on AFLW2000-3D "with alignment" is read from the file of the other variant, so that this one
number is the unaligned one.
"""

from __future__ import annotations

DATABASES = ("AFLW2000-3D", "BU-4DFE", "Florence")
METHODS = ("vrn", "multitask", "guided", "3ddfa", "eos")
"""Of Table 1, in its order."""
NAMES = {
    "vrn": "VRN",
    "multitask": "VRN-Multitask",
    "guided": "VRN-Guided",
    "3ddfa": "3DDFA",
    "eos": "EOS",
}
VRNS, FITTED = ("vrn", "multitask", "guided"), ("3ddfa", "eos")
"""Volumetric regression, and 3DMM fitting."""
STAND_INS = {"AFLW2000-3D": "synth-wild", "BU-4DFE": "synth-expressions", "Florence": "mapped-scans"}
"""Our database after the protocol of each real one. Other faces, so other numbers are expected; what is
compared is the order of the methods."""
CITATION = {
    "nme": "Jackson, Bulat, Argyriou, Tzimiropoulos, ICCV 2017, Table 1",
    "rigid": "Jackson, thesis, chapter on faces, table with ICP alignment (the paper's supplementary table)",
}
NME = {
    "AFLW2000-3D": {"vrn": 0.0676, "multitask": 0.0698, "guided": 0.0637, "3ddfa": 0.1012, "eos": 0.0971},
    "BU-4DFE": {"vrn": 0.0600, "multitask": 0.0625, "guided": 0.0555, "3ddfa": 0.1227, "eos": 0.1560},
    "Florence": {"vrn": 0.0568, "multitask": 0.0542, "guided": 0.0509, "3ddfa": 0.0975, "eos": 0.1253},
}
RIGID = {
    "AFLW2000-3D": {"vrn": 0.0605, "multitask": 0.0625, "guided": 0.0543, "3ddfa": 0.1012, "eos": 0.0890},
    "BU-4DFE": {"vrn": 0.0514, "multitask": 0.0533, "guided": 0.0471, "3ddfa": 0.1144, "eos": 0.1456},
    "Florence": {"vrn": 0.0470, "multitask": 0.0439, "guided": 0.0429, "3ddfa": 0.0784, "eos": 0.1200},
}
TABLES = {"nme": NME, "rigid": RIGID}
"""By error: ``nme`` on unmoved vertices (Eq. 2), ``rigid`` after rigid ICP."""
DOUBTFUL = {("rigid", "AFLW2000-3D", "3ddfa")}
"""Printed cells that are not what their column says, see the module's text; they decide no verdict."""

SEPARATED, REPRODUCED = "order reproduced with separated intervals", "order reproduced"
NOT_REPRODUCED, NOT_RUN = "not reproduced", "not run"
VERDICTS = {
    SEPARATED: "against every other method of the table that has run, the mean lies on the side where the "
    "paper has it, and the two 95 % intervals do not overlap",
    REPRODUCED: "as above, but at least one pair of intervals overlaps",
    NOT_REPRODUCED: "against at least one of them the mean lies on the other side",
    NOT_RUN: "this method, or every other, has no result on this database",
}
"""Words of a cell's verdict. They were fixed before the first number was computed."""
CLAIMS = {
    "guided best": "VRN-Guided has the smallest error of all methods",
    "volumes beat fitting": "each VRN has a smaller error than 3DDFA and EOS",
    "multitask no better": "VRN-Multitask and VRN do not differ significantly (paired t-test, p >= 0.01)",
}
"""What the paper concludes from its table; the last is in the thesis. Verdicts of the first two use the same
words; that of the last says "not reproduced" where p < 0.01."""
