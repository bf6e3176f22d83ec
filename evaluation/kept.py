"""What was measured of a version stays in a file of the run, and is never measured again.

Invariant: a file holds the settings that it was measured with, and is used with no others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath
from evaluation.config import EvaluationConfig, Settings
from evaluation.selection import fixed_sampling
from policies.errors import UserError

FOLDER = "evaluation"
FIELDS = frozenset({"version", "settings", "values", "outcomes", "samples"})
Found = dict[str, Any]


class MeasureError(UserError):
    """A kept measurement that cannot be used; the message names the file and the fix."""


async def kept(
    file: StoragePath, version: int, config: Settings, make: Callable[[], Awaitable[Found]],
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Found:  # fmt: skip
    """What `file` holds of `version`; if it is not there, what `make` finds, which is then kept. `more`
    are settings that are not of the recipe.

    Raises MeasureError where the file is damaged or was measured with other settings.
    """
    fixed = {"guidance": fixed_sampling(config).guidance}
    own = {**config.evaluation.model_dump(mode="json"), **fixed}.items()
    settings = {"seed": config.seed, **{f"evaluation.{key}": value for key, value in own}, **more}
    if await asyncio.to_thread(storage.exists, file):
        found = await asyncio.to_thread(read, file)
        _require_same(file, found["settings"], settings)
        return found
    found = {"version": version, "settings": settings, **await make()}
    data, pause_s = json.dumps(found, allow_nan=False).encode(), config.actors.pause_deadline
    await asyncio.to_thread(patiently, lambda: storage.write(file, data), str(file), pause_s)
    return found


def version_file(folder: StoragePath, version: int, kind: str = "version") -> StoragePath:
    return folder / FOLDER / f"{kind}-{version:05d}.json"


def read_all(folder: StoragePath, kind: str = "version") -> dict[int, Found]:
    """Everything of that kind that a run has kept, by version."""
    found = sorted(_read_kind(folder / FOLDER, kind), key=lambda each: int(each["version"]))
    return {each["version"]: each for each in found}


def _read_kind(folder: StoragePath, kind: str) -> Iterator[Found]:
    for name in storage.names(folder):
        number = name.removeprefix(f"{kind}-").removesuffix(".json")
        if name == f"{kind}-{number}.json" and number.isdecimal():
            yield read(folder / name)


def read(file: StoragePath) -> Found:
    """Raises MeasureError."""
    try:
        found: Found = json.loads(storage.read(file))
        missing = FIELDS - set(found)
    except ValueError as error:
        missing = frozenset({str(error)})
    if missing:
        raise MeasureError(
            f"{file} is not a measurement ({', '.join(sorted(missing))}): restore it, or delete "
            "it to have that version measured again."
        )
    return found


def _require_same(file: StoragePath, then: Found, now: Found) -> None:
    """A setting that there was not yet counts as its default."""
    usual = {f"evaluation.{k}": v for k, v in EvaluationConfig().model_dump(mode="json").items()}
    then = {**usual, **then}
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            raise MeasureError(
                f"{file} was measured with {name} {then.get(name)!r}, which is {now.get(name)!r} "
                f"now: set {name} back, or delete {file.parent} to measure again."
            )
