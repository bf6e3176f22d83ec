"""The numbers of a run: metrics.jsonl, one row a measurement, and the same for Prometheus.

Invariant: the file never holds two rows for the same thing measured, nor a torn line: a row is
named by its kind and its version or round, the first row of a name stays, and the whole small
file is written aside and renamed.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from typing import Any

from actors.metrics.catalog import SCORE
from actors.metrics.meter import Meter
from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath, parse_path
from policies.errors import UserError

FILE = "metrics.jsonl"
Row = dict[str, Any]
_WRITING = threading.Lock()  # a full disk may keep a writer waiting, so it waits in a thread


class MetricsError(UserError):
    """A metrics file that cannot be read; the message names the file and the line."""


def append_metrics(folder: str | StoragePath, row: Mapping[str, Any], pause_s: float) -> bool:
    """Adds `row` unless its name is there already; says whether it was added. A disk that takes no
    writes is waited for, for `pause_s` seconds at most.

    The name is `kind` with `version` for an evaluation, else with `round`.
    """
    name = _name(row)
    with _WRITING:
        rows = read_metrics(folder)
        if any(_name(known) == name for known in rows):
            return False
        lines = [json.dumps(each, allow_nan=False) + "\n" for each in [*rows, _finite(row)]]
        data = "".join(lines).encode()
        patiently(lambda: storage.write(parse_path(folder) / FILE, data), FILE, pause_s)
    return True


def read_metrics(folder: str | StoragePath) -> list[Row]:
    """All rows in the order in which they were added; none for a run that has measured nothing."""
    file = parse_path(folder) / FILE
    return read_rows(file) if storage.exists(file) else []


def read_rows(file: StoragePath) -> list[Row]:
    """The rows of a JSONL file; a last line that is still being written is left out.

    Raises MetricsError.
    """
    rows = []
    for number, line in enumerate(storage.read(file).decode().split("\n")[:-1], 1):
        try:
            rows.append(_object(json.loads(line)))
        except ValueError as error:
            raise MetricsError(
                f"{file} line {number} is not a JSON object ({error}): delete that line."
            ) from error
    return rows


def show(run: str, values: Mapping[str, float]) -> None:
    """Tells Prometheus: "drawing/all_right" is the whole, "drawing/all_right/counting" one category
    of it."""
    meter = Meter(run)
    for key, value in values.items():
        group, measure, *category = key.split("/")
        meter.set(SCORE, value, score=f"{group}/{measure}", category="".join(category) or "all")


def _name(row: Mapping[str, Any]) -> tuple[str, str, int]:
    kind = row.get("kind")
    by = "version" if kind == "evaluation" else "round"
    if not isinstance(kind, str) or not isinstance(row.get(by), int):
        raise MetricsError(
            f"A metrics row needs a kind and a whole number {by!r}; it has {dict(row)!r:.200}."
        )
    return kind, by, row[by]


def _finite(row: Mapping[str, Any]) -> Row:
    """JSON knows no NaN: a measurement that is not defined is left out."""
    return {k: v for k, v in row.items() if not (isinstance(v, float) and not math.isfinite(v))}


def _object(value: object) -> Row:
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value
