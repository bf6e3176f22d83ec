"""Grades drawings and answers, and adds the marks up to scores.

Invariant: pure functions of a suite and of what a model made. They run in Ray tasks, beside the
driver, and nothing that they find out goes back to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.judging import correlation
from evaluation.pictures import data_uri
from evaluation.suites import Suite, Verdict
from evaluation.unicycle import rules, scoring
from evaluation.unicycle.rules import QuestionLike
from policies.interface import Picture

Asked = list[tuple[Picture, str]]


@dataclass(frozen=True)
class Item:
    """A held-out prompt; with `shown`, its drawing is kept for the report."""

    index: int
    prompt: str
    category: str
    seed: int
    shown: bool


@dataclass(frozen=True)
class Drawn:
    """One drawing with its grades: `marks` are UniCycle's s_k, `judged` is the Judge's score if it
    was asked, `picture` a data URI or ""."""

    item: Item
    verdict: Verdict
    marks: tuple[float, ...]
    picture: str
    judged: float | None = None


@dataclass(frozen=True)
class Seen:
    """One scene as the model read it; `marks` are those of its answers, `blind` those of its answers to
    the same questions about an empty picture, if it was asked. For every question for yes or no
    `yes` has whether yes is right, and whether it was said."""

    caption: bool
    marks: tuple[float, ...]
    blind: tuple[float, ...] = ()
    yes: tuple[tuple[bool, bool], ...] = ()


def asked_about(suite: Suite, prompts: Sequence[str], pictures: Sequence[Picture]) -> Asked:
    """Returns every question of every prompt with its picture, in order."""
    return [
        (picture, question.text)
        for prompt, picture in zip(prompts, pictures, strict=True)
        for question in suite.questions(prompt)
    ]


def grade_drawings(
    suite: Suite, items: Sequence[Item], pictures: Sequence[Picture], answers: Sequence[str],
    judged: Sequence[float | None] = (),
) -> list[Drawn]:  # fmt: skip
    """Returns each drawing's grades. `answers` answer `asked_about`; `judged` are the Judge's
    scores, if it was asked."""
    marks = _marks(suite, [item.prompt for item in items], answers)
    return [
        Drawn(
            item=item,
            verdict=suite.verdict(picture.pixels, item.prompt),
            marks=own,
            picture=data_uri(picture.pixels) if item.shown else "",
            judged=score,
        )
        for item, picture, own, score in zip(
            items, pictures, marks, judged or [None] * len(items), strict=True
        )
    ]


def grade_scenes(
    suite: Suite, scenes: Sequence[tuple[Picture, str]], captions: Sequence[str],
    answers: Sequence[str], blind: Sequence[str] = (),
) -> list[Seen]:  # fmt: skip
    """Returns the grades of what the model said about the oracle's own scenes, and of its answers
    without them."""
    pictures, prompts = [picture for picture, _ in scenes], [prompt for _, prompt in scenes]
    marks = _marks(suite, prompts, answers)
    unseen = _marks(suite, prompts, blind) if blind else [()] * len(scenes)
    yes = _yes(suite, prompts, answers)
    right = [suite.caption_right(*each) for each in zip(pictures, captions, strict=True)]
    return [Seen(*each) for each in zip(right, marks, unseen, yes, strict=True)]


def emptied(asked: Asked) -> Asked:
    """The same questions about pictures of the same size with nothing in them."""
    return [(Picture(np.zeros_like(picture.pixels)), question) for picture, question in asked]


def outcomes(drawn: Sequence[Drawn], seen: Sequence[Seen]) -> dict[str, list[float]]:
    """Returns the values, of each prompt or scene in their order, whose means are the scores (0 to 1)."""
    asked = [each.marks for each in drawn if each.marks]
    return {
        "drawing/all_right": [float(each.verdict.right) for each in drawn],
        "drawing/soft": [each.verdict.soft for each in drawn],
        "unicycle/soft": [scoring.soft(marks) for marks in asked],
        "unicycle/hard": [scoring.hard(marks) for marks in asked],
        "understanding/captions": [float(each.caption) for each in seen],
        "understanding/questions": _shares([each.marks for each in seen]),
        "understanding/blind": _shares([each.blind for each in seen]),
        "understanding/yes_true": [float(true) for each in seen for true, _ in each.yes],
        "understanding/yes_rate": [float(said) for each in seen for _, said in each.yes],
    }


def _shares(marks: Sequence[Sequence[float]]) -> list[float]:
    """Of each scene its part of the mean over all questions, times the number of scenes, so that their mean
    is that of the questions: what is asked about one scene is right and wrong together, and an interval
    is over scenes."""
    count = sum(map(len, marks))
    return [sum(own) * len(marks) / count for own in marks] if count else []


def scores(drawn: Sequence[Drawn], found: dict[str, list[float]]) -> dict[str, float]:
    """Returns the final scores: 0 to 100, except for drawing/score (0 to 10, the oracle's) and
    judge/unicycle (the correlation of the Judge's score with UniCycle Soft)."""
    values = {name: scoring.final(each) for name, each in found.items() if each}
    values["drawing/score"] = sum(each.verdict.score for each in drawn) / len(drawn)
    for category in dict.fromkeys(each.item.category for each in drawn):
        own = [float(each.verdict.right) for each in drawn if each.item.category == category]
        values[f"drawing/all_right/{category}"] = scoring.final(own)
    agreement = correlation(
        [(each.judged, scoring.soft(each.marks)) for each in drawn if each.judged is not None]
    )
    return values if agreement is None else {**values, "judge/unicycle": agreement}


def sample(each: Drawn) -> dict[str, object]:
    """Returns a drawing for the report, with what is needed to draw it again."""
    return {
        "index": each.item.index,
        "category": each.item.category,
        "prompt": each.item.prompt,
        "seed": each.item.seed,
        "score": each.verdict.score,
        "right": each.verdict.right,
        "soft": each.verdict.soft,
        "picture": each.picture,
    }


def _marks(suite: Suite, prompts: Sequence[str], answers: Sequence[str]) -> list[tuple[float, ...]]:
    """Returns each prompt's marks."""
    return [
        tuple(rules.mark(question, answer) for question, answer in own)
        for own in _answered(suite, prompts, answers)
    ]


def _yes(
    suite: Suite, prompts: Sequence[str], answers: Sequence[str]
) -> list[tuple[tuple[bool, bool], ...]]:
    """For each prompt's questions for yes or no, whether yes is right, and whether it was said."""
    return [
        tuple(
            (rules.says_yes(question, question.answer), rules.says_yes(question, answer))
            for question, answer in own
            if question.kind == "yes_no"
        )
        for own in _answered(suite, prompts, answers)
    ]


def _answered(
    suite: Suite, prompts: Sequence[str], answers: Sequence[str]
) -> list[list[tuple[QuestionLike, str]]]:
    """Each prompt's questions with their answers. Raises ValueError unless each has one."""
    asked = [suite.questions(prompt) for prompt in prompts]
    if sum(map(len, asked)) != len(answers):
        raise ValueError(f"{len(answers)} answers came to {sum(map(len, asked))} questions.")
    each = iter(answers)
    return [[(question, next(each)) for question in own] for own in asked]
