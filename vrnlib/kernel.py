"""The kernel that executes notebooks: this very interpreter, watched cell by cell. Used by `vrnlib.runner`
alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from vrnlib.notebook import Notebook


class ThisPython(AsyncKernelManager):
    """Starts the ``python3`` kernel with `sys.executable`, whatever kernels are or aren't registered on the
    machine.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        package = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH")) if p)
        return KernelSpec(
            argv=[
                sys.executable,
                "-Xfrozen_modules=off",
                "-m",
                "ipykernel_launcher",
                "-f",
                "{connection_file}",
                "--IPKernelApp.log_level=40",
            ],  # it warns about every TCP connection, even to this machine
            display_name="Python 3",
            language="python",
            # no startup files or history of the user: they are not part of the experiment
            env={"PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "IPYTHONDIR": self._profile()},
        )

    def _profile(self) -> str:
        folder = getattr(self, "_ipython_folder", None)
        if folder is None:
            folder = self._ipython_folder = tempfile.TemporaryDirectory(prefix="vrn-ipython-")
        return folder.name


class Progress:
    """Writes which cell runs and what it prints, so that a long run is never silent.

    On a terminal the line of the current cell is one that is overwritten; in a log there is one line per
    section.
    """

    def __init__(self, book: Notebook, screen: Any, injected: bool) -> None:
        self.screen, self.book, self.injected = screen, book, injected
        self.live = bool(getattr(screen, "isatty", lambda: False)())
        self.index, self.heading, self.began = -1, "", time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.screen.write("\r\033[K")
        self.screen.flush()

    def cell_start(self, cell: Any, cell_index: int) -> None:
        """nbclient's hook, called for cells of every kind in order."""
        self.index = cell_index
        if cell.cell_type == "markdown" and (found := re.search(r"^#+\s+(.+)$", cell.source, re.MULTILINE)):
            self.heading = found[1].strip()
            if not self.live:
                self.screen.write(f"    {self.heading}\n")
        if self.live:
            cells = len(self.book.node.cells)
            seconds = time.monotonic() - self.began
            self.screen.write(
                f"\r\033[K    cell {min(cell_index + 1, cells)}/{cells}  {seconds:.0f} s  {self.heading}"
            )
        self.screen.flush()

    @property
    def place(self) -> str:
        """Where the run is, in words."""
        if self.index < 0:
            return "its start"
        tagged = [i for i, c in enumerate(self.book.node.cells) if "parameters" in c.metadata.get("tags", [])]
        injected = int(self.injected and bool(tagged) and self.index > tagged[0])  # papermill's own cell
        return f"cell {self.index + 1 - injected}" + (f" (section '{self.heading}')" if self.heading else "")

    def pipe(self) -> Any:
        """A text file that indents what the notebook prints and passes it on."""
        return _Pipe(self)


class _Pipe:
    """One stream of a notebook. A progress bar's many ``\\r`` updates are shown on a terminal, dropped from a
    log.
    """

    def __init__(self, watch: Progress) -> None:
        self.watch = watch

    def write(self, text: str) -> None:
        for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).splitlines():
            line = line.rsplit("\r", 1)[-1].rstrip()
            if line and (self.watch.live or "it/s" not in line):
                self.watch.screen.write(f"\r\033[K    | {line}\n" if self.watch.live else f"    | {line}\n")

    def flush(self) -> None:
        self.watch.screen.flush()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """papermill logs what `vrnlib.runner` says in its own words; keep only its errors, and drop its own
    warnings.
    """
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def explain(error: BaseException, watch: Progress, limit: float) -> tuple[str, str]:
    """Which cell of the source notebook failed and why, as two phrases."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return watch.place, f"{error.ename}: {error.evalue}".splitlines()[0]
    if isinstance(error, CellTimeoutError):
        return watch.place, f"it took longer than {limit:.0f} s (set VRN_CELL_TIMEOUT to allow more)"
    if isinstance(error, DeadKernelError):
        return watch.place, "the kernel died, perhaps for lack of memory"
    return watch.place, f"{type(error).__name__}: {error}"
