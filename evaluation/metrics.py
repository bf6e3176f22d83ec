"""The measurements of a run: metrics.jsonl, one row each, and the same values for Prometheus.

Invariant: the file never holds two rows for the same measurement, nor a torn line. A row's key is
its kind, its version or round, and of a task its name; the first row of a key stays, and the whole
small file is written aside and renamed.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from actors.metrics.catalog import SCORE
from actors.metrics.meter import Meter
from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath, parse_path, run_folder
from evaluation.config import RunSettings
from evaluation.cost import per_winner
from policies.errors import UserError

FILE = "metrics.jsonl"
OF_VERSIONS = ("evaluation", "best", "passes", "twins", "task")
OF_ROUNDS = ("round", "planted", "trust", "step_back", "cost", "learning")
"""What is measured of a closed round: the audit, the Judge on planted pairs, how far it was trusted from
the start, what the weights that it began with made of prompts kept aside, what sampling it took, and what
learning from it."""
Row = dict[str, Any]
_WRITING = threading.Lock()  # taken in a thread, because a full disk may hold the writer


class MetricsError(UserError):
    """A metrics file cannot be read; the message names the file and the line."""


def append_metrics(folder: str | StoragePath, row: Mapping[str, Any], pause_s: float) -> bool:
    """Adds `row` unless its key is there already; returns whether it was added.

    The key is `kind` with `version` for what is measured of one (and `task`), otherwise with `round`.
    While the disk takes no writes it tries again, for at most `pause_s` seconds. Raises MetricsError.
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


async def tell(config: RunSettings, key: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """Adds the row of `key` to the metrics of the run, and exports its values."""
    row, pause_s = {**key, **values}, config.actors.pause_deadline
    await asyncio.to_thread(append_metrics, run_folder(config), row, pause_s)
    show(config.name, values)


def read_metrics(folder: str | StoragePath) -> list[Row]:
    """Returns all rows in the order in which they were added; [] if nothing was measured yet."""
    return read_rows(parse_path(folder) / FILE)


def of_rounds(rows: Iterable[Row]) -> list[tuple[int, Row]]:
    """What was measured of each closed round, in order, all of a round in one row, and what its winners
    cost."""
    found: dict[int, Row] = {}
    for row in rows:
        if row.get("kind") in OF_ROUNDS:
            found.setdefault(row["round"], {}).update(row)
    for row in found.values():
        row |= per_winner(row)
    return sorted(found.items())


def read_rows(file: StoragePath) -> list[Row]:
    """Returns the rows of a JSONL file, without a last line that is still being written; [] if there
    is no file yet.

    Raises MetricsError for a line that is not a JSON object.
    """
    rows: list[Row] = []
    if not storage.exists(file):
        return rows
    for number, line in enumerate(storage.read(file).decode().split("\n")[:-1], 1):
        try:
            rows.append(_object(json.loads(line)))
        except ValueError as error:
            raise MetricsError(
                f"{file} line {number} is not a JSON object ({error}): delete that line."
            ) from error
    return rows


def kept_row(folder: StoragePath, kind: str, round_: int) -> dict[str, float] | None:
    """The values of the row of this kind and round; None if there is none yet."""
    for row in read_metrics(folder):
        if row["kind"] == kind and row["round"] == round_:
            return {name: value for name, value in row.items() if "/" in name}
    return None


def show(run: str, values: Mapping[str, float]) -> None:
    """Exports scores to Prometheus: "drawing/all_right" with category "all", and
    "drawing/all_right/counting" as its category "counting"."""
    meter = Meter(run)
    for key, value in values.items():
        group, measure, *category = key.split("/")
        meter.set(SCORE, value, score=f"{group}/{measure}", category="".join(category) or "all")


def _name(row: Mapping[str, Any]) -> tuple[str, str, int, Any]:
    kind = row.get("kind")
    by = "version" if kind in OF_VERSIONS else "round"
    if not isinstance(kind, str) or not isinstance(row.get(by), int):
        raise MetricsError(
            f"A metrics row needs a kind and a whole number {by!r}; it has {dict(row)!r:.200}."
        )
    return kind, by, row[by], row.get("task")


def _finite(row: Mapping[str, Any]) -> Row:
    """Returns `row` without undefined measurements, because JSON has no NaN."""
    return {k: v for k, v in row.items() if not (isinstance(v, float) and not math.isfinite(v))}


def _object(value: object) -> Row:
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value
