"""Meshes to files: GLB, OBJ and PLY, upright in any viewer, all or nothing.

Meshes live in the image frame (x right, y down, z towards the viewer). Files are turned y-up, ``y' = height -
1 - y``, which mirrors, so the triangles are turned round as well and stay oriented outwards. A file is
written under a temporary name in its own folder and then renamed: an interrupted run leaves no half of a
face.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vrnlib.errors import VrnError


@dataclass(frozen=True)
class Surface:
    """What the writers need, already in the frame of the file.

    Attributes
    ----------
    vertices : (V, 3) float32
        x right, y up, z towards the viewer.
    faces : (F, 3) int32
        Oriented outwards.
    colours : (V, 3) uint8
        sRGB.
    normals : (V, 3) float32
        Unit vectors, outwards.
    uv : (V, 2) float32 or None
        Texture coordinates in 0..1, v down (glTF's convention).
    picture : (h, w, 3) uint8 or None
        The texture, RGB.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32] | None = None
    picture: NDArray[np.uint8] | None = None


def check_target(path: str | PathLike[str]) -> Path:
    """Return `path` if a mesh can be written there; meant to be asked before anything is computed.

    Raises
    ------
    VrnError
        For an extension other than those of `WRITERS`, or a folder that is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        kind = f"the extension '{path.suffix}'" if path.suffix else "no extension"
        raise VrnError(
            f"cannot write '{path}' with {kind}: use {', '.join(list(WRITERS)[:-1])} or {list(WRITERS)[-1]}"
        )
    return check_folder(path)


def check_folder(path: Path) -> Path:
    """Return `path` if its folder exists and can be written to.

    Raises
    ------
    VrnError
        Otherwise, or if `path` itself is a folder.
    """
    folder = path.parent
    if path.is_dir():
        raise VrnError(f"'{path}' is a folder: give the name of a file")
    if not folder.is_dir():
        raise VrnError(
            f"cannot write '{path}': the folder '{folder}' does not exist; create it first (mkdir -p "
            f"'{folder}')"
        )
    try:  # asking the system is not enough (root, read-only mounts): try
        handle, name = tempfile.mkstemp(prefix=".vrn-", dir=folder)
    except OSError as error:
        raise VrnError(
            f"cannot write '{path}': the folder '{folder}' is not writable "
            f"({(error.strerror or str(error)).lower()}); "
            "choose another with --out"
        ) from error
    os.close(handle)
    Path(name).unlink()
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Raises
    ------
    VrnError
        If the folder is missing or not writable, or the disk is full.
    """
    check_folder(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp's are private
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise VrnError(
            f"cannot write '{path}': {(error.strerror or str(error)).lower()}; free some space or "
            "choose another "
            "place"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write(path: str | PathLike[str], surface: Surface) -> Path:
    """Write a surface in the format its extension names.

    Raises
    ------
    VrnError
        See `check_target` and `write_bytes`.
    """
    path = check_target(path)
    write_bytes(path, WRITERS[path.suffix.lower()](surface))
    return path


def obj_bytes(surface: Surface) -> bytes:
    """Wavefront OBJ with one colour per vertex, ``v x y z r g b`` (r, g, b in 0..1), as the authors wrote it;
    1-based faces.
    """
    v, f = surface.vertices, surface.faces + 1
    rows = np.concatenate([v, surface.colours / 255.0], axis=1)
    text = ("v %.3f %.3f %.3f %.4f %.4f %.4f\n" * len(rows)) % tuple(rows.ravel().tolist())
    triangles = ("f %d %d %d\n" * len(f)) % tuple(f.ravel().tolist())
    return f"# vrnlib, {len(rows)} vertices, x right, y up, z towards the viewer\n{text}{triangles}".encode(
        "ascii"
    )


def ply_bytes(surface: Surface) -> bytes:
    """Binary little-endian PLY with normals and colours per vertex."""
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment vrnlib, x right, y up, z towards the viewer\n"
        f"element vertex {len(surface.vertices)}\n"
        + "".join(f"property float {n}\n" for n in ("x", "y", "z", "nx", "ny", "nz"))
        + "".join(f"property uchar {n}\n" for n in ("red", "green", "blue"))
        + f"element face {len(surface.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    vertex = np.empty(len(surface.vertices), [("p", "<f4", 3), ("n", "<f4", 3), ("c", "u1", 3)])
    vertex["p"], vertex["n"], vertex["c"] = surface.vertices, surface.normals, surface.colours
    face = np.empty(len(surface.faces), [("n", "u1"), ("i", "<i4", 3)])
    face["n"], face["i"] = 3, surface.faces
    return header.encode("ascii") + vertex.tobytes() + face.tobytes()


def glb_bytes(surface: Surface) -> bytes:
    """Binary glTF 2.0: positions, normals, and the texture; without a texture, colours per vertex.

    glTF wants vertex colours linear, so sRGB is decoded, to 16 bits lest dark tones band.
    """
    chunks: list[bytes] = []
    views: list[dict] = []
    accessors: list[dict] = []

    def view(data: bytes, target: int | None = None) -> int:
        offset = sum(map(len, chunks))
        views.append(
            {
                "buffer": 0,
                "byteOffset": offset,
                "byteLength": len(data),
                **({"target": target} if target else {}),
            }
        )
        chunks.append(data + b"\0" * (-len(data) % 4))
        return len(views) - 1

    def accessor(array: np.ndarray, kind: str, component: int, target: int, **extra: object) -> int:
        index = view(np.ascontiguousarray(array).tobytes(), target)
        accessors.append(
            {
                "bufferView": index,
                "componentType": component,
                "count": array.size if kind == "SCALAR" else len(array),
                "type": kind,
                **extra,
            }
        )
        return len(accessors) - 1

    float32, uint16, uint32, array_buffer, element_buffer = 5126, 5123, 5125, 34962, 34963
    v = surface.vertices.astype("<f4")
    low, high = (v.min(0), v.max(0)) if len(v) else (np.zeros(3), np.zeros(3))
    attributes = {
        "POSITION": accessor(v, "VEC3", float32, array_buffer, min=low.tolist(), max=high.tolist()),
        "NORMAL": accessor(surface.normals.astype("<f4"), "VEC3", float32, array_buffer),
    }
    material: dict = {
        "name": "photograph",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9},
    }
    gltf: dict = {"asset": {"version": "2.0", "generator": "vrnlib"}}
    if surface.uv is not None and surface.picture is not None:
        attributes["TEXCOORD_0"] = accessor(surface.uv.astype("<f4"), "VEC2", float32, array_buffer)
        gltf["images"] = [{"bufferView": view(jpeg_bytes(surface.picture)), "mimeType": "image/jpeg"}]
        gltf["samplers"] = [
            {"magFilter": 9729, "minFilter": 9729, "wrapS": 33071, "wrapT": 33071}
        ]  # linear, clamped
        gltf["textures"] = [{"source": 0, "sampler": 0}]
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    else:
        linear = np.full((len(v), 4), 65535, "<u2")
        linear[:, :3] = _LINEAR[surface.colours]
        attributes["COLOR_0"] = accessor(linear, "VEC4", uint16, array_buffer, normalized=True)
    indices = accessor(surface.faces.astype("<u4"), "SCALAR", uint32, element_buffer)
    gltf |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [
            {"name": "face", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}
        ],
        "materials": [material],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": sum(map(len, chunks))}],
    }
    head = json.dumps(gltf, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    body = b"".join(chunks)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(head) + 8 + len(body)),
            struct.pack("<I4s", len(head), b"JSON"),
            head,
            struct.pack("<I4s", len(body), b"BIN\0"),
            body,
        ]
    )


def jpeg_bytes(picture: NDArray[np.uint8], quality: int = 92) -> bytes:
    """(h, w, 3) uint8 RGB as a JPEG file."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {picture.shape}")
    return data.tobytes()


_SRGB = np.arange(256) / 255
_LINEAR = np.round(
    np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4) * 65535
).astype("<u2")

WRITERS: dict[str, Callable[[Surface], bytes]] = {".glb": glb_bytes, ".obj": obj_bytes, ".ply": ply_bytes}
"""Extension -> writer."""
