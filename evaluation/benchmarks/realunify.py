"""RealUnify: whether understanding helps a unified model to draw (UEG), and drawing to understand (GEU).

Shi et al., arXiv 2509.24897. The data are one of its four files: UEG_direct.json and UEG_step.json, whose
drawings a judge is asked yes-or-no questions about, and GEU_direct.json and GEU_step.json, whose questions of
a choice the model answers. Drawings are DRAWN/N.png of the file's N-th row, from 0: for UEG what was drawn,
for GEU_step.json the picture as the model edited it, which is shown in place of the row's `image`. Scored by
eval/eval_generation.py and eval/eval_understanding.py: a drawing counts only if all of its answers are right,
a choice by the first letter. The authors leave the judge open and recommend Gemini 2.5 Pro; what it is asked
is worded anew.

Invariant: a drawing that is not there is wrong, and nobody is asked about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.benchmarks.benchmark import BenchmarkError, Part, Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks
from evaluation.benchmarks.rows import Row, json_list, parquet

JUDGE_TOKENS = 16
MAX_TOKENS = 1024
"""Of an answer to GEU, as lmms-eval has it; the authors name none."""
LETTERS = "ABCD"
LEADS = ("Best answer:", "Best option:", "Answer")
"""Words with a capital that is no option's letter."""
LIST = "question_list"


@dataclass(frozen=True)
class _Asked:
    """A row. `truths` are by the id of each question that is asked of it."""

    number: int
    row: Row
    truths: Mapping[str, str]
    texts: Mapping[str, str]

    @property
    def judged(self) -> bool:
        return LIST in self.row.fields

    def drawing(self, drawn: Path) -> Path:
        return drawn / f"{self.number}.png"


class RealUnify:
    name = "realunify"
    answered_by = "either"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        found = []
        for each in _asked(data):
            if each.judged and not each.drawing(_require(drawn, data)).is_file():
                continue
            picture, tokens = (
                _picture(each, data, drawn),
                JUDGE_TOKENS if each.judged else MAX_TOKENS,
            )
            found += [Question(id_, (picture, text), tokens) for id_, text in each.texts.items()]
        return found

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return ()

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        marks = Marks()
        for each in _asked(data):
            task = each.row.text("task_type")
            there = not each.judged or each.drawing(_require(drawn, data)).is_file()
            said = {id_: answers.get(id_) for id_ in each.truths if there}
            reader = read_yes_no if each.judged else read_letter
            read = {id_: reader(text) for id_, text in said.items() if text is not None}
            marks.counted["not drawn"] += not there
            marks.counted[MISSING] += len(said) - len(read)
            marks.counted[UNREADABLE] += sum(not label for label in read.values())
            marks.add(read == each.truths, ["accuracy", task])
        groups = {name: value for name, value in marks.groups().items() if name != "accuracy"}
        return Scores({"accuracy": marks.percent("accuracy")}, groups, marks.counted)


def read_yes_no(answer: str) -> str:
    """Returns "yes" where the answer has it anywhere, else "no" where it has that, else nothing."""
    text = answer.lower()
    return "yes" if "yes" in text else "no" if "no" in text else ""


def read_letter(answer: str) -> str:
    """Returns the first A, B, C or D, or nothing."""
    for lead in LEADS:
        answer = answer.replace(lead, "")
    found = re.search(f"[{LETTERS}]", answer)
    return found[0] if found else ""


def _asked(data: Path) -> list[_Asked]:
    rows = parquet(data) if data.suffix == ".parquet" else json_list(data)
    return [_Asked(number, row, *_of(row, number)) for number, row in enumerate(rows)]


def _of(row: Row, number: int) -> tuple[dict[str, str], dict[str, str]]:
    """The right answers and the texts of a row's questions, by id."""
    if LIST not in row.fields:
        id_, truth = str(number), row.text("answer").strip()
        if truth not in tuple(LETTERS):
            row.refuse("answer", truth, f"be one of {', '.join(LETTERS)}")
        return {id_: truth}, {id_: row.text("evaluation_prompt")}
    truths, texts = {}, {}
    for place, each in enumerate(row.nested_list(LIST)):
        id_, truth = f"{number}/{place}", each.text("answer").strip().lower()
        if truth not in ("yes", "no"):
            each.refuse("answer", truth, "be yes or no")
        truths[id_] = truth
        texts[id_] = (
            f"Look at the picture. {each.text('question')}\nReply with yes or no and nothing else."
        )
    return truths, texts


def _picture(each: _Asked, data: Path, drawn: Path | None) -> Part:
    if drawn is not None:
        return each.row.file(each.drawing(drawn))
    if isinstance(each.row.get("image"), dict):
        return each.row.nested("image").of("bytes", bytes)
    return each.row.file(data.parent / each.row.text("image"))


def _require(drawn: Path | None, data: Path) -> Path:
    if drawn is None:
        raise BenchmarkError(
            f"{data} asks a judge about drawings: give the folder of them, --drawn"
        )
    return drawn


BENCHMARK = RealUnify()
