"""A pool of replicas that do tasks, and that are replaced when they are lost.

Invariant: every request that `run` was given ends: with its payload, or with one error that names
the pool and the task. A task is leased to one replica at a time; one that dies, or is silent past
the deadline, loses all its leases and is replaced, its tasks go to others, and what it answers
later is not heard. Leases are bounded. What a payload is does not depend on who made it, nor on how
many replicas there were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError

from actors.config import ActorsConfig
from actors.pool.faults import (
    Poisoned,
    ReplicaDied,
    TaskFailed,
    TaskTimeout,
    failure_reason,
    last_line,
)  # fmt: skip
from actors.pool.leases import Lease, OnEvent, Receipt, ReplicaHandle, Stats, ignore_event
from actors.pool.replicas import BACK_OFF_S, LONGEST_S, Replicas
from actors.pool.scaling import Demand
from actors.replay.records import Task
from actors.retry import InputsLost
from actors.roles.requests import Request
from policies.errors import UserError
from policies.interface import PromptError

SCALE_S = 1.0
"""Between two looks at how many replicas are wanted."""
RECENT = 0.2
"""What the newest task counts in the mean of task times."""

P = TypeVar("P")


@dataclass
class Pool:
    """`least` actors made by `make_replica(number)`, each of which asks for `resources`; up to
    `most` of them (0: always `least`) while there is work for more. Those that wait for resources
    are the demand that Ray's autoscaler sees.

    A replica has the methods `ready()` and `perform(request, *inputs) -> (Receipt, payload)`.
    """

    name: str
    make_replica: Callable[[int], ActorHandle[Any]]
    least: int
    resources: Mapping[str, float]
    config: ActorsConfig
    on_event: OnEvent = ignore_event
    kill: Callable[[ActorHandle[Any]], None] = ray.kill
    most: int = 0
    replicas: Replicas = field(init=False)
    _stats: Stats = field(init=False)
    _demand: Demand = field(init=False)
    _scaling: asyncio.Task[None] | None = field(default=None, init=False)
    _task_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        actors, most = self.config, max(self.least, self.most)
        self._demand = Demand(self.least, most, actors.backlog_seconds, actors.cool_down)
        self._stats = Stats(self.least)
        self.replicas = Replicas(
            self.name, self.make_replica, self.kill, self.least, self.resources, actors,
            self.on_event,
        )  # fmt: skip

    async def start(self, deadline: float | None = None) -> None:
        """Returns when every replica is up; raises StartTimeout after `deadline` seconds (by
        default the configured one), ReplicaDied as soon as one cannot start."""
        await self.replicas.start(self.config.start_deadline if deadline is None else deadline)
        if self.most > self.least:
            self._scaling = asyncio.create_task(self._scale())

    async def run(self, request: Request[P], *inputs: Any) -> ray.ObjectRef[P]:
        """Does `request` on the least busy replica; gives the reference of the finished payload.
        Inputs that are references are read by the replica, not here.

        Raises Poisoned after `actors.task_attempts` failures of the task's own; at once InputsLost,
        TaskFailed where a person must mend something, and what keeps the last replica from coming
        back.
        """
        task, failures = request.task, 0
        if not self.replicas:
            raise RuntimeError(f"The {self.name} pool was given {task} but is not started.")
        while True:
            lease = Lease(task)
            replica = await self.replicas.queue.replica_for(lease)
            try:
                return await self._attempt(replica, lease, request, inputs)
            except (TaskFailed, ReplicaDied, TaskTimeout) as fault:
                # A prompt that cannot be read is the run's own; the rest a person must mend.
                cause = fault.__cause__
                if isinstance(cause, UserError) and not isinstance(cause, PromptError):
                    raise
                # Who only stood in line when its replica was lost is not to blame.
                failures += not replica.lost or replica.culprit is lease
                self.on_event(self.replicas.who(replica), "failed", task=str(task), why=str(fault))
                if failures >= self.config.task_attempts:
                    raise Poisoned(
                        f"{task} failed {failures} times (actors.task_attempts); at last {fault}",
                        failure_reason(fault),
                    ) from fault
            await asyncio.sleep(min(BACK_OFF_S * 2**failures, LONGEST_S))

    def stats(self) -> Stats:
        """The counts of this moment, in an object of its own."""
        return replace(
            self._stats, wanted=self._demand.wanted, lost=self.replicas.lost,
            tokens=self._stats.tokens.copy(),
            running=sum(replica.up for replica in self.replicas),
            waiting=len(self.replicas.queue), in_flight=self.replicas.in_flight,
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        if self._scaling:
            self._scaling.cancel()
        self.replicas.stop()

    async def _attempt(
        self, replica: ReplicaHandle, lease: Lease, request: Request[P], inputs: tuple[Any, ...]
    ) -> ray.ObjectRef[P]:
        try:
            refs: list[Any] = replica.handle.perform.remote(request, *inputs)
            receipt, payload = refs
            self._count(await self._receipt(replica, lease.task, receipt))
            return payload
        finally:
            self.replicas.queue.give_back(replica, lease)

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
            self.replicas.lose(replica, "died")
            raise ReplicaDied(f"{who} died while it had {task}: {last_line(error)}") from error
        except RayError as error:
            raise TaskFailed(f"{who} failed at {task}: {last_line(error)}") from error
        except TimeoutError:
            self.replicas.lose(replica, "silent")
            raise TaskTimeout(
                f"{who} did not finish {task} within {seconds:g} s "
                "(actors.task_deadline for it and each task before it)"
            ) from None

    async def _scale(self) -> None:
        """Follows the demand until the pool is stopped."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SCALE_S)
            tasks = len(self.replicas.queue) + self.replicas.in_flight
            before, wanted = self._demand.wanted, self._demand.follow(tasks, self._task_s, clock())
            if wanted != before:
                self.on_event(self.name, "scales", to=f"{wanted} replicas, for {tasks} tasks")
            self.replicas.resize(wanted)

    def _count(self, receipt: Receipt) -> None:
        self._stats.done += 1
        mean = receipt.seconds if self._task_s is None else self._task_s
        self._task_s = mean + RECENT * (receipt.seconds - mean)
        self._stats.busy_seconds += receipt.seconds
        self._stats.drawings += receipt.drawings
        self._stats.unparsable += receipt.unparsable
        self._stats.tokens[receipt.task.round] += receipt.tokens
