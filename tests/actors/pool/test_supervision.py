"""Replicas that die, hang or fail: real processes, real SIGKILL and SIGSTOP.

The work is made up; what happens to it is not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.config import ActorsConfig
from actors.pool.faults import Poisoned, ReplicaDied, TaskFailed
from actors.pool.leases import Receipt
from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.roles.requests import Request, Result
from policies.errors import UserError

CONFIG = ActorsConfig(
    start_deadline=120.0, task_deadline=60.0, tasks_in_flight=2, task_attempts=3
)  # fmt: skip


class Unmendable(UserError):
    """What a person must mend."""


@dataclass(frozen=True)
class Call(Request[Any]):
    """Asks a worker for one of its tricks."""

    trick: str

    def do(self, role: Any, seed: int, *inputs: Any, **named: Any) -> Result[Any]:
        return Result(getattr(role, self.trick)(*inputs))


@ray.remote(num_cpus=0)
class Worker:
    """Sleeps, dies or fails on request, and says who it is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def ready(self) -> bool:
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Call, *inputs: Any) -> tuple[Receipt, Any]:
        return Receipt(request.task, 0.0), request.do(self, 0, *inputs).payload

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float, began: str) -> str:
        Path(began).touch()
        time.sleep(seconds)
        return "rested"

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(self, diary: str) -> None:
        with Path(diary).open("a") as file:
            file.write(f"{self.number}\n")
        raise ValueError("this cannot be done")

    def refuse(self) -> None:
        raise Unmendable("the cable is out")


def call(index: int, trick: str) -> Call:
    return Call(Task(1, "solver", index, 0), trick)


def with_pool(
    replicas: int, work: Callable[[Pool, list[str]], Coroutine[Any, Any, None]],
    config: ActorsConfig = CONFIG,
) -> None:  # fmt: skip
    seen: list[str] = []

    def on_event(who: str, what: str, **facts: Any) -> None:
        seen.append(f"{who} {what}")

    async def whole() -> None:
        pool = Pool("solver", Worker.remote, replicas, {}, config, on_event)
        try:
            await pool.start()
            await work(pool, seen)
        finally:
            pool.stop()

    asyncio.run(asyncio.wait_for(whole(), 240))


async def pids(pool: Pool, count: int) -> list[int]:
    """Of as many replicas; each does one."""
    found = await asyncio.gather(*(pool.run(call(n, "pid")) for n in range(count)))
    return list(await asyncio.gather(*found))


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not ready():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
def test_the_tasks_of_a_lost_replica_are_done_by_another(
    ray_cluster: str, tmp_path: Path, how: signal.Signals
) -> None:
    """The second task stood in line behind the first, which dies with its replica."""

    async def lose(pool: Pool, seen: list[str]) -> None:
        (pid,) = await pids(pool, 1)
        began = tmp_path / "0"
        first = asyncio.create_task(pool.run(call(10, "sleep"), 0.5, str(began)))
        second = asyncio.create_task(pool.run(call(11, "pid")))
        await until(began.exists)
        os.kill(pid, how)
        assert await (await first) == "rested"
        assert await (await second) != pid
        assert pool.stats().lost == 1 and pool.stats().in_flight == 0
        lost = "solver 0 died" if how == signal.SIGKILL else "solver 0 silent"
        assert seen.count(lost) == 1 and seen.count("solver 0 replaced") == 1
        await until(lambda: not Path(f"/proc/{pid}").exists())

    deadline = 60.0 if how == signal.SIGKILL else 3.0
    with_pool(1, lose, ActorsConfig(start_deadline=120.0, task_deadline=deadline))


@pytest.mark.slow
def test_a_replica_that_died_idle_is_replaced_and_its_next_task_done(ray_cluster: str) -> None:
    async def lose(pool: Pool, seen: list[str]) -> None:
        before = await pids(pool, 2)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        after = await pids(pool, 2)
        assert not set(before) & set(after) and pool.stats().lost == 2

    with_pool(2, lose)


@pytest.mark.slow
def test_the_task_of_a_replica_that_dies_while_it_drains_is_done_by_who_stays(
    ray_cluster: str, tmp_path: Path
) -> None:
    async def lose(pool: Pool, seen: list[str]) -> None:
        _, leaver = await pids(pool, 2)
        marks = [tmp_path / str(number) for number in range(2)]
        work = [pool.run(call(n, "sleep"), 2.0, str(marks[n])) for n in range(2)]
        ends = [asyncio.create_task(each) for each in work]
        await until(lambda: all(mark.exists() for mark in marks))
        pool.replicas.resize(1)
        assert [replica.leaving for replica in pool.replicas] == [False, True]
        os.kill(leaver, signal.SIGKILL)
        assert [await end for end in await asyncio.gather(*ends)] == ["rested"] * 2
        stats = pool.stats()
        assert (stats.running, stats.done, stats.lost, stats.in_flight) == (1, 4, 1, 0)
        assert seen == ["solver 1 died", "solver 1 failed"] and len(pool.replicas) == 1

    with_pool(2, lose)


@pytest.mark.slow
def test_a_task_that_kills_every_replica_is_given_up_and_the_others_are_not(
    ray_cluster: str,
) -> None:
    async def kill(pool: Pool, seen: list[str]) -> None:
        poison = asyncio.create_task(pool.run(call(0, "die")))
        good = [asyncio.create_task(pool.run(call(n, "pid"))) for n in range(1, 5)]
        with pytest.raises(Poisoned, match=r"task 0 .*failed 3 times.*died while it had") as caught:
            await poison
        assert caught.value.reason == "every replica died of it"
        assert len(await asyncio.gather(*good)) == 4
        # Three of it; one more where the answer of the task before it died with the replica.
        assert pool.stats().lost in (3, 4)

    with_pool(1, kill)


@pytest.mark.slow
def test_a_failing_task_is_tried_again_and_then_given_up(ray_cluster: str, tmp_path: Path) -> None:
    async def fail(pool: Pool, seen: list[str]) -> None:
        diary = tmp_path / "diary"
        with pytest.raises(Poisoned, match="this cannot be done") as caught:
            await pool.run(call(0, "fail"), str(diary))
        assert caught.value.reason == "ValueError: this cannot be done"
        assert len(diary.read_text().splitlines()) == 3 and pool.stats().lost == 0

    with_pool(2, fail)


@pytest.mark.slow
def test_what_a_person_must_mend_is_not_tried_again(ray_cluster: str) -> None:
    async def refuse(pool: Pool, seen: list[str]) -> None:
        with pytest.raises(TaskFailed, match="the cable is out") as caught:
            await pool.run(call(0, "refuse"))
        assert isinstance(caught.value.__cause__, UserError)
        assert seen == []

    with_pool(1, refuse)


@pytest.mark.slow
def test_a_pool_whose_last_replica_cannot_come_back_says_so(
    ray_cluster: str, tmp_path: Path
) -> None:
    """Everybody who waits for it hears that."""
    alive = tmp_path / "alive"
    alive.touch()

    @ray.remote(num_cpus=0)
    class Once:
        def __init__(self, number: int) -> None:
            if not alive.exists():
                raise RuntimeError("no second life")

        def ready(self) -> bool:
            return True

        @ray.method(num_returns=2)
        def perform(self, request: Call, *inputs: Any) -> tuple[Receipt, Any]:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    async def die() -> None:
        pool = Pool("solver", Once.remote, 1, {}, CONFIG)
        await pool.start()
        alive.unlink()
        ends = await asyncio.gather(
            *(pool.run(call(n, "x")) for n in range(4)), return_exceptions=True
        )
        assert all(isinstance(end, ReplicaDied) and "no second life" in str(end) for end in ends)
        pool.stop()

    asyncio.run(asyncio.wait_for(die(), 240))
