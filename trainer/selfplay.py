"""The main loop, the paper's figure 2: propose, solve, judge, store; reconstruct, train, publish;
measure.

Invariant: sampling, training and measuring are three flows that meet only in the replay buffer
(judged groups) and the weight store (versions). What each produces follows from the
configuration alone, so it does not matter which is ahead, or whether the run was resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.metrics import catalog
from actors.pool.faults import Poisoned, innermost
from actors.replay.records import Proposal, Task, undone
from actors.retry import made_again, run_in_thread
from evaluation.audit import audit
from evaluation.measure import measure
from trainer.config import RunConfig
from trainer.proposals import propose
from trainer.run_actors import Progress, RunActors
from trainer.watch import WATCH_S


def run(config: RunConfig, progress: Progress) -> None:
    """Does, or goes on with, the run in its folder; everything worth keeping ends up there."""
    asyncio.run(selfplay(config, progress))


async def selfplay(config: RunConfig, progress: Progress) -> None:
    async with RunActors(config, progress) as crew, asyncio.TaskGroup() as flows:
        flows.create_task(sample(crew))
        flows.create_task(train(crew))
        flows.create_task(evaluate(crew))


async def sample(crew: RunActors) -> None:
    """Fills the replay buffer, each round with the weight version that it pins."""
    for round_ in crew.rounds:
        if not await crew.closed(round_):
            version = crew.config.sampling_version(round_)
            await crew.version_ready(version)
            slices = await propose(crew, round_, version)
            await roll_out(crew, round_, version, slices)
            await crew.close_round(round_, len(slices))


async def roll_out(
    crew: RunActors, round_: int, version: int, slices: Sequence[Sequence[Proposal]]
) -> None:
    """Draws and judges the slices that the log does not hold yet."""
    missing = await crew.missing(round_, len(slices))
    total = sum(map(len, slices))
    await show_sampling(crew, round_, total)
    async with asyncio.TaskGroup() as tasks:
        for index in missing:
            tasks.create_task(solve_and_judge(crew, round_, version, index, slices[index], total))


async def solve_and_judge(
    crew: RunActors,
    round_: int,
    version: int,
    index: int,
    proposals: Sequence[Proposal],
    total: int,
) -> None:
    """One slice, from its prompts to the durable log; pictures never pass through the driver, and
    are drawn again if they are lost with a node."""
    solve = Task(round_, "solver", index, version)
    judge = Task(round_, "judge", index, crew.judge_version(version))

    async def slice_() -> None:
        try:
            drawings = await crew.solvers.run(solve, "draw", proposals)
            groups: Any = await crew.judges.run(judge, "judge", proposals, drawings)
        except Poisoned as error:
            crew.poisoned(error)
            groups = undone(solve, judge, proposals, error.reason)
        await crew.store_slice(round_, index, groups)

    async with crew.room:
        await made_again(slice_)
    await show_sampling(crew, round_, total)


async def show_sampling(crew: RunActors, round_: int, total: int) -> None:
    stored = await crew.stored(round_)
    done = stored["accepted"] + stored["rejected"]
    images = done * crew.config.solver.rollouts
    crew.meter.set(catalog.ROUND, round_)
    crew.progress.sampling(round_, done, total, images, stored["accepted"])


async def train(crew: RunActors) -> None:
    """One long-lived Ray Train run drains the buffer and publishes a version for each round."""
    fit = asyncio.create_task(run_in_thread(crew.trainer.fit))
    try:
        while not fit.done():
            await asyncio.wait([fit], timeout=WATCH_S)
            await crew.show_training()
    except asyncio.CancelledError:
        await crew.end_training(fit)
        raise
    fit.result()
    crew.trained = True


async def evaluate(crew: RunActors) -> None:
    """Measures every version, and every round's judgements, on what nothing learns from."""
    for version in (0, *crew.rounds):
        await crew.version_ready(version)
        values = await scores(crew, version)
        if version:
            await crew.round_closed(version)
            values |= await audit(version, crew.config, crew.suite)
        if values:
            crew.progress.measured(version, values)


async def scores(crew: RunActors, version: int) -> dict[str, float]:
    """Empty where a task of the measurement was given up: nothing of it is kept, so the version is
    measured when the run is resumed."""
    try:
        return await measure(version, crew.config, crew.suite, crew.solvers, crew.judges)
    except* Poisoned as group:
        crew.poisoned(innermost(group))
    return {}
