"""vrnlib: a reproduction of VRN, 3D face reconstruction from one photograph by direct volumetric regression.

Jackson, Bulat, Argyriou and Tzimiropoulos, ICCV 2017. Importing the package is cheap: nothing heavy (torch,
numpy, matplotlib) is loaded before the first use. The tour starts at ``notebooks/00_start_here.ipynb``.

>>> import vrnlib
>>> face = vrnlib.reconstruct("photo.jpg")        # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vrnlib.errors import VrnError

if TYPE_CHECKING:
    from vrnlib.reconstruct import Face, reconstruct

__version__ = "0.1.0"
__all__ = ["Face", "VrnError", "__version__", "reconstruct"]

# Public name -> the module that defines it, imported when the name is first asked for.
_LAZY = {"Face": "vrnlib.reconstruct", "reconstruct": "vrnlib.reconstruct"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        setattr(sys.modules[__name__], name, value)
        return value
    raise AttributeError(f"module 'vrnlib' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


class _Package(ModuleType):
    """Keeps `vrnlib.reconstruct` the function.

    The import system binds a submodule to its name in the package, so ``from vrnlib.reconstruct import Face``
    would turn the public function `vrnlib.reconstruct` into the module of the same name. The module itself
    stays reachable as ``sys.modules["vrnlib.reconstruct"]``.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LAZY and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
