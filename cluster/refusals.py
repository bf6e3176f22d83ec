"""Which errors a person can mend, and what to say of them.

Invariant: an error becomes sentences only if all that failed is mendable; a defect beside it keeps
the traceback. Only among the ranks of a training run, which fall together, one of them speaks for
all.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.pool.faults import message_of
from policies.errors import UserError

REFUSED = 2
"""The exit code of a command that ends with such sentences."""


def sentences(error: BaseException) -> list[str]:
    """One for each thing to mend; empty if the error, or a part of it, is a defect."""
    if isinstance(error, BaseExceptionGroup):
        parts = [sentences(each) for each in error.exceptions]
        # Flows that fail of one cause say it once.
        return _once(parts) if all(parts) else []
    if failures := _of_workers(error):
        # What one rank says explains why the others lost it.
        return _once([sentences(each) for each in failures])
    return [message_of(error)] if _mendable(error) else []


def _mendable(error: BaseException | None) -> bool:
    """By its class, or because it tells where an error of such a class came up."""
    while error is not None:
        if isinstance(error, UserError):
            return True
        error = error.__cause__
    return False


def _of_workers(error: BaseException) -> list[BaseException]:
    """What the ranks of a Ray Train run raised; Ray wraps each together with its traceback."""
    failures = getattr(error, "worker_failures", None)
    found = list(failures.values()) if isinstance(failures, Mapping) else []
    return [getattr(each, "_base_exc", each) for each in found]


def _once(parts: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(sentence for part in parts for sentence in part))
