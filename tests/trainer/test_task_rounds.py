"""A run whose recipe names a task: every version is measured by it, and a driver that is stopped on the
way makes nothing again. Real processes, real Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.metrics import read_metrics
from evaluation.tasks.folder import TaskFolder
from tests.trainer.test_selfplay import HANG_S, ROOT, finish, start, wait_for

pytestmark = pytest.mark.slow
ASKED = 12
FEW = (
    "proposer.prompts=10", "proposer.prompts_per_task=5", "proposer.reseed_every=10",
    "evaluation.suite=none", "evaluation.planted=0", f"evaluation.task_limit={ASKED}",
    "evaluation.prompts_per_task=4",
)  # fmt: skip


def test_a_run_that_was_stopped_draws_and_asks_nothing_again(tmp_path: Path) -> None:
    run, first = tmp_path / "asked", start(tmp_path, "asked", *FEW)
    base = run / "evaluation/unicycle-tiny-base"
    wait_for(base / "answers", first, 1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    made = {file: file.stat().st_mtime_ns for file in base.rglob("*.*") if ".tmp" not in file.name}
    assert len(list((base / "drawings").glob("*.png"))) >= 4
    out = finish(start(tmp_path, "asked", *FEW))

    assert {file: file.stat().st_mtime_ns for file in made} == made
    rows = {row["version"]: row for row in read_metrics(run) if row["kind"] == "task"}
    assert sorted(rows) == [0, 1, 2]
    for version, name in enumerate(("base", "00001", "00002")):
        folder = TaskFolder(run / f"evaluation/unicycle-tiny-{name}")
        result = folder.result("rules")
        samples, summary = folder.samples(result), folder.summary(result)
        assert len(samples) == ASKED == rows[version]["task.unicycle-tiny/instances"]
        assert rows[version]["task.unicycle-tiny/soft"] == summary["soft"]["score"]
        assert (result / "report.html").stat().st_size > 5_000
    told = [json.loads((run / f"evaluation/unicycle-tiny-{name}/manifest.json").read_text())["weights"]
            for name in ("base", "00001", "00002")]  # fmt: skip
    assert len(set(told)) == 3
    page = (run / "report.html").read_text()
    assert "Task unicycle-tiny" in page and "unicycle-tiny-00002/by-rules/report.html" in page
    assert "task.unicycle-tiny/hard" in out

    # The command goes on with what the run made: nothing is left to draw, ask or judge.
    newest = run / "evaluation/unicycle-tiny-00002"
    made = {file: file.stat().st_mtime_ns for file in newest.glob("*/*.png")}
    words = ["evaluate", str(run), "--task", "unicycle-tiny", "--limit", str(ASKED)]
    before = (newest / "by-rules/samples.jsonl").read_bytes()
    subprocess.run(
        [sys.executable, "-m", "cluster", *words],
        cwd=ROOT, env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        timeout=HANG_S, check=True,
    )  # fmt: skip
    assert {file: file.stat().st_mtime_ns for file in newest.glob("*/*.png")} == made
    assert (newest / "by-rules/samples.jsonl").read_bytes() == before
