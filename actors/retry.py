"""Waiting with a deadline, wherever it is done.

Invariant: nobody waits without a deadline, and a wait that fails says what it waited for.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import ray

from actors.pool.faults import InputsLost
from actors.storage import bucket
from actors.storage.paths import BucketPath, StoragePath

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, bucket.BucketSilent.errno)
"""What a person mends while the run waits: a disk that takes no writes, a bucket that is silent."""
PAUSE_S = 2.0
LOSSES = 10
"""So often the work on one task may be lost with its node: more is no bad luck."""
ANSWER_S = 120.0
"""How long a replica or a training worker waits for an answer of one of the stores."""

T = TypeVar("T")


class Signal:
    """Wakes everybody who waits each time `notify` is called, on the same event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Until the next `notify`. For waits that something else is sure to end."""
        await self._changed.wait()

    async def wait_until(
        self, ready: Callable[[], bool], deadline_s: float, describe: Callable[[], str]
    ) -> None:
        """Returns once `ready()`; raises TimeoutError with `describe()` after `deadline_s`."""
        try:
            async with asyncio.timeout(deadline_s):
                while not ready():
                    await self.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {deadline_s:g} s for {describe()}") from None


async def within(wait: Awaitable[T], seconds: float, what: str) -> T:
    """What `wait` gives, or a TimeoutError that names what was waited for."""
    try:
        return await asyncio.wait_for(wait, seconds)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:g} s for {what} (actors.task_deadline)") from None


async def run_in_thread(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread that the end of the program does not wait for: on a Ray
    that is gone it may wait for a minute."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(how: Callable[[Any], None], what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(lambda: None if done.done() else how(what))

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            tell(done.set_exception, error)
        else:
            tell(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await done


def get_within(ref: Any, seconds: float, what: str) -> Any:
    """What Ray has for `ref`, or a TimeoutError that names what was waited for."""
    try:
        return ray.get(ref, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        raise TimeoutError(f"waited {seconds:g} s for {what}") from None


async def made_again(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, done from its beginning again where something that it had made was lost
    with the node that held it, LOSSES times at most."""
    for _ in range(LOSSES):
        try:
            return await work()
        except (InputsLost, ray.exceptions.ObjectLostError):
            continue
    return await work()


def despite_loss(ask: Callable[[], T], seconds: float) -> T:
    """What `ask` gives, asked again when an object is lost with the process that owned it, which
    comes back. Raises ObjectLostError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except ray.exceptions.ObjectLostError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def refused(folder: StoragePath, size: int) -> str:
    """Why the disk of `folder` takes no `size` bytes more; empty if it does. Only trying tells of a
    quota, or of a disk that is closed to all writing. Of a bucket, why it does not answer."""
    if isinstance(folder, BucketPath):
        try:
            bucket.exists(folder, 0)
        except bucket.BucketSilent as error:
            return str(error)
        return ""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        fix = "make it writable" if error.errno == errno.EROFS else "make room"
        if error.errno in FULL:
            return f"the disk of {folder} takes no writes ({os.strerror(error.errno)}); {fix}"
    return ""


def patiently(write: Callable[[], T], what: str, seconds: float) -> T:
    """What `write` gives, done again and again while the disk takes no writes, or the bucket does not
    answer. `write` must leave nothing behind when it fails. Raises TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            return write()
        except OSError as error:
            cause = getattr(error, "cause", error)  # of one that crossed Ray's border
            if cause.errno not in FULL:
                raise
            if time.monotonic() > end:
                raise TimeoutError(
                    f"waited {seconds:g} s (actors.pause_deadline) for a place to store {what} "
                    f"({error}): mend that, then resume the run"
                ) from error
        time.sleep(PAUSE_S)
