"""Files that are whole or not there, on a disk or in a bucket.

Invariant: `write` returns when the file is stored under its name, complete; if it raises or the
machine dies, that name holds what it held before or all of the new file, and on a disk at most a
`*.tmp` beside it is left. Whatever is in a run folder is reached through here.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyarrow import fs

from actors.storage import bucket
from actors.storage.paths import BucketPath, StoragePath, parse_path

LEFTOVER = ".tmp"
TORN = ".torn"
FILES = fs.LocalFileSystem()


def locate(folder: str | StoragePath) -> StoragePath:
    """The absolute path of `folder`, or its address. Raises ConfigError."""
    return parse_path(folder).absolute()


def write(path: StoragePath, data: bytes) -> None:
    """On a disk writes aside, syncs the file, renames it to `path`, syncs the folder. Raises
    OSError."""
    if isinstance(path, BucketPath):
        return bucket.write(path, data)
    make_folder(path.parent)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{LEFTOVER}")  # two writers differ
    try:
        with FILES.open_output_stream(str(aside)) as stream:
            stream.write(data)
        sync(aside)
        FILES.move(str(aside), str(path))
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def set_aside(path: StoragePath) -> StoragePath:
    """Renames `path` to `<name>.torn` beside it, for good when it returns. Raises OSError."""
    aside = path.with_name(path.name + TORN)
    if isinstance(path, BucketPath):
        bucket.move(path, path.with_name(aside.name))
    else:
        FILES.move(str(path), str(aside))
        sync(path.parent)
    return aside


def read(path: StoragePath) -> bytes:
    if isinstance(path, BucketPath):
        return bucket.read(path)
    with FILES.open_input_stream(str(path)) as stream:
        return bytes(stream.read())


def tail(path: StoragePath, size: int) -> bytes:
    """The last `size` bytes, or all if there are fewer."""
    if isinstance(path, BucketPath):
        return bucket.tail(path, size)
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        return file.read()


def open_file(path: StoragePath) -> Any:
    """For `with`: reading in bytes, with `seek`."""
    if isinstance(path, BucketPath):
        return bucket.open_file(path)
    return FILES.open_input_file(str(path))


def exists(path: StoragePath) -> bool:
    return bucket.exists(path) if isinstance(path, BucketPath) else path.exists()


def changed(path: StoragePath) -> int:
    """When `path` was written, in nanoseconds; 0 if it is not there."""
    if isinstance(path, BucketPath):
        return bucket.changed(path)
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def make_folder(path: StoragePath) -> None:
    """Creates `path` and its parents so that they outlive a power failure; in a bucket folders are
    there when something is in them."""
    if isinstance(path, BucketPath):
        return
    if path.is_dir():
        # Who made it may have died before syncing the folder above; not so if that is closed to us.
        with suppress(PermissionError):
            sync(path.parent)
        return
    make_folder(path.parent)
    FILES.create_dir(str(path), recursive=False)
    sync(path.parent)


def files(folder: StoragePath) -> list[StoragePath]:
    """All files under `folder`, sorted; none if it does not exist."""
    if isinstance(folder, BucketPath):
        return list(bucket.files(folder))
    found = FILES.get_file_info(fs.FileSelector(str(folder), recursive=True, allow_not_found=True))
    return sorted(Path(info.path) for info in found if info.type == fs.FileType.File)


def names(folder: StoragePath) -> list[str]:
    """Of the files and folders in `folder` itself, sorted; none if it does not exist."""
    if isinstance(folder, BucketPath):
        return sorted({path.relative_to(folder).parts[0] for path in bucket.files(folder)})
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 (names, not paths)


def append(path: StoragePath, line: bytes) -> None:
    """The whole line or nothing of it. For one writer, and for lines that differ; in a bucket for
    small files. Raises OSError."""
    if isinstance(path, BucketPath):
        there = bucket.read(path, 0) if bucket.exists(path, 0) else b""
        if not there.endswith(line):  # else only the answer was lost, the last time
            bucket.write(path, there + line)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "a part of a line was written")
        except OSError:
            file.truncate(size)
            raise


def sync(path: StoragePath) -> None:
    """Returns once what `path`, a file or a folder, holds would outlive a power failure."""
    if isinstance(path, BucketPath):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
