"""A real study, killed in the middle: what is done stays as it is, and what was begun goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.storage import events
from tests.cluster.studies.test_study import RECIPE

ROOT = RECIPE.parents[1]
STUDY = f"""
title: Does a study go on?
recipe: {RECIPE}
seeds: 2
rounds: 1
proposer: {{prompts: 12, prompts_per_task: 6}}
solver: {{rollouts: 2, prompts_per_task: 6}}
trainer: {{lr: 3e-3, warmup_steps: 1, ema: 0}}
evaluation: {{prompts: 20, scenes: 10, prompts_per_task: 10, selection_prompts: 10, temperatures: [1, 0], planted: 0}}
arms:
  g-only:
    reconstruction: {{caption: 0, judgement: 0, reflection: 0}}
  grafted: {{graft: g-only}}
"""
LONG_S = 1800.0  # a limit for a hang, not for a busy machine


def begin(folder: Path) -> subprocess.Popen[bytes]:
    words = ["study", str(folder / "mine.yaml"), f"folder={folder}", "actors.start_deadline=900"]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cluster", *words],
            cwd=ROOT,
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def told(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.mark.slow
def test_a_killed_study_goes_on_and_its_table_is_of_all_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(STUDY)
    study = tmp_path / "mine"
    first, until = begin(tmp_path), time.monotonic() + LONG_S
    while "3 of 4, g-only-seed-1" not in told(tmp_path) or not (study / "g-only-seed-1" / "replay").exists():  # fmt: skip
        assert first.poll() is None and time.monotonic() < until, told(tmp_path)
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = {f: f.read_bytes() for f in (study / "g-only-seed-0").rglob("*") if f.is_file()}
    assert "not done yet with seed 1" in (study / "table.md").read_text()

    again = begin(tmp_path)
    assert again.wait(LONG_S) == 0, told(tmp_path)
    assert all(f.read_bytes() == was for f, was in done.items())
    drivers = [e for e in events.read(study / "g-only-seed-1") if e["who"] == "driver"]
    assert len(drivers) == 2
    assert told(tmp_path).count(", g-only-seed-0") == 1 and "2 of 4 done" in told(tmp_path)

    arms = json.loads((study / "results.json").read_text())["arms"]
    assert [arm["seeds"] for arm in arms.values()] == [[0, 1], [0, 1]]
    graft, plain = (arms[name]["measures"] for name in ("grafted", "g-only"))
    assert graft["right"] == plain["right"] | {"against": graft["right"]["against"]}
    assert graft["right"]["against"]["mean"] == 0  # a graft changes no drawing
    assert (study / "plot.svg").read_text().startswith("<svg")

    assert begin(tmp_path).wait(LONG_S) == 0
    assert "4 of 4 done" in told(tmp_path)
