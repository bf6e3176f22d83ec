"""The settings of the roles and of what carries them between processes.

Invariant: `cpus` and `gpus` are what Ray reserves for one replica. A replica that has a part of a
GPU samples on it, one that has none on its CPUs. `node` names a custom resource: only nodes that
offer it get replicas, as many as their CPUs and GPUs allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policies.config import require, require_cpus, require_gpus, require_temperature


def require_most(role: str, replicas: int, most: int) -> None:
    require(most == 0 or most >= replicas, f"{role}.max_replicas", most,
            f"0, or {role}.replicas ({replicas}) or more")  # fmt: skip


LEAST = 0.0001
"""The least that Ray counts: it chooses a node, and does not bound how many share it."""


def require_node(field: str, value: str) -> None:
    plain = re.fullmatch(r"[A-Za-z][\w-]*|", value, re.ASCII)
    own = ("CPU", "GPU", "TPU", "memory", "object_store_memory")
    require(plain is not None and value not in own, field, value,
            "empty, or the name of a custom resource (letters, digits, _ and -)")  # fmt: skip


def node_resources(node: str) -> dict[str, float]:
    """What an actor asks Ray for so that it comes to such a node."""
    return {node: LEAST} if node else {}


@dataclass(frozen=True)
class ProposerConfig:
    """`prompts` a round; after every `reseed_every` of them the Judge picks new demonstrations
    among `reseed_candidates` (paper, section 3.3.1; the numbers are ours: the paper gives none)."""

    replicas: int = 1
    cpus: float = 0.2
    gpus: float = 0.0
    node: str = ""
    prompts: int = 320
    prompts_per_task: int = 16
    demonstrations: int = 2
    reseed_every: int = 80
    reseed_candidates: int = 4
    temperature: float = 1.0
    attempts: int = 4
    similarity: float = 0.9
    max_tokens: int = 40

    def __post_init__(self) -> None:
        for name in ("replicas", "prompts", "prompts_per_task", "reseed_every", "max_tokens"):
            require(getattr(self, name) >= 1, f"proposer.{name}", getattr(self, name), "1 or more")
        for name in ("demonstrations", "reseed_candidates"):
            require(getattr(self, name) >= 0, f"proposer.{name}", getattr(self, name), "0 or more")
        require_temperature("proposer.temperature", self.temperature)
        require(1 <= self.attempts <= 1000, "proposer.attempts", self.attempts, "from 1 to 1000")
        require_cpus("proposer.cpus", self.cpus)
        require_gpus("proposer.gpus", self.gpus)
        require_node("proposer.node", self.node)
        require(0 < self.similarity <= 1, "proposer.similarity", self.similarity, "in (0, 1]")


@dataclass(frozen=True)
class SolverConfig:
    """Rollout k of a prompt uses temperatures[k % len] and guidance[k % len] (paper, appendix A:
    8 rollouts with different seeds and guidance; the ranges are ours), and so with
    `image_guidance`; the others, to `size`, hold for all (`policies.interface.PictureSampling` says
    what they are, and a family refuses what it does not know). There are `replicas`, and up to
    `max_replicas` (0: never more) while there is work for them."""

    replicas: int = 2
    max_replicas: int = 0
    cpus: float = 0.4
    gpus: float = 0.0
    node: str = ""
    rollouts: int = 8
    prompts_per_task: int = 16
    temperatures: tuple[float, ...] = (1.0,)
    guidance: tuple[float, ...] = (1.0,)
    image_guidance: tuple[float, ...] = (1.0,)
    interval: tuple[float, float] = (0.0, 1.0)
    renorm: str = "none"
    steps: int = 0
    shift: float = 0.0
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for name in ("replicas", "rollouts", "prompts_per_task"):
            require(getattr(self, name) >= 1, f"solver.{name}", getattr(self, name), "1 or more")
        require_most("solver", self.replicas, self.max_replicas)
        require_cpus("solver.cpus", self.cpus)
        require_gpus("solver.gpus", self.gpus)
        require_node("solver.node", self.node)
        require(
            self.temperatures != (), "solver.temperatures", self.temperatures, "one number or more"
        )
        for temperature in self.temperatures:
            require_temperature("solver.temperatures", temperature)
        for name in ("guidance", "image_guidance"):
            scales = getattr(self, name)
            require(len(scales) > 0 and min(scales) >= 0,
                    f"solver.{name}", scales, "a list of numbers from 0")  # fmt: skip
        require(0 <= self.interval[0] < self.interval[1] <= 1, "solver.interval", self.interval,
                "two rising numbers in [0, 1]")  # fmt: skip
        for name in ("steps", "shift"):
            require(getattr(self, name) >= 0, f"solver.{name}", getattr(self, name),
                    "above 0, or 0 for the family's own")  # fmt: skip
        require(min(self.size) > 0 or self.size == (0, 0), "solver.size", self.size,
                "height and width, or [0, 0] for the family's own")  # fmt: skip


@dataclass(frozen=True)
class JudgeConfig:
    """`votes` judgements a drawing, averaged; an unparsable answer is asked again with the next
    seed up to `attempts` times. `weights` "current" judges with the round's pinned version,
    "base" with version 0. `accept_at`: a group whose best score is lower is rejected
    (paper, appendix A: 7). Replicas as for the Solver."""

    replicas: int = 1
    max_replicas: int = 0
    cpus: float = 0.4
    gpus: float = 0.0
    node: str = ""
    votes: int = 1
    temperature: float = 0.0
    attempts: int = 3
    max_tokens: int = 64
    weights: str = "current"
    accept_at: float = 7.0

    def __post_init__(self) -> None:
        for name in ("replicas", "max_tokens"):
            require(getattr(self, name) >= 1, f"judge.{name}", getattr(self, name), "1 or more")
        for name in ("votes", "attempts"):
            value = getattr(self, name)
            require(1 <= value <= 1000, f"judge.{name}", value, "from 1 to 1000")
        require_most("judge", self.replicas, self.max_replicas)
        require_cpus("judge.cpus", self.cpus)
        require_gpus("judge.gpus", self.gpus)
        require_node("judge.node", self.node)
        require_temperature("judge.temperature", self.temperature)
        require(self.weights in ("current", "base"), "judge.weights", self.weights,
                '"current" or "base"')  # fmt: skip
        require(0 <= self.accept_at <= 10, "judge.accept_at", self.accept_at, "from 0 to 10")


@dataclass(frozen=True)
class ActorsConfig:
    """Deadlines are seconds; `tasks_in_flight` bounds the work handed to one pool per replica.

    A task that failed `task_attempts` times is poison: its prompts are recorded as failed and the
    run goes on, but for more than `poison_limit` of them. `pause_deadline` is how long a run waits
    for a disk that takes no writes. A pool that may grow wants more replicas where its work would
    take longer than `backlog_seconds`, and fewer after `cool_down` seconds without need of them.
    """

    templates: str = "tiny"
    start_deadline: float = 180.0
    task_deadline: float = 600.0
    tasks_in_flight: int = 2
    kept_versions: int = 3
    task_attempts: int = 4
    poison_limit: int = 3
    pause_deadline: float = 86400.0
    backlog_seconds: float = 30.0
    cool_down: float = 60.0

    def __post_init__(self) -> None:
        require(self.start_deadline > 0, "actors.start_deadline", self.start_deadline, "above 0")
        require(self.task_deadline > 0, "actors.task_deadline", self.task_deadline, "above 0")
        require(self.tasks_in_flight >= 1, "actors.tasks_in_flight", self.tasks_in_flight,
                "1 or more")  # fmt: skip
        require(self.task_attempts >= 1, "actors.task_attempts", self.task_attempts, "1 or more")
        require(self.poison_limit >= 0, "actors.poison_limit", self.poison_limit, "0 or more")
        require(self.pause_deadline > 0, "actors.pause_deadline", self.pause_deadline, "above 0")
        require(self.backlog_seconds > 0, "actors.backlog_seconds", self.backlog_seconds, "above 0")
        require(self.cool_down >= 0, "actors.cool_down", self.cool_down, "0 or more")
        require(self.kept_versions >= 2, "actors.kept_versions", self.kept_versions, "2 or more")
