"""What a pool knows of its replicas and of the work in their hands."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray.actor import ActorHandle

from actors.replay.records import Task


@dataclass(frozen=True)
class Receipt:
    """What a replica reports of a finished task: small, and enough for every count. `tokens` are those
    that passed forward for it."""

    task: Task
    seconds: float
    drawings: int = 0
    unparsable: int = 0
    tokens: int = 0


@dataclass(eq=False)
class Lease:
    """A task in a replica's hands."""

    task: Task


@dataclass(eq=False)
class ReplicaHandle:
    """One replica from its start to its loss. It does its leases in their order; `culprit` is
    the one that it had begun when it was lost. One that is `leaving` gets no more of them, and goes
    when it has none. `revival` is the wait for its start, but for those that a pool starts with."""

    number: int
    handle: ActorHandle[Any]
    up: bool = False
    leases: list[Lease] = field(default_factory=list)
    lost: bool = False
    culprit: Lease | None = None
    leaving: bool = False
    revival: asyncio.Task[None] | None = None


@dataclass
class Stats:
    """Replicas `wanted` and `running`, and tasks `waiting` and `in_flight`, are of this moment; the
    rest is counted since the pool started. `unparsable` answers no attempt made readable. `tokens` passed
    forward in each round."""

    wanted: int
    running: int = 0
    waiting: int = 0
    in_flight: int = 0
    done: int = 0
    lost: int = 0
    busy_seconds: float = 0.0
    drawings: int = 0
    unparsable: int = 0
    tokens: Counter[int] = field(default_factory=Counter)


class OnEvent(Protocol):
    """Called when something happens to a replica or a task: `on_event("solver 1", "died", ...)`."""

    def __call__(self, who: str, what: str, **facts: Any) -> None: ...


def ignore_event(who: str, what: str, **facts: Any) -> None:
    """For a pool whose events nobody follows."""
