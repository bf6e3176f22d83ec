"""Measures one weight version: what it draws, what it understands, and UniCycle.

Invariant: every version does the same tasks with the same prompts, scenes and seeds, so that
before and after are paired; what was measured is kept, and never measured again. Pictures go from
the Solver to the Judge and to the oracle as references, and never through the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import ray

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import made_again, within
from actors.roles.requests import AnswerQuestions, Caption, DrawEach, ScoreDrawings
from actors.storage import storage
from actors.storage.paths import StoragePath, run_folder
from evaluation import grading
from evaluation.config import Settings
from evaluation.grading import Asked, Drawn, Item, Seen
from evaluation.judging import JUDGED, Score, drift, fixed_set
from evaluation.kept import Found, kept, read, version_file
from evaluation.metrics import tell
from evaluation.selection import fixed_sampling
from evaluation.suites import Suite
from policies.interface import Picture, PictureSampling
from policies.seeds import derive

SHOWN_PER_CATEGORY = 2
ORACLES = 2
"""Grading tasks at a time: they ask Ray for no CPU, so nothing else would bound them."""

T = TypeVar("T")


async def measure(
    version: int, config: Settings, suite: Suite, solvers: Pool, judges: Pool
) -> dict[str, float]:
    """The scores of `version`, kept in <run>/evaluation and in its metrics.jsonl.

    A version that was measured before is read back. Raises MeasureError where that was done with
    other settings. A suite without categories measures nothing, and nothing is kept.
    """
    if not suite.categories:
        return {}
    folder = run_folder(config)

    async def make() -> Found:
        # In a thread: finding the prompts takes a while, and others share this event loop.
        bench = await asyncio.to_thread(Bench, version, config, suite, solvers, judges)
        drawn, seen, judged = await bench.run()
        found = {**summary(drawn, seen), "judged": judged}
        found["values"] |= await asyncio.to_thread(_drift, folder, version, judged)
        return found

    found = await kept(version_file(folder, version), version, config, make)
    values: dict[str, float] = found["values"]
    await tell(config, {"kind": "evaluation", "version": version}, values)
    return values


class Bench:
    """One version's tasks. Drawing slices come first in the numbering, then slices of scenes.

    All versions share the tasks' names (round 0): a drawing's seed follows from the name.
    """

    def __init__(
        self, version: int, config: Settings, suite: Suite, solvers: Pool, judges: Pool
    ) -> None:
        self.version, self.settings = version, config.evaluation
        self.fixed = fixed_sampling(config)
        self.run_seed, self.deadline = config.seed, config.actors.task_deadline
        self.solvers, self.judges = solvers, judges
        self.suite = ray.put(suite)
        self.items = list(slices(self._items(suite), self.settings.prompts_per_task))
        self.oracles = asyncio.Semaphore(ORACLES)

    async def run(self) -> tuple[list[Drawn], list[Seen], list[Score]]:
        async with asyncio.TaskGroup() as tasks:
            drawn = tasks.create_task(self.draw(self.fixed, JUDGED))
            seen = tasks.create_task(self._understand())
        return drawn.result(), *seen.result()

    async def draw(self, how: PictureSampling, judged: int = 0) -> list[Drawn]:
        """The held-out prompts, drawn like `how`; the Judge scores the first slices, up to the
        drawing `judged`."""
        async with asyncio.TaskGroup() as tasks:
            drawn = [
                tasks.create_task(made_again(partial(self._draw, i, own, how, judged)))
                for i, own in enumerate(self.items)
            ]
        return [each for task in drawn for each in task.result()]

    def _items(self, suite: Suite) -> list[Item]:
        """The held-out prompts with the seeds that their drawings get from their tasks' names."""
        left = dict.fromkeys(suite.categories, SHOWN_PER_CATEGORY)
        items = []
        prompts = suite.prompts(self.settings.prompts, self.settings.seed)
        for index, (prompt, category) in enumerate(prompts):
            task, place = divmod(index, self.settings.prompts_per_task)
            seed = derive(self.run_seed, 0, "evaluator", task, place)
            items.append(Item(index, prompt, category, seed, shown=left[category] > 0))
            left[category] -= 1
        return items

    async def _draw(
        self, index: int, items: list[Item], how: PictureSampling, most_judged: int
    ) -> list[Drawn]:
        """Draws a slice, asks the Judge about its own drawings, and lets the oracle mark them."""
        task, prompts = self.task(index), [item.prompt for item in items]
        pictures = await self.solvers.run(DrawEach(task, how), prompts)
        asked = _ask.remote(self.suite, prompts, pictures)
        answers = await self.judges.run(AnswerQuestions(task), asked)
        judged: Any = ()
        if items[0].index < most_judged:
            judged = await self.judges.run(ScoreDrawings(task), _show_judge.remote(items, pictures))
        async with self.oracles:
            grade = _grade_drawings.remote(self.suite, items, pictures, answers, judged)
            return await within(grade, self.deadline, f"the oracle's marks for {task}")

    async def _understand(self) -> tuple[list[Seen], list[Score]]:
        """Lets the Judge read scenes that are right by construction, and score the fixed set."""
        size = self.settings.prompts_per_task
        parts = -(-self.settings.scenes // size)
        shown: Any = _show.options(num_returns=4 * parts + 1).remote(
            self.suite, self.settings.scenes, self.settings.seed, size
        )
        async with asyncio.TaskGroup() as tasks:
            reads = [
                tasks.create_task(
                    made_again(
                        partial(self._read, len(self.items) + part, *shown[4 * part : 4 * part + 4])
                    )
                )
                for part in range(parts)
            ]
            scores = tasks.create_task(self._score(len(self.items) + parts, shown[-1]))
        return [each for read in reads for each in read.result()], scores.result()

    async def _score(self, index: int, fixed: Any) -> list[Score]:
        task = self.task(index)
        scores = await self.judges.run(ScoreDrawings(task), fixed)
        return await within(scores, self.deadline, f"the scores of {task}")

    async def _read(
        self, index: int, scenes: Any, pictures: Any, asked: Any, blind: Any
    ) -> list[Seen]:
        task = self.task(index)
        captions = await self.judges.run(Caption(task), pictures)
        answers = await self.judges.run(AnswerQuestions(task), asked)
        guesses = await self.judges.run(AnswerQuestions(task), blind)
        async with self.oracles:
            grade = _grade_scenes.remote(self.suite, scenes, captions, answers, guesses)
            return await within(grade, self.deadline, f"the marks for understanding, {task}")

    def task(self, index: int) -> Task:
        return Task(0, "evaluator", index, self.version)


@ray.remote(num_cpus=0)
def _ask(suite: Suite, prompts: Sequence[str], pictures: list[Picture]) -> Asked:
    return grading.asked_about(suite, prompts, pictures)


@ray.remote(num_cpus=0)
def _grade_drawings(
    suite: Suite, items: Sequence[Item], pictures: list[Picture], answers: list[str],
    judged: Sequence[Score],
) -> list[Drawn]:  # fmt: skip
    return grading.grade_drawings(suite, items, pictures, answers, judged)


@ray.remote(num_cpus=0)
def _show_judge(items: Sequence[Item], pictures: list[Picture]) -> list[tuple[str, str, Picture]]:
    return [(i.category, i.prompt, picture) for i, picture in zip(items, pictures, strict=True)]


@ray.remote(num_cpus=0)
def _grade_scenes(
    suite: Suite, scenes: Sequence[tuple[Picture, str]], captions: list[str], answers: list[str],
    blind: list[str],
) -> list[Seen]:  # fmt: skip
    return grading.grade_scenes(suite, scenes, captions, answers, blind)


@ray.remote(num_cpus=0)
def _show(suite: Suite, count: int, seed: int, size: int) -> tuple[Any, ...]:
    """For each slice its scenes, its pictures, the questions about them, and of the first slices the
    same about empty pictures; last the fixed set."""
    parts: list[Any] = []
    whole, most = suite.scenes(count, seed), 4 * -(-JUDGED // size)
    for scenes in slices(whole, size):
        pictures = [picture for picture, _ in scenes]
        asked = grading.asked_about(suite, [prompt for _, prompt in scenes], pictures)
        parts += [scenes, pictures, asked, grading.emptied(asked) if len(parts) < most else []]
    return (*parts, fixed_set(suite, whole))


def slices(items: Sequence[T], size: int) -> Iterator[list[T]]:
    return (list(items[at : at + size]) for at in range(0, len(items), size))


def summary(drawn: list[Drawn], seen: list[Seen]) -> dict[str, Any]:
    found = grading.outcomes(drawn, seen)
    return {
        "values": grading.scores(drawn, found),
        "outcomes": {name: [round(x, 4) for x in each] for name, each in found.items()},
        "samples": [grading.sample(each) for each in drawn if each.picture],
    }


def _drift(folder: StoragePath, version: int, judged: list[Score]) -> dict[str, float]:
    """Of this version as a Judge from the base; of the base itself nothing."""
    base = version_file(folder, 0)
    if version == 0 or not storage.exists(base) or "judged" not in (found := read(base)):
        return {}
    distance = drift(found["judged"], judged)
    return {} if distance is None else {"judge/drift": distance}
