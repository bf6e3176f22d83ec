"""Folders that are whole or not there, on a disk or in a bucket.

Invariant: a folder that is whole holds its seal, a file which is written when all others are stored.
On a disk it is filled aside and appears by one rename; in a bucket, which knows no folders, it is
there from when its seal is, and a folder without one is what a dead writer left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.storage import storage
from actors.storage.paths import StoragePath


def finish(aside: StoragePath, path: StoragePath, seal: str, data: bytes) -> None:
    """Seals what was stored in `aside`, and gives it its name. Raises OSError."""
    storage.write(aside / seal, data)
    storage.publish(aside, path)


@contextmanager
def making(path: StoragePath, token: str, seal: str, data: bytes) -> Iterator[Path]:
    """Gives a local folder to fill; when it is left without an error, `path` is whole. Raises OSError."""
    aside = storage.staging(path, token)
    storage.begin(aside)
    try:
        with storage.filling(aside) as folder:
            yield folder
        finish(aside, path, seal, data)
    except BaseException:
        storage.abandon(aside)
        raise
