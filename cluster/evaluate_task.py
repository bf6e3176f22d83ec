"""Evaluates a checkpoint, or a run's newest weights, by a task.

Invariant: nothing is learned, and what evaluates never touches what it evaluates: every sample goes to a
folder of its own, where the same command goes on after a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.storage.paths import StoragePath
from cluster.evaluate import aside, target
from cluster.recipes import recipe, tasks
from cluster.session.lock import locked
from cluster.watch.progress import Progress
from evaluation.tasks.bench import TaskBench
from evaluation.tasks.folder import TaskFolder
from evaluation.tasks.measure import evaluation_folder
from evaluation.tasks.ready import ReadyTask
from evaluation.tasks.ready import ready as ready_task
from policies.registry import checkpoint_folder, files_digest
from trainer.config import RunConfig
from trainer.run_actors import RunActors


@dataclass(frozen=True)
class TaskRun:
    """A task that is ready to run on `config`, which names the weights."""

    task: ReadyTask
    config: RunConfig
    folder: TaskFolder
    weights: str
    """Their digest."""


def ready(
    name: str, path: StoragePath, overrides: Sequence[str], limit: int | None, output: str
) -> TaskRun:
    """Reads all that a task needs, and begins its folder or goes on with it. Raises UserError."""
    own, others = tasks.split(overrides)
    named = tasks.load(name, own)
    config = target(path, others, by_suite=False)
    task, weights = ready_task(name, named, limit), files_digest(config.policy)
    where = Path(output) if output else beside(path, config, task.name)
    folder = TaskFolder(where, config.actors.pause_deadline)
    if task.server and not all(folder.answered(each.id) for each in task.asked):
        task.server.require()  # before anything is drawn for it
    folder.claim(task.facts(config, weights))
    return TaskRun(task, config, folder, weights)


def scores(run: TaskRun, progress: Progress) -> tuple[dict[str, Any], StoragePath]:
    """The summary, and the folder that has it with every sample. Needs a connected Ray."""
    where = Path(str(run.folder.path))
    with locked(where, "evaluation", "--output"), aside(run.config) as config:
        return asyncio.run(_scores(replace(run, config=config), progress))


async def _scores(run: TaskRun, progress: Progress) -> tuple[dict[str, Any], StoragePath]:
    task, config = run.task, run.config
    async with RunActors(config, progress) as actors:
        judge = task.judge(actors.judges, config, run.weights)
        bench = TaskBench(task.task, config, run.folder, actors.solvers, actors.judges, judge,
                          progress.note, ocr=task.ocr)  # fmt: skip
        return await bench.run(task.asked), run.folder.result(bench.judge_name)


def beside(path: StoragePath, config: RunConfig, name: str) -> Path:
    """Where what is made of the weights at `path` goes: in a run's folder by the version; beside a
    checkpoint's, which stays as it is."""
    here = Path(str(path)).absolute()
    if recipe.is_run(here):
        return Path(str(evaluation_folder(here, name, checkpoint_folder(config.policy).name)))
    return here.parent / f"{here.name}-evaluation" / name


def table(found: Mapping[str, Any]) -> list[str]:
    """A line for each score, each kind of prompts and each thing that was counted."""
    lines = [
        f"{name:<8} {of['score']:6.2f}  ({of['low']:.2f} to {of['high']:.2f})"
        + (f", at most {of['at_most']:.2f}" if of["at_most"] > of["score"] else "")
        for name, of in (("soft", found["soft"]), ("hard", found["hard"]))
    ]
    width = max(map(len, found["kinds"]))
    lines += [
        f"  {kind:<{width}} {of['soft']:6.2f} {of['hard']:6.2f}  of {of['instances']}"
        for kind, of in found["kinds"].items()
    ]
    if "score" in (ocr := found.get("ocr", {})):
        lines.append(f"ocr      {ocr['score']:6.2f}  ({ocr['low']:.2f} to {ocr['high']:.2f}) of "
                     f"{ocr['questions']} text questions, {ocr['version']}; the judge "
                     f"{found['question_kinds']['text']['score']:.2f}")  # fmt: skip
    counted = ", ".join(f"{name} {count}" for name, count in found["counted"].items())
    judge = ", ".join(f"{name} {value}" for name, value in found["judge"].items())
    return [*lines, f"counted: {counted}", f"judge: {judge}"]
