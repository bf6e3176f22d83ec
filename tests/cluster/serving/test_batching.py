"""How asks gather, and that each of them comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from cluster.serving.batching import LOSSES, Lane
from cluster.serving.refusals import Refusal

Fate = str


class Replicas:
    """Does batches as its fates say, and keeps what it was asked."""

    def __init__(self, fates: Sequence[Fate] = ()) -> None:
        self.fates, self.batches = list(fates), list[list[int]]()
        self.at_once = self.most = 0

    async def ask(self, asks: Sequence[int]) -> AsyncIterator[list[tuple[int, Any]]]:
        self.batches.append(list(asks))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0.001)
            fate = self.fates.pop(0) if self.fates else "done"
            if fate == "dies":
                raise ray.exceptions.RayActorError
            if fate == "fails":
                raise ValueError("a defect")
            yield [(place, f"{ask} so far") for place, ask in enumerate(asks)]
            if fate == "dies later":
                raise ray.exceptions.RayActorError
            yield [(place, ask * 10) for place, ask in enumerate(asks)]
        finally:
            self.at_once -= 1


def answers(replicas: Replicas, count: int, size: int, slots: int) -> dict[int, Any]:
    """What each ask comes to at last."""

    async def run() -> dict[int, Any]:
        lane, events = Lane(replicas.ask, size, slots, 1000, 60), asyncio.Queue[tuple[int, Any]]()
        for first in range(0, count, 3):
            asks = range(first, min(first + 3, count))
            lane.put(asks, lambda place, event, at=first: events.put_nowait((at + place, event)))
            await asyncio.sleep(0)
        found: dict[int, Any] = {}
        while len(found) < count:
            ask, event = await asyncio.wait_for(events.get(), 10)
            if not isinstance(event, str):
                assert ask not in found, "told twice how it ended"
                found[ask] = event
        return found

    return asyncio.run(run())


FATES = st.lists(st.sampled_from(["done", "dies", "dies later", "fails"]), max_size=12)


@given(FATES, st.integers(1, 20), st.integers(1, 5), st.sampled_from([2, 4]))
def test_each_ask_ends_once_whatever_becomes_of_replicas(
    fates: list[Fate], count: int, size: int, slots: int
) -> None:
    replicas = Replicas(fates)
    found = answers(replicas, count, size, slots)
    assert set(found) == set(range(count))
    for ask, event in found.items():
        assert event == ask * 10 or (isinstance(event, Refusal) and event.status == 500)
    refused = sum(isinstance(event, Refusal) for event in found.values())
    assert refused <= size * (
        fates.count("fails") + fates.count("dies") + fates.count("dies later")
    )
    assert all(len(batch) <= size for batch in replicas.batches) and replicas.most <= slots


def test_a_batch_that_loses_its_replica_is_asked_again_and_not_for_ever() -> None:
    replicas = Replicas(["dies", "dies later", "done"])
    assert answers(replicas, 3, 3, 2) == {0: 0, 1: 10, 2: 20}
    assert replicas.batches == [[0, 1, 2]] * 3
    found = answers(Replicas(["dies"] * LOSSES), 2, 3, 2)
    assert all("lost 5 replicas" in str(event) for event in found.values())


def test_what_comes_while_the_model_has_work_gathers() -> None:
    replicas = Replicas()
    answers(replicas, 40, 16, 2)
    sizes = [len(batch) for batch in replicas.batches]
    assert sum(sizes) == 40 and sizes[0] == 3 and max(sizes) == 16 and len(sizes) <= 5


def test_too_many_are_refused_and_who_has_gone_is_not_sent() -> None:
    async def run() -> None:
        replicas = Replicas()
        lane = Lane(replicas.ask, 2, 2, 6, 60)
        done = asyncio.Queue[Any]()
        waiting = lane.put([1, 2, 3, 4, 5, 6], lambda _, event: done.put_nowait(event))
        waiting[4].given_up = True
        with pytest.raises(Refusal) as found:
            lane.put([7, 8, 9, 10, 11, 12], lambda *_: None)  # where one waits, and one has gone
        assert (found.value.status, found.value.code) == (503, "overloaded")
        last = [await asyncio.wait_for(done.get(), 10) for _ in range(10)]
        assert sorted(event for event in last if isinstance(event, int)) == [10, 20, 30, 40, 60]
        assert replicas.batches == [[1, 2], [3, 4], [6]]

    asyncio.run(run())


def test_a_batch_that_fails_is_halved_until_one_is_to_blame() -> None:
    asked: list[list[int]] = []

    async def ask(asks: Sequence[int]) -> AsyncIterator[list[tuple[int, Any]]]:
        asked.append(list(asks))
        if 6 in asks:
            raise ValueError("a defect")
        yield [(place, ask * 10) for place, ask in enumerate(asks)]

    async def run() -> dict[int, Any]:
        found: dict[int, Any] = {}
        done = asyncio.Event()

        def tell(place: int, event: Any) -> None:
            found[place] = event
            if len(found) == 8:
                done.set()

        Lane(ask, 8, 2, 100, 60).put(range(8), tell)
        await asyncio.wait_for(done.wait(), 60)
        return found

    found = asyncio.run(run())
    assert isinstance(found.pop(6), Refusal) and found == {i: 10 * i for i in range(8) if i != 6}
    assert asked == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [6], [7]]


def test_who_has_gone_is_not_asked_for_again() -> None:
    async def run() -> list[list[int]]:
        asked: list[list[int]] = []

        async def ask(asks: Sequence[int]) -> AsyncIterator[list[tuple[int, Any]]]:
            asked.append(list(asks))
            if len(asked) == 1:
                waiting[0].given_up = True
                raise ray.exceptions.RayActorError
            yield [(place, ask * 10) for place, ask in enumerate(asks)]

        told = asyncio.Queue[Any]()
        waiting = Lane(ask, 8, 2, 100, 60).put([1, 2], lambda *event: told.put_nowait(event))
        assert await asyncio.wait_for(told.get(), 60) == (1, 20)
        return asked

    assert asyncio.run(run()) == [[1, 2], [2]]


def test_a_model_that_never_answers_does_not_hold_its_place_for_ever() -> None:
    async def run() -> None:
        told, calls = asyncio.Queue[Any](), []

        async def ask(asks: Sequence[int]) -> AsyncIterator[list[tuple[int, Any]]]:
            calls.append(list(asks))
            if len(calls) <= 2:
                await asyncio.sleep(3600)
            yield [(place, ask * 10) for place, ask in enumerate(asks)]

        lane = Lane(ask, 1, 2, 100, 0.2)
        lane.put([1, 2, 3], lambda *event: told.put_nowait(event))
        assert await asyncio.wait_for(told.get(), 60) == (2, 30)
        assert calls == [[1], [2], [3]]

    asyncio.run(run())
