"""Time and memory per face of each method, in a process of its own with one thread.

From a crop to a mesh: without detecting, cropping and scoring, which are the same for all. Seconds are the
median after two faces to warm up; memory is the process's peak, Python and libraries included, so the first
row of a table should be `nothing`: a process that only draws the faces.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from vrnlib.table1 import entrants

WARM_UP = 2


def _measure(
    name: str | None, options: Mapping[str, Any], crops: list[dict[str, np.ndarray]], send: Any
) -> None:
    # in the new process
    from vrnlib.errors import VrnError
    from vrnlib.processes import one_thread, peak_memory

    one_thread()

    seconds, processor = [], []
    start = time.perf_counter()
    runner = None if name is None else entrants.open_runner(name, **options)
    opened = time.perf_counter() - start
    for crop in crops:
        start, busy = time.perf_counter(), time.process_time()
        try:
            if runner is not None:
                runner.predict(crop)
        except VrnError:
            continue
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    timed, used = seconds[WARM_UP:], processor[WARM_UP:]
    peak = peak_memory()
    send.send({
        "seconds": float(np.median(timed)) if timed else None,
        "processor_seconds": float(np.median(used)) if used else None,
        "faces": len(timed),
        "open_seconds": opened,
        "peak_megabytes": None if peak is None else peak / 1e6,
    })  # fmt: skip
    send.close()


def measure(
    methods: Mapping[str, entrants.Entrant], crops: list[dict[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """`seconds`, `processor_seconds`, `faces` timed, `open_seconds`, `peak_megabytes` of each method, and of
    ``nothing``.

    Parameters
    ----------
    methods : name -> an entrant that can run.
    crops : samples; of each only `image`, `landmarks` and `volume` are used.
    """
    slim = [{k: c[k] for k in ("image", "landmarks", "volume")} for c in crops]
    spawn, out = multiprocessing.get_context("spawn"), {}
    for name, options in [(None, {}), *((m, e.options) for m, e in methods.items())]:
        receive, send = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_measure, args=(name, dict(options), slim, send))
        process.start()
        send.close()
        try:
            out[name or "nothing"] = receive.recv()
        except EOFError:  # it died
            out[name or "nothing"] = dict.fromkeys(
                ("seconds", "processor_seconds", "open_seconds", "peak_megabytes"), None
            ) | {"faces": 0}
        process.join()
    return out
