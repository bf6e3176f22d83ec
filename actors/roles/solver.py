"""The Solver: draws every prompt several times, each time with another seed.

Invariant: rollout k of prompt i of a task is drawn with a seed of its own that follows from the
task's name, i and k; what is drawn of a slice at once is one batch, which follows from how the waves
before were judged, and so nothing else can change a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actors.config import SolverConfig
from actors.replay.records import NOTHING, Drawing, JudgedGroup, Proposal, Task
from actors.roles.templates import Templates
from policies.interface import Picture, PictureSampling, Policy, last_picture
from policies.seeds import derive


class Solver:
    def __init__(self, policy: Policy, config: SolverConfig, templates: Templates) -> None:
        self._policy = policy
        self._config = config
        self._templates = templates

    def draw(
        self, task: Task, seed: int, proposals: Sequence[Proposal], wave: int = 0,
        before: Sequence[JudgedGroup] = (),
    ) -> list[list[Drawing]]:  # fmt: skip
        """The drawings of this wave, of each prompt: none of one that has, in the groups `before`, a
        winner and a loser."""
        portions = waves(self._config)
        first = sum(portions[:wave])
        rows = [
            (i, k)
            for i in range(len(proposals))
            if not before or not settled(before[i], self._config.loser_by)
            for k in range(first, first + portions[wave])
        ]
        sampling = [rollout_sampling(self._config, k) for _, k in rows]
        seeds = [derive(seed, task.round, task.role, task.index, i, k) for i, k in rows]
        contexts = [self._templates.draw(proposals[i].prompt) for i, _ in rows]
        outputs = self._policy.draw(contexts, sampling, seeds) if rows else []
        drawings: list[list[Drawing]] = [[] for _ in proposals]
        for (i, _), own, how, output in zip(rows, seeds, sampling, outputs, strict=True):
            drawings[i].append(Drawing(own, how, task.version, output))
        return drawings

    def draw_each(
        self, task: Task, seed: int, prompts: Sequence[str], sampling: PictureSampling,
        first: int = 0,
    ) -> list[Picture]:  # fmt: skip
        """One drawing of each prompt: what is measured, not what is learned from. One that failed
        shows nothing. `first` is the place of the first prompt in its task, where those before it
        are drawn already."""
        contexts = [self._templates.draw(prompt) for prompt in prompts]
        places = range(first, first + len(prompts))
        seeds = [derive(seed, task.round, task.role, task.index, i) for i in places]
        outputs = self._policy.draw(contexts, [sampling] * len(prompts), seeds)
        return [last_picture(output) or NOTHING for output in outputs]


def waves(config: SolverConfig) -> tuple[int, ...]:
    """How many drawings of a prompt each wave has, at most."""
    return config.waves or (config.rollouts,)


def settled(group: JudgedGroup, loser_by: float) -> bool:
    """Whether a winner is there, and a drawing that scored so much lower."""
    return group.accepted and group.margin() >= loser_by


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
