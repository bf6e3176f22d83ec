"""What happened to the processes of a run: events.jsonl in its folder.

Invariant: a line is one event, written whole by the process that it is about or that saw it, so
the file tells who worked where and when, and what was lost and done again. Nothing in it decides
what a run computes. In a bucket, where nobody can add to a file, each event has one of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors.storage import bucket, durable
from actors.storage.paths import BucketPath, StoragePath, parse_path

FILE = "events.jsonl"
FOLDER = "events"
STARTED = "started"


def note(folder: str | StoragePath, who: str, what: str, **facts: Any) -> None:
    """Adds an event of now. A disk or a bucket that takes no writes costs the event and nothing
    else."""
    event = {"at": round(time.time(), 3), "who": who, "what": what, **facts}
    line, run = (json.dumps(event) + "\n").encode(), parse_path(folder)
    if isinstance(run, BucketPath):
        # Who tells may be an event loop, and a bucket may be silent for a while.
        threading.Thread(target=_put, args=(run, line), daemon=True).start()
    else:
        _add(run / FILE, line)


def _put(run: BucketPath, line: bytes) -> None:
    with suppress(OSError, RuntimeError):  # of a process that ends no thread can be started
        bucket.write(run / FOLDER / f"{time.time_ns()}-{secrets.token_hex(4)}.json", line)


def _add(path: Path, line: bytes) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)  # one call: lines of several processes do not mix
        finally:
            os.close(file)
    except OSError:
        return


def note_start(folder: str | StoragePath, who: str) -> None:
    """This process began to be `who`; `born` tells it from a later one of the same number."""
    pid = os.getpid()
    note(folder, who, STARTED, pid=pid, host=socket.gethostname(), born=born(pid))


def born(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since the machine did; None if it
    is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def read(folder: str | StoragePath) -> list[dict[str, Any]]:
    """All events in the order in which they were written; what a full disk tore is left out."""
    run, found = parse_path(folder), []
    if isinstance(run, BucketPath):
        lines = b"".join(map(durable.read, durable.files(run / FOLDER)))
    else:
        lines = (run / FILE).read_bytes() if (run / FILE).exists() else b""
    for line in lines.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"at", "who", "what"} <= set(event):
            found.append(event)
    return found
