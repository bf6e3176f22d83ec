"""Measures a version of a run by a task, as `unicorn-ray evaluate` does a checkpoint.

Invariant: what was drawn and answered lies in the folder where the command looks for it, so either goes
on with what the other made; what it came to is kept as every measurement of a version is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from actors.pool.pool import Pool
from actors.storage.paths import StoragePath, run_folder
from actors.weights.version_folder import VersionFolder
from evaluation.kept import FOLDER, Found, kept, read_all, version_file
from evaluation.metrics import tell
from evaluation.tasks.bench import TaskBench
from evaluation.tasks.folder import TaskFolder
from evaluation.tasks.ready import ReadyTask, Settings
from evaluation.unicycle.instances import digest

KIND = "task"
SCORES = ("soft", "hard")


async def measure_task(
    version: int, config: Settings, task: ReadyTask, solvers: Pool, judges: Pool
) -> dict[str, float]:
    """Soft and Hard of `version`, in percent; the row in metrics.jsonl has their intervals, the kinds of
    prompts and what was counted too. Kept as `measure` keeps its own. Raises JudgeError."""
    run, prefix = run_folder(config), f"{KIND}.{task.name}/"

    async def make() -> Found:
        versions, actors = VersionFolder(run, config.policy), config.actors
        weights = await asyncio.to_thread(versions.files_digest, version)
        folder = TaskFolder(
            evaluation_folder(run, task.name, versions.name(version)), actors.pause_deadline
        )
        await asyncio.to_thread(folder.claim, task.facts(config, weights))
        judge = task.judge(judges, config, weights, version)
        bench = TaskBench(
            task.task, config, folder, solvers, judges, judge, lambda _: None, version, task.ocr
        )
        summary = await bench.run(task.asked)
        result = folder.result(bench.judge_name)
        samples = await asyncio.to_thread(folder.samples, result)
        return {
            "values": {prefix + name: value for name, value in values(summary).items()},
            "outcomes": {prefix + name: [each[name] for each in samples] for name in SCORES},
            "samples": [],
            "summary": summary,
            "folder": f"{folder.path.name}/{result.name}",
        }

    file = version_file(run, version, kind(task.name))
    found = await kept(file, version, config, make, _settings(task))
    await tell(config, {"kind": KIND, "task": task.name, "version": version}, found["values"])
    return {prefix + name: found["values"][prefix + name] for name in SCORES}


def kind(task: str) -> str:
    """What the kept measurements of a task are called."""
    return f"{KIND}-{task}"


def evaluation_folder(run: StoragePath, task: str, weights: str) -> StoragePath:
    """Where a run has what was drawn and answered with the weights of that name."""
    return run / FOLDER / f"{task}-{weights}"


def values(summary: Mapping[str, Any]) -> dict[str, float]:
    """The row of a summary: each score with its interval and by kind, and what was counted."""
    found: dict[str, float] = {}
    for name in SCORES:
        of = summary[name]
        found |= {
            name: of["score"],
            **{f"{name}_{end}": of[end] for end in ("low", "high", "at_most")},
        }
    for name in SCORES:
        # A name's parts are told apart by slashes.
        found |= {
            f"{name}/{kind.replace('/', ' ')}": of[name] for kind, of in summary["kinds"].items()
        }
    counts = {"instances": summary["instances"], "questions": summary["questions"]}
    return found | {name: float(count) for name, count in {**counts, **summary["counted"]}.items()}


def read_task(run: StoragePath, task: str) -> dict[int, Found]:
    """Everything that a run has kept of a task, by version. Raises MeasureError."""
    return read_all(run, kind(task))


def _settings(task: ReadyTask) -> dict[str, Any]:
    """What a task's file says that the scores follow from; it is no part of the recipe."""
    own = task.task
    return {
        "task.instances": digest(task.instances),
        "task.bare": own.bare,
        "task.judge": own.judge,
        "task.judge_model": own.judge_model,
        **({"task.attempts": own.attempts} if own.judge == "server" else {}),
    }
