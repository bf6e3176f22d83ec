"""What the driver asks of the replay buffer and of the weight store.

Invariant: every answer comes within a deadline, or an error names what was waited for. An append
that the log can not take now is tried again for as long as a run may pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying

from actors.config import ActorsConfig
from actors.pool.faults import message_of
from actors.replay.buffer import ReplayUnwritable
from actors.retry import retrying, within
from actors.weights.version_folder import VersionDamaged, VersionFolder
from trainer.watch import WATCH_S

POLL_S = 0.2
NOTHING = {"drawings": 0, "accepted": 0, "contested": 0, "rejected": 0}


class Stores:
    """The actors `replay` and `weights` of a run. `on_pause` is called with the reason when the log
    takes no writes, and with "" when it does again. `training_over` is set when nothing more will
    be published."""

    def __init__(
        self,
        replay: Any,
        weights: Any,
        versions: VersionFolder,
        config: ActorsConfig,
        on_pause: Callable[[str], None],
    ) -> None:
        self.replay, self.weights, self.versions = replay, weights, versions
        self.training_over = False
        self._config, self._on_pause = config, on_pause

    async def verify(self) -> list[str]:
        """Returns once both have read what they keep: the files of the log that were torn."""
        log = await self._within(self.replay.stats.remote(), "the replay buffer to verify its log")
        await self._within(self.weights.versions.remote(), "the weight store to read its versions")
        return log["torn"]

    async def version_ready(self, version: int) -> None:
        """Returns once `version` is published, which it is when it is durable. Raises VersionDamaged
        for one that training would have to publish, and is over."""
        # A round's training has no deadline of its own: each of its waits has one.
        while True:
            over = self.training_over
            if version in await self._within(self.weights.versions.remote(), "the versions"):
                return
            if over:
                raise VersionDamaged(
                    f"{self.versions.path(version)} is missing and training is over, so it is not "
                    "published again: restore it from a copy, or start the run anew under another "
                    "name=..."
                )
            await asyncio.sleep(POLL_S)

    async def closed(self, round_: int) -> bool:
        """Whether the log holds all of the round."""
        answer = self.replay.closed.remote(round_)
        return await self._within(answer, f"whether round {round_} is closed") is not None

    async def round_closed(self, round_: int) -> None:
        """Returns once the log holds all of the round."""
        while not await self.closed(round_):
            await asyncio.sleep(POLL_S)

    async def missing(self, round_: int, slices: int) -> list[int]:
        """The slices of the round that the log does not hold."""
        answer = self.replay.missing.remote(round_, slices)
        return await self._within(answer, f"the missing slices of round {round_}")

    async def stored(self, round_: int, margin: float = 0.0) -> dict[str, int]:
        """What the log has of the round: "drawings", and groups that are "accepted", "contested" (those of
        them whose drawings' scores differ by `margin`) and "rejected"."""
        stats = await self._within(
            self.replay.stats.remote(margin), f"the groups of round {round_}"
        )
        return stats["rounds"].get(round_, NOTHING)

    async def store_slice(self, round_: int, index: int, groups: Any) -> None:
        """Returns once the slice is durable."""
        what = f"slice {index} of round {round_} to be stored"
        await self._patiently(lambda: self.replay.append.remote(round_, index, groups), what)

    async def close_round(self, round_: int, slices: int) -> None:
        """Returns once it is durable that the round has so many slices."""
        what = f"the end of round {round_} to be stored"
        await self._patiently(lambda: self.replay.close_round.remote(round_, slices), what)

    async def _patiently(self, ask: Callable[[], Any], what: str) -> None:
        asking = retrying(
            AsyncRetrying, ReplayUnwritable, WATCH_S, lambda: self._config.pause_deadline,
            lambda error: self._on_pause(message_of(error)),
        )  # fmt: skip

        async def answer() -> None:  # tenacity does not await what a lambda gives
            await self._within(ask(), what)

        await asking(answer)
        self._on_pause("")

    async def _within(self, answer: Any, what: str) -> Any:
        """There is time for a silent store to be noticed, to start again, and to answer then."""
        return await within(
            answer, 2 * self._config.task_deadline + self._config.start_deadline, what
        )
