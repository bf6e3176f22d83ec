"""Has a benchmark's questions answered: by a model of ours, through the pool of Judges, or by a server.

Invariant: every answer is greedy and is kept as soon as it is there. Pictures are decoded when their turn
has come, for few questions at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from functools import partial

import numpy as np
from PIL import Image

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import made_again, within
from actors.roles.requests import Write
from evaluation.benchmarks.benchmark import Part, Question
from evaluation.judges.cache import Cache, Reply
from evaluation.judges.server import Asked, ChatServer
from policies.interface import Context, Picture
from policies.pictures import decode, read

Keep = Callable[[str, str], Awaitable[None]]
"""Of an answer to the question with an id."""


async def ask_pool(
    judges: Pool, questions: Sequence[Question], there: Container[str], keep: Keep,
    size: int, at_once: int, deadline: float,
) -> None:  # fmt: skip
    """In tasks of `size` questions, `at_once` of them; those whose answers are `there` are left out.
    Raises PictureError, WaitTimeout."""
    room = asyncio.Semaphore(at_once)

    async def answer(number: int, part: Sequence[Question]) -> None:
        async with room:
            asked = await asyncio.to_thread(lambda: [(shown(q), q.max_tokens) for q in part])
            task = Task(0, "evaluator", number, 0)
            said = await judges.run(Write(task), asked)
            for each, text in zip(
                part, await within(said, deadline, f"the answers of {task}"), strict=True
            ):
                await keep(each.id, text)

    async with asyncio.TaskGroup() as tasks:
        for number, at in enumerate(range(0, len(questions), size)):
            if left := [each for each in questions[at : at + size] if each.id not in there]:
                tasks.create_task(made_again(partial(answer, number, left)))


async def ask_server(
    server: ChatServer, questions: Sequence[Question], there: Container[str], keep: Keep
) -> None:
    """Raises PictureError, JudgeError."""

    async def keep_reply(name: str, reply: Reply) -> None:
        await keep(name, reply.text)

    asked = [
        Asked(each.id, partial(shown, each), each.max_tokens)
        for each in questions
        if each.id not in there
    ]
    await server.chat(asked, keep_reply)


async def ask_doubts(
    server: ChatServer, cache: Cache, doubts: Sequence[Question]
) -> tuple[dict[str, str], dict[str, int]]:
    """The reply to each doubt, by id, and what was counted: how many were used and asked for now, and the
    tokens of all. One that is in the cache is not asked for. Raises JudgeError."""
    texts = {each.id: "\n".join(map(str, each.parts)) for each in doubts}
    found = {id_: await asyncio.to_thread(cache.get, server.identity, text, 0)
             for id_, text in texts.items()}  # fmt: skip
    left = [each for each in doubts if found[each.id] is None]

    async def keep(name: str, reply: Reply) -> None:
        await asyncio.to_thread(cache.put, server.identity, texts[name], 0, reply)
        found[name] = reply

    if left:
        await server.chat([Asked(d.id, partial(shown, d), d.max_tokens) for d in left], keep)
    replies = {id_: reply for id_, reply in found.items() if reply is not None}
    counted = {
        "used": len(replies),
        "asked": len(left),
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies.values()),
        "completion_tokens": sum(reply.completion_tokens for reply in replies.values()),
    }
    return {id_: reply.text for id_, reply in replies.items()}, counted


def shown(question: Question) -> Context:
    """What the model reads. Raises PictureError, which names the file or the question."""
    found = [_segment(part, question.id) for part in question.parts]
    first = next((i for i, each in enumerate(found) if isinstance(each, Picture)), None)
    if question.enlarged > 1 and first is not None:
        found[first] = _enlarged(found[first], question.enlarged)
    return tuple(found)


def _segment(part: Part, name: str) -> str | Picture:
    if isinstance(part, str):
        return part
    return decode(part, f"the picture of {name}") if isinstance(part, bytes) else read(part)


def _enlarged(picture: str | Picture, times: int) -> Picture:
    assert isinstance(picture, Picture)
    image = Image.fromarray(picture.pixels)
    size = (image.width * times, image.height * times)
    return Picture(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))
