"""What training did, step by step: train.jsonl of a run.

Invariant: one JSON line a step, in the order of the steps, each step once. After a crash the lines
of steps that the checkpoint does not hold are dropped, for those steps are done again.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors import durable
from actors.waiting import patiently

JOURNAL = "train.jsonl"
LONGEST_ROW = 2**16


class Journal:
    """A disk that takes no writes is waited for, for `pause_s` seconds at most."""

    def __init__(self, path: Path, pause_s: float) -> None:
        self.path, self._pause_s = path, pause_s

    def rewind(self, step: int) -> None:
        """Drops the rows after `step`: they will be written again."""
        if not self.path.exists():
            return
        *whole, _torn = self.path.read_bytes().split(b"\n")
        rows = [line for line in whole if json.loads(line)["step"] <= step]
        data = b"".join(line + b"\n" for line in rows)
        patiently(lambda: durable.write(self.path, data), str(self.path), self._pause_s)

    def add(self, row: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row).encode() + b"\n"
        patiently(lambda: self._append(line), f"a line of {self.path}", self._pause_s)

    def _append(self, line: bytes) -> None:
        """The whole line or nothing of it."""
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, "a part of a line was written")
            except OSError:
                file.truncate(size)
                raise

    def last(self) -> dict[str, Any] | None:
        """The newest whole row; reads only the end of a long file."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ROW))
            *whole, _torn = file.read().split(b"\n")
        return json.loads(whole[-1]) if whole else None
