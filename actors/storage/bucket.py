"""Files in buckets: S3 and Google Cloud Storage, through pyarrow.

Invariant: a file appears under its name whole, or not at all. A bucket that does not answer is asked
again, a few times by its own library and then for as long as the caller says; what comes after that
is one sentence. Region, endpoint and keys are the environment's alone.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from pyarrow import fs

from actors.storage.paths import BucketPath
from policies.errors import UserError, one_line

CONNECT_S, SILENT_S, TRIES = 5.0, 20.0, 2
"""In all well below `actors.retry.ANSWER_S`, for which others wait for who asks a bucket."""
AGAIN_S = 2.0
READ_S = 24 * 3600.0
"""How long a reader waits for a bucket; who writes waits in `actors.retry.patiently`."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")

T = TypeVar("T")


class BucketSilent(UserError, OSError):
    """A bucket that does not do what it is asked; the message says what and why."""

    errno = errno.EHOSTUNREACH


def wait_at_most(seconds: float) -> None:
    """From now on in this process, also where somebody waits already."""
    global READ_S
    READ_S = seconds


def write(path: BucketPath, data: bytes) -> None:
    """Durable under its name when it returns: one PUT, or for large data one upload in parts."""

    def put() -> None:
        with _files(path).open_output_stream(path.key) as stream:
            stream.write(data)

    # In a thread, which Ctrl-C does not reach: a stream that is left early stores what it has.
    with ThreadPoolExecutor(1) as apart:
        _ask(path, "written", 0, lambda: apart.submit(put).result())


def read(path: BucketPath, patience_s: float | None = None) -> bytes:
    def get() -> bytes:
        with _files(path).open_input_stream(path.key) as stream:
            return bytes(stream.read())

    return _ask(path, "read", patience_s, get)


def tail(path: BucketPath, size: int) -> bytes:
    def get() -> bytes:
        with _files(path).open_input_file(path.key) as file:
            file.seek(max(0, file.size() - size))
            return bytes(file.read())

    return _ask(path, "read", None, get)


@contextmanager
def open_file(path: BucketPath) -> Iterator[Any]:
    """For reading, with `seek`: only what is asked for is fetched."""
    opened = _ask(path, "read", None, lambda: _files(path).open_input_file(path.key))
    with _translated(path, "read"), opened as file:
        yield file


@contextmanager
def open_sink(path: BucketPath) -> Iterator[Any]:
    with _translated(path, "written"), _files(path).open_output_stream(path.key) as stream:
        yield stream


def exists(path: BucketPath, patience_s: float | None = None) -> bool:
    return _info(path, patience_s).type != fs.FileType.NotFound


def changed(path: BucketPath) -> int:
    """When the file came, in nanoseconds; 0 if there is none."""
    info = _info(path)
    return info.mtime_ns if info.type == fs.FileType.File else 0


def files(folder: BucketPath) -> list[BucketPath]:
    """All under `folder`, sorted. Folders there are none: some buckets keep marks of them."""
    selector = fs.FileSelector(folder.key, recursive=True, allow_not_found=True)
    found = _ask(folder, "listed", None, lambda: _files(folder).get_file_info(selector))
    keys = sorted(info.path for info in found if info.type == fs.FileType.File)
    return [BucketPath(f"{folder.scheme}://{key}") for key in keys]


def move(path: BucketPath, to: BucketPath) -> None:
    _ask(path, "renamed", 0, lambda: _files(path).move(path.key, to.key))


def delete(path: BucketPath) -> None:
    """The file, if it is there."""
    if exists(path, 0):
        _ask(path, "deleted", 0, lambda: _files(path).delete_file(path.key))


def delete_folder(path: BucketPath) -> None:
    """With all that is in it, and a mark that may be there of itself."""
    if exists(path, 0):
        with suppress(FileNotFoundError):
            _ask(path, "deleted", 0, lambda: _files(path).delete_dir(path.key))


def _info(path: BucketPath, patience_s: float | None = None) -> fs.FileInfo:
    return _ask(path, "read", patience_s, lambda: _files(path).get_file_info(path.key))


def _ask(path: BucketPath, done: str, patience_s: float | None, ask: Callable[[], T]) -> T:
    """None for the patience of this process. Raises BucketSilent, and FileNotFoundError where the
    bucket says so."""
    began = time.monotonic()
    while True:
        try:
            with _translated(path, done):
                return ask()
        except BucketSilent:
            patience = READ_S if patience_s is None else patience_s
            if time.monotonic() + AGAIN_S > began + patience:
                raise
        time.sleep(AGAIN_S)


@contextmanager
def _translated(path: BucketPath, done: str) -> Iterator[None]:
    """What pyarrow raises, as one sentence."""
    try:
        yield
    except (FileNotFoundError, BucketSilent):
        raise
    except OSError as error:
        raise BucketSilent(
            f"{path} cannot be {done} ({one_line(error)}): see that the bucket is there and can be "
            "reached with the keys, region and endpoint of the environment"
        ) from error


def _files(path: BucketPath) -> fs.FileSystem:
    return _google() if path.scheme == "gs" else _amazon(path.key.partition("/")[0])


@cache
def _google() -> fs.FileSystem:
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=TRIES * SILENT_S))


@cache
def _amazon(bucket: str) -> fs.FileSystem:
    """Or any other that speaks S3, where the environment names its endpoint."""
    scheme, _, endpoint = _first(ENDPOINTS).rpartition("://")
    region = _first(REGIONS) or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket))
    return fs.S3FileSystem(
        region=region, scheme=scheme or "https", endpoint_override=endpoint.rstrip("/") or None,
        connect_timeout=CONNECT_S, request_timeout=SILENT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        allow_delayed_open=True,  # what is small goes in one request, which is whole or not there
    )  # fmt: skip


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
