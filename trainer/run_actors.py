"""Everyone that a run employs: the stores, the role pools and the Ray Train run.

Invariant: the crew holds nothing that the run folder does not, so another one can go on from
there. Whoever of it dies or falls silent is replaced, and what happened is told in events.jsonl.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import AsyncRetrying

from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.metrics.meter import Meter
from actors.pool.faults import Poisoned, message_of
from actors.pool.pool import Pool
from actors.replay.buffer import ReplayBufferActor, ReplayUnwritable
from actors.replay.records import Role
from actors.replica import ReplicaSpec, role_pool
from actors.retry import ANSWER_S, retrying, run_in_thread, within
from actors.storage import bucket, events, storage
from actors.storage.paths import run_folder
from actors.weights.store import WeightStoreActor
from actors.weights.version_folder import VersionDamaged, VersionFolder
from evaluation.metrics import append_metrics, show
from evaluation.suites import Suite, load_suite
from trainer.config import RunConfig
from trainer.journal import JOURNAL, Journal
from trainer.train_loop import make_trainer, stop_training
from trainer.watch import WATCH_S, watch

LITTLE_BYTES = 2**18
"""So little finds no room only where something waits for room."""


class Progress(Protocol):
    """Who is told how the run goes; see `cluster.watch.progress`."""

    def sampling(
        self, round_: int, done: int, total: int, images: int, accepted: int | None = None
    ) -> None: ...
    def training(self, round_: int, step: int, steps: int, loss: float) -> None: ...
    def measured(self, version: int, metrics: Mapping[str, float]) -> None: ...
    def trouble(self, text: str) -> None: ...


class RunActors:
    """`async with RunActors(config, progress) as crew`: up when it is entered, gone when it is left."""

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        self.config, self.progress = config, progress
        self.folder = run_folder(config).absolute()
        # Its own: what is left of a driver that was killed may still hold its names for a while.
        self.namespace = f"unicorn-{config.name}-{secrets.token_hex(4)}"
        self.rounds = range(1, config.rounds + 1)
        self.suite: Suite = load_suite(config.evaluation.suite)
        self.meter = Meter(config.name)
        self.paused, self.refused = False, ""
        self.versions = VersionFolder(self.folder, config.policy)
        self.trained = False
        self._poisoned = 0
        self.proposers = self._pool("proposer", config.proposer)
        self.solvers = self._pool("solver", config.solver)
        self.judges = self._pool("judge", config.judge)
        # Slices between the first drawing and the durable append; each pins its pictures.
        solver, judge = config.solver, config.judge
        most = max(solver.replicas, solver.max_replicas) + max(judge.replicas, judge.max_replicas)
        self.room = asyncio.Semaphore(config.actors.tasks_in_flight * most)

    async def __aenter__(self) -> Self:
        actors = self.config.actors
        storage.make_folder(self.folder)
        # They ask for no CPU, so Ray would take the node of one that came for a Solver as idle and
        # end it with them; the driver's stays.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        named: dict[str, Any] = {"namespace": self.namespace, "scheduling_strategy": here}
        self.store: Any = WeightStoreActor.options(name="weight_store", **named).remote(
            actors.kept_versions, self.versions
        )
        self.replay: Any = ReplayBufferActor.options(name="replay_buffer", **named).remote(
            str(self.folder / "replay")
        )
        verified = self.replay.stats.remote()
        log = await self.within(verified, "the replay buffer to verify its log")
        for file in log["torn"]:
            self.progress.trouble(f"{file} was torn and is set aside; its slice is done again")
        await self.within(self.store.versions.remote(), "the weight store to read its versions")
        self._guards = [
            asyncio.create_task(self._guard(self.replay, "replay buffer")),
            asyncio.create_task(self._guard(self.store, "weight store")),
            asyncio.create_task(watch(self)),
        ]
        self.trainer = make_trainer(self.config, self.folder, self.namespace)
        await asyncio.gather(*(pool.start() for pool in self.pools()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bucket.wait_at_most(0)  # the end does not wait for a silent one
        for guard in self._guards:
            guard.cancel()
        for pool in self.pools():
            pool.stop()
        for actor in (self.replay, self.store):
            ray.kill(actor)

    async def within(self, answer: Any, what: str) -> Any:
        """`answer` of one of the stores, or a WaitTimeout that names what was waited for. There
        is time for a silent one to be noticed, to start again, and to answer then."""
        actors = self.config.actors
        return await within(answer, 2 * actors.task_deadline + actors.start_deadline, what)

    async def version_ready(self, version: int) -> None:
        """Returns once `version` is published, which it is when it is durable. Raises VersionDamaged
        for one that training would have to publish, and is over."""
        # A round's training has no deadline of its own: each of its waits has one.
        while True:
            over = self.trained
            if version in await self.within(self.store.versions.remote(), "the versions"):
                return
            if over:
                raise VersionDamaged(
                    f"{self.versions.path(version)} is missing and training is over, so it is not "
                    "published again: restore it from a copy, or start the run anew under another "
                    "name=..."
                )
            await asyncio.sleep(0.2)

    async def closed(self, round_: int) -> bool:
        """Whether the log holds all of the round."""
        answer = self.replay.closed.remote(round_)
        return await self.within(answer, f"whether round {round_} is closed") is not None

    async def round_closed(self, round_: int) -> None:
        """Returns once the log holds all of the round."""
        while not await self.closed(round_):
            await asyncio.sleep(0.2)

    async def missing(self, round_: int, slices: int) -> list[int]:
        answer = self.replay.missing.remote(round_, slices)
        return await self.within(answer, f"the missing slices of round {round_}")

    async def stored(self, round_: int) -> dict[str, int]:
        """How many groups of the round the log has, "accepted" and "rejected"."""
        stats = await self.within(self.replay.stats.remote(), f"the groups of round {round_}")
        return stats["rounds"].get(round_, {"accepted": 0, "rejected": 0})

    async def store_slice(self, round_: int, index: int, groups: Any) -> None:
        """Returns once the slice is durable; while the log takes no writes, says so and waits."""
        what = f"slice {index} of round {round_} to be stored"
        await self._patiently(lambda: self.replay.append.remote(round_, index, groups), what)

    async def close_round(self, round_: int, slices: int) -> None:
        """As `store_slice`."""
        what = f"the end of round {round_} to be stored"
        await self._patiently(lambda: self.replay.close_round.remote(round_, slices), what)

    async def _patiently(self, ask: Callable[[], Any], what: str) -> None:
        def pause(error: BaseException) -> None:
            self.paused = True
            self.progress.trouble(f"paused: {message_of(error)}")

        longest = self.config.actors.pause_deadline
        asking = retrying(AsyncRetrying, ReplayUnwritable, WATCH_S, lambda: longest, pause)
        await asking(lambda: self.within(ask(), what))
        self.paused = False

    def poisoned(self, error: Poisoned) -> None:
        """Counts a task that is given up; raises it where there are too many for bad luck."""
        self._poisoned += 1
        self.tell("run", "gave up a task", why=str(error))
        if self._poisoned > self.config.actors.poison_limit:
            raise error

    def tell(self, who: str, what: str, **facts: Any) -> None:
        """Of replicas and tasks: for the folder, and in short for who waits."""
        events.note(self.folder, who, what, **facts)
        told = "; ".join(str(fact) for fact in facts.values())
        self.progress.trouble(f"{who} {what}: {told}")

    def judge_version(self, version: int) -> int:
        return version if self.config.judge.weights == "current" else 0

    async def note(self, kind: str, round_: int, values: Mapping[str, float]) -> None:
        row = {"kind": kind, "round": round_, **values}
        await asyncio.to_thread(append_metrics, self.folder, row, self.config.actors.pause_deadline)
        show(self.config.name, values)

    async def show_training(self) -> None:
        """Tells of the newest line in the training journal, and of a disk that takes no writes."""
        self.refused = await asyncio.to_thread(storage.refusal, self.folder, LITTLE_BYTES)
        if self.refused:
            return self.progress.trouble(f"paused: {self.refused}")
        journal = Journal(self.folder / JOURNAL, self.config.actors.pause_deadline)
        row = await asyncio.to_thread(journal.last)
        if row is None:
            return
        round_, losses, settings = row["round"], row["losses"].values(), self.config.trainer
        # While a round is sampled its epoch is still growing.
        accepted = (await self.stored(round_))["accepted"]
        epoch = max(row["index"], -(-accepted // settings.groups_per_step))
        done = (row["epoch"] - 1) * epoch + row["index"]
        loss = sum(losses) / max(1, len(losses))
        self.progress.training(round_, done, settings.epochs * epoch, loss)

    async def end_training(self, fit: asyncio.Task[Any]) -> None:
        """Lets training end with a checkpoint; without its Ray it cannot, and nobody waits for it."""
        with suppress(TimeoutError, ray.exceptions.RayError):
            await run_in_thread(lambda: stop_training(self.trainer, "the run ends early"))
            await asyncio.wait([fit], timeout=self.config.actors.task_deadline)

    @cached_property
    def measured_by(self) -> frozenset[str]:
        """The prompts that the run is measured by, which it must not learn from."""
        settings = self.config.evaluation
        return frozenset(text for text, _ in self.suite.prompts(settings.prompts, settings.seed))

    async def _guard(self, actor: Any, who: str) -> None:
        """Ray starts an actor again that died; one that is silent must first be ended, while there
        is still time to answer those who wait for it. One that comes back silent may be slow to
        start, and gets more time."""
        longest = self.config.actors.task_deadline
        patience = soon = min(longest, ANSWER_S / 2)
        while True:
            try:
                async with asyncio.timeout(patience):
                    await actor.alive.remote()
                patience = soon
            except TimeoutError:
                self.tell(who, "silent")
                ray.kill(actor, no_restart=False)
                patience = min(2 * patience, longest)
            except ray.exceptions.RayActorError:
                return  # for good, with its Ray: whoever asks it something says so
            await asyncio.sleep(WATCH_S)

    def pools(self) -> tuple[Pool, Pool, Pool]:
        return self.proposers, self.solvers, self.judges

    def _pool(self, role: Role, own: ProposerConfig | SolverConfig | JudgeConfig) -> Pool:
        config = self.config
        part = ReplicaSpec(
            role, own, config.policy, config.actors.templates, config.seed, self.namespace,
            str(self.folder),
        )  # fmt: skip
        return role_pool(part, config.actors, self.tell)
