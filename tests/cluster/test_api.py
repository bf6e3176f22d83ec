"""What a notebook or a script can ask of the program."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.replay.segments import SegmentError
from actors.storage.paths import parse_path
from cluster import api
from cluster.checks import LoopRuns
from cluster.session.ray_session import _Watch
from policies.config import ConfigError
from tests.cluster.report import synthetic_run as synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = synthetic.small_config(tmp_path_factory.mktemp("runs"), rounds=2)
    return synthetic.build(config, measured=1, closed=1, begun=2)


def test_a_run_is_read_as_groups_and_as_a_table(folder: Path) -> None:
    run = api.load_run(folder)
    first, second = api.read_rounds(run)
    assert (first.number, second.number) == (1, 2)
    groups = list(first.groups())
    assert [group.index for group in groups] == list(range(run.config.proposer.prompts))
    assert next(second.groups()).prompt == synthetic.groups(run.config, 2)[0].prompt
    table = first.table()
    assert table["prompt"].to_pylist() == [group.prompt for group in groups]
    assert len(table["rollouts"][0]) == run.config.solver.rollouts
    assert [row["version"] for row in run.metrics() if row["kind"] == "evaluation"] == [0, 1]


def test_a_run_that_has_drawn_nothing_has_no_rounds(tmp_path: Path) -> None:
    folder = synthetic.build(synthetic.small_config(tmp_path), measured=0, closed=0)
    assert api.read_rounds(folder) == []


def test_an_altered_file_is_named_and_never_read(tmp_path: Path) -> None:
    folder = synthetic.build(synthetic.small_config(tmp_path), measured=0, closed=1)
    [round_] = api.read_rounds(folder)
    file = Path(str(round_.files[0]))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for read in (round_.table, lambda: list(round_.groups())):
        with pytest.raises(SegmentError, match=file.name):
            read()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for read in (api.load_run, api.read_rounds):
        with pytest.raises(ConfigError, match="is not a run folder"):
            read(tmp_path)


def test_a_policy_is_loaded_by_its_path() -> None:
    weights = api.load_policy("base").weights()
    assert weights.keys() == api.load_policy(Path("base"), family="tiny").weights().keys()
    with pytest.raises(ConfigError, match=r"policy.family is 'bagle'"):
        api.load_policy("base", family="bagle")


def test_a_running_loop_is_told_to_await(tmp_path: Path) -> None:
    async def notebook() -> None:
        api.run("configs/smoke.yaml", f"folder={tmp_path}")

    with pytest.raises(LoopRuns, match=r"use `await run_async\(...\)`"):
        asyncio.run(notebook())
    assert list(tmp_path.iterdir()) == []


def test_overrides_of_a_configuration_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^rounds=3 cannot be set"):
        api.run(api.load_run(folder).config, "rounds=3")


def test_a_ray_that_is_gone_interrupts_who_awaits_and_no_thread() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    struck = threading.Event()
    with _Watch([child.pid], struck.set) as _:
        assert not struck.wait(1.0)
        child.kill()
        child.wait()
        assert struck.wait(30.0)


def test_a_folder_that_is_relative_is_the_same_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert api.load_run(folder.name) == api.load_run(parse_path(folder))
