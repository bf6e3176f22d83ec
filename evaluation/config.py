"""The settings of what is measured after every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from actors.config import ActorsConfig, SolverConfig
from policies.config import require, require_temperature


@dataclass(frozen=True)
class EvaluationConfig:
    """`suite` names a module of `evaluation/suites`; `prompts` held-out prompts and `scenes`
    rendered scenes are the same in every round and in every run with the same `seed`. Drawings are
    measured at `temperature`, with `guidance` or, if that is none, the mean of solver.guidance."""

    suite: str = "tiny_world"
    prompts: int = 500
    scenes: int = 200
    prompts_per_task: int = 50
    temperature: float = 1.0
    guidance: float | None = None
    seed: int = 1234

    def __post_init__(self) -> None:
        for name in ("prompts", "scenes", "prompts_per_task"):
            value = getattr(self, name)
            require(1 <= value <= 100_000, f"evaluation.{name}", value, "from 1 to 100000")
        require_temperature("evaluation.temperature", self.temperature)
        require(self.guidance is None or self.guidance >= 0, "evaluation.guidance", self.guidance,
                "a number from 0, or none for the mean of solver.guidance")  # fmt: skip


class RunSettings(Protocol):
    """What every measurement needs of a run's configuration."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def solver(self) -> SolverConfig: ...
    @property
    def actors(self) -> ActorsConfig: ...
