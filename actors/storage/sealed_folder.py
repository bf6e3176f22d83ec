"""Folders that are whole or not there, on a disk or in a bucket.

Invariant: a folder that is whole holds its seal, a file which is written when all others are stored.
On a disk it is filled aside and appears by one rename; in a bucket, which knows no folders, it is
there from when its seal is, and a folder without one is what a dead writer left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from actors.storage.paths import StoragePath
from actors.storage.storage import storage_of


def aside_of(path: StoragePath, token: str = "") -> StoragePath:
    """Returns where the folder `path` is filled; a `token` tells two writers apart."""
    aside: StoragePath = storage_of(path).staging(path, token)
    return aside


def begin(aside: StoragePath) -> None:
    """Makes the folder. In a bucket nothing is deleted where another writer, whom nobody thinks
    alive any more, may just have set the seal. Raises OSError."""
    storage_of(aside).begin(aside)


def finish(aside: StoragePath, path: StoragePath, seal: str, data: bytes) -> None:
    """Seals what was stored in `aside`, and gives it its name. Raises OSError."""
    storage = storage_of(path)
    storage.write(aside / seal, data)
    storage.finish(aside, path)


def is_whole(path: StoragePath, seal: str, patience_s: float | None = None) -> bool:
    """Returns whether the folder counts; in a bucket its seal says so."""
    return storage_of(path).is_whole(path, seal, patience_s)


def discard(path: StoragePath, seal: str) -> None:
    """Deletes a whole folder, which is never half there under its name. Raises OSError."""
    storage_of(path).discard(path, seal)


def remove(path: StoragePath) -> None:
    """Deletes what no longer, or not yet, counts as being there. Raises OSError."""
    storage_of(path).remove(path)


@contextmanager
def making(path: StoragePath, token: str, seal: str, data: bytes) -> Iterator[Path]:
    """Gives a local folder to fill, of files alone; when it is left without an error, `path` is
    whole. Raises OSError."""
    storage, aside = storage_of(path), aside_of(path, token)
    storage.begin(aside)
    try:
        with storage.filling(aside) as local_folder:
            yield local_folder
        finish(aside, path, seal, data)
    except BaseException:
        storage.abandon(aside)
        raise


def local(path: StoragePath) -> AbstractContextManager[Path]:
    """Gives a local folder with the files that are in `path`: itself, or a copy for so long."""
    return storage_of(path).copied(path)
