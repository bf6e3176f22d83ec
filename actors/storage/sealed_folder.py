"""Folders that are whole or not there, on a disk or in a bucket.

Invariant: a folder that is whole holds its seal, a file which is written when all others are stored.
On a disk it is filled aside and appears by one rename; in a bucket, which knows no folders, it is
there from when its seal is, and a folder without one is what a dead writer left.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.storage import bucket, durable
from actors.storage.paths import BucketPath, StoragePath


def aside_of(path: StoragePath, token: str = "") -> StoragePath:
    """Where the folder `path` is filled; a `token` tells two writers apart."""
    if isinstance(path, BucketPath):
        return path
    return path.with_name(f"{path.name}{token}{durable.LEFTOVER}")


def begin(aside: StoragePath) -> None:
    """Makes the folder. In a bucket nothing is deleted where another writer, whom nobody thinks
    alive any more, may just have set the seal. Raises OSError."""
    if isinstance(aside, BucketPath):
        return
    durable.make_folder(aside.parent)
    aside.mkdir()


def finish(aside: StoragePath, path: StoragePath, seal: str, data: bytes) -> None:
    """Seals what was stored in `aside`, and gives it its name. Raises OSError."""
    durable.write(aside / seal, data)
    if isinstance(aside, Path):
        aside.rename(path)
        durable.sync(path.parent)


def is_whole(path: StoragePath, seal: str, patience_s: float | None = None) -> bool:
    """On a disk the name says so, and a seal that is missing has been lost."""
    if isinstance(path, BucketPath):
        return bucket.exists(path / seal, patience_s)
    return path.suffix != durable.LEFTOVER and path.exists()


def discard(path: StoragePath, seal: str) -> None:
    """Never half deleted under its name. Raises OSError."""
    if isinstance(path, BucketPath):
        bucket.delete(path / seal)
        return remove(path)
    doomed = aside_of(path)
    path.rename(doomed)
    remove(doomed)


def remove(path: StoragePath) -> None:
    """What no longer, or not yet, counts as being there. Raises OSError."""
    if isinstance(path, BucketPath):
        return bucket.delete_folder(path)
    shutil.rmtree(path)


@contextmanager
def making(path: StoragePath, token: str, seal: str, data: bytes) -> Iterator[Path]:
    """A local folder to fill, of files alone; when it is left without an error, `path` is whole.
    Raises OSError."""
    aside = aside_of(path, token)
    begin(aside)
    try:
        if isinstance(aside, Path):
            yield aside
            for file in sorted(aside.iterdir()):
                durable.sync(file)
        else:
            with tempfile.TemporaryDirectory(prefix="unicorn-") as local:
                yield Path(local)
                for file in sorted(Path(local).iterdir()):
                    bucket.write(aside / file.name, file.read_bytes())
        finish(aside, path, seal, data)
    finally:
        if isinstance(aside, Path):
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def local(path: StoragePath) -> Iterator[Path]:
    """A local folder with the files that are in `path`: itself, or a copy for so long."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="unicorn-") as copy:
        for name in durable.names(path):
            (Path(copy) / name).write_bytes(bucket.read(path / name))
        yield Path(copy)
