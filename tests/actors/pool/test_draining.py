"""A replica dies after its pool has let it go, and before it has gone: the real pool, in time that
jumps."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from actors.config import ActorsConfig
from actors.pool.leases import ReplicaHandle
from actors.pool.pool import SCALE_S, Pool
from actors.replay.records import Task
from actors.roles.requests import Draw
from policies.seeds import generator
from tests.simulated import Fate, Remote, World, play

CONFIG = ActorsConfig(
    start_deadline=60.0, task_deadline=120.0, tasks_in_flight=2, backlog_seconds=20.0, cool_down=2.0
)  # fmt: skip
TASKS = [Task(1, "solver", index, 0) for index in range(12)]


async def draining(pool: Pool) -> ReplicaHandle:
    """The first that is let go with tasks in its hands."""
    while True:
        for replica in pool.replicas:
            if replica.leaving and replica.leases:
                return replica
        await asyncio.sleep(0.1)


class Story:
    """A pool that 12 tasks make grow, until one of its replicas dies while it drains."""

    def __init__(self, seed: int) -> None:
        self.world = World(generator("draining", seed), Fate(), seconds=10.0)
        self.pool = Pool("solver", self.make, 1, {}, CONFIG, self.on_event, self.world.kill, most=3)
        self.given = Counter[Task]()
        self.events = Counter[str]()

    def make(self, number: int) -> Any:
        handle = self.world.make(number)
        perform = handle.perform.remote

        def counted(request: Draw) -> Any:
            self.given[request.task] += 1
            return perform(request)

        handle.perform = Remote(counted)
        return handle

    def on_event(self, who: str, what: str, **facts: Any) -> None:
        self.events[what] += 1

    async def play(self) -> None:
        own = self.pool
        await own.start()
        work = [asyncio.create_task(own.run(Draw(task))) for task in TASKS]
        lost = await draining(own)
        self.held, before = [lease.task for lease in lost.leases], len(own.replicas)
        lost.handle.die()
        await asyncio.sleep(0)
        assert lost not in own.replicas and len(own.replicas) == before - 1
        while not all(end.done() for end in work):
            await asyncio.sleep(2 * SCALE_S)
            assert sum(not replica.leaving for replica in own.replicas) == own.stats().wanted
        assert [end.result() for end in work] == [(Draw(task),) for task in TASKS]
        assert self.given == {task: 2 if task in self.held else 1 for task in TASKS}
        assert (own.stats().done, own.stats().lost, own.stats().in_flight) == (len(TASKS), 1, 0)
        assert (self.events["died"], self.events["replaced"]) == (1, 0)
        await asyncio.sleep(2 * CONFIG.cool_down + SCALE_S)
        assert own.stats().wanted == len(own.replicas) == 1
        own.stop()


def test_the_tasks_of_a_replica_that_dies_while_it_drains_are_done_once_more_elsewhere() -> None:
    """And it is lost once, and not replaced: the pool has the wanted size."""
    held = Counter[int]()
    for seed in range(300):
        story = Story(seed)
        play(story.play())
        held[len(story.held)] += 1
    assert held[1] and held[2]
