"""TIIF-Bench (Wei et al., arXiv 2506.02161): yes-or-no questions about a drawing, by nine groups of prompts.

Invariant: by the official scripts (eval/eval_with_vlm.py, summary_results.py,
summary_dimension_results.py) a type's accuracy is its right answers over its questions, a group is the
mean of its types, and overall is the mean of the nine groups, apart for short and for long prompts. One
reply answers all questions of a picture, or none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.drawings import UNANSWERED, DrawingBenchmark, Place
from evaluation.benchmarks.rows import json_lines

GROUPS = {
    "attribute": ("shape+color", "color+texture", "texture+color", "shape+texture"),
    "relation": ("2d_spatial_relation", "3d_spatial_relation", "action+2d", "action+3d"),
    "reasoning": ("numeracy", "negation", "differentiation", "comparison"),
    "attribute+relation": (
        "action+color", "action+texture", "color+2d", "color+3d",
        "shape+2d", "shape+3d", "texture+2d", "texture+3d",
    ),
    "attribute+reasoning": (
        "numeracy+color", "numeracy+texture", "comparison+color", "comparison+texture",
        "differentiation+color", "differentiation+texture", "negation+color", "negation+texture",
    ),
    "relation+reasoning": (
        "numeracy+2d", "numeracy+3d", "comparison+2d", "comparison+3d",
        "differentiation+2d", "differentiation+3d", "negation+2d", "negation+3d",
    ),
    "text": ("text",),
    "style": ("style",),
    "real world": ("real_world",),
}  # fmt: skip
"""The nine: three basic, five advanced, one of real designers' prompts."""
KINDS = tuple(kind for kinds in GROUPS.values() for kind in kinds)
LENGTHS = ("short", "long")
QUESTIONS = "_eval_prompts"
DEFAULT_SPLIT = "testmini"
"""Of a whole checkout: the split that papers report."""
MAX_TOKENS = 2048
"""The official script sets none; 22 questions are the most, each with a reason."""
ASKED = """\
Look closely at the picture, as a critic would, and answer these yes-or-no questions about it:

{questions}

Write one line for each question, in their order: begin it with "yes" or "no", then say why in a few \
words. Answer each question once, {count} in all, each on a line of its own, and write nothing else.
"""
SAID = re.compile(r"(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True)
class TiifItem:
    """What is asked about the drawing of a type's prompt number `index`, from 0, in one length."""

    id: str
    kind: str
    length: str
    index: int
    questions: tuple[str, ...]
    right: tuple[str, ...]
    """"yes" or "no" to each question."""


Accuracies = dict[str, float]


class Tiif(DrawingBenchmark[TiifItem, int]):
    """`data` is a checkout, of which testmini is taken, or the folder of one split's questions, such as
    data/test_eval_prompts. A mark is how many questions of a picture were answered right."""

    name = "tiif"
    layout = (
        "TYPE/MODEL/short_description/0.png and TYPE/MODEL/long_description/0.png, with one MODEL"
    )
    suffixes = (".png", ".jpg", ".jpeg", ".webp")

    def items(self, data: Path) -> list[TiifItem]:
        folder = data
        if not any(data.glob(f"*{QUESTIONS}.jsonl")):
            folder = data / "data" / f"{DEFAULT_SPLIT}{QUESTIONS}"
        if not folder.is_dir():
            raise BenchmarkError(
                f"{data} has no *{QUESTIONS}.jsonl: name the folder of a checkout of TIIF-Bench, or the "
                "folder of one split's questions in it, such as data/test_eval_prompts"
            )
        split = folder.name.removesuffix(QUESTIONS)
        found = []
        for kind in KINDS:
            asked = asked_in(folder / f"{kind}{QUESTIONS}.jsonl")
            found += [
                TiifItem(f"{split}-{kind}-{length}-{index:03d}", kind, length, index, *each)
                for length in LENGTHS
                for index, each in enumerate(asked)
            ]
        return found

    def places(self, drawn: Path, items: Sequence[TiifItem]) -> Iterable[Place]:
        models = {
            file.name
            for kind in KINDS
            for file in (drawn / kind).glob("[!.]*")
            if file.is_dir()
        }  # fmt: skip
        if len(models) > 1:
            raise BenchmarkError(
                f"{drawn} has drawings of {', '.join(sorted(models))}: name a folder of one model's"
            )
        for model in models:
            for each in items:
                folder = drawn / each.kind / model / f"{each.length}_description"
                yield Place(each.id, folder, str(each.index))

    def ask(self, item: TiifItem, picture: Path) -> Question:
        text = ASKED.format(questions="\n".join(item.questions), count=len(item.questions))
        return Question(item.id, (text, picture), MAX_TOKENS)

    def mark(self, item: TiifItem, reply: str) -> int | None:
        said = answers(reply, len(item.questions))
        if said is None:
            return None
        return sum(a == b for a, b in zip(said, item.right, strict=True))

    def scores(
        self,
        items: Sequence[TiifItem],
        marks: Mapping[str, int | None],
        counted: Mapping[str, int],
    ) -> Scores:
        overall: dict[str, float] = {}
        groups: dict[str, float] = {}
        for length in LENGTHS:
            own = [each for each in items if each.length == length]
            of_all = [(each, marks.get(each.id)) for each in own]
            answered = [(each, mark) for each, mark in of_all if mark is not None]
            found = _groups(answered)
            groups |= {f"{group}, {length}": value for group, value in found.items()}
            if found:  # the official mean, too, is over the groups that there are
                overall[length] = fmean(found.values())
            at_least = _groups([(each, mark or 0) for each, mark in of_all])
            overall[f"{length}, {UNANSWERED}"] = fmean(at_least.values())
        return Scores(overall, groups, counted)


def answers(reply: str, count: int) -> list[str] | None:
    """Returns "yes" or "no" to each of `count` questions: lines that begin otherwise are passed over.
    None where there are not as many, for then it is open which question is answered."""
    lines = (SAID.match(line.strip()) for line in reply.split("\n"))
    found = [said[1].lower() for said in lines if said]
    return found if len(found) == count else None


def _groups(marked: Iterable[tuple[TiifItem, int]]) -> dict[str, float]:
    """The groups' scores from 0 to 100, of those that have an item."""
    right, asked = Counter[str](), Counter[str]()
    for item, mark in marked:
        right[item.kind] += mark
        asked[item.kind] += len(item.questions)
    return {
        group: 100 * fmean(right[kind] / asked[kind] for kind in kinds if asked[kind])
        for group, kinds in GROUPS.items()
        if any(asked[kind] for kind in kinds)
    }


class Asked(NamedTuple):
    """Of one prompt; `right` is "yes" or "no" to each question."""

    questions: tuple[str, ...]
    right: tuple[str, ...]


def asked_in(file: Path) -> list[Asked]:
    """What is asked of a type's prompts, in their order. Raises BenchmarkError."""
    found = []
    for row in json_lines(file):
        questions = tuple(each.strip() for each in row.texts("yn_question_list"))
        right = tuple(each.strip().lower() for each in row.texts("yn_answer_list"))
        if len(right) != len(questions) or set(right) - {"yes", "no"}:
            row.refuse("yn_answer_list", list(right), f"be {len(questions)} times yes or no")
        found.append(Asked(questions, right))
    return found


BENCHMARK = Tiif()
