"""The Judge: says of drawings what is right and wrong in them, and gives every one a score.

Invariant: a score is the mean of votes that were read from what the model wrote, or follows from how
likely the prompt is as its description of the drawing, or from these and others together. What could
not be read is None, stays out of every mean, and is recorded with the number of attempts. A drawing
that failed, and has no picture, is not asked about, and neither is one that a filter leaves out: its
score is None after no attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from actors.config import JudgeConfig, external_player, named_together
from actors.hygiene.filters import Filters
from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Rollout, Task
from actors.roles.answers import Answer, ask, parse_judgement, parse_rating
from actors.roles.calibration import TRUSTED, Trust, score_of
from actors.roles.signals import Shown, likelihoods, likeness
from actors.roles.templates import Templates
from policies.interface import Context, Picture, Policy, TextSampling
from policies.seeds import derive

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
        trust: Trust = TRUSTED,
    ) -> list[JudgedGroup]:
        """Each prompt with its drawings, judged, after those of the groups `before`; all that is asked
        of a wave is one batch. `trust` is what is known of the round's Judge."""
        key = (*_key(task, seed), *([wave] if wave else []))
        pairs = list(zip(proposals, drawings, strict=True))
        rollouts = self._filters.rollouts(pairs, lambda shown: self._judged(key, shown, trust))
        groups = (
            [self._added(*each) for each in zip(before, rollouts, strict=True)]
            if before
            else [
                self._group(task, proposal, own, group[0].version)
                for (proposal, group), own in zip(pairs, rollouts, strict=True)
            ]
        )
        if last and self._config.analyses and "votes" not in self._config.read:
            groups = self._analysed(key, groups)
        return [_taught(group, trust) for group in groups] if last else groups

    def rate(self, task: Task, seed: int, prompts: Sequence[str]) -> list[float | None]:
        """How good each prompt is, from 0 to 10; None where no answer could be read."""
        contexts = [self._templates.rate(prompt) for prompt in prompts]
        answers = self._ask(_key(task, seed), contexts, lambda _, text: parse_rating(text))
        return [score for score, _ in answers]

    def score(
        self, task: Task, seed: int, shown: Sequence[Shown], trust: Trust = TRUSTED
    ) -> list[float | None]:
        """The score of each (category, prompt, drawing), of votes alone the likeliest: to measure the
        Judge by."""
        if trust.fit or self._config.by == "read_back":
            return [judged.score for judged in self._judged(_key(task, seed), shown, trust)]
        texts = self._say(_key(task, seed), [self._shown(*each) for each in shown])
        read = [
            parse_judgement(text, counts=self._templates.counts(category))
            for (category, *_), text in zip(shown, texts, strict=True)
        ]
        return [judgement.score if judgement else None for judgement in read]

    def answer(self, task: Task, seed: int, asked: Sequence[tuple[Picture, str]]) -> list[str]:
        """The likeliest answer to each question about its picture."""
        contexts = [self._templates.answer(picture, question) for picture, question in asked]
        return self._say(_key(task, seed), contexts)

    def reply(self, task: Task, seed: int, texts: Sequence[str]) -> list[str]:
        """The likeliest reply to each text, without a picture."""
        return self._say(_key(task, seed), [(text,) for text in texts])

    def write(self, task: Task, seed: int, asked: Sequence[tuple[Context, int]]) -> list[str]:
        """The likeliest text after each context as it stands, of so many tokens at most."""
        contexts, most = zip(*asked, strict=True)
        return self._say(_key(task, seed), contexts, most)

    def caption(self, task: Task, seed: int, pictures: Sequence[Picture]) -> list[str]:
        """The likeliest description of each picture."""
        contexts = [self._templates.caption(picture) for picture in pictures]
        return self._say(_key(task, seed), contexts)

    @cached_property
    def _filters(self) -> Filters:
        """Loaded when drawings are to be filtered: a Judge that measures needs none."""
        return Filters(self._config.hygiene, "cuda" if self._config.gpus else "cpu")

    def _voted(self, key: Key, shown: Sequence[Shown]) -> list[Judgement]:
        votes = self._config.votes
        repeated = [each for each in shown for _ in range(votes)]
        counts = [self._templates.counts(category) for category, *_ in repeated]
        answers = self._ask(
            key, [self._shown(*each) for each in repeated],
            lambda row, text: parse_judgement(text, counts=counts[row]),
        )  # fmt: skip
        return [combine(answers[at : at + votes]) for at in range(0, len(answers), votes)]

    def signals(self, task: Task, seed: int, shown: Sequence[Shown]) -> list[Judgement]:
        """A judgement of each (category, prompt, drawing) as in a round of which no planted pairs are
        known."""
        return self._judged(_key(task, seed), shown, TRUSTED)

    def read_back(self, prompts: Sequence[str], drawings: Sequence[Picture]) -> list[float]:
        """The score that each drawing gets by reading its prompt back, whatever the recipe judges by."""
        shown = [("", *each) for each in zip(prompts, drawings, strict=True)]
        return [_likely(float(each.mean(dtype=np.float64))) for each in self._likelihoods(shown)]

    def _judged(self, key: Key, shown: Sequence[Shown], trust: Trust) -> list[Judgement]:
        read = self._config.read
        votes = (
            self._voted(key, shown) if "votes" in read else [Judgement("", None, 0)] * len(shown)
        )
        if read == {"votes"}:
            return votes
        rows = self._read_signals(key, shown, votes)
        return [
            replace(vote, score=self._score(row, trust), signals=self._kept(row))
            for vote, row in zip(votes, rows, strict=True)
        ]

    def _read_signals(
        self, key: Key, shown: Sequence[Shown], votes: Sequence[Judgement]
    ) -> list[dict[str, float | None]]:
        """Of each drawing those that the recipe names."""
        read, found = self._config.read, dict[str, Sequence[float | None]]()
        found["votes"] = [vote.score for vote in votes]
        if read & {"read_back", "worst"}:
            likely = self._likelihoods(shown)
            found["read_back"] = [float(each.mean(dtype=np.float64)) for each in likely]
            found["worst"] = [float(each.min()) for each in likely]
        if "cycle" in read:
            said = self._say(key, [self._templates.caption(picture) for *_, picture in shown])
            asked = [prompt for _, prompt, _ in shown]
            found["cycle"] = list(map(likeness, said, asked))
        names = [name for name in found if name in read]
        return [{name: found[name][row] for name in names} for row in range(len(shown))]

    def _kept(self, row: Mapping[str, float | None]) -> tuple[tuple[str, float], ...]:
        """What a record keeps of signals: nothing where one alone is the score."""
        known = [(name, value) for name, value in row.items() if value is not None]
        return tuple(known) if self._config.accept_probability else ()

    def _score(self, row: Mapping[str, float | None], trust: Trust) -> float | None:
        """None where a signal could not be read."""
        config, fit = self._config, trust.fit
        if fit is None:
            own = row[config.by]
            return own if own is None or config.by == "votes" else _likely(own)
        values = [row[name] for name in fit.signals]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return score_of(fit.probability(known), config.accept_probability, config.accept_at)

    def _analysed(self, key: Key, groups: Sequence[JudgedGroup]) -> list[JudgedGroup]:
        """The groups with what the Judge writes of the best and the worst drawing of each; the scores
        stay."""
        ends = [(i, k) for i, group in enumerate(groups) for k in _ends(group)]
        shown = [
            (groups[i].category, groups[i].prompt, groups[i].rollouts[k].shown) for i, k in ends
        ]
        said = dict(zip(ends, self._voted(key, shown), strict=True))

        def judged(i: int, k: int, rollout: Rollout) -> Rollout:
            before = rollout.judgement
            own = said.get((i, k), before)
            own = replace(own, score=before.score, signals=before.signals)
            return replace(rollout, judgement=own)

        return [
            replace(group, rollouts=tuple(judged(i, k, r) for k, r in enumerate(group.rollouts)))
            for i, group in enumerate(groups)
        ]

    def _likelihoods(self, shown: Sequence[Shown]) -> list[np.ndarray]:
        return likelihoods(self._policy, self._templates, shown)

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

    def _say(self, key: Key, contexts: Sequence[Context], most: Sequence[int] = ()) -> list[str]:
        """`most` are the tokens of each; by default those of a judgement."""
        most = most or [self._config.max_tokens] * len(contexts)
        greedy = [TextSampling(temperature=0.0, max_tokens=each) for each in most]
        seeds = [derive(*key, row) for row in range(len(contexts))]
        return self._policy.write(contexts, greedy, seeds)

    def _group(
        self, task: Task, proposal: Proposal, rollouts: Sequence[Rollout], version: int
    ) -> JudgedGroup:
        """With the `version` that drew it."""
        # A prompt that is asked again names the filters of its first time.
        filters = self._config.hygiene.outside
        filters = "" if filters in proposal.external else filters
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
            external=named_together(proposal.external, self._external, filters),
        )

    def _added(self, group: JudgedGroup, new: Sequence[Rollout]) -> JudgedGroup:
        rollouts = (*group.rollouts, *new)
        return replace(group, rollouts=rollouts, reason=self._reason(rollouts))

    def _reason(self, rollouts: Sequence[Rollout]) -> str:
        drawn = [each for each in rollouts if each.picture is not None]
        if drawn and all(each.unfit for each in drawn):
            return "every drawing was left out by a filter"
        return rejection_reason([each.judgement for each in rollouts], self._config.accept_at)


def _key(task: Task, seed: int) -> Key:
    return seed, task.round, task.role, task.index


def _likely(nats: float) -> float:
    """The score of a prompt whose tokens have this mean log-probability."""
    return 10.0 * math.exp(nats)


def _taught(group: JudgedGroup, trust: Trust) -> JudgedGroup:
    """Rejected where the Judge is not trusted in its category."""
    reason = trust.reason(group.category)
    return replace(group, reason=reason) if group.accepted and reason else group


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
