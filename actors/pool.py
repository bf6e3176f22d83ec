"""A pool of replicas that do tasks, and that are replaced when they are lost.

Invariant: every task that `run` was given ends: with its payload, or with one error that names the
pool and the task. A task is leased to one replica at a time; one that dies, or is silent past the
deadline, loses all its leases and is replaced, its tasks go to others, and what it answers later
is not heard. Leases are bounded. What a task's payload is does not depend on who did it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.config import ActorsConfig
from actors.faults import Poisoned, ReplicaDied, StartTimeout, TaskFailed, TaskTimeout
from actors.leases import Lease, Member, Receipt, Stats, Tell, tell_nobody
from actors.records import Task
from actors.waiting import Signal
from policies.errors import UserError
from policies.interface import PromptError

BACK_OFF_S = 0.1
"""Before a task is tried again; doubled for each failure, up to LONGEST_S."""
LONGEST_S = 30.0


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
    tell: Tell = tell_nobody
    kill: Callable[[ActorHandle[Any]], None] = ray.kill
    _members: list[Member] = field(default_factory=list, init=False)
    _stats: Stats = field(init=False)
    _changed: Signal = field(default_factory=Signal, init=False)
    _waiting: int = field(default=0, init=False)
    _broken: Exception | None = field(default=None, init=False)
    _revivals: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._stats = Stats(self.replicas)

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

        Raises Poisoned after `actors.task_attempts` failures of the task's own, TaskFailed at once
        where a person must mend something, and what keeps the last replica from coming back.
        """
        if not self._members:
            raise RuntimeError(f"The {self.name} pool was given {task} but is not started.")
        failures = 0
        while True:
            member = await self._free_member()
            lease = Lease(task)
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
                        _reason(fault),
                    ) from fault
            await asyncio.sleep(min(BACK_OFF_S * 2**failures, LONGEST_S))

    def stats(self) -> Stats:
        """A copy."""
        in_flight = sum(len(member.leases) for member in self._members)
        running = sum(member.up for member in self._members)
        return replace(self._stats, running=running, waiting=self._waiting, in_flight=in_flight)

    def stop(self) -> None:
        """Ends the replicas, whatever they do."""
        for revival in self._revivals:
            revival.cancel()
        for member in self._members:
            self.kill(member.handle)
        self._members = []

    async def _free_member(self) -> Member:
        """The least busy replica that may take a lease, once there is one. It comes: every lease
        has a deadline, and so has every start."""
        while True:
            free = [
                m for m in self._members if m.up and len(m.leases) < self.config.tasks_in_flight
            ]
            if free:
                return min(free, key=lambda m: (len(m.leases), m.number))
            if self._broken:
                raise self._broken
            self._waiting += 1
            try:
                await self._changed.wait()
            finally:
                self._waiting -= 1

    async def _attempt(
        self, member: Member, lease: Lease, method: str, args: tuple[Any, ...]
    ) -> ray.ObjectRef[Any]:
        member.leases.append(lease)
        try:
            refs: list[Any] = member.handle.perform.remote(lease.task, method, *args)
            receipt, payload = refs
            self._count(await self._receipt(member, lease.task, receipt))
            return payload
        finally:
            member.leases.remove(lease)
            self._changed.notify()

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
            raise TaskFailed(f"{who} failed at {task}: {_told(error)}") from error
        except RayActorError as error:
            self._lose(member, "died")
            raise ReplicaDied(f"{who} died while it had {task}: {_told(error)}") from error
        except RayError as error:
            raise TaskFailed(f"{who} failed at {task}: {_told(error)}") from error
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
        self.kill(member.handle)
        self._members[self._members.index(member)] = fresh = Member(
            member.number, self.make_replica(member.number)
        )
        revival = asyncio.create_task(self._revive(fresh))
        self._revivals.add(revival)
        revival.add_done_callback(self._revivals.discard)

    async def _revive(self, member: Member) -> None:
        """Waits until `member` is up, starting it again where that fails. While others are up it
        may take for ever; when none is, the pool is broken."""
        began, wait = time.monotonic(), BACK_OFF_S
        while True:
            try:
                async with asyncio.timeout(self.config.start_deadline):
                    await self._ready(member)
                seconds = round(time.monotonic() - began, 2)
                self.tell(_who(self.name, member), "replaced", seconds=seconds)
                return
            except TimeoutError:
                fault: Exception = StartTimeout(
                    self._late([member.number], self.config.start_deadline)
                )
            except ReplicaDied as error:
                fault = error
            self.tell(_who(self.name, member), "not replaced", why=str(fault))
            # Not while others work, or may yet come up.
            if not any(other.up for other in self._members) and len(self._revivals) == 1:
                self._broken = fault
                self._changed.notify()
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
                        f"{self.name} replica {member.number} could not start: {_told(error)}"
                    ) from error
                member.handle = self.make_replica(member.number)
        self._broken = None
        self._changed.notify()

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


def _reason(fault: Exception) -> str:
    if isinstance(fault, TaskFailed):
        return _told(fault.__cause__ or fault)
    return "no answer in time" if isinstance(fault, TaskTimeout) else "every replica died of it"


def _who(name: str, member: Member) -> str:
    return f"{name} {member.number}"
