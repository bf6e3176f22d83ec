"""The measured model as its own judge, through the pool of Judges.

Invariant: it is asked greedily and once, for a second attempt would say the same. It never sees the
drawing that the answer is about: the prompt alone is the ground.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import within
from actors.roles.requests import AnswerQuestions
from actors.roles.requests import Reply as AskReply
from evaluation.judges.asking import Answered, Keep, LanguageJudge
from evaluation.judges.cache import Reply
from evaluation.unicycle import rules
from evaluation.unicycle.instances import InstanceError
from evaluation.unicycle.judging import UNPARSABLE, Verdict
from policies.interface import Picture

AT_ONCE = 32
"""Texts of one task."""


class _Itself(ABC):
    """`weights` are the digest of `version`, and what else its replies follow from."""

    def __init__(self, judges: Pool, weights: str, deadline: float, version: int = 0) -> None:
        self.identity = f"itself {weights}"
        self._judges, self._deadline, self._version = judges, deadline, version

    async def ask(self, texts: Sequence[str], attempt: int, keep: Keep) -> None:
        async with asyncio.TaskGroup() as tasks:
            for at in range(0, len(texts), AT_ONCE):
                task = Task(0, "evaluator", at // AT_ONCE, self._version)
                tasks.create_task(self._part(task, list(texts[at : at + AT_ONCE]), keep))

    async def _part(self, task: Task, texts: list[str], keep: Keep) -> None:
        replies = await self._judges.run(*self._request(task, texts))
        found = await within(replies, self._deadline, f"the judge's replies of {task}")
        for text, said in zip(texts, found, strict=True):
            await keep(text, Reply(said))

    @abstractmethod
    def _request(self, task: Task, texts: list[str]) -> tuple[Any, list[Any]]:
        """What the pool is asked for, and its inputs, one for each text."""


class ItselfJudge(_Itself, LanguageJudge):
    """Asked in words, as a judge behind a server is."""

    def _request(self, task: Task, texts: list[str]) -> tuple[Any, list[Any]]:
        return AskReply(task), texts


class ItselfReading(_Itself):
    """For a model that knows its questions and no other words: it answers the same question about a
    picture of which the prompt is true, which `shown` gives, and an answer is right if it is that one."""

    prompt_hash = "the question, about a picture of which the prompt is true"

    def __init__(
        self, judges: Pool, weights: str, deadline: float, shown: Callable[[str], Picture],
        version: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(judges, f"{weights} reading", deadline, version)
        self._shown = shown

    def wording(self, answered: Answered) -> str:
        return json.dumps([answered.instance.prompt, answered.question.text])

    def read(self, answered: Answered, reply: str) -> Verdict:
        question = answered.question
        keywords = tuple(rules.words(reply)) if question.keywords else ()
        try:
            own = replace(question, answer=reply, keywords=keywords)
        except InstanceError:  # not one of the options, not a yes or no, or nothing
            return UNPARSABLE
        return Verdict(rules.mark(own, answered.answer), "judged")

    def _request(self, task: Task, texts: list[str]) -> tuple[Any, list[Any]]:
        pairs = [json.loads(text) for text in texts]
        return AnswerQuestions(task), [(self._shown(prompt), asked) for prompt, asked in pairs]
