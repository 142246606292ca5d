# ruff: noqa: E501 - one file a line
"""The files of the first author's per-image errors: where each cell of Table 1 is, and what it must hash to.

Read by `vrnlib.table1.authors`. Paths are below ``chapter_faces`` of github.com/AaronJackson/thesis at commit
df1ee3551c319dc9b2840d4b0fd48690b2bf6e8c.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where the errors of one cell are: file, its hash, the column of its array ``E`` with the errors, and,
    if the file has one, the column with the images' numbers (from 1).
    """

    path: str
    sha256: str
    column: int = 0
    number: int | None = None
    rows: int = 0


def _s(path: str, sha: str, rows: int, column: int = 0, number: int | None = None) -> Source:
    return Source(f"{path}.mat", sha, column, number, rows)


CELLS: dict[tuple[str, str, str], Source] = {
    ("nme", "AFLW2000-3D", "guided"): _s("curves2/aflw2000-abguided", "d9e4b13692feeeae92cd2acef6cf8169b74949263b2d74401f0c4e2385fed591", 1999, 1, 0),
    ("nme", "Florence", "vrn"): _s("ablation/florence_baseline", "4a05aeb312a3de87e77685eba3dafb12b267ee32470e9dc6a38cfb1ff26c41d5", 921, 1),
    ("nme", "Florence", "multitask"): _s("ablation/florence_multitask", "0f0791a4a40804974de75872d5f0887fbe4012c95ff4fc6cfe47b4e08c5009c2", 591, 1, 0),
    ("nme", "Florence", "guided"): _s("ablation/florence_detected", "c3c4a22b1028a079d6268d17932610ea0663ba8cefe692cc8a720056c8fe51de", 591),
    ("nme", "Florence", "3ddfa"): _s("ablation/florence_3ddfa", "b31de94b12052c0c7408d2813baf857d0986dc189325dac32856e1208078d76f", 552, 1, 0),
    ("nme", "Florence", "eos"): _s("ablation/florence-eos", "fbde1e5f94c19f66950cc0086e79272c514c858351569d41d599d968becce46d", 591),
    ("rigid", "AFLW2000-3D", "vrn"): _s("curves-icp/aflw2000-baseline-icp", "92ec3b03ea9085df7ddc64cf9cfad913f6665f4113407dee4977530ae8c31dc2", 1999, 1, 0),
    ("rigid", "AFLW2000-3D", "multitask"): _s("curves-icp/aflw2000_multitask-icp", "71ae080c704006e18f343951244624024a5828c12d7f43c3cccc6e507c70ae9c", 1999, 1, 0),
    ("rigid", "AFLW2000-3D", "guided"): _s("curves-icp/aflw2000-abguided-icp", "a479a5c1497723c53917de6887a98d8ec1f934a33b851ff6688e68370695e9d8", 1999, 1, 0),
    ("rigid", "AFLW2000-3D", "eos"): _s("curves-icp/aflw2000-eos-icp", "690697837fee86da15564328efc75c5b7f605556e77f1abc2bd4e908d1156b78", 1998),
    ("rigid", "BU-4DFE", "vrn"): _s("curves-icp/bu4dfe-baseline-icp", "19045477dd200311d8b34576a09295208086ad1e1dae2c1956df41dd7993c0b6", 2037, 1, 0),
    ("rigid", "BU-4DFE", "multitask"): _s("curves-icp/bu4dfe-multitask-icp", "bebae01ddb7047531c4179d801a54706c4306c37c27f3bd1780627f8231795cb", 2037, 1, 0),
    ("rigid", "BU-4DFE", "guided"): _s("curves-icp/bu4dfe-abguided-icp", "0b6623da172f3dfaabdc9f6d253e102827e791cf797705395ccbb0eb01fb87cb", 2037, 1, 0),
    ("rigid", "BU-4DFE", "3ddfa"): _s("curves-icp/bu4dfe-3ddfa-icp", "2aad56086cf1ac8e4718a559ce74b6acf42af9f56754c62ebcd94070beec7d4b", 2037, 1, 0),
    ("rigid", "BU-4DFE", "eos"): _s("curves-icp/bu4dfe-eos-icp", "657abd9ae262701f6ba1397b91c8e9ce4e19de4dd9637721f643d65c641b5245", 2037),
    ("rigid", "Florence", "vrn"): _s("curves-icp/florence_baseline-icp", "12bee8da5a3baa08726f2978ebe0eed86e15bff5593d0ce00d51b02d8ed90b5b", 921, 1),
    ("rigid", "Florence", "multitask"): _s("curves-icp/florence_multitask-icp", "7f486642d86ab78479446efe4057f8b36e01e6d8143aa53719b90f37bf752788", 921, 1),
    ("rigid", "Florence", "guided"): _s("curves-icp/florence_detected-icp", "dc42a274797495676bd189dba30e35525a1d2ef615daf93be5497a5a66103a90", 921, 1),
    ("rigid", "Florence", "3ddfa"): _s("curves-icp/florence_3ddfa-icp", "e3bb027802c47a978eaa66485df4e111f12f6d8ab833c28a984480896c249e1c", 591, 1, 0),
    ("rigid", "Florence", "eos"): _s("curves-icp/florence_eos-icp", "d4d04b9e75b0985f8ea0db1a80c517812dfd8ae053f4636fcf2517454dbda61a", 921),
}  # fmt: skip
"""Error, database, method -> its array. A file of 921 rows holds 0 where an image was not scored."""
ARCHITECTURES: dict[str, Source] = {
    "4 modules, 2 hourglasses (the paper's)": CELLS["nme", "AFLW2000-3D", "guided"],
    "with intermediate supervision": _s("curves2/aflw2000-intersup-abguided", "78299566e6735bb4ccdce9b4ceac6543ab035bcb6d3d82a653541743b8e012a6", 1999),
    "1 hourglass": _s("curves2/aflw2000-stack1", "924a69a94902b97b4d6e41ddbf59b9ab26eba52de006ee293c88699ceb7eccf7", 1999),
    "3 hourglasses": _s("curves2/aflw2000-stack3", "1658d82e121a39f7695dc8a635fcf8d5a0d151b3461a86e98992cb8e1dfb05c6", 1999),
    "4 hourglasses": _s("curves2/aflw2000-stack4", "1825f8534d7be15c519543da20090e28e3fedaec884e05eed6c90e0582a9b452", 1999),
    "384 features": _s("curves2/aflw2000-heavy", "6f0cbc48fc8324d9ea22d36d3a79610cc7f595fb782619490f6df5ec49497fb1", 1999),
    "128 features": _s("curves2/aflw2000-light", "daf8385b3e7631572e6e1e8956c5306ec3a8e8a1419fc22014d80dbab51db81f", 1999),
    "64 features": _s("curves2/aflw2000-lighter", "44e8fa4c5e700cf6f25f7607bc31dcc109584bf6cde569d5edbdef842a0dcbec", 1999),
    "3-D convolutions": _s("curves2/aflw2000-volumetric", "8d4cf49dac08595443676f0d281bcb56b2f2118048d1476f65cc211208cb42bc", 1999),
}  # fmt: skip
"""VRN-Guided on AFLW2000-3D in the thesis' architecture experiments."""


def files() -> dict[str, str]:
    """Path below ``chapter_faces`` -> SHA-256 of every file that is needed."""
    return {s.path: s.sha256 for s in (*CELLS.values(), *ARCHITECTURES.values())}
