"""Real pools whose replicas draw a prompt by its letters, read it back, and note all that they do."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.config import ActorsConfig
from actors.pool.leases import Receipt
from actors.pool.pool import Pool
from actors.replay.records import NOTHING, Task
from actors.roles.requests import Request
from evaluation.unicycle.instances import Instance
from policies.interface import Picture, PictureSampling
from policies.seeds import derive
from tests.evaluation.rules import running

SHAPE = (16, 16, 3)
FAILS, DIES, VERSIONS = "no drawing of this", "dies", "versions"


def drawn(prompt: str, seed: int) -> Picture:
    letters = json.dumps([prompt, seed]).encode().ljust(np.prod(SHAPE))
    return Picture(np.frombuffer(letters, np.uint8).reshape(SHAPE))


def read_back(picture: Picture) -> str:
    prompt, _ = json.loads(picture.pixels.tobytes())
    return str(prompt)


def knows(prompt: str, question: str) -> bool:
    """Two of three questions."""
    return zlib.crc32(f"{prompt} {question}".encode()) % 3 > 0


@ray.remote(num_cpus=0)
class Echo:
    """`log` names the file for what it does; it fails while a file "dies" stands beside it."""

    def __init__(self, instances: list[Instance], log: str) -> None:
        self.known = {each.prompt: each for each in instances}
        self.log = Path(log)

    def ready(self) -> bool:
        return True

    @ray.method(num_returns=2)
    def perform(self, request: Request[Any], *inputs: Any) -> tuple[Receipt, Any]:
        return Receipt(request.task, 0.0), request.do(self, 5, *inputs).payload

    def note(self, what: str, of: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps([what, of]) + "\n")

    def weights_of(self, task: Task) -> None:
        with self.log.with_name(VERSIONS).open("a") as file:
            file.write(f"{task.role} {task.version}\n")

    def draw_each(
        self, task: Task, seed: int, prompts: list[str], how: PictureSampling, first: int = 0
    ) -> list[Picture]:
        self.weights_of(task)
        pictures = []
        for place, prompt in enumerate(prompts, first):
            self.note("draw", prompt)
            own = derive(seed, task.round, task.role, task.index, place)
            pictures.append(NOTHING if FAILS in prompt else drawn(prompt, own))
        return pictures

    def answer(self, task: Task, seed: int, asked: list[tuple[Picture, str]]) -> list[str]:
        if (self.log.parent / DIES).exists() and task.index == 1:
            raise RuntimeError("the replica broke")
        self.weights_of(task)
        return [self.said(read_back(picture), text) for picture, text in asked]

    def said(self, prompt: str, text: str) -> str:
        self.note("answer", f"{prompt} {text}")
        question = next(q for q in self.known[prompt].questions if text.startswith(q.text))
        return question.answer if knows(prompt, question.text) else "a thing"

    def reply(self, task: Task, seed: int, texts: list[str]) -> list[str]:
        self.weights_of(task)
        return [self.verdict(text) for text in texts]

    def verdict(self, text: str) -> str:
        self.note("reply", text)
        question, answer, right = (
            re.search(rf"^{name}: (.*)$", text, re.MULTILINE)[1]  # type: ignore[index]
            for name in ("Question", "Answer", "Reference answer")
        )
        same = answer == right.split(". ")[-1]
        said = {"question": question, "answer": answer, "evaluation": "yes" if same else "no"}
        if "The words of the reference" in text:
            said["evaluation"] = len(right.split()) if same else 0
        return json.dumps(said)


class Actors:
    """Three replicas that pools of either role take, one after the other: processes are slow to start."""

    def __init__(self, instances: list[Instance], folder: Path) -> None:
        self.log, self.broken = folder / "log", folder / DIES
        self.handles: list[Any] = [Echo.remote(instances, str(self.log)) for _ in range(3)]

    @asynccontextmanager
    async def pools(self, replicas: int) -> AsyncIterator[tuple[Pool, Pool]]:
        """Solvers and Judges, up until it is left."""
        actors = ActorsConfig(task_attempts=1)
        solvers, judges = (
            Pool(name, lambda number: self.handles[number % 3], replicas, {"CPU": 0}, actors,
                 kill=lambda handle: None)
            for name in ("solver", "judge")
        )  # fmt: skip
        async with running(solvers, judges):
            yield solvers, judges

    def versions(self) -> list[str]:
        """The weights that each request so far asked for."""
        file = self.log.with_name(VERSIONS)
        return file.read_text().splitlines() if file.exists() else []

    def done(self) -> Counter[tuple[str, str]]:
        """How often each thing was done so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(tuple(json.loads(line)) for line in lines)
