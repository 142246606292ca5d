"""Where a result comes from: code, versions, machine, seeds, inputs, time.

Every run that writes numbers writes a ``provenance.json`` beside them, made by `collect`. It never holds a
host name, a user name or an absolute path: results are published. The notebook ``03_train_vrn`` reads one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vrnlib.errors import VrnError

# The packages whose version can change a number.
PACKAGES = ("vrnlib", "torch", "numpy", "scipy", "numba", "opencv-python", "scikit-image", "lightning-fabric",
            "dlib-bin", "trimesh", "pillow")  # fmt: skip


def collect(
    params: Mapping[str, Any] | Any = None,
    seeds: Mapping[str, int] | int | None = None,
    inputs: Iterable[str | Path] = (),
    wall_seconds: float | None = None,
) -> dict[str, Any]:
    """Gather what is needed to repeat, or to doubt, a result.

    Parameters
    ----------
    params : mapping or dataclass, optional
        The parameters of the run.
    seeds : int or mapping of str to int, optional
        Random seeds.
    inputs : iterable of path
        Files the run has read. Each is recorded by its path relative to the project and its SHA-256.
    wall_seconds : float, optional
        Duration of the run in seconds.

    Returns
    -------
    dict
        Ready for `write_json`: ``git``, ``versions``, ``machine``, ``params``, ``seeds``, ``inputs``,
        ``wall_seconds``.

    Raises
    ------
    VrnError
        If an input file does not exist.
    """
    return {
        "git": git_state(),
        "versions": versions(),
        "machine": machine(),
        "params": plain({} if params is None else params),
        "seeds": plain(seeds),
        "inputs": {relative(path): sha256(path) for path in inputs},
        "wall_seconds": None if wall_seconds is None else round(wall_seconds, 3),
    }


def git_state() -> dict[str, Any]:
    """The commit of the checkout this package lies in, and whether tracked files differ from it.

    Both are None when the package is not in a git checkout.
    """
    root = project_folder()
    try:
        run = ["git", "-c", f"safe.directory={root}", "-C", str(root)]
        top = subprocess.run(
            [*run, "rev-parse", "--show-prefix", "HEAD"], capture_output=True, text=True, timeout=20
        )
        prefix, _, rev = top.stdout.partition("\n")
        if top.returncode or prefix:  # no commit yet, or the checkout of some other project around us
            return {"rev": None, "dirty": None}
        status = subprocess.run(
            [*run, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=20,
        )
        return {"rev": rev.strip(), "dirty": bool(status.stdout.strip())}
    except (OSError, subprocess.TimeoutExpired):
        return {"rev": None, "dirty": None}


def versions() -> dict[str, str]:
    """Version of Python and of each installed package of `PACKAGES`; nothing is imported."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, threads and device, without a name that identifies the machine.

    The device is only known when torch has been imported already: this function does not load it.
    """
    torch = sys.modules.get("torch")
    state: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": None,
        "threads": None,
    }
    if torch is not None:
        cuda = torch.cuda.is_available()
        state["device"] = torch.cuda.get_device_name() if cuda else "cpu"
        state["threads"] = torch.get_num_threads()
    return state


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises
    ------
    VrnError
        If the file can't be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {error.strerror}") from error
    return digest.hexdigest()


def project_folder() -> Path:
    """The folder that holds the package: the root of the checkout in an editable installation."""
    return Path(__file__).resolve().parent.parent


def relative(path: str | Path) -> str:
    """`path` relative to the project with forward slashes; the bare file name if it lies elsewhere."""
    path = Path(path).resolve()
    root = project_folder()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def plain(value: Any) -> Any:
    """Turn dataclasses, paths, tuples, numpy scalars and arrays into what JSON can hold; NaN and infinity
    become None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return relative(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it replaces `path`, on failure it is
    removed.

    So a reader sees the old file or the whole new one. The folder is made if it is missing. The temporary
    name keeps the suffix of `path`, which some writers look at.

    Raises
    ------
    VrnError
        If the folder can't be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # noqa: PTH101 - mkstemp makes private files; results are for everybody
    except OSError as error:
        raise VrnError(f"cannot write to folder '{path.parent}': {error.strerror}; choose another") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def writable_folder(path: str | Path) -> Path:
    """`path`, if files can be written there: asked before the work whose result would be lost.

    Nothing is left behind, not even the folder: where it is missing, the nearest one above is tried.

    Raises
    ------
    VrnError
        If it is a file or below one, or the folder can't be written to.
    """
    path = Path(path)
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = error.strerror if there.is_dir() else f"'{there}' is not a folder"
        raise VrnError(f"cannot write to folder '{path}': {why}; choose another") from error
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` (see `plain`) as indented JSON, atomically; return the path."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return Path(path)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    VrnError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise VrnError(f"cannot read '{path}': {error.strerror}") from error
    except ValueError as error:
        raise VrnError(f"'{path}' is not valid JSON ({error}): delete it or restore it") from error
