"""Where a run is kept: a folder of a disk, or an address in a bucket.

Invariant: an address is a name and nothing else: it has no method that reads or writes, so whoever
does that asks `actors.storage.storage`, for both kinds. It never holds a secret.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Protocol

from policies.errors import ConfigError, describe

SCHEMES = ("s3", "gs")
LEFTOVER = ".tmp"
"""Ends the name of what a writer fills; where it stays, the writer died."""
TORN = ".torn"
"""Ends the name of a file that a power failure cut short, and that was set aside."""
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://[a-z0-9][a-z0-9._-]*(/[^?#@]*)?")


class BucketPath(PurePosixPath):
    """Such as s3://bucket/runs/tiny: joined, split and compared as other paths are."""

    __slots__ = ()

    def __str__(self) -> str:
        scheme, *key = self.parts
        return f"{scheme}//{'/'.join(key)}"

    def absolute(self) -> BucketPath:
        return self

    def is_absolute(self) -> bool:
        return True


StoragePath = Path | BucketPath


class _Run(Protocol):
    @property
    def folder(self) -> str: ...
    @property
    def name(self) -> str: ...


def parse_path(text: str | StoragePath) -> StoragePath:
    """Returns what `text` names. Raises ConfigError for an address that cannot be."""
    if isinstance(text, Path | BucketPath):
        return text
    if "://" not in text:
        return Path(text)
    if not _ADDRESS.fullmatch(text) or ".." in text.split("/"):
        raise ConfigError(
            f"the address {describe(_without_secret(text))} of a folder=... cannot be: it must be like s3://BUCKET/runs "
            "or gs://BUCKET/runs, without keys or options: those and the region come from the "
            "environment (see docs/cluster.md)"
        )
    return BucketPath(text)


def locate(text: str | StoragePath) -> StoragePath:
    """Returns the absolute path that `text` names, or its address. Raises ConfigError."""
    return parse_path(text).absolute()


def run_folder(config: _Run) -> StoragePath:
    """Returns the folder of the run that `config` describes. Raises ConfigError."""
    return parse_path(config.folder) / config.name


def _without_secret(address: str) -> str:
    """Keys can stand before an @ or behind a ?, and must not end up in a log."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
