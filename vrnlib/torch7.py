"""Read a binary Torch7 file (.t7) as plain data; nothing in it is executed.

Torch7 (2012-2017) wrote any Lua object with `torch.save`; the authors' networks are published that way. The
layout, little-endian: an int32 says what follows: 0 nil, 1 number (float64), 2 string (int32 length, bytes),
3 table, 4 object of a Torch class, 5 boolean (int32), 6, 7, 8 function. Tables, objects and functions (but
not the old type 6) carry an int32 index; an index seen before stands for the same thing again, and nothing
follows. Sizes of tensors and storages are C longs: 8 bytes, but 4 where the file was written on Windows or on
a 32-bit machine. Source: `File.lua` and `lib/TH/THDiskFile.c` of torch/torch7.

A file from a stranger may be damaged or malicious. So every size is compared with the bytes that are left
before anything is allocated, nesting is followed on a list and not on the call stack, the number of values is
limited, and a function's bytecode is skipped. `vrnlib.convert` turns the result into a network.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vrnlib.errors import VrnError

MAX_VALUES = 500_000
"""Values in a file (numbers, strings, tables, ...); a network of the released size has about 100,000."""
MAX_DEPTH = 2_000
"""Levels of nesting; a module is about three levels below the module that holds it."""
MAX_STRING = 1 << 20
"""Bytes of a string."""
MAX_DIMENSIONS = 32
"""Dimensions of a tensor."""

_NIL, _NUMBER, _STRING, _TABLE, _OBJECT, _BOOLEAN, _OLD_FUNCTION, _FUNCTION_5_1, _FUNCTION = range(9)
_KINDS = ("nil", "number", "string", "table", "object", "boolean", "function", "function", "function")
_PLAIN = {"Byte": "u1", "Char": "i1", "Short": "<i2", "Int": "<i4", "Long": "<i8", "Half": "<f2",
          "Float": "<f4", "Double": "<f8"}  # fmt: skip
# what a tensor's elements are, by its class without the ending: torch.Float, torch.CudaHalf, torch.Cuda
_ELEMENTS = {f"torch.{cuda}{kind}": code for cuda in ("", "Cuda") for kind, code in _PLAIN.items()}
_ELEMENTS["torch.Cuda"] = _PLAIN["Float"]


@dataclass(eq=False, repr=False)  # a file can refer to itself, or to one thing very often
class Table:
    """A Lua table; `get` finds keys that are strings or numbers."""

    entries: dict[Any, Any] = field(default_factory=dict)

    def get(self, key: str | int, default: Any = None) -> Any:
        return self.entries.get(key, default)

    def sequence(self) -> list[Any]:
        """The values of the keys 1, 2, 3, ... up to the first that is missing."""
        values: list[Any] = []
        while (value := self.entries.get(len(values) + 1)) is not None:
            values.append(value)
        return values


@dataclass(eq=False, repr=False)
class TorchObject:
    """An object of a Torch class such as ``nn.Sequential``: its class, the class's version, its fields."""

    class_name: str
    version: int
    fields: Table = field(default_factory=Table)

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)


@dataclass(eq=False)
class Storage:
    """`count` elements of `dtype`, still in the file."""

    class_name: str
    dtype: np.dtype[Any]
    count: int
    data: memoryview = field(repr=False)


@dataclass(eq=False)
class Tensor:
    """A view of a storage. `offset` and `strides` count elements, from 0; an empty tensor has shape (0,)."""

    class_name: str
    shape: tuple[int, ...] = (0,)
    strides: tuple[int, ...] = (1,)
    offset: int = 0
    storage: Storage | None = None

    def array(self) -> NDArray[Any]:
        """The values, copied from the file: contiguous, of the tensor's shape and type.

        Raises
        ------
        VrnError : it repeats elements of its storage: a small file could ask for any amount of memory.
        """
        if self.storage is None:
            return np.empty(self.shape, _element(self.class_name.removesuffix("Tensor"), 8))
        if math.prod(self.shape) > self.storage.count:
            raise VrnError(f"a tensor of shape {self.shape} repeats the {self.storage.count} values it has")
        item = self.storage.dtype.itemsize
        # along a side of 1 the stride is never used, and may be any number
        strides = tuple(s * item if n > 1 else 0 for n, s in zip(self.shape, self.strides, strict=True))
        view = np.ndarray(self.shape, self.storage.dtype, self.storage.data, self.offset * item, strides)
        return view.astype(view.dtype.newbyteorder("="), order="C", copy=True)


@dataclass(eq=False)
class Function:
    """A Lua function: `size` bytes of bytecode, which are neither kept nor run."""

    size: int


@dataclass(frozen=True, eq=False)
class T7File:
    """What a file holds.

    Attributes
    ----------
    root : None, float, bool, str, Table, TorchObject, Tensor, Storage or Function
        The object that was saved.
    path : Path
    sha256 : str
        Of all bytes of the file.
    size : int
        Bytes of the file.
    unread : int
        Bytes that follow the object; `torch.save` leaves none.
    long_bytes : 8 or 4
        Size of a C long where the file was written.
    """

    root: Any
    path: Path
    sha256: str
    size: int
    unread: int
    long_bytes: int


def load(path: str | Path) -> T7File:
    """Read a binary Torch7 file.

    The numbers of tensors stay in the file until `Tensor.array` copies them.

    Raises
    ------
    VrnError : the file is missing, is not a binary Torch7 file, is cut short or damaged, or is larger in
        number of values or depth than any network.
    """
    path = Path(path)
    if not path.is_file():
        raise VrnError(f"{path}: no such file; the authors' network is called vrn-unguided.t7")
    try:
        with path.open("rb") as file:
            _refuse_other_formats(path, file.read(512))
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise VrnError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    readers = []
    for long_bytes in (8, 4):
        reader = _Reader(path, memoryview(data), long_bytes)
        try:
            root = reader.read()
        except VrnError as error:
            readers.append((reader.position, error))
            continue
        unread = len(data) - reader.position
        if unread and long_bytes == 4:  # chance may let a damaged file pass so far
            continue
        return T7File(root, path, hashlib.sha256(data).hexdigest(), len(data), unread, long_bytes)
    raise max(readers, key=lambda r: r[0])[1]  # the reading that got further is the better one


class _Reader:
    """One pass over the bytes of a file.

    A body (of a table, an object, a function) is a generator: it yields where it needs a value, and is sent
    the value. So the nesting of the file is a list of generators, and depth costs no call stack.
    """

    def __init__(self, path: Path, data: memoryview, long_bytes: int) -> None:
        self.path, self.data, self.long_bytes = path, data, long_bytes
        self.position = 0
        self.values = 0
        self.known: dict[int, tuple[int, Any]] = {}  # index -> type, object

    def read(self) -> Any:
        """The object at the present position."""
        bodies: list[Generator[None, Any, Any]] = []
        value = self._begin()
        while True:
            if isinstance(value, Generator):
                if len(bodies) == MAX_DEPTH:
                    self._fail(f"nested deeper than {MAX_DEPTH} levels, which no network is")
                bodies.append(value)
                value = None
            elif not bodies:
                return value
            try:
                bodies[-1].send(value)
            except StopIteration as done:
                bodies.pop()
                value = done.value
            else:
                value = self._begin()

    def _begin(self) -> Any:
        """The next value, or the generator that reads its body."""
        self.values += 1
        if self.values > MAX_VALUES:
            self._fail(f"more than {MAX_VALUES} values, which no network has")
        kind = self._int()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self._unpack("<d", 8, "a number")
        if kind == _STRING:
            return self._string("a string").decode("utf-8", "surrogateescape")
        if kind == _BOOLEAN:
            return self._int() == 1
        if kind == _OLD_FUNCTION:  # the only body without an index
            return self._function(None)
        if not _TABLE <= kind <= _FUNCTION:
            self._fail(f"a value of unknown type {kind}")
        index = self._int()
        if index in self.known:
            former, thing = self.known[index]
            if former != kind:
                self._fail(f"index {index} means a {_KINDS[former]}, then something else ({_KINDS[kind]})")
            return thing
        return {_TABLE: self._table, _OBJECT: self._object}.get(kind, self._function)(index, kind)

    def _table(self, index: int, kind: int) -> Generator[None, Any, Table]:
        count = self._int()
        self._check_count(count, 8, "entries of a table")
        table = Table()
        self.known[index] = kind, table
        for _ in range(count):
            key = yield
            value = yield
            if key is None or (isinstance(key, float) and math.isnan(key)):
                self._fail("a table with nil or not-a-number as a key")
            key = (bool, key) if isinstance(key, bool) else key  # in Python, true would be the key 1
            if key in table.entries:
                self._fail("a table with the same key twice")
            if value is not None:
                table.entries[key] = value
        return table

    def _object(self, index: int, kind: int) -> Generator[None, Any, Any]:
        text = self._string("a class name", 200)
        version = 0
        if found := re.fullmatch(rb"V (\d{1,9})", text):  # older files name the class at once
            version = int(found[1])
            text = self._string("a class name", 200)
        try:
            name = text.decode("utf-8")
        except UnicodeDecodeError:
            self._fail(f"a class name that is not text: {text[:40]!r}")
        if name.removesuffix("Storage") in _ELEMENTS:
            storage = self._storage(name)
            self.known[index] = kind, storage
            return storage
        if name.removesuffix("Tensor") in _ELEMENTS:
            tensor = Tensor(name)
            self.known[index] = kind, tensor
            yield from self._tensor(tensor)
            return tensor
        thing = TorchObject(name, version)
        self.known[index] = kind, thing
        body = yield
        if not isinstance(body, Table):
            self._fail(f"an object of class {name!a}, which writes itself in a form of its own")
        thing.fields = body
        return thing

    def _storage(self, name: str) -> Storage:
        dtype = _element(name.removesuffix("Storage"), self.long_bytes)
        count = self._long()
        self._check_count(count, dtype.itemsize, f"elements of a {name}")
        return Storage(name, dtype, count, self._take(count * dtype.itemsize, name))

    def _tensor(self, tensor: Tensor) -> Generator[None, Any, None]:
        dimensions = self._int()
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            self._fail(f"a tensor of {dimensions} dimensions")
        shape = tuple(self._long() for _ in range(dimensions))
        strides = tuple(self._long() for _ in range(dimensions))
        offset = self._long() - 1  # Lua counts from 1
        storage = yield
        if storage is not None and not isinstance(storage, Storage):
            self._fail("a tensor whose storage is something else")
        expected = tensor.class_name.removesuffix("Tensor") + "Storage"
        if storage is not None and storage.class_name != expected:
            self._fail(f"a {tensor.class_name} on a {storage.class_name}")
        if not dimensions:
            return
        if min(shape) < 1 or min(strides) < 0 or offset < 0:
            self._fail(f"a tensor of impossible shape {shape}, strides {strides} or offset {offset + 1}")
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        held = storage.count if storage else 0
        if last >= held:
            self._fail(f"a tensor of shape {shape} reaches beyond the {held} elements of its storage")
        tensor.shape, tensor.strides, tensor.offset, tensor.storage = shape, strides, offset, storage

    def _function(self, index: int | None, kind: int = _OLD_FUNCTION) -> Generator[None, Any, Function]:
        size = self._int()
        self._check_count(size, 1, "bytes of a function")
        self._take(size, "a function")
        function = Function(size)
        if index is not None:
            self.known[index] = kind, function
        yield  # its upvalues
        return function

    def _string(self, what: str, limit: int = MAX_STRING) -> bytes:
        size = self._int()
        self._check_count(size, 1, f"bytes of {what}")
        if size > limit:
            self._fail(f"{what} of {size} bytes, longer than any network's")
        return bytes(self._take(size, what))

    def _int(self) -> int:
        return self._unpack("<i", 4, "an integer")

    def _long(self) -> int:
        return self._unpack("<q" if self.long_bytes == 8 else "<i", self.long_bytes, "a size")

    def _unpack(self, code: str, size: int, what: str) -> Any:
        return struct.unpack(code, self._take(size, what))[0]

    def _take(self, size: int, what: str) -> memoryview:
        start = self.position
        if size > len(self.data) - start:
            self._fail(f"the file ends within {what}: it was cut short, fetch it again")
        self.position += size
        return self.data[start : self.position]

    def _check_count(self, count: int, size: int, what: str) -> None:
        """`count` things of at least `size` bytes must fit into the rest of the file."""
        left = len(self.data) - self.position
        if count < 0:
            self._fail(f"{count} {what}")
        if count * size > left:
            self._fail(f"{count} {what}, but only {left} bytes are left: it was cut short, fetch it again")

    def _fail(self, problem: str) -> NoReturn:
        raise VrnError(f"{self.path} is not a sound Torch7 file: at byte {self.position}, {problem}")


def _element(name: str, long_bytes: int) -> np.dtype[Any]:
    """Element type of ``torch.Float``, ``torch.CudaHalf``, ..."""
    code = _ELEMENTS[name]
    return np.dtype("<i4" if code == "<i8" and long_bytes == 4 else code)


def _refuse_other_formats(path: Path, head: bytes) -> None:
    """Name what people have in place of the file: a saved web page, a pointer of git, another format."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    problem = ""
    if not head:
        problem = "is empty: fetch it again"
    elif start.startswith(b"version https://git-lfs"):
        problem = "is a git-lfs pointer, not the network itself: fetch it with `git lfs pull`"
    elif start.startswith(b"<"):
        problem = "is a web page (HTML or XML), not a network: the download failed, open it to see why"
    elif re.match(rb"[0-8]\r?\n-?\d", head):
        problem = (
            "is a Torch7 file in ASCII mode, and only binary ones are read: convert it in Torch7 with "
            "torch.save('binary.t7', torch.load(file, 'ascii'))"
        )
    elif head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        problem = "is a zip or pickle file as PyTorch writes them, not a Torch7 file (.t7)"
    elif head.startswith(b"\x1f\x8b"):
        problem = "is compressed with gzip: unpack it first"
    elif len(head) >= 4 and not 0 <= int.from_bytes(head[:4], "little") <= _FUNCTION:
        problem = f"is not a Torch7 file: it starts with {head[:8]!r}"
    if problem:
        raise VrnError(f"{path} {problem}")
