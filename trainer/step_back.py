"""Whether a round goes on from the newest weights, or steps back to the best before them.

The prompts that round 1 kept aside are drawn by every version with the same seeds, and version 0 reads
each drawing back: the pinned Judge. The newest version is left where its mean score is lower than that
of the best before by more than the 95 % interval of the paired difference.

Invariant: the choice follows from the seed, the settings and the versions alone; scores are kept in the
run folder before a choice is made, and training learns of it from the log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from actors.pool.faults import Poisoned
from actors.replay.records import Task
from actors.retry import within
from actors.roles.requests import DrawEach, ReadBack
from actors.roles.solver import rollout_sampling
from actors.storage import storage
from actors.storage.once import written_once
from actors.storage.paths import StoragePath
from evaluation.paired import gain
from policies.errors import UserError
from trainer.proposals import aside
from trainer.run_actors import RunActors

FOLDER = "held_out"


class ScoresDamaged(UserError, ValueError):
    """A file of scores that is not what was written; the message names it."""


async def starting_version(run: RunActors, round_: int) -> int:
    """The version that samples the round, and that training goes on from."""
    newest = run.config.sampling_version(round_)
    if not run.config.trainer.step_back or newest == 0:
        return newest
    scores = [await _scores(run, version) for version in range(newest + 1)]
    chosen = best(scores)
    if scores[newest]:
        mean = sum(scores[newest]) / len(scores[newest])
        row = {"step_back/score": mean, "step_back/from": float(chosen)}
        await run.report.note("step_back", round_, row)
    return chosen


def best(scores: Sequence[Sequence[float]]) -> int:
    """The newest version, or the best before it where that is better by more than the noise. A version
    without scores is not compared."""
    newest = len(scores) - 1
    means = {v: sum(own) / len(own) for v, own in enumerate(scores) if own and v < newest}
    if not means or not scores[newest]:
        return newest
    before = max(means, key=lambda version: (means[version], -version))
    change, half = gain(scores[before], scores[newest])
    return before if change < -half else newest


async def _scores(run: RunActors, version: int) -> list[float]:
    """One a prompt; empty where a task was given up."""
    file = run.folder / FOLDER / f"version-{version:05d}.json"

    async def make() -> bytes:
        await run.stores.version_ready(version)
        return json.dumps(await _score(run, version)).encode()

    await written_once(file, run.config.actors.pause_deadline, make)
    return await asyncio.to_thread(_read, file)


def _read(file: StoragePath) -> list[float]:
    try:
        return [float(score) for score in json.loads(storage.read(file))]
    except (ValueError, TypeError) as error:
        raise ScoresDamaged(
            f"{file} does not hold the scores of a version ({error}): restore it, or delete it to "
            "have that version scored again"
        ) from error


async def _score(run: RunActors, version: int) -> list[float]:
    prompts = [proposal.prompt for proposal in await asyncio.to_thread(aside, run)]
    size, sampling = run.config.solver.prompts_per_task, rollout_sampling(run.config.solver, 0)

    async def one(index: int) -> list[float]:
        own = prompts[index * size : (index + 1) * size]
        draw, judge = (Task(0, "evaluator", index, weights) for weights in (version, 0))
        drawn = await run.solvers.run(DrawEach(draw, sampling), own)
        ref = await run.judges.run(ReadBack(judge), own, drawn)
        return await within(ref, run.config.actors.task_deadline, f"the scores of {judge}")

    try:
        parts = await asyncio.gather(*map(one, range(-(-len(prompts) // size))))
    except Poisoned as error:
        run.poisoned(error)
        return []
    return [score for part in parts for score in part]
