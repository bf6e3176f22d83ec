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
from evaluation.suites import Twins, load_suite
from policies.interface import Picture, PictureSampling
from policies.seeds import generator
from policies.tiny.world.language import corrupt, parse
from policies.tiny.world.render import render, sample_scene

SUITE = load_suite("tiny_world")
EVALUATION = EvaluationConfig(prompts=25, scenes=7, prompts_per_task=10, selection_prompts=12)
CALM = (0.5, 0.3)
"""The temperatures at which version 0 draws everything right."""
LUCKY = 0.9
"""The temperature at which it does so in every second task."""


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
    "red". Of a twin version 0 says what is right for the scene."""

    def __init__(self, scenes: list[tuple[Picture, str]], pairs: list[Twins]) -> None:
        self.known = {picture.pixels.tobytes(): prompt for picture, prompt in scenes}
        self.pairs = {
            (picture.pixels.tobytes(), question.text): (pair.questions[0].answer, question.answer)
            for pair in pairs
            for picture, question in zip(pair.pictures, pair.questions, strict=True)
        }

    def ready(self) -> bool:
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Request[Any], *inputs: Any) -> tuple[Receipt, Any]:
        return Receipt(request.task, 0.0), request.do(self, 5, *inputs).payload

    def draw_each(
        self, task: Task, seed: int, prompts: list[str], how: PictureSampling, first: int = 0
    ) -> list[Picture]:
        lucky = how.temperature == LUCKY and task.index % 2
        right = task.version > 0 or how.temperature in CALM or lucky
        return [self.draw(task, i, prompt, bool(right)) for i, prompt in enumerate(prompts, first)]

    def draw(self, task: Task, place: int, text: str, right: bool) -> Picture:
        rng = generator(5, task.round, task.role, task.index, place)
        prompt = parse(text)
        shown = prompt if right else corrupt(prompt, rng)[0]
        return Picture(render(sample_scene(shown, rng)))

    def caption(self, task: Task, seed: int, pictures: list[Picture]) -> list[str]:
        return [self.known[picture.pixels.tobytes()] for picture in pictures]

    def answer(self, task: Task, seed: int, asked: list[tuple[Picture, str]]) -> list[str]:
        return [self.said(task.version, picture.pixels.tobytes(), text) for picture, text in asked]

    def score(
        self,
        task: Task,
        seed: int,
        shown: list[tuple[str, str, Picture]],
        trust: object = None,
    ) -> list[float | None]:
        """Version 1 gives two points more for what is right, and none for the first."""
        right = [SUITE.verdict(picture.pixels, prompt).right for _, prompt, picture in shown]
        scores = [6.0 + 2 * task.version if each else 1.0 for each in right]
        return [None, *scores[1:]]

    def said(self, version: int, shown: bytes, text: str) -> str:
        if (shown, text) in self.pairs:
            return self.pairs[shown, text][version]
        prompt = self.known.get(shown)
        if prompt is None:
            return "red"
        return next(q.answer for q in SUITE.questions(prompt) if q.text == text)


@asynccontextmanager
async def pools(settings: Settings) -> AsyncIterator[tuple[Pool, Pool]]:
    """Solvers and Judges, up until it is left."""
    own = settings.evaluation
    scenes, pairs = SUITE.scenes(own.scenes, own.seed), SUITE.twins(own.twins, own.seed)
    solvers, judges = (
        Pool(name, lambda _: Rules.remote(scenes, pairs), 1, {"CPU": 0}, settings.actors)
        for name in ("solver", "judge")
    )
    async with running(solvers, judges):
        yield solvers, judges


@asynccontextmanager
async def running(*of: Pool) -> AsyncIterator[None]:
    """Starts pools, which are stopped when it is left."""
    await asyncio.gather(*(pool.start() for pool in of))
    try:
        yield
    finally:
        for pool in of:
            pool.stop()
