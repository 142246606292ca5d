"""What a process takes of the machine: threads and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits


def one_thread() -> None:
    """Leave this process, a worker, one thread of PyTorch and one of NumPy's BLAS, whatever is loaded by now.

    There is a worker a core, so more threads only wait for each other: for the small products of one face
    BLAS costs a fifth more time with two. OpenCV is left alone: after a fork its pool waits for ever for
    threads that were not copied.
    """
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


def peak_memory() -> int | None:
    """Most memory that this process has held, in bytes; None where the system does not tell.

    On Linux the high-water mark of its own pages: `ru_maxrss` of a child begins at what its parent had.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        pass
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
