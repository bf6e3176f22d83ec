"""The Solver: draws every prompt several times, each time with another seed.

Invariant: rollout k of prompt i of a task is drawn with a seed of its own that follows from the
task's name, i and k; the whole slice is one batch, and so nothing else can change a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.config import SolverConfig
from actors.replay.records import Proposal, Task
from actors.roles.templates import Templates
from policies.interface import Picture, Policy, Sampling
from policies.seeds import derive


@dataclass(frozen=True)
class Drawing:
    """A rollout that is not judged yet; weights `version` drew it."""

    seed: int
    temperature: float
    guidance: float
    version: int
    picture: Picture


class Solver:
    def __init__(self, policy: Policy, config: SolverConfig, templates: Templates) -> None:
        self._policy = policy
        self._config = config
        self._templates = templates

    def draw(self, task: Task, seed: int, proposals: Sequence[Proposal]) -> list[list[Drawing]]:
        """`rollouts` drawings of each prompt."""
        count = self._config.rollouts
        sampling = [self._sampling(k) for _ in proposals for k in range(count)]
        seeds = [
            derive(seed, task.round, task.role, task.index, i, k)
            for i in range(len(proposals))
            for k in range(count)
        ]
        contexts = [self._templates.draw(p.prompt) for p in proposals for _ in range(count)]
        pictures = self._policy.draw(contexts, sampling, seeds)
        drawings = [
            Drawing(own, how.temperature, how.guidance, task.version, picture)
            for own, how, picture in zip(seeds, sampling, pictures, strict=True)
        ]
        return [drawings[at : at + count] for at in range(0, len(drawings), count)]

    def draw_each(
        self, task: Task, seed: int, prompts: Sequence[str], temperature: float
    ) -> list[Picture]:
        """One unguided drawing of each prompt: what is measured, not what is learned from."""
        contexts = [self._templates.draw(prompt) for prompt in prompts]
        seeds = [derive(seed, task.round, task.role, task.index, i) for i in range(len(prompts))]
        return self._policy.draw(contexts, [Sampling(temperature)] * len(prompts), seeds)

    def _sampling(self, rollout: int) -> Sampling:
        temperature, guidance = self._config.temperatures, self._config.guidance
        return Sampling(temperature[rollout % len(temperature)], guidance[rollout % len(guidance)])
