"""What the driver tells Prometheus while a run goes on: its pools, and the disk of its folder.

Invariant: it looks and never touches; a run without anybody who watches is the same run.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Protocol

from actors import exports
from actors.meter import Meter
from actors.pool import Pool
from actors.waiting import refused

WATCH_S = 2.0
LITTLE_BYTES = 2**18
"""So little finds no room only where something waits for room."""


class Watched(Protocol):
    """What of a crew is looked at. `paused`: the log waits for its disk."""

    folder: Path
    meter: Meter
    paused: bool

    def pools(self) -> tuple[Pool, ...]: ...


async def watch(crew: Watched) -> None:
    """For ever."""
    while True:
        for pool in crew.pools():
            _tell_pool(crew.meter, pool)
        free = shutil.disk_usage(crew.folder).free
        crew.meter.set(exports.DISK_FREE, free)
        why = await asyncio.to_thread(refused, crew.folder, LITTLE_BYTES)
        crew.meter.set(exports.PAUSED, crew.paused or bool(why))
        await asyncio.sleep(WATCH_S)


def _tell_pool(meter: Meter, pool: Pool) -> None:
    stats = pool.stats()
    found = {
        exports.WANTED: stats.wanted, exports.RUNNING: stats.running, exports.LOST: stats.lost,
        exports.WAITING: stats.waiting, exports.IN_FLIGHT: stats.in_flight,
    }  # fmt: skip
    for metric, value in found.items():
        meter.set(metric, value, role=pool.name)
