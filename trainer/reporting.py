"""What a run reports while it goes on: to the person who waits, to its folder, to the loggers.

Invariant: it only reports what the run folder and the stores hold; a run that nobody follows is the
same run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.storage import events, storage
from actors.storage.paths import StoragePath
from evaluation.metrics import tell
from trainer.config import RunConfig
from trainer.journal import JOURNAL, Journal

LITTLE_BYTES = 2**18
"""So little finds no room only where something waits for room."""


class Progress(Protocol):
    """Follows a run for a person; see `cluster.watch.progress`."""

    def sampling(
        self, round_: int, done: int, total: int, images: int, accepted: int | None = None
    ) -> None: ...
    def training(self, round_: int, step: int, steps: int, loss: float) -> None: ...
    def measured(self, version: int, metrics: Mapping[str, float]) -> None: ...
    def trouble(self, text: str) -> None: ...


class Reporter:
    """`waits_for` says why the log takes no writes, and `refused` why the disk takes none; both are
    empty while all is well."""

    def __init__(self, config: RunConfig, folder: StoragePath, progress: Progress) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.meter = Meter(config.name)
        self.waits_for, self.refused = "", ""

    def on_event(self, who: str, what: str, **facts: Any) -> None:
        """Keeps what happened to a replica or a task in events.jsonl, and says it in short."""
        events.note(self.folder, who, what, **facts)
        self.progress.trouble(f"{who} {what}: {'; '.join(map(str, facts.values()))}")

    def on_pause(self, reason: str) -> None:
        """The log takes no writes for this reason; it does again where there is none."""
        self.waits_for = reason
        if reason:
            self.progress.trouble(f"paused: {reason}")

    def torn(self, files: list[str]) -> None:
        for file in files:
            self.progress.trouble(f"{file} was torn and is set aside; its slice is done again")

    async def note(self, kind: str, round_: int, values: Mapping[str, float]) -> None:
        """Adds a row of a round to metrics.jsonl."""
        await tell(self.config, {"kind": kind, "round": round_}, values)

    def sampling(self, round_: int, total: int, stored: Mapping[str, int]) -> None:
        """Of `total` groups of the round so many are `stored`."""
        done = stored["accepted"] + stored["rejected"]
        self.meter.set(catalog.ROUND, round_)
        self.progress.sampling(round_, done, total, stored["drawings"], stored["accepted"])

    async def training(self, stored: Callable[[int, float], Awaitable[Mapping[str, int]]]) -> None:
        """The newest line of the training journal, or that the disk takes no writes; `stored` gives
        the counts of a round's groups, and of those that are contested by a margin."""
        self.refused = await asyncio.to_thread(storage.refusal, self.folder, LITTLE_BYTES)
        if self.refused:
            return self.progress.trouble(f"paused: {self.refused}")
        journal = Journal(self.folder / JOURNAL, self.config.actors.pause_deadline)
        row = await asyncio.to_thread(journal.last)
        if row is None:
            return
        round_, losses, settings = row["round"], row["losses"].values(), self.config.trainer
        # While a round is sampled its epoch is still growing.
        teaching = (await stored(round_, self.config.reconstruction.contested_by))["contested"]
        epoch = max(row["index"], -(-teaching // settings.groups_per_step))
        done = (row["epoch"] - 1) * epoch + row["index"]
        loss = sum(losses) / max(1, len(losses))
        self.progress.training(round_, done, settings.epochs * epoch, loss)
