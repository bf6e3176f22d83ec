"""Judged groups as the report shows them: eight drawings, what the Judge said, what was learned.

Invariant: every record says what it takes to make it again: round, prompt, versions and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from actors.replay.records import JudgedGroup
from cluster.report.lessons import Taught
from evaluation.pictures import data_uri
from evaluation.suites import NEVER_RIGHT, Suite
from policies.interface import PATTERNS, Example, Pattern, Picture, Segment


@dataclass(frozen=True)
class Piece:
    """One segment: a text, or a picture's address with the number of its drawing."""

    text: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Lesson:
    """One training example. `times` is how often it was in a batch, None if that is to come."""

    pattern: str
    context: tuple[Piece, ...]
    target: tuple[Piece, ...]
    times: int | None

    @property
    def used(self) -> str:
        if self.times is None:
            return "waits for the round's end"
        return f"learned {_times(self.times)}" if self.times else "not drawn into a batch"


@dataclass(frozen=True)
class DrawingView:
    """One rollout. `mark` is "winner", "loser" or empty; `oracle` is what only the report knows."""

    number: int
    picture: str
    score: float | None
    oracle: float | None
    right: bool
    mark: str
    analysis: str
    origin: str


@dataclass(frozen=True)
class Card:
    """One group. `told` are the drawings whose analysis is worth reading at once."""

    prompt: str
    category: str
    subcategory: str
    reason: str
    origin: str
    drawings: tuple[DrawingView, ...]
    told: tuple[DrawingView, ...]
    lessons: tuple[Lesson, ...]


def card(
    group: JudgedGroup, examples: Mapping[Pattern, Example], taught: Taught | None, suite: Suite
) -> Card:
    """`examples` are what can be learned from the group."""
    winner, loser = ends(group, examples)
    drawings = tuple(
        _drawing(group, number, "winner" if number == winner else "loser" if number == loser else "",
                 suite)
        for number in range(len(group.rollouts))
    )  # fmt: skip
    told = [drawings[i] for i in (winner, loser) if i is not None] or list(drawings[:1])
    return Card(
        prompt=group.prompt,
        category=group.category,
        subcategory=group.subcategory,
        reason=group.reason,
        origin=_origin(group),
        drawings=drawings,
        told=tuple(told),
        lessons=tuple(
            _lesson(examples[name], None if taught is None else taught[group.index, name])
            for name in PATTERNS
            if name in examples
        ),
    )


def ends(group: JudgedGroup, examples: Mapping[Pattern, Example]) -> tuple[int | None, int | None]:
    """The numbers of the winner and of the loser that is learned from."""
    return _winner(group, examples), _loser(group, examples)


def _winner(group: JudgedGroup, examples: Mapping[Pattern, Example]) -> int | None:
    """The drawing that the generation example teaches; the best where nothing is known of it."""
    ranked = group.ranked() if group.accepted else []
    taught = examples["generation"].target if "generation" in examples else None
    same = (n for n in ranked if group.rollouts[n].output is taught)
    return next(same, ranked[0] if ranked else None)


def _loser(group: JudgedGroup, examples: Mapping[Pattern, Example]) -> int | None:
    """The drawing that the reflection example starts from."""
    if "reflection" not in examples:
        return None
    seen = [s for s in examples["reflection"].context if isinstance(s, Picture)]
    return next((n for n, r in enumerate(group.rollouts) if any(_same(r.shown, s) for s in seen)),
                None)  # fmt: skip


def _same(a: Picture, b: Picture) -> bool:
    return a is b or np.array_equal(a.pixels, b.pixels)


def _drawing(group: JudgedGroup, number: int, mark: str, suite: Suite) -> DrawingView:
    rollout = group.rollouts[number]
    pixels = rollout.shown.pixels
    known = rollout.picture is not None and suite.grammatical(group.prompt)
    oracle = suite.verdict(pixels, group.prompt) if known else NEVER_RIGHT
    return DrawingView(
        number=number + 1,
        picture=data_uri(pixels),
        score=rollout.judgement.score,
        oracle=oracle.score if suite.categories else None,
        right=oracle.right,
        mark=mark,
        analysis=rollout.remark,
        origin=f"seed {rollout.seed}, temperature {rollout.temperature:g}, "
        f"guidance {rollout.guidance:g}, asked {_times(rollout.judgement.attempts)}",
    )


def _origin(group: JudgedGroup) -> str:
    """Where the record comes from: enough to make it again."""
    outside = f" · outside help: {group.external}" if group.external else ""
    return (
        f"round {group.round} · prompt {group.index} · drawn by v{group.weight_version} · judged "
        f"by v{group.judge_version} · prompt seed {group.prompt_seed}{outside}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _lesson(example: Example, times: int | None) -> Lesson:
    context = tuple(map(_piece, example.context))
    target = tuple(_piece(part.segment) for part in example.target)
    return Lesson(example.pattern, context, target, times)


def _piece(segment: Segment) -> Piece:
    if isinstance(segment, str):
        return Piece(text=segment)
    return Piece(picture=data_uri(segment.pixels))
