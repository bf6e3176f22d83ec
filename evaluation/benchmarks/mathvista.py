"""MathVista: 1,000 questions of mathematics about pictures (testmini), of a choice or a number.

Lu et al., arXiv 2310.02255. The data are the hub's testmini-*.parquet (or the folder that has it), or the
repository's data folder with testmini.json, query.json and images/. Asked as BAGEL's evaluator asks
(eval/vlm/eval/mathvista/evaluate_mathvista.py): the picture and the `query`, 4,096 tokens. The value is taken
from an answer by a language model, unless it stands there alone (evaluation/extract_answer.py, with its quick
rule), then brought into the form of the right one and compared (evaluation/calculate_score.py). What the
language model is asked is worded anew: the authors' examples are under CC BY-SA.

Invariant: an answer is right if its value is, exactly. The nearest option in letters is the value of a
choice, also where the answer is empty, as by the authors' script; an answer that is missing has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmarks.benchmark import BenchmarkError, Part, Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks
from evaluation.benchmarks.rows import Row, parquet, read_json, require_new, row_of

MAX_TOKENS = 4096
EXTRACT_TOKENS = 64
CHOICE = "multi_choice"
NUMBERS = ("integer", "float")
OWN_GROUPS = ("question_type", "answer_type")
GROUPS = ("language", "source", "category", "task", "context", "grade", "skills")
"""Of the metadata, of which skills is a list."""


@dataclass(frozen=True)
class _Asked:
    id: str
    row: Row
    query: str
    picture: Part
    choices: tuple[str, ...]

    @property
    def doubt(self) -> str:
        return f"{self.id}/value"

    @property
    def kind(self) -> str:
        """Of the answer: that of a choice, or of a free one."""
        fields = self.row.fields
        return CHOICE if fields["question_type"] == CHOICE else str(fields["answer_type"])

    def groups(self) -> Iterator[str]:
        data = self.row.nested("metadata")
        values = {k: self.row.get(k) for k in OWN_GROUPS} | {k: data.get(k) for k in GROUPS}
        for name, value in values.items():
            each = value if isinstance(value, list) else [value]
            yield from (f"{name}/{one}" for one in dict.fromkeys(each) if one)


class MathVista:
    name = "mathvista"
    answered_by = "model"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        return [
            Question(each.id, (each.picture, each.query), MAX_TOKENS)
            for each in _asked(data, pictures=True)
        ]

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return [
            Question(each.doubt, (_extracting(each, answers[each.id]),), EXTRACT_TOKENS)
            for each in _asked(data)
            if each.id in answers and quick_value(answers[each.id], each.kind, each.choices) is None
        ]

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        marks, unasked = Marks(), 0
        for each in _asked(data):
            said, value = answers.get(each.id), None
            if said is not None:
                quick = quick_value(said, each.kind, each.choices)
                found = answers.get(each.doubt) if quick is None else quick
                unasked += found is None
                precision = each.row.get("precision")
                value = normalised(found or "", each.kind, each.choices, precision)
                marks.counted[UNREADABLE] += value is None or not found
            marks.counted[MISSING] += said is None
            marks.add(value == each.row.get("answer"), ["accuracy", *each.groups()])
        if unasked:
            raise BenchmarkError(
                f"{unasked} answers are in words, from which a language model must take the value "
                "(MathVista has no rules for that): give --server and --model"
            )
        groups = {name: value for name, value in marks.groups().items() if name != "accuracy"}
        return Scores({"accuracy": marks.percent("accuracy")}, groups, marks.counted)


def quick_value(answer: str, kind: str, choices: Sequence[str]) -> str | None:
    """Returns the value that stands alone in an answer of that kind, or in quotes after "The answer is";
    None where a language model must look for it."""
    if not answer or (kind == CHOICE and answer in choices):
        return answer
    number = {"integer": int, "float": float}.get(kind)
    if number:
        with suppress(ValueError):
            return str(number(answer))
    quoted = re.search(r'The answer is "(.*)"\.', answer)
    return quoted[1] if quoted else None


def normalised(value: str, kind: str, choices: Sequence[str], precision: Any) -> str | None:
    """Returns a value in the form of the right answers; None where it has not that form."""
    if kind == CHOICE:
        value = value.strip()
        if lettered := re.findall(r"\(([a-zA-Z])\)", value):
            value = lettered[0].upper()
        letters = [chr(ord("A") + place) for place in range(len(choices))]
        if value in letters:
            return choices[letters.index(value)]
        return min(choices, key=lambda choice: edit_distance(value, choice))
    if kind not in NUMBERS:
        return value
    try:
        number = float(value)
        return str(int(number) if kind == "integer" else round(number, int(precision)))
    except (ValueError, OverflowError):
        return None


def edit_distance(one: str, other: str) -> int:
    """The least number of letters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row = row, [i]
        for j, its in enumerate(other):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != its)))
    return row[-1]


def _asked(data: Path, pictures: bool = False) -> list[_Asked]:
    found, seen = list[_Asked](), dict[str, str]()
    for row in _rows(data):
        name = row.text("pid")
        require_new(seen, name, row, "pid")
        row.text("answer")
        row.nested("metadata")
        choices = tuple(map(str, row.get("choices") or ()))
        if row.text("question_type") == CHOICE and len(choices) < 2:
            row.refuse("choices", choices, "have two or more")
        if row.text("answer_type") == "float" and not isinstance(row.get("precision"), int | float):
            row.refuse("precision", row.get("precision"), "be the number of an answer's decimals")
        shown = _picture(row, data if data.is_dir() else data.parent) if pictures else ""
        found.append(_Asked(name, row, row.text("query"), shown, choices))
    return found


def _picture(row: Row, folder: Path) -> Part:
    if row.get("decoded_image") is not None:
        return row.nested("decoded_image").of("bytes", bytes)
    return row.file(folder / row.text("image"))


def _rows(data: Path) -> Iterator[Row]:
    if data.suffix == ".json" or (data / "testmini.json").is_file():
        yield from _of_repository(data if data.suffix == ".json" else data / "testmini.json")
        return
    files = sorted(data.rglob("testmini-*.parquet")) if data.is_dir() else [data]
    if not files:
        raise BenchmarkError(
            f"{data} has neither testmini-*.parquet nor testmini.json: name the folder of one of them"
        )
    for file in files:
        yield from parquet(file)


def _of_repository(file: Path) -> Iterator[Row]:
    """Whose queries stand in a file of their own."""
    rows, queries = read_json(file), read_json(file.with_name("query.json"))
    if not isinstance(rows, dict) or not isinstance(queries, dict):
        raise BenchmarkError(f"{file} and its query.json must be JSON objects: get them again")
    for name, found in rows.items():
        row = row_of(f"{file}, {name}", found)
        yield Row(row.where, {"pid": name, "query": queries.get(name), **row.fields})


def _extracting(each: _Asked, answer: str) -> str:
    """What a language model is asked; the words and the examples are our own."""
    return (
        "A question and somebody's answer follow. Write down the value that the answer comes to, in the "
        "form that the question's hint asks for: a letter, a number or a Python list, without words and "
        "without a unit. Write nothing if it comes to none.\n\n"
        "Examples:\n"
        "So there must be 9 marbles in the jar. -> 9\n"
        "Rounded to one place, the slope is about 0.7. -> 0.7\n"
        "The two bars that differ most are those of 2011 and 2014. -> [2011, 2014]\n"
        "That leaves 5/8 of the circle, which is option (C). -> C\n\n"
        f"{each.query}\n\nAnswer: {answer}\n\nValue:"
    )


BENCHMARK = MathVista()
