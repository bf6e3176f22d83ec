"""A file of a run that is made once, and from then on only read.

Invariant: nothing is used before it is stored, so whoever goes on with the run finds the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath


async def written_once(
    file: StoragePath, pause_s: float, make: Callable[[], Awaitable[bytes]]
) -> None:
    """Stores what `make` gives, unless the file is there; a disk that takes no writes is waited for, up
    to `pause_s` seconds. Raises WaitTimeout."""
    if await asyncio.to_thread(storage.exists, file):
        return
    data = await make()
    await asyncio.to_thread(patiently, lambda: storage.write(file, data), str(file), pause_s)
