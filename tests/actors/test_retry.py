"""Trying again ends, and a wait that ends too late is one sentence to who started the run."""

from __future__ import annotations

import asyncio
import errno
import pickle
from collections.abc import Awaitable, Callable

import pytest
from tenacity import AsyncRetrying, Retrying

from actors import retry
from actors.retry import InputsLost, Signal, WaitTimeout, made_again, patiently, retrying, within
from cluster.refusals import sentences


def failing(times: int, error: BaseException) -> Callable[[], int]:
    """Returns what raises `error` so many times, and then gives the number of calls."""
    calls = 0

    def work() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return work


WAITS: dict[str, Callable[[], Awaitable[object]]] = {
    "an answer": lambda: within(asyncio.sleep(60), 0.01, "an answer"),
    "a signal": lambda: Signal().wait_until(lambda: False, 0.01, lambda: "a signal"),
    "a place to store a row": lambda: asyncio.to_thread(
        patiently, failing(99, OSError(errno.ENOSPC, "full")), "a row", 0.01
    ),
}


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_that_is_over_is_one_sentence_that_names_what_it_was_for(what: str) -> None:
    with pytest.raises(
        WaitTimeout, match=rf"^waited 0.01 s .*for {what}.* resume the run$"
    ) as late:
        asyncio.run(WAITS[what]())  # type: ignore[arg-type] # they are coroutines
    assert sentences(pickle.loads(pickle.dumps(late.value))) == [str(late.value)]
    assert sentences(ExceptionGroup("", [late.value])) == [str(late.value)]


def test_what_a_wait_was_for_is_not_lost_in_one_around_it() -> None:
    async def inner() -> None:
        raise WaitTimeout.of(1, "the inner answer")

    with pytest.raises(WaitTimeout, match="the inner answer"):
        asyncio.run(within(inner(), 60, "the outer answer"))


def test_only_errors_that_pass_are_tried_again() -> None:
    again = retrying(Retrying, LookupError, 0.0, lambda: 60.0)
    assert again(failing(3, KeyError())) == 4
    with pytest.raises(ValueError, match="^another$"):
        again(failing(1, ValueError("another")))
    with pytest.raises(KeyboardInterrupt):
        again(failing(1, KeyboardInterrupt()))


def test_a_deadline_may_come_closer_while_somebody_waits() -> None:
    left = [60.0, 60.0, 0.0]
    work = failing(99, KeyError("the last"))
    with pytest.raises(KeyError, match="the last"):
        retrying(Retrying, LookupError, 0.01, lambda: left.pop(0))(work)
    assert left == []


def test_who_waits_is_told_before_each_pause() -> None:
    heard: list[BaseException] = []
    ask = failing(2, KeyError("full"))

    async def work() -> int:
        return ask()

    asking = retrying(AsyncRetrying, KeyError, 0.01, lambda: 60.0, heard.append)
    assert asyncio.run(asking(work)) == 3
    assert list(map(str, heard)) == ["'full'"] * 2


@pytest.mark.parametrize("losses", [0, retry.LOSSES, retry.LOSSES + 1])
def test_what_was_lost_is_made_again_so_many_times(losses: int) -> None:
    ask = failing(losses, InputsLost("gone"))

    async def work() -> int:
        return ask()

    if losses > retry.LOSSES:
        with pytest.raises(InputsLost):
            asyncio.run(made_again(work))
    else:
        assert asyncio.run(made_again(work)) == losses + 1
