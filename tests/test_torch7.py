"""The reader of Torch7 files: every kind of value, and every way in which a file can be wrong."""

from __future__ import annotations

import random
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from t7_writer import Func, Obj, Store, View, Writer, dump

from vrnlib import torch7
from vrnlib.errors import VrnError
from vrnlib.torch7 import Function, Storage, Table, Tensor, TorchObject

INT, LONG = "<i", "<q"


@pytest.fixture
def load(tmp_path: Path):
    """Read bytes, or what the writer makes of a value, as a file."""

    def run(content: Any, **options: Any) -> Any:
        path = tmp_path / "network.t7"
        path.write_bytes(content if isinstance(content, bytes) else dump(content, **options))
        return torch7.load(path)

    return run


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def longs(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def text(value: bytes) -> bytes:
    return ints(len(value)) + value


def opened(index: int, name: bytes) -> bytes:
    """The start of a Torch object."""
    return ints(4, index) + text(b"V 1") + text(name)


# ---- what is read
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, False, 3.25, -7.0, float("inf"), "", "weight", "größer"])
def test_plain_values(load, value):
    root = load(value).root
    assert root == value and type(root) is type(value)


def test_bytes_by_hand(load):
    """Not through the writer: the table {[1] = true, a = {}} as the format describes it."""
    content = ints(3, 1, 2) + ints(1) + struct.pack("<d", 1) + ints(5, 1) + ints(2, 1) + b"a" + ints(3, 2, 0)
    table = load(content).root
    assert table.get(1) is True and table.sequence() == [True]
    assert isinstance(table.get("a"), Table) and table.get("a").entries == {}


def test_tables_with_all_kinds_of_keys(load):
    writer = Writer()
    writer.ints(3, 99, 6)
    for item in (1, "one", 2, "two", True, "yes", 4, "four", "x", None, "s", [1.0]):
        writer.write(item)
    entries = load(bytes(writer.out)).root
    assert entries.sequence() == ["one", "two"]  # Lua's sequence ends at the gap
    assert entries.get(1) == "one"  # and not "yes": in Python, True == 1
    assert "x" not in entries.entries and entries.get("x", 5) == 5
    assert entries.get("s").sequence() == [1.0]


@pytest.mark.parametrize(
    ("dtype", "cuda", "name"),
    [("float32", False, "torch.Float"), ("float32", True, "torch.Cuda"), ("float64", False, "torch.Double"),
     ("float64", True, "torch.CudaDouble"), ("float16", False, "torch.Half"),
     ("float16", True, "torch.CudaHalf"),
     ("int64", False, "torch.Long"), ("int32", False, "torch.Int"), ("int16", False, "torch.Short"),
     ("int8", False, "torch.Char"), ("uint8", False, "torch.Byte")],
)  # fmt: skip
def test_tensors_of_every_type(load, dtype, cuda, name):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    tensor = load(values, cuda=cuda).root
    assert tensor.class_name == f"{name}Tensor" and tensor.storage.class_name == f"{name}Storage"
    assert tensor.array().dtype == dtype
    assert np.array_equal(tensor.array(), values)


def test_a_tensor_is_a_view_with_strides_and_offset(load):
    store = Store(np.arange(20, dtype=np.float32))
    root = load([View(store, (3, 2), (1, 4), 3), View(store, (2,), (7,), 20 - 7), store]).root.sequence()
    assert np.array_equal(root[0].array(), [[2, 6], [3, 7], [4, 8]])
    assert np.array_equal(root[1].array(), [12, 19])  # up to the very last element
    assert root[0].storage is root[1].storage is root[2]
    array = root[0].array()
    array[:] = 0
    assert root[0].array()[0, 0] == 2, "the array is not a copy"


def test_the_stride_of_a_side_of_one_is_never_used(load):
    tensor = load(View(Store(np.ones(2, np.float32)), (1, 2), (2**62, 1))).root
    assert np.array_equal(tensor.array(), [[1, 1]])


@pytest.mark.parametrize("store", [None, Store(np.zeros(0, np.float32))])
def test_empty_tensors(load, store):
    tensor = load(View(store, (), (), 1)).root
    assert tensor.array().shape == (0,) and tensor.array().dtype == np.float32


def test_long_storages(load):
    assert (storage := load(Store(np.array([1, -2, 2**40]))).root).count == 3
    assert np.array_equal(np.frombuffer(storage.data, storage.dtype), [1, -2, 2**40])


@pytest.mark.parametrize("version", [1, 2, None])
def test_objects_with_and_without_version(load, version):
    thing = load(Obj("cudnn.SpatialConvolution", {"kW": 3, "train": False}, version)).root
    assert isinstance(thing, TorchObject) and thing.class_name == "cudnn.SpatialConvolution"
    assert thing.version == (version or 0)
    assert thing.get("kW") == 3 and thing.get("train") is False and thing.get("kH") is None


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_functions_are_skipped(load, kind):
    code = b"\x1bLua os.execute('touch x')"
    root = load([Func(code, {1: {"name": "x", "value": 2}}, kind), "after"]).root.sequence()
    assert isinstance(root[0], Function) and root[0].size == len(code)
    assert root[1] == "after"
    assert not hasattr(root[0], "code")


def test_shared_and_cyclic_references(load):
    shared, loop = np.ones(3, np.float32), {}
    loop["self"] = loop
    module = Obj("nn.Sequential", {"a": shared, "b": shared, "loop": loop})
    module.fields["parent"] = module
    root = load(module).root
    assert root.get("a") is root.get("b")
    assert root.get("loop").get("self") is root.get("loop")
    assert root.get("parent") is root
    assert len(repr(root)) < 200  # a failing test must be able to print it


def test_nesting_up_to_the_limit(load):
    value: Any = "deep"
    writer = Writer()
    depth = torch7.MAX_DEPTH  # far beyond what the call stack of Python allows
    for i in range(depth):
        writer.ints(3, i + 1, 1)
        writer.write(1)
    root = load(bytes(writer.write(value).out)).root
    for _ in range(depth):
        root = root.get(1)
    assert root == "deep"


def test_files_of_windows(load):
    values = {"t": np.arange(6, dtype=np.float64).reshape(2, 3), "s": Store(np.array([1, 2, -3]))}
    file = load(values, long=4)
    assert file.long_bytes == 4 and np.array_equal(file.root.get("t").array(), values["t"])
    assert np.array_equal(np.frombuffer(file.root.get("s").data, file.root.get("s").dtype), [1, 2, -3])
    assert load(values).long_bytes == 8


def test_what_follows_is_counted(load):
    assert load(dump("x") + b"\n\n").unread == 2
    assert load(dump("x")).unread == 0


# ---- what is refused
# -----------------------------------------------------------------------------------------------------------

ONE_SIDE = opened(1, b"torch.FloatTensor") + ints(1)  # a tensor of one dimension


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ints(9), "not a Torch7 file: it starts with"),
        (ints(3, 1, 1, 77) + bytes(8), "unknown type 77"),
        (ints(2, -1), "-1 bytes of a string"),
        (ints(2, 2**31 - 1), "2147483647 bytes of a string, but only 0 bytes are left"),
        (ints(3, 1, -5), "-5 entries"),
        (ints(3, 1, 2**31 - 1) + bytes(64), "entries of a table, but only 64 bytes"),
        (ints(3, 1, 1, 0, 0) + bytes(8), "nil or not-a-number as a key"),
        (ints(3, 1, 1, 1) + struct.pack("<d", float("nan")) + ints(0), "not-a-number as a key"),
        (dump({"a": 1, b"\x61": 2}), "same key twice"),
        (ints(8, 1, -3), "-3 bytes of a function"),
        (ints(8, 1, 10**9), "1000000000 bytes of a function"),
        (opened(1, b"torch.FloatStorage") + longs(-1), "-1 elements"),
        (opened(1, b"torch.FloatStorage") + longs(2**42) + bytes(400), "4398046511104 elements .* 400 bytes"),
        (opened(1, b"torch.DoubleStorage") + longs(2**61) + bytes(64), "2305843009213693952 elements"),
        (opened(1, b"torch.FloatTensor") + ints(-1), "-1 dimensions"),
        (opened(1, b"torch.FloatTensor") + ints(2**30), "1073741824 dimensions"),
        (ONE_SIDE + longs(-3, 1, 1) + ints(0), "impossible shape"),
        (dump(View(Store(np.ones(4, np.float32)), (2,), (-1,), 2)), "impossible shape"),
        (dump(View(Store(np.ones(4, np.float32)), (2, 0), (1, 1))), "impossible shape"),
        (dump(View(Store(np.ones(4, np.float32)), (2,), (1,), 0)), "offset 0"),
        (dump(View(Store(np.ones(4, np.float32)), (2, 2), (3, 2))), "beyond the 4 elements"),
        (dump(View(Store(np.ones(4, np.float32)), (2**40, 2**40), (1, 1))), "beyond the 4 elements"),
        (dump(View(Store(np.ones(4, np.float32)), (1,), (1,), 5)), "beyond the 4 elements"),
        (ONE_SIDE + longs(3, 1, 1) + ints(0), "beyond the 0 elements"),
        (ONE_SIDE + longs(3, 1, 1) + ints(3, 2, 0), "storage is something else"),
        (ONE_SIDE + longs(3, 1, 1) + ints(4, 1), "storage is something else"),
        (ONE_SIDE + longs(1, 1, 1) + opened(2, b"torch.DoubleStorage") + longs(0), "on a torch.Double"),
        (opened(1, b"nn.\xff\xfe") + ints(3, 2, 0), "class name that is not text"),
        (opened(1, b"n" * 201), "class name of 201 bytes"),
        (opened(1, b"tds.Hash") + ints(1) + bytes(8), "'tds.Hash', which writes itself in a form of its own"),
        (dump([])[:4] + ints(1, 1, 4, 1), "index 1 means a table, then something else .object."),
        (ints(3, 1, 1, 8, 1) + bytes(8), "index 1 means a table, then something else .function."),
    ],
)  # fmt: skip
def test_damage_is_named(load, content, message):
    with pytest.raises(VrnError, match=message) as caught:
        load(content)
    assert "network.t7" in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"4\n1\n3\nV 1\n13\nnn.Sequential\n3\n2\n", "ASCII mode"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 77\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html><body>403</body></html>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "web page"),
        (b"PK\x03\x04" + bytes(50), "as PyTorch writes them"),
        (b"\x80\x02}q\x00.", "as PyTorch writes them"),
        (b"\x1f\x8b\x08" + bytes(50), "unpack it first"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "it starts with b'.x89PNG"),
        (b"\x04", "cut short"),
    ],
)
def test_other_files_are_recognised(load, content, message):
    with pytest.raises(VrnError, match=message):
        load(content)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.t7", tmp_path):
        with pytest.raises(VrnError, match="no such file"):
            torch7.load(path)


def test_a_tensor_that_repeats_its_storage_is_not_copied(load):
    tensor = load(View(Store(np.ones(1, np.float32)), (2**40,), (0,))).root
    with pytest.raises(VrnError, match="repeats the 1 values"):
        tensor.array()


def test_too_deep_too_many_too_long(load):
    deep = b"".join(ints(3, i, 1) + dump(1) for i in range(1, torch7.MAX_DEPTH + 2)) + ints(0)
    with pytest.raises(VrnError, match="nested deeper than"):
        load(deep)
    functions = ints(6, 0) * (torch7.MAX_DEPTH + 1) + ints(0)
    with pytest.raises(VrnError, match="nested deeper than"):
        load(functions)
    with pytest.raises(VrnError, match="longer than any network's"):
        load("x" * (torch7.MAX_STRING + 1))


def test_too_many_values(load, monkeypatch):
    monkeypatch.setattr(torch7, "MAX_VALUES", 1000)
    with pytest.raises(VrnError, match="more than 1000 values"):
        load(list(range(1000)))
    assert len(load(list(range(400))).root.sequence()) == 400


def sample() -> bytes:
    """A small file with everything in it."""
    rng = np.random.default_rng(0)
    store = Store(rng.random(30).astype(np.float32))
    leaf = Obj(
        "nn.SpatialConvolution", {"weight": View(store, (2, 3), (3, 1), 5), "kW": 3, "bias": rng.random(4)}
    )
    fields = {
        "modules": [leaf, leaf, Obj("nn.ReLU", {"f": Func(b"\x1bLua", [1, 2])})],
        "train": True,
        "n": None,
    }
    return dump(
        Obj("nn.Sequential", {**fields, "s": Store(np.arange(4)), "h": rng.random(3).astype(np.float16)})
    )


def outcome(load, content: bytes) -> None:
    """Read it all, or be refused; anything else is an error of the test."""
    try:
        pending, seen = [load(content).root], set()
        while pending:
            value = pending.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, TorchObject):
                pending.append(value.fields)
            elif isinstance(value, Table):
                pending += [*value.entries.values()]
            elif isinstance(value, Tensor):
                value.array()
            elif isinstance(value, Storage):
                assert value.count * value.dtype.itemsize == len(value.data)
    except VrnError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


def test_every_truncation_is_refused(load):
    content = sample()
    load(content)
    for length in range(1, len(content), 3):
        with pytest.raises(VrnError):
            load(content[:length])


def test_flipped_bytes_are_read_or_refused(load):
    content, rng = sample(), random.Random(0)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(damaged))] = rng.choice(
                (0, 1, 2, 3, 4, 8, 127, 128, 255, rng.randrange(256))
            )
        outcome(load, bytes(damaged))


def test_memory_is_bounded_by_the_file(load):
    """Sizes of terabytes are refused before anything of the kind is allocated."""
    huge = [
        opened(1, b"torch.FloatStorage") + longs(2**40),
        ints(2, 2**31 - 1),
        ints(3, 1, 2**31 - 1),
        opened(1, b"torch.FloatTensor")
        + ints(1)
        + longs(2**50, 1, 1)
        + dump(Store(np.ones(9, np.float32)))[:-1],
    ]
    load("warm")
    tracemalloc.start()
    for content in huge:
        with pytest.raises(VrnError):
            load(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_time_grows_with_the_file_only(load):
    """Forty tables that each hold the next one twice are 2**40 paths, but forty tables."""
    value: Any = "leaf"
    for _ in range(40):
        value = [value, value]
    started = time.perf_counter()
    load([[i, i] for i in range(2000)])
    plain = time.perf_counter() - started
    started = time.perf_counter()
    load(value)
    assert time.perf_counter() - started < 20 * plain + 1


def test_the_largest_hostile_file_fits_in_little_memory(tmp_path):
    """The most values that are allowed, each an empty table, within a limit on the address space."""
    count = torch7.MAX_VALUES
    body = np.zeros((count, 6), "<i4")  # entries: a new table as key, false as value
    body[:, 0], body[:, 1], body[:, 3] = 3, np.arange(2, count + 2), 5
    path = tmp_path / "many.t7"
    path.write_bytes(ints(3, 1, count) + body[:, [0, 1, 2, 3, 4]].tobytes())
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, {resource.RLIM_INFINITY}))\n"
        "from vrnlib import torch7\nfrom vrnlib.errors import VrnError\n"
        f"try: torch7.load({str(path)!r})\nexcept VrnError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert f"more than {count} values" in done.stdout, done.stderr
