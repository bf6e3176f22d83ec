"""A Ray actor that plays one role: it maps the weights that a task names, and does the task.

Invariant: a replica keeps nothing between tasks but the policy and the mapped weights, and what it
answers follows from the request, its inputs and the run's configuration. Weights are shared with
every replica of the node and are only ever read: all work is done in inference mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray.actor import ActorHandle

from actors.config import ActorsConfig, JudgeConfig, ProposerConfig, SolverConfig, node_resources
from actors.metrics import catalog
from actors.metrics.meter import Meter
from actors.pool.leases import OnEvent, Receipt, ignore_event
from actors.pool.pool import Pool
from actors.replay.records import Role
from actors.roles.judge import Judge
from actors.roles.proposer import Proposer
from actors.roles.requests import Request
from actors.roles.server import ServerWriter
from actors.roles.solver import Solver
from actors.roles.templates import load_templates
from actors.storage.events import note_start
from actors.weights.mapped import MappedWeights
from policies import passed
from policies.config import PolicyConfig
from policies.engines.backbone import Figures, HasEngine
from policies.engines.config import EngineConfig
from policies.engines.loading import load_for_role
from policies.interface import Policy

ROLES: dict[Role, Callable[..., Any]] = {"proposer": Proposer, "solver": Solver, "judge": Judge}

P = TypeVar("P")


@dataclass(frozen=True)
class ReplicaSpec:
    """What a replica plays: everything that it must know to do any task of its role.

    The weight store is the actor "weight_store" of `namespace`; `seed` is the run's, and so is
    `folder`, where its events are noted.
    """

    role: Role
    config: ProposerConfig | SolverConfig | JudgeConfig
    policy: PolicyConfig
    templates: str
    seed: int
    namespace: str
    folder: str
    engine: EngineConfig = field(default_factory=EngineConfig)


class Replica:
    def __init__(self, spec: ReplicaSpec, number: int) -> None:
        torch.set_num_threads(1)
        note_start(spec.folder, f"{spec.role} {number}")
        self._spec = spec
        self._number = number
        self._policy = _player(spec)
        self._role = ROLES[spec.role](self._policy, spec.config, load_templates(spec.templates))
        store = ray.get_actor("weight_store", namespace=spec.namespace)
        self._weights = MappedWeights(store, repr(self))
        self._meter = Meter(Path(spec.folder).name, role=spec.role)

    def __repr__(self) -> str:
        return f"{self._spec.role} {self._number}"

    def ready(self) -> bool:
        """Answers once the replica is up."""
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Request[P], *inputs: Any) -> tuple[Receipt, P]:
        """Does the request with the weights that its task names, in inference mode."""
        started, before = time.perf_counter(), passed.tokens()
        if not isinstance(self._policy, ServerWriter):
            self._weights.load(self._policy, request.task.version)
        with torch.inference_mode():
            result = request.do(self._role, self._spec.seed, *inputs)
        seconds = time.perf_counter() - started
        tokens = passed.tokens() - before + self._engine_tokens()
        receipt = Receipt(request.task, seconds, result.drawings, result.unparsable, tokens)
        self._measure(receipt, request.stage)
        return receipt, result.payload

    def _engine_tokens(self) -> int:
        """What an engine has read and written since it was asked last."""
        if not isinstance(self._policy, HasEngine):
            return 0
        figures = self._policy.engine.figures()
        self._measure_engine(figures)
        return figures.read + figures.written

    def _measure(self, receipt: Receipt, stage: str) -> None:
        self._meter.add(catalog.TASKS, stage=stage)
        self._meter.add(catalog.BUSY, receipt.seconds, stage=stage)
        self._meter.add(catalog.IMAGES, receipt.drawings, stage=stage)
        self._meter.add(catalog.UNPARSABLE, receipt.unparsable, stage=stage)
        self._meter.add(catalog.TOKENS, receipt.tokens, stage=stage)
        self._meter.set(catalog.REPLICA_VERSION, receipt.task.version)

    def _measure_engine(self, figures: Figures) -> None:
        self._meter.add(catalog.ENGINE_TOKENS, figures.read, kind="read")
        self._meter.add(catalog.ENGINE_TOKENS, figures.written, kind="written")
        self._meter.add(catalog.ENGINE_PREFIX, figures.prefix_asked, kind="asked")
        self._meter.add(catalog.ENGINE_PREFIX, figures.prefix_found, kind="found")
        self._meter.set(catalog.ENGINE_REQUESTS, figures.waiting, kind="waiting")
        self._meter.set(catalog.ENGINE_REQUESTS, figures.running, kind="running")
        self._meter.set(catalog.ENGINE_CACHE, figures.cache_use)


def _player(spec: ReplicaSpec) -> Policy | ServerWriter:
    """What answers for the role."""
    own = spec.config
    if not isinstance(own, SolverConfig) and own.server:
        return ServerWriter(spec.role, own.server, own.server_model)
    policy = load_for_role(spec.policy, own.engine, spec.engine)
    policy.sample_on("cuda" if own.gpus else "cpu", spec.policy.dtype)
    return policy


class ProposerReplica(Replica):
    """Ray's dashboard shows the name of the class."""


class SolverReplica(Replica):
    """Ray's dashboard shows the name of the class."""


class JudgeReplica(Replica):
    """Ray's dashboard shows the name of the class."""


CLASSES: dict[Role, type[Replica]] = {
    "proposer": ProposerReplica, "solver": SolverReplica, "judge": JudgeReplica,
}  # fmt: skip


def role_pool(spec: ReplicaSpec, config: ActorsConfig, on_event: OnEvent = ignore_event) -> Pool:
    """The pool of all replicas of one role, not started yet."""
    cpus, gpus = spec.config.cpus, spec.config.gpus
    on = node_resources(spec.config.node)
    actor: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=on)(CLASSES[spec.role])
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {}) | on

    def make(number: int) -> ActorHandle[Any]:
        return actor.remote(spec, number)

    most = 0 if isinstance(spec.config, ProposerConfig) else spec.config.max_replicas
    return Pool(spec.role, make, spec.config.replicas, resources, config, on_event, most=most)
