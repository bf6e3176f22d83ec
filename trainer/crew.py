"""Everyone that a run employs: the stores, the role pools and the Ray Train run.

Invariant: the crew holds nothing that the run folder does not. A weight version is durable in
`versions/` as a public checkpoint before any task may name it, so any of it can be loaded,
evaluated, or published again by a crew that resumes.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import ray

from actors import durable, weight_store
from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.pool import Pool
from actors.records import Role
from actors.replay_buffer import ReplayBufferActor
from actors.replica import Part, role_pool
from actors.waiting import within
from actors.weight_store import WeightStoreActor
from evaluation.metrics import append_metrics
from evaluation.suites import Suite, load_suite
from policies.registry import load_policy
from trainer.config import RunConfig
from trainer.train_loop import JOURNAL, make_trainer

VERSIONS = "versions"


class Progress(Protocol):
    """Who is told how the run goes; see `cluster.progress`."""

    def sampling(
        self, round_: int, done: int, total: int, images: int, accepted: int | None = None
    ) -> None: ...
    def training(self, round_: int, step: int, steps: int, loss: float) -> None: ...
    def measured(self, version: int, metrics: Mapping[str, float]) -> None: ...


class Crew:
    """`async with Crew(config, progress) as crew`: up when it is entered, gone when it is left."""

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        self.config, self.progress = config, progress
        self.folder = (Path(config.folder) / config.name).absolute()
        self.namespace = f"unicorn-{config.name}"
        self.rounds = range(1, config.rounds + 1)
        self.suite: Suite = load_suite(config.evaluation.suite)
        self._policy = load_policy(config.policy)
        self._keeping = asyncio.Lock()
        self.proposers = self._pool("proposer", config.proposer)
        self.solvers = self._pool("solver", config.solver)
        self.judges = self._pool("judge", config.judge)
        # Slices between the first drawing and the durable append; each pins its pictures.
        self.room = asyncio.Semaphore(
            config.actors.tasks_in_flight * (config.solver.replicas + config.judge.replicas)
        )

    async def __aenter__(self) -> Self:
        actors = self.config.actors
        named = {"namespace": self.namespace}
        self.store: Any = WeightStoreActor.options(name="weight_store", **named).remote(
            actors.kept_versions
        )
        self.replay: Any = ReplayBufferActor.options(name="replay_buffer", **named).remote(
            str(self.folder / "replay")
        )
        await self.within(self.replay.stats.remote(), "the replay buffer to verify its log")
        await self._publish_kept()
        self.trainer = make_trainer(self.config, self.folder, self.namespace)
        await asyncio.gather(*(pool.start() for pool in self._pools()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in self._pools():
            pool.stop()
        for actor in (self.replay, self.store):
            ray.kill(actor)

    async def within(self, answer: Any, what: str) -> Any:
        """`answer` of one of the stores, or a TimeoutError that names what was waited for."""
        return await within(answer, self.config.actors.task_deadline, what)

    async def version_ready(self, version: int) -> None:
        """Returns once `version` is published and durable."""
        # A round's training has no deadline of its own: each of its waits has one.
        while version not in await self.store.versions.remote():
            await asyncio.sleep(0.2)
        async with self._keeping:
            await self._keep(version)

    def judge_version(self, version: int) -> int:
        return version if self.config.judge.weights == "current" else 0

    def note(self, kind: str, round_: int, values: Mapping[str, float]) -> None:
        append_metrics(self.folder, {"kind": kind, "round": round_, **values})

    async def show_training(self) -> None:
        """Tells of the newest line in the training journal."""
        journal = self.folder / JOURNAL
        lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
        if not lines:
            return
        rows = [json.loads(line) for line in lines]
        round_, losses = rows[-1]["round"], rows[-1]["losses"].values()
        done = sum(row["round"] == round_ for row in rows)
        rounds = (await self.replay.stats.remote())["rounds"]
        stored = rounds.get(round_, {"accepted": 0})  # a power failure may have torn every slice
        settings = self.config.trainer
        steps = settings.epochs * -(-stored["accepted"] // settings.groups_per_step)
        loss = sum(losses) / max(1, len(losses))
        self.progress.training(round_, done, max(steps, done), loss)

    @cached_property
    def measured_by(self) -> frozenset[str]:
        """The prompts that the run is measured by, which it must not learn from."""
        settings = self.config.evaluation
        return frozenset(text for text, _ in self.suite.prompts(settings.prompts, settings.seed))

    def _pools(self) -> tuple[Pool, Pool, Pool]:
        return self.proposers, self.solvers, self.judges

    def _pool(self, role: Role, own: ProposerConfig | SolverConfig | JudgeConfig) -> Pool:
        config = self.config
        part = Part(role, own, config.policy, config.actors.templates, config.seed, self.namespace)
        return role_pool(part, config.actors)

    async def _publish_kept(self) -> None:
        """Version 0 is the policy that the run started from; later ones are in the run folder."""
        await self._publish(0, self._policy.weights())
        folder = self.folder / VERSIONS
        kept = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
        for version in kept[-self.config.actors.kept_versions :]:
            path = folder / f"{version:05d}"
            kept_policy = type(self._policy).from_pretrained(path)
            await self._publish(version, kept_policy.weights())

    async def _publish(self, version: int, weights: Mapping[str, np.ndarray]) -> None:
        refs = await asyncio.to_thread(weight_store.put, weights, self.store)
        taken = self.store.publish.remote(version, refs, weight_store.digest(weights))
        await self.within(taken, f"the weight store to take v{version}")

    async def _keep(self, version: int) -> None:
        """Writes `version` into the run folder, unless it is there."""
        path = self.folder / VERSIONS / f"{version:05d}"
        if version == 0 or path.exists():
            return
        refs, _ = await self.within(self.store.get.remote(version), f"weights v{version}")
        parts = await self.within(asyncio.gather(*refs), f"the arrays of weights v{version}")
        arrays = {name: array for part in parts for name, array in part.items()}
        await asyncio.to_thread(self._write, path, arrays)

    def _write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        aside = path.with_suffix(".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self._policy.load_weights(arrays)
        self._policy.save_pretrained(aside)
        for written in (*aside.iterdir(), aside):
            durable.sync(written)
        aside.rename(path)
        durable.sync(path.parent)
