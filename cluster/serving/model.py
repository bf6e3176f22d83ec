"""A Ray Serve replica of the model: it maps the weights, and does what it is asked in batches.

Invariant: what is answered follows from the ask and the weights alone, up to the rounding of
floating-point sums; who else is in the batch changes nothing else, and what the model refuses of one ask
is the answer to that one. Weights are shared with every replica of the node and are only ever read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import ray
import torch
from ray import serve

from actors.weights.mapped import MappedWeights
from cluster.serving.asks import Ask, Refused, Written
from cluster.serving.config import ServeConfig
from policies.config import PolicyConfig
from policies.errors import UserError
from policies.interface import Output, PictureSampling, TextSampling
from policies.listening import listening
from policies.registry import load_policy

A = TypeVar("A")
R = TypeVar("R")
Told = tuple[int, str | Written | Refused]
"""Of which ask, its text so far, or what becomes of it at last."""


@dataclass(frozen=True)
class Writing:
    """An ask for a text; whoever is `followed` is told of it while it grows."""

    ask: Ask[TextSampling]
    followed: bool


@dataclass(frozen=True)
class ModelSpec:
    """The weight store is the actor "weight_store" of `namespace`; it has the weights as version 0."""

    policy: PolicyConfig
    config: ServeConfig
    namespace: str


@serve.deployment
class Model:
    def __init__(self, spec: ModelSpec) -> None:
        torch.set_num_threads(max(1, int(spec.config.cpus)))
        dtype = spec.policy.dtype
        self._policy = load_policy(spec.policy, dtype)
        self._policy.sample_on("cuda" if spec.config.gpus else "cpu", dtype)
        store = ray.get_actor("weight_store", namespace=spec.namespace)
        MappedWeights(store, "served").load(self._policy, 0)
        self._device = ThreadPoolExecutor(1, "model")  # one batch at a time has the processors

    async def draw(self, asks: Sequence[Ask[PictureSampling]]) -> list[Output | Refused]:
        """What becomes of each."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device, each_or_refused, self._drawn, asks)

    async def write(self, asks: Sequence[Writing]) -> AsyncIterator[list[Told]]:
        """Of those that are followed their texts so far, word by word, and at last what becomes of each."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[list[Told] | None]()

        def tell(events: list[Told] | None) -> None:
            loop.call_soon_threadsafe(told.put_nowait, events)

        work = loop.run_in_executor(
            self._device, each_or_refused, partial(self._written, tell), [*enumerate(asks)]
        )
        work.add_done_callback(lambda _: tell(None))
        while (events := await told.get()) is not None:
            yield events
        yield [*enumerate(await work)]

    def _drawn(self, asks: Sequence[Ask[PictureSampling]]) -> list[Output]:
        return self._policy.draw(
            [ask.context for ask in asks],
            [ask.sampling for ask in asks],
            [ask.seed for ask in asks],
        )

    def _written(
        self, tell: Callable[[list[Told]], None], asks: Sequence[tuple[int, Writing]]
    ) -> list[Written]:
        ids = [list[int]() for _ in asks]

        def hear(rows: list[int], tokens: list[int]) -> None:
            for row, token in zip(rows, tokens, strict=True):
                ids[row].append(token)
            followed = [row for row in rows if asks[row][1].followed]
            if followed:
                tell([(asks[row][0], self._policy.text_of(ids[row])) for row in followed])

        own = [each.ask for _, each in asks]
        with listening(hear):
            texts = self._policy.write(
                [ask.context for ask in own],
                [ask.sampling for ask in own],
                [ask.seed for ask in own],
            )
        return [Written(text, len(made)) for text, made in zip(texts, ids, strict=True)]


@torch.inference_mode()
def each_or_refused(do: Callable[[Sequence[A]], list[R]], asks: Sequence[A]) -> list[R | Refused]:
    """What `do` gives for each; where it refuses them together, halves are tried, until those are alone
    that it refuses."""
    try:
        return [*do(asks)]
    except UserError as error:
        if len(asks) == 1:
            return [Refused(str(error))]
    half = len(asks) // 2
    return each_or_refused(do, asks[:half]) + each_or_refused(do, asks[half:])
