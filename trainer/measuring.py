"""What a run measures of a version, and of a round's Judge.

Invariant: a measurement whose task was given up is empty, nothing of it is kept, and the run goes on.
"""

from __future__ import annotations

from actors.pool.faults import Poisoned, innermost
from evaluation.best_setting import measure_best
from evaluation.judges.server import JudgeError
from evaluation.measure import measure
from evaluation.passes import measure_passes
from evaluation.planted import planted
from evaluation.tasks.measure import measure_task
from evaluation.twins import measure_twins
from trainer.run_actors import RunActors
from trainer.step_back import starting_version
from trainer.trust import kept


async def trusted(run: RunActors, round_: int) -> dict[str, float]:
    """How well the Judge of a round tells right from wrong; empty where its task was given up."""
    judge_version = run.judge_version(await starting_version(run, round_))
    try:
        return await planted(round_, judge_version, run.config, run.judges, await kept(run, round_))
    except Poisoned as error:
        run.poisoned(error)
    return {}


async def scores(run: RunActors, version: int) -> dict[str, float]:
    """Empty where a task of the measurement was given up: nothing of it is kept, so the version is
    measured when the run is resumed. What is claimed of a run is between its first and its last
    version, so these two are measured at their best inference settings as well, and in several
    tries; others at their best settings if the recipe says so."""
    measured_with = (run.config, run.suite, run.solvers, run.judges)
    try:
        values = await measure(version, *measured_with)
        values |= await measure_twins(version, *measured_with)
        if _due(run, version, run.config.evaluation.best_every):
            values |= await measure_best(version, *measured_with)
        if _due(run, version, 0):
            values |= await measure_passes(version, *measured_with)
        return values
    except* Poisoned as group:
        run.poisoned(innermost(group))
    return {}


async def task_scores(run: RunActors, version: int) -> dict[str, float]:
    """Of the recipe's tasks, where it is their turn. One that was given up, or whose judge no longer
    answers, leaves its scores out: what was drawn and answered is kept, and when the run is resumed it
    goes on from there."""
    values: dict[str, float] = {}
    due = _due(run, version, run.config.evaluation.tasks_every)
    for task in run.tasks if due else ():
        try:
            values |= await measure_task(version, run.config, task, run.solvers, run.judges)
        except* (Poisoned, JudgeError) as group:
            run.poisoned(innermost(group))
    return values


def _due(run: RunActors, version: int, every: int) -> bool:
    """Whether it is the first or the last version, or one of those that are measured `every` so many; 0:
    these two alone."""
    return version in (0, run.rounds[-1]) or (every > 0 and version % every == 0)
