"""A task on the versions of a run, over real pools: what it keeps, and what it never makes twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.retry import ANSWER_S
from actors.weights.version_folder import VersionFolder
from evaluation.config import EvaluationConfig
from evaluation.kept import MeasureError
from evaluation.metrics import read_metrics
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.instances import task_instances
from evaluation.tasks.measure import measure_task, read_task
from evaluation.tasks.ready import ReadyTask
from evaluation.unicycle import OWN
from evaluation.unicycle.instances import digest, read
from policies.config import changed
from policies.registry import files_digest
from tests.evaluation.tasks.echo import Actors
from trainer.config import RunConfig

ALL = tuple(task_instances(TaskConfig()))
ASKED = ALL[:12]
Done = Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def actors(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Actors:
    return Actors(list(ASKED), tmp_path_factory.mktemp("actors"))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Of a run that has published two versions."""
    for version in (1, 2):
        folder = tmp_path / "run/versions" / f"{version:05d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes([version]))
    return RunConfig(
        name="run", folder=str(tmp_path), evaluation=EvaluationConfig(prompts_per_task=4)
    )


def measure(
    actors: Actors, config: RunConfig, version: int, judge: str = "rules"
) -> tuple[dict[str, float], Done]:
    """The scores, and what was done for them."""
    task = ReadyTask("mine", TaskConfig(judge=judge), ALL, ASKED, None, None)

    async def run() -> dict[str, float]:
        async with actors.pools(2) as (solvers, judges):
            async with asyncio.timeout(10 * ANSWER_S):
                return await measure_task(version, config, task, solvers, judges)

    before = actors.done()
    return asyncio.run(run()), actors.done() - before


def row(config: RunConfig, version: int) -> Mapping[str, Any]:
    (found,) = [each for each in read_metrics(Path(config.folder) / "run")
                if each["version"] == version]  # fmt: skip
    return found


def test_the_first_instances_are_of_every_kind() -> None:
    assert len({each.kind for each in ASKED}) == 10
    assert {each.id for each in ALL} == {each.id for each in read(OWN)}
    of_one = [each.id for each in ALL if each.kind == "color"]
    assert of_one == [each.id for each in read(OWN) if each.kind == "color"]


def test_a_version_gets_a_row_and_nothing_is_made_twice(actors: Actors, config: RunConfig) -> None:
    scores, done = measure(actors, config, 1)
    kept = row(config, 1)
    assert scores == {name: kept[name] for name in ("task.mine/soft", "task.mine/hard")}
    assert (kept["kind"], kept["task"], kept["task.mine/instances"]) == ("task", "mine", 12)
    assert kept["task.mine/hard_low"] <= scores["task.mine/hard"] <= kept["task.mine/hard_high"]
    assert 0 < scores["task.mine/soft"] < 100 and kept["task.mine/no_drawing"] == 0
    kinds = {name for name in kept if name.startswith("task.mine/hard/")}
    assert kinds == {f"task.mine/hard/{each.kind}" for each in ASKED}
    assert set(done.values()) == {1} and sum(what == "draw" for what, _ in done) == 12
    assert measure(actors, config, 1) == (scores, Counter())
    assert len(read_metrics(Path(config.folder) / "run")) == 1


def test_what_broke_off_goes_on_where_it_was(actors: Actors, config: RunConfig) -> None:
    whole, _ = measure(actors, config, 1)
    actors.broken.touch()
    with pytest.raises(ExceptionGroup):
        measure(actors, config, 2)
    actors.broken.unlink()
    assert set(read_task(Path(config.folder) / "run", "mine")) == {1}
    drawings = Path(config.folder) / "run/evaluation/mine-00002/drawings"
    kept = {file.stem for file in drawings.iterdir()}
    again, done = measure(actors, config, 2)
    drawn = {each.id for each in ASKED if done["draw", each.prompt]}
    assert again == whole  # Echo draws alike with all versions, and the seeds are the same
    assert kept and drawn == {each.id for each in ASKED} - kept


def test_the_model_itself_judges_as_the_version_that_drew(
    actors: Actors, config: RunConfig
) -> None:
    run = Path(config.folder) / "run"
    measure(actors, config, 0, judge="itself")
    before = len(actors.versions())
    measure(actors, config, 2, judge="itself")
    # Three slices are drawn and answered, and one more request judges.
    assert actors.versions()[before:] == ["evaluator 2"] * 7
    found = read_task(run, "mine")
    base = files_digest(config.policy)
    stated = {v: each["summary"]["judge"]["version"] for v, each in found.items()}
    second = files_digest(changed(config.policy, path=str(run / "versions/00002")))
    assert all('"max_tokens": 64' in each for each in stated.values())
    told = {v: each.split(" {")[0] for v, each in stated.items()}
    assert told == {0: f"itself {base}", 2: f"itself {second}"}
    facts = json.loads((run / "evaluation/mine-00002/manifest.json").read_text())
    assert facts["weights"] == VersionFolder(run, config.policy).files_digest(2)
    assert (facts["instances"], facts["task"]) == (digest(ALL), "mine")


def test_a_task_that_was_changed_meanwhile_is_refused_by_name(
    actors: Actors, config: RunConfig
) -> None:
    measure(actors, config, 1)
    with pytest.raises(
        MeasureError, match=r"task-mine-00001.json was measured with task.judge 'rul"
    ):
        measure(actors, config, 1, judge="itself")
