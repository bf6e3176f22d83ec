"""One driver at a time for a run folder on a disk, and one writer for another folder.

Invariant: who holds the lock is alive: it is the kernel's, and goes with the process however that
ends. What the file says is only for who is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.storage.paths import StoragePath
from policies.errors import UserError

FILE = "driver.lock"


class RunBusy(UserError):
    """Another process is at it; the message says which."""


@contextmanager
def locked(folder: Path, what: str = "run", instead: str = "name=...") -> Iterator[None]:
    """Holds the lock of `folder`, where `what` is done; who is refused gives another one by `instead`.
    Raises RunBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy(folder, Path(file.name).read_bytes(), what, instead) from None
        file.truncate(0)
        file.write(json.dumps(myself()) + "\n")
        file.flush()
        yield


def myself() -> dict[str, object]:
    """Returns what tells this process from others, for who is refused."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}


def busy(
    folder: StoragePath, written: bytes, what: str = "run", instead: str = "name=..."
) -> RunBusy:
    """Returns the refusal by the other driver, which has `written` who it is."""
    try:
        other = json.loads(written)
        who = f"process {other['pid']} on {other['host']} since {other['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"  # which is writing down who it is
    return RunBusy(
        f"the {what} in {folder} is being done by {who}: wait for its end, stop it, or give another "
        f"{instead}"
    )
