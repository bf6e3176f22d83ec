"""Files in buckets, S3 and Google Cloud Storage, through obstore.

Invariant: a file appears under its name whole, or not at all. A bucket that does not answer is asked
again, once by obstore and then for as long as the caller says; what comes after that is one sentence.
Region, endpoint and keys are the environment's alone.
"""

from __future__ import annotations

import errno
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from tenacity import Retrying

from actors.retry import retrying
from actors.storage.clients import client, why
from actors.storage.paths import BucketPath, StoragePath
from actors.storage.streams import Sink, opened
from policies.errors import UserError

AGAIN_S = 2.0
READ_S = 24 * 3600.0
"""How long a reader waits for a bucket; who writes waits in `actors.retry.patiently`."""

T = TypeVar("T")
Version = dict[str, str]
"""What tells a file from the one that has the same name before or after it."""


class BucketSilent(UserError, OSError):
    """A bucket that does not do what it is asked; the message says what and why."""

    errno = errno.EHOSTUNREACH


class Overtaken(Exception):
    """Somebody else wrote the file meanwhile."""


def wait_at_most(seconds: float) -> None:
    """Sets how long a reader waits in this process, also where somebody waits already."""
    global READ_S
    READ_S = seconds


class BucketStorage:
    """All buckets: which one is the first part of a path."""

    def write(self, path: StoragePath, data: bytes) -> None:
        """Stores it by one PUT, or large data by one upload in parts."""
        _ask(path, "written", 0, lambda at, key: obstore.put(at, key, data))

    def swap(self, path: StoragePath, data: bytes, seen: Version | None) -> Version:
        """Stores `data` if the file is still as it was `seen`, or is still not there for None.
        Returns what it is now. Raises Overtaken; where it raises BucketSilent, either may be so."""

        def put(at: Any, key: str) -> Version:
            try:
                return _version(obstore.put(at, key, data, mode=cast(Any, seen) or "create"))
            except (AlreadyExistsError, PreconditionError) as error:
                raise Overtaken(str(path)) from error

        return _ask(path, "written", 0, put)

    def look(self, path: StoragePath) -> tuple[bytes, Version | None]:
        """Returns what the file holds, and what to give to `swap`, without patience."""

        def get(at: Any, key: str) -> tuple[bytes, Version | None]:
            found = obstore.get(at, key)
            return bytes(found.bytes()), _version(found.meta)

        with suppress(FileNotFoundError):
            return _ask(path, "read", 0, get)
        return b"", None

    def read(self, path: StoragePath, patience_s: float | None = None) -> bytes:
        return _ask(path, "read", patience_s, lambda at, key: bytes(obstore.get(at, key).bytes()))

    def open_file(self, path: StoragePath, patience_s: float | None = None) -> BufferedReader:
        """Opens it; each part that is asked for is one request."""
        meta = _ask(path, "read", patience_s, obstore.head)

        def fetch(start: int, end: int) -> Any:
            return _ask(
                path, "read", 0, lambda at, key: obstore.get_range(at, key, start=start, end=end)
            )

        return opened(fetch, meta["size"])

    @contextmanager
    def open_sink(self, path: StoragePath) -> Iterator[Sink]:
        """Opens it for writing; it is there when it is left without an error, and not before."""
        with _translated(path, "written"), obstore.open_writer(*client(path)) as stream:
            yield Sink(stream)

    def exists(self, path: StoragePath, patience_s: float | None = None) -> bool:
        """Returns whether there is such a file, or any file in such a folder."""
        if self.is_file(path, patience_s):
            return True
        return bool(_ask(path, "read", patience_s, lambda at, key: _listed(at, key, 1)))

    def is_file(self, path: StoragePath, patience_s: float | None = 0) -> bool:
        with suppress(FileNotFoundError):
            return bool(_ask(path, "read", patience_s, obstore.head))
        return False

    def changed(self, path: StoragePath) -> int:
        with suppress(FileNotFoundError):
            return int(_ask(path, "read", None, obstore.head)["last_modified"].timestamp() * 1e9)
        return 0

    def files(self, folder: StoragePath) -> list[StoragePath]:
        """Returns files only: the empty ones that some tools leave as marks of folders are not."""
        scheme, bucket, *key = folder.parts
        keys = _ask(folder, "listed", None, lambda at, key: _listed(at, key, None))
        marks = {str(parent) for found in keys for parent in PurePosixPath(found).parents}
        top = BucketPath(f"{scheme}//{bucket}")
        return sorted(top / found for found in set(keys) - marks - {"/".join(key)})

    def names(self, folder: StoragePath) -> list[str]:
        return sorted({path.relative_to(folder).parts[0] for path in self.files(folder)})

    def search(self, folder: StoragePath, pattern: str) -> list[StoragePath]:
        return []

    def rest_s(self, folder: StoragePath) -> float:
        return 10.0  # each look is paid for

    def append(self, path: StoragePath, line: bytes) -> None:
        there = self.read(path, 0) if self.is_file(path) else b""
        if not there.endswith(line):  # else only the answer was lost, the last time
            self.write(path, there + line)

    def add(self, path: StoragePath, line: bytes) -> None:
        """Stores a file of its own, in a thread: who tells may be an event loop."""
        file = path.with_suffix("") / f"{time.time_ns()}-{secrets.token_hex(4)}.json"

        def put() -> None:
            with suppress(OSError):
                self.write(file, line)

        with suppress(RuntimeError):  # of a process that ends no thread can be started
            threading.Thread(target=put, daemon=True).start()

    def added(self, path: StoragePath) -> bytes:
        return b"".join(map(self.read, self.files(path.with_suffix(""))))

    def move(self, path: StoragePath, to: StoragePath) -> None:
        _ask(path, "renamed", 0, lambda at, key: obstore.rename(at, key, client(to)[1]))

    def delete(self, path: StoragePath) -> None:
        """Deletes the file, if it is there."""
        with suppress(FileNotFoundError):
            _ask(path, "deleted", 0, obstore.delete)

    def make_folder(self, path: StoragePath) -> None:
        """Does nothing: a folder is there when something is in it."""

    def sync(self, path: StoragePath) -> None:
        """Does nothing: what was stored is durable."""

    def local_path(self, path: StoragePath) -> None:
        return None

    def free_bytes(self, path: StoragePath) -> None:
        return None

    def refusal(self, folder: StoragePath, size: int) -> str:
        try:
            self.is_file(folder)
        except BucketSilent as error:
            return str(error)
        return ""

    def staging(self, path: StoragePath, token: str = "") -> StoragePath:
        return path

    def begin(self, aside: StoragePath) -> None:
        """Deletes nothing: another writer, whom nobody thinks alive, may just have set the seal."""

    def publish(self, aside: StoragePath, path: StoragePath) -> None:
        """Does nothing: the seal has done it."""

    def is_whole(self, path: StoragePath, seal: str, patience_s: float | None = None) -> bool:
        return self.is_file(path / seal, patience_s)

    def foreign(self, path: StoragePath, own: set[str]) -> set[str]:
        """Returns none: some may lie there of a writer that died, which nothing reads."""
        return set()

    def discard(self, path: StoragePath, seal: str) -> None:
        self.delete(path / seal)
        self.remove(path)

    def remove(self, path: StoragePath) -> None:
        with suppress(FileNotFoundError):
            _ask(path, "deleted", 0, lambda at, key: obstore.delete(at, _listed(at, key, None)))

    def abandon(self, aside: StoragePath) -> None:
        """Does nothing: without a seal nobody reads what is there."""

    @contextmanager
    def filling(self, aside: StoragePath) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="unicorn-") as folder:
            yield Path(folder)
            for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                self.write(aside / str(file.relative_to(folder)), file.read_bytes())

    @contextmanager
    def copied(self, path: StoragePath) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="unicorn-") as folder:
            for found in self.files(path):
                file = Path(folder, *found.relative_to(path).parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.read(found))
            yield Path(folder)


def _listed(at: Any, prefix: str, most: int | None) -> list[str]:
    found: list[str] = []
    for chunk in obstore.list(at, prefix):
        found += [meta["path"] for meta in chunk]
        if most and len(found) >= most:
            break
    return found


def _version(meta: Any) -> Version:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key)}


def _ask(path: StoragePath, done: str, patience_s: float | None, ask: Callable[[Any, str], T]) -> T:
    """Returns what `ask` gives for the client and the key of `path`, waiting for the bucket as long
    as this process does where `patience_s` is None. Raises BucketSilent and FileNotFoundError."""

    def once() -> T:
        with _translated(path, done):
            return ask(*client(path))

    def patience() -> float:
        return READ_S if patience_s is None else patience_s

    found: T = retrying(Retrying, BucketSilent, AGAIN_S, patience)(once)
    return found


@contextmanager
def _translated(path: StoragePath, done: str) -> Iterator[None]:
    """Makes one sentence of what obstore raises."""
    try:
        yield
    except (BaseError, OSError) as error:
        missing = isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error)
        if missing or isinstance(error, UserError):
            raise
        raise BucketSilent(
            f"{path} cannot be {done} ({why(error)}): see that the bucket is there and can be "
            "reached with the keys, region and endpoint of the environment"
        ) from error
