"""Whether a version looks before it answers: the same question about a scene and about its twin, in
which one thing is another.

Who answers by what is likely, or always "yes", answers both alike, and is right about one of them. A
pair counts only if both answers are right.

Invariant: pairs follow from the suite and evaluation.seed, and are the same for every version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from actors.pool.pool import Pool
from actors.replay.records import Task
from actors.retry import made_again, within
from actors.roles.requests import AnswerQuestions
from actors.storage.paths import run_folder
from evaluation.config import Settings
from evaluation.grading import Asked
from evaluation.kept import Found, kept, version_file
from evaluation.metrics import tell
from evaluation.suites import Suite, Twins
from evaluation.unicycle import rules, scoring

KIND = "twins"
FIRST_TASK = 3 * 10**6
"""The numbers of its tasks, behind those of all other measurements."""


async def measure_twins(
    version: int, config: Settings, suite: Suite, solvers: Pool, judges: Pool
) -> dict[str, float]:
    """The percentages of pairs that are right: "understanding/twins" of open questions and choices, and
    "understanding/twins_yes_no" of those that ask whether something is there; and of the answers to
    these "understanding/twins_yes", how many are yes: of right ones half would be. Kept as `measure` keeps its own; empty unless twins are asked for."""
    count, seed = config.evaluation.twins, config.evaluation.seed
    if not count or not suite.categories:
        return {}

    async def make() -> Found:
        pairs = await asyncio.to_thread(suite.twins, count, seed)
        size = config.evaluation.prompts_per_task
        parts = [pairs[at : at + size] for at in range(0, len(pairs), size)]
        async with asyncio.TaskGroup() as tasks:
            told = [
                tasks.create_task(
                    made_again(partial(_answers, version, index, part, config, judges))
                )
                for index, part in enumerate(parts, FIRST_TASK)
            ]
        return found_in(pairs, [answer for task in told for answer in task.result()])

    found = await kept(version_file(run_folder(config), version, KIND), version, config, make)
    values: dict[str, float] = found["values"]
    await tell(config, {"kind": KIND, "version": version}, values)
    return values


async def _answers(
    version: int, index: int, pairs: Sequence[Twins], config: Settings, judges: Pool
) -> list[str]:
    task = Task(0, "evaluator", index, version)
    ref: Any = await judges.run(AnswerQuestions(task), ray.put(asked_of(pairs)))
    answers: list[str] = await within(ref, config.actors.task_deadline, f"the answers of {task}")
    return answers


def asked_of(pairs: Sequence[Twins]) -> Asked:
    """Every question about its scene, and then about the twin."""
    return [
        (picture, question.text)
        for pair in pairs
        for picture, question in zip(pair.pictures, pair.questions, strict=True)
    ]


def found_in(pairs: Sequence[Twins], answers: Sequence[str]) -> Found:
    """What is kept of the answers to `asked_of`."""
    both = zip(answers[::2], answers[1::2], strict=True)
    outcomes: dict[str, list[float]] = {}
    for pair, said in zip(pairs, both, strict=True):
        marked = list(zip(pair.questions, said, strict=True))
        right = float(all(rules.mark(question, answer) == 1 for question, answer in marked))
        yes_no = pair.questions[0].kind == "yes_no"
        name = "understanding/twins_yes_no" if yes_no else "understanding/twins"
        outcomes.setdefault(name, []).append(right)
        if yes_no:
            yes = [float(rules.says_yes(question, answer)) for question, answer in marked]
            outcomes.setdefault("understanding/twins_yes", []).extend(yes)
    values = {name: scoring.final(each) for name, each in outcomes.items()}
    return {"values": values, "outcomes": outcomes, "samples": []}
