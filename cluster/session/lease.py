"""One driver at a time for a run folder in a bucket, which knows no locks.

Invariant: who holds the lease writes it anew every few seconds, and whoever finds one that stays as
it is for longer takes it. Who finds another's in place of its own, as after it was cut off from the
bucket, ends at once, as if it were killed: what a driver that is killed leaves is safe.
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

from actors.storage import bucket
from actors.storage.paths import BucketPath
from cluster.refusals import REFUSED
from cluster.session.lock import FILE, busy, myself

BEAT_S = 5.0
DEAD_S = 25
"""So long unchanged, a lease is that of a driver that is dead, or cut off from the bucket."""


@contextmanager
def leased(folder: BucketPath, tell: Callable[[str], None]) -> Iterator[None]:
    """Raises RunBusy; `tell` hears of a wait. Ends this process where another one takes the lease."""
    _await_its_end(folder, tell)
    heart = _Heart(folder)
    heart.beat()
    heart.start()
    try:
        yield
    finally:
        heart.stop()


class _Heart(threading.Thread):
    def __init__(self, folder: BucketPath) -> None:
        super().__init__(daemon=True, name="lease")
        self._folder, self._token, self._beats = folder, secrets.token_hex(8), 0
        self._over = threading.Event()

    def beat(self) -> None:
        self._beats += 1
        me = {**myself(), "token": self._token, "beat": self._beats}
        bucket.write(self._folder / FILE, json.dumps(me).encode() + b"\n")

    def run(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(bucket.BucketSilent):
                found = _read(self._folder)
                if self._over.is_set():
                    return
                if not self._mine(found):
                    self._end(found)
                self.beat()

    def _end(self, found: bytes) -> None:
        """Also where the lease is gone: then another driver had it, and has come to its end."""
        try:
            print(f"unicorn-ray: {busy(self._folder, found)}", file=sys.stderr, flush=True)
        finally:
            os._exit(REFUSED)

    def stop(self) -> None:
        self._over.set()
        self.join(BEAT_S)
        with suppress(bucket.BucketSilent):
            if self._mine(_read(self._folder)):
                bucket.delete(self._folder / FILE)

    def _mine(self, found: bytes) -> bool:
        return self._token.encode() in found


def _await_its_end(folder: BucketPath, tell: Callable[[str], None]) -> None:
    """Returns where there is no lease, or one that is not written anew."""
    found = _read(folder)
    if found:
        tell(f"another driver has left its lease: {DEAD_S} s will show whether it lives")
    # By looks and not by the clock: while the bucket is silent, nobody can write to it.
    for _ in range(DEAD_S if found else 0):
        time.sleep(1)
        if (now := _read(folder)) != found:
            if now:
                raise busy(folder, now)
            return


def _read(folder: BucketPath) -> bytes:
    """Without patience: who beats or ends must not wait for a bucket."""
    try:
        return bucket.read(folder / FILE, 0)
    except FileNotFoundError:
        return b""
