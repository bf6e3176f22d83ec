"""Checks that named tensors are those that a model has, and that they are numbers.

Invariant: the first difference raises an error that names it, before any tensor is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch

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


def require_finite(file: Path, name: str, tensor: torch.Tensor, fix: str) -> None:
    """Raises CheckpointError for NaN or infinite values, as found in `file`: a model with them
    answers everything alike. Reads the tensor once and needs no memory for it."""
    if tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
        raise CheckpointError(
            f"{file} has {printable(name)} with NaN or infinite values in {tensor.dtype}; {fix}."
        )
