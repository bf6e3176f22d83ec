"""MMMU: 900 questions of 30 college subjects (the validation set), with up to seven pictures each.

Yue et al., arXiv 2311.16502. The data are the hub's folder with a subject a folder, of which the files
validation-*.parquet are read; the right answers are those of its repository (mmmu/answer_dict_val.json,
which ships here). Asked as BAGEL's evaluator asks (eval/vlm/eval/mmmu/evaluate_mmmu.py, as InternVL's): the
pictures, the first at twice its size, then the question with its "<image N>" left in, the options by letter
and one of two endings, 10 tokens. Read and scored by the rules of mmmu/utils/eval_utils.py, except for its
random choice where no rule finds an option: that is wrong here and counted, and "accuracy with guesses" has
what such choices come to in the mean.

Invariant: all 900 questions are scored, whoever answered how many.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks, percent
from evaluation.benchmarks.mmmu.parsing import matches, read_choice, read_open
from evaluation.benchmarks.rows import Row, parquet, require_new

TRUTHS = Path(__file__).parent / "data" / "answer_dict_val.json"
DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy", "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics",
        "Energy_and_Power", "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
CHOICE = "multiple-choice"
ENDINGS = {
    CHOICE: "Answer with the option's letter from the given choices directly.",
    "open": "Answer the question using a single word or phrase.",
}
MAX_TOKENS = 10
PICTURES = tuple(f"image_{number}" for number in range(1, 8))
LETTERS = "ABCDEFGHIJKLM"


@dataclass(frozen=True)
class _Asked:
    """A row, whose `options` have their letters; none for an open question."""

    id: str
    text: str
    options: Mapping[str, str]
    pictures: tuple[bytes, ...]

    @property
    def groups(self) -> tuple[str, str]:
        subject = "_".join(self.id.split("_")[1:-1])
        return next(domain for domain, of in DOMAINS.items() if subject in of), subject


class Mmmu:
    name = "mmmu"
    answered_by = "model"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        return [
            Question(each.id, (*each.pictures, _text(each)), MAX_TOKENS, enlarged=2)
            for each in _asked(data, pictures=True)
        ]

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return ()

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        marks, guessed = Marks(), 0.0
        for each in _asked(data):
            said, truth = answers.get(each.id), _truths()[each.id]["ground_truth"]
            accepted = truth if isinstance(truth, list) else [truth]
            letter = read_choice(said or "", each.options)
            unread = bool(each.options) and said is not None and not letter
            right = letter in accepted
            if not each.options and said is not None:
                right = matches(read_open(said), accepted)
            marks.counted[MISSING] += said is None
            marks.counted[UNREADABLE] += unread
            guessed += unread / max(1, len(each.options))
            marks.add(right, each.groups)
        right_ones = sum(marks.right[domain] for domain in DOMAINS)
        asked = marks.counted["questions"]
        overall = {
            "accuracy": percent(right_ones, asked),
            "accuracy with guesses": percent(right_ones + guessed, asked),
        }
        groups = {name: marks.percent(name) for of in DOMAINS.items() for name in (of[0], *of[1])}
        return Scores(overall, groups, marks.counted)


def _asked(data: Path, pictures: bool = False) -> list[_Asked]:
    files = sorted(data.rglob("validation-*.parquet")) if data.is_dir() else [data]
    found, seen = list[_Asked](), dict[str, str]()
    for row in (row for file in files for row in parquet(file)):
        name = row.text("id")
        require_new(seen, name, row, "id")
        if name not in _truths():
            raise BenchmarkError(
                f"{row.where}: {name!r} is no question of the validation set: name a folder with the "
                "validation-*.parquet of the 30 subjects"
            )
        shown = _pictures(row) if pictures else ()
        found.append(_Asked(name, row.text("question"), _options(row), shown))
    if missing := sorted(_truths().keys() - seen.keys()):
        raise BenchmarkError(
            f"{data} has {len(found)} of MMMU's {len(_truths())} validation questions, and not "
            f"{missing[0]}: get the validation-*.parquet of all 30 subjects from the hub"
        )
    return found


def _options(row: Row) -> dict[str, str]:
    """None for an open question, whatever stands there."""
    if row.one_of("question_type", tuple(ENDINGS)) != CHOICE:
        return {}
    said = row.text("options")
    try:
        options = ast.literal_eval(said)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        options = None
    texts = isinstance(options, list) and all(isinstance(each, str) for each in options)
    if not texts or not 2 <= len(options) <= len(LETTERS):
        row.refuse("options", said, f"be a list of 2 to {len(LETTERS)} texts")
    return dict(zip(LETTERS, options, strict=False))


def _pictures(row: Row) -> tuple[bytes, ...]:
    names = [name for name in PICTURES if row.get(name) is not None]
    return tuple(row.nested(name).of("bytes", bytes) for name in names)


def _text(each: _Asked) -> str:
    options = [f"{letter}. {option.strip()}" for letter, option in each.options.items()]
    ending = ENDINGS[CHOICE if options else "open"]
    return "\n".join([each.text.strip(), *options, ending])


@cache
def _truths() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(TRUTHS.read_text())
    return found


BENCHMARK = Mmmu()
