"""The pool over real Ray actors of the real Replica class."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray

from actors.category_shares import CategoryShares
from actors.config import ActorsConfig, JudgeConfig, ProposerConfig, SolverConfig
from actors.pool.faults import Poisoned, ReplicaDied, StartTimeout
from actors.pool.pool import Pool
from actors.replay.records import Proposal, Task
from actors.replica import CLASSES, ReplicaSpec, role_pool
from actors.roles.judge import Judge
from actors.roles.requests import Draw, JudgeGroups, Propose
from actors.roles.solver import Solver
from actors.roles.templates import load_templates
from actors.weights import store as weight_store
from policies.config import TinyPolicyConfig, changed
from policies.tiny.policy import TinyPolicy
from policies.tiny.vision import VisionConfig

NAMESPACE = "unicorn-test-pool"
ACTORS = ActorsConfig(start_deadline=120.0, task_deadline=120.0, tasks_in_flight=2)
SOLVER = SolverConfig(replicas=2, cpus=0.1, rollouts=4)
WORDS = "a red blue circle star judge rate propose counting one kind , .".split()
PROMPTS = [Proposal(i, "counting", "one kind", "a red circle", seed=i) for i in range(3)]


def tiny(seed: int) -> TinyPolicy:
    return TinyPolicy.create(
        WORDS, seed, VisionConfig(size=16, levels=(5, 4), channels=(8, 8, 8), blocks=1),
        hidden_size=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate_size=32,
        max_positions=96,
    )  # fmt: skip


def at(version: int) -> TinyPolicy:
    """The checkpoint with the weights of a version; the image tokenizer never changes."""
    policy = tiny(0)
    policy.load_weights(tiny(version).weights())
    return policy


@pytest.fixture(scope="module")
def spec(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSpec]:
    """A solver's spec; the weight store has version 0, which is the checkpoint, and 1."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny(0).save_pretrained(folder)
    named = weight_store.WeightStoreActor.options(name="weight_store", namespace=NAMESPACE)
    store = named.remote(3)
    for version in (0, 1):
        weight_store.publish(tiny(version).weights(), version, store, 1.0)
    policy = TinyPolicyConfig(path=str(folder))
    yield ReplicaSpec("solver", SOLVER, policy, "tiny", 5, NAMESPACE, str(folder))
    ray.kill(store)


def with_pool(pool: Pool, work: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
    """Starts the pool, works, and stops it whatever happened."""

    async def whole() -> None:
        try:
            await pool.start()
            await work(pool)
        finally:
            pool.stop()

    asyncio.run(asyncio.wait_for(whole(), 240))


@pytest.mark.slow
def test_a_replica_asks_for_its_part_of_a_gpu_and_a_late_start_says_so(spec: ReplicaSpec) -> None:
    assert role_pool(spec, ACTORS).resources == {"CPU": SOLVER.cpus}
    pool = role_pool(replace(spec, config=changed(SOLVER, replicas=1, gpus=0.5)), ACTORS)
    assert pool.resources == {"CPU": SOLVER.cpus, "GPU": 0.5}
    with pytest.raises(
        StartTimeout,
        match=r"each asks for [\d.]+ CPU, 0\.5 GPU, and the cluster has [\d.]+ of 4 CPU, 0 of 0 GPU "
        r"free; add nodes or lower solver\.replicas or solver\.cpus or solver\.gpus; where",
    ):
        asyncio.run(pool.start(1))
    pool = role_pool(replace(spec, config=changed(SOLVER, replicas=1, node="far")), ACTORS)
    with pytest.raises(
        StartTimeout,
        match=r"CPU, 0\.0001 far, and .* 0 of 0 far free; add nodes or lower solver\.replicas or "
        r"solver\.cpus; where",
    ):
        asyncio.run(pool.start(1))


def test_tasks_are_done_with_the_weights_they_name(spec: ReplicaSpec) -> None:
    """And payloads pass from pool to pool as references."""
    judges = role_pool(
        replace(spec, role="judge", config=JudgeConfig(cpus=0.1, max_tokens=8)), ACTORS
    )

    async def draw_and_judge(pool: Pool) -> None:
        await judges.start()
        tasks = [Task(1, "solver", index, index % 2) for index in range(4)]
        drawn = await asyncio.gather(*(pool.run(Draw(task), PROMPTS) for task in tasks))
        for task, ref in zip(tasks, drawn, strict=True):
            here = Solver(at(task.version), SOLVER, load_templates("tiny"))
            for ours, theirs in zip(here.draw(task, 5, PROMPTS), ray.get(ref), strict=True):
                assert [d.seed for d in ours] == [d.seed for d in theirs]
                assert [d.version for d in theirs] == [task.version] * 4
                for a, b in zip(ours, theirs, strict=True):
                    assert a.picture.codes is not None and b.picture.codes is not None
                    np.testing.assert_array_equal(a.picture.codes, b.picture.codes)
                    np.testing.assert_array_equal(a.picture.pixels, b.picture.pixels)
        groups = ray.get(await judges.run(JudgeGroups(Task(1, "judge", 1, 0)), PROMPTS, drawn[1]))
        assert [(g.weight_version, g.judge_version) for g in groups] == [(1, 0)] * 3
        judge = Judge(at(0), JudgeConfig(max_tokens=8), load_templates("tiny"))
        own = judge.judge(Task(1, "judge", 1, 0), 5, PROMPTS, ray.get(drawn[1]))
        assert [g.reason for g in own] == [g.reason for g in groups]
        solved, judged = pool.stats(), judges.stats()
        assert (solved.done, solved.in_flight, solved.drawings) == (4, 0, 4 * 3 * 4)
        assert solved.busy_seconds > 0 and solved.unparsable == 0
        unread = sum(r.judgement.score is None for g in groups for r in g.rollouts)
        assert (judged.done, judged.unparsable) == (1, unread)

    try:
        with_pool(role_pool(spec, ACTORS), draw_and_judge)
    finally:
        judges.stop()


@pytest.mark.slow
def test_a_proposer_replica_counts_what_nobody_could_read(spec: ReplicaSpec) -> None:
    config = ProposerConfig(cpus=0.1, max_tokens=8, attempts=2)

    async def propose(pool: Pool) -> None:
        topics = load_templates("tiny").topics(10, CategoryShares())[9:] * 3
        ref = await pool.run(Propose(Task(1, "proposer", 0, 0)), topics, {})
        assert ray.get(ref) == [None] * 3 and pool.stats().unparsable == 3

    with_pool(role_pool(replace(spec, role="proposer", config=config), ACTORS), propose)


@pytest.mark.slow
def test_no_more_tasks_are_in_flight_than_the_pool_may_hold(spec: ReplicaSpec) -> None:
    async def many(pool: Pool) -> None:
        tasks = [Task(1, "solver", index, 0) for index in range(20)]
        work = asyncio.gather(*(pool.run(Draw(task), PROMPTS) for task in tasks))
        seen: set[tuple[int, ...]] = set()
        while not work.done():
            await asyncio.sleep(0.001)
            seen.add(tuple(len(replica.leases) for replica in pool.replicas))
            assert pool.stats().in_flight <= 4
        assert len(set(await work)) == 20 and pool.stats().done == 20
        assert (2, 2) in seen and all(max(pair) <= 2 for pair in seen)
        assert pool.stats().in_flight == 0

    with_pool(role_pool(spec, ACTORS), many)


def test_what_does_not_start_is_named_with_what_it_waits_for(spec: ReplicaSpec) -> None:
    hungry = role_pool(replace(spec, config=changed(SOLVER, cpus=99.0)), ACTORS)

    async def start_one_more(pool: Pool) -> None:
        up = next(iter(pool.replicas)).handle
        mixed = Pool(
            "solver", lambda n: hungry.make_replica(n) if n else up, 2, {"CPU": 99}, ACTORS
        )
        message = (
            r"^solver replica 1 of 2 did not start within 2 s: each asks for 99 CPU, and the "
            r"cluster has [\d.]+ of 4 CPU free; add nodes or lower solver.replicas or solver.cpus"
        )
        with pytest.raises(StartTimeout, match=message):
            await mixed.start(2.0)

    with_pool(role_pool(replace(spec, config=changed(SOLVER, replicas=1)), ACTORS), start_one_more)
    with pytest.raises(StartTimeout, match=r"solver replica 0, 1 of 2 .* within 2 s.* 99 CPU"):
        asyncio.run(hungry.start(2.0))


@pytest.mark.slow
def test_a_replica_that_cannot_start_says_why_at_once(spec: ReplicaSpec) -> None:
    lost = replace(spec, policy=TinyPolicyConfig(path="nowhere"))
    with pytest.raises(ReplicaDied, match=r"solver replica \d could not start: .*nowhere"):
        asyncio.run(role_pool(lost, ACTORS).start())


@pytest.mark.slow
def test_a_task_that_fails_everywhere_is_given_up_with_its_reason(spec: ReplicaSpec) -> None:
    async def fail(pool: Pool) -> None:
        wrong = [replace(PROMPTS[0], prompt="a red dragon")]
        message = (
            r"round 2 solver task 7 \(weights v0\) failed 2 times .*solver replica \d .*'dragon'"
        )
        with pytest.raises(Poisoned, match=message) as caught:
            await pool.run(Draw(Task(2, "solver", 7, 0)), wrong)
        assert "dragon" in caught.value.reason and "replica" not in caught.value.reason
        with pytest.raises(Poisoned, match=r"v8.*never published"):
            await pool.run(Draw(Task(2, "solver", 8, 8)), PROMPTS)
        ray.get(await pool.run(Draw(Task(2, "solver", 9, 0)), PROMPTS))
        assert pool.stats().in_flight == 0 and pool.stats().lost == 0

    with_pool(role_pool(spec, changed(ACTORS, task_attempts=2)), fail)


@pytest.mark.slow
def test_the_end_of_a_pool_ends_its_replicas(spec: ReplicaSpec) -> None:
    pool = role_pool(spec, ACTORS)
    handles: list[Any] = []

    async def look(pool: Pool) -> None:
        handles.extend(replica.handle for replica in pool.replicas)

    with_pool(pool, look)
    until = time.monotonic() + 60
    for handle in handles:
        with pytest.raises(ray.exceptions.RayActorError):
            while time.monotonic() < until:  # one that is being ended may still answer
                ray.get(handle.ready.remote(), timeout=60)


def test_a_pool_that_is_not_started_says_so(spec: ReplicaSpec) -> None:
    with pytest.raises(
        RuntimeError, match=r"solver pool was given round 1 solver task 0 .* not started"
    ):
        asyncio.run(role_pool(spec, ACTORS).run(Draw(Task(1, "solver", 0, 0)), PROMPTS))


def test_the_dashboard_shows_the_roles() -> None:
    assert [c.__name__ for c in CLASSES.values()] == [
        "ProposerReplica", "SolverReplica", "JudgeReplica"
    ]  # fmt: skip
