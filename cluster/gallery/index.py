"""Knows in which file each group of a run is, and by which values groups can be selected.

Invariant: the index follows the folder: a new file is read once, without its pictures, and a file
that is gone is forgotten. A file that cannot be read is reported, and does not hide the others.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from threading import Lock

from actors.replay.index import CLOSED
from actors.replay.segments import SegmentError, SegmentName, round_folder
from actors.storage import storage
from actors.storage.paths import StoragePath
from cluster.gallery.slices import Slice

BUSY = 0.1
"""The share of one processor that listing takes at most, however many files there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One group; `best` and `mean` are over the drawings that have a score."""

    round: int
    index: int
    category: str
    accepted: bool
    best: float | None
    mean: float | None
    slice: Slice
    row: int


@dataclass(frozen=True)
class Catalogue:
    """All groups at one moment, newest first; `revision` grows with every change."""

    revision: int
    groups: list[Entry]
    slices: dict[str, Slice]
    places: dict[tuple[int, int], Entry]
    problems: list[str]

    def chosen(
        self, round_: int | None = None, category: str | None = None, accepted: bool | None = None
    ) -> list[Entry]:
        return [
            entry
            for entry in self.groups
            if round_ in (None, entry.round)
            and category in (None, entry.category)
            and accepted in (None, entry.accepted)
        ]

    def categories(self) -> list[tuple[str, int]]:
        return sorted(Counter(entry.category for entry in self.groups).items())

    def by_round(self) -> dict[int, list[Entry]]:
        found: dict[int, list[Entry]] = {}
        for entry in self.groups:
            found.setdefault(entry.round, []).append(entry)
        return dict(sorted(found.items()))


class Index:
    def __init__(self, replay: StoragePath) -> None:
        self.replay = replay
        self._slices: dict[StoragePath, tuple[Slice, list[Entry]]] = {}
        self._problems: dict[StoragePath, str] = {}
        self._closed = set[int]()
        self._catalogue = Catalogue(0, [], {}, {}, [])
        self._lock = Lock()
        self._look_at = 0.0
        self._rest = storage.rest_s(replay)

    def catalogue(self) -> Catalogue:
        """Returns what the folder holds, at most one rest (`storage.rest_s`) out of date."""
        with self._lock:
            if time.monotonic() >= self._look_at:
                self._refresh()
            return self._catalogue

    def closed(self, round_: int) -> bool:
        """Returns whether the log marks the round as complete."""
        if round_ not in self._closed and storage.exists(
            round_folder(self.replay, round_) / CLOSED
        ):
            self._closed.add(round_)  # a closed round never opens again
        return round_ in self._closed

    def damaged(self, slice_: Slice, problem: str) -> None:
        """Drops the file's groups and reports `problem` in their place."""
        with self._lock:
            if self._slices.pop(slice_.name.path, None):
                self._problems[slice_.name.path] = problem
                self._settle()

    def _refresh(self) -> None:
        began = time.thread_time()
        names = {path: name for path in storage.files(self.replay)
                 if (name := SegmentName.parse(path))}  # fmt: skip
        worked = time.thread_time() - began  # not the clock: a slow disk is no reason to rest
        self._look_at = time.monotonic() + max(self._rest, worked / BUSY)
        known = {*self._slices, *self._problems}
        if names.keys() == known:
            return
        for path in known - names.keys():
            self._slices.pop(path, None)
            self._problems.pop(path, None)
        for path in names.keys() - known:
            self._take(names[path])
        self._settle()

    def _take(self, name: SegmentName) -> None:
        try:
            slice_ = Slice.read(name)
            self._slices[name.path] = slice_, list(entries(slice_))
        except SegmentError as error:
            self._problems[name.path] = str(error)

    def _settle(self) -> None:
        found = [entry for _, entries in self._slices.values() for entry in entries]
        found.sort(key=lambda e: (e.round, e.slice.arrived, e.index), reverse=True)
        self._catalogue = Catalogue(
            revision=self._catalogue.revision + 1,
            groups=found,
            slices={slice_.name.checksum: slice_ for slice_, _ in self._slices.values()},
            places={(entry.round, entry.index): entry for entry in found},
            problems=[self._problems[path] for path in sorted(self._problems)],
        )


def entries(slice_: Slice) -> list[Entry]:
    rows = zip(slice_.columns("round", "index", "category", "reason"), slice_.scores(), strict=True)
    return [
        _entry(slice_, row, facts, [score for score in scores if score is not None])
        for row, (facts, scores) in enumerate(rows)
    ]


def _entry(slice_: Slice, row: int, facts: tuple[int, int, str, str], scores: list[float]) -> Entry:
    round_, index, category, reason = facts
    best, mean = (max(scores), statistics.fmean(scores)) if scores else (None, None)
    return Entry(round_, index, category, not reason, best, mean, slice_, row)
