"""Reads the rows of a benchmark's files: JSON, JSON lines, tables and lines of text.

Invariant: a file is read whole or refused with one sentence that names the file, the row, the field, the
value and the fix; a row knows its place, and so do all refusals of what stands in it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from evaluation.benchmarks.benchmark import BenchmarkError
from policies.errors import describe, one_line, printable

T = TypeVar("T")
LONGEST = 2**31 - 1
"""Of a field of a table: pictures stand in some."""
KINDS: Mapping[type, str] = {str: "a text", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Row:
    """`where` are the words that name it; `raw` is the row as it stands in its file, where it is a line of
    it. What is asked for raises BenchmarkError where it is missing or of another kind."""

    where: str
    fields: Mapping[str, Any]
    raw: str = ""

    def get(self, field: str) -> Any:
        """The value; None where there is none, as in an empty cell of a table."""
        value = self.fields.get(field)
        return None if value == "" else value

    def of(self, field: str, kind: type[T]) -> T:
        """A value of that kind, which may be empty."""
        value = self._value(field)
        if not isinstance(value, kind):
            self.refuse(field, value, f"be {KINDS.get(kind, kind.__name__)}")
        return value

    def text(self, field: str) -> str:
        """A text that is not empty, of whole characters."""
        value = self._value(field)
        if not isinstance(value, str) or not value.strip():
            self.refuse(field, value, "be a text that is not empty")
        require_characters(self.where, value)
        return value

    def number(self, field: str) -> int:
        """A whole number from 0 on."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.refuse(field, value, "be a whole number, 0 or more")
        return value

    def one_of(self, field: str, allowed: Sequence[str]) -> str:
        value = self.text(field)
        if value not in allowed:
            self.refuse(field, value, f"be one of {', '.join(allowed)}")
        return value

    def texts(self, field: str) -> list[str]:
        """A list of one text or more, likewise."""
        found = self.of(field, list)
        if not found or not all(isinstance(each, str) and each.strip() for each in found):
            self.refuse(field, found, "be a list of texts, one or more, and none of them empty")
        for each in found:
            require_characters(self.where, each)
        return found

    def nested(self, field: str) -> Row:
        """An object, as a row of its own."""
        return Row(f"{self.where}, {field}", self.of(field, dict))

    def nested_list(self, field: str) -> list[Row]:
        """A list of one object or more."""
        found = self.of(field, list)
        if not found:
            self.refuse(field, found, "be a list of objects, one or more")
        return _rows(f"{self.where}, {field}", found)

    def file(self, path: Path) -> Path:
        """Returns the path of a picture that the row names, which must be there."""
        if not path.is_file():
            raise BenchmarkError(
                f"{self.where}: {path} is not there: unpack the benchmark's pictures there"
            )
        return path

    def refuse(self, field: str, value: object, rule: str) -> NoReturn:
        raise BenchmarkError(f"{self.where}: {field} is {describe(value)}: it must {rule}")

    def _value(self, field: str) -> Any:
        if self.fields.get(field) is None:
            known = ", ".join(map(str, self.fields)) or "nothing"
            raise BenchmarkError(
                f"{self.where}: {field} is missing (the row has {known}): give the benchmark's own file"
            )
        return self.fields[field]


def require_new(seen: dict[Any, str], key: object, row: Row, field: str) -> None:
    """Raises BenchmarkError where an earlier row has the same `key`; `seen` has each key's row."""
    if key in seen:
        raise BenchmarkError(
            f"{row.where}: {field} is {describe(key)}, as in {seen[key]}: give each row its own"
        )
    seen[key] = row.where


def require_characters(where: str, text: str) -> None:
    """Raises BenchmarkError for half of a surrogate pair, which no file and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BenchmarkError(
            f"{where}: {describe(text)} has half of a surrogate pair, which is no character: remove it"
        ) from error


def read_bytes(file: Path) -> bytes:
    """Raises BenchmarkError."""
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"{printable(str(file))} cannot be read ({one_line(error)}): name a file that is there"
        ) from error


def decoded(data: bytes, file: Path) -> str:
    """The text of what `file` holds. Raises BenchmarkError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BenchmarkError(
            f"{file}, line {line}: this is not UTF-8 ({error.reason}): save the file as UTF-8"
        ) from error


def read_text(file: Path) -> str:
    """Raises BenchmarkError."""
    return decoded(read_bytes(file), file)


def read_json(file: Path) -> Any:
    """Raises BenchmarkError."""
    return _parsed(str(file), read_text(file))


def text_lines(file: Path) -> list[Row]:
    """A text a line, as the field `prompt`; empty lines are rows too. Raises BenchmarkError."""
    lines = read_text(file).splitlines()
    return _some(file, [
        Row(f"{file}, line {number}", {"prompt": line}) for number, line in enumerate(lines, 1)
    ])  # fmt: skip


def json_lines(file: Path) -> list[Row]:
    """A JSON object a line; empty lines are none. Raises BenchmarkError."""
    return _some(file, objects_of(read_text(file), file))


def objects_of(text: str, file: Path) -> list[Row]:
    """Likewise of a text that `file` holds; maybe none."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{file}, line {number}"
            rows.append(row_of(where, _parsed(where, line), line.strip()))
    return rows


def json_list(file: Path) -> list[Row]:
    """A list of JSON objects. Raises BenchmarkError."""
    found = read_json(file)
    if not isinstance(found, list):
        raise BenchmarkError(f"{file} holds {describe(found)}: it must be a list of objects")
    return _some(file, _rows(f"{file}, row", found))


def table(file: Path) -> list[Row]:
    """A table with a header, of commas, or of tabs in a .tsv file. Raises BenchmarkError."""
    # The limit is the process's: other readers of tables count on theirs.
    before = csv.field_size_limit(LONGEST)
    try:
        return _table(file)
    finally:
        csv.field_size_limit(before)


def _table(file: Path) -> list[Row]:
    mark = "\t" if file.suffix == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), delimiter=mark, strict=True)
    rows = []
    try:
        for fields in reader:
            rows.append(Row(f"{file}, line {reader.line_num}", fields))
            if None in fields or None in fields.values():
                raise BenchmarkError(
                    f"{rows[-1].where}: it has not as many fields as the header: quote a text that has "
                    "the separator in it, or get the file again"
                )
    except csv.Error as error:
        raise BenchmarkError(
            f"{file}, line {reader.reader.line_num}: it is no table ({one_line(error)}): get the file again"
        ) from error
    return _some(file, rows)


def parquet(file: Path) -> list[Row]:
    """Raises BenchmarkError."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    data = pyarrow.BufferReader(read_bytes(file))
    try:
        found = ParquetFile(data).read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BenchmarkError(
            f"{file} is no Parquet ({one_line(error)}): get the file again"
        ) from error
    return _some(file, _rows(f"{file}, row", found))


def row_of(where: str, found: object, raw: str = "") -> Row:
    """Raises BenchmarkError for what is no JSON object."""
    if not isinstance(found, dict):
        raise BenchmarkError(f"{where}: it is {describe(found)}: it must be a JSON object")
    return Row(where, found, raw)


def _rows(where: str, found: Sequence[object]) -> list[Row]:
    return [row_of(f"{where} {number}", each) for number, each in enumerate(found, 1)]


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(
            f"{where}: it is not JSON ({one_line(error)}): get the file again, or mend it there"
        ) from error


def _some(file: Path, rows: list[Row]) -> list[Row]:
    if not rows:
        raise BenchmarkError(f"{file} has no row: give a file with one or more")
    return rows
