"""The Judge: says of every drawing what is right and wrong in it, and then gives a score.

Invariant: a score is the mean of votes that were read from what the model wrote. What could not be
read is None, stays out of every mean, and is recorded with the number of attempts. A drawing that
failed, and has no picture, is not asked about: its score is None after no attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from actors.config import JudgeConfig, external_player, named_together
from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Rollout, Task
from actors.roles.answers import Answer, ask, parse_judgement, parse_rating
from actors.roles.templates import Templates
from policies.interface import Context, Picture, Policy, TextSampling
from policies.seeds import derive


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
    ) -> list[JudgedGroup]:
        """Each prompt with its drawings, judged; all votes on all drawings are one batch."""
        pairs = list(zip(proposals, drawings, strict=True))
        votes = self._config.votes
        repeated = [
            (proposal.category, proposal.prompt, drawing.picture)
            for proposal, group in pairs
            for drawing in group
            if drawing.picture is not None
            for _ in range(votes)
        ]
        counts = [self._templates.counts(category) for category, *_ in repeated]
        answers = self._ask(
            task, seed, [self._shown(*each) for each in repeated],
            lambda row, text: parse_judgement(text, counts=counts[row]),
        )  # fmt: skip
        judgements = iter(combine(answers[at : at + votes]) for at in range(0, len(answers), votes))
        return [
            self._group(task, proposal, [_judged(d, judgements) for d in group], group)
            for proposal, group in pairs
        ]

    def rate(self, task: Task, seed: int, prompts: Sequence[str]) -> list[float | None]:
        """How good each prompt is, from 0 to 10; None where no answer could be read."""
        contexts = [self._templates.rate(prompt) for prompt in prompts]
        answers = self._ask(task, seed, contexts, lambda _, text: parse_rating(text))
        return [score for score, _ in answers]

    def score(
        self, task: Task, seed: int, shown: Sequence[tuple[str, str, Picture]]
    ) -> list[float | None]:
        """The likeliest score of each (category, prompt, drawing): to measure the Judge by."""
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

    def _shown(self, category: str, prompt: str, picture: Picture) -> Context:
        first = self._config.picture_first
        return self._templates.judge(category, prompt, picture, picture_first=first)

    def _ask(
        self,
        task: Task,
        seed: int,
        contexts: Sequence[Context],
        parse: Callable[[int, str], Answer | None],
    ) -> list[tuple[Answer | None, int]]:
        key = (seed, task.round, task.role, task.index)
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
        self,
        task: Task,
        proposal: Proposal,
        rollouts: Sequence[Rollout],
        drawings: Sequence[Drawing],
    ) -> JudgedGroup:
        return JudgedGroup(
            round=task.round,
            index=proposal.index,
            category=proposal.category,
            subcategory=proposal.subcategory,
            prompt=proposal.prompt,
            prompt_seed=proposal.seed,
            weight_version=drawings[0].version,
            judge_version=task.version,
            rollouts=tuple(rollouts),
            reason=rejection_reason(
                [rollout.judgement for rollout in rollouts], self._config.accept_at
            ),
            external=named_together(proposal.external, self._external),
        )


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
