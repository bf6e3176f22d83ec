"""Answers to a benchmark's questions, one a line of JSON: who wrote them does not matter to the score.

Invariant: a line is whole or not there, and an answer that is kept is never asked for again. A folder is of
one benchmark, one set of data and one model; any other is refused.

    manifest.json    what the answers follow from
    answers.jsonl    {"id": ..., "answer": ..., "model": ...}, as they came
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.retry import patiently
from evaluation.benchmarks.benchmark import BenchmarkError, Part, Question
from evaluation.benchmarks.rows import Row, decoded, objects_of, read_bytes, require_new
from evaluation.tasks.folder import TaskFolder

FILE = "answers.jsonl"


class AnswerFolder:
    """`pause_s` is how long a write waits for a disk that takes none; 0: it fails at once."""

    def __init__(self, path: Path, pause_s: float = 0.0) -> None:
        self.path, self.file = path, path / FILE
        self._pause_s, self._size = pause_s, 0

    def begin(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Begins the answers that `facts` describe, or goes on with them; returns those that are there,
        by id. Raises BenchmarkError, and EvaluationError where the folder holds others."""
        TaskFolder(self.path, self._pause_s).claim(facts)
        whole = b""
        if self.file.is_file():
            # What a kill left of a line that was being written is asked for again.
            before, newline, _ = read_bytes(self.file).rpartition(b"\n")
            whole = before + newline
        self._size = len(whole)
        return _by_id(_rows(whole, self.file))

    def keep(self, id_: str, answer: str, model: str) -> None:
        """Returns when it is on the disk."""
        line = json.dumps({"id": id_, "answer": answer, "model": model}, ensure_ascii=False) + "\n"
        patiently(lambda: self._append(line.encode()), str(self.file), self._pause_s)

    def _append(self, line: bytes) -> None:
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.truncate(self._size)  # without what an earlier try left
            file.seek(self._size)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)


def read_answers(file: Path) -> dict[str, str]:
    """The answers of anybody's file, by id. A last line that was torn by a kill is left out. Raises
    BenchmarkError."""
    found = _by_id(_whole(file))
    if not found:
        raise BenchmarkError(
            f'{file} has no answer: write one JSON object a line, {{"id": ..., "answer": ...}}'
        )
    return found


def answered_by(file: Path) -> list[str]:
    """The models that the file names, likewise."""
    named = (row.get("model") for row in _whole(file))
    return sorted({model for model in named if isinstance(model, str)})


def digest(questions: Sequence[Question]) -> str:
    """The beginning of the sha256 of all that is asked and shown."""
    found, files = hashlib.sha256(), dict[Path, bytes]()
    for each in questions:
        parts = [_part_digest(part, files) for part in each.parts]
        words = [each.id, each.max_tokens, each.enlarged, *parts]
        found.update(json.dumps(words).encode())
    return found.hexdigest()[:16]


def _part_digest(part: Part, files: dict[Path, bytes]) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, bytes):
        return hashlib.sha256(part).hexdigest()
    if part not in files:
        files[part] = hashlib.sha256(read_bytes(part)).digest()
    return files[part].hex()


def _whole(file: Path) -> list[Row]:
    """The rows of a file, without a torn last one."""
    data = read_bytes(file)
    before, newline, last = data.rpartition(b"\n")
    return _rows(before + newline if _torn(last) else data, file)


def _rows(data: bytes, file: Path) -> list[Row]:
    """Each with an answer and an id of its own."""
    rows, seen = objects_of(decoded(data, file), file), dict[str, str]()
    for row in rows:
        require_new(seen, row.of("id", str), row, "id")
        row.of("answer", str)
    return rows


def _by_id(rows: Sequence[Row]) -> dict[str, str]:
    return {row.fields["id"]: row.fields["answer"] for row in rows}


def _torn(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
