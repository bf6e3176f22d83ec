"""Evaluation tasks are read like recipes, and refused like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import cli
from cluster.recipes import tasks
from evaluation.tasks.instances import task_instances
from policies.errors import ConfigError


def test_every_task_that_ships_can_be_read_and_says_what_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["evaluate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == tasks.SHIPPED.names()
    assert all(len(line.split()) > 4 for line in lines) and "unicycle-tiny" in tasks.SHIPPED.names()


def test_the_shipped_tasks_have_their_instances() -> None:
    assert len(task_instances(tasks.load("unicycle"))) == 1280
    few = task_instances(tasks.load("unicycle-tiny", ["task.prompts=30"]))
    assert len(few) == 30 and len({each.kind for each in few}) == 10
    assert few == task_instances(tasks.load("unicycle-tiny", ["task.prompts=30"]))


def test_a_task_of_ones_own_and_fields_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("instances: mine.jsonl\nattempts: 2\n")
    own, others = tasks.split(["task.attempts=5", "evaluation.temperature=0.5"])
    task = tasks.load(str(file), own)
    assert (task.instances, task.attempts, others) == (
        "mine.jsonl",
        5,
        ["evaluation.temperature=0.5"],
    )


@pytest.mark.parametrize(
    ("text", "override", "said"),
    [
        ("judges: rules", "", "line 1: there is no field task.judges; the nearest is task.judge"),
        ("judge: human", "", "line 1: task.judge is 'human'"),
        ("attempts: 0", "", "line 1: task.attempts is 0"),
        ("judge: server", "", "task.judge_server is ''"),
        ("", "task.judge_model=large", "task.judge_model is 'large'"),
        ("", "task.judge_server=http://me:key@host/v1", "task.judge_server is"),
    ],
)
def test_a_task_that_cannot_be_is_refused_by_name(
    tmp_path: Path, text: str, override: str, said: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{text}\n" if text else "instances: own\n")
    with pytest.raises(ConfigError) as refused:
        tasks.load(str(file), [override] if override else [])
    assert said in str(refused.value)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["evaluate", *words]) == 2
    return capsys.readouterr().err


def test_the_command_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name a FOLDER" in refusal(capsys)
    assert "--limit is 0" in refusal(capsys, "runs/x", "--task", "unicycle", "--limit", "0")
    assert "there is no task unicicle: give one of unicycle" in refusal(
        capsys, str(tmp_path), "--task", "unicicle"
    )
    assert "can not be measured" in refusal(capsys, str(tmp_path), "--task", "unicycle")
