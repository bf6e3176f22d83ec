"""Waiting with a deadline, inside async actors and in the driver.

Invariant: nobody waits without a deadline, and a wait that fails says what it waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Signal:
    """Wakes everybody who waits each time `notify` is called, on the same event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_until(
        self, ready: Callable[[], bool], deadline_s: float, describe: Callable[[], str]
    ) -> None:
        """Returns once `ready()`; raises TimeoutError with `describe()` after `deadline_s`."""
        try:
            async with asyncio.timeout(deadline_s):
                while not ready():
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {deadline_s:g} s for {describe()}") from None


async def within(wait: Awaitable[T], seconds: float, what: str) -> T:
    """What `wait` gives, or a TimeoutError that names what was waited for."""
    try:
        return await asyncio.wait_for(wait, seconds)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:g} s for {what} (actors.task_deadline)") from None
