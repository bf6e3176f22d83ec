"""The log of judged groups: durable before acknowledged, each slice exactly once, read in order.

Invariant: a slice that was acknowledged is on the disk, complete, under its name; whatever the
order of arrival, readers see the slices of a round in index order up to the first that is not
there yet. A file that was altered is named and never read as data.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors import durable
from actors.events import note_start
from actors.records import JudgedGroup
from actors.segments import (
    SegmentError,
    SegmentName,
    count,
    encode,
    find_problem,
    read_segment,
    round_folder,
    segment_path,
)
from actors.waiting import Signal
from policies.errors import UserError

Slices = list[tuple[int, list[JudgedGroup]]]

CLOSED = "closed.json"
CLOSED_NAME = re.compile(r"/round-(\d{5,})/closed\.json$")
CLOSING = re.compile(rb'\{"round": \d+, "slices": (\d+), "sha256": "[0-9a-f]{64}"\}\n')


class ReplayConflict(UserError, ValueError):
    """A slice or a round's end that contradicts what the log holds already."""


class ReplayUnwritable(UserError, RuntimeError):
    """The log's folder takes no writes; what was asked is not acknowledged, nothing is lost."""


class ReplayFull(ReplayUnwritable):
    """The log's disk has no room; the message names the folder and the need."""


@dataclass(frozen=True)
class Stored:
    """One slice on the disk."""

    path: Path
    accepted: int
    rejected: int


class ReplayBuffer:
    """The log in `folder`. Appends must come one at a time; reads may run beside them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = durable.locate(folder)
        self.ignored: list[Path] = []
        self._slices: dict[int, dict[int, Stored]] = {}
        self._closed: dict[int, int] = {}
        self._scan()

    def append(self, round_: int, index: int, groups: Sequence[JudgedGroup]) -> None:
        """Durable when it returns; the same groups again are a no-op.

        Raises ReplayConflict for other groups than before, ReplayFull or ReplayUnwritable.
        """
        data = encode(round_, index, groups)
        path = segment_path(self.folder, round_, index, data)
        stored = self._slices.get(round_, {}).get(index)
        if stored is not None:
            self._require_same(round_, index, stored.path, path)
            return
        end = self.closed(round_)
        if index < 0 or (end is not None and index >= end):
            raise ReplayConflict(
                f"slice {index} of round {round_} cannot be: the round "
                + ("starts at slice 0" if index < 0 else f"is closed with {end} slices")
            )
        self._write(path, data, f"slice {index} of round {round_}")
        accepted = sum(group.accepted for group in groups)
        self._slices.setdefault(round_, {})[index] = Stored(path, accepted, len(groups) - accepted)

    def close_round(self, round_: int, slices: int) -> None:
        """Says durably that round `round_` has exactly `slices` slices, all of them there."""
        missing = self.missing(round_, slices)
        beyond = [index for index in self._slices.get(round_, {}) if index >= slices]
        end = self._closed.get(round_, slices)
        if missing or beyond or end != slices:
            raise ReplayConflict(
                f"round {round_} cannot be closed with {slices} slices: missing {missing}, beyond "
                f"the end {sorted(beyond)}, closed before with {self.closed(round_)}"
            )
        if round_ not in self._closed:
            path = round_folder(self.folder, round_) / CLOSED
            self._write(path, _closing(round_, slices), f"the end of round {round_}")
            self._closed[round_] = slices

    def closed(self, round_: int) -> int | None:
        """How many slices the round has, once that is known."""
        return self._closed.get(round_)

    def missing(self, round_: int, slices: int) -> list[int]:
        there = self._slices.get(round_, {})
        return [index for index in range(slices) if index not in there]

    def read(self, round_: int, start: int, limit: int) -> Slices:
        """Up to `limit` slices from `start` on in index order, up to the first gap."""
        there = self._slices.get(round_, {})
        run = []
        for index in range(start, start + limit):
            if index not in there:
                break
            run.append((index, read_segment(there[index].path)))
        return run

    def ready(self, round_: int, start: int) -> bool:
        """True once slice `start` is there, or is known to be beyond the round's end."""
        end = self.closed(round_)
        return start in self._slices.get(round_, {}) or (end is not None and start >= end)

    def describe(self, round_: int) -> str:
        there, end = sorted(self._slices.get(round_, {})), self.closed(round_)
        state = "is not closed" if end is None else f"is closed with {end} slices"
        return f"the log has slices {there}, and the round {state}"

    def stats(self) -> dict[str, Any]:
        """Per round the slices, accepted and rejected groups and its end; files ignored."""
        return {
            "rounds": {
                round_: self._count(round_) for round_ in sorted({*self._slices, *self._closed})
            },
            "ignored": [str(path) for path in self.ignored],
        }

    def _count(self, round_: int) -> dict[str, int | None]:
        stored = list(self._slices.get(round_, {}).values())  # an append may run beside this
        return {
            "slices": len(stored),
            "accepted": sum(one.accepted for one in stored),
            "rejected": sum(one.rejected for one in stored),
            "closed": self.closed(round_),
        }

    def _require_same(self, round_: int, index: int, there: Path, offered: Path) -> None:
        if there.name != offered.name:
            raise ReplayConflict(
                f"slice {index} of round {round_} is stored as {there} and other groups were "
                f"appended under its name ({offered.name}): a task's result must "
                f"follow from its name alone; look for a changed config, weights or library"
            )

    def _write(self, path: Path, data: bytes, what: str) -> None:
        try:
            durable.write(path, data)
        except OSError as error:
            raise _unwritable(self.folder, len(data), what, error) from error

    def _scan(self) -> None:
        """Verifies the whole log; raises one SegmentError that names every damaged file."""
        problems = [problem for path in durable.files(self.folder) if (problem := self._take(path))]
        for round_, end in self._closed.items():
            beyond = [index for index in self._slices.get(round_, {}) if index >= end]
            if beyond:
                problems.append(f"round {round_} is closed with {end} slices and holds {beyond}")
        if problems:
            raise SegmentError("; ".join(problems))

    def _take(self, path: Path) -> str:
        """Takes one file into the index; returns what is wrong with it."""
        name = SegmentName.parse(path)
        if name is not None:
            return self._take_segment(name)
        round_ = CLOSED_NAME.search(path.as_posix())
        if round_ is not None:
            return self._take_closing(path, int(round_[1]))
        self.ignored.append(path)
        return ""

    def _take_segment(self, name: SegmentName) -> str:
        data = durable.read(name.path)
        problem = find_problem(data, name.path)
        if problem:
            return problem
        there = self._slices.setdefault(name.round, {})
        if name.index in there:
            return f"{name.path} and {there[name.index].path} both hold {name}: delete one of them"
        there[name.index] = Stored(name.path, *count(data))
        return ""

    def _take_closing(self, path: Path, round_: int) -> str:
        data = durable.read(path)
        match = CLOSING.fullmatch(data)
        if match is None or data != _closing(round_, int(match[1])):
            return f"{path}: checksum differs: restore it, or delete it and resume the run"
        self._closed[round_] = int(match[1])
        return ""


def _closing(round_: int, slices: int) -> bytes:
    """What the file says that ends a round; it carries its own checksum."""
    facts = {"round": round_, "slices": slices}
    checksum = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return (json.dumps({**facts, "sha256": checksum}) + "\n").encode()


def _unwritable(folder: Path, need: int, what: str, error: OSError) -> ReplayUnwritable:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ReplayUnwritable(
            f"replay folder {folder} takes no writes ({error}): {what} was not stored; make the "
            f"folder writable and do it again, nothing was lost"
        )
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return ReplayFull(
        f"replay folder {folder} is full: {what} needs {need:,} bytes and "
        f"{shutil.disk_usage(there).free:,} are free; make room and do it again, nothing was lost"
    )


class ReplayService:
    """The log as an async actor: file work in a thread, one append at a time, waits here."""

    def __init__(self, folder: str) -> None:
        note_start(Path(folder).parent, "replay buffer")
        self._buffer = ReplayBuffer(folder)
        self._signal = Signal()
        self._writing = asyncio.Lock()

    async def append(self, round_: int, index: int, groups: Sequence[JudgedGroup]) -> None:
        async with self._writing:
            await asyncio.to_thread(self._buffer.append, round_, index, groups)
        self._signal.notify()

    async def close_round(self, round_: int, slices: int) -> None:
        async with self._writing:
            await asyncio.to_thread(self._buffer.close_round, round_, slices)
        self._signal.notify()

    async def closed(self, round_: int) -> int | None:
        return self._buffer.closed(round_)

    async def missing(self, round_: int, slices: int) -> list[int]:
        return self._buffer.missing(round_, slices)

    async def read(self, round_: int, start: int, limit: int) -> Slices:
        return await asyncio.to_thread(self._buffer.read, round_, start, limit)

    async def wait_read(
        self, round_: int, start: int, limit: int, deadline_s: float
    ) -> tuple[Slices, int | None]:
        """What is contiguous at `start`, as soon as that is something, or nothing once the round
        is exhausted; and the round's number of slices if it is closed."""
        await self._signal.wait_until(
            lambda: self._buffer.ready(round_, start), deadline_s,
            lambda: f"slice {start} of round {round_}: {self._buffer.describe(round_)}",
        )  # fmt: skip
        return await self.read(round_, start, limit), self._buffer.closed(round_)

    async def stats(self) -> dict[str, Any]:
        return self._buffer.stats()


# All that it is asked can be asked again, so Ray itself does that when it died.
ReplayBufferActor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ReplayService)
