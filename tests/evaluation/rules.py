"""Real pools whose replicas draw and read by rule instead of by a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.config import ActorsConfig, SolverConfig
from actors.pool.leases import Receipt
from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.roles.requests import Request
from evaluation.config import EvaluationConfig
from evaluation.suites import load_suite
from policies.interface import Picture, PictureSampling
from policies.seeds import generator
from policies.tiny.world.language import corrupt, parse
from policies.tiny.world.render import render, sample_scene

SUITE = load_suite("tiny_world")
EVALUATION = EvaluationConfig(prompts=25, scenes=7, prompts_per_task=10, selection_prompts=12)
CALM = (0.5, 0.3)
"""The temperatures at which version 0 draws everything right."""


@dataclass(frozen=True)
class Settings:
    name: str
    folder: str
    seed: int = 5
    actors: ActorsConfig = field(default_factory=ActorsConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    evaluation: EvaluationConfig = EVALUATION


@ray.remote(num_cpus=0)
class Rules:
    """Version 1 draws what it is asked for, version 0 draws it with one thing wrong, but at a CALM
    temperature. Of scenes it knows every caption and answer; of its own drawings it only ever says
    "red"."""

    def __init__(self, scenes: list[tuple[Picture, str]]) -> None:
        self.known = {picture.pixels.tobytes(): prompt for picture, prompt in scenes}

    def ready(self) -> bool:
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Request[Any], *inputs: Any) -> tuple[Receipt, Any]:
        return Receipt(request.task, 0.0), request.do(self, 5, *inputs).payload

    def draw_each(
        self, task: Task, seed: int, prompts: list[str], how: PictureSampling
    ) -> list[Picture]:
        right = task.version > 0 or how.temperature in CALM
        return [self.draw(task, i, prompt, right) for i, prompt in enumerate(prompts)]

    def draw(self, task: Task, place: int, text: str, right: bool) -> Picture:
        rng = generator(5, task.round, task.role, task.index, place)
        prompt = parse(text)
        shown = prompt if right else corrupt(prompt, rng)[0]
        return Picture(render(sample_scene(shown, rng)))

    def caption(self, task: Task, seed: int, pictures: list[Picture]) -> list[str]:
        return [self.known[picture.pixels.tobytes()] for picture in pictures]

    def answer(self, task: Task, seed: int, asked: list[tuple[Picture, str]]) -> list[str]:
        return [
            self.said(self.known.get(picture.pixels.tobytes()), text) for picture, text in asked
        ]

    def score(
        self, task: Task, seed: int, shown: list[tuple[str, str, Picture]]
    ) -> list[float | None]:
        """Version 1 gives two points more for what is right, and none for the first."""
        right = [SUITE.verdict(picture.pixels, prompt).right for _, prompt, picture in shown]
        scores = [6.0 + 2 * task.version if each else 1.0 for each in right]
        return [None, *scores[1:]]

    def said(self, prompt: str | None, text: str) -> str:
        if prompt is None:
            return "red"
        return next(q.answer for q in SUITE.questions(prompt) if q.text == text)


@asynccontextmanager
async def pools(settings: Settings) -> AsyncIterator[tuple[Pool, Pool]]:
    """Solvers and Judges, up until it is left."""
    scenes = SUITE.scenes(settings.evaluation.scenes, settings.evaluation.seed)
    solvers, judges = (
        Pool(name, lambda _: Rules.remote(scenes), 1, {"CPU": 0}, settings.actors)
        for name in ("solver", "judge")
    )
    await asyncio.gather(solvers.start(), judges.start())
    try:
        yield solvers, judges
    finally:
        for pool in (solvers, judges):
            pool.stop()
