"""What happened to the processes of a run: events.jsonl in its folder.

Invariant: a line is one event, written whole by the process that it is about or that saw it, so
the file tells who worked where and when, and what was lost and done again. Nothing in it decides
what a run computes.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

FILE = "events.jsonl"
STARTED = "started"


def note(folder: str | Path, who: str, what: str, **facts: Any) -> None:
    """Adds an event of now. A disk that takes no writes costs the event and nothing else."""
    event = {"at": round(time.time(), 3), "who": who, "what": what, **facts}
    line = (json.dumps(event) + "\n").encode()
    try:
        file = os.open(Path(folder) / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)  # one call: lines of several processes do not mix
        finally:
            os.close(file)
    except OSError:
        return


def note_start(folder: str | Path, who: str) -> None:
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


def read(folder: str | Path) -> list[dict[str, Any]]:
    """All events in the order in which they were written; what a full disk tore is left out."""
    file = Path(folder) / FILE
    found = []
    for line in file.read_bytes().split(b"\n") if file.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"at", "who", "what"} <= set(event):
            found.append(event)
    return found
