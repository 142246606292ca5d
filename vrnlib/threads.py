"""Processes that share a machine's cores."""

from __future__ import annotations

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
