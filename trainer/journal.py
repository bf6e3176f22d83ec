"""What training did, step by step: train.jsonl of a run.

Invariant: one JSON line a step, in the order of the steps, each step once. After a crash the lines
of steps that the checkpoint does not hold are dropped, for those steps are done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath

JOURNAL = "train.jsonl"
LONGEST_ROW = 2**16


class Journal:
    """The rows in the file `path`. A disk that takes no writes is waited for, for `pause_s` seconds
    at most."""

    def __init__(self, path: StoragePath, pause_s: float) -> None:
        self.path, self._pause_s = path, pause_s

    def rewind(self, step: int) -> None:
        """Drops the rows after `step`: they will be written again."""
        if not storage.exists(self.path):
            return
        *whole, _torn = storage.read(self.path).split(b"\n")
        rows = [line for line in whole if json.loads(line)["step"] <= step]
        data = b"".join(line + b"\n" for line in rows)
        patiently(lambda: storage.write(self.path, data), str(self.path), self._pause_s)

    def add(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        patiently(lambda: storage.append(self.path, line), f"a line of {self.path}", self._pause_s)

    def last(self) -> dict[str, Any] | None:
        """Returns the newest whole row; reads only the end of a long file."""
        if not storage.exists(self.path):
            return None
        with storage.open_file(self.path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ROW))
            *whole, _torn = file.read().split(b"\n")
        return json.loads(whole[-1]) if whole else None
