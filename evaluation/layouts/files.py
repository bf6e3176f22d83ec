"""Finds the files of prompts, and says what can be the name of a file.

Invariant: a file that is not given, or a name that no disk takes, is refused in one sentence that names the
fix.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.rows import Row
from evaluation.unicycle import OWN

DATA = Path(__file__).parent / "data"
SOURCES = OWN.parent / "sources"
"""Files of the same benchmarks that UniCycle's set is written over, unchanged."""
MOST_BYTES = 255
"""Of a file's name, on the usual disks."""


def require_given(prompts: Path | None, benchmark: str, what: str) -> Path:
    """Raises BenchmarkError where the prompts of a benchmark that does not ship are not named."""
    if prompts is None:
        raise BenchmarkError(
            f"the prompts of {benchmark} do not ship here, for their licence: give --prompts PATH, {what}"
        )
    return prompts


def inside(prompts: Path, pattern: str, what: str, without: Sequence[str] = ()) -> tuple[Path, ...]:
    """The file `prompts` itself, or those of a folder that match `pattern`, sorted, but those that end in
    `without`. Raises BenchmarkError where there is none."""
    # isdir() says no where Path.is_dir() raises.
    if not os.path.isdir(prompts):  # noqa: PTH112
        return (prompts,)
    every = sorted(prompts.glob(pattern))
    if found := tuple(file for file in every if not file.name.endswith(tuple(without))):
        return found
    raise BenchmarkError(f"--prompts {prompts} has no {pattern}: give {what}")


def digest(files: Sequence[Path]) -> str:
    """sha256 of the files' names and contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def folder_name(row: Row, field: str) -> str:
    """A text that can be a folder. Raises BenchmarkError."""
    value = row.text(field)
    if problem := name_problem(value):
        row.refuse(field, value, f"be the name of a folder, and {problem}")
    return value


def name_problem(name: str) -> str:
    """Why `name` can be no file or folder; empty if it can."""
    if "/" in name or "\0" in name:
        return "it has a slash" if "/" in name else "it has a null character"
    if name in (".", ".."):
        return "it is the name of a folder that is there already"
    size = len(os.fsencode(name))
    return f"it has {size} bytes where a disk takes {MOST_BYTES}" if size > MOST_BYTES else ""
