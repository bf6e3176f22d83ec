"""Sends asks to the model together.

Invariant: at most `most` asks wait, and at most `size` go in one batch; while `slots` batches are on their
way others gather: each way to a replica takes Ray Serve as long as several small drawings. Each ask comes
to an end: what its batch loses with a replica is asked again, and comes out the same; a batch that fails is
halved, until those are alone that the model fails of.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from cluster.serving.refusals import Refusal

GATHER = 0.25
"""Of the time that a batch takes: so long a smaller one may wait for others."""
LOSSES = 5
"""How often a batch may lose its replica: more is no bad luck."""
Ask = Callable[[Sequence[Any]], AsyncIterator[list[tuple[int, Any]]]]
"""Has the model do a batch, and tells, by place, what becomes of each."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Waiting:
    """One ask, and who is told of it."""

    asked: Any
    tell: Callable[[Any], None]
    given_up: bool = False


class Lane:
    """Of one kind of asks. `slots` are two for each replica: one batch is being done, one is at the door."""

    def __init__(self, ask: Ask, size: int, slots: int, most: int, deadline: float) -> None:
        self._ask, self._size, self._slots, self._most = ask, size, slots, most
        self._deadline = deadline
        self._waiting = deque[Waiting]()
        self._going = set[asyncio.Task[None]]()
        self._gathering: asyncio.TimerHandle | None = None
        self._took = 0.0

    def put(self, asks: Sequence[Any], tell: Callable[[int, Any], None]) -> list[Waiting]:
        """`tell` hears of each by its place among them. Raises Refusal where too many wait."""
        if len(self._waiting) + len(asks) > self._most:
            self._waiting = deque(each for each in self._waiting if not each.given_up)
        if len(self._waiting) + len(asks) > self._most:
            raise Refusal(503, f"more than {self._most} requests would wait: ask again soon",
                          code="overloaded")  # fmt: skip
        added = [Waiting(each, partial(tell, place)) for place, each in enumerate(asks)]
        self._waiting += added
        self._send()
        return added

    def _send(self, now: bool = False) -> None:
        """Sends what waits; while every replica has work, a batch that is not full gathers for a while,
        unless it must go `now`."""
        while self._waiting and len(self._going) < self._slots:
            busy = len(self._going) >= self._slots // 2
            if busy and not now and len(self._waiting) < self._size:
                if not self._gathering:
                    loop = asyncio.get_running_loop()
                    self._gathering = loop.call_later(GATHER * self._took, self._gathered)
                return
            batch = list[Waiting]()
            while self._waiting and len(batch) < self._size:
                each = self._waiting.popleft()
                if not each.given_up:
                    batch.append(each)
            if batch:
                task = asyncio.create_task(self._follow(batch))
                self._going.add(task)
                task.add_done_callback(self._done)

    def _gathered(self) -> None:
        self._gathering = None
        self._send(now=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._going.discard(task)
        self._send()

    async def _follow(self, batch: Sequence[Waiting]) -> None:
        """To its end, or until all who wait for it have gone by their own deadlines, as where Ray is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline):
                await self._through(batch)

    async def _through(self, batch: Sequence[Waiting]) -> None:
        for _ in range(LOSSES):
            began = time.monotonic()
            batch = [each for each in batch if not each.given_up]
            if not batch:
                return
            try:
                async for events in self._ask([each.asked for each in batch]):
                    for place, event in events:
                        batch[place].tell(event)
                self._took = time.monotonic() - began
                return
            except ray.exceptions.RayActorError:
                continue  # Ray Serve starts another one
            except Exception:
                if len(batch) == 1:  # of one ask, and no other
                    log.exception("an ask failed")
                    return _refuse(
                        batch, Refusal(500, "the model failed: the server's log says why")
                    )
            half = len(batch) // 2
            await self._through(batch[:half])
            return await self._through(batch[half:])
        _refuse(batch, Refusal(500, f"lost {LOSSES} replicas of the model one after another"))


def _refuse(batch: Sequence[Waiting], refusal: Refusal) -> None:
    for each in batch:
        each.tell(refusal)
