"""Tasks that a recipe names are read, or refused, before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import checks, cli
from cluster.recipes import tasks
from evaluation.config import EvaluationConfig
from policies.errors import ConfigError, UserError
from tests.chat_server import Answer, Server, servers
from trainer.config import RunConfig

SERVED = "judge: server\njudge_server: {url}\njudge_model: large\n"


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    with servers() as start:
        yield start


def named(*names: str, **fields: int) -> RunConfig:
    return RunConfig(evaluation=EvaluationConfig(tasks=names, **fields))


def test_tasks_are_ready_with_so_many_instances() -> None:
    one, two = tasks.of_run(named("unicycle-tiny", "unicycle", task_limit=30))
    assert (one.name, len(one.asked), len(one.instances)) == ("unicycle-tiny", 30, 500)
    assert len({each.kind for each in two.asked}) == 10 and len(two.instances) == 1280
    assert len(tasks.of_run(named("unicycle"))[0].asked) == 1280
    assert tasks.of_run(RunConfig()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no recipe"),
        ("judge: human", "task.judge is 'human'"),
        ("instances: no.jsonl", "no.jsonl cannot be read"),
        ("instances: none", "task.instances is 'none', which has no prompts"),
        ("instances: moon", "moon"),
    ],
)
def test_a_task_that_cannot_be_is_refused_with_the_recipes_field(
    tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "mine.yaml"
    if text:
        file.write_text(f"{text}\n")
    with pytest.raises(ConfigError) as refused:
        tasks.of_run(named(str(file)))
    assert str(refused.value).startswith(f"evaluation.tasks has '{file}': ")
    assert told in str(refused.value)


def test_an_unknown_name_ends_the_command_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "configs/smoke.yaml", "evaluation.tasks=[unicicle]", f"folder={tmp_path}"]
    for more in ([], ["--dry-run"]):
        assert cli.main([*words, *more]) == 2
        told = capsys.readouterr().err
        assert told.startswith("unicorn-ray: evaluation.tasks has 'unicicle': there is no task")
    assert not any(tmp_path.iterdir())


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "unicycle.yaml"
    file.write_text("prompts: 3\n")
    with pytest.raises(ConfigError, match="another task is called unicycle too"):
        tasks.of_run(named("unicycle", str(file)))


def test_a_server_without_its_client_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    file = tmp_path / "mine.yaml"
    file.write_text(SERVED.format(url="http://127.0.0.1:9/v1"))
    with pytest.raises(
        ConfigError, match=r"evaluation\.tasks has .*install 'unicorn-ray\[judge\]'"
    ):
        tasks.of_run(named(str(file)))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            (401, {"error": {"message": "no key"}}),
            r"answers 401 .*a key is read from OPENAI_API_KEY",
        ),
        ((200, {"object": "list", "data": [{"id": "small"}]}), "serves small and not that model"),
        ((200, b"<html>"), "task.judge_server is"),
    ],
)
def test_a_server_that_cannot_judge_is_refused(
    tmp_path: Path, serve: Callable[[Answer], Server], answer: tuple[int, object], told: str
) -> None:
    pytest.importorskip("openai")
    file = tmp_path / "mine.yaml"
    file.write_text(SERVED.format(url=serve(lambda path, body: answer).url))
    config = named(str(file))
    with pytest.raises(UserError, match=told):
        checks._servers(config, tasks.of_run(config))


@pytest.mark.parametrize(
    "answer", [(200, {"object": "list", "data": [{"id": "large"}]}), (404, {"error": "no list"})]
)
def test_a_server_that_can_is_taken(
    tmp_path: Path, serve: Callable[[Answer], Server], answer: tuple[int, object]
) -> None:
    pytest.importorskip("openai")
    file = tmp_path / "mine.yaml"
    server = serve(lambda path, body: answer)
    file.write_text(SERVED.format(url=server.url))
    config = named(str(file))
    checks._servers(config, tasks.of_run(config))
    assert [path for path, *_ in server.asked] == ["/v1/models"]
