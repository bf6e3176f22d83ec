"""The one base of every error that the person at the terminal can mend.

Invariant: the message of a UserError is a whole answer: what is wrong, where, and the fix. The
command line prints it as it is; any other exception is a defect and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Mendable from outside the program: a setting, a file, a full disk, a busy machine."""
