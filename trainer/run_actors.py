"""The life of all actors of a run: the stores, the role pools and the Ray Train run.

Invariant: they hold nothing that the run folder does not, so others can go on from there. Whichever
of them dies or falls silent is replaced, and what happened is noted in events.jsonl.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.pool.leases import OnEvent
from actors.pool.pool import Pool
from actors.replay.buffer import ReplayBufferActor
from actors.replay.records import Role
from actors.replica import ReplicaSpec, role_pool
from actors.retry import ANSWER_S, run_in_thread
from actors.storage import bucket, storage
from actors.storage.paths import run_folder
from actors.weights.store import WeightStoreActor
from actors.weights.version_folder import VersionFolder
from evaluation.cost import of_learning, of_roles
from evaluation.metrics import read_rows
from evaluation.suites import Suite, load_suite
from evaluation.tasks.ready import ReadyTask
from policies.errors import UserError
from policies.registry import footprint
from trainer.config import RunConfig
from trainer.journal import JOURNAL
from trainer.reporting import Progress, Reporter
from trainer.stores import Stores
from trainer.train_loop import make_trainer, stop_training
from trainer.training import LearnRound
from trainer.watch import WATCH_S, watch


class RunActors:
    """`async with RunActors(config, progress) as run`: up when it is entered, gone when it is left.
    `stores` is there while they are up; `tasks` are what measures versions besides the suite; only the
    pools of `roles` are started."""

    stores: Stores

    def __init__(
        self, config: RunConfig, progress: Progress, tasks: Sequence[ReadyTask] = (),
        roles: Collection[Role] = ("proposer", "solver", "judge"),
    ) -> None:  # fmt: skip
        self.config, self.tasks, self.roles = config, tasks, roles
        self.folder = run_folder(config).absolute()
        # Its own: what is left of a driver that was killed may still hold its names for a while.
        self.namespace = f"unicorn-{config.name}-{secrets.token_hex(4)}"
        self.rounds = range(1, config.rounds + 1)
        self.suite: Suite = load_suite(config.evaluation.suite)
        self.report = Reporter(config, self.folder, progress)
        self.proposers = self._pool("proposer", config.proposer)
        self.solvers = self._pool("solver", config.solver)
        self.judges = self._pool("judge", config.judge)
        # Slices between the first drawing and the durable append; each pins its pictures.
        solver, judge = config.solver, config.judge
        most = max(solver.replicas, solver.max_replicas) + max(judge.replicas, judge.max_replicas)
        self.room = asyncio.Semaphore(config.actors.tasks_in_flight * most)
        self._poisoned = 0
        self._guards: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        storage.make_folder(self.folder)
        self.stores = self._start_stores()
        self.report.torn(await self.stores.verify())
        longest = self.config.actors.task_deadline
        self._guards = [
            asyncio.create_task(each)
            for each in (
                guard(self.stores.replay, "replay buffer", longest, self.report.on_event),
                guard(self.stores.weights, "weight store", longest, self.report.on_event),
                watch(self.pools(), self.report),
            )
        ]
        await asyncio.gather(*(pool.start() for pool in self.pools()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bucket.wait_at_most(0)  # the end does not wait for a silent one
        for task in self._guards:
            task.cancel()
        for pool in self.pools():
            pool.stop()
        for actor in (self.stores.replay, self.stores.weights):
            ray.kill(actor)

    async def train(self, learn_round: LearnRound) -> None:
        """Has every worker of one long-lived Ray Train run do `learn_round` for each round."""
        trainer = make_trainer(self.config, learn_round, self.folder, self.namespace)
        fit = asyncio.create_task(run_in_thread(trainer.fit))
        try:
            while not fit.done():
                await asyncio.wait([fit], timeout=WATCH_S)
                await self.report.training(self.stores.stored)
        except asyncio.CancelledError:
            # It ends with a checkpoint; without its Ray it cannot, and nobody waits for it.
            with suppress(TimeoutError, ray.exceptions.RayError):
                await run_in_thread(lambda: stop_training(trainer, "the run ends early"))
                await asyncio.wait([fit], timeout=self.config.actors.task_deadline)
            raise
        fit.result()
        self.stores.training_over = True

    def poisoned(self, error: UserError) -> None:
        """Counts a task that is given up; raises it where there are too many for bad luck."""
        self._poisoned += 1
        self.report.on_event("run", "gave up a task", why=str(error))
        if self._poisoned > self.config.actors.poison_limit:
            raise error

    async def note_cost(self, round_: int, whole: bool) -> None:
        """How many tokens each role has passed forward for the round since the driver started, and what
        that costs if this is the `whole` round, and not what an earlier driver left of it."""
        tokens = {pool.name: pool.stats().tokens[round_] for pool in self.pools()}
        active = await asyncio.to_thread(lambda: self.active)
        await self.report.note("cost", round_, of_roles(tokens, active if whole else None))

    async def note_learning(self, round_: int) -> None:
        """How many tokens were passed to learn from the round, whose version is published: the journal
        then has all its steps, each once."""
        rows = await asyncio.to_thread(read_rows, self.folder / JOURNAL)
        active = await asyncio.to_thread(lambda: self.active)
        adapters = self.config.trainer.lora_rank > 0
        await self.report.note("learning", round_, of_learning(rows, round_, active, adapters))

    @cached_property
    def active(self) -> int:
        """How many parameters a token passes through."""
        return footprint(self.config.policy).active

    def judge_version(self, version: int) -> int:
        """The weights that judge what `version` draws."""
        return version if self.config.judge.weights == "current" else 0

    @cached_property
    def measured_by(self) -> frozenset[str]:
        """The prompts that the run is measured by, which it must not learn from."""
        settings = self.config.evaluation
        return frozenset(text for text, _ in self.suite.prompts(settings.prompts, settings.seed))

    def pools(self) -> tuple[Pool, ...]:
        every = (self.proposers, self.solvers, self.judges)
        return tuple(pool for pool in every if pool.name in self.roles)

    def _start_stores(self) -> Stores:
        config, versions = self.config, VersionFolder(self.folder, self.config.policy)
        # They ask for no CPU, so Ray would take the node of one that came for a Solver as idle and
        # end it with them; the driver's stays.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        named: dict[str, Any] = {"namespace": self.namespace, "scheduling_strategy": here}
        weights: Any = WeightStoreActor.options(name="weight_store", **named).remote(
            config.actors.kept_versions, versions
        )
        replay: Any = ReplayBufferActor.options(name="replay_buffer", **named).remote(
            str(self.folder / "replay")
        )
        return Stores(replay, weights, versions, config.actors, self.report.on_pause)

    def _pool(self, role: Role, own: ProposerConfig | SolverConfig | JudgeConfig) -> Pool:
        config = self.config
        spec = ReplicaSpec(
            role, own, config.policy, config.actors.templates, config.seed, self.namespace,
            str(self.folder), config.engine,
        )  # fmt: skip
        return role_pool(spec, config.actors, self.report.on_event)


async def guard(actor: Any, who: str, longest: float, on_event: OnEvent) -> None:
    """Ends an actor that is silent, so that Ray starts it again as it does one that died, while
    there is still time to answer those who wait for it. One that comes back silent may be slow to
    start, and gets more time, up to `longest` seconds. Returns when the actor is gone for good."""
    patience = soon = min(longest, ANSWER_S / 2)
    while True:
        try:
            async with asyncio.timeout(patience):
                await actor.alive.remote()
            patience = soon
        except TimeoutError:
            on_event(who, "silent")
            ray.kill(actor, no_restart=False)
            patience = min(2 * patience, longest)
        except ray.exceptions.RayActorError:
            return  # with its Ray: whoever asks it something says so
        await asyncio.sleep(WATCH_S)
