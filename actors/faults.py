"""How a replica or a task can fail; every message names both."""

from __future__ import annotations

from policies.errors import UserError


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


def plain(error: BaseException) -> str:
    """What an error says. Ray gives one that crossed its border a subclass whose text is also the
    remote traceback."""
    return str(getattr(error, "cause", None) or error)
