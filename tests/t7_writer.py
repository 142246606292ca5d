"""Writes Torch7's binary files for the tests; shares no code with the reader.

Python values stand for Lua's: None, bool, numbers, str or bytes, dict and list for tables, numpy arrays for
tensors, and the classes below. One Python object written twice is written once and referred to afterwards.
`network` lays out one of our networks as the authors' file lays out theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from vrnlib.networks import VRN, Hourglass, Residual

KINDS = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "int32": "Int",
         "int16": "Short", "int8": "Char", "uint8": "Byte"}  # fmt: skip


@dataclass(eq=False)
class Obj:
    """An object of a Torch class; `version` None is the form without a version."""

    name: str | bytes
    fields: Any = field(default_factory=dict)
    version: int | None = 1


@dataclass(eq=False)
class Store:
    """A storage: ``torch.FloatStorage`` of these values, or `prefix` + "Storage" if that is given."""

    values: np.ndarray
    prefix: str | None = None


@dataclass(eq=False)
class View:
    """A tensor on a storage; strides and offset count elements, offset from 1."""

    store: Store | None
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 1


@dataclass(eq=False)
class Func:
    """A function of type 6, 7 or 8."""

    code: bytes
    upvalues: Any
    kind: int = 8


class Writer:
    """The bytes of a file; `cuda` names float tensors as on a GPU, `long` is the size of a C long."""

    def __init__(self, cuda: bool = False, long: int = 8) -> None:
        self.out = bytearray()
        self.cuda, self.long_code = cuda, {8: "<q", 4: "<i"}[long]
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []  # an id is only unique while its object lives

    def ints(self, *values: int) -> None:
        self.out += struct.pack(f"<{len(values)}i", *values)

    def longs(self, *values: int) -> None:
        for value in values:
            self.out += struct.pack(self.long_code, value)

    def text(self, text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        self.ints(len(raw))
        self.out += raw

    def referred(self, kind: int, value: Any) -> bool:
        """Type and index; True if the body was written before."""
        self.ints(kind)
        known = id(value) in self.seen
        self.ints(self.seen.setdefault(id(value), len(self.seen) + 1))
        self.alive.append(value)
        return known

    def write(self, value: Any) -> Writer:
        if value is None:
            self.ints(0)
        elif isinstance(value, bool):
            self.ints(5, int(value))
        elif isinstance(value, (int, float)):
            self.ints(1)
            self.out += struct.pack("<d", value)
        elif isinstance(value, (str, bytes)):
            self.ints(2)
            self.text(value)
        elif isinstance(value, (dict, list)):
            if not self.referred(3, value):
                items = list(value.items()) if isinstance(value, dict) else list(enumerate(value, 1))
                self.ints(len(items))
                for key, item in items:
                    self.write(key).write(item)
        elif isinstance(value, Func):
            if value.kind == 6:
                self.ints(6)
            elif self.referred(value.kind, value):
                return self
            self.text(value.code)
            self.write(value.upvalues)
        else:
            self.torch(value)
        return self

    def torch(self, value: Any) -> None:
        if self.referred(4, value):
            return
        if isinstance(value, Obj):
            if value.version is not None:
                self.text(f"V {value.version}")
            self.text(value.name)
            self.write(value.fields)
        elif isinstance(value, Store):
            self.text("V 1")
            self.text(self.prefix(value) + "Storage")
            self.longs(value.values.size)
            code = self.long_code if value.values.dtype == np.int64 else value.values.dtype.newbyteorder("<")
            self.out += value.values.astype(code).tobytes()
        elif isinstance(value, View):
            self.text("V 1")
            self.text((self.prefix(value.store) if value.store else "torch.Float") + "Tensor")
            self.ints(len(value.shape))
            self.longs(*value.shape, *value.strides, value.offset)
            self.write(value.store)
        elif isinstance(value, np.ndarray):
            strides = [int(np.prod(value.shape[i + 1 :], dtype=int)) for i in range(value.ndim)]
            self.text("V 1")
            store = Store(value.reshape(-1))
            self.text(self.prefix(store) + "Tensor")
            self.ints(value.ndim)
            self.longs(*value.shape, *strides, 1)
            self.write(store)
        else:
            raise TypeError(type(value))

    def prefix(self, store: Store) -> str:
        if store.prefix:
            return store.prefix
        kind = KINDS[store.values.dtype.name]
        if self.cuda and store.values.dtype.kind == "f":
            return "torch.Cuda" + ("" if kind == "Float" else kind)
        return f"torch.{kind}"


def dump(value: Any, **options: Any) -> bytes:
    """The bytes of a file that holds `value`."""
    return bytes(Writer(**options).write(value).out)


# ---- the authors' layout
# -----------------------------------------------------------------------------------------------------------

Change = Callable[[str, dict[str, Any]], None]


class Layout:
    """One of our networks as a tree of nn or cudnn modules, wired as the released file.

    `change` is called with the class and the fields of every module, which it may alter.
    """

    def __init__(self, package: str = "nn", train: bool = False, change: Change | None = None) -> None:
        self.package, self.train, self.change = package, train, change

    def module(self, name: str, fields: dict[str, Any], package: str = "nn", version: int = 1) -> Obj:
        fields = {"train": self.train, "output": View(None, (), ()), "_type": "torch.FloatTensor", **fields}
        if self.change:
            self.change(name, fields)
        return Obj(f"{package}.{name}", fields, version)

    def sequential(self, *modules: Obj) -> Obj:
        return self.module("Sequential", {"modules": list(modules)})

    def table(self, *branches: Obj) -> Obj:
        return self.module("ConcatTable", {"modules": list(branches)})

    def added(self, *branches: Obj) -> list[Obj]:
        return [self.table(*branches), self.module("CAddTable", {"inplace": False})]

    def leaf(self, module: nn.Module) -> Obj:
        """A layer with its weights."""
        if isinstance(module, nn.Identity):
            return self.module("Identity", {})
        if isinstance(module, nn.ReLU):
            return self.module("ReLU", {"inplace": True, "threshold": 0, "val": 0}, self.package)
        if isinstance(module, nn.MaxPool2d):
            window = dict.fromkeys(("kW", "kH", "dW", "dH"), 2)
            fields = {**window, "padW": 0, "padH": 0, "ceil_mode": False, "indices": View(None, (), ())}
            return self.module("SpatialMaxPooling", fields, self.package)
        if isinstance(module, nn.Upsample):
            fields = {"scale_factor": 2, "inputSize": Store(np.array([1, 2, 3, 4]))}
            return self.module("SpatialUpSamplingNearest", fields)
        values = {k: v.detach().numpy() for k, v in module.state_dict().items() if v.ndim}
        if isinstance(module, nn.BatchNorm2d):
            fields = {**values, "eps": module.eps, "momentum": 0.1, "affine": True, "nDim": 4}
            return self.module("SpatialBatchNormalization", fields, self.package, 2)
        assert isinstance(module, nn.Conv2d)
        pairs = {"k": module.kernel_size, "d": module.stride, "pad": module.padding}
        numbers = {f"{k}{side}": v[i] for k, v in pairs.items() for i, side in enumerate("HW")}
        planes = {"nInputPlane": module.in_channels, "nOutputPlane": module.out_channels}
        cudnn = {"groups": 1} if self.package == "cudnn" else {}
        return self.module("SpatialConvolution", {**values, **numbers, **planes, **cudnn}, self.package)

    def residual(self, module: Residual) -> Obj:
        skip = self.leaf(module.skip)
        if isinstance(module.skip, nn.Conv2d):
            skip = self.sequential(skip)
        return self.sequential(*self.added(self.sequential(*map(self.leaf, module.bottleneck)), skip))

    def hourglass(self, module: Hourglass) -> list[Obj]:
        def block(part: nn.Module) -> Obj:
            if isinstance(part, Hourglass):
                return self.sequential(*self.hourglass(part))
            return self.residual(part) if isinstance(part, Residual) else self.leaf(part)

        up, low = list(module.up), list(map(block, module.low))
        if any(isinstance(part, Hourglass) for part in up):
            up = [*map(block, up[:-2]), self.sequential(*self.hourglass(up[-2]), self.residual(up[-1]))]
        else:
            up = list(map(block, up))
        return self.added(self.sequential(*up), self.sequential(*low))

    def network(self, model: VRN) -> Obj:
        def cbr(part: nn.Module) -> Obj:
            return self.sequential(*map(self.leaf, part.children()))

        def block(part: nn.Module) -> Obj:
            return self.residual(part) if isinstance(part, Residual) else self.leaf(part)

        parts = [block(part) for part in model.stem]
        for glass, after, first, second in model.stacks:
            branch = [*self.hourglass(glass), self.residual(after), cbr(first), cbr(second)]
            parts += self.added(self.module("Identity", {}), self.sequential(*branch))
        larger = self.module(
            "SpatialUpSamplingBilinear", {"scale_factor": 4, "outputSize": Store(np.arange(4))}
        )
        sigmoid = self.module("Sigmoid", {}, self.package)
        head = self.sequential(cbr(model.head[0]), self.leaf(model.head[1]), larger, sigmoid)
        return self.sequential(*parts, self.table(head))


def random_vrn(*sizes: int, **arguments: Any) -> VRN:
    """A network whose batch normalisations differ from the identity, so that a mix-up shows."""
    torch.manual_seed(0)
    model = VRN(*sizes, **arguments).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model
