"""The one way to try again, and to wait with a deadline.

Invariant: nobody waits without a deadline, and a wait that fails says in one sentence what it waited
for. What is tried again is named by its error; every other error is raised at once.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_fixed,
)

from policies.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EHOSTUNREACH)
"""What a person mends while the run waits: a disk that takes no writes, or (the last one, which
`BucketSilent` carries) a bucket that does not answer."""
PAUSE_S = 2.0
LOST_PAUSE_S = 0.2
LOSSES = 10
"""How often the work on one task may be lost with its node: more is no bad luck."""
ANSWER_S = 120.0
"""How long a replica or a training worker waits for an answer of one of the stores."""

T = TypeVar("T")


class InputsLost(RuntimeError):
    """What a task was to work on went with its node; the message names the task. Whoever had it made
    must have it made again."""


class WaitTimeout(UserError, TimeoutError):
    """A wait that came to its deadline; the message names what was waited for."""

    @classmethod
    def of(cls, seconds: float, what: str) -> WaitTimeout:
        return cls(
            f"waited {seconds:g} s for {what}: look in events.jsonl and in the logs of Ray for what "
            "holds it up, then resume the run"
        )


def retrying(
    kind: Callable[..., Any],
    passes: type[BaseException] | Callable[[BaseException], bool],
    pause_s: float,
    seconds: Callable[[], float],
    on_pause: Callable[[BaseException], object] | None = None,
) -> Any:
    """Returns what calls a function until it succeeds, of tenacity's `kind` Retrying or
    AsyncRetrying: every `pause_s` seconds while its error `passes`. It raises the last error when
    `seconds()` are over, which may change meanwhile; `on_pause` hears the others."""

    def over(state: RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) + pause_s > seconds()

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if error and on_pause:
            on_pause(error)

    rule = (
        retry_if_exception_type(passes) if isinstance(passes, type) else retry_if_exception(passes)
    )
    return kind(
        retry=rule, wait=wait_fixed(pause_s), stop=over, before_sleep=before_sleep, reraise=True
    )


def patiently(write: Callable[[], T], what: str, seconds: float) -> T:
    """Returns what `write` gives, done again and again while the disk takes no writes or the bucket
    does not answer. `write` must leave nothing behind when it fails. Raises WaitTimeout."""
    try:
        done: T = retrying(Retrying, _takes_no_writes, PAUSE_S, lambda: seconds)(write)
        return done
    except OSError as error:
        if not _takes_no_writes(error):
            raise
        raise WaitTimeout(
            f"waited {seconds:g} s (actors.pause_deadline) for a place to store {what} "
            f"({error}): mend that, then resume the run"
        ) from error


def _takes_no_writes(error: BaseException) -> bool:
    cause = getattr(error, "cause", error)  # of one that crossed Ray's border
    return isinstance(error, OSError) and getattr(cause, "errno", None) in FULL


def despite_loss(ask: Callable[[], T], seconds: float) -> T:
    """Returns what `ask` gives, asked again when an object is lost with the process that owned it,
    which comes back. Raises ObjectLostError after `seconds`."""
    found: T = retrying(Retrying, _object_lost, LOST_PAUSE_S, lambda: seconds)(ask)
    return found


def _object_lost(error: BaseException) -> bool:
    import ray  # here, for whoever only waits for a disk starts without it

    return isinstance(error, ray.exceptions.ObjectLostError)


async def made_again(work: Callable[[], Awaitable[T]]) -> T:
    """Returns what `work` gives, done from its beginning again where something that it had made was
    lost with the node that held it, LOSSES times at most."""
    lost = retry_if_exception(lambda e: isinstance(e, InputsLost) or _object_lost(e))
    tries = AsyncRetrying(retry=lost, stop=stop_after_attempt(LOSSES + 1), reraise=True)
    return await tries(work)


class Signal:
    """Wakes everybody who waits each time `notify` is called, on the same event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Returns at the next `notify`. For waits that something else is sure to end."""
        await self._changed.wait()

    async def wait_until(
        self, ready: Callable[[], bool], deadline_s: float, describe: Callable[[], str]
    ) -> None:
        """Returns once `ready()`; raises WaitTimeout with `describe()` after `deadline_s`."""
        try:
            async with asyncio.timeout(deadline_s):
                while not ready():
                    await self.wait()
        except TimeoutError:
            raise WaitTimeout.of(deadline_s, describe()) from None


async def within(wait: Awaitable[T], seconds: float, what: str) -> T:
    """Returns what `wait` gives. Raises WaitTimeout after `seconds`."""
    try:
        return await asyncio.wait_for(wait, seconds)
    except TimeoutError as error:
        if isinstance(error, UserError):
            raise  # not this wait, but one within what was asked
        raise WaitTimeout.of(seconds, f"{what} (actors.task_deadline)") from None


def get_within(ref: Any, seconds: float, what: str) -> Any:
    """Returns what Ray has for `ref`. Raises WaitTimeout after `seconds`."""
    import ray  # as above

    try:
        return ray.get(ref, timeout=seconds)
    except ray.exceptions.GetTimeoutError:
        raise WaitTimeout.of(seconds, what) from None


async def run_in_thread(work: Callable[[], T]) -> T:
    """Returns what `work` gives, done in a thread that the end of the program does not wait for: on
    a Ray that is gone it may wait for a minute."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(how: Callable[[Any], None], what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(lambda: None if done.done() else how(what))

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            settle(done.set_exception, error)
        else:
            settle(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await done
