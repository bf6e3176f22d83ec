"""A pool of replicas that do tasks, and that are replaced when they are lost.

Invariant: every task that `run` was given ends: with its payload, or with one error that names the
pool and the task. A task is leased to one replica at a time; one that dies, or is silent past the
deadline, loses all its leases and is replaced, its tasks go to others, and what it answers later
is not heard. Leases are bounded. What a task's payload is does not depend on who did it, nor on
how many there were. No replica leaves with a task in its hands.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError

from actors.config import ActorsConfig
from actors.pool.faults import (
    InputsLost,
    Poisoned,
    ReplicaDied,
    StartTimeout,
    TaskFailed,
    TaskTimeout,
    late_start,
    reason,
    told,
)
from actors.pool.leases import Lease, Member, Receipt, Stats, Tell, tell_nobody
from actors.pool.scaling import Demand
from actors.pool.task_queue import Line
from actors.replay.records import Task
from policies.errors import UserError
from policies.interface import PromptError

BACK_OFF_S = 0.1
"""Before a task is tried again; doubled for each failure, up to LONGEST_S."""
LONGEST_S = 30.0
SCALE_S = 1.0
"""Between two looks at how many replicas are wanted."""
RECENT = 0.2
"""What the newest task counts in the mean of task times."""


@dataclass
class Pool:
    """`replicas` actors made by `make_replica(number)`, each of which asks for `resources`; up to
    `most` of them (0: always `replicas`) while there is work for more. Those that wait for
    resources are the demand that Ray's autoscaler sees.

    A replica has the methods `ready()` and `perform(task, method, *args) -> (Receipt, payload)`.
    """

    name: str
    make_replica: Callable[[int], ActorHandle[Any]]
    replicas: int
    resources: Mapping[str, float]
    config: ActorsConfig
    tell: Tell = tell_nobody
    kill: Callable[[ActorHandle[Any]], None] = ray.kill
    most: int = 0
    _members: list[Member] = field(default_factory=list, init=False)
    _stats: Stats = field(init=False)
    _line: Line = field(init=False)
    _demand: Demand = field(init=False)
    _scaling: asyncio.Task[None] | None = field(default=None, init=False)
    _task_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        actors, most = self.config, max(self.replicas, self.most)
        self._demand = Demand(self.replicas, most, actors.backlog_seconds, actors.cool_down)
        self._stats = Stats(self.replicas)
        self._line = Line(self._freest)

    async def start(self, deadline: float | None = None) -> None:
        """Returns when every replica is up; raises StartTimeout after `deadline` seconds (by
        default the configured one), ReplicaDied as soon as one cannot start."""
        seconds = self.config.start_deadline if deadline is None else deadline
        self._members = [Member(n, self.make_replica(n)) for n in range(self.replicas)]
        waits = {asyncio.ensure_future(self._ready(member)): member for member in self._members}
        done, late = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((error for wait in done if (error := wait.exception())), None)
        if failed is None and not late:
            if self.most > self.replicas:
                self._scaling = asyncio.create_task(self._scale())
            return
        for wait in late:
            wait.cancel()
        slow = self._late(sorted(waits[wait].number for wait in late), seconds)
        self.stop()
        raise failed or slow

    async def run(self, task: Task, method: str, *args: Any) -> ray.ObjectRef[Any]:
        """Does `method` of `task` on the least busy replica; gives the reference of the finished
        payload. Arguments that are references are read by the replica, not here.

        Raises Poisoned after `actors.task_attempts` failures of the task's own; at once InputsLost,
        TaskFailed where a person must mend something, and what keeps the last replica from coming
        back.
        """
        if not self._members:
            raise RuntimeError(f"The {self.name} pool was given {task} but is not started.")
        failures = 0
        while True:
            lease = Lease(task)
            member = await self._line.member_for(lease)
            try:
                return await self._attempt(member, lease, method, args)
            except (TaskFailed, ReplicaDied, TaskTimeout) as fault:
                # A prompt that cannot be read is the run's own; the rest a person must mend.
                cause = fault.__cause__
                if isinstance(cause, UserError) and not isinstance(cause, PromptError):
                    raise
                # Who only stood in line when its replica was lost is not to blame.
                failures += not member.lost or member.culprit is lease
                self.tell(_who(self.name, member), "failed", task=str(task), why=str(fault))
                if failures >= self.config.task_attempts:
                    raise Poisoned(
                        f"{task} failed {failures} times (actors.task_attempts); at last {fault}",
                        reason(fault),
                    ) from fault
            await asyncio.sleep(min(BACK_OFF_S * 2**failures, LONGEST_S))

    def stats(self) -> Stats:
        """A copy."""
        return replace(
            self._stats, wanted=self._demand.wanted, running=sum(m.up for m in self._members),
            waiting=len(self._line), in_flight=self._in_flight(),
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        if self._scaling:
            self._scaling.cancel()
        for member in self._members:
            self._end(member)
        self._members = []

    def _freest(self) -> Member | None:
        free = (member for member in self._members if self._is_free(member))
        return min(free, key=lambda m: (len(m.leases), m.number), default=None)

    def _is_free(self, member: Member) -> bool:
        held = len(member.leases)
        return member.up and not member.leaving and held < self.config.tasks_in_flight

    def _in_flight(self) -> int:
        return sum(len(member.leases) for member in self._members)

    async def _attempt(
        self, member: Member, lease: Lease, method: str, args: tuple[Any, ...]
    ) -> ray.ObjectRef[Any]:
        try:
            refs: list[Any] = member.handle.perform.remote(lease.task, method, *args)
            receipt, payload = refs
            self._count(await self._receipt(member, lease.task, receipt))
            return payload
        finally:
            self._line.give_back(member, lease)

    async def _receipt(
        self, member: Member, task: Task, receipt: ray.ObjectRef[Receipt]
    ) -> Receipt:
        # The replica does one task after the other, and each of them has the deadline.
        seconds = self.config.task_deadline * len(member.leases)
        who = f"{self.name} replica {member.number}"
        try:
            async with asyncio.timeout(seconds):
                return await receipt
        # What the task itself raised comes first: Ray gives it the class of its cause as well.
        except RayTaskError as error:
            if isinstance(error, ObjectLostError):
                raise InputsLost(f"{task} cannot be done: {told(error)}") from error
            raise TaskFailed(f"{who} failed at {task}: {told(error)}") from error
        except RayActorError as error:
            self._lose(member, "died")
            raise ReplicaDied(f"{who} died while it had {task}: {told(error)}") from error
        except RayError as error:
            raise TaskFailed(f"{who} failed at {task}: {told(error)}") from error
        except TimeoutError:
            self._lose(member, "silent")
            raise TaskTimeout(
                f"{who} did not finish {task} within {seconds:g} s "
                "(actors.task_deadline for it and each task before it)"
            ) from None

    def _lose(self, member: Member, what: str) -> None:
        """Ends `member`, whatever it still does, and starts another in its place; once."""
        if member.lost:
            return
        member.lost, member.up, member.culprit = True, False, member.leases[0]
        self._stats.lost += 1
        self.tell(_who(self.name, member), what, task=str(member.culprit.task))
        self._end(member)
        self._members.remove(member)
        if not member.leaving:
            self._add(member.number, "replaced")

    def _end(self, member: Member) -> None:
        if member.revival:
            member.revival.cancel()
        self.kill(member.handle)

    def _add(self, number: int, how: str) -> None:
        fresh = Member(number, self.make_replica(number))
        fresh.revival = asyncio.create_task(self._revive(fresh, how))
        self._members.append(fresh)

    async def _scale(self) -> None:
        """Follows the demand until the pool is stopped."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SCALE_S)
            before, tasks = self._demand.wanted, len(self._line) + self._in_flight()
            wanted = self._demand.follow(tasks, self._task_s, clock())
            if wanted != before:
                self.tell(self.name, "scales", to=f"{wanted} replicas, for {tasks} tasks")
            self._resize(wanted)

    def _resize(self, wanted: int) -> None:
        """Keeps whoever is up before whoever only comes, and lets nobody go who has a task."""
        kept = sorted(self._members, key=lambda m: (not m.up, m.leaving, m.number))
        for place, member in enumerate(kept):
            member.leaving = place >= wanted
        taken = {member.number for member in kept}
        free = (number for number in range(wanted) if number not in taken)
        for number in itertools.islice(free, max(0, wanted - len(kept))):
            self._add(number, "joined")
        for member in [m for m in kept if m.leaving and not m.leases]:
            self.tell(_who(self.name, member), "left", why="there is no work for it")
            self._end(member)
            self._members.remove(member)
        self._line.hand_out()

    async def _revive(self, member: Member, how: str) -> None:
        """Waits until `member` is up, starting it again where that fails. While others are up it
        may take for ever; when none is, the pool is broken."""
        began, wait = time.monotonic(), BACK_OFF_S
        while True:
            try:
                async with asyncio.timeout(self.config.start_deadline):
                    await self._ready(member)
                seconds = round(time.monotonic() - began, 2)
                self.tell(_who(self.name, member), how, seconds=seconds)
                return
            except TimeoutError:
                fault: Exception = self._late([member.number], self.config.start_deadline)
            except ReplicaDied as error:
                fault = error
            self.tell(_who(self.name, member), f"not {how}", why=str(fault))
            # Not while others work, or may yet come up.
            if not any(m.up or (m.revival and m is not member) for m in self._members):
                self._line.broken, member.revival = fault, None
                self._line.hand_out()
                return
            self.kill(member.handle)
            await asyncio.sleep(wait := min(2 * wait, LONGEST_S))
            member.handle = self.make_replica(member.number)

    async def _ready(self, member: Member) -> None:
        """Waits until `member` is up, starting it again if it is killed before."""
        tries = 0
        while not member.up:
            try:
                member.up = await member.handle.ready.remote()
            except RayError as error:
                tries += 1
                own_fault = isinstance(error, RayActorError) and error.actor_init_failed
                if own_fault or tries == self.config.task_attempts:
                    raise ReplicaDied(
                        f"{self.name} replica {member.number} could not start: {told(error)}"
                    ) from error
                member.handle = self.make_replica(member.number)
        self._line.broken, member.revival = None, None
        self._line.hand_out()

    def _count(self, receipt: Receipt) -> None:
        self._stats.done += 1
        mean = receipt.seconds if self._task_s is None else self._task_s
        self._task_s = mean + RECENT * (receipt.seconds - mean)
        self._stats.busy_seconds += receipt.seconds
        self._stats.pictures += receipt.pictures
        self._stats.unparsable += receipt.unparsable

    def _late(self, numbers: list[int], seconds: float) -> StartTimeout:
        return late_start(self.name, numbers, self._demand.wanted, self.resources, seconds)


def _who(name: str, member: Member) -> str:
    return f"{name} {member.number}"
