"""Checks that named tensors are those that a model has.

Invariant: the first difference raises an error that names it, before any tensor is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from policies.errors import printable
from policies.interface import CheckpointError

VERY_MODEL = "use the weights of this very model"


def require_names(
    where: str, found: Collection[str], wanted: Collection[str], fix: str = VERY_MODEL
) -> None:
    """Raises CheckpointError that names the first missing or unknown tensor."""
    for problem, names in (
        ("lacks", set(wanted) - set(found)),
        ("has an unknown", set(found) - set(wanted)),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{where} {problem} tensor {printable(min(names))}{more}; {fix}.")


def require_tensors(where: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Compares names, and (shape, dtype) pairs. Raises CheckpointError for the first difference."""
    require_names(where, found, wanted)
    for name, what in wanted.items():
        if found[name] != what:
            raise CheckpointError(
                f"{where} has {name} of shape and dtype {found[name]}, but the model needs {what}; "
                f"{VERY_MODEL}."
            )
