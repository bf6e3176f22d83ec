"""One driver at a time for a run folder in a bucket, which knows no locks.

Invariant: the lease changes hands only by writes that the bucket refuses unless the lease is still
what the writer last saw. So of several drivers that find it free one takes it, and nobody can write
over another's. Who holds it writes it anew every few seconds, and whoever finds one that stays as it
is for longer takes it. Who then finds another's in place of its own, as after it was cut off from
the bucket, ends at once, as if it were killed: what a driver that is killed leaves is safe.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from actors.storage.bucket import BucketSilent, BucketStorage, Overtaken, Version
from actors.storage.paths import StoragePath
from cluster.refusals import REFUSED
from cluster.session.lock import FILE, RunBusy, busy, myself
from policies.errors import UserError

BEAT_S = 5.0
DEAD_S = 25
"""So long unchanged, a lease is that of a driver that is dead, or cut off from the bucket."""
FREE = b""
"""What the lease holds when nobody does."""


class LeaseImpossible(UserError):
    """A bucket whose server does not keep two drivers apart."""


@contextmanager
def leased(folder: StoragePath, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Holds the lease of `folder`; `on_wait` hears of a wait. Raises RunBusy. Ends this process
    where another one takes the lease."""
    lease = Lease(folder, _when_free(folder, on_wait))
    lease.beat()
    lease.require_conditions()
    lease.start()
    try:
        yield
    finally:
        lease.stop()


class Lease(threading.Thread):
    """A thread that keeps the lease which was last `seen`, or was not there for None."""

    def __init__(self, folder: StoragePath, seen: Version | None) -> None:
        super().__init__(daemon=True, name="lease")
        self._folder, self._seen = folder, seen
        self._bucket, self._token, self._beats = BucketStorage(), secrets.token_hex(8), 0
        self._over = threading.Event()

    def beat(self) -> None:
        """Writes the lease anew. Raises RunBusy where it is another's, and BucketSilent."""
        self._beats += 1
        me = {**myself(), "token": self._token, "beat": self._beats}
        self._write(json.dumps(me).encode() + b"\n")

    def require_conditions(self) -> None:
        """Raises LeaseImpossible where the server writes what it should refuse."""
        with suppress(Overtaken):
            self._seen = self._bucket.swap(self._folder / FILE, FREE, None)
            raise LeaseImpossible(
                f"the server of {self._folder} ignores the condition If-None-Match of a write, so two "
                "drivers could do one run there: give a folder=... in another bucket or on a disk"
            )

    def run(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                with suppress(BucketSilent):
                    self.beat()
            except RunBusy as error:
                self._end(error)

    def stop(self) -> None:
        """Leaves the lease free for the next one. It stays there, as a lock's file does: to delete
        it could delete that of a driver that has just taken it."""
        self._over.set()
        self.join(BEAT_S)
        with suppress(BucketSilent, RunBusy):
            self._write(FREE)

    def _write(self, data: bytes) -> None:
        file = self._folder / FILE
        try:
            self._seen = self._bucket.swap(file, data, self._seen)
        except Overtaken:
            found, self._seen = self._bucket.look(file)
            if self._token.encode() not in found:
                raise busy(self._folder, found) from None
            # Only the answer to the last write was lost.
            self._seen = self._bucket.swap(file, data, self._seen)

    def _end(self, error: RunBusy) -> None:
        """Also where the lease is gone: then another driver had it, and has come to its end."""
        if self._over.is_set():
            return
        try:
            print(f"unicorn-ray: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(REFUSED)


def _when_free(folder: StoragePath, on_wait: Callable[[str], None]) -> Version | None:
    """Returns what to write the lease over, once there is none or one that is not written anew."""
    bucket, file = BucketStorage(), folder / FILE
    found, seen = bucket.look(file)
    if found == FREE:
        return seen
    on_wait(f"another driver has left its lease: {DEAD_S} s will show whether it lives")
    # By looks and not by the clock: while the bucket is silent, nobody can write to it.
    for _ in range(DEAD_S):
        time.sleep(1)
        now, seen = bucket.look(file)
        if now == FREE:
            return seen
        if now != found:
            raise busy(folder, now)
    return seen
