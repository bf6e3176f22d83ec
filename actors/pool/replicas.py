"""The replicas of a pool: started, replaced when they are lost, added and let go.

Invariant: a replica that is lost is ended and replaced once. None leaves with a task in its hands.
While no replica is up and none can come up any more, the queue says why to all who wait.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from actors.config import ActorsConfig
from actors.pool.faults import ReplicaDied, StartTimeout, last_line, late_start
from actors.pool.leases import OnEvent, ReplicaHandle
from actors.pool.task_queue import TaskQueue

BACK_OFF_S = 0.1
"""Before something is tried again; doubled for each failure, up to LONGEST_S."""
LONGEST_S = 30.0


@dataclass
class Replicas:
    """Actors made by `make(number)`, each of which asks for `resources`; `wanted` of them."""

    name: str
    make: Callable[[int], ActorHandle[Any]]
    kill: Callable[[ActorHandle[Any]], None]
    wanted: int
    resources: Mapping[str, float]
    config: ActorsConfig
    on_event: OnEvent
    lost: int = field(default=0, init=False)
    queue: TaskQueue = field(init=False)
    _replicas: list[ReplicaHandle] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.queue = TaskQueue(self._freest)

    def __iter__(self) -> Iterator[ReplicaHandle]:
        return iter(self._replicas)

    def __len__(self) -> int:
        return len(self._replicas)

    @property
    def in_flight(self) -> int:
        return sum(len(replica.leases) for replica in self)

    async def start(self, seconds: float) -> None:
        """Returns when every replica is up; raises StartTimeout after `seconds`, ReplicaDied as soon
        as one cannot start."""
        self._replicas = [ReplicaHandle(n, self.make(n)) for n in range(self.wanted)]
        waits = {asyncio.ensure_future(self._ready(replica)): replica for replica in self}
        done, late = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((error for wait in done if (error := wait.exception())), None)
        if failed is None and not late:
            return
        for wait in late:
            wait.cancel()
        slow = self._late(sorted(waits[wait].number for wait in late), seconds)
        self.stop()
        raise failed or slow

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        for replica in self:
            self._end(replica)
        self._replicas = []

    def lose(self, replica: ReplicaHandle, what: str) -> None:
        """Ends `replica`, whatever it still does, and starts another in its place; once."""
        if replica.lost:
            return
        replica.lost, replica.up, replica.culprit = True, False, replica.leases[0]
        self.lost += 1
        self.on_event(self.who(replica), what, task=str(replica.culprit.task))
        self._end(replica)
        self._replicas.remove(replica)
        if not replica.leaving:
            self._add(replica.number, "replaced")

    def resize(self, wanted: int) -> None:
        """Keeps whoever is up before whoever only comes, and lets nobody go who has a task."""
        self.wanted = wanted
        kept = sorted(self, key=lambda each: (not each.up, each.leaving, each.number))
        for place, replica in enumerate(kept):
            replica.leaving = place >= wanted
        taken = {replica.number for replica in kept}
        free = (number for number in range(wanted) if number not in taken)
        for number in itertools.islice(free, max(0, wanted - len(kept))):
            self._add(number, "joined")
        for replica in [each for each in kept if each.leaving and not each.leases]:
            self.on_event(self.who(replica), "left", why="there is no work for it")
            self._end(replica)
            self._replicas.remove(replica)
        self.queue.hand_out()

    def who(self, replica: ReplicaHandle) -> str:
        return f"{self.name} {replica.number}"

    def _freest(self) -> ReplicaHandle | None:
        free = (replica for replica in self if self._is_free(replica))
        return min(free, key=lambda each: (len(each.leases), each.number), default=None)

    def _is_free(self, replica: ReplicaHandle) -> bool:
        held = len(replica.leases)
        return replica.up and not replica.leaving and held < self.config.tasks_in_flight

    def _end(self, replica: ReplicaHandle) -> None:
        if replica.revival:
            replica.revival.cancel()
        self.kill(replica.handle)

    def _add(self, number: int, how: str) -> None:
        fresh = ReplicaHandle(number, self.make(number))
        fresh.revival = asyncio.create_task(self._revive(fresh, how))
        self._replicas.append(fresh)

    async def _revive(self, replica: ReplicaHandle, how: str) -> None:
        """Waits until `replica` is up, starting it again where that fails. While others are up there
        is no limit to it; when none is, the pool is broken."""
        began, wait = time.monotonic(), BACK_OFF_S
        while True:
            try:
                async with asyncio.timeout(self.config.start_deadline):
                    await self._ready(replica)
                seconds = round(time.monotonic() - began, 2)
                self.on_event(self.who(replica), how, seconds=seconds)
                return
            except TimeoutError:
                fault: Exception = self._late([replica.number], self.config.start_deadline)
            except ReplicaDied as error:
                fault = error
            self.on_event(self.who(replica), f"not {how}", why=str(fault))
            # Not while others work, or may yet come up.
            if not any(each.up or (each.revival and each is not replica) for each in self):
                self.queue.broken, replica.revival = fault, None
                self.queue.hand_out()
                return
            self.kill(replica.handle)
            await asyncio.sleep(wait := min(2 * wait, LONGEST_S))
            replica.handle = self.make(replica.number)

    async def _ready(self, replica: ReplicaHandle) -> None:
        """Waits until `replica` is up, starting it again if it is killed before."""
        tries = 0
        while not replica.up:
            try:
                replica.up = await replica.handle.ready.remote()
            except RayError as error:
                tries += 1
                own_fault = isinstance(error, RayActorError) and error.actor_init_failed
                if own_fault or tries == self.config.task_attempts:
                    raise ReplicaDied(
                        f"{self.name} replica {replica.number} could not start: {last_line(error)}"
                    ) from error
                replica.handle = self.make(replica.number)
        self.queue.broken, replica.revival = None, None
        self.queue.hand_out()

    def _late(self, numbers: list[int], seconds: float) -> StartTimeout:
        return late_start(self.name, numbers, self.wanted, self.resources, seconds)
