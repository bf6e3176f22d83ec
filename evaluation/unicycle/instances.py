"""Instances: prompts with the questions that UniCycle asks about their drawings, kept as JSONL.

Invariant: an instance that was constructed can be asked and scored: it has questions, a choice has
its answer among its options, a text question has keywords. A file is read whole or refused with one
sentence that names the file, the line, the field and the fix; no two of its instances share an id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.rows import json_lines, require_new
from evaluation.unicycle.rules import LETTERS, normalise_answer
from policies.errors import describe

Kind = Literal["choice", "yes_no", "open", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
FIELDS = {"id", "kind", "prompt", "questions"}
ASKED = {"kind", "text", "options", "answer", "keywords"}
ID_LENGTH = 200
TEXT = "be a text that is not empty and has no half of a surrogate pair"
SURROGATE = re.compile("[\ud800-\udfff]")


class InstanceError(BenchmarkError, ValueError):
    """An instance that cannot be asked or scored; the message names the field and the fix."""


@dataclass(frozen=True)
class Question:
    """`answer` is the reference: of a choice the text of an option, of a text question all of its
    words, which `keywords` names one by one."""

    kind: Kind
    text: str
    answer: str
    options: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(self.kind in KINDS, "kind", self.kind, f"be one of {', '.join(KINDS)}")
        for field in ("text", "answer"):
            value = getattr(self, field)
            _require(_is_text(value), field, value, TEXT)
        for field in ("options", "keywords"):
            value = getattr(self, field)
            _require(all(map(_is_text, value)), field, value, "be a list of texts")
        if self.kind == "choice":
            known = [normalise_answer(option) for option in self.options]
            rule = f"be 2 to {len(LETTERS)} different texts, the answer among them"
            right = 2 <= len(set(known)) == len(known) <= len(LETTERS)
            _require(right and self.answer in self.options, "options", self.options, rule)
        if self.kind == "yes_no":
            _require(self.answer in ("yes", "no"), "answer", self.answer, "be yes or no")
        if self.kind == "text":
            readable = any(map(normalise_answer, self.keywords))
            _require(readable, "keywords", self.keywords, "name the words that must be read")


@dataclass(frozen=True)
class Instance:
    """`kind` is what the prompt tests, such as "color": the judge's TASK_TYPE."""

    id: str
    kind: str
    prompt: str
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        for field in ("id", "kind", "prompt"):
            value = getattr(self, field)
            _require(_is_text(value), field, value, TEXT)
        plain = self.id.isascii() and self.id.isprintable() and not set(self.id) & set('/\\<>:"|?*')
        rule = f"do as the name of a file, with at most {ID_LENGTH} characters"
        _require(plain and self.id[0] != "." and len(self.id) <= ID_LENGTH, "id", self.id, rule)
        _require(bool(self.questions), "questions", [], "have one question or more")


def read(path: Path) -> list[Instance]:
    """Returns the instances of a JSONL file. Raises BenchmarkError."""
    found, seen = list[Instance](), dict[str, str]()
    for row in json_lines(path):
        try:
            found.append(parsed(row.fields))
        except InstanceError as error:
            raise InstanceError(f"{row.where}: {error}") from None
        require_new(seen, found[-1].id, row, "id")
    return found


def parsed(row: Mapping[str, Any]) -> Instance:
    """Returns the instance that `row` says. Raises InstanceError."""
    _require_fields(row, FIELDS, FIELDS)
    _require(isinstance(row["questions"], list), "questions", row["questions"], "be a list")
    asked = []
    for number, each in enumerate(row["questions"], 1):
        try:
            asked.append(_question(each))
        except InstanceError as error:
            raise InstanceError(f"question {number}: {error}") from None
    return Instance(row["id"], row["kind"], row["prompt"], tuple(asked))


def written(instances: Iterable[Instance]) -> str:
    """Returns the JSONL text of `instances`, which `read` reads; the same for the same instances."""
    return "".join(json.dumps(_row(each), ensure_ascii=False) + "\n" for each in instances)


def digest(instances: Iterable[Instance]) -> str:
    """Returns the beginning of the sha256 of what `instances` say."""
    return hashlib.sha256(written(instances).encode()).hexdigest()[:16]


def _row(instance: Instance) -> dict[str, Any]:
    asked = [{k: v for k, v in vars(each).items() if v} for each in instance.questions]
    return {**vars(instance), "questions": asked}


def _question(row: Any) -> Question:
    _require(isinstance(row, Mapping), "it", row, "be a JSON object")
    _require_fields(row, {"kind", "text", "answer"}, ASKED)
    lists = {}
    for field in ("options", "keywords"):
        value = row.get(field, [])
        _require(isinstance(value, list), field, value, "be a list of texts")
        lists[field] = tuple(value)
    return Question(row["kind"], row["text"], row["answer"], **lists)


def _require_fields(row: Mapping[str, Any], needed: set[str], known: set[str]) -> None:
    if missing := sorted(needed - set(row)):
        raise InstanceError(f"{missing[0]} is missing: it needs {', '.join(sorted(needed))}")
    if unknown := sorted(set(row) - known):
        raise InstanceError(f"{unknown[0]!r} is unknown: it may have {', '.join(sorted(known))}")


def _require(condition: bool, field: str, value: object, rule: str) -> None:
    if not condition:
        raise InstanceError(f"{field} is {describe(value)}: it must {rule}")


def _is_text(value: object) -> bool:
    """A surrogate, which JSON may hold, is no character: no file and no tokenizer takes it."""
    return isinstance(value, str) and bool(value.strip()) and not SURROGATE.search(value)
