"""Has the model do what requests ask for.

Invariant: no ask waits longer than the deadline, and one that nobody waits for any more is not sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from cluster.serving.asks import Ask, Refused, Written
from cluster.serving.batching import Lane
from cluster.serving.config import ServeConfig
from cluster.serving.model import Writing
from cluster.serving.refusals import Refusal, bad
from policies.interface import Output, PictureSampling, TextSampling


class Caller:
    def __init__(self, model: DeploymentHandle[Any], config: ServeConfig) -> None:
        self._deadline = config.deadline
        writing: Any = model.options(stream=True)

        async def draw(asks: Sequence[Any]) -> AsyncIterator[list[tuple[int, Any]]]:
            yield [*enumerate(await model.draw.remote(asks))]

        # While a replica does one batch, the next one is at its door.
        sizes = config.batch, 2 * config.max_replicas, config.queue, config.deadline
        self._draw = Lane(draw, *sizes)
        self._write = Lane(lambda asks: writing.write.remote(asks), *sizes)

    async def draw(self, asks: Sequence[Ask[PictureSampling]]) -> list[Output]:
        """Raises Refusal."""
        return await self._all(self._draw, asks)

    async def write(self, asks: Sequence[Ask[TextSampling]]) -> list[Written]:
        """Raises Refusal."""
        return await self._all(self._write, [Writing(ask, followed=False) for ask in asks])

    def stream(
        self, asks: Sequence[Ask[TextSampling]]
    ) -> AsyncGenerator[tuple[int, str | Written], None]:
        """Of which ask, its text so far; or at last what was written. Raises Refusal."""
        return self._told(self._write, [Writing(ask, followed=True) for ask in asks])

    async def _all(self, lane: Lane, asks: Sequence[Any]) -> list[Any]:
        found = {place: event async for place, event in self._told(lane, asks)}
        return [found[place] for place in range(len(asks))]

    async def _told(self, lane: Lane, asks: Sequence[Any]) -> AsyncGenerator[tuple[int, Any], None]:
        # No `async with` around a yield: who goes on with this may be another task.
        end, events = time.monotonic() + self._deadline, asyncio.Queue[tuple[int, Any]]()
        waiting = lane.put(asks, lambda place, event: events.put_nowait((place, event)))
        left = set(range(len(asks)))
        try:
            while left:
                place, event = await asyncio.wait_for(events.get(), end - time.monotonic())
                if isinstance(event, Refused):
                    raise bad(event.why)
                if isinstance(event, Refusal):
                    raise event
                if place not in left:
                    continue  # its replica died when it had answered, and it was asked again
                if not isinstance(event, str):
                    left.remove(place)
                yield place, event
        except TimeoutError:
            raise Refusal(504, f"the model did not answer within {self._deadline:g} s") from None
        finally:
            for each in waiting:
                each.given_up = True
