"""Time that jumps, and replicas that only pretend to work: for schedules, by the thousand.

Invariant: nothing here sleeps, and what happens follows from the seed alone. The pool under test is
the real one; only what it would ask Ray for is played.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray.exceptions import RayActorError, RayTaskError

from actors.pool.leases import Receipt
from actors.replay.records import Task
from actors.roles.requests import Request


class Deadlock(AssertionError):
    """Everybody waits and nothing will ever happen."""


class _Jumps:
    """A selector that does not wait, but sets the clock on."""

    def __init__(self, loop: Loop, real: selectors.BaseSelector) -> None:
        self._loop, self._real = loop, real

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock(f"nothing more happens after {self._loop.now:g} s")
        self._loop.now += max(0.0, timeout)
        return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Jumps(self, self._selector)  # type: ignore[has-type]

    def time(self) -> float:
        return self.now


def play(story: Coroutine[Any, Any, None]) -> float:
    """Plays to the end; gives the simulated seconds. Raises Deadlock."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(story)
        return runner.get_loop().time()


@dataclass
class Fate:
    """How often a task ends badly: its replica dies, is silent, or its code fails; how often a
    replica cannot start; and the index of a task that kills whoever does it."""

    death: float = 0.0
    silence: float = 0.0
    failure: float = 0.0
    bad_start: float = 0.0
    deadly: int = -1


@dataclass
class World:
    """All replicas of a schedule. `busiest` is the most tasks that one ever had in its hands, and
    `interrupted` how many tasks were in the hands of those that were ended. A task takes about
    `seconds`, or if that is 0, anything around ten."""

    random: np.random.Generator
    fate: Fate
    seconds: float = 0.0
    published: Callable[[int], bool] = lambda version: True
    busiest: int = 0
    interrupted: int = 0
    handles: list[Handle] = field(default_factory=list)

    def make(self, number: int) -> Handle:
        self.handles.append(Handle(self, number))
        return self.handles[-1]

    def kill(self, handle: Handle) -> None:
        """As `ray.kill`: takes effect a little later."""
        self.interrupted += sum(not answer.done() for answer in handle.hands)
        asyncio.get_running_loop().call_later(self.random.exponential(0.5), handle.die)

    def happens(self, share: float) -> bool:
        return bool(self.random.random() < share)


class Remote:
    """A method of an actor's handle."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class Handle:
    """A replica: does one task after the other, each in some seconds."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.dead = world.happens(world.fate.bad_start)
        self.silent = False
        self.hands: list[asyncio.Future[Any]] = []
        self.line = asyncio.Lock()
        self.ready = Remote(self._ready)
        self.perform = Remote(self._perform)

    async def _ready(self) -> bool:
        await asyncio.sleep(self.world.random.exponential(2.0))
        if self.dead:
            raise RayActorError()
        return True

    def die(self) -> None:
        self.dead = True
        for answer in self.hands:
            if not answer.done():
                answer.set_exception(RayActorError())

    def _perform(self, request: Request[Any], *inputs: Any) -> tuple[Awaitable[Any], Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # Whom nobody listens to any more must not be told of as forgotten.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.hands = [each for each in self.hands if not each.done()] + [answer]
        self.world.busiest = max(self.world.busiest, len(self.hands))
        asyncio.get_running_loop().create_task(self._work(request.task, answer))
        return answer, (request, *inputs)

    async def _work(self, task: Task, answer: asyncio.Future[Any]) -> None:
        world, fate = self.world, self.world.fate
        async with self.line:
            assert world.published(task.version), f"{task} was begun before its weights came"
            self.silent |= world.happens(fate.silence)
            about = world.seconds * world.random.uniform(0.9, 1.1)
            needed = about or world.random.exponential(10.0)
            await asyncio.sleep(needed + 10_000.0 * self.silent)
            if self.dead or task.index == fate.deadly or world.happens(fate.death):
                self.die()
            if answer.done():
                return
            if world.happens(fate.failure):
                answer.set_exception(RayTaskError("perform", "ValueError: bad luck", ValueError()))
            else:
                answer.set_result(Receipt(task, 10.0))
