"""The records that flow between the roles, the replay buffer and the trainer.

Invariant: a record holds nothing but what follows from its task's name, the run's seed,
the configuration and the weight version: no clock, no host, no process id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from policies.interface import Output, Picture, PictureSampling, last_picture

NOTHING = Picture(np.zeros((64, 64, 3), np.uint8))
"""What stands in for a drawing that failed: it shows nothing of what was asked for."""
_NUMBER = re.compile(r"\s*\b\d+(\.\d+)?\b")

Role = Literal["proposer", "rater", "solver", "judge", "evaluator"]


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


@dataclass(frozen=True)
class Judgement:
    """What the Judge wrote of one drawing.

    `score` is 0..10, the mean over votes; None where no answer could be parsed after
    `attempts` tries (an unparsable answer is never averaged in).
    """

    analysis: str
    score: float | None
    attempts: int

    def text(self) -> str:
        """The judgement as the model writes it, which is what the model learns to write: strict
        JSON, analysis before score.

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
        return json.dumps({"analysis": self.analysis, "score": whole}, ensure_ascii=False)


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


@dataclass(frozen=True)
class Rollout(_Sampled):
    """One drawing of a prompt, and how it was sampled. One without a picture has no score."""

    seed: int
    sampling: PictureSampling
    output: Output
    judgement: Judgement


def undone(
    solve: Task, judge: Task, proposals: Sequence[Proposal], reason: str
) -> list[JudgedGroup]:
    """What the log keeps of prompts whose task was given up: no drawing, and why."""
    return [
        JudgedGroup(
            solve.round, p.index, p.category, p.subcategory, p.prompt, p.seed, solve.version,
            judge.version, (), f"task given up: {reason}",
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

    def ranked(self) -> list[int]:
        """Rollout numbers with a score, best first; ties go to the earlier rollout."""
        scored = [i for i, r in enumerate(self.rollouts) if r.judgement.score is not None]
        return sorted(scored, key=lambda i: (-(self.rollouts[i].judgement.score or 0.0), i))


def reason_kind(reason: str) -> str:
    """The reason without the first number, which is the group's own: what is counted together."""
    return _NUMBER.sub("", reason.replace("/", " "), count=1).strip()
