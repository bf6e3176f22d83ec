"""The gauges that the driver exports while a run goes on: its pools, and the disk of its folder.

Invariant: it looks and never touches; a run without anybody who watches is the same run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.pool.pool import Pool
from actors.storage import storage
from trainer.reporting import Reporter

WATCH_S = 2.0


async def watch(pools: Sequence[Pool], report: Reporter) -> None:
    """Sets the gauges every WATCH_S seconds until it is cancelled."""
    meter = report.meter
    while True:
        for pool in pools:
            _set_pool(meter, pool)
        free = storage.free_bytes(report.folder)
        if free is not None:
            meter.set(catalog.DISK_FREE, free)
        meter.set(catalog.PAUSED, bool(report.waits_for or report.refused))
        await asyncio.sleep(WATCH_S)


def _set_pool(meter: Meter, pool: Pool) -> None:
    stats = pool.stats()
    found = {
        catalog.WANTED: stats.wanted, catalog.RUNNING: stats.running, catalog.LOST: stats.lost,
        catalog.WAITING: stats.waiting, catalog.IN_FLIGHT: stats.in_flight,
    }  # fmt: skip
    for metric, value in found.items():
        meter.set(metric, value, role=pool.name)
