"""What a run asks of the place where it is kept, whatever that is.

Invariant: `write` returns when the file is stored under its name, complete; if it raises or the
machine dies, that name holds what it held before or all of the new file. Whoever needs to know
where a run is kept asks for what it can do (`local_path`, `free_bytes`), never for its type.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from actors.storage.paths import BucketPath, StoragePath


class Storage(Protocol):
    """Every path is one of this storage. Where nothing else is said an OSError is raised."""

    relist_s: float
    """For how long who watches a folder rests between two looks at all its files."""

    def write(self, path: Any, data: bytes) -> None: ...

    def read(self, path: Any) -> bytes: ...

    def head(self, path: Any, size: int) -> bytes:
        """Returns the first `size` bytes, or all if there are fewer, without patience."""
        ...

    def tail(self, path: Any, size: int) -> bytes:
        """Returns the last `size` bytes, or all if there are fewer."""
        ...

    def open_file(self, path: Any) -> BinaryIO:
        """Opens it for reading with `seek`; only what is asked for is fetched."""
        ...

    def exists(self, path: Any) -> bool: ...

    def is_file(self, path: Any) -> bool:
        """Answers without patience, also for a path that no disk can hold."""
        ...

    def changed(self, path: Any) -> int:
        """Returns when the file was written, in nanoseconds; 0 if it is not there."""
        ...

    def files(self, folder: Any) -> list[Any]:
        """Returns all files under `folder`, sorted; none if it does not exist."""
        ...

    def names(self, folder: Any) -> list[str]:
        """Returns the names in `folder` itself, sorted; none if it does not exist."""
        ...

    def search(self, folder: Any, pattern: str) -> list[Any]:
        """Returns what is in `folder` by a glob, sorted; nothing where a search costs too much."""
        ...

    def append(self, path: Any, line: bytes) -> None:
        """Stores the whole line or nothing of it. For one writer, and for lines that differ; in a
        bucket for small files."""
        ...

    def add(self, path: Any, line: bytes) -> None:
        """Stores a line that any process may add at any time. Returns soon and never raises: a
        storage that takes no writes costs the line."""
        ...

    def added(self, path: Any) -> bytes:
        """Returns all lines that `add` stored."""
        ...

    def set_aside(self, path: Any) -> Any:
        """Renames the file to `<name>.torn` beside it, for good when it returns that path."""
        ...

    def make_folder(self, path: Any) -> None:
        """Creates `path` and its parents so that they outlive a power failure."""
        ...

    def sync(self, path: Any) -> None:
        """Returns once what a file or a folder holds would outlive a power failure."""
        ...

    def local_path(self, path: Any) -> Path | None:
        """Returns where this machine's file system has `path`; None where it has not."""
        ...

    def free_bytes(self, path: Any) -> int | None:
        """Returns the room on the disk of `path`; None where there is no limit."""
        ...

    def refusal(self, folder: Any, size: int) -> str:
        """Returns why `folder` takes no `size` bytes more; empty if it does."""
        ...

    # Folders that are whole or not there: see `actors.storage.sealed_folder`.

    def staging(self, path: Any, token: str) -> Any:
        """Returns where the folder `path` is filled; a `token` tells two writers apart."""
        ...

    def begin(self, aside: Any) -> None: ...

    def finish(self, aside: Any, path: Any) -> None:
        """Gives the folder `aside`, which has its seal, its name `path`."""
        ...

    def is_whole(self, path: Any, seal: str, patience_s: float | None = None) -> bool: ...

    def foreign(self, path: Any, own: set[str]) -> set[str]:
        """Returns the names that a whole folder has beside its `own` and must not have."""
        ...

    def discard(self, path: Any, seal: str) -> None: ...

    def remove(self, path: Any) -> None: ...

    def abandon(self, aside: Any) -> None:
        """Gives up a folder that is not whole. Never raises."""
        ...

    def filling(self, aside: Any) -> AbstractContextManager[Path]:
        """Gives a local folder; what is in it when it is left is stored in `aside`."""
        ...

    def copied(self, path: Any) -> AbstractContextManager[Path]:
        """Gives a local folder with the files in `path`: itself, or a copy for so long."""
        ...


def storage_of(path: StoragePath) -> Storage:
    """Returns what keeps `path`."""
    if isinstance(path, BucketPath):
        from actors.storage.bucket import BucketStorage  # most runs need no client of buckets

        return BucketStorage()
    from actors.storage.local import LocalStorage

    return LocalStorage()


# What is asked most, of whatever keeps the path.


def write(path: StoragePath, data: bytes) -> None:
    storage_of(path).write(path, data)


def read(path: StoragePath) -> bytes:
    return storage_of(path).read(path)


def head(path: StoragePath, size: int) -> bytes:
    return storage_of(path).head(path, size)


def tail(path: StoragePath, size: int) -> bytes:
    return storage_of(path).tail(path, size)


def open_file(path: StoragePath) -> BinaryIO:
    return storage_of(path).open_file(path)


def exists(path: StoragePath) -> bool:
    return storage_of(path).exists(path)


def is_file(path: StoragePath) -> bool:
    return storage_of(path).is_file(path)


def changed(path: StoragePath) -> int:
    return storage_of(path).changed(path)


def files(folder: StoragePath) -> list[StoragePath]:
    return storage_of(folder).files(folder)


def names(folder: StoragePath) -> list[str]:
    return storage_of(folder).names(folder)


def search(folder: StoragePath, pattern: str) -> list[StoragePath]:
    return storage_of(folder).search(folder, pattern)


def append(path: StoragePath, line: bytes) -> None:
    storage_of(path).append(path, line)


def set_aside(path: StoragePath) -> StoragePath:
    aside: StoragePath = storage_of(path).set_aside(path)
    return aside


def make_folder(path: StoragePath) -> None:
    storage_of(path).make_folder(path)


def sync(path: StoragePath) -> None:
    storage_of(path).sync(path)


def local_path(path: StoragePath) -> Path | None:
    return storage_of(path).local_path(path)


def free_bytes(path: StoragePath) -> int | None:
    return storage_of(path).free_bytes(path)


def refusal(folder: StoragePath, size: int) -> str:
    return storage_of(folder).refusal(folder, size)
