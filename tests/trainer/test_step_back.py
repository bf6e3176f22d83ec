"""A round goes on from the newest weights unless those before were better by more than the noise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.pool.faults import Poisoned
from actors.replay.records import Task
from actors.roles.judge import Judge
from actors.roles.requests import DrawEach, ReadBack
from policies.config import ConfigError, changed
from tests.actors.roles.test_waves import TINY, Reader, score_of, seen
from trainer import step_back
from trainer.config import RunConfig, TrainerConfig
from trainer.proposals import FOLDER, aside, propose
from trainer.step_back import best, starting_version

CONFIG = RunConfig(
    rounds=9, proposer=ProposerConfig(prompts=20), solver=SolverConfig(prompts_per_task=4),
    trainer=TrainerConfig(step_back=6),
)  # fmt: skip
MEANS = [4.0, 6.0, 6.1, 3.0, 6.09]
"""Of versions 0 to 4."""


class Pool:
    """A drawing is the number of the prompt and the version that drew it; its score their sum."""

    def __init__(self, broken: int = -1) -> None:
        self.asked: list[tuple[Any, int]] = []
        self.broken = broken

    async def run(self, request: Any, prompts: list[str], drawn: Any = None) -> Any:
        task = request.task
        self.asked.append((request, len(prompts)))
        if isinstance(request, DrawEach):
            assert task.role == "evaluator" and request.sampling.temperature == 1.0
            if task.version == self.broken:
                raise Poisoned(task, "every replica died of it")
            return [(prompt, task.version) for prompt in prompts]
        assert isinstance(request, ReadBack) and task.version == 0
        answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        # They differ much by prompt, and hardly by version beside its mean.
        answer.set_result(
            [MEANS[v] + int(p[4:]) % 5 + 0.01 * (int(p[4:]) % (v + 2)) for p, v in drawn]
        )
        return answer


def run_of(
    folder: Path, config: RunConfig = CONFIG, broken: int = -1
) -> tuple[Any, Pool, list[Any]]:
    pool, told = Pool(broken), list[Any]()

    async def note(*row: Any) -> None:
        told.append(row)

    async def version_ready(version: int) -> None:
        told.append(version)

    return SimpleNamespace(
        config=config, folder=folder, solvers=pool, judges=pool, poisoned=told.append,
        report=SimpleNamespace(note=note), stores=SimpleNamespace(version_ready=version_ready),
        measured_by=frozenset(), proposers=None, judge_version=lambda version: version,
    ), pool, told  # fmt: skip


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A run whose round 1 has 20 prompts."""
    made = [
        {"index": i, "category": "counting", "subcategory": "", "prompt": f"word{i}", "seed": i}
        for i in range(20)
    ]
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "round-00001.json").write_text(json.dumps(made))
    return tmp_path


def start(folder: Path, round_: int, **settings: Any) -> int:
    return asyncio.run(starting_version(run_of(folder, **settings)[0], round_))


def test_a_round_steps_back_over_what_was_worse_and_goes_on_where_it_was_better(
    prompts: Path,
) -> None:
    assert [start(prompts, round_) for round_ in (1, 2, 3, 4, 5)] == [0, 1, 2, 2, 4]
    # Version 4 is lower than version 2 as well, but not by more than the noise.
    scores = [json.loads(f.read_text()) for f in sorted((prompts / "held_out").iterdir())]
    assert len(scores) == 5 and all(len(own) == 6 for own in scores)


def test_the_held_out_prompts_are_drawn_once_by_every_version(prompts: Path) -> None:
    run, pool, told = run_of(prompts)
    assert asyncio.run(starting_version(run, 3)) == 2
    drawn = [
        (request.task, count) for request, count in pool.asked if isinstance(request, DrawEach)
    ]
    assert drawn == [(Task(0, "evaluator", i, v), (4, 2)[i]) for v in (0, 1, 2) for i in (0, 1)]
    assert told[:3] == [0, 1, 2] and told[3][:2] == ("step_back", 3)
    assert told[3][2] == {"step_back/score": pytest.approx(8.0, abs=0.5), "step_back/from": 2.0}
    again, silent, _ = run_of(prompts)
    assert asyncio.run(starting_version(again, 3)) == 2 and silent.asked == []


def test_a_version_whose_drawings_were_given_up_is_not_compared(prompts: Path) -> None:
    run, _, told = run_of(prompts, broken=3)
    assert asyncio.run(starting_version(run, 4)) == 3
    assert any(isinstance(each, Poisoned) for each in told)
    assert start(prompts, 4) == 3, "for good"
    assert start(prompts, 5) == 4


@pytest.mark.parametrize(
    "scores, chosen",
    [
        ([[5.0, 5.0]], 0),
        ([[5.0, 7.0, 5.0], [4.0, 6.0, 4.0]], 0),
        ([[5.0, 7.0, 5.0], [4.0, 6.0, 7.0]], 1),
        ([[9.0, 9.0], [9.0, 9.0], [1.0, 1.0]], 0),
        ([[1.0, 1.0], [9.0, 9.0], [5.0, 5.0]], 1),
        ([[9.0, 9.0], [], [1.0, 1.0]], 0),
        ([[9.0, 9.0], []], 1),
        ([[], [1.0, 1.0]], 1),
    ],
)
def test_the_newest_is_left_where_it_is_worse_beyond_the_noise(
    scores: list[list[float]], chosen: int
) -> None:
    assert best(scores) == chosen


def test_what_is_kept_aside_is_never_learned(prompts: Path) -> None:
    run, _, _ = run_of(prompts)
    slices = asyncio.run(propose(run, 1, 0))
    learned = {each.prompt for part in slices for each in part}
    kept = {each.prompt for each in aside(run)}
    assert len(learned) == 14 and kept == {f"word{i}" for i in range(14, 20)}
    few, _, _ = run_of(prompts, changed(CONFIG, trainer=TrainerConfig(step_back=500)))
    assert len(aside(few)) == 10 == sum(map(len, asyncio.run(propose(few, 1, 0))))
    none, _, _ = run_of(prompts, RunConfig())
    assert aside(none) == [] and start(prompts, 5, config=RunConfig(rounds=9)) == 4


def test_a_drawing_is_read_back_whatever_the_recipe_judges_by() -> None:
    request = ReadBack(Task(0, "evaluator", 0, 0))
    for by in ("votes", "read_back"):
        judge = Judge(Reader(), JudgeConfig(by=by), TINY)
        said = request.do(judge, 0, ["one star", "two stars"], [seen(150), seen(199)]).payload
        assert said == pytest.approx(
            [10 * (0.5 * (score_of(seen(n)) / 10) ** 2) ** 0.5 for n in (150, 199)]
        )


def test_damaged_scores_are_named(prompts: Path) -> None:
    (prompts / "held_out").mkdir()
    (prompts / "held_out" / "version-00000.json").write_text("[1, ")
    with pytest.raises(step_back.ScoresDamaged, match=r"version-00000\.json .*delete it"):
        start(prompts, 2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lag": 1}, "lag is 1: it must be 0 with trainer.step_back"),
        ({"trainer": TrainerConfig(step_back=6, lora_rank=4)}, "trainer.lora_rank is 4: .*step_back"),
        ({"judge": JudgeConfig(server="http://here:1/v1", server_model="m")}, "judge.server is .*step_back"),
    ],
)  # fmt: skip
def test_what_cannot_step_back_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"trainer": CONFIG.trainer, **settings})
