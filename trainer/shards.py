"""Where torch's distributed checkpoints are written and read: a disk or a bucket.

Invariant: every rank reads and writes what is its own, straight to where it is kept; nothing is
staged on a rank's own disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemBase

from actors.storage import storage
from actors.storage.bucket import BucketStorage
from actors.storage.paths import StoragePath

METADATA = ".metadata"


def writer(folder: StoragePath) -> dcp.FileSystemWriter:
    on_disk = storage.local_path(folder) is not None
    return _placed(dcp.FileSystemWriter(str(folder), sync_files=on_disk), folder)


def reader(folder: StoragePath) -> dcp.FileSystemReader:
    return _placed(dcp.FileSystemReader(str(folder)), folder)


def written(folder: StoragePath) -> list[str]:
    """Returns the names of the files that the checkpoint in `folder` says it consists of."""
    metadata = reader(folder).read_metadata()
    return sorted({METADATA, *(info.relative_path for info in metadata.storage_data.values())})


def _placed(either: Any, folder: StoragePath) -> Any:
    if storage.local_path(folder) is None:
        either.fs, either.path = BucketFiles(), folder
    return either


class BucketFiles(FileSystemBase):
    """What that library asks of a filesystem; every path is one of a bucket."""

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        bucket = BucketStorage()
        with bucket.open_file(path) if mode == "rb" else bucket.open_sink(path) as stream:
            yield stream

    def concat_path(self, path: Any, suffix: str) -> Any:
        return path / suffix

    def init_path(self, path: Any) -> Any:
        return path

    def rename(self, path: Any, new_path: Any) -> None:
        BucketStorage().move(path, new_path)

    def mkdir(self, path: Any) -> None:
        return

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True

    def exists(self, path: Any) -> bool:
        return BucketStorage().exists(path)

    def rm_file(self, path: Any) -> None:
        BucketStorage().delete(path)
