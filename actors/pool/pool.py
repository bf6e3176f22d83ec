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
    failure_reason,
    last_line,
    late_start,
)
from actors.pool.leases import Lease, OnEvent, Receipt, ReplicaHandle, Stats, ignore_event
from actors.pool.scaling import Demand
from actors.pool.task_queue import TaskQueue
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
    tell: OnEvent = ignore_event
    kill: Callable[[ActorHandle[Any]], None] = ray.kill
    most: int = 0
    _replicas: list[ReplicaHandle] = field(default_factory=list, init=False)
    _stats: Stats = field(init=False)
    _queue: TaskQueue = field(init=False)
    _demand: Demand = field(init=False)
    _scaling: asyncio.Task[None] | None = field(default=None, init=False)
    _task_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        actors, most = self.config, max(self.replicas, self.most)
        self._demand = Demand(self.replicas, most, actors.backlog_seconds, actors.cool_down)
        self._stats = Stats(self.replicas)
        self._queue = TaskQueue(self._freest)

    async def start(self, deadline: float | None = None) -> None:
        """Returns when every replica is up; raises StartTimeout after `deadline` seconds (by
        default the configured one), ReplicaDied as soon as one cannot start."""
        seconds = self.config.start_deadline if deadline is None else deadline
        self._replicas = [ReplicaHandle(n, self.make_replica(n)) for n in range(self.replicas)]
        waits = {asyncio.ensure_future(self._ready(replica)): replica for replica in self._replicas}
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
        if not self._replicas:
            raise RuntimeError(f"The {self.name} pool was given {task} but is not started.")
        failures = 0
        while True:
            lease = Lease(task)
            replica = await self._queue.replica_for(lease)
            try:
                return await self._attempt(replica, lease, method, args)
            except (TaskFailed, ReplicaDied, TaskTimeout) as fault:
                # A prompt that cannot be read is the run's own; the rest a person must mend.
                cause = fault.__cause__
                if isinstance(cause, UserError) and not isinstance(cause, PromptError):
                    raise
                # Who only stood in line when its replica was lost is not to blame.
                failures += not replica.lost or replica.culprit is lease
                self.tell(_who(self.name, replica), "failed", task=str(task), why=str(fault))
                if failures >= self.config.task_attempts:
                    raise Poisoned(
                        f"{task} failed {failures} times (actors.task_attempts); at last {fault}",
                        failure_reason(fault),
                    ) from fault
            await asyncio.sleep(min(BACK_OFF_S * 2**failures, LONGEST_S))

    def stats(self) -> Stats:
        """A copy."""
        return replace(
            self._stats, wanted=self._demand.wanted, running=sum(m.up for m in self._replicas),
            waiting=len(self._queue), in_flight=self._in_flight(),
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        if self._scaling:
            self._scaling.cancel()
        for replica in self._replicas:
            self._end(replica)
        self._replicas = []

    def _freest(self) -> ReplicaHandle | None:
        free = (replica for replica in self._replicas if self._is_free(replica))
        return min(free, key=lambda m: (len(m.leases), m.number), default=None)

    def _is_free(self, replica: ReplicaHandle) -> bool:
        held = len(replica.leases)
        return replica.up and not replica.leaving and held < self.config.tasks_in_flight

    def _in_flight(self) -> int:
        return sum(len(replica.leases) for replica in self._replicas)

    async def _attempt(
        self, replica: ReplicaHandle, lease: Lease, method: str, args: tuple[Any, ...]
    ) -> ray.ObjectRef[Any]:
        try:
            refs: list[Any] = replica.handle.perform.remote(lease.task, method, *args)
            receipt, payload = refs
            self._count(await self._receipt(replica, lease.task, receipt))
            return payload
        finally:
            self._queue.give_back(replica, lease)

    async def _receipt(
        self, replica: ReplicaHandle, task: Task, receipt: ray.ObjectRef[Receipt]
    ) -> Receipt:
        # The replica does one task after the other, and each of them has the deadline.
        seconds = self.config.task_deadline * len(replica.leases)
        who = f"{self.name} replica {replica.number}"
        try:
            async with asyncio.timeout(seconds):
                return await receipt
        # What the task itself raised comes first: Ray gives it the class of its cause as well.
        except RayTaskError as error:
            if isinstance(error, ObjectLostError):
                raise InputsLost(f"{task} cannot be done: {last_line(error)}") from error
            raise TaskFailed(f"{who} failed at {task}: {last_line(error)}") from error
        except RayActorError as error:
            self._lose(replica, "died")
            raise ReplicaDied(f"{who} died while it had {task}: {last_line(error)}") from error
        except RayError as error:
            raise TaskFailed(f"{who} failed at {task}: {last_line(error)}") from error
        except TimeoutError:
            self._lose(replica, "silent")
            raise TaskTimeout(
                f"{who} did not finish {task} within {seconds:g} s "
                "(actors.task_deadline for it and each task before it)"
            ) from None

    def _lose(self, replica: ReplicaHandle, what: str) -> None:
        """Ends `replica`, whatever it still does, and starts another in its place; once."""
        if replica.lost:
            return
        replica.lost, replica.up, replica.culprit = True, False, replica.leases[0]
        self._stats.lost += 1
        self.tell(_who(self.name, replica), what, task=str(replica.culprit.task))
        self._end(replica)
        self._replicas.remove(replica)
        if not replica.leaving:
            self._add(replica.number, "replaced")

    def _end(self, replica: ReplicaHandle) -> None:
        if replica.revival:
            replica.revival.cancel()
        self.kill(replica.handle)

    def _add(self, number: int, how: str) -> None:
        fresh = ReplicaHandle(number, self.make_replica(number))
        fresh.revival = asyncio.create_task(self._revive(fresh, how))
        self._replicas.append(fresh)

    async def _scale(self) -> None:
        """Follows the demand until the pool is stopped."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SCALE_S)
            before, tasks = self._demand.wanted, len(self._queue) + self._in_flight()
            wanted = self._demand.follow(tasks, self._task_s, clock())
            if wanted != before:
                self.tell(self.name, "scales", to=f"{wanted} replicas, for {tasks} tasks")
            self._resize(wanted)

    def _resize(self, wanted: int) -> None:
        """Keeps whoever is up before whoever only comes, and lets nobody go who has a task."""
        kept = sorted(self._replicas, key=lambda m: (not m.up, m.leaving, m.number))
        for place, replica in enumerate(kept):
            replica.leaving = place >= wanted
        taken = {replica.number for replica in kept}
        free = (number for number in range(wanted) if number not in taken)
        for number in itertools.islice(free, max(0, wanted - len(kept))):
            self._add(number, "joined")
        for replica in [m for m in kept if m.leaving and not m.leases]:
            self.tell(_who(self.name, replica), "left", why="there is no work for it")
            self._end(replica)
            self._replicas.remove(replica)
        self._queue.hand_out()

    async def _revive(self, replica: ReplicaHandle, how: str) -> None:
        """Waits until `replica` is up, starting it again where that fails. While others are up it
        may take for ever; when none is, the pool is broken."""
        began, wait = time.monotonic(), BACK_OFF_S
        while True:
            try:
                async with asyncio.timeout(self.config.start_deadline):
                    await self._ready(replica)
                seconds = round(time.monotonic() - began, 2)
                self.tell(_who(self.name, replica), how, seconds=seconds)
                return
            except TimeoutError:
                fault: Exception = self._late([replica.number], self.config.start_deadline)
            except ReplicaDied as error:
                fault = error
            self.tell(_who(self.name, replica), f"not {how}", why=str(fault))
            # Not while others work, or may yet come up.
            if not any(m.up or (m.revival and m is not replica) for m in self._replicas):
                self._queue.broken, replica.revival = fault, None
                self._queue.hand_out()
                return
            self.kill(replica.handle)
            await asyncio.sleep(wait := min(2 * wait, LONGEST_S))
            replica.handle = self.make_replica(replica.number)

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
                replica.handle = self.make_replica(replica.number)
        self._queue.broken, replica.revival = None, None
        self._queue.hand_out()

    def _count(self, receipt: Receipt) -> None:
        self._stats.done += 1
        mean = receipt.seconds if self._task_s is None else self._task_s
        self._task_s = mean + RECENT * (receipt.seconds - mean)
        self._stats.busy_seconds += receipt.seconds
        self._stats.pictures += receipt.pictures
        self._stats.unparsable += receipt.unparsable

    def _late(self, numbers: list[int], seconds: float) -> StartTimeout:
        return late_start(self.name, numbers, self._demand.wanted, self.resources, seconds)


def _who(name: str, replica: ReplicaHandle) -> str:
    return f"{name} {replica.number}"
