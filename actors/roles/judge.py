"""The Judge: says of drawings what is right and wrong in them, and gives every one a score.

Invariant: a score is the mean of votes that were read from what the model wrote, or follows from how
likely the prompt is as its description of the drawing. What could not be read is None, stays out of
every mean, and is recorded with the number of attempts. A drawing that failed, and has no picture, is
not asked about: its score is None after no attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from actors.config import JudgeConfig, external_player, named_together
from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Rollout, Task
from actors.roles.answers import Answer, ask, parse_judgement, parse_rating
from actors.roles.templates import Templates
from policies.interface import Context, Picture, Policy, TextSampling
from policies.seeds import derive

Shown = tuple[str, str, Picture]
"""A category, a prompt of it and a drawing of the prompt."""
Key = tuple[int | str, ...]
"""What all seeds of a batch follow from."""


class Judge:
    def __init__(self, policy: Policy, config: JudgeConfig, templates: Templates) -> None:
        self._policy = policy
        self._config = config
        self._templates = templates
        self._external = external_player("judge", config.server, config.server_model)

    def judge(
        self,
        task: Task,
        seed: int,
        proposals: Sequence[Proposal],
        drawings: Sequence[Sequence[Drawing]],
        wave: int = 0,
        last: bool = True,
        before: Sequence[JudgedGroup] = (),
    ) -> list[JudgedGroup]:
        """Each prompt with its drawings, judged, after those of the groups `before`; all that is asked
        of a wave is one batch."""
        key = (seed, task.round, task.role, task.index, *([wave] if wave else []))
        pairs = list(zip(proposals, drawings, strict=True))
        shown = [
            (p.category, p.prompt, d.picture)
            for p, group in pairs for d in group if d.picture is not None
        ]  # fmt: skip
        by_votes = self._config.by == "votes"
        judged = iter(self._voted(key, shown) if by_votes else self._read_back(shown))
        rollouts = [[_judged(each, judged) for each in group] for group in drawings]
        groups = (
            [self._added(*each) for each in zip(before, rollouts, strict=True)]
            if before
            else [
                self._group(task, proposal, own, group[0].version)
                for (proposal, group), own in zip(pairs, rollouts, strict=True)
            ]
        )
        return self._analysed(key, groups) if last and not by_votes else groups

    def rate(self, task: Task, seed: int, prompts: Sequence[str]) -> list[float | None]:
        """How good each prompt is, from 0 to 10; None where no answer could be read."""
        contexts = [self._templates.rate(prompt) for prompt in prompts]
        key = (seed, task.round, task.role, task.index)
        answers = self._ask(key, contexts, lambda _, text: parse_rating(text))
        return [score for score, _ in answers]

    def score(self, task: Task, seed: int, shown: Sequence[Shown]) -> list[float | None]:
        """The score of each (category, prompt, drawing), of votes the likeliest: to measure the Judge
        by."""
        if self._config.by == "read_back":
            return list(self._likely(shown))
        texts = self._say(task, seed, [self._shown(*each) for each in shown])
        read = [
            parse_judgement(text, counts=self._templates.counts(category))
            for (category, *_), text in zip(shown, texts, strict=True)
        ]
        return [judgement.score if judgement else None for judgement in read]

    def answer(self, task: Task, seed: int, asked: Sequence[tuple[Picture, str]]) -> list[str]:
        """The likeliest answer to each question about its picture."""
        contexts = [self._templates.answer(picture, question) for picture, question in asked]
        return self._say(task, seed, contexts)

    def caption(self, task: Task, seed: int, pictures: Sequence[Picture]) -> list[str]:
        """The likeliest description of each picture."""
        return self._say(task, seed, [self._templates.caption(picture) for picture in pictures])

    def _voted(self, key: Key, shown: Sequence[Shown]) -> list[Judgement]:
        votes = self._config.votes
        repeated = [each for each in shown for _ in range(votes)]
        counts = [self._templates.counts(category) for category, *_ in repeated]
        answers = self._ask(
            key, [self._shown(*each) for each in repeated],
            lambda row, text: parse_judgement(text, counts=counts[row]),
        )  # fmt: skip
        return [combine(answers[at : at + votes]) for at in range(0, len(answers), votes)]

    def _read_back(self, shown: Sequence[Shown]) -> list[Judgement]:
        return [Judgement("", score, 0) for score in self._likely(shown)]

    def _analysed(self, key: Key, groups: Sequence[JudgedGroup]) -> list[JudgedGroup]:
        """The groups with what the Judge writes of the best and the worst drawing of each; the scores
        stay."""
        ends = [(i, k) for i, group in enumerate(groups) for k in _ends(group)]
        shown = [
            (groups[i].category, groups[i].prompt, groups[i].rollouts[k].shown) for i, k in ends
        ]
        said = dict(zip(ends, self._voted(key, shown), strict=True))

        def judged(i: int, k: int, rollout: Rollout) -> Rollout:
            score = rollout.judgement.score
            own = replace(said.get((i, k), rollout.judgement), score=score)
            return replace(rollout, judgement=own)

        return [
            replace(group, rollouts=tuple(judged(i, k, r) for k, r in enumerate(group.rollouts)))
            for i, group in enumerate(groups)
        ]

    def _likely(self, shown: Sequence[Shown]) -> list[float]:
        """10 times the geometric mean of the probabilities of the tokens of each drawing's prompt."""
        contexts = [self._templates.caption(picture) for *_, picture in shown]
        found = self._policy.log_probs(contexts, [prompt for _, prompt, _ in shown])
        return [10.0 * math.exp(float(each.mean(dtype=np.float64))) for each in found]

    def _shown(self, category: str, prompt: str, picture: Picture) -> Context:
        first = self._config.picture_first
        return self._templates.judge(category, prompt, picture, picture_first=first)

    def _ask(
        self, key: Key, contexts: Sequence[Context], parse: Callable[[int, str], Answer | None]
    ) -> list[tuple[Answer | None, int]]:
        sampling = TextSampling(self._config.temperature, max_tokens=self._config.max_tokens)
        return ask(
            self._policy.write, contexts, sampling,
            lambda row, attempt: derive(*key, row, attempt),
            lambda row, _, text: parse(row, text), self._config.attempts,
        )  # fmt: skip

    def _say(self, task: Task, seed: int, contexts: Sequence[Context]) -> list[str]:
        greedy = TextSampling(temperature=0.0, max_tokens=self._config.max_tokens)
        rows = range(len(contexts))
        seeds = [derive(seed, task.round, task.role, task.index, row) for row in rows]
        return self._policy.write(contexts, [greedy] * len(contexts), seeds)

    def _group(
        self, task: Task, proposal: Proposal, rollouts: Sequence[Rollout], version: int
    ) -> JudgedGroup:
        """With the `version` that drew it."""
        return JudgedGroup(
            round=task.round,
            index=proposal.index,
            category=proposal.category,
            subcategory=proposal.subcategory,
            prompt=proposal.prompt,
            prompt_seed=proposal.seed,
            weight_version=version,
            judge_version=task.version,
            rollouts=tuple(rollouts),
            reason=self._reason(rollouts),
            external=named_together(proposal.external, self._external),
        )

    def _added(self, group: JudgedGroup, new: Sequence[Rollout]) -> JudgedGroup:
        rollouts = (*group.rollouts, *new)
        return replace(group, rollouts=rollouts, reason=self._reason(rollouts))

    def _reason(self, rollouts: Sequence[Rollout]) -> str:
        return rejection_reason([each.judgement for each in rollouts], self._config.accept_at)


def _ends(group: JudgedGroup) -> list[int]:
    """The numbers of the best drawing and of the worst."""
    ranked = group.ranked()
    return list(dict.fromkeys((*ranked[:1], *ranked[-1:])))


def combine(votes: Sequence[tuple[Judgement | None, int]]) -> Judgement:
    """One judgement out of votes, each with its number of attempts: the mean score, and what the
    vote nearest to it says besides (the earlier of two)."""
    attempts = sum(tries for _, tries in votes)
    parsed = [(vote, vote.score) for vote, _ in votes if vote and vote.score is not None]
    if not parsed:
        return Judgement("", None, attempts)
    mean = sum(score for _, score in parsed) / len(parsed)
    nearest, _ = min(parsed, key=lambda vote: abs(vote[1] - mean))
    return replace(nearest, score=mean, attempts=attempts)


def rejection_reason(judgements: Sequence[Judgement], accept_at: float) -> str:
    """Why a group with these judgements is not learned from; empty if it is."""
    best = max((j.score for j in judgements if j.score is not None), default=None)
    if best is None:
        return "no judgement could be parsed"
    return "" if best >= accept_at else f"best score {best:g} is under {accept_at:g}"


def _judged(drawing: Drawing, judgements: Iterator[Judgement]) -> Rollout:
    """With the next judgement, if there is a picture to judge."""
    judgement = Judgement("", None, 0) if drawing.picture is None else next(judgements)
    return Rollout(drawing.seed, drawing.sampling, drawing.output, judgement)
