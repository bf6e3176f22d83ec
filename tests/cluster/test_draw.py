"""The command that draws benchmarks, with the shipped base checkpoint: what it refuses, and what a kill and
more Solvers change."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.storage.paths import parse_path
from cluster import draw
from cluster.draw import PictureRun
from cluster.recipes import recipe
from cluster.sizing import preflight
from cluster.sizing.needs import Machine, drawing
from cluster.watch.progress import Progress
from evaluation.suites import load_suite
from evaluation.tasks.folder import EvaluationError
from policies.config import ConfigError, changed
from policies.errors import UserError
from tests.cluster.program import refused
from tests.evaluation.layouts import official
from tests.evaluation.layouts.prompt_files import FILES
from trainer.config import RunConfig

ROOT = Path(__file__).parents[2]
BASE = ROOT / "policies/tiny/base"
SETTINGS = ("evaluation.prompts_per_task=2", "solver.replicas=1", "solver.cpus=0.2")
SLOWLY = (*SETTINGS, "actors.start_deadline=900")  # a limit for a hang, not for a busy machine
HANG_S = 900.0
MANY, FEW = 24, 8
"""Prompts of a benchmark that wants one picture of each, and of any other."""


def prompts(benchmark: str, folder: Path) -> Path:
    """Held-out prompts of the tiny world, in the form of the benchmark."""
    count = MANY if benchmark in ("wise", "tiif", "compbench-srum") else FEW
    texts = [text for text, _ in load_suite("tiny_world").prompts(count, seed=77)]
    return FILES[benchmark](folder, texts)


def ready(benchmark: str, folder: Path, *settings: str, preset: str = "") -> PictureRun:
    given = prompts(benchmark, folder)
    to = str(folder / "output")
    return draw.ready(benchmark, BASE, (*SLOWLY, *settings), str(given), preset, to)


def test_all_that_pictures_follow_from_is_in_the_manifest(tmp_path: Path) -> None:
    run = ready("geneval", tmp_path)
    assert not run.folder.path.exists()
    run.folder.claim(run.facts)
    found = json.loads((tmp_path / "output/manifest.json").read_text())
    assert (found["benchmark"], found["model"], found["family"]) == ("geneval", "base", "tiny")
    assert (found["seed"], found["preset"], found["prompts_per_task"]) == (0, "", 2)
    assert found["sampling"]["temperature"] == 1.0
    assert found["program"] and len(found["prompts"]) == 64 and len(found["weights"]) == 32


def test_other_settings_and_other_prompts_do_not_go_into_the_same_folder(tmp_path: Path) -> None:
    run = ready("geneval", tmp_path)
    run.folder.claim(run.facts)
    for settings, said in (
        (("seed=3",), "seed is 0 there and 3 here"),
        (("evaluation.temperature=0.5",), "sampling is .*0.5"),
    ):
        with pytest.raises(EvaluationError, match=said):
            run.folder.claim(ready("geneval", tmp_path, *settings).facts)
    run.folder.claim({**run.facts, "program": "a newer one"})
    noted = json.loads((tmp_path / "output/manifest.json").read_text())
    assert noted["program"] == run.facts["program"]
    (tmp_path / "metadata.jsonl").write_text((tmp_path / "metadata.jsonl").read_text() * 2)
    again = draw.ready("geneval", BASE, SLOWLY, str(tmp_path / "metadata.jsonl"))
    with pytest.raises(EvaluationError, match="prompts is "):
        run.folder.claim(again.facts)


def test_pictures_go_beside_what_draws_them(tmp_path: Path) -> None:
    given = str(prompts("tiif", tmp_path))
    run = recipe.claim_folder(changed(RunConfig(), name="a run", folder=str(tmp_path)))
    (run / "versions" / "00007").mkdir(parents=True)
    (run / "versions" / "00007" / "model.safetensors").write_bytes(b"")
    found = draw.ready("tiif", run, (), given)
    assert found.folder.path == run / "evaluation" / "tiif-drawings-00007"
    assert found.model == "a-run-00007"
    assert found.sheets[0].files[0].startswith("shape+color/a-run-00007/short_description/0.")
    alone = draw.ready("tiif", run / "versions" / "00007", (), given)
    assert alone.folder.path == run / "versions" / "00007-evaluation" / "tiif-drawings"


def test_only_solvers_are_asked_for(tmp_path: Path) -> None:
    run = ready("geneval", tmp_path)
    assert {need.actor for need in drawing(run.config)} == {
        "weight store",
        "replay buffer",
        "solver",
    }
    preflight.check_drawing(run.config, Machine(0.2, 0), BASE)
    with pytest.raises(ConfigError, match="drawing asks for 0.2 CPUs"):
        preflight.check_drawing(run.config, Machine(0.1, 0), BASE)


def test_a_preset_that_the_family_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    run = ready("geneval", tmp_path, preset="unicorn")
    with pytest.raises(ConfigError, match="is .*: drawing by family tiny knows only"):
        preflight.check_drawing(run.config, Machine(4, 0), BASE)
    own = tmp_path / "wise"
    own.mkdir()
    with pytest.raises(ConfigError, match="policy.think"):
        ready("wise", own, preset="unicorn")


def test_nothing_is_left_behind_by_what_is_refused(tmp_path: Path) -> None:
    words = ("draw", str(BASE), f"--output={tmp_path}/output")
    for more, said in (
        (("--benchmark=genval",), "--benchmark is 'genval': it must be one of geneval, "),
        (("--benchmark=wise",), "the prompts of WISE do not ship here"),
        (("--benchmark=geneval", "--limit=0"), "--limit is 0: it must be 1 or more"),
        (("--benchmark=geneval", "--preset=unicorn"), "drawing by family tiny knows only"),
        (("--benchmark=geneval", "--preset=paper"), "--preset is 'paper'"),
    ):
        assert said in refused(*words, *more, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Command:
    """The real command in a process of its own, on the cluster of the tests."""

    def __init__(self, cluster: str, folder: Path, benchmark: str, given: Path) -> None:
        words = ["draw", str(BASE), f"--benchmark={benchmark}", f"--prompts={given}",
                 f"--output={folder}/output"]  # fmt: skip
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster", *words, *SLOWLY], cwd=ROOT,
                env={**os.environ, "RAY_ADDRESS": cluster}, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_when(self, there: Callable[[], bool]) -> None:
        end = time.monotonic() + HANG_S
        while not there():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, f"waited {HANG_S:g} s for a few pictures"
            time.sleep(0.01)
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(60) == -signal.SIGKILL

    def finish(self) -> str:
        assert self.process.wait(HANG_S) == 0, self._log.read_text()
        return self._log.read_text()


@pytest.fixture
def start(ray_cluster: str, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts the command, of which none outlives its test."""
    started: list[Command] = []

    def start_(benchmark: str, given: Path) -> Command:
        started.append(Command(ray_cluster, tmp_path, benchmark, given))
        return started[-1]

    yield start_
    for each in started:
        each.process.kill()
        each.process.wait(60)


def made(folder: Path) -> dict[Path, tuple[int, int]]:
    """The pictures, and what changes when one is written again."""
    found = [
        each for each in (folder / "output/images").rglob("*.*") if each.suffix in (".png", ".webp")
    ]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in found}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", FILES)
def test_killed_while_it_draws_it_draws_nothing_twice(
    benchmark: str, start: Callable[..., Command], tmp_path: Path
) -> None:
    given = prompts(benchmark, tmp_path)
    sheets = draw.ready(benchmark, BASE, SLOWLY, str(given)).sheets
    wanted = {tmp_path / "output/images" / file for sheet in sheets for file in sheet.files}
    start(benchmark, given).kill_when(lambda: bool(made(tmp_path)))
    first = made(tmp_path)
    assert first.keys() < wanted
    told = start(benchmark, given).finish()
    second = made(tmp_path)
    assert first.items() <= second.items() and second.keys() == wanted
    total = sum(sheet.count for sheet in sheets)
    assert f"{total} pictures are in {tmp_path}/output/images" in told
    others = {each for each in (tmp_path / "output/images").rglob("*") if each.is_file()} - wanted
    assert {each.name for each in others} <= {"metadata.jsonl", "output.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["geneval", "oneig"])
def test_three_solvers_draw_the_same(ray_cluster: str, benchmark: str, tmp_path: Path) -> None:
    found = []
    for replicas in (1, 3):
        folder = tmp_path / str(replicas)
        folder.mkdir()
        run = ready(benchmark, folder, f"solver.replicas={replicas}")
        run.folder.claim(run.facts)
        counts = draw.pictures(run, Progress(io.StringIO()))
        assert counts.there == counts.total and counts.failed == 0
        found.append({file.relative_to(folder): file.read_bytes() for file in made(folder)})
    assert len(found[0]) > 7 and found[0] == found[1]


@pytest.mark.slow
def test_a_prompt_that_the_model_cannot_read_ends_it_by_name(
    ray_cluster: str, tmp_path: Path
) -> None:
    given = FILES["geneval"](tmp_path, ["a zeppelin over Friedrichshafen"])
    run = draw.ready("geneval", parse_path(str(BASE)), (*SLOWLY, "actors.task_attempts=1"),
                     str(given), output=str(tmp_path / "output"))  # fmt: skip
    run.folder.claim(run.facts)
    with pytest.raises(ExceptionGroup) as told:
        draw.pictures(run, Progress(io.StringIO()))
    error: BaseException = told.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, UserError) and "zeppelin" in str(error)


@pytest.mark.slow
def test_the_scorer_of_geneval_finds_all_that_was_drawn(ray_cluster: str, tmp_path: Path) -> None:
    run = ready("geneval", tmp_path)
    run.folder.claim(run.facts)
    counts = draw.pictures(run, Progress(io.StringIO()))
    found = official.geneval(run.folder.images)
    assert set(found) == {sheet.prompt for sheet in run.sheets}
    assert {len(each) for each in found.values()} == {4}
    lines = draw.told(run, counts)
    assert any(line.startswith("  python evaluation/evaluate_images.py") for line in lines)
