"""Files and folders on a disk that are whole or not there.

Invariant: a write goes aside, is synced, gets its name, and then the folder is synced; if it fails or
the machine dies, at most a `*.tmp` beside it is left. Every step of it goes through FILES or `sync`,
so that a test can make any of them the last.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from actors.retry import FULL
from actors.storage.paths import LEFTOVER


class Files:
    """The steps that change a disk."""

    def create(self, path: Path) -> BinaryIO:
        return path.open("wb")

    def move(self, path: Path, to: Path) -> None:
        path.replace(to)

    def make_folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)


FILES = Files()


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalStorage:
    """A disk of this machine, or one that it has mounted."""

    def write(self, path: Path, data: bytes) -> None:
        self.make_folder(path.parent)
        aside = path.with_name(
            f"{path.name}.{secrets.token_hex(4)}{LEFTOVER}"
        )  # two writers differ
        try:
            with FILES.create(aside) as stream:
                stream.write(data)
            sync(aside)
            FILES.move(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        sync(path.parent)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def open_file(self, path: Path, patience_s: float | None = None) -> BufferedReader:
        return path.open("rb")

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_file(self, path: Path) -> bool:
        return os.path.isfile(path)  # noqa: PTH113 (never raises)

    def changed(self, path: Path) -> int:
        with suppress(OSError):
            return path.stat().st_mtime_ns
        return 0

    def files(self, folder: Path) -> list[Path]:
        def fail(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # it was deleted while this looked
                raise error

        walk = os.walk(folder, onerror=fail)
        return sorted(Path(where, name) for where, _, names in walk for name in names)

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 (names only)

    def search(self, folder: Path, pattern: str) -> list[Path]:
        # os.path.isdir, for it never raises
        return sorted(folder.glob(pattern)) if os.path.isdir(folder) else []  # noqa: PTH112

    def rest_s(self, folder: Path) -> float:
        return 1.0

    def append(self, path: Path, line: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, "a part of a line was written")
            except OSError:
                file.truncate(size)
                raise

    def add(self, path: Path, line: bytes) -> None:
        with suppress(OSError), path.open("ab", buffering=0) as file:
            file.write(line)  # one call: lines of several processes do not mix

    def added(self, path: Path) -> bytes:
        return path.read_bytes() if path.exists() else b""

    def move(self, path: Path, to: Path) -> None:
        FILES.move(path, to)
        sync(path.parent)

    def make_folder(self, path: Path) -> None:
        if path.is_dir():
            # Who made it may have died before syncing the folder above; not if that is closed to us.
            with suppress(PermissionError):
                sync(path.parent)
            return
        self.make_folder(path.parent)
        FILES.make_folder(path)
        sync(path.parent)

    def sync(self, path: Path) -> None:
        sync(path)

    def local_path(self, path: Path) -> Path:
        return path

    def free_bytes(self, path: Path) -> int:
        there = next(at for at in (path, *path.absolute().parents) if at.is_dir())
        return shutil.disk_usage(there).free

    def refusal(self, folder: Path, size: int) -> str:
        """Tries it: nothing else tells of a quota, or of a disk that is closed to all writing."""
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            fix = "make it writable" if error.errno == errno.EROFS else "make room"
            if error.errno in FULL:
                return f"the disk of {folder} takes no writes ({os.strerror(error.errno)}); {fix}"
        return ""

    def staging(self, path: Path, token: str = "") -> Path:
        return path.with_name(f"{path.name}{token}{LEFTOVER}")

    def begin(self, aside: Path) -> None:
        self.make_folder(aside.parent)
        aside.mkdir()

    def publish(self, aside: Path, path: Path) -> None:
        aside.rename(path)
        sync(path.parent)

    def is_whole(self, path: Path, seal: str, patience_s: float | None = None) -> bool:
        """Judges by the name: where that is right and the seal is missing, the seal was lost."""
        return path.suffix != LEFTOVER and path.exists()

    def foreign(self, path: Path, own: set[str]) -> set[str]:
        return set(self.names(path)) - own

    def discard(self, path: Path, seal: str) -> None:
        doomed = self.staging(path)
        path.rename(doomed)
        self.remove(doomed)

    def remove(self, path: Path) -> None:
        shutil.rmtree(path)

    def abandon(self, aside: Path) -> None:
        shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def filling(self, aside: Path) -> Iterator[Path]:
        yield aside
        for path in sorted(aside.rglob("*")):
            sync(path)

    @contextmanager
    def copied(self, path: Path) -> Iterator[Path]:
        yield path
