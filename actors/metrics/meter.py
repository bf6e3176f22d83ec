"""The metrics of a process, exported to Prometheus by Ray.

Invariant: exporting never fails a run and never waits. Ray forgets a gauge that was not set for two
of its reports (20 s), so every gauge is set again as long as its process lives, and one that is
there is of a living process. Counters and histograms of dead processes stay: read them as rates.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from actors.metrics.catalog import Metric

AGAIN_S = 1.0

_gauges: dict[tuple[Metric, tuple[tuple[str, str], ...]], float] = {}


class Meter:
    """Exports the metrics of `run`; `fixed` are tags that all metrics of this process have."""

    def __init__(self, run: str, **fixed: str) -> None:
        self._fixed = {"run": run, **fixed}

    def add(self, metric: Metric, amount: float = 1.0, **tags: str) -> None:
        if amount > 0:
            _made(metric).inc(amount, self._tags(metric, tags))

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        _made(metric).observe(value, self._tags(metric, tags))

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        _keep_alive()
        known = self._tags(metric, tags)
        _gauges[metric, tuple(known.items())] = value
        _made(metric).set(value, known)

    def _tags(self, metric: Metric, tags: Mapping[str, str]) -> dict[str, str]:
        given = {**self._fixed, **tags}
        return {key: given[key] for key in ("run", *metric.tags)}


@cache
def _made(metric: Metric) -> Any:
    name, keys = f"unicorn_{metric.name}", ("run", *metric.tags)
    if metric.kind == "histogram":
        return Histogram(name, metric.help, list(metric.buckets), keys)
    return {"counter": Counter, "gauge": Gauge}[metric.kind](name, metric.help, keys)


@cache
def _keep_alive() -> None:
    threading.Thread(target=_set_again, name="unicorn gauges", daemon=True).start()


def _set_again() -> None:
    while True:
        time.sleep(AGAIN_S)
        for (metric, tags), value in list(_gauges.items()):
            _made(metric).set(value, dict(tags))
