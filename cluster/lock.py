"""One driver for a run folder at a time.

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

from actors.events import note_start
from policies.errors import UserError

FILE = "driver.lock"


class RunBusy(UserError):
    """Another driver does this run; the message says which."""


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """This process drives the run in `folder`. Raises RunBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(_busy(folder, file.name)) from None
        file.truncate(0)
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
        file.write(json.dumps(me) + "\n")
        file.flush()
        note_start(folder, "driver")
        yield


def _busy(folder: Path, name: str) -> str:
    try:
        other = json.loads(Path(name).read_text())
        who = f"process {other['pid']} on {other['host']} since {other['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"  # which is writing down who it is
    return (
        f"the run in {folder} is being done by {who}: wait for its end, stop it, or give another "
        "name=..."
    )
