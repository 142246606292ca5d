"""Reading numeric arrays of MATLAB files (version 5 to 7.2) that may be damaged or hostile.

`scipy.io.loadmat` ends the process with a bus error on some damaged files, and a small file may unfold into a
huge array. So the few things needed are read here, in plain Python: sizes are bounded before anything is
unfolded, and only the arrays asked for are. The format is MathWorks' "MAT-File Format", level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vrnlib.errors import VrnError

SAMPLE_BYTES = 1 << 20
"""Largest file of one picture's parameters (real ones have about 10 kB)."""
MODEL_BYTES = 2 << 30
"""Largest file of a morphable model (the largest real one has about 0.5 GB)."""
_UNFOLDED = 16  # an array may have this many times the bytes that its file may have
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_NAMES = ("cell", "struct", "object", "char", "sparse", "double", "single", *_INTEGERS)
_CLASSES = dict(enumerate(_NAMES, 1))
_DTYPES = {"double": np.dtype("f8"), "single": np.dtype("f4")} | {c: np.dtype(c) for c in _INTEGERS}
_HEAD = 4096  # bytes that hold an array's flags, shape and name


class _Damaged(Exception):
    pass


class _Array:
    """One array of a file: what it is, and where its numbers are."""

    def __init__(self, payload: memoryview, compressed: bool, order: str):
        self.payload, self.compressed, self.order = payload, compressed, order
        head = memoryview(self._bytes(_HEAD))
        kind, _, body, _ = _tag(head, 0, order)
        if kind != _MATRIX:
            raise _Damaged(f"an element of type {kind} where an array should be")
        parts = []
        for _ in range(3):  # flags, shape, name
            kind, size, body, end = _tag(head, body, order)
            if body + size > len(head):
                raise _Damaged("an array's header is cut off")
            parts.append(bytes(head[body : body + size]))
            body = end
        if len(parts[0]) < 4 or len(parts[1]) % 4:
            raise _Damaged("an array's header is damaged")
        flags = struct.unpack(order + "I", parts[0][:4])[0]
        self.kind = _CLASSES.get(flags & 0xFF, "unknown")
        self.complex = bool(flags & 0x800)
        self.shape = struct.unpack(f"{order}{len(parts[1]) // 4}i", parts[1])
        self.name = parts[2].decode("latin-1")
        self.start = body  # of the numbers' tag
        if any(n < 0 for n in self.shape):
            raise _Damaged(f"{self.name or 'an array'} has a negative size")

    def _bytes(self, limit: int) -> bytes | memoryview:
        if not self.compressed:
            return self.payload[:limit]
        try:
            return zlib.decompressobj().decompress(self.payload, limit)
        except zlib.error as error:
            raise _Damaged(str(error)) from error

    def values(self) -> np.ndarray:
        """The numbers, in the type of the array's class. The shape must have been checked."""
        count = int(np.prod(self.shape, dtype=np.int64))
        data = memoryview(self._bytes(self.start + 16 + 8 * count))
        kind, size, body, _ = _tag(data, self.start, self.order)
        if kind not in _TYPES:
            raise _Damaged(f"{self.name} is stored as an unknown type {kind}")
        stored = np.dtype(self.order + _TYPES[kind])
        if size != count * stored.itemsize or body + size > len(data):
            raise _Damaged(f"{self.name} is cut off")
        numbers = np.frombuffer(data[body : body + size], stored)
        with np.errstate(all="ignore"):
            return numbers.astype(_DTYPES[self.kind]).reshape(self.shape, order="F")


def _tag(data: memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    # type, size, begin of the data, begin of the next element (padded to 8 bytes) of the element at `at`
    if at + 8 > len(data):
        raise _Damaged("the file is cut off")
    first, second = struct.unpack(order + "II", data[at : at + 8])
    if first >> 16:  # a small element: four bytes of data in the tag
        if first >> 16 > 4:
            raise _Damaged("a small element of more than four bytes")
        return first & 0xFFFF, first >> 16, at + 4, at + 8
    return first, second, at + 8, at + 8 + (second + 7) // 8 * 8


def _arrays(path: Path, limit: int) -> Iterator[_Array]:
    try:
        size = path.stat().st_size
        if size > limit:
            raise VrnError(f"'{path}' has {size} bytes, more than the {limit} allowed: it is another file")
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {error.strerror or error}") from error
    if not size:
        raise VrnError(f"'{path}' is empty (0 bytes): copy it again")
    mark = bytes(data[124:128])
    if mark in (b"\x00\x02IM", b"\x02\x00MI") or bytes(data[:4]) == b"\x89HDF":
        raise VrnError(f"'{path}' was saved as MATLAB v7.3: save it again with -v7")
    if mark not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise VrnError(f"'{path}' is no MATLAB file of version 5 to 7.2, or truncated: copy it again")
    order = "<" if mark[2:] == b"IM" else ">"
    at = 128
    try:
        while at < len(data):
            kind, size, body, _ = _tag(data, at, order)
            end = body + size  # no padding between arrays
            if kind == _COMPRESSED:
                yield _Array(data[body:end], True, order)
            elif kind == _MATRIX:
                yield _Array(data[at:end], False, order)
            at = end
    except _Damaged as error:
        raise VrnError(f"'{path}' is truncated or damaged ({error}): copy it again") from error


def names(path: str | Path, limit: int = SAMPLE_BYTES) -> dict[str, tuple[tuple[int, ...], str]]:
    """Names of the arrays of a .mat file -> (shape, MATLAB class), without unfolding them.

    Raises
    ------
    VrnError : missing, not a MATLAB file of version 5 to 7.2, truncated, or larger than `limit` bytes.
    """
    return {a.name: (a.shape, a.kind) for a in _arrays(Path(path), limit)}


def load(
    path: str | Path,
    wanted: Mapping[str, Sequence[int | None] | None],
    limit: int = SAMPLE_BYTES,
    optional: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Load real numeric arrays of a .mat file.

    Parameters
    ----------
    wanted : name -> shape that it must have (None in the shape: any length), or None for any shape.
    limit : bytes that the file may have at most; an array may have 16 times as many.
    optional : names of `wanted` that may be missing.

    Returns
    -------
    name -> array in the type of its MATLAB class; floating arrays are checked to be finite.

    Raises
    ------
    VrnError : see :func:`names`; a missing array, a wrong shape or type, NaN or infinite values.
    """
    path = Path(path)
    seen, out = [], {}
    for array in _arrays(path, limit):
        name = array.name
        seen.append(name)
        if name not in wanted:
            continue
        if array.kind not in _DTYPES or array.complex:
            kind = "complex" if array.complex else array.kind
            raise VrnError(f"'{path}': {name} is of type {kind}, real numbers are expected")
        _check_shape(path, name, array.shape, wanted[name])
        if float(np.prod(array.shape, dtype=np.float64)) * 8 > _UNFOLDED * limit:
            raise VrnError(f"'{path}': {name} of shape {array.shape} is too large to be what its name says")
        try:
            out[name] = array.values()
        except _Damaged as error:
            raise VrnError(f"'{path}' is truncated or damaged ({error}): copy it again") from error
        if out[name].dtype.kind == "f" and not np.isfinite(out[name]).all():
            raise VrnError(f"'{path}': {name} holds NaN or infinite values")
    missing = [k for k in wanted if k not in out and k not in optional]
    if missing:
        raise VrnError(
            f"'{path}' has no {', '.join(missing)}; it holds {', '.join(sorted(seen)) or 'nothing'}"
        )
    return out


def _check_shape(
    path: Path, name: str, shape: tuple[int, ...], expected: Sequence[int | None] | None
) -> None:
    if expected is None:
        return
    if len(shape) != len(expected) or any(e not in (None, s) for s, e in zip(shape, expected, strict=True)):
        want = " x ".join("n" if e is None else str(e) for e in expected)
        raise VrnError(f"'{path}': {name} has shape {' x '.join(map(str, shape))}, expected {want}")
