"""What a run asks of the place where it is kept, whatever that is.

Invariant: `write` returns when the file is stored under its name, complete; if it raises or the
machine dies, that name holds what it held before or all of the new file. Whoever needs to know
where a run is kept asks for what can be done there (`local_path`, `free_bytes`), never for a type.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol, cast

from actors.storage.paths import BucketPath, StoragePath


class Storage(Protocol):
    """Raises OSError where nothing else is said. None as patience is that of the process."""

    def write(self, path: Any, data: bytes) -> None: ...

    def read(self, path: Any) -> bytes: ...

    def open_file(self, path: Any, patience_s: float | None = None) -> BufferedReader:
        """Opens it for reading with `seek`; only what is asked for is fetched."""

    def exists(self, path: Any) -> bool: ...

    def is_file(self, path: Any) -> bool:
        """Answers without patience, also for a path that no disk can hold."""

    def changed(self, path: Any) -> int:
        """Returns when the file was written, in nanoseconds; 0 if it is not there."""

    def files(self, folder: Any) -> list[Any]:
        """Returns all files under `folder`, sorted; none if it does not exist."""

    def names(self, folder: Any) -> list[str]:
        """Returns the names in `folder` itself, sorted; none if it does not exist."""

    def search(self, folder: Any, pattern: str) -> list[Any]:
        """Returns what a glob finds in `folder`, sorted; nothing where a search costs too much."""

    def rest_s(self, folder: Any) -> float:
        """Returns how long who watches `folder` rests between two looks at all its files."""

    def append(self, path: Any, line: bytes) -> None:
        """Stores the whole line or nothing of it, for one writer and lines that differ; in a bucket
        for small files."""

    def add(self, path: Any, line: bytes) -> None:
        """Stores a line that any process may add at any time. Returns soon and never raises: where
        no writes are taken the line is lost."""

    def added(self, path: Any) -> bytes:
        """Returns all lines that `add` stored."""

    def move(self, path: Any, to: Any) -> None:
        """Renames a file, for good when it returns."""

    def make_folder(self, path: Any) -> None:
        """Creates `path` and its parents so that they outlive a power failure."""

    def sync(self, path: Any) -> None:
        """Returns once what a file or a folder holds would outlive a power failure."""

    def local_path(self, path: Any) -> Path | None:
        """Returns where this machine's file system has `path`; None where it has not."""

    def free_bytes(self, path: Any) -> int | None:
        """Returns the room on the disk of `path`; None where there is no limit."""

    def refusal(self, folder: Any, size: int) -> str:
        """Returns why `folder` takes no `size` bytes more; empty if it does."""

    # Folders that are whole or not there: see `actors.storage.sealed_folder`.

    def staging(self, path: Any, token: str = "") -> Any:
        """Returns where the folder `path` is filled; a `token` tells two writers apart."""

    def begin(self, aside: Any) -> None:
        """Makes the folder that is to be filled."""

    def filling(self, aside: Any) -> AbstractContextManager[Path]:
        """Gives a local folder; all files in it and below when it is left are stored in `aside`."""

    def publish(self, aside: Any, path: Any) -> None:
        """Gives the folder `aside`, which has its seal, its name `path`."""

    def abandon(self, aside: Any) -> None:
        """Gives up a folder that has no seal. Never raises."""

    def is_whole(self, path: Any, seal: str, patience_s: float | None = None) -> bool: ...

    def foreign(self, path: Any, own: set[str]) -> set[str]:
        """Returns the names that a whole folder has beside its `own` and must not have."""

    def copied(self, path: Any) -> AbstractContextManager[Path]:
        """Gives a local folder with the files in `path`: itself, or a copy for so long."""

    def discard(self, path: Any, seal: str) -> None:
        """Deletes a whole folder, which is never half there under its name."""

    def remove(self, path: Any) -> None:
        """Deletes a folder that no longer, or not yet, counts as being there."""


class _EachPathsOwn:
    """Asks the storage that keeps the path which is the first argument."""

    def __getattr__(self, name: str) -> Any:
        return lambda path, *rest, **named: getattr(_of(path), name)(path, *rest, **named)


storage = cast(Storage, _EachPathsOwn())


def _of(path: StoragePath) -> Storage:
    if isinstance(path, BucketPath):
        from actors.storage.bucket import BucketStorage  # most runs need no client of buckets

        return BucketStorage()
    from actors.storage.local import LocalStorage

    return LocalStorage()
