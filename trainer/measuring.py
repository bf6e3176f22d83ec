"""What a run measures of a version, and of a round's Judge.

Invariant: a measurement whose task was given up is empty, nothing of it is kept, and the run goes on.
"""

from __future__ import annotations

from actors.pool.faults import Poisoned, innermost
from evaluation.best_setting import measure_best
from evaluation.measure import measure
from evaluation.planted import planted
from trainer.run_actors import RunActors


async def trusted(run: RunActors, round_: int) -> dict[str, float]:
    """How well the Judge of a round tells right from wrong; empty where its task was given up."""
    judge_version = run.judge_version(run.config.sampling_version(round_))
    try:
        return await planted(round_, judge_version, run.config, run.judges)
    except Poisoned as error:
        run.poisoned(error)
    return {}


async def scores(run: RunActors, version: int) -> dict[str, float]:
    """Empty where a task of the measurement was given up: nothing of it is kept, so the version is
    measured when the run is resumed. What is claimed of a run is between its first and its last
    version, so these two are measured at their best inference settings as well."""
    measured_with = (run.config, run.suite, run.solvers, run.judges)
    try:
        values = await measure(version, *measured_with)
        if version in (0, run.rounds[-1]):
            values |= await measure_best(version, *measured_with)
        return values
    except* Poisoned as group:
        run.poisoned(innermost(group))
    return {}
