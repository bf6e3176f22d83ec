"""Decides which errors a user can fix, and what to say about them.

Invariant: an error is shown as sentences only if a user can fix everything that failed; with a
defect among the causes the traceback stays. Only the ranks of a training run are an exception: they
fail together, so one that can be fixed speaks for all.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.pool.faults import message_of
from policies.errors import UserError

REFUSED = 2
"""The exit code of a command that ends with such sentences."""


def sentences(error: BaseException) -> list[str]:
    """Returns a sentence for each thing to fix; none if a part of the error is a defect."""
    if isinstance(error, BaseExceptionGroup):
        found = [sentences(each) for each in error.exceptions]
        # Flows that fail for the same reason report it once.
        return _once(found) if all(found) else []
    if failures := _of_workers(error):
        # One rank's error explains why the other ranks lost their connection to it.
        return _once([sentences(each) for each in failures])
    return [message_of(error)] if _is_fixable(error) else []


def _is_fixable(error: BaseException | None) -> bool:
    """Returns whether the error, or an error that caused it, is a UserError."""
    while error is not None:
        if isinstance(error, UserError):
            return True
        error = error.__cause__
    return False


def _of_workers(error: BaseException) -> list[BaseException]:
    """Returns what the ranks of a Ray Train run raised, without Ray's wrapper around each."""
    failures = getattr(error, "worker_failures", None)
    found = list(failures.values()) if isinstance(failures, Mapping) else []
    return [getattr(each, "_base_exc", each) for each in found]


def _once(found: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(sentence for part in found for sentence in part))
