"""This process as the one driver of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.storage import storage
from actors.storage.events import note_start
from actors.storage.paths import StoragePath
from cluster.session.lock import locked


@contextmanager
def driving(folder: StoragePath, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Makes this process drive the run in `folder`; `on_wait` hears of a wait. Raises RunBusy."""
    here = storage.local_path(folder)
    if here is None:
        from cluster.session.lease import leased  # most runs need no client of buckets

        held = leased(folder, on_wait)
    else:
        held = locked(here)
    with held:
        note_start(folder, "driver")
        yield
