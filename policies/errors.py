"""The base class of every error that a user can fix, and helpers for its messages.

Invariant: the message of a UserError is a complete answer: what is wrong, where, and the fix. The
command line prints it as it is; any other exception is a defect and keeps its traceback.
"""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 10
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 200


class UserError(Exception):
    """An error with a cause outside the program: a setting, a file, a full disk, a busy machine."""


class ConfigError(UserError):
    """A setting that cannot be; the message names the field, the value and the fix.

    No ValueError: pydantic would take it for a validator's own words and wrap it."""


def describe(value: object) -> str:
    """Returns `value` as one line for a message, shortened if it is long."""
    return _SHORT.repr(value)


def printable(name: str) -> str:
    """Returns a name or path for a message: unchanged, unless it is very long or not printable."""
    return name if name.isprintable() and len(name) <= 1000 else describe(name)


def one_line(error: object) -> str:
    """Returns a library's error message as one line, cut after 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
