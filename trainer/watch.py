"""What the driver tells Prometheus while a run goes on: its pools, and the disk of its folder.

Invariant: it looks and never touches; a run without anybody who watches is the same run.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.pool.pool import Pool
from actors.storage import storage
from actors.storage.paths import StoragePath

WATCH_S = 2.0


class Watched(Protocol):
    """What of a crew is looked at. `paused`: the log waits for its disk; `refused` says why that
    takes nothing."""

    folder: StoragePath
    meter: Meter
    paused: bool
    refused: str

    def pools(self) -> tuple[Pool, ...]: ...


async def watch(crew: Watched) -> None:
    """For ever."""
    while True:
        for pool in crew.pools():
            _tell_pool(crew.meter, pool)
        free = storage.free_bytes(crew.folder)
        if free is not None:
            crew.meter.set(catalog.DISK_FREE, free)
        crew.meter.set(catalog.PAUSED, crew.paused or bool(crew.refused))
        await asyncio.sleep(WATCH_S)


def _tell_pool(meter: Meter, pool: Pool) -> None:
    stats = pool.stats()
    found = {
        catalog.WANTED: stats.wanted, catalog.RUNNING: stats.running, catalog.LOST: stats.lost,
        catalog.WAITING: stats.waiting, catalog.IN_FLIGHT: stats.in_flight,
    }  # fmt: skip
    for metric, value in found.items():
        meter.set(metric, value, role=pool.name)
