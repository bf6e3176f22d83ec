"""Thousands of schedules of the real pools and the real main loop, with simulated work.

In each of them replicas die, fall silent, fail and come back at random; the invariants hold.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.config import ActorsConfig, JudgeConfig, SolverConfig
from actors.pool.faults import Poisoned
from actors.pool.pool import Pool
from actors.replay.records import Proposal, Task
from actors.replay.segments import read_segment, write_segment
from actors.roles.requests import Draw, JudgeGroups, Request
from policies.config import changed
from policies.seeds import generator
from tests.simulated import Deadlock, Fate, World, play
from trainer import selfplay
from trainer.config import TrainerConfig
from trainer.stores import NOTHING

ACTORS = ActorsConfig(
    start_deadline=60.0, task_deadline=120.0, tasks_in_flight=2, task_attempts=30, poison_limit=0
)  # fmt: skip
FATES = (
    Fate(),
    Fate(death=0.1),
    Fate(silence=0.05),
    Fate(failure=0.2),
    Fate(death=0.1, silence=0.05, failure=0.1, bad_start=0.2),
)
SLICES = 6
ROUNDS = 3


def pool(world: World, name: str, replicas: int) -> Pool:
    return Pool(name, world.make, replicas, {}, ACTORS, kill=world.kill)


@pytest.mark.parametrize("fate", FATES, ids=str)
def test_a_pool_ends_every_task_and_never_holds_too_many(fate: Fate) -> None:
    for seed in range(300):
        random = generator("pool", seed)
        world = World(random, fate)
        own = pool(world, "solver", int(random.integers(1, 4)))
        tasks = [Task(1, "solver", index, 0) for index in range(int(random.integers(1, 30)))]

        async def story(own: Pool = own, tasks: list[Task] = tasks) -> None:
            try:
                await own.start()
            except Exception:
                assert fate.bad_start
                return
            done = await asyncio.gather(*(own.run(Draw(task), 7) for task in tasks))
            assert done == [(Draw(task), 7) for task in tasks]
            assert own.stats().in_flight == 0 and own.stats().done == len(tasks)
            own.stop()

        try:
            play(story())
        except Exception as error:
            assert fate.bad_start and "could not start" in str(error), (seed, error)
        assert world.busiest <= ACTORS.tasks_in_flight, seed


def test_a_pool_says_what_waits_and_what_is_in_hands() -> None:
    async def story() -> None:
        own = pool(World(generator("waits"), Fate()), "solver", 2)
        assert own.stats().running == 0
        await own.start()
        tasks = [asyncio.ensure_future(own.run(Draw(Task(1, "solver", i, 0)))) for i in range(9)]
        await asyncio.sleep(0.01)
        stats = own.stats()
        assert (stats.wanted, stats.running, stats.in_flight, stats.waiting) == (2, 2, 4, 5)
        await asyncio.gather(*tasks)
        assert (own.stats().in_flight, own.stats().waiting) == (0, 0)
        own.stop()

    play(story())


def test_only_the_task_that_kills_its_replicas_is_given_up() -> None:
    """Not those that stood in line behind it, however often that happened to them."""
    for seed in range(300):
        random = generator("deadly", seed)
        world = World(random, Fate(deadly=0))
        config = changed(ACTORS, task_attempts=2, tasks_in_flight=4)
        own = Pool("solver", world.make, int(random.integers(1, 3)), {}, config, kill=world.kill)

        async def story(own: Pool = own) -> None:
            await own.start()
            tasks = [Task(1, "solver", index, 0) for index in range(12)]
            ends = await asyncio.gather(*(own.run(Draw(t)) for t in tasks), return_exceptions=True)
            assert [isinstance(end, Poisoned) for end in ends] == [True] + 11 * [False], ends
            own.stop()

        play(story())


class SimulatedRun:
    """The actors of a run and its log, at work on nothing. A round is trained once it is closed."""

    def __init__(self, seed: int, fate: Fate, lag: int, replicas: int) -> None:
        self.random = generator("run", seed)
        self.world = World(self.random, fate, published=self.is_published)
        self.config = SimpleNamespace(
            sampling_version=lambda round_: max(0, round_ - 1 - lag),
            solver=SolverConfig(rollouts=8, waves=(2, 6)),
            judge=JudgeConfig(),
            trainer=TrainerConfig(),
        )
        self.rounds = range(1, ROUNDS + 1)
        self.slices: dict[int, dict[int, Any]] = {}
        self.appends = Counter[tuple[int, int]]()
        self.ends: dict[int, int] = {}
        self.solvers = pool(self.world, "solver", replicas)
        self.judges = pool(self.world, "judge", 1)
        self.room = asyncio.Semaphore(2 * ACTORS.tasks_in_flight)
        self.versions = {0}
        self.open, self.most_open = 0, 0
        self.stores = self
        self.report = SimpleNamespace(sampling=lambda *news: None)

    def is_published(self, version: int) -> bool:
        return version in self.versions

    async def version_ready(self, version: int) -> None:
        while version not in self.versions:
            await asyncio.sleep(0.2)

    def judge_version(self, version: int) -> int:
        return version

    async def closed(self, round_: int) -> bool:
        return round_ in self.ends

    async def missing(self, round_: int, slices: int) -> list[int]:
        return [index for index in range(slices) if index not in self.slices.get(round_, {})]

    async def stored(self, round_: int, margin: float = 0.0) -> dict[str, int]:
        return NOTHING | {"rejected": len(self.slices.get(round_, {}))}

    async def store_slice(self, round_: int, index: int, groups: Any) -> None:
        await asyncio.sleep(self.random.exponential(1.0))
        self.appends[round_, index] += 1
        self.slices.setdefault(round_, {})[index] = groups

    async def note_cost(self, round_: int, whole: bool) -> None:
        assert whole  # nobody has drawn of it before

    async def close_round(self, round_: int, slices: int) -> None:
        self.ends[round_] = slices

    def poisoned(self, error: Poisoned) -> None:
        raise error

    async def train(self) -> None:
        for round_ in self.rounds:
            while round_ not in self.ends:
                await asyncio.sleep(1.0)
            await asyncio.sleep(self.random.exponential(30.0))
            self.versions.add(round_)


async def slices(run: SimulatedRun, round_: int, version: int) -> list[list[Proposal]]:
    return [[Proposal(i, "counting", "", f"{round_} {i}", i)] for i in range(SLICES)]


async def whole_run(run: Any) -> None:
    await asyncio.gather(run.solvers.start(), run.judges.start())
    async with asyncio.TaskGroup() as flows:
        flows.create_task(selfplay.sample(run))
        flows.create_task(run.train())
    run.solvers.stop()
    run.judges.stop()


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("fate", FATES[:4], ids=str)
def test_the_loop_stores_every_slice_once_with_the_weights_of_its_round(
    fate: Fate, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfplay, "propose", slices)
    for seed in range(60):
        run = SimulatedRun(seed, fate, lag, replicas=1 + seed % 3)
        watched(run)

        play(whole_run(run))
        expected = {(r, i) for r in run.rounds for i in range(SLICES)}
        assert run.appends == dict.fromkeys(expected, 1), seed
        for round_, index in expected:
            version = max(0, round_ - 1 - lag)
            solve, judge = (Task(round_, role, index, version) for role in ("solver", "judge"))
            judged, proposals, drawn, before = run.slices[round_][index]
            first = (
                JudgeGroups(judge, 0, last=False),
                proposals,
                (Draw(solve, 0), proposals, ()),
                (),
            )
            assert judged == JudgeGroups(judge, 1, last=True) and before == first
            assert drawn == (Draw(solve, 1), proposals, first)
        assert run.most_open <= 2 * ACTORS.tasks_in_flight, seed
        assert run.world.busiest <= ACTORS.tasks_in_flight, seed


def test_a_task_that_is_given_up_is_stored_with_its_reason_and_the_round_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selfplay, "propose", slices)
    run = SimulatedRun(0, Fate(deadly=2), 0, replicas=2)
    given_up: list[Poisoned] = []
    monkeypatch.setattr(run, "poisoned", given_up.append)

    async def story(run: Any = run) -> None:
        await asyncio.gather(run.solvers.start(), run.judges.start())
        async with asyncio.TaskGroup() as flows:
            flows.create_task(selfplay.sample(run))
            flows.create_task(run.train())

    play(story())
    assert len(given_up) == ROUNDS and "solver task 2" in str(given_up[0])
    groups = run.slices[1][2]
    assert [group.prompt for group in groups] == ["1 2"]
    assert groups[0].reason == "task given up: every replica died of it"
    assert not groups[0].accepted and groups[0].ranked() == []
    path = write_segment(tmp_path, 1, 2, groups)
    assert read_segment(path) == groups
    assert all(isinstance(run.slices[1][index][0], JudgeGroups) for index in (0, 1, 3, 4, 5))


def watched(run: SimulatedRun) -> None:
    """Counts the slices between the first drawing and the log, whose pictures memory must hold."""
    draw, store = run.solvers.run, run.store_slice

    async def counted(request: Request[Any], *inputs: Any) -> Any:
        run.open += request == Draw(request.task, 0)
        run.most_open = max(run.most_open, run.open)
        return await draw(request, *inputs)

    async def stored(round_: int, index: int, groups: Any) -> None:
        await store(round_, index, groups)
        run.open -= 1

    run.solvers.run, run.store_slice = counted, stored  # type: ignore[method-assign]


def test_the_simulation_notices_what_would_wait_for_ever() -> None:
    async def forgotten(events: Sequence[asyncio.Event]) -> None:
        await events[0].wait()

    with pytest.raises(Deadlock):
        play(forgotten([asyncio.Event()]))


ELASTIC = changed(ACTORS, backlog_seconds=20.0, cool_down=30.0)


@pytest.mark.parametrize(
    "fate",
    [FATES[0], FATES[4], *(pytest.param(fate, marks=pytest.mark.slow) for fate in FATES[1:3])],
    ids=str,
)
def test_a_pool_grows_with_its_work_and_shrinks_without_it(fate: Fate) -> None:
    for seed in range(60):
        random = generator("elastic", seed)
        world = World(random, fate)
        least, most = int(random.integers(1, 3)), int(random.integers(3, 9))
        own = Pool("solver", world.make, least, {}, ELASTIC, kill=world.kill, most=most)
        sizes: list[int] = []

        async def watch(own: Pool = own, sizes: list[int] = sizes) -> None:
            while True:
                sizes.append(len([m for m in own.replicas if not m.leaving]))
                await asyncio.sleep(0.5)

        async def story(own: Pool = own, random: Any = random, least: int = least) -> None:
            try:
                await own.start()
            except Exception:
                assert fate.bad_start
                return
            watching = asyncio.create_task(watch())
            for burst in range(3):
                tasks = [Task(burst, "solver", i, 0) for i in range(int(random.integers(1, 60)))]
                done = await asyncio.gather(*(own.run(Draw(task)) for task in tasks))
                assert done == [(Draw(task),) for task in tasks]
                await asyncio.sleep(float(random.uniform(0, 60)))
            await asyncio.sleep(2 * ELASTIC.cool_down + 5)
            assert own.stats().wanted == least == len(own.replicas)
            watching.cancel()
            own.stop()

        play(story())
        assert world.busiest <= ELASTIC.tasks_in_flight, seed
        assert not sizes or (least <= min(sizes) and max(sizes) <= most), seed
        if fate == Fate():
            assert world.interrupted == 0, seed
            assert max(sizes) > least or most == least, seed


def test_the_loop_stores_the_same_however_its_pools_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfplay, "propose", slices)
    logs = []
    for most in (0, 3, 8):
        run = SimulatedRun(7, Fate(death=0.1), 0, replicas=1)
        run.solvers = Pool("solver", run.world.make, 1, {}, ELASTIC, kill=run.world.kill, most=most)

        play(whole_run(run))
        logs.append({r: dict(sorted(run.slices[r].items())) for r in run.rounds})
    assert logs[0] == logs[1] == logs[2]
