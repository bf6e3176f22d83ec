"""What a training rank sees of the rest of the run: judged groups come in, versions go out.

Invariant: every wait ends, with what it waited for, with a request to stop, or with an error
that names what did not come. What was read is owned by this process: nothing stays pinned in the
object store while a round is learned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import ray
import ray.train

from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.replay.records import JudgedGroup
from actors.retry import ANSWER_S, WaitTimeout, get_within
from actors.weights import store as weight_store
from policies.interface import Part, Picture

SLICES_AT_ONCE = 1  # of real pictures a slice is hundreds of megabytes


class StopRequested(Exception):
    """Somebody asked for the end of training; the message says why."""


class TrainingIO(Protocol):
    """What training needs; every rank has its own, and only rank 0 publishes and shows."""

    def groups(self, round_: int) -> Iterator[JudgedGroup]:
        """The groups of a round in the order of the log, until the round is closed. Raises
        StopRequested."""
        ...

    def check_stop(self) -> None:
        """Raises StopRequested."""
        ...

    def versions(self) -> list[int]: ...

    def weights(self, version: int) -> Mapping[str, np.ndarray]:
        """Those that were published, in float32 or as bfloat16's bits."""
        ...

    def publish(self, version: int, weights: Mapping[str, np.ndarray]) -> None: ...

    def show(self, row: Mapping[str, Any]) -> None:
        """One step's figures, for who watches the run now."""
        ...

    def diverged(self) -> None:
        """A step was given up: its gradient is no number."""
        ...

    def finished(self, version: int, row: Mapping[str, Any]) -> None:
        """A round is finished; all ranks call it together."""
        ...


class StopService:
    """Where the driver asks for the end of training, and every rank hears of it."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._reason = ""

    async def request(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._asked.set()

    async def wait(self) -> str:
        """Ends with the run; who calls it looks at other things meanwhile."""
        await self._asked.wait()
        return self._reason


StopActor = ray.remote(num_cpus=0)(StopService)


class RayTrainingIO:
    """The named actors of the run in `namespace`."""

    def __init__(
        self, run: str, namespace: str, stop: Any, data_deadline: float, pause_s: float
    ) -> None:
        self._replay = ray.get_actor("replay_buffer", namespace=namespace)
        self._store = ray.get_actor("weight_store", namespace=namespace)
        self._asked: ray.ObjectRef = stop.wait.remote()
        self._data_deadline, self._pause_s = data_deadline, pause_s
        self._meter = Meter(run, role="trainer")

    def groups(self, round_: int) -> Iterator[JudgedGroup]:
        start, end = 0, None
        while end is None or start < end:
            slices, end = self._wait_read(round_, start)
            for index, groups in slices:
                start = index + 1
                yield from map(_owned, groups)
            del slices

    def _wait_read(self, round_: int, start: int) -> tuple[list[Any], int | None]:
        answer: ray.ObjectRef = self._replay.wait_read.remote(
            round_, start, SLICES_AT_ONCE, self._data_deadline
        )
        allowed = self._data_deadline + ANSWER_S
        ready, _ = ray.wait([answer, self._asked], timeout=allowed)
        self.check_stop()
        if not ready:
            raise WaitTimeout(
                f"No judged groups of round {round_} came for {allowed:g} s: the replay buffer "
                f"did not answer for slice {start}; look whether its actor is alive."
            )
        return ray.get(answer)

    def check_stop(self) -> None:
        ready, _ = ray.wait([self._asked], timeout=0)
        if ready:
            raise StopRequested(ray.get(self._asked))

    def versions(self) -> list[int]:
        what = "the weight store to list its versions"
        there: list[int] = get_within(self._store.versions.remote(), ANSWER_S, what)
        self._meter.set(catalog.VERSION, max(there, default=0))
        return there

    def weights(self, version: int) -> Mapping[str, np.ndarray]:
        found, _ = weight_store.fetch(version, self._store, f"weights v{version} to come back")
        return found

    def publish(self, version: int, weights: Mapping[str, np.ndarray]) -> None:
        began = time.monotonic()
        weight_store.publish(weights, version, self._store, self._pause_s)
        seconds = time.monotonic() - began
        self._did("publish", seconds)
        self._meter.set(catalog.VERSION, version)
        self._meter.set(catalog.PUBLISHED_AT, time.time())
        self._meter.set(catalog.PUBLISH_SECONDS, seconds)

    def show(self, row: Mapping[str, Any]) -> None:
        self._did("step", row["seconds"])
        for pattern, loss in row["losses"].items():
            self._meter.set(catalog.LOSS, loss, pattern=pattern)
        self._meter.set(catalog.GRAD_NORM, row["grad_norm"])
        self._meter.set(catalog.STEP, row["step"])

    def diverged(self) -> None:
        self._meter.add(catalog.DIVERGED)

    def finished(self, version: int, row: Mapping[str, Any]) -> None:
        ray.train.report({"version": version, **row})

    def _did(self, stage: str, seconds: float) -> None:
        self._meter.add(catalog.TASKS, stage=stage)
        self._meter.add(catalog.BUSY, seconds, stage=stage)


def _owned(group: JudgedGroup) -> JudgedGroup:
    """The same group with arrays of its own, not views into the object store."""
    rollouts = (replace(r, output=tuple(map(_copy, r.output))) for r in group.rollouts)
    return replace(group, rollouts=tuple(rollouts))


def _copy(part: Part) -> Part:
    picture = part.segment
    if isinstance(picture, str):
        return part
    codes = None if picture.codes is None else picture.codes.copy()
    latents = None if picture.latents is None else picture.latents.clone()
    return replace(part, segment=Picture(picture.pixels.copy(), codes, latents))
