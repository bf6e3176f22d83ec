"""What a replica can be asked for, by role, and what it gives back.

Invariant: a request is small and says everything but the inputs, which travel beside it so that Ray
reads those that are references where the work is done. A result counts what was made for it, so
nobody has to look into a payload.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Task
from actors.roles.calibration import TRUSTED, Trust
from actors.roles.judge import Judge
from actors.roles.proposer import Proposer
from actors.roles.solver import Solver
from actors.roles.topics import Topic
from policies.interface import Context, Picture, PictureSampling

P = TypeVar("P")


@dataclass(frozen=True)
class Result(Generic[P]):
    """A payload, how many drawings were made for it, and how many answers no attempt made readable."""

    payload: P
    drawings: int = 0
    unparsable: int = 0


@dataclass(frozen=True)
class Request(ABC, Generic[P]):
    """Work that `task` names. `stage` is its name in the metrics."""

    task: Task
    stage: ClassVar[str]

    @abstractmethod
    def do(self, role: Any, seed: int, *inputs: Any, **named: Any) -> Result[P]:
        """Does the work with `role`, which has the weights of the task; `seed` is the run's. Each
        kind of request says what inputs it takes."""


class Propose(Request[list[Proposal | None]]):
    stage = "propose"

    def do(
        self, role: Proposer, seed: int, topics: Sequence[Topic],
        demonstrations: Mapping[str, Sequence[str]],
    ) -> Result[list[Proposal | None]]:  # fmt: skip
        proposals = role.propose(self.task, seed, topics, demonstrations)
        return Result(proposals, unparsable=proposals.count(None))


@dataclass(frozen=True)
class Draw(Request[list[list[Drawing]]]):
    wave: int = 0
    stage = "draw"

    def do(
        self, role: Solver, seed: int, proposals: Sequence[Proposal],
        before: Sequence[JudgedGroup] = (),
    ) -> Result[list[list[Drawing]]]:  # fmt: skip
        drawings = role.draw(self.task, seed, proposals, self.wave, before)
        return Result(drawings, drawings=sum(map(len, drawings)))


@dataclass(frozen=True)
class DrawEach(Request[list[Picture]]):
    sampling: PictureSampling
    first: int = 0
    stage = "draw_each"

    def do(self, role: Solver, seed: int, prompts: Sequence[str]) -> Result[list[Picture]]:
        pictures = role.draw_each(self.task, seed, prompts, self.sampling, self.first)
        return Result(pictures, drawings=len(pictures))


@dataclass(frozen=True)
class JudgeGroups(Request[list[JudgedGroup]]):
    wave: int = 0
    last: bool = True
    trust: Trust = TRUSTED
    stage = "judge"

    def do(
        self, role: Judge, seed: int, proposals: Sequence[Proposal],
        drawings: Sequence[Sequence[Drawing]], before: Sequence[JudgedGroup] = (),
    ) -> Result[list[JudgedGroup]]:  # fmt: skip
        groups = role.judge(
            self.task, seed, proposals, drawings, self.wave, self.last, before, self.trust
        )
        return Result(groups, unparsable=_unread(groups) - _unread(before))


def _unread(groups: Sequence[JudgedGroup]) -> int:
    said = [rollout.judgement for group in groups for rollout in group.rollouts]
    return sum(j.attempts > 0 and (j.score is None or not j.analysis) for j in said)


class Rate(Request[list[float | None]]):
    stage = "rate"

    def do(self, role: Judge, seed: int, prompts: Sequence[str]) -> Result[list[float | None]]:
        ratings = role.rate(self.task, seed, prompts)
        return Result(ratings, unparsable=ratings.count(None))


@dataclass(frozen=True)
class ScoreDrawings(Request[list[float | None]]):
    trust: Trust = TRUSTED
    stage = "score"

    def do(
        self, role: Judge, seed: int, shown: Sequence[tuple[str, str, Picture]]
    ) -> Result[list[float | None]]:
        scores = role.score(self.task, seed, shown, self.trust)
        return Result(scores, unparsable=scores.count(None))


@dataclass(frozen=True)
class ReadSignals(Request[list[Judgement]]):
    """Of those from `first` on, at most so many, which are judged as in a round that begins."""

    first: int = 0
    most: int = 0
    stage = "signals"

    def do(
        self, role: Judge, seed: int, shown: Sequence[tuple[str, str, Picture]]
    ) -> Result[list[Judgement]]:
        own = shown[self.first : self.first + self.most]
        return Result(role.signals(self.task, seed, own))


class ReadBack(Request[list[float]]):
    stage = "read_back"

    def do(
        self, role: Judge, seed: int, prompts: Sequence[str], drawings: Sequence[Picture]
    ) -> Result[list[float]]:
        return Result(role.read_back(prompts, drawings))


class AnswerQuestions(Request[list[str]]):
    stage = "answer"

    def do(self, role: Judge, seed: int, asked: Sequence[tuple[Picture, str]]) -> Result[list[str]]:
        return Result(role.answer(self.task, seed, asked))


class Reply(Request[list[str]]):
    stage = "reply"

    def do(self, role: Judge, seed: int, texts: Sequence[str]) -> Result[list[str]]:
        return Result(role.reply(self.task, seed, texts))


class Write(Request[list[str]]):
    stage = "write"

    def do(self, role: Judge, seed: int, asked: Sequence[tuple[Context, int]]) -> Result[list[str]]:
        return Result(role.write(self.task, seed, asked))


class Caption(Request[list[str]]):
    stage = "caption"

    def do(self, role: Judge, seed: int, pictures: Sequence[Picture]) -> Result[list[str]]:
        return Result(role.caption(self.task, seed, pictures))
