"""The Solver: draws every prompt several times, each time with another seed.

Invariant: rollout k of prompt i of a task is drawn with a seed of its own that follows from the
task's name, i and k; the whole slice is one batch, and so nothing else can change a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actors.config import SolverConfig
from actors.replay.records import NOTHING, Drawing, Proposal, Task
from actors.roles.templates import Templates
from policies.interface import Picture, PictureSampling, Policy, last_picture
from policies.seeds import derive


class Solver:
    def __init__(self, policy: Policy, config: SolverConfig, templates: Templates) -> None:
        self._policy = policy
        self._config = config
        self._templates = templates

    def draw(self, task: Task, seed: int, proposals: Sequence[Proposal]) -> list[list[Drawing]]:
        """`rollouts` drawings of each prompt."""
        count = self._config.rollouts
        sampling = [rollout_sampling(self._config, k) for _ in proposals for k in range(count)]
        seeds = [
            derive(seed, task.round, task.role, task.index, i, k)
            for i in range(len(proposals))
            for k in range(count)
        ]
        contexts = [self._templates.draw(p.prompt) for p in proposals for _ in range(count)]
        outputs = self._policy.draw(contexts, sampling, seeds)
        drawings = [
            Drawing(own, how, task.version, output)
            for own, how, output in zip(seeds, sampling, outputs, strict=True)
        ]
        return [drawings[at : at + count] for at in range(0, len(drawings), count)]

    def draw_each(
        self, task: Task, seed: int, prompts: Sequence[str], sampling: PictureSampling
    ) -> list[Picture]:
        """One drawing of each prompt: what is measured, not what is learned from. One that failed
        shows nothing."""
        contexts = [self._templates.draw(prompt) for prompt in prompts]
        seeds = [derive(seed, task.round, task.role, task.index, i) for i in range(len(prompts))]
        outputs = self._policy.draw(contexts, [sampling] * len(prompts), seeds)
        return [last_picture(output) or NOTHING for output in outputs]


def guidance_scales(config: SolverConfig) -> tuple[float, ...]:
    """Which the rollouts take in turn; of a range one for each rollout."""
    if config.guidance_range is None:
        return config.guidance
    return tuple(np.linspace(*config.guidance_range, config.rollouts).tolist())


def rollout_sampling(config: SolverConfig, rollout: int) -> PictureSampling:
    """How that rollout of a prompt is drawn."""
    scales = guidance_scales(config)
    return PictureSampling(
        temperature=config.temperatures[rollout % len(config.temperatures)],
        guidance=scales[rollout % len(scales)],
        image_guidance=config.image_guidance[rollout % len(config.image_guidance)],
        interval=config.interval, renorm=config.renorm, steps=config.steps, shift=config.shift,
        size=config.size,
    )  # fmt: skip


def measured_sampling(
    config: SolverConfig, temperature: float, guidance: float | None
) -> PictureSampling:
    """How drawings are drawn that are measured: with the mean of the rollouts' guidance unless
    another one is given, and otherwise as the first rollout is."""
    scales = guidance_scales(config)
    usual = sum(scales) / len(scales) if guidance is None else guidance
    return replace(rollout_sampling(config, 0), temperature=temperature, guidance=usual)
