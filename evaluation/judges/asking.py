"""Asks a judge about many answers: each question once, again only where no verdict could be read.

Invariant: verdicts come in the order of what is asked, and follow from the replies alone. A reply is
kept before the next step, and one that is kept is never asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from evaluation.judges.cache import Cache, Reply
from evaluation.unicycle.instances import Instance, Question
from evaluation.unicycle.judging import (
    NO_ANSWER,
    PROMPT_HASH,
    UNPARSABLE,
    Verdict,
    instruction,
    read_reply,
)

Keep = Callable[[str, Reply], Awaitable[None]]


class Answered(NamedTuple):
    """An answer to a question about the drawing of an instance."""

    instance: Instance
    question: Question
    answer: str


class Judge(Protocol):
    """Who can be asked: `identity` says all that its replies follow from, but for the text, and
    `prompt_hash` how it is asked."""

    identity: str
    prompt_hash: str

    def wording(self, answered: Answered) -> str:
        """Returns the text that it is asked about an answer."""

    def read(self, answered: Answered, reply: str) -> Verdict:
        """Returns what `reply` says of the answer; UNPARSABLE where it says nothing of it."""

    async def ask(self, texts: Sequence[str], attempt: int, keep: Keep) -> None:
        """Gives every text's reply to `keep` as soon as it is there. `attempt` counts from 0; a later
        one is to be worded differently. Raises UserError where nobody replies."""


class LanguageJudge:
    """What is common to judges that read and write text: they are asked as the paper does."""

    prompt_hash = PROMPT_HASH

    def wording(self, answered: Answered) -> str:
        return instruction(*answered)

    def read(self, answered: Answered, reply: str) -> Verdict:
        return read_reply(answered.question, reply)


class Judged(NamedTuple):
    """Verdicts, and `counted`: replies that were used and asked for now, and tokens of all used."""

    verdicts: list[Verdict]
    counted: Counter[str]
    models: list[str]


async def judged(
    judge: Judge, cache: Cache, answers: Sequence[Answered], attempts: int
) -> Judged:  # fmt: skip
    """Returns a verdict for each answer; one that `attempts` replies left unreadable is UNPARSABLE."""
    verdicts = [UNPARSABLE if each.answer.strip() else NO_ANSWER for each in answers]
    counted: Counter[str] = Counter(used=0, asked=0, prompt_tokens=0, completion_tokens=0)
    models: set[str] = set()
    texts = [judge.wording(each) for each in answers]
    left = [i for i, verdict in enumerate(verdicts) if verdict is UNPARSABLE]
    for attempt in range(attempts):
        wanted = list(dict.fromkeys(texts[i] for i in left))
        replies, asked = await _replies(judge, cache, wanted, attempt)
        counted.update(used=len(wanted), asked=asked)
        for reply in replies.values():
            counted.update(
                prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens
            )
            models.add(reply.model)
        for i in left:
            verdicts[i] = judge.read(answers[i], replies[texts[i]].text)
        left = [i for i in left if verdicts[i] is UNPARSABLE]
    return Judged(verdicts, counted, sorted(filter(None, models)))


async def _replies(
    judge: Judge, cache: Cache, texts: Sequence[str], attempt: int
) -> tuple[dict[str, Reply], int]:
    """The reply to each text, and how many had to be asked for."""
    # In threads: others share this event loop, and a disk may be slow or full.
    replies = await asyncio.to_thread(
        lambda: {text: cache.get(judge.identity, text, attempt) for text in texts}
    )
    missing = [text for text, reply in replies.items() if reply is None]

    async def keep(text: str, reply: Reply) -> None:
        await asyncio.to_thread(cache.put, judge.identity, text, attempt, reply)
        replies[text] = reply

    if missing:
        await judge.ask(missing, attempt, keep)
    return {text: reply for text, reply in replies.items() if reply is not None}, len(missing)
