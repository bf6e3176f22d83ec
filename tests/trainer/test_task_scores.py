"""Which versions the recipe's tasks measure, and what a task that is given up leaves out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from actors.pool.faults import Poisoned
from evaluation.config import EvaluationConfig
from evaluation.judges.server import JudgeError
from policies.config import ConfigError
from trainer import measuring
from trainer.config import RunConfig


def measured(
    monkeypatch: pytest.MonkeyPatch, every: int, fails: dict[tuple[int, str], Exception], limit: int
) -> tuple[dict[int, list[str]], list[str]]:
    """The tasks that gave scores of versions 0 to 5, and what was given up."""
    given_up: list[str] = []

    async def measure_task(version: int, config: Any, task: Any, *_: Any) -> dict[str, float]:
        if (version, task.name) in fails:
            raise fails[version, task.name]
        return {f"task.{task.name}/soft": 50.0}

    def poisoned(error: Exception) -> None:
        given_up.append(str(error))
        if len(given_up) > limit:
            raise error

    monkeypatch.setattr(measuring, "measure_task", measure_task)
    tasks = [SimpleNamespace(name=name) for name in ("a", "b")]
    config = RunConfig(rounds=5, evaluation=EvaluationConfig(tasks_every=every))
    run: Any = SimpleNamespace(
        config=config, rounds=range(1, 6), tasks=tasks, poisoned=poisoned, solvers=0, judges=0
    )
    found = {v: asyncio.run(measuring.task_scores(run, v)) for v in range(6)}
    return {v: list(values) for v, values in found.items() if values}, given_up


@pytest.mark.parametrize(
    ("every", "versions"), [(0, [0, 5]), (1, list(range(6))), (2, [0, 2, 4, 5])]
)
def test_both_ends_and_every_nth_version_are_measured(
    monkeypatch: pytest.MonkeyPatch, every: int, versions: list[int]
) -> None:
    found, _ = measured(monkeypatch, every, {}, 0)
    assert found == {v: ["task.a/soft", "task.b/soft"] for v in versions}


def test_what_is_given_up_is_left_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = ExceptionGroup("drawing", [Poisoned("evaluator task 0 of v1", "it fails")])
    fails = {(1, "a"): deep, (2, "b"): JudgeError("the judge is silent")}
    found, given_up = measured(monkeypatch, 1, fails, 9)
    assert found[1] == ["task.b/soft"] and found[2] == ["task.a/soft"] and len(found[3]) == 2
    assert given_up == ["evaluator task 0 of v1", "the judge is silent"]


@pytest.mark.parametrize("error", [JudgeError("silent"), Poisoned("task 0", "it fails")])
def test_too_many_end_the_run(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(type(error)):
        measured(monkeypatch, 1, {(0, "a"): error, (1, "a"): error}, 1)


def test_a_defect_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        measured(monkeypatch, 1, {(0, "a"): KeyError("a defect")}, 9)


def test_a_judge_that_is_a_server_would_answer_for_the_model() -> None:
    asked = {"judge": {"server": "http://host:1/v1", "server_model": "m"},
             "evaluation": {"suite": "none", "tasks": ["unicycle"]}}  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"evaluation\.tasks is .*unicycle.*empty with judge\.server"
    ):
        RunConfig(**asked)
