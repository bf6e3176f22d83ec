"""Tasks with the shipped base checkpoint, real pools and the real command: what a kill, more replicas and
another judge change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import evaluate_task
from cluster.watch.progress import Progress
from evaluation.judges.agreement import main as compare
from evaluation.judges.agreement import table
from tests.chat_server import Answer, Server, servers
from tests.evaluation.judges.comparing import honest

pytestmark = pytest.mark.slow
pytest.importorskip("openai")

ROOT = Path(__file__).parents[2]
BASE = ROOT / "policies/tiny/base"
SETTINGS = (
    "task.prompts=80",
    "evaluation.prompts_per_task=10",
    "solver.cpus=0.2",
    "judge.cpus=0.2",
    "actors.start_deadline=900",  # a limit for a hang, not for a busy machine
)
QUESTIONS = 234
THREE = ("solver.replicas=3", "judge.replicas=3")
HANG_S = 900.0
KEPT = ("drawings/*.png", "answers/*.json")


def evaluate(folder: Path, *settings: str) -> dict[str, Any]:
    run = evaluate_task.ready(
        "unicycle-tiny", BASE, (*SETTINGS, *settings), None, str(folder / "evaluation")
    )
    found, _ = evaluate_task.scores(run, Progress(sys.stdout))
    return found


def samples(folder: Path, judge: str) -> bytes:
    return (folder / "evaluation" / f"by-{judge}" / "samples.jsonl").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    """What is drawn and answered, by name."""
    here = folder / "evaluation"
    return {
        str(file.relative_to(here)): file.read_bytes() for kind in KEPT for file in here.glob(kind)
    }


def made(folder: Path) -> dict[Path, tuple[int, int]]:
    """The same files, and what changes when one is written again."""
    found = [file for kind in KEPT for file in (folder / "evaluation").glob(kind)]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in found}


@pytest.fixture(scope="module")
def peace(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with one replica of each role, judged by rules and by the model itself."""
    folder = tmp_path_factory.mktemp("peace")
    found = evaluate(folder)
    assert found["instances"] == 80 and found["questions"] == QUESTIONS
    assert 40 < found["soft"]["score"] < 90
    evaluate(folder, "task.judge=itself")
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    with servers() as start:
        yield start


def by_server(url: str) -> tuple[str, ...]:
    return "task.judge=server", f"task.judge_server={url}", "task.judge_model=comparing"


def test_three_replicas_of_each_role_come_to_the_same_sample_for_sample(
    peace: Path, tmp_path: Path
) -> None:
    evaluate(tmp_path, *THREE)
    evaluate(tmp_path, *THREE, "task.judge=itself")
    assert files(tmp_path) == files(peace)
    for judge in ("rules", "itself"):
        assert samples(tmp_path, judge) == samples(peace, judge)


def test_three_judges_agree_as_the_docs_say(
    peace: Path, serve: Callable[[Answer], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(peace, *by_server(serve(honest).url))
    assert compare([str(peace / "evaluation")]) == 0
    print(lines := "\n".join(table(peace / "evaluation")))
    rows = re.findall(r"^(\w+), (\w+) +(\d+) +([\d.]+)% +([\d.]+)", lines, re.MULTILINE)
    found = {(one, other): (int(n), float(same), float(k)) for one, other, n, same, k in rows}
    assert len(found) == 3 and {n for n, *_ in found.values()} == {QUESTIONS}
    for pair, (_, same, chance) in found.items():
        least = (92, 0.82) if "itself" in pair else (97, 0.94)
        assert (same, chance) >= least, (pair, lines)


class Command:
    """The real command in a process of its own, on the cluster of the tests."""

    def __init__(self, cluster: str, folder: Path, *settings: str) -> None:
        words = ["evaluate", str(BASE), "--task=unicycle-tiny", f"--output={folder}/evaluation"]
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster", *words, *SETTINGS, *settings], cwd=ROOT,
                env={**os.environ, "RAY_ADDRESS": cluster}, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_when(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + HANG_S
        while not there():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, f"waited {HANG_S:g} s for {what}"
            time.sleep(0.01)
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(60) == -signal.SIGKILL

    def finish(self) -> None:
        assert self.process.wait(HANG_S) == 0, self._log.read_text()


@pytest.fixture
def start(ray_cluster: str, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts the command, of which none outlives its test."""
    started: list[Command] = []

    def start_(*settings: str) -> Command:
        started.append(Command(ray_cluster, tmp_path, *settings))
        return started[-1]

    yield start_
    for each in started:
        each.process.kill()
        each.process.wait(60)


def test_killed_while_it_draws_and_while_it_judges_it_does_nothing_twice(
    peace: Path,
    serve: Callable[[Answer], Server],
    start: Callable[..., Command],
    tmp_path: Path,
) -> None:
    replied: Counter[str] = Counter()
    goes_on = threading.Event()

    def stops_in_the_middle(path: str, body: Any) -> tuple[int, Any]:
        if body is None:  # whether it is there
            return honest(path, body)
        if len(replied) == 20:
            goes_on.wait(HANG_S)
        replied[body["messages"][0]["content"]] += 1
        return honest(path, body)

    url = serve(stops_in_the_middle).url
    settings = (*by_server(url), "task.at_once=1")
    few = len(files(peace)) // 8
    start(*settings).kill_when(lambda: len(made(tmp_path)) > few, "a few drawings")
    first = made(tmp_path)
    assert few < len(first) < len(files(peace))
    start(*settings).kill_when(lambda: len(replied) == 20, "twenty verdicts")
    second = made(tmp_path)
    assert first.items() <= second.items() and len(second) == len(files(peace))
    kept = len(list((tmp_path / "judge-cache").rglob("*.json")))
    assert kept in (19, 20)  # the last reply may have been on its way
    goes_on.set()
    start(*settings).finish()
    assert made(tmp_path) == second and files(tmp_path) == files(peace)
    again = {text for text, count in replied.items() if count > 1}
    assert max(replied.values()) <= 2 and len(again) <= 1 + (20 - kept)
    assert len(list((tmp_path / "judge-cache").rglob("*.json"))) == len(replied)
    evaluate(peace, *by_server(url))
    assert samples(tmp_path, "comparing") == samples(peace, "comparing")
