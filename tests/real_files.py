"""Small files in the exact formats of 300W-LP, AFLW2000-3D, the BFM parts, BU-4DFE and Florence, with known
geometry: the "Basel model" here is the package's own face basis, so that what is read back must be its face.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import scipy.io

from vrnlib.appearance import dress, sample_light, sample_look, shade
from vrnlib.faces import (
    FaceBasis,
    expression_coefficients,
    load_basis,
    rotation_matrix,
    sample_identity,
)

SIZE = 450
"""Side of the pictures of 300W-LP."""
BASIS_UNIT = 1e5
"""Coefficients are not whitened: Shape_Para is in the ten thousands, as in the real files."""


def basis_rows() -> tuple[FaceBasis, np.ndarray, np.ndarray, np.ndarray]:
    """The basis, its fields that are the 199 shape and 29 expression columns, its skin's triangles."""
    basis = load_basis()
    shape = np.flatnonzero(basis.kind < 2)[:199]
    return basis, shape, np.flatnonzero(basis.kind == 2)[:29], basis.faces[basis.part == 0]


def write_bfm(folder: Path, names: tuple[str, str] = ("Model_Shape.mat", "Model_Exp.mat")) -> Path:
    """Model_Shape.mat as ModelGenerate.m writes it, Model_Exp.mat: micrometres, interleaved, from 1."""
    basis, shape, expression, faces = basis_rows()
    folder.mkdir(parents=True, exist_ok=True)
    n = basis.mean.size
    scipy.io.savemat(
        folder / names[0],
        {
            "mu_shape": (basis.mean.astype(np.float64) * 1000).reshape(n, 1),
            "w": basis.fields[shape].T * np.float32(1000 / BASIS_UNIT),
            "sigma": np.full((199, 1), BASIS_UNIT),
            "tri": (faces[:, ::-1].T + 1).astype(np.float64),  # BFM's triangles turn away from the viewer
            "keypoints": (basis.landmarks[None] + 1).astype(np.float64),
        },
    )
    scipy.io.savemat(
        folder / names[1],
        {
            "mu_exp": np.zeros((n, 1)),
            "w_exp": basis.fields[expression].T * np.float32(1000),
            "sigma_exp": np.ones((29, 1)),
        },
    )
    return folder


def person(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape_Para (199, 1), Exp_Para (29, 1) and the head's vertices (V, 3) mm that they mean."""
    basis, shape, expression, _ = basis_rows()
    rng = np.random.default_rng(seed)
    drawn = sample_identity(rng) + expression_coefficients({"mouthSmile": 0.5, "jawOpen": 0.3})
    kept = np.zeros_like(drawn)
    kept[shape], kept[expression] = drawn[shape], drawn[expression]
    parameters = (
        (kept[shape][:, None] * BASIS_UNIT).astype(np.float64),
        kept[expression][:, None].astype(np.float64),
    )
    return *parameters, basis.vertices(kept)


def write_picture(
    path: Path,
    seed: int = 0,
    pose: tuple[float, float, float] = (0.1, 0.5, -0.15),
    translation: tuple[float, float, float] = (225.0, 240.0, -66.7),
    f: float = 1.1e-3,
    aflw: bool = False,
    **replaced: object,
) -> np.ndarray:
    """NAME.jpg and NAME.mat of one face; returns its vertices (V, 3) in the image frame.

    `replaced` sets or (None) leaves out arrays of the .mat file.
    """
    basis = load_basis()
    shape, expression, head = person(seed)
    rng = np.random.default_rng(seed)
    rotation = rotation_matrix(*pose)
    scale = f * 1000
    look, light = sample_look(rng), sample_light(rng)
    centre = (translation[0], SIZE - 1 - translation[1])
    drawn = shade(dress(head, look), rotation, scale, centre, light, SIZE)
    image = drawn[..., :3] + (1 - drawn[..., 3:]) * np.float32(0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98]
    cv2.imwrite(str(path), _srgb(image[..., ::-1]), quality)
    placed = (scale * head @ rotation.T + translation) * [1, -1, 1] + [0, SIZE - 1, 0]
    landmarks = placed[basis.landmarks]
    arrays: dict[str, object] = {
        "Pose_Para": np.array([[*pose, *translation, f]], np.float32),
        "Shape_Para": shape,
        "Exp_Para": expression,
        "Tex_Para": np.zeros((199, 1)),
        "Color_Para": np.array([[1, 1, 1, 0, 0, 0, 1]], np.float32),
        "Illum_Para": np.zeros((1, 10), np.float32),
        "roi": np.array([[-60, -52, 589, 597]], np.int16),
        "pt2d": landmarks[:, :2].T.astype(np.float32),
    }
    if aflw:
        arrays["pt2d"] = np.full((2, 21), -1, np.float64)
        arrays["pt3d_68"] = landmarks.T.astype(np.float32)
    arrays |= replaced
    scipy.io.savemat(
        path.with_suffix(".mat"), {k: v for k, v in arrays.items() if v is not None}, do_compression=True
    )
    return placed


def write_300w_lp(folder: Path, count: int = 3) -> Path:
    """A small 300W-LP: AFW, AFW_Flip, HELEN and the folder `landmarks`, which must not be read as samples."""
    names = [("AFW", "AFW_134212_1_0"), ("HELEN", "HELEN_2908549_1_3"), ("AFW_Flip", "AFW_134212_1_0"),
             ("LFPW", "LFPW_image_test_0001_2"), ("IBUG", "IBUG_image_008_1_0")]  # fmt: skip
    for i, (subset, name) in enumerate(names[:count]):
        yaw = (0.5, -0.9, 1.2, 0.0, -0.3)[i]
        write_picture(folder / subset / f"{name}.jpg", seed=i, pose=(0.1, yaw, -0.15))
    inner = folder / "landmarks" / "AFW"
    inner.mkdir(parents=True)
    scipy.io.savemat(inner / "AFW_134212_1_0_pts.mat", {"pts_2d": np.zeros((68, 2))})
    cv2.imwrite(str(inner / "sheet.jpg"), np.zeros((40, 40, 3), np.uint8))
    return folder


def scan_mesh(seed: int = 0) -> dict[str, np.ndarray]:
    """A head as a scan: vertices (V, 3) mm, skin's faces, frontal-projection uv, 68 landmarks (68, 3)."""
    basis, _, _, faces = basis_rows()
    head = person(seed)[2].astype(np.float64)
    uv = (head[:, :2] + [110, 170]) / [220, 300]
    return {"vertices": head, "faces": faces, "uv": uv, "landmarks": head[basis.landmarks]}


def texture(seed: int = 0) -> np.ndarray:
    """The head's frontal picture (300 x 220 mm at 2 px a mm), BGR, which `scan_mesh`'s uv point into."""
    rng = np.random.default_rng(seed)
    head = person(seed)[2]
    look, light = sample_look(rng), sample_light(rng)
    drawn = shade(dress(head, look), np.eye(3), 2.0, (220 - 0.5, 260 - 0.5), light, 600)[:, :440]
    return _srgb(drawn[..., 2::-1])


def _srgb(linear: np.ndarray) -> np.ndarray:
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def write_wrl(path: Path, mesh: dict[str, np.ndarray], picture: np.ndarray | None) -> Path:
    """A VRML 2 file in BU-4DFE's layout, its picture beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def rows(array: np.ndarray) -> str:
        return ",\n".join(" ".join(f"{v:.6g}" for v in row) for row in array.tolist())

    index = ",\n".join(f"{a},{b},{c},-1" for a, b, c in mesh["faces"].tolist())
    path.write_text(
        f"""#VRML V2.0 utf8
# a comment [ 1 2 3 ]
Shape {{
  appearance Appearance {{
    material Material {{ diffuseColor 1 1 1 }}
    texture ImageTexture {{ repeatS FALSE url [ "{path.stem}.jpg" ] }}
  }}
  geometry IndexedFaceSet {{
    coord Coordinate {{ point [ {rows(mesh["vertices"])} ] }}
    coordIndex [ {index} ]
    texCoord TextureCoordinate {{ point [ {rows(mesh["uv"])} ] }}
    texCoordIndex [ {index} ]
  }}
}}
"""
    )
    if picture is not None:
        cv2.imwrite(str(path.with_suffix(".jpg")), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


def write_obj(path: Path, mesh: dict[str, np.ndarray], picture: np.ndarray | None) -> Path:
    """An OBJ file in Florence's layout (mtllib, map_Kd), its picture beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# Florence", f"mtllib {path.stem}.mtl", "usemtl texture"]
    lines += ["v {:.5f} {:.5f} {:.5f}".format(*v) for v in mesh["vertices"].tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*t) for t in mesh["uv"].tolist()]
    lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*f) for f in (mesh["faces"] + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text("newmtl texture\nKd 1 1 1\nmap_Kd skin colour.png\n")
    if picture is not None:
        cv2.imwrite(str(path.with_name("skin colour.png")), picture)
    return path


def write_csv(path: Path, landmarks: np.ndarray) -> Path:
    """68 rows x,y,z with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ["x,y,z", *(",".join(f"{v:.5f}" for v in p) for p in landmarks.tolist())]
    path.write_text("\n".join(rows) + "\n")
    return path


def bnd_points(landmarks: np.ndarray) -> np.ndarray:
    """BU-4DFE's 83 points (83, 3) made from 68: eyes 8, brows 10, nose 12, mouth 12 + 8, jaw 15."""
    l = landmarks

    def along(points: np.ndarray, n: int, closed: bool = False) -> np.ndarray:
        line = np.concatenate([points, points[:1]]) if closed else points
        s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        at = np.linspace(0, s[-1], n + closed)[: n if closed else None]
        return np.stack([np.interp(at, s, line[:, i]) for i in range(3)], 1)

    def eye(a: int) -> np.ndarray:  # corners kept: 5 points along the upper lid, 3 inner ones along the lower
        return np.concatenate([along(l[a : a + 4], 5), along(l[[a + 3, a + 4, a + 5, a]], 5)[1:4]])

    def brow(a: int) -> np.ndarray:  # its lower edge 5 mm below
        return np.concatenate([l[a : a + 5], (l[a : a + 5] - [0, 5, 0])[::-1] * 1.0])

    side = l[31] + [-2, 8, -4], l[35] + [2, 8, -4]
    root = l[39], l[28] + [-8, 0, -5], l[28] + [8, 0, -5], l[42]
    base = l[31], l[32], l[33], l[33] + [0, -0.5, 0], l[34], l[35]
    nose = np.stack([*root[:2], side[0], *base, side[1], *root[2:]])
    return np.concatenate([eye(36), eye(42), brow(17), brow(22), nose, l[48:60], l[60:68], along(l[:17], 15)])


def write_bnd(path: Path, points: np.ndarray) -> Path:
    """83 lines ``index x y z`` with the trailing blank and the empty last line that the real ones have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i} {x:.6f} {y:.6f} {z:.6f} " for i, (x, y, z) in enumerate(points.tolist())]
    path.write_text("\n".join(lines) + "\n\n")
    return path


def write_bu4dfe(folder: Path, frames: int = 1, bnd: bool = True) -> Path:
    """F001 and M002 with Angry, Happy and Surprise; the landmarks in BU4DFE_BND_V1.1 beside the people."""
    for person_name, seed in (("F001", 5), ("M002", 6)):
        mesh, picture = scan_mesh(seed), texture(seed)
        for expression in ("Angry", "Happy", "Surprise"):
            for frame in range(frames):
                inner = Path(person_name) / expression / f"{frame:03d}.wrl"
                write_wrl(folder / inner, mesh, picture)
                if bnd:
                    points = bnd_points(mesh["landmarks"])
                    write_bnd(folder / "BU4DFE_BND_V1.1" / inner.with_suffix(".bnd"), points)
    return folder


def write_florence(folder: Path, people: int = 2) -> Path:
    """subject_01 ... with frontal1 and side scans, and tables of landmarks beside the frontal scans."""
    for i in range(1, people + 1):
        mesh = scan_mesh(i)
        base = folder / f"subject_{i:02d}" / "Model"
        scan = write_obj(base / "frontal1" / "obj" / f"11092015045{i}.obj", mesh, texture(i))
        write_csv(scan.with_suffix(".csv"), mesh["landmarks"])
        write_obj(base / "side-l" / "obj" / "a.obj", mesh, texture(i))
    return folder
