"""Has a model answer a benchmark's questions: that of a checkpoint or a run, or one behind a server.

Invariant: nothing is learned, and nothing is asked twice: the same command goes on where a killed one
stopped. What can be refused is refused before anybody is asked, and before Ray starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.storage.paths import StoragePath
from cluster import checks
from cluster.evaluate import aside, target
from cluster.evaluate_task import beside
from cluster.session import ray_session
from cluster.session.lock import locked
from cluster.sizing import preflight
from cluster.sizing.needs import measuring
from cluster.watch.progress import Progress
from evaluation.benchmarks.answers import AnswerFolder, digest
from evaluation.benchmarks.asking import Keep, ask_pool, ask_server
from evaluation.benchmarks.benchmark import Benchmark, BenchmarkError, Question
from evaluation.judges.server import ChatServer
from policies.registry import checkpoint_folder, files_digest
from trainer.config import RunConfig
from trainer.run_actors import RunActors

EVERY = 100
"""Answers from one line of progress to the next."""


@dataclass(frozen=True)
class Asking:
    """What is asked: a benchmark about its data, and about drawings where it is one of them; of its
    questions the first `limit`."""

    benchmark: Benchmark
    data: Path
    drawn: Path | None
    limit: int | None

    def begin(self, folder: AnswerFolder, model: str, facts: Mapping[str, Any]) -> _Begun:
        """Goes on with what the folder holds. Raises BenchmarkError, EvaluationError."""
        questions = self.benchmark.questions(self.data, self.drawn)
        shared = {"benchmark": self.benchmark.name, "data": digest(questions)}
        there = folder.begin({**shared, **facts})
        return _Begun(questions[: self.limit], there, folder, model)


@dataclass(frozen=True)
class _Begun:
    """`model` is what the answers' lines call who answers."""

    questions: Sequence[Question]
    there: Mapping[str, str]
    folder: AnswerFolder
    model: str

    @property
    def left(self) -> int:
        return sum(each.id not in self.there for each in self.questions)

    def keeper(self, progress: Progress) -> Keep:
        """Keeps an answer, and says now and then how many there are."""
        done, turn = len(self.questions) - self.left, asyncio.Lock()

        async def keep(id_: str, answer: str) -> None:
            nonlocal done
            async with turn:  # they are lines of one file
                await asyncio.to_thread(self.folder.keep, id_, answer, self.model)
                done += 1
            if done % EVERY == 0 or done == len(self.questions):
                progress.note(f"answered: {done} of {len(self.questions)}")

        return keep


def by_model(
    asking: Asking, path: StoragePath, overrides: Sequence[str], output: str, progress: Progress
) -> Path:
    """The file of the answers of the model in `path`. Raises UserError."""
    if asking.benchmark.answered_by == "judge":
        raise BenchmarkError(
            f"{asking.benchmark.name} asks a judge about drawings: give --drawn, and --server and "
            "--model in place of a folder"
        )
    config = target(path, overrides, by_suite=False)
    checkpoint = checkpoint_folder(config.policy)
    preflight.check_measuring(config, checks.machine(), checkpoint)
    where = Path(output) if output else beside(path, config, asking.benchmark.name)
    weights = files_digest(config.policy)
    with _alone(where):
        begun = asking.begin(
            AnswerFolder(where, config.actors.pause_deadline), f"{checkpoint.name} {weights[:16]}",
            {**config.policy.facts(), "model": weights,
             "prompts_per_task": config.evaluation.prompts_per_task},
        )  # fmt: skip
        if begun.left:
            with ray_session.connected(), aside(config) as own:
                checks.capacity("answering", measuring(own))
                asyncio.run(_ask(begun, own, progress))
    return begun.folder.file


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Two that write lines of one file would write over each other's."""
    return locked(folder, "answering", "--output")


async def _ask(begun: _Begun, config: RunConfig, progress: Progress) -> None:
    judge = config.judge
    async with RunActors(config, progress) as actors:
        await ask_pool(
            actors.judges, begun.questions, begun.there, begun.keeper(progress),
            config.evaluation.prompts_per_task, 1 + max(judge.replicas, judge.max_replicas),
            config.actors.task_deadline,
        )  # fmt: skip


def by_server(
    asking: Asking, server: ChatServer, model: str, output: str, progress: Progress
) -> Path:
    """Likewise of `model` behind a server; of a judge, if the benchmark is one of drawings."""
    if asking.benchmark.answered_by == "judge" and asking.drawn is None:
        raise BenchmarkError(
            f"{asking.benchmark.name} asks a judge about drawings: give the folder of them, --drawn"
        )
    with _alone(Path(output)):
        begun = asking.begin(AnswerFolder(Path(output)), model, {"model": server.identity})
        if begun.left:
            server.require()
            asyncio.run(ask_server(server, begun.questions, begun.there, begun.keeper(progress)))
    return begun.folder.file
