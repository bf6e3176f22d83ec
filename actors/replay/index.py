"""Finds what the folder of a replay log holds by reading all of it once.

Invariant: everything in the index was verified byte by byte. Altered files are never indexed; one
error names all of them. A torn file, which is the beginning of what was written, is never indexed
either, but does not make the others unreadable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from actors.replay.counts import Counts
from actors.replay.segments import SegmentError, SegmentName, count, find_problem, is_torn
from actors.storage import storage
from actors.storage.paths import TORN, StoragePath

CLOSED = "closed.json"
CLOSED_NAME = re.compile(r"/round-([0-9]{5,9})/closed\.json$")
CLOSING = re.compile(rb'\{"round": [0-9]+, "slices": ([0-9]{1,18})')


@dataclass(frozen=True)
class Stored:
    """One slice on the disk: what it holds, and its size in bytes."""

    path: StoragePath
    counts: Counts
    size: int


class ReplayIndex:
    """`slices` by round and index, `closed` (number of slices) by round. The other files: `torn`,
    `set_aside` as torn before, and `ignored`; and all `folders`."""

    def __init__(self, folder: StoragePath) -> None:
        self.slices: dict[int, dict[int, Stored]] = {}
        self.closed: dict[int, int] = {}
        self.ignored: list[StoragePath] = []
        self.torn: list[StoragePath] = []
        self.set_aside: set[StoragePath] = set()
        files = storage.files(folder)
        self.folders = sorted({path.parent for path in files})
        self._scan(files)

    def _scan(self, files: Sequence[StoragePath]) -> None:
        """Raises one SegmentError that names every damaged file."""
        problems = [problem for path in files if (problem := self._take(path))]
        for round_, end in self.closed.items():
            beyond = [index for index in self.slices.get(round_, {}) if index >= end]
            if beyond:
                problems.append(f"round {round_} is closed with {end} slices and holds {beyond}")
        if problems:
            raise SegmentError("; ".join(problems))

    def _take(self, path: StoragePath) -> str:
        """Adds one file to the index; returns what is wrong with it, or ""."""
        name = SegmentName.parse(path)
        if name is not None:
            return self._take_segment(name)
        round_ = CLOSED_NAME.search(path.as_posix())
        if round_ is not None:
            return self._take_closing(path, int(round_[1]))
        if path.suffix == TORN:
            self.set_aside.add(path)
        else:
            self.ignored.append(path)
        return ""

    def _take_segment(self, name: SegmentName) -> str:
        data = storage.read(name.path)
        if is_torn(data):
            self.torn.append(name.path)
            return ""
        problem = find_problem(data, name.path)
        if problem:
            return problem
        there = self.slices.setdefault(name.round, {})
        if name.index in there:
            return f"{name.path} and {there[name.index].path} both hold {name}: delete one of them"
        there[name.index] = Stored(name.path, count(data), len(data))
        return ""

    def _take_closing(self, path: StoragePath, round_: int) -> str:
        data = storage.read(path)
        match = CLOSING.match(data)
        slices = int(match[1]) if match else 0
        whole = closing(round_, slices)
        if data == whole:
            self.closed[round_] = slices
        elif whole.startswith(data):
            self.torn.append(path)
        else:
            return f"{path}: checksum differs: restore it, or delete it and resume the run"
        return ""


def closing(round_: int, slices: int) -> bytes:
    """Returns the content of the file that ends a round, which includes its own checksum."""
    facts = {"round": round_, "slices": slices}
    checksum = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return (json.dumps({**facts, "sha256": checksum}) + "\n").encode()
