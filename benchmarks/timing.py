"""Times jobs side by side.

Invariant: repeats are interleaved and counted in processor seconds, so that a busy machine slows
all jobs alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def measure(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Returns the median processor seconds of each job, after one run that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
