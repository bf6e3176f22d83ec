"""The whole loop with the shipped base checkpoint, as a user starts it: real processes, real Ray.

What a run ends with does not depend on how many Solvers it had, nor on where it was
kept, nor on whether it was killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.replay.segments import log_digest
from actors.storage import storage
from actors.storage.paths import StoragePath, parse_path
from actors.weights.digests import weights_digest
from cluster.gallery.views import Gallery
from evaluation.metrics import read_metrics
from evaluation.tasks.folder import TaskFolder
from policies.tiny.policy import TinyPolicy
from tests.bucket import ADDRESS, Line

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ROUNDS = 2
HANG_S = 900.0


def start(folder: Path | str, name: str, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cluster", "run", "configs/smoke.yaml"]
    return subprocess.Popen(
        [*command, f"folder={folder}", f"name={name}", *overrides],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(run: subprocess.Popen[str]) -> str:
    out, _ = run.communicate(timeout=HANG_S)
    assert run.returncode == 0, out
    return out


def final_weights(run: Path) -> str:
    return weights_digest(TinyPolicy.from_pretrained(run / f"versions/{ROUNDS:05d}").weights())


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run in peace, and what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    return folder / "calm", finish(start(folder, "calm"))


def test_every_round_is_sampled_learned_and_measured(calm: tuple[Path, str]) -> None:
    run, out = calm
    rows = read_metrics(run)
    measured = [row["version"] for row in rows if row["kind"] == "evaluation"]
    assert sorted(measured) == [0, 1, 2]
    assert {row["round"] for row in rows if row["kind"] == "round"} == {1, 2}
    assert all((run / f"replay/round-{r:05d}/closed.json").exists() for r in (1, 2))
    steps = [json.loads(line)["step"] for line in (run / "train.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1)) and steps
    assert "round 2/2" in out and "report.html" in out
    assert (run / "report.html").stat().st_size > 10_000


def test_learning_changed_the_weights(calm: tuple[Path, str]) -> None:
    base = TinyPolicy.from_pretrained(ROOT / "policies/tiny/base")
    assert final_weights(calm[0]) != weights_digest(base.weights())


def test_a_finished_run_that_is_run_again_changes_nothing(calm: tuple[Path, str]) -> None:
    run, _ = calm
    before = log_digest(run / "replay"), final_weights(run), read_metrics(run)
    finish(start(run.parent, "calm"))
    assert (log_digest(run / "replay"), final_weights(run), read_metrics(run)) == before


def test_the_number_of_solvers_changes_neither_log_nor_weights(calm: tuple[Path, str]) -> None:
    """Three instead of two; test_elastic begins with one."""
    run, _ = calm
    finish(start(run.parent, "three", "solver.replicas=3", "solver.cpus=0.2"))
    other = run.parent / "three"
    assert log_digest(other / "replay") == log_digest(run / "replay")
    assert final_weights(other) == final_weights(run)


def test_a_run_in_a_bucket_that_was_cut_off_and_killed_ends_as_if_it_had_not_been(
    calm: tuple[Path, str], s3: Line
) -> None:
    run, out = calm[0], ""
    folder = f"{ADDRESS}/runs"
    killed = parse_path(folder) / "killed"
    first = start(folder, "killed")
    before = wait_for(killed / "replay/round-00001", first)
    s3.cut()
    try:
        while "paused: " not in out:
            line = first.stdout.readline()
            assert line, out
            out += line
        time.sleep(3)  # longer than a moment: writers and readers alike find nobody there
    finally:
        s3.mend()
    assert str(killed) in out.partition("paused: ")[2]
    wait_for(killed / "replay", first, before + 1)
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    out = finish(start(folder, "killed"))
    assert f"report {killed}/report.html" in out
    assert log_digest(killed / "replay") == log_digest(run / "replay")
    with storage.copied(killed / f"versions/{ROUNDS:05d}") as version:
        assert weights_digest(TinyPolicy.from_pretrained(version).weights()) == final_weights(run)
    assert not any(b"hidden-from-all" in storage.read(file) for file in storage.files(killed))
    shown = Gallery(killed).groups(None, None, None, 1)
    assert shown["total"] == Gallery(run).groups(None, None, None, 1)["total"]
    there, here = (
        TaskFolder(each / f"evaluation/unicycle-tiny-{ROUNDS:05d}") for each in (killed, run)
    )
    assert there.samples(there.result("rules")) == here.samples(here.result("rules")) != []


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("replay/round-00002/slice-00000-*.parquet", r"slice-00000-\w+\.parquet: checksum differs"),
        ("versions/00002/model.safetensors", r"versions/00002\W.*is damaged .*resume"),
    ],
)
def test_what_was_damaged_is_named_in_one_sentence(
    calm: tuple[Path, str], pattern: str, told: str
) -> None:
    """When a finished run is started again."""
    folder = calm[0].with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(calm[0], folder)
    file = next(folder.glob(pattern))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    run = start(calm[0].parent, "damaged")
    out, _ = run.communicate(timeout=HANG_S)
    assert run.returncode == 2, out
    assert re.search(f"unicorn-ray: .*{told}", out), out
    assert "Traceback" not in out


def wait_for(folder: StoragePath, run: subprocess.Popen[str], count: int = 1) -> int:
    """Until there are so many files; how many there are then."""
    deadline = time.monotonic() + 180
    while len(found := storage.files(folder)) < count:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"{len(found)} files are in {folder} after 180 s"
        time.sleep(0.1)
    return len(found)
