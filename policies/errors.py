"""The one base of every error that the person at the terminal can mend.

Invariant: the message of a UserError is a whole answer: what is wrong, where, and the fix. The
command line prints it as it is; any other exception is a defect and keeps its traceback.
"""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 10
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 200


class UserError(Exception):
    """Mendable from outside the program: a setting, a file, a full disk, a busy machine."""


class ConfigError(UserError):
    """A setting that cannot be; the message names the field, the value and the fix.

    No ValueError: pydantic would take it for a validator's own words and wrap it."""


def describe(value: object) -> str:
    """`value` as a message tells it: in one line, and cut where it is long."""
    return _SHORT.repr(value)


def printable(name: str) -> str:
    """A name or a path as a message tells it: as it is, unless that would break the line."""
    return name if name.isprintable() and len(name) <= 1000 else describe(name)


def one_line(error: object) -> str:
    """What a library says of an error, in one line, and cut where it is long."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
