"""The replay log against a model of it, on a disk that fails and forgets wherever it may.

The model is three sets: what was acknowledged, what may be there besides, and what the disk tore
although it had called it synced.
"""

from __future__ import annotations

import errno
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.replay.buffer import ReplayBuffer, ReplayConflict, ReplayUnwritable
from actors.replay.index import CLOSED, CLOSED_NAME
from actors.replay.records import JudgedGroup
from actors.replay.segments import SegmentName, encode, log_digest, round_folder
from actors.storage import storage
from actors.storage.paths import TORN
from tests.actors.replay.replay_samples import slice_of
from tests.actors.storage.unsafe_disk import Crash, Fault, UnsafeDisk

pytestmark = pytest.mark.slow

StoragePath = tuple[int, int]

SIZES = {1: 3, 2: 1}  # slices of each round
PLACES = [(round_, index) for round_, size in SIZES.items() for index in range(size)]


def groups_at(place: StoragePath) -> list[JudgedGroup]:
    round_, index = place
    return slice_of(10 * round_ + index)[:1]


GROUPS = {place: groups_at(place) for place in PLACES}
BYTES = {place: encode(*place, GROUPS[place]) for place in PLACES}

places, rounds = st.sampled_from(PLACES), st.sampled_from(sorted(SIZES))
# To set a file aside takes 2 steps, an append 6, and one that makes three folders on its way 12.
steps = st.integers(0, 1) | st.integers(0, 5) | st.integers(0, 11)
faults = st.builds(Fault, steps, st.booleans(), st.sampled_from([None, errno.ENOSPC, errno.EIO]))


@functools.cache
def digest_in_peace() -> str:
    with tempfile.TemporaryDirectory() as folder:
        buffer = ReplayBuffer(folder)
        for place in PLACES:
            buffer.append(*place, GROUPS[place])
        return log_digest(folder)


class ReplayLog(RuleBasedStateMachine):
    """Every rule that takes a fault either is acknowledged, or raises, or ends the process."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.runs = 0
        self.patch = pytest.MonkeyPatch()
        self.disk = UnsafeDisk.installed(self.patch)
        self.begin()

    def teardown(self) -> None:
        self.patch.undo()
        self.home.cleanup()

    def begin(self) -> None:
        self.runs += 1
        self.folder = Path(self.home.name) / f"run-{self.runs}" / "replay"
        self.stored: set[StoragePath] = set()
        self.offered: set[StoragePath] = set()
        self.closed: set[int] = set()
        self.closing: set[int] = set()
        self.torn: set[Path] = set()
        self.set_aside: set[Path] = set()
        self.open()

    @rule(place=places)
    def append(self, place: StoragePath) -> None:
        self.buffer.append(*place, GROUPS[place])
        self.stored.add(place)

    @precondition(lambda self: len(self.stored) < len(PLACES))
    @rule(fault=faults, data=st.data())
    def append_in_trouble(self, fault: Fault, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from([p for p in PLACES if p not in self.stored]))
        self.offered.add(place)
        if self.acknowledged(lambda: self.buffer.append(*place, GROUPS[place]), fault, data):
            self.stored.add(place)
        elif data.draw(st.booleans(), label="again"):
            self.append(place)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def append_other_groups(self, data: st.DataObject) -> None:
        round_, index = data.draw(st.sampled_from(sorted(self.stored)))
        with pytest.raises(ReplayConflict, match="stored as"):
            self.buffer.append(round_, index, slice_of(99))

    @rule(round_=rounds, fault=st.none() | faults, data=st.data())
    def close(self, round_: int, fault: Fault | None, data: st.DataObject) -> None:
        def close() -> None:
            self.buffer.close_round(round_, SIZES[round_])

        if self.missing(round_):
            with pytest.raises(ReplayConflict, match="missing"):
                close()
            return
        self.closing.add(round_)
        if self.acknowledged(close, fault, data):
            self.closed.add(round_)

    @rule(round_=rounds, start=st.integers(0, 4), limit=st.integers(1, 5))
    def read(self, round_: int, start: int, limit: int) -> None:
        run = self.buffer.read(round_, start, limit)
        gap = min([i for i in self.missing(round_) if i >= start], default=SIZES[round_])
        assert [index for index, _ in run] == list(range(start, min(gap, start + limit)))
        for index, groups in run:
            assert encode(round_, index, groups) == BYTES[round_, index]

    @rule(fault=st.none() | faults, data=st.data())
    def restart(self, fault: Fault | None, data: st.DataObject) -> None:
        self.die(data)
        if not self.acknowledged(self.open, fault, data):
            self.open()

    @rule(fault=st.none() | faults, data=st.data())
    def tear(self, fault: Fault | None, data: st.DataObject) -> None:
        """Power fails, and the disk had lied about one file."""
        self.die(data)
        named = [
            path for path in storage.files(self.folder) if path.suffix in (".parquet", ".json")
        ]
        if named:
            path = data.draw(st.sampled_from(named))
            self.disk.tear(path, data.draw(st.integers(0, max(0, path.stat().st_size - 1))))
            self.forget(path)
        self.restart(fault, data)

    @precondition(lambda self: len(self.stored) == len(PLACES))
    @rule()
    def finish(self) -> None:
        """The log ends as in peace, whatever was before; then another run begins."""
        assert log_digest(self.folder) == digest_in_peace()
        self.begin()

    @invariant()
    def the_index_is_that_of_the_model(self) -> None:
        for round_, size in SIZES.items():
            missing = self.missing(round_)
            end = size if round_ in self.closed and not missing else None
            assert (self.buffer.missing(round_, size), self.buffer.closed(round_)) == (missing, end)
            for start in range(size + 2):
                there = (round_, start) in self.stored
                assert self.buffer.ready(round_, start) == (
                    there or (start >= size and end == size)
                )

    def acknowledged(
        self, act: Callable[[], None], fault: Fault | None, data: st.DataObject
    ) -> bool:
        """Whether `act` returned. A process that died is followed by another."""
        self.disk.fault = fault
        try:
            act()
        except ReplayUnwritable:
            return False
        except Crash:
            for _ in range(2):  # what the first death left to be seen, the second may not take
                self.die(data)
                self.open()
            return False
        finally:
            self.disk.fault = None
        return True

    def die(self, data: st.DataObject) -> None:
        """Ends the process, and maybe the power with it."""
        if data.draw(st.booleans(), label="power fails"):
            self.disk.fail_power(lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0)

    def open(self) -> None:
        """Opens what is on the disk, which may hold more than was acknowledged, but never less:
        from now on it is all promised, because readers have seen it."""
        self.buffer = ReplayBuffer(self.folder)
        names = [name for path in storage.files(self.folder) if (name := SegmentName.parse(path))]
        there = {(name.round, name.index) for name in names}
        assert len(names) == len(there)
        assert self.stored <= there <= self.stored | self.offered
        closed = {
            round_ for round_ in SIZES if (round_folder(self.folder, round_) / CLOSED).exists()
        }
        assert self.closed <= closed <= self.closed | self.closing
        set_aside = set(map(Path, self.buffer.stats()["torn"]))
        assert self.set_aside <= set_aside <= self.torn
        self.stored, self.closed, self.set_aside = there, closed, set_aside
        self.offered, self.closing = set(), set()

    def forget(self, path: Path) -> None:
        """Takes the promise back that `path` is whole."""
        self.torn.add(path.with_name(path.name + TORN))
        if name := SegmentName.parse(path):
            self.stored.discard((name.round, name.index))
        if round_ := CLOSED_NAME.search(path.as_posix()):
            self.closed.discard(int(round_[1]))

    def missing(self, round_: int) -> list[int]:
        return [index for index in range(SIZES[round_]) if (round_, index) not in self.stored]


TestReplayLog = ReplayLog.TestCase
TestReplayLog.settings = settings(
    max_examples=200,
    stateful_step_count=30,
    derandomize=True,
    report_multiple_bugs=False,
)
