"""Makes instances from a checkout of TIIF-Bench that the user names: it has no licence, so nothing of
it ships here.

Invariant: a prompt gets the questions that are about it. Rows of prompts and of questions are paired by
what they say, since one file of the checkout is shifted; each pairing that is not row by row is
reported, and so is everything that is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.rows import json_lines
from evaluation.benchmarks.tiif import Asked, asked_in
from evaluation.unicycle.building import wording
from evaluation.unicycle.building.checking import tells
from evaluation.unicycle.building.tiif_rules import keywords, rewritten
from evaluation.unicycle.instances import Instance, Question
from policies.seeds import generator

NEAR = 6
"""How many rows a question may be away from its prompt."""
CLEARLY = 0.25
"""By how much more of its words another row's prompt must have, for a row to count as shifted."""
ABOUT = 0.5
"""How much of a question's words the prompt of another row must have at least."""
GENERIC = set(
    "a an the is are there in on of to image scene picture does do present logic comparison "
    "differentiation than more and or with it its any".split()
)
THINGS = re.compile(
    r" (?:the|many) ([\w' -]+?)(?: made| are there| doing| have| in relation to the (.+))?(?: of| in the picture|)\?"
)
NOT_ASKED = ("real_world",)
"""Types whose questions are about long texts: nothing in them can be rewritten by rule."""


@dataclass
class Report:
    """What was made, and of what not, by type or by name."""

    rows: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    shifted: list[str] = field(default_factory=list)
    """One sentence for each prompt whose questions stand in another row, or nowhere."""


def build(checkout: Path, split: str = "test", seed: int = 0) -> tuple[list[Instance], Report]:
    """Returns the instances, type by type, and what was left out. Raises BenchmarkError."""
    folder = checkout / "data" / f"{split}_prompts"
    files = sorted(folder.glob("*_prompts.jsonl"))
    if not files:
        raise BenchmarkError(
            f"{folder} has no *_prompts.jsonl: name the folder of a checkout of TIIF-Bench, and a "
            "split of it (test, testmini)"
        )
    made: list[Instance] = []
    report = Report()
    for file in files:
        kind = file.name.removesuffix("_prompts.jsonl")
        prompts = [" ".join(row.text("short_description").split()) for row in json_lines(file)]
        report.rows[kind] = len(prompts)
        if kind in NOT_ASKED:
            continue
        asked_file = checkout / "data" / f"{split}_eval_prompts" / f"{kind}_eval_prompts.jsonl"
        made += _of_type(kind, prompts, asked_in(asked_file), seed, report)
    return made, report


def _of_type(
    kind: str, prompts: Sequence[str], asked: Sequence[Asked], seed: int, report: Report
) -> list[Instance]:
    made = []
    for number, (text, at) in enumerate(zip(prompts, paired(prompts, asked), strict=True)):
        if at is None:
            report.shifted.append(f"{kind}, row {number + 1}: no row has questions about it")
            continue
        if at != number:
            report.shifted.append(f"{kind}, row {number + 1}: its questions are in row {at + 1}")
        questions = _questions(kind, text, asked[at], (seed, kind, number), report)
        if questions:
            report.instances[kind] += 1
            made.append(Instance(f"{kind}-{number:03d}", kind, text, tuple(questions)))
    return made


def paired(prompts: Sequence[str], asked: Sequence[Asked]) -> list[int | None]:
    """Returns for each prompt the row of its questions: its own, unless a row nearby is clearly about
    it and its own is not; None where no row is."""
    words = [_stems(" ".join(each.questions)) for each in asked]
    found: list[int | None] = []
    for number, prompt in enumerate(prompts):
        own = _stems(prompt)
        near = range(max(0, number - NEAR), min(len(asked), number + NEAR + 1))
        alike = {at: len(own & words[at]) / max(1, len(words[at])) for at in near}
        best = max(alike, key=lambda at: (alike[at], -abs(at - number)), default=None)
        here = alike.get(number, 0.0)
        if best is not None and alike[best] >= max(ABOUT, here + CLEARLY):
            found.append(best)
        else:
            found.append(number if here >= CLEARLY else None)
    return found


def _questions(
    kind: str, prompt: str, asked: Asked, key: tuple[int | str, ...], report: Report
) -> list[Question]:
    if kind == "text":
        words = keywords(prompt)
        return [wording.written(words)] if words else []
    random = generator("unicycle", "tiif", *key)
    made: list[Question] = []
    for text, answer in zip(*asked, strict=True):
        new = rewritten(text, answer, "negation" in kind, random)
        if isinstance(new, Question) and not all(_stems(n) & _stems(prompt) for n in _things(new)):
            new = "not in the prompt"
        elif isinstance(new, Question) and _redundant(new, made):
            new = "redundant"
        if isinstance(new, Question):
            made.append(new)
        else:
            report.left_out[new] += 1
    about = [each for each in made if not _of_what_is_absent(each, made)]
    report.left_out["about what is absent"] += len(made) - len(about)
    return about


def _redundant(new: Question, made: Iterable[Question]) -> bool:
    """TIIF denies one thing in several wordings; one of them is kept."""
    return any(
        new.text == old.text or tells(new, old) or tells(old, new)
        or new.kind == old.kind == "yes_no"
        for old in made
    )  # fmt: skip


def _of_what_is_absent(question: Question, made: Iterable[Question]) -> bool:
    """It asks what color something has that another question says is not there."""
    absent = [each for each in made if re.match(r"(?:Is|Are) there", each.text)]
    named = {word for each in absent for word in _stems(each.text)}
    return question not in absent and any(_stems(thing) & named for thing in _things(question)[:1])


def _things(question: Question) -> list[str]:
    """What a question is about, by name: of a comparison both sides."""
    if question.kind == "yes_no" or question.text.startswith("In which style"):
        return []
    if found := THINGS.search(question.text):
        return [name for name in found.groups() if name]
    compared = question.kind == "choice" and question.text.startswith("Which")
    return [o for o in question.options if o not in wording.FIXED] if compared else []


def _stems(text: str) -> set[str]:
    """What a text is about: its words by their beginnings, so that "boxes" is "box"."""
    return {word[:4] for word in re.findall(r"[a-z]+", text.lower()) if word not in GENERIC}
