"""T2I-CompBench as SRUM scores it (Jin et al., arXiv 2510.12784): a judge grades each drawing from 0 to 100.

Invariant: by SRUM's scripts (CompBench_eval/qwen_eval.py and qwen_eval.sh, calculate_mean.py) a category
is the mean over its judged drawings, in which a reply that cannot be read is -1; the three complex
categories make one mean, and overall is the mean of that and of the seven others. UniCorn's paper reports
this, and not the detectors of T2I-CompBench (arXiv 2307.06350).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from actors.roles.answers import parse_object
from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.drawings import UNANSWERED, DrawingBenchmark, Place
from evaluation.benchmarks.rows import json_list, require_new

BASE = ("color", "shape", "texture", "spatial", "non-spatial", "numeracy", "3d_spatial")
COMPLEX = ("complex", "complex_action", "complex_spatial")
COMPOSITE = "complex, mean of three"
OFFICIAL = "official, unparsable as -1"
PROMPTS = "val_comp.json"
RESTORE = f"restore {PROMPTS} of a checkout of SRUM"
VARIANTS = ("_50_think", "_50_no_think")
MAX_TOKENS = 512
UNREAD = -1.0
BEST = 100
ASKED = """\
How well does the picture match this text: "{prompt}"? Look at the things in it and their attributes, such \
as color, shape and texture, at where they are, and at what they do to each other. Score it from 0 to 100:
81-100: it matches the text in everything.
61-80: most actions, events and relations are there, with small differences.
41-60: some elements of the text are there, and key parts or details are ignored.
21-40: no action or event of the text is there.
1-20: it misses the whole of the text.
Reply in JSON with these keys: "score" (a whole number, e.g. 2), "explanation" (at most 20 words).
"""
FENCE = re.compile(r"```(?:json)?")
SCORED_OBJECT = re.compile(r'\{.*"score":\s*\d.*?\}', re.DOTALL)
SCORE = re.compile(r'"score":\s*"?(\d+)')


@dataclass(frozen=True)
class CompBenchItem:
    id: str
    category: str
    number: int
    """Its Question_id, which names its drawing."""
    prompt: str


class CompBench(DrawingBenchmark[CompBenchItem, float]):
    """`data` is SRUM's val_comp.json, or a checkout that has it."""

    name = "compbench"
    layout = "CATEGORY_50_think/QUESTION_ID.png, or CATEGORY_50_think/samples/QUESTION_ID.png"
    suffixes = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

    def items(self, data: Path) -> list[CompBenchItem]:
        file = data / PROMPTS if data.is_dir() else data
        found, seen = list[CompBenchItem](), dict[int, str]()
        for row in json_list(file):
            category, own = row.one_of("Category", (*BASE, *COMPLEX)), row.number("Question_id")
            require_new(seen, own, row, "Question_id")
            name = f"{category}-{own}"
            found.append(CompBenchItem(name, category, own, row.text("Question")))
        if missing := {*BASE, *COMPLEX} - {each.category for each in found}:
            raise BenchmarkError(f"{file} has no row of {min(missing)}: {RESTORE}")
        return found

    def places(self, drawn: Path, items: Sequence[CompBenchItem]) -> Iterable[Place]:
        folders = {category: _folder(drawn, category) for category in (*BASE, *COMPLEX)}
        return (Place(each.id, folders[each.category], str(each.number)) for each in items)

    def ask(self, item: CompBenchItem, picture: Path) -> Question:
        return Question(item.id, (picture, ASKED.format(prompt=item.prompt)), MAX_TOKENS)

    def mark(self, item: CompBenchItem, reply: str) -> float | None:
        return parsed_score(reply)

    def scores(
        self,
        items: Sequence[CompBenchItem],
        marks: Mapping[str, float | None],
        counted: Mapping[str, int],
    ) -> Scores:
        judged = [each for each in items if each.id in marks]
        groups = _categories(judged, {**dict.fromkeys(marks, UNREAD), **_read(marks)})
        at_least = _categories(
            items, {**dict.fromkeys((each.id for each in items), 0.0), **_read(marks)}
        )
        overall = {UNANSWERED: _overall(at_least)}
        if groups.keys() == at_least.keys():
            overall = {OFFICIAL: _overall(groups), **overall}
        return Scores(overall, groups, counted)


def parsed_score(reply: str) -> float | None:
    """Returns the score in the reply's JSON object, else the first that is written as such a field; None
    where there is none from 0 to 100: the official script would take a number above."""
    whole = SCORED_OBJECT.search(FENCE.sub("", reply))
    found = (parse_object(whole[0]) or {}).get("score") if whole else None
    if type(found) is not int:
        field = SCORE.search(reply)
        found = float(field[1]) if field else None  # int refuses thousands of digits
    return float(found) if found is not None and 0 <= found <= BEST else None


def _read(marks: Mapping[str, float | None]) -> dict[str, float]:
    return {id: mark for id, mark in marks.items() if mark is not None}


def _categories(
    items: Sequence[CompBenchItem], marks: Mapping[str, float]
) -> dict[str, float]:  # fmt: skip
    """The means of the categories that have an item, and of the complex ones together."""
    found: dict[str, list[float]] = {}
    for each in items:
        found.setdefault(each.category, []).append(marks[each.id])
    means = {name: fmean(found[name]) for name in (*BASE, *COMPLEX) if name in found}
    if composed := [means[name] for name in COMPLEX if name in means]:
        means[COMPOSITE] = fmean(composed)
    return means


def _overall(categories: Mapping[str, float]) -> float:
    return fmean(categories[name] for name in (*BASE, COMPOSITE))


def _folder(drawn: Path, category: str) -> Path:
    """Where a category's drawings are, or would be."""
    there = [
        drawn / f"{category}{end}" for end in VARIANTS if (drawn / f"{category}{end}").is_dir()
    ]
    if len(there) > 1:
        raise BenchmarkError(
            f"{drawn} has {there[0].name} and {there[1].name}: name a folder that has one of them"
        )
    folder = there[0] if there else drawn / f"{category}{VARIANTS[0]}"
    samples = folder / "samples"
    return samples if samples.is_dir() else folder


BENCHMARK = CompBench()
