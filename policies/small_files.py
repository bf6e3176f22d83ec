"""The small files of a checkpoint folder: which there are, and what the JSON ones say.

Invariant: a file is read whole or refused with one sentence that names it; a number that is given out
is within its limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError
from policies.stored_tensors import AGAIN

PUBLISHED = "use the files that were published with these weights"
MOST = 2**20


def read_files(
    folder: Path, names: Sequence[str], needed: Sequence[str], model: str
) -> dict[str, bytes]:
    """Those of the files `names` that are in `folder`, by name. Raises CheckpointError for a folder that
    cannot be read or lacks one that every `model` has."""
    try:
        there = {file.name for file in folder.iterdir()}
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CheckpointError(
            f"The checkpoint folder {printable(str(folder))} cannot be read ({reason}); give the "
            f"path of a folder with a {model} checkpoint."
        ) from error
    for name in needed:
        if name not in there:
            raise CheckpointError(
                f"{folder / name} is missing, which every {model} has beside its weights; {AGAIN}."
            )
    return {name: _bytes(folder / name) for name in names if name in there}


def _bytes(file: Path) -> bytes:
    try:
        if not file.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{file} is no file; {AGAIN}.")
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); {AGAIN}.") from error


def fields_of(file: Path, data: bytes) -> dict[str, Any]:
    """What the JSON object says that `file` holds as `data`. Raises CheckpointError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {AGAIN}.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds {describe(found)}, which is no object; {AGAIN}.")
    return found


@dataclass(frozen=True)
class ConfigFile:
    """A JSON object and the file that it is from; `names` maps a field to the file's own name of it where
    that is another."""

    path: Path
    fields: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)

    def wrong(self, field: str, value: object, needed: str) -> CheckpointError:
        name = self.names.get(field, field)
        return CheckpointError(
            f"{self.path} has {name}={describe(value)}, but {needed}; {PUBLISHED}."
        )

    def size(self, field: str, default: int | None = None, most: int = MOST) -> int:
        value = self.fields.get(field, default)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(field, value, f"it must be a whole number from 1 to {most}")
        return value

    def real(self, field: str, default: float | None, most: float) -> float:
        value = self.fields.get(field, default)
        if type(value) not in (int, float) or not 0 < value <= most:
            raise self.wrong(field, value, f"it must be a number above 0, at most {most:g}")
        return float(value)

    def require(self, field: str, value: object, fits: bool, needed: str) -> None:
        if not fits:
            raise self.wrong(field, value, needed)


def opened_config(path: Path, fixed: Mapping[str, object], model: str) -> ConfigFile:
    """Raises CheckpointError, also where a field is there and not as `fixed` has it for the `model`."""
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({one_line(error)}); {PUBLISHED}.") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path} holds no JSON object; {PUBLISHED}.")
    file = ConfigFile(path, fields)
    for name, wanted in fixed.items():
        value = fields.get(name, wanted)
        file.require(name, value, value == wanted, f"{model} has {wanted!r}")
    return file
