"""Face databases behind one interface; the embedded default is drawn on the fly (taught in
`notebooks/01_face_databases`).

A sample is a dictionary, everything in the network frame of a `size` x `size` window (see
:mod:`vrnlib.voxel`):

========== ============================ =====================================================================
image      (S, S, 3) uint8              RGB
volume     (D, S, S) uint8 0/1          the face solid; memory order is (row, column, depth)
landmarks  (68, 2) float32              projections of the 3-D iBUG points, pixels
pose       (3,) float32                 pitch, yaw, roll, radians (300W-LP order)
points     (P, 3) float32, `truth` only ground-truth points of the face region, pixels
eyes       (2, 3) float32, `truth` only outer eye corners (iBUG 37 and 46), pixels
========== ============================ =====================================================================
"""

from vrnlib.databases.check import open_database
from vrnlib.databases.expressions import SynthExpressions
from vrnlib.databases.mapped_scans import MappedScans
from vrnlib.databases.sample import (
    DATA_VERSION,
    FRONT_MARGIN,
    POSES_PER_FACE,
    Augmentation,
    face_points,
    render_sample,
)
from vrnlib.databases.synthetic import SynthLP
from vrnlib.databases.wild import SynthWild
from vrnlib.variation import Ranges, Variation

__all__ = [
    "DATA_VERSION",
    "FRONT_MARGIN",
    "POSES_PER_FACE",
    "Augmentation",
    "MappedScans",
    "Ranges",
    "SynthExpressions",
    "SynthLP",
    "SynthWild",
    "Variation",
    "face_points",
    "open_database",
    "render_sample",
]
