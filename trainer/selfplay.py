"""The main loop, the paper's figure 2: propose, solve, judge, store; reconstruct, train, publish;
measure.

Invariant: sampling, training and measuring are three flows that meet only in the replay buffer
(judged groups) and the weight store (versions). What each produces follows from the
configuration alone, so it does not matter which is ahead, or whether the run was resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from actors.pool.faults import Poisoned
from actors.replay.records import Proposal, Task, undone
from actors.retry import made_again
from actors.roles.calibration import Trust
from actors.roles.requests import Draw, JudgeGroups
from actors.roles.solver import waves
from evaluation.audit import audit
from evaluation.tasks.ready import ReadyTask
from trainer.config import RunConfig
from trainer.measuring import scores, task_scores, trusted
from trainer.proposals import propose
from trainer.reporting import Progress
from trainer.run_actors import RunActors
from trainer.step_back import starting_version
from trainer.training import Training
from trainer.trust import trust_before


def run(config: RunConfig, progress: Progress, tasks: Sequence[ReadyTask] = ()) -> None:
    """Does, or goes on with, the run in its folder; everything worth keeping ends up there. `tasks` are
    those that its recipe names."""
    asyncio.run(selfplay(config, progress, tasks))


async def selfplay(config: RunConfig, progress: Progress, tasks: Sequence[ReadyTask] = ()) -> None:
    async with RunActors(config, progress, tasks) as run, asyncio.TaskGroup() as flows:
        flows.create_task(sample(run))
        flows.create_task(run.train(learn_round))
        flows.create_task(evaluate(run))


async def sample(run: RunActors) -> None:
    """Fills the replay buffer, each round with the weight version that it pins."""
    for round_ in run.rounds:
        if not await run.stores.closed(round_):
            version = await starting_version(run, round_)
            await run.stores.version_ready(version)
            slices = await propose(run, round_, version)
            trust = await trust_before(run, round_, version)
            whole = await roll_out(run, round_, version, slices, trust)
            await run.note_cost(round_, whole)
            await run.stores.close_round(round_, len(slices))


async def roll_out(
    run: RunActors, round_: int, version: int, slices: Sequence[Sequence[Proposal]], trust: Trust
) -> bool:
    """Draws and judges the slices that the log does not hold yet; what is lost with a node is drawn
    again. Returns whether that was all of them."""

    async def report() -> None:
        stored = await run.stores.stored(round_)
        run.report.sampling(round_, sum(map(len, slices)), stored)

    async def roll_out_one(index: int) -> None:
        task = partial(solve_and_judge, run, round_, version, index, slices[index], trust)
        async with run.room:
            await made_again(task)
        await report()

    missing = await run.stores.missing(round_, len(slices))
    await report()
    async with asyncio.TaskGroup() as tasks:
        for index in missing:
            tasks.create_task(roll_out_one(index))
    return len(missing) == len(slices)


async def solve_and_judge(
    run: RunActors, round_: int, version: int, index: int, proposals: Sequence[Proposal],
    trust: Trust,
) -> None:  # fmt: skip
    """One slice, from its prompts to the durable log, in waves: a prompt is drawn until it has a
    winner and a loser. Pictures never pass through the driver."""
    solve = Task(round_, "solver", index, version)
    judge = Task(round_, "judge", index, run.judge_version(version))
    last, groups = len(waves(run.config.solver)) - 1, cast(Any, ())
    try:
        for wave in range(last + 1):
            drawings = await run.solvers.run(Draw(solve, wave), proposals, groups)
            request = JudgeGroups(judge, wave, wave == last, trust)
            groups = await run.judges.run(request, proposals, drawings, groups)
    except Poisoned as error:
        run.poisoned(error)
        groups = undone(solve, judge, proposals, error.reason)
    await run.stores.store_slice(round_, index, groups)


def learn_round(training: Training, round_: int) -> None:
    """Drains the buffer while it is filled, and publishes the version that comes of the round: what
    each worker of the Ray Train run does, where the weights are."""
    examples = map(training.reconstruct, training.teaching_groups(round_))
    for step in training.steps(round_, examples):
        training.learn(step)
    training.publish(round_)


async def evaluate(run: RunActors) -> None:
    """Measures every version, and every round's judgements, on what nothing learns from."""
    for version in (0, *run.rounds):
        await run.stores.version_ready(version)
        values = await scores(run, version) | await task_scores(run, version)
        if version:
            await run.stores.round_closed(version)
            await run.note_learning(version)
            values |= await audit(version, run.config, run.suite)
            values |= await trusted(run, version)
        if values:
            run.report.progress.measured(version, values)
