"""One driver at a time for a run folder in a bucket, which knows no locks.

Invariant: who holds the lease writes it anew every few seconds, and whoever finds one that stays as
it is for longer may take it. Who finds another's in place of its own stops at once; what both did
meanwhile is the same to the byte, for it follows from the names of the tasks.
"""

from __future__ import annotations

import json
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from actors import bucket
from actors.places import BucketPath
from cluster.lock import FILE, busy, myself

BEAT_S = 5.0
DEAD_S = 25.0
"""So long unchanged, a lease is that of a driver that is dead, or cut off from the bucket."""


@contextmanager
def leased(folder: BucketPath, tell: Callable[[str], None]) -> Iterator[None]:
    """Raises RunBusy, at once or when another driver has taken the lease; `tell` hears of a wait."""
    file = folder / FILE
    _await_its_end(folder, file, tell)
    heart = _Heart(file)
    heart.beat()
    heart.start()
    try:
        yield
    except KeyboardInterrupt:
        if heart.lost:
            raise busy(folder, heart.lost) from None
        raise
    finally:
        heart.stop()


class _Heart(threading.Thread):
    def __init__(self, file: BucketPath) -> None:
        super().__init__(daemon=True, name="lease")
        self._file, self._token, self._beats = file, secrets.token_hex(8), 0
        self._over = threading.Event()
        self.lost = b""

    def beat(self) -> None:
        self._beats += 1
        me = {**myself(), "token": self._token, "beat": self._beats}
        bucket.write(self._file, json.dumps(me).encode() + b"\n")

    def run(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(bucket.BucketSilent):
                found = _read(self._file)
                if found and not self._mine(found):
                    self.lost = found
                    # Not SIGINT, which a shell has its background jobs ignore.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                    return
                self.beat()

    def stop(self) -> None:
        self._over.set()
        self.join(BEAT_S)
        with suppress(bucket.BucketSilent):
            if self._mine(_read(self._file)):
                bucket.delete(self._file)

    def _mine(self, found: bytes) -> bool:
        return self._token.encode() in found


def _await_its_end(folder: BucketPath, file: BucketPath, tell: Callable[[str], None]) -> None:
    """Returns where there is no lease, or one that is not written anew."""
    found, until = _read(file), time.monotonic() + DEAD_S
    if found:
        tell(f"another driver has left its lease: {DEAD_S:g} s will show whether it lives")
    while found and time.monotonic() < until:
        time.sleep(1)
        if (now := _read(file)) != found:
            if now:
                raise busy(folder, now)
            return


def _read(file: BucketPath) -> bytes:
    """Without patience: who beats or ends must not wait for a bucket."""
    return bucket.read(file, 0) if bucket.exists(file, 0) else b""
