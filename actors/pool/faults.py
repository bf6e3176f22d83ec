"""How a replica or a task can fail; every message names both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from policies.errors import UserError

Given = TypeVar("Given", bound=Exception)


class StartTimeout(UserError, TimeoutError):
    """Replicas that did not come up; the message says what they wait for."""


class TaskTimeout(UserError, TimeoutError):
    """A task that missed its deadline; the message names pool, replica and task."""


class ReplicaDied(RuntimeError):
    """A replica's process ended; the message names pool, replica and what it did."""


class TaskFailed(RuntimeError):
    """A task whose code raised an error, which is the cause; the message names the task."""


class Poisoned(UserError, RuntimeError):
    """A task that failed as often as it may, wherever it was tried. `reason` is its last failure
    without replicas and times: what follows from the task is the same wherever it fails."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def message_of(error: BaseException) -> str:
    """What an error says. Ray gives one that crossed its border a subclass whose text is also the
    remote traceback."""
    return str(getattr(error, "cause", None) or error)


def innermost(group: BaseExceptionGroup[Given]) -> Given:
    """The first of a group of groups: the others were cancelled because of it, or fell with it."""
    error = group.exceptions[0]
    return innermost(error) if isinstance(error, BaseExceptionGroup) else error


def last_line(error: BaseException) -> str:
    """The last line of Ray's report, which is the error itself; the rest is its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def failure_reason(fault: Exception) -> str:
    """The part of a failure that is the same wherever the task is tried."""
    if isinstance(fault, TaskFailed):
        return last_line(fault.__cause__ or fault)
    return "no answer in time" if isinstance(fault, TaskTimeout) else "every replica died of it"


def late_start(
    name: str, numbers: list[int], of: int, resources: Mapping[str, float], seconds: float
) -> StartTimeout:
    """The error that says what these replicas ask for, beside what the cluster has."""
    import ray  # here, for whoever only reports faults starts without it

    names = ", ".join(map(str, numbers))
    asked = ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())
    free, total = ray.available_resources(), ray.cluster_resources()
    found = ", ".join(
        f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}" for kind in resources
    )
    asks = ("replicas", *(f"{kind.lower()}s" for kind in resources if kind in ("CPU", "GPU")))
    settings = " or ".join(f"{name}.{ask}" for ask in asks)
    return StartTimeout(
        f"{name} replica {names} of {of} did not start within {seconds:g} s: each asks for {asked}, "
        f"and the cluster has {found} free; add nodes or lower {settings}; where there is room, the "
        "start is only slow: raise actors.start_deadline"
    )
