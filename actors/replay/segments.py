"""The judged groups of one slice as one immutable Parquet file whose name carries its checksum.

Invariant: the same groups give the same bytes (no clock, no host), what is read back equals what
was written in every field, and a file that was altered anywhere is named and never read as data.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.replay.counts import Counts, counted
from actors.replay.records import JudgedGroup
from actors.replay.segment_format import (
    PictureOf,
    SegmentError,
    group_of,
    is_schema,
    row_of,
    schema_for,
    text_columns,
)
from actors.storage import storage
from actors.storage.bucket import BucketSilent
from actors.storage.paths import StoragePath, locate, parse_path
from policies.errors import one_line, printable

# As it is written: 000001 and the digits of other scripts are numbers too, and would be twins.
_NUMBER = "([0-9]{5}|[1-9][0-9]{5,})"
NAME = re.compile(rf"round-{_NUMBER}/slice-{_NUMBER}-([0-9a-f]{{32}})\.parquet")
FORMAT = b"unicorn-ray replay segment 1"
MAGIC = b"PAR1"  # begins and ends every Parquet file
SMALLEST = 12  # the magic twice, and between them the length of the footer


@dataclass(frozen=True)
class SegmentName:
    """What the path of a segment says."""

    path: StoragePath
    round: int
    index: int
    checksum: str

    @classmethod
    def parse(cls, path: StoragePath) -> SegmentName | None:
        match = NAME.fullmatch("/".join(path.parts[-2:]))
        return match and cls(path, int(match[1]), int(match[2]), match[3])

    def __str__(self) -> str:
        return f"slice {self.index} of round {self.round}"


def encode(round_: int, index: int, groups: Sequence[JudgedGroup]) -> bytes:
    """The file's bytes. Raises SegmentError for what a segment cannot hold."""
    place = {b"format": FORMAT, b"round": str(round_).encode(), b"slice": str(index).encode()}
    try:
        return _parquet([row_of(group) for group in groups], place)
    except (SegmentError, UnicodeEncodeError, pa.ArrowException, OverflowError) as error:
        raise SegmentError(f"slice {index} of round {round_} cannot be stored: {error}") from error


def segment_path(folder: StoragePath, round_: int, index: int, data: bytes) -> StoragePath:
    checksum = hashlib.sha256(data).hexdigest()[:32]
    return round_folder(folder, round_) / f"slice-{index:05d}-{checksum}.parquet"


def round_folder(folder: StoragePath, round_: int) -> StoragePath:
    return folder / f"round-{round_:05d}"


def round_files(folder: StoragePath, round_: int) -> list[StoragePath]:
    """The round's segments, in the order of their slices."""
    there = storage.files(round_folder(folder, round_))
    return sorted((path for path in there if SegmentName.parse(path)), key=str)


def write_segment(
    folder: str | StoragePath, round_: int, index: int, groups: Sequence[JudgedGroup]
) -> StoragePath:
    """Writes one slice durably; returns its path."""
    data = encode(round_, index, groups)
    path = segment_path(locate(folder), round_, index, data)
    storage.write(path, data)
    return path


def read_segment(path: str | StoragePath) -> list[JudgedGroup]:
    """Raises SegmentError if the file is not what was written under this name."""
    return groups_of(read_table(parse_path(path)), parse_path(path))


def read_table(path: StoragePath) -> pa.Table:
    """One row a group, pictures as they are stored. Raises SegmentError as `read_segment`."""
    data = _verified(path)
    try:
        return pq.read_table(io.BytesIO(data), use_threads=False)
    except Exception as error:
        raise SegmentError(_foreign(path, error)) from error


def read_texts(path: StoragePath) -> pa.Table:
    """All but the pictures, for an overview that must not read them: what it shows is as it stands
    in the file, and was not verified. Raises SegmentError for a file that cannot be read."""
    try:
        with storage.open_file(path) as stored, pq.ParquetFile(stored) as file:
            if not is_schema(file.schema_arrow):
                raise ValueError(f"it has the columns {', '.join(file.schema_arrow.names)}")
            return file.read(columns=text_columns(file.schema_arrow), use_threads=False)
    except Exception as error:
        if isinstance(error, BucketSilent):
            storage.exists(path)  # raises where it is the bucket that is at fault, not the file
        raise SegmentError(_foreign(path, error)) from error


def groups_of(
    table: pa.Table, path: StoragePath, picture: PictureOf | None = None
) -> list[JudgedGroup]:
    """The groups in rows of the segment `path`; `picture` stands in for drawings that were not
    read. Raises SegmentError."""
    try:
        return [group_of(row, picture) for row in table.to_pylist()]
    except Exception as error:  # foreign bytes make Arrow and PIL raise almost anything
        raise SegmentError(_foreign(path, error)) from error


def is_torn(data: bytes) -> bool:
    """True for what a power failure leaves of a segment: it does not end as a Parquet file does."""
    return len(data) < SMALLEST or not data.endswith(MAGIC)


def count(data: bytes) -> Counts:
    """What a segment holds."""
    columns = ["reason", "rollouts.list.element.score"]
    with pq.ParquetFile(io.BytesIO(data)) as file:
        rows = file.read(columns=columns, use_threads=False).to_pylist()
    return counted((row["reason"], [r["score"] for r in row["rollouts"]]) for row in rows)


def find_problem(data: bytes, path: StoragePath) -> str:
    """Why `data` is not the segment that `path` names; "" if it is."""
    name = SegmentName.parse(path)
    if name is None:
        return f"{printable(str(path))} is not named like a segment: restore its name or delete it"
    measured = hashlib.sha256(data).hexdigest()[:32]
    if measured != name.checksum:
        return (
            f"{path}: checksum differs: the bytes hash to {measured}; restore the file, or delete "
            f"it and resume the run to have it made again"
        )
    try:
        schema = pq.read_schema(io.BytesIO(data))
        if is_schema(schema):
            count(data)
    except Exception as error:
        return _foreign(path, error)
    place = schema.metadata or {}
    stated = place.get(b"format"), place.get(b"round"), place.get(b"slice")
    if stated != (FORMAT, str(name.round).encode(), str(name.index).encode()):
        return (
            f"{path} holds {stated}, its name says {name} of {FORMAT!r}: move it back to its "
            f"place, or delete it and resume the run to have it made again"
        )
    if not is_schema(schema):
        return _foreign(path, f"it has the columns {', '.join(schema.names)}, or other types")
    return ""


def _foreign(path: StoragePath, why: object) -> str:
    """Of a file that has the checksum in its name and is not a segment for all that."""
    return (
        f"{path} was not written by this program ({one_line(why)}): move it away, or "
        f"delete it and resume the run to have it made again"
    )


def _verified(path: StoragePath) -> bytes:
    """The bytes of the segment `path`. Raises SegmentError."""
    try:
        data = storage.read(path)
    except BucketSilent:
        raise
    except OSError as error:
        raise SegmentError(
            f"{path} cannot be read ({error.strerror or error}): restore it, or resume the run to "
            f"have it made again"
        ) from error
    if problem := find_problem(data, path):
        raise SegmentError(problem)
    return data


def log_digest(folder: str | StoragePath) -> str:
    """One hash of the whole log: equal for equal (round, slice, content), verified on the way."""
    total = hashlib.sha256()
    paths = storage.files(locate(folder))
    names = [name for path in paths if (name := SegmentName.parse(path)) is not None]
    for name in sorted(names, key=lambda name: (name.round, name.index)):
        data = _verified(name.path)
        total.update(f"{name.round} {name.index} {hashlib.sha256(data).hexdigest()}\n".encode())
    return total.hexdigest()


def _parquet(rows: list[dict[str, Any]], place: dict[bytes, bytes]) -> bytes:
    table = pa.Table.from_pylist(rows, schema=schema_for(rows)).replace_schema_metadata(place)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
