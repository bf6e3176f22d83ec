"""A pool of replicas that do tasks.

Invariant: every task that `run` was given ends: with its payload, or with one error that names the
pool, the replica and the task. `run` is the one place where a task is in a replica's hands, and
work that waits is bounded. What a task's payload is does not depend on who did it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.config import ActorsConfig
from actors.records import Task
from policies.errors import UserError


class StartTimeout(UserError, TimeoutError):
    """Replicas that did not come up; the message says what they wait for."""


class TaskTimeout(UserError, TimeoutError):
    """A task that missed its deadline; the message names pool, replica and task."""


class ReplicaDied(RuntimeError):
    """A replica's process ended; the message names pool, replica and what it did."""


class TaskFailed(RuntimeError):
    """A task whose code raised an error, which is the cause; the message names the task."""


@dataclass(frozen=True)
class Receipt:
    """What a replica says of a finished task: small, and enough for every count."""

    task: Task
    seconds: float
    pictures: int = 0
    unparsable: int = 0


@dataclass
class Member:
    number: int
    handle: ActorHandle[Any]
    in_flight: int = 0


@dataclass
class Stats:
    """Since the pool started. `unparsable` answers are those that no attempt made readable."""

    replicas: int
    done: int = 0
    in_flight: int = 0
    busy_seconds: float = 0.0
    pictures: int = 0
    unparsable: int = 0


@dataclass
class Pool:
    """`replicas` actors made by `make_replica(number)`, each of which asks for `resources`.

    A replica has the methods `ready()` and `perform(task, method, *args) -> (Receipt, payload)`.
    """

    name: str
    make_replica: Callable[[int], ActorHandle[Any]]
    replicas: int
    resources: Mapping[str, float]
    config: ActorsConfig
    _members: list[Member] = field(default_factory=list, init=False)
    _stats: Stats = field(init=False)
    _room: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._stats = Stats(self.replicas)
        self._room = asyncio.Semaphore(self.replicas * self.config.tasks_in_flight)

    async def start(self, deadline: float | None = None) -> None:
        """Returns when every replica is up; raises StartTimeout after `deadline` seconds (by
        default the configured one), ReplicaDied as soon as one cannot start."""
        seconds = self.config.start_deadline if deadline is None else deadline
        self._members = [Member(n, self.make_replica(n)) for n in range(self.replicas)]
        waits = {asyncio.ensure_future(self._ready(member)): member for member in self._members}
        done, late = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((error for wait in done if (error := wait.exception())), None)
        if failed is None and not late:
            return
        for wait in late:
            wait.cancel()
        message = self._late(sorted(waits[wait].number for wait in late), seconds)
        self.stop()
        raise failed or StartTimeout(message)

    async def run(self, task: Task, method: str, *args: Any) -> ray.ObjectRef[Any]:
        """Does `method` of `task` on the least busy replica; gives the reference of the finished
        payload. Arguments that are references are read by the replica, not here.

        Raises TaskTimeout, ReplicaDied, or TaskFailed from the error that the task raised.
        """
        if not self._members:
            raise RuntimeError(f"The {self.name} pool was given {task} but is not started.")
        async with self._room:
            member = min(self._members, key=lambda m: (m.in_flight, m.number))
            member.in_flight += 1
            self._stats.in_flight += 1
            try:
                refs: list[Any] = member.handle.perform.remote(task, method, *args)
                receipt, payload = refs
                self._count(await self._receipt(member, task, receipt))
                return payload
            finally:
                member.in_flight -= 1
                self._stats.in_flight -= 1

    def stats(self) -> Stats:
        """A copy."""
        return Stats(**vars(self._stats))

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        for member in self._members:
            ray.kill(member.handle)
        self._members = []

    async def _receipt(
        self, member: Member, task: Task, receipt: ray.ObjectRef[Receipt]
    ) -> Receipt:
        # The replica does one task after the other, and each of them has the deadline.
        seconds = self.config.task_deadline * member.in_flight
        who = f"{self.name} replica {member.number}"
        try:
            async with asyncio.timeout(seconds):
                return await receipt
        # What the task itself raised comes first: Ray gives it the class of its cause as well.
        except RayTaskError as error:
            raise TaskFailed(f"{who} failed at {task}: {_told(error)}") from error
        except RayActorError as error:
            raise ReplicaDied(f"{who} died while it had {task}: {_told(error)}") from error
        except RayError as error:
            raise TaskFailed(f"{who} failed at {task}: {_told(error)}") from error
        except TimeoutError:
            raise TaskTimeout(
                f"{who} did not finish {task} within {seconds:g} s "
                "(actors.task_deadline for it and each task before it)"
            ) from None

    async def _ready(self, member: Member) -> None:
        try:
            await member.handle.ready.remote()
        except RayError as error:
            raise ReplicaDied(
                f"{self.name} replica {member.number} could not start: {_told(error)}"
            ) from error

    def _count(self, receipt: Receipt) -> None:
        self._stats.done += 1
        self._stats.busy_seconds += receipt.seconds
        self._stats.pictures += receipt.pictures
        self._stats.unparsable += receipt.unparsable

    def _late(self, numbers: list[int], seconds: float) -> str:
        names = ", ".join(map(str, numbers))
        asked = ", ".join(f"{amount:g} {kind}" for kind, amount in self.resources.items())
        free, total = ray.available_resources(), ray.cluster_resources()
        found = ", ".join(
            f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}" for kind in self.resources
        )
        return (
            f"{self.name} replica {names} of {self.replicas} did not start within {seconds:g} s: "
            f"each asks for {asked}, and the cluster has {found} free; add nodes or "
            f"lower {self.name}.replicas or {self.name}.cpus; where there is room, the start is "
            "only slow: raise actors.start_deadline"
        )


def _told(error: BaseException) -> str:
    """The last line of Ray's report, which is the error itself; the rest is its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
