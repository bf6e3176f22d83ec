"""The folder of one evaluation: what was drawn and answered, and what it came to.

Invariant: a drawing and the answers about it are whole or not there, and are made once. The folder is
of one task, one set of instances, one version and one inference setting; any other is refused. Judges
may follow one another: each has a folder of its own for its verdicts.

    manifest.json           what the drawings and answers follow from
    drawings/ID.png         one drawing of each instance
    answers/ID.json         the answers to its questions; null where there is no drawing
    by-JUDGE/samples.jsonl  every instance with its questions, answers and verdicts
    by-JUDGE/summary.json   the scores with their intervals, and what was counted
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath
from policies.errors import UserError, describe, one_line
from policies.interface import Picture
from policies.pictures import png

MANIFEST, SAMPLES, SUMMARY = "manifest.json", "samples.jsonl", "summary.json"


class EvaluationError(UserError):
    """A folder that cannot be gone on with; the message names the file and the fix."""


class TaskFolder:
    """`pause_s` is how long a write waits for a disk that takes none; 0: it fails at once."""

    def __init__(self, path: StoragePath, pause_s: float = 0.0) -> None:
        self.path, self.pause_s = path, pause_s

    def claim(self, facts: Mapping[str, Any], noted: Collection[str] = ()) -> None:
        """Begins the evaluation that `facts` describe, or goes on with it. Raises EvaluationError
        where the folder holds another one; facts that are only `noted` stand there as they were when it
        began, and may be others by now."""
        file, now = self.path / MANIFEST, json.loads(json.dumps(facts))
        if not storage.exists(file):
            self._write(file, _json(now))
            return
        then = self._object(file)
        for name in sorted({*then, *now} - set(noted)):
            if then.get(name) != now.get(name):
                raise EvaluationError(
                    f"{self.path} holds another evaluation: {name} is {describe(then.get(name))} there "
                    f"and {describe(now.get(name))} here; give another --output, or delete the folder"
                )

    def drawn(self, name: str) -> bool:
        return storage.exists(self._drawing(name))

    def keep_drawing(self, name: str, picture: Picture) -> None:
        self._write(self._drawing(name), png(picture))

    def drawing(self, name: str) -> Picture:
        """Raises EvaluationError for a file that cannot be read."""
        file = self._drawing(name)
        try:
            with Image.open(io.BytesIO(storage.read(file))) as image:
                return Picture(np.asarray(image.convert("RGB")))
        except (OSError, ValueError, SyntaxError) as error:
            raise EvaluationError(
                f"{file} cannot be read ({one_line(error)}): delete it, and it is drawn again"
            ) from error

    def answered(self, name: str) -> bool:
        return storage.exists(self._answers(name))

    def keep_answers(self, name: str, answers: list[str] | None) -> None:
        self._write(self._answers(name), json.dumps(answers).encode())

    def answers(self, name: str, count: int) -> list[str] | None:
        """Returns the answers to `count` questions; None where there was no drawing to ask about.
        Raises EvaluationError."""
        file = self._answers(name)
        try:
            found: Any = json.loads(storage.read(file))
        except ValueError as error:
            raise EvaluationError(f"{file} is damaged: delete it, and it is asked again") from error
        texts = isinstance(found, list) and all(isinstance(each, str) for each in found)
        if found is not None and not (texts and len(found) == count):
            raise EvaluationError(
                f"{file} has not {count} answers: delete it, and it is asked again"
            )
        answers: list[str] | None = found
        return answers

    def result(self, judge: str) -> StoragePath:
        """Where the verdicts of a judge go: its name, and what tells it from another that reads so, where
        that does not do as the name of a file."""
        plain = "".join(c if c.isalnum() or c in "-." else "-" for c in judge)
        apart = "" if plain == judge else f"-{hashlib.sha256(judge.encode()).hexdigest()[:6]}"
        return self.path / f"by-{plain}{apart}"

    def keep_result(
        self, judge: str, samples: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]
    ) -> StoragePath:
        """Returns the file of the summary, which is written last."""
        folder = self.result(judge)
        lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in samples]
        self._write(folder / SAMPLES, "".join(lines).encode())
        self._write(folder / SUMMARY, _json(summary))
        return folder / SUMMARY

    def samples(self, result: StoragePath) -> list[dict[str, Any]]:
        """Returns what `keep_result` kept in `result`, an instance each. Raises EvaluationError."""
        return read_samples(result / SAMPLES)

    def summary(self, result: StoragePath) -> dict[str, Any]:
        """Likewise the scores, and what was counted."""
        return self._object(result / SUMMARY)

    def manifest(self) -> dict[str, Any]:
        """What `claim` noted. Raises EvaluationError."""
        return self._object(self.path / MANIFEST)

    def _write(self, file: StoragePath, data: bytes) -> None:
        patiently(lambda: storage.write(file, data), str(file), self.pause_s)

    def _drawing(self, name: str) -> StoragePath:
        return self.path / "drawings" / f"{name}.png"

    def _answers(self, name: str) -> StoragePath:
        return self.path / "answers" / f"{name}.json"

    def _object(self, file: StoragePath) -> dict[str, Any]:
        try:
            found = json.loads(storage.read(file))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EvaluationError(f"{file} is damaged: delete the folder to begin anew")
        return found


def runs(there: Sequence[bool]) -> Iterator[range]:
    """The places of what is not there, consecutive ones together."""
    begin = 0
    for place, is_there in enumerate([*there, True]):
        if is_there:
            if place > begin:
                yield range(begin, place)
            begin = place + 1


def read_samples(file: StoragePath) -> list[dict[str, Any]]:
    """The instances of a samples.jsonl. Raises EvaluationError."""
    try:
        # Not splitlines: an answer may hold what else Unicode calls the end of a line.
        return [json.loads(line) for line in storage.read(file).decode().split("\n") if line]
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{file} cannot be read ({one_line(error)}): name the {SAMPLES} of a judge, or evaluate "
            "again, which makes it anew"
        ) from error


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
