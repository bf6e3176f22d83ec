"""Reads the segments of a run's replay log for the gallery.

Invariant: a picture is shown only from a file that was verified as a whole, and a file is found by
the checksum in its name, never by a path in a request. The pixels kept in memory are bounded.
"""

from __future__ import annotations

import io
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from actors.replay.records import JudgedGroup
from actors.replay.segments import SegmentError, SegmentName, groups_of, read_table, read_texts
from actors.storage import storage
from policies.interface import Picture

KEPT_BYTES = 64 * 2**20
THUMBNAIL_SIDE = 256


@dataclass(frozen=True, eq=False)
class Slice:
    """One file: its texts, and when it arrived (nanoseconds since 1970)."""

    name: SegmentName
    texts: pa.Table
    arrived: int

    @classmethod
    def read(cls, name: SegmentName) -> Slice:
        """Reads the texts of a segment. Raises SegmentError."""
        found = cls(name, read_texts(name.path), storage.changed(name.path))
        if not all(score is None or 0 <= score <= 10 for row in found.scores() for score in row):
            raise SegmentError(
                f"{name.path} holds a score that is not from 0 to 10: move it away, or delete it "
                "and resume the run to have it made again"
            )
        return found

    def scores(self) -> list[list[float | None]]:
        rollouts = self.texts["rollouts"].combine_chunks()
        flat, ends = rollouts.values.field("score").to_pylist(), rollouts.offsets.to_pylist()
        return [flat[a:b] for a, b in itertools.pairwise(ends)]

    def columns(self, *names: str) -> Iterator[tuple[Any, ...]]:
        return zip(*(self.texts[name].to_pylist() for name in names), strict=True)

    def outline(self, row: int) -> JudgedGroup:
        """Returns the group with a stand-in for each drawing, to compare without pixels."""
        return groups_of(self.texts.slice(row, 1), self.name.path, stand_in)[0]


def stand_in(number: int, _packed: dict[str, Any]) -> Picture:
    return Picture(np.full((1, 1, 3), number % 256, np.uint8), None)


class Pictures:
    """The verified files that were asked for last."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._lock = Lock()

    def group(self, slice_: Slice, row: int) -> JudgedGroup:
        """Returns the group with its drawings. Like all methods here, it can raise SegmentError."""
        return groups_of(self._table(slice_).slice(row, 1), slice_.name.path)[0]

    def png(self, slice_: Slice, row: int, number: int) -> bytes | None:
        """Returns the drawing as PNG, as it was stored; None if there is no such row or
        number, or the drawing failed."""
        table = self._table(slice_)
        rollouts = table["rollouts"][row] if 0 <= row < len(table) else ()
        return (rollouts[number]["png"].as_py() or None) if 0 <= number < len(rollouts) else None

    def thumbnail(self, slice_: Slice, row: int, number: int) -> bytes | None:
        png = self.png(slice_, row, number)
        try:
            return png and small(png)
        except Exception as error:  # PIL can raise almost anything for damaged bytes
            raise SegmentError(
                f"{slice_.name.path} holds a picture that is none: {error}"
            ) from error

    def _table(self, slice_: Slice) -> pa.Table:
        key = slice_.name.checksum
        with self._lock:  # so that two requests for one file read it once
            if key not in self._tables:
                self._tables[key] = read_table(slice_.name.path)
            self._tables.move_to_end(key)
            while len(self._tables) > 1 and self._held() > self._kept_bytes:
                self._tables.popitem(last=False)
            return self._tables[key]

    def _held(self) -> int:
        return sum(table.nbytes for table in self._tables.values())


def small(png: bytes) -> bytes:
    """Returns the PNG as it is, or a thumbnail of it if it is larger than one."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        if max(image.size) <= THUMBNAIL_SIDE:
            return png
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        sink = io.BytesIO()
        image.save(sink, "PNG")
        return sink.getvalue()
