"""How busy the control plane keeps replicas whose only work is to sleep.

Invariant: the pool is the real one. In the simulation time jumps, and the driver's processor time
for a task is measured; with real actors, the share of time that they sleep.

`python -m benchmarks.control_plane [--actors N] [--replicas N --tasks N]`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from typing import Any

import ray

from actors.config import ActorsConfig
from actors.pool.leases import Receipt
from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.roles.requests import Draw, Request
from policies.seeds import generator
from tests.simulated import Fate, World, play

TASK_S = 2.0
CONFIG = ActorsConfig(task_deadline=3600.0, tasks_in_flight=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=1000, help="simulated")
    parser.add_argument("--tasks", type=int, default=100_000, help="simulated")
    parser.add_argument("--actors", type=int, default=40, help="real ones, of 10 tasks each")
    arguments = parser.parse_args()
    simulate(arguments.replicas, arguments.tasks)
    if arguments.actors:
        with_actors(arguments.actors, 10 * arguments.actors)


async def work(pool: Pool, tasks: int) -> None:
    """Runs the tasks as the main loop does: at most twice as many at a time as can be in flight."""
    room = asyncio.Semaphore(2 * CONFIG.tasks_in_flight * pool.least)

    async def one(index: int) -> None:
        async with room:
            await pool.run(Draw(Task(1, "solver", index, 0)), 0)

    async with asyncio.TaskGroup() as group:
        for index in range(tasks):
            group.create_task(one(index))


def simulate(replicas: int, tasks: int) -> None:
    world = World(generator("control plane"), Fate(), seconds=TASK_S)
    pool = Pool("solver", world.make, replicas, {}, CONFIG, kill=world.kill)
    clock: dict[str, float] = {}

    async def story() -> None:
        now = asyncio.get_running_loop().time
        await pool.start()
        clock["start"], spent = now(), time.process_time()
        await work(pool, tasks)
        clock["passed"], clock["spent"] = now() - clock["start"], time.process_time() - spent
        pool.stop()

    play(story())
    busy = tasks * TASK_S / (replicas * clock["passed"])
    each = clock["spent"] / tasks
    print(f"simulated: {replicas} replicas, {tasks} tasks of {TASK_S:g} s: {busy:.1%} busy")
    print(f"  the driver takes {1e6 * each:.0f} us a task (the simulation's own part included):")
    print(f"  a processor is full at {TASK_S / each:,.0f} replicas")


class Sleeper:
    """A replica whose only work is to sleep."""

    def ready(self) -> bool:
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Request[Any], *inputs: Any) -> tuple[Receipt, Any]:
        time.sleep(TASK_S)
        return Receipt(request.task, TASK_S), None


def with_actors(actors: int, tasks: int) -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    sleeper: Any = ray.remote(num_cpus=0.001)(Sleeper)
    pool = Pool("solver", lambda number: sleeper.remote(), actors, {}, CONFIG)
    passed: list[float] = []

    async def story() -> None:
        await pool.start()
        began = time.monotonic()
        await work(pool, tasks)
        passed.append(time.monotonic() - began)
        pool.stop()

    asyncio.run(story())
    ray.shutdown()
    busy = tasks * TASK_S / (actors * passed[0])
    print(
        f"real: {actors} actors, {tasks} tasks of {TASK_S:g} s: {busy:.1%} busy; "
        f"{1e3 * (passed[0] * actors / tasks - TASK_S):.0f} ms a task beside its sleep; "
        f"load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
