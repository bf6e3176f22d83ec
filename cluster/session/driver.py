"""This process as the one driver of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.storage.events import note_start
from actors.storage.paths import BucketPath, StoragePath
from cluster.session.lease import leased
from cluster.session.lock import locked


@contextmanager
def driving(folder: StoragePath, tell: Callable[[str], None]) -> Iterator[None]:
    """This process drives the run in `folder`; `tell` hears of a wait. Raises RunBusy."""
    with leased(folder, tell) if isinstance(folder, BucketPath) else locked(folder):
        note_start(folder, "driver")
        yield
