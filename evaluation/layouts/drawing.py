"""Draws the sheets of a benchmark through the pool of Solvers.

Invariant: a picture's seed follows from its sheet's place and its number on it (DrawEach), so that the
number of Solvers, and what was killed on the way, change no picture. What is there is not drawn again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import made_again, within
from actors.roles.requests import DrawEach
from evaluation.config import Settings as MeasureSettings
from evaluation.layouts.folder import PictureFolder, encoded
from evaluation.layouts.sheet import Sheet
from evaluation.selection import fixed_sampling
from evaluation.tasks.folder import runs
from policies.config import PolicyConfig


class Settings(MeasureSettings, Protocol):
    """What pictures follow from, of a run's configuration."""

    @property
    def policy(self) -> PolicyConfig: ...


@dataclass
class Counts:
    """Pictures of all sheets, those whose files are there, and those of this process that show nothing."""

    total: int
    there: int = 0
    failed: int = 0


class SheetBench:
    """`version` is that of the weights which the pool is asked for."""

    def __init__(
        self, config: MeasureSettings, folder: PictureFolder, solvers: Pool, tell: Callable[[str], None],
        version: int = 0,
    ) -> None:  # fmt: skip
        self.folder, self.solvers, self.tell, self.version = folder, solvers, tell, version
        self.size, self.sampling = config.evaluation.prompts_per_task, fixed_sampling(config)
        self.deadline = config.actors.task_deadline
        # Who is in it has the pictures of one file of each prompt of a slice.
        self.room = asyncio.Semaphore(1 + max(config.solver.replicas, config.solver.max_replicas))

    async def run(self, sheets: Sequence[Sheet]) -> Counts:
        """Returns when the files of all sheets are there."""
        counts = Counts(sum(each.count for each in sheets))
        await asyncio.to_thread(self._keep_records, sheets)
        slices = [sheets[at : at + self.size] for at in range(0, len(sheets), self.size)]
        async with asyncio.TaskGroup() as tasks:
            for number, part in enumerate(slices):
                for nth in range(len(part[0].files)):
                    tasks.create_task(self._fill(number, part, nth, counts))
        await asyncio.to_thread(self.folder.finish)
        return counts

    async def _fill(self, number: int, part: Sequence[Sheet], nth: int, counts: Counts) -> None:
        """Draws the nth file of each sheet of a slice, where it is missing."""
        async with self.room:
            there = await asyncio.to_thread(
                lambda: [self.folder.has(each.files[nth]) for each in part]
            )
            for missing in runs(there):
                await self._draw_files(number, part, nth, missing, counts)
        counts.there += part[0].tiles * sum(there)
        self.tell(f"drawn: {counts.there} of {counts.total} pictures")

    async def _draw_files(
        self, number: int, part: Sequence[Sheet], nth: int, places: range, counts: Counts
    ) -> None:
        """The nth file of the sheets at consecutive `places` of a slice."""
        tiles = part[0].tiles
        prompts = [part[place].prompt for place in places]
        async with asyncio.TaskGroup() as tasks:
            drawn = [
                tasks.create_task(made_again(partial(self._draw, task, places.start, prompts)))
                for task in self._tasks(
                    number, part[0].count, range(nth * tiles, (nth + 1) * tiles)
                )
            ]
        for row, place in enumerate(places):
            pictures = [each.result()[row] for each in drawn]
            await asyncio.to_thread(self._keep, part[place], nth, pictures)
            counts.failed += sum(not each.any() for each in pictures)
        counts.there += tiles * len(places)

    def _tasks(self, number: int, count: int, copies: range) -> Iterator[Task]:
        """One for each of those copies of a slice: it draws every prompt of it once."""
        for copy in copies:
            yield Task(0, "evaluator", number * count + copy, self.version)

    async def _draw(self, task: Task, first: int, prompts: Sequence[str]) -> list[np.ndarray]:
        drawn = await self.solvers.run(DrawEach(task, self.sampling, first), prompts)
        pictures = await within(drawn, self.deadline, f"the drawings of {task}")
        return [each.pixels for each in pictures]

    def _keep(self, sheet: Sheet, nth: int, pictures: Sequence[np.ndarray]) -> None:
        file = sheet.files[nth]
        self.folder.keep(file, encoded(pictures, sheet.grid, PurePosixPath(file).suffix))

    def _keep_records(self, sheets: Sequence[Sheet]) -> None:
        lines: dict[str, list[str]] = {}
        for each in sheets:
            if each.record:
                lines.setdefault(each.record[0], []).append(each.record[1])
        for file, of in lines.items():
            self.folder.keep_record(file, of)


def facts(
    benchmark: str, prompts: str, model: str, weights: str, preset: str, program: str,
    config: Settings,
) -> dict[str, Any]:  # fmt: skip
    """What pictures follow from: `prompts` and `weights` are digests, `program` is its version. Not how
    many prompts are drawn."""
    return {
        "benchmark": benchmark,
        "prompts": prompts,
        "model": model,
        "weights": weights,
        **config.policy.facts(),
        "templates": config.actors.templates,
        "preset": preset,
        "sampling": asdict(fixed_sampling(config)),
        "seed": config.seed,
        "prompts_per_task": config.evaluation.prompts_per_task,
        "program": program,
    }
