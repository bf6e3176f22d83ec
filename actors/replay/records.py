"""The records that flow between the roles, the replay buffer and the trainer.

Invariant: a record holds nothing but what follows from its task's name, the run's seed,
the configuration and the weight version: no clock, no host, no process id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from actors.replay.counts import margin
from policies.interface import Output, Picture, PictureSampling, last_picture
from policies.seeds import generator

NOTHING = Picture(np.zeros((64, 64, 3), np.uint8))
"""What stands in for a drawing that failed: it shows nothing of what was asked for."""
_NUMBER = re.compile(r"\s*\b\d+(\.\d+)?\b")

UNTRUSTED = "the Judge is not trusted here: "
"""How the reason begins for which a group that would have been accepted is rejected, because of its
category."""

QUANTITIES = ("target_quantity", "detected_quantity")
"""The keys of a judgement that counts, in the order of `Judgement.quantities`."""

Role = Literal["proposer", "rater", "solver", "judge", "calibrator", "evaluator"]


@dataclass(frozen=True, order=True)
class Task:
    """The name of a unit of work: a fixed slice of round `round`, done with weights `version`."""

    round: int
    role: Role
    index: int
    version: int

    def __str__(self) -> str:
        return f"round {self.round} {self.role} task {self.index} (weights v{self.version})"


@dataclass(frozen=True)
class Proposal:
    """A prompt as the Proposer wrote it; `index` counts the kept prompts of its round."""

    index: int
    category: str
    subcategory: str
    prompt: str
    seed: int
    external: str = ""
    """What from outside it was written with, such as a file of personas."""


@dataclass(frozen=True)
class Judgement:
    """What the Judge wrote of one drawing, where it counts with the quantities that it was to find
    and that it found.

    `score` is 0..10, the mean over votes; None where no answer could be parsed after
    `attempts` tries (an unparsable answer is never averaged in). A score may also be read from the
    Judge's probabilities: then `attempts` is 0 and there is no analysis where none was asked for.
    """

    analysis: str
    score: float | None
    attempts: int
    quantities: tuple[str, str] | None = None
    signals: tuple[tuple[str, float], ...] = ()
    """What the score was made of, by name, where it was made of more than one."""

    def text(self) -> str:
        """The judgement as the model writes it, which is what the model learns to write: strict
        JSON, quantities before analysis before score.

        The score is the nearest whole number (halves go up), as judges give "discrete scores 0 to
        10" (paper, section 3.3.1); the exact mean over votes stays in the record. Raises ValueError
        for a judgement that could not be parsed: there is nothing to write.
        """
        if self.score is None:
            raise ValueError(
                f"A judgement that was unparsable after {self.attempts} attempts has no text; "
                "leave it out."
            )
        whole = int(self.score + 0.5)
        counted = dict(zip(QUANTITIES, map(_number, self.quantities or ()), strict=False))
        fields = {**counted, "analysis": self.analysis, "score": whole}
        return json.dumps(fields, ensure_ascii=False)


def _number(quantity: str) -> int | str:
    """As the model writes it: a plain number is one."""
    return int(quantity) if re.fullmatch("0|[1-9][0-9]{0,8}", quantity) else quantity


class _Sampled:
    """What a drawing and a rollout say of themselves in short."""

    sampling: PictureSampling
    output: Output

    @property
    def picture(self) -> Picture | None:
        """What the output came to; None where it failed, as a tool can."""
        return last_picture(self.output)

    @property
    def shown(self) -> Picture:
        """The picture, or one of nothing where there is none."""
        return self.picture or NOTHING

    @property
    def temperature(self) -> float:
        return self.sampling.temperature

    @property
    def guidance(self) -> float:
        return self.sampling.guidance


@dataclass(frozen=True)
class Drawing(_Sampled):
    """A rollout that is not judged yet; weights `version` drew it."""

    seed: int
    sampling: PictureSampling
    version: int
    output: Output


class Unfit(NamedTuple):
    """Which filter left a drawing out, and the number that was too high or too low."""

    filter: str
    value: float

    def __str__(self) -> str:
        return f"left out by the filter {self.filter}: {self.value:.3g}"


@dataclass(frozen=True)
class Rollout(_Sampled):
    """One drawing of a prompt, and how it was sampled. One without a picture has no score, nor has one
    that a filter left out: it was not judged. `looks` is its hash, where winners that look alike are
    sought (actors/hygiene)."""

    seed: int
    sampling: PictureSampling
    output: Output
    judgement: Judgement
    unfit: Unfit | None = None
    looks: str = ""

    @property
    def remark(self) -> str:
        """What a person is told of it: the Judge's analysis, or why it was not judged."""
        return str(self.unfit) if self.unfit else self.judgement.analysis


def undone(
    solve: Task, judge: Task, proposals: Sequence[Proposal], reason: str
) -> list[JudgedGroup]:
    """What the log keeps of prompts whose task was given up: no drawing, and why."""
    return [
        JudgedGroup(
            solve.round, p.index, p.category, p.subcategory, p.prompt, p.seed, solve.version,
            judge.version, (), f"task given up: {reason}", p.external,
        )
        for p in proposals
    ]  # fmt: skip


@dataclass(frozen=True)
class JudgedGroup:
    """All rollouts of one prompt, judged: the unit of the replay buffer.

    `weight_version` drew the rollouts, `judge_version` judged them. `reason` says why a
    group was not accepted and is empty for an accepted one. `external` names an outside
    Proposer or Judge that touched the group (the paper's UniCorn* setting), else "".
    """

    round: int
    index: int
    category: str
    subcategory: str
    prompt: str
    prompt_seed: int
    weight_version: int
    judge_version: int
    rollouts: tuple[Rollout, ...]
    reason: str
    external: str = ""

    @property
    def accepted(self) -> bool:
        return not self.reason

    @property
    def untrusted(self) -> bool:
        """Whether it would have been accepted if the Judge were trusted in its category."""
        return self.reason.startswith(UNTRUSTED)

    def ranked(self) -> list[int]:
        """Rollout numbers with a score, best first; ties go to the earlier rollout."""
        scored = [i for i, r in enumerate(self.rollouts) if r.judgement.score is not None]
        return sorted(scored, key=lambda i: (-(self.rollouts[i].judgement.score or 0.0), i))

    def margin(self) -> float:
        """By how much the best score is above the worst; 0 without a score."""
        return margin([rollout.judgement.score for rollout in self.rollouts])

    def winner(self, seed: int, ties: Literal["first", "random"]) -> int:
        """The number of the drawing that is learned from, the same in every pattern: of equally good
        ones the first, or one by key. `seed` is the run's. Only for a group with a score."""
        ranked = self.ranked()
        if ties == "first":
            return ranked[0]
        best = self.rollouts[ranked[0]].judgement.score
        tied = [i for i in ranked if self.rollouts[i].judgement.score == best]
        return tied[int(generator(seed, "winner", self.round, self.index).integers(len(tied)))]


def reason_kind(reason: str) -> str:
    """The reason without the first number, which is the group's own: what is counted together."""
    return _NUMBER.sub("", reason.replace("/", " "), count=1).strip()
