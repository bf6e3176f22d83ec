"""The log of judged groups: durable before acknowledged, each slice exactly once, read in order.

Invariant: a slice that was acknowledged is complete on the disk under its name. Whatever the order
of arrival, readers see a round's slices in index order up to the first one that is missing. A file
that was altered is reported and never read as data. A file that was torn, as by a power failure, is
set aside, and its slice counts as missing until it is appended again.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import Any

import ray

from actors.replay.counts import counted
from actors.replay.index import CLOSED, ReplayIndex, Stored, closing
from actors.replay.metrics import ReplayMeter
from actors.replay.records import JudgedGroup
from actors.replay.segments import encode, read_segment, round_folder, segment_path
from actors.retry import Signal
from actors.storage import storage
from actors.storage.events import note_start
from actors.storage.paths import TORN, StoragePath, locate, parse_path
from policies.errors import UserError

Slices = list[tuple[int, list[JudgedGroup]]]


class ReplayConflict(UserError, ValueError):
    """A slice or a round's end contradicts what the log already holds."""


class ReplayUnwritable(UserError, RuntimeError):
    """The log's folder takes no writes: the request is not acknowledged, but nothing is lost."""


class ReplayFull(ReplayUnwritable):
    """The log's disk has no room; the message names the folder and the bytes needed."""


class ReplayBuffer:
    """The log in `folder`. Appends must come one at a time; reads may run beside them."""

    def __init__(self, folder: str | StoragePath) -> None:
        self.folder = locate(folder)
        index = ReplayIndex(self.folder)
        self._slices, self._closed, self._ignored = index.slices, index.closed, index.ignored
        self._torn = self._settle(index)

    def append(self, round_: int, index: int, groups: Sequence[JudgedGroup]) -> bool:
        """Stores a slice durably; returns whether it was new. The same groups again are a no-op.

        Raises ReplayConflict if the slice holds other groups, ReplayFull or ReplayUnwritable.
        """
        data = encode(round_, index, groups)
        path = segment_path(self.folder, round_, index, data)
        stored = self._slices.get(round_, {}).get(index)
        if stored is not None:
            self._require_same(round_, index, stored.path, path)
            return False
        end = self._closed.get(round_)
        if index < 0 or (end is not None and index >= end):
            raise ReplayConflict(
                f"slice {index} of round {round_} cannot be: the round "
                + ("starts at slice 0" if index < 0 else f"is closed with {end} slices")
            )
        self._write(path, data, f"slice {index} of round {round_}")
        held = counted((g.reason, [r.judgement.score for r in g.rollouts]) for g in groups)
        self._slices.setdefault(round_, {})[index] = Stored(path, held, len(data))
        return True

    def close_round(self, round_: int, slices: int) -> None:
        """Ends a round durably. Raises ReplayConflict unless it has exactly `slices` slices."""
        missing = self.missing(round_, slices)
        beyond = [index for index in self._slices.get(round_, {}) if index >= slices]
        end = self._closed.get(round_, slices)
        if missing or beyond or end != slices:
            raise ReplayConflict(
                f"round {round_} cannot be closed with {slices} slices: missing {missing}, beyond "
                f"the end {sorted(beyond)}, closed before with {self._closed.get(round_)}"
            )
        if round_ not in self._closed:
            path = round_folder(self.folder, round_) / CLOSED
            self._write(path, closing(round_, slices), f"the end of round {round_}")
            self._closed[round_] = slices

    def closed(self, round_: int) -> int | None:
        """Returns the round's number of slices once it is closed and complete; None before."""
        end = self._closed.get(round_)
        return None if end is None or self.missing(round_, end) else end

    def missing(self, round_: int, slices: int) -> list[int]:
        """Returns the indices below `slices` of which the log has no slice."""
        there = self._slices.get(round_, {})
        return [index for index in range(slices) if index not in there]

    def read(self, round_: int, start: int, limit: int) -> Slices:
        """Returns up to `limit` (index, groups) from slice `start` on, up to the first gap."""
        there = self._slices.get(round_, {})
        run = []
        for index in range(start, start + limit):
            if index not in there:
                break
            run.append((index, read_segment(there[index].path)))
        return run

    def ready(self, round_: int, start: int) -> bool:
        """Returns whether slice `start` is there, or the round is closed and ends before it."""
        end = self.closed(round_)
        return start in self._slices.get(round_, {}) or (end is not None and start >= end)

    def describe(self, round_: int) -> str:
        there, end = sorted(self._slices.get(round_, {})), self._closed.get(round_)
        state = "is not closed" if end is None else f"is closed with {end} slices"
        return f"the log has slices {there}, and the round {state}"

    def stats(self, margin: float = 0.0) -> dict[str, Any]:
        """Returns, for each round, its slices, its drawings, its accepted and rejected groups, those
        accepted whose best drawing is by `margin` above their worst, and its end; and the files that
        are ignored or torn."""
        rounds = sorted({*self._slices, *self._closed})
        return {
            "rounds": {round_: self._count(round_, margin) for round_ in rounds},
            "ignored": [str(path) for path in self._ignored],
            "torn": [str(path) for path in sorted(self._torn)],
        }

    def held(self, round_: int = 0, start: int = 0) -> tuple[int, int]:
        """Returns the groups and bytes from slice `start` of `round_` on, with later rounds."""
        there = [
            one
            for number, slices in list(self._slices.items())
            for index, one in list(slices.items())
            if (number, index) >= (round_, start)
        ]
        return sum(one.counts.groups for one in there), sum(one.size for one in there)

    def _count(self, round_: int, margin: float) -> dict[str, int | None]:
        stored = list(self._slices.get(round_, {}).values())  # a copy: appends may run meanwhile
        margins = [each for one in stored for each in one.counts.margins]
        return {
            "slices": len(stored),
            "drawings": sum(one.counts.drawings for one in stored),
            "accepted": len(margins),
            "contested": sum(each >= margin for each in margins),
            "rejected": sum(one.counts.rejected for one in stored),
            "closed": self.closed(round_),
        }

    def _require_same(
        self, round_: int, index: int, there: StoragePath, offered: StoragePath
    ) -> None:
        if there.name != offered.name:
            raise ReplayConflict(
                f"slice {index} of round {round_} is stored as {there} and other groups were "
                f"appended under its name ({offered.name}): a task's result must "
                f"follow from its name alone; look for a changed config, weights or library"
            )

    def _write(self, path: StoragePath, data: bytes, what: str) -> None:
        try:
            storage.write(path, data)
        except OSError as error:
            raise _unwritable(self.folder, len(data), what, error) from error

    def _settle(self, index: ReplayIndex) -> set[StoragePath]:
        """Sets torn files aside and syncs the folders: whoever wrote a file may have died before it
        did that, and a power failure could then take the file back."""
        try:
            for path in index.torn:
                storage.move(path, path.with_name(path.name + TORN))
                index.set_aside.add(path.with_name(path.name + TORN))
            for folder in index.folders:
                storage.sync(folder)
        except OSError as error:
            raise ReplayUnwritable(
                f"replay folder {self.folder} takes no writes ({error}): what a crash left there "
                f"could not be set right; make it writable and do it again, nothing was lost"
            ) from error
        return index.set_aside


def _unwritable(folder: StoragePath, need: int, what: str, error: OSError) -> ReplayUnwritable:
    free = storage.free_bytes(folder)
    if free is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ReplayUnwritable(
            f"replay folder {folder} takes no writes ({error}): {what} was not stored; make the "
            f"folder writable and do it again, nothing was lost"
        )
    return ReplayFull(
        f"replay folder {folder} is full: {what} needs {need:,} bytes and {free:,} are free; make "
        f"room and do it again, nothing was lost"
    )


class ReplayService:
    """The log as an async actor: file work in threads, one append at a time, bounded waits."""

    def __init__(self, folder: str) -> None:
        run = parse_path(folder).parent
        note_start(run, "replay buffer")
        self._folder = folder
        self._signal = Signal()
        self._writing, self._opening = asyncio.Lock(), asyncio.Lock()
        self._meter = ReplayMeter(run.name)
        self._buffer: ReplayBuffer | None = None

    async def alive(self) -> None:
        """Answers at once, also while a long log is read."""

    async def _opened(self) -> ReplayBuffer:
        """Returns the buffer. The first call reads the log, and raises if it is damaged."""
        async with self._opening:
            if self._buffer is None:
                self._buffer = await asyncio.to_thread(ReplayBuffer, self._folder)
        return self._buffer

    async def append(self, round_: int, index: int, groups: Sequence[JudgedGroup]) -> None:
        buffer = await self._opened()
        async with self._writing:
            new = await asyncio.to_thread(buffer.append, round_, index, groups)
        if new:
            self._meter.stored(groups)
        self._signal.notify()

    async def close_round(self, round_: int, slices: int) -> None:
        buffer = await self._opened()
        async with self._writing:
            await asyncio.to_thread(buffer.close_round, round_, slices)
        self._signal.notify()

    async def closed(self, round_: int) -> int | None:
        return (await self._opened()).closed(round_)

    async def missing(self, round_: int, slices: int) -> list[int]:
        return (await self._opened()).missing(round_, slices)

    async def read(self, round_: int, start: int, limit: int) -> Slices:
        return await asyncio.to_thread((await self._opened()).read, round_, start, limit)

    async def wait_read(
        self, round_: int, start: int, limit: int, deadline_s: float
    ) -> tuple[Slices, int | None]:
        """Waits until there are slices from `start` on, or the round ends there. Returns them and,
        if the round is closed, its number of slices."""
        buffer = await self._opened()
        await self._signal.wait_until(
            lambda: buffer.ready(round_, start), deadline_s,
            lambda: f"slice {start} of round {round_}: {buffer.describe(round_)}",
        )  # fmt: skip
        slices = await self.read(round_, start, limit)
        self._meter.read(round_, start + len(slices))
        return slices, buffer.closed(round_)

    async def stats(self, margin: float = 0.0) -> dict[str, Any]:
        buffer = await self._opened()
        self._meter.holds(buffer)
        return buffer.stats(margin)


# Every call may be repeated, so Ray itself repeats it if the actor died.
ReplayBufferActor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ReplayService)
