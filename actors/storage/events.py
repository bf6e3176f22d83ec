"""What happened to the processes of a run: events.jsonl in its folder.

Invariant: a line is one event, written whole by the process that it is about or that saw it, so
the file tells who worked where and when, and what was lost and done again. Nothing in it decides
what a run computes. In a bucket, where nobody can add to a file, each event has one of its own.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from actors.storage import storage
from actors.storage.paths import StoragePath, parse_path

FILE = "events.jsonl"
STARTED, SKIPPED, STEPPED_BACK = "started", "skipped a step", "stepped back"


def note(folder: str | StoragePath, who: str, what: str, **facts: Any) -> None:
    """Adds an event of now. A disk or a bucket that takes no writes costs the event and nothing
    else."""
    event = {"at": round(time.time(), 3), "who": who, "what": what, **facts}
    file = parse_path(folder) / FILE
    storage.add(file, (json.dumps(event) + "\n").encode())


def note_start(folder: str | StoragePath, who: str) -> None:
    """Notes that this process began to be `who`; `born` tells it from a later one of the same
    number."""
    pid = os.getpid()
    note(folder, who, STARTED, pid=pid, host=socket.gethostname(), born=born(pid))


def born(pid: int) -> int | None:
    """Returns when a process of this machine started, in clock ticks since the machine did; None
    if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def read(folder: str | StoragePath) -> list[dict[str, Any]]:
    """Returns all events in the order in which they were written; what a full disk tore is left
    out."""
    file, found = parse_path(folder) / FILE, []
    for line in storage.added(file).split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"at", "who", "what"} <= set(event):
            found.append(event)
    return found
