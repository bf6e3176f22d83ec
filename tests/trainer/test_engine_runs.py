"""Whole runs whose roles an engine plays: two rounds, with real weights that change between them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from actors.replay.records import JudgedGroup
from actors.replay.segments import log_digest, read_segment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vllm is not installed: see docs/engines.md",
    ),
]

ROOT = Path(__file__).parents[2]
PROMPTS = 20
LIMIT_S = 1500
TEXTS = ("proposer", "judge")
ALL = ("proposer", "solver", "judge")


def start(folder: Path, name: str, roles: tuple[str, ...]) -> subprocess.Popen[str]:
    settings = [f"{role}.engine=vllm" for role in roles]
    settings += [
        f"name={name}", f"folder={folder}", "engine.cache_mib=64", "evaluation.suite=none",
        f"proposer.prompts={PROMPTS}", "judge.accept_at=3.0", "actors.start_deadline=600",
    ]  # fmt: skip
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cluster",
            "run",
            "configs/smoke.yaml",
            "--gallery",
            "off",
            *settings,
        ],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(run: subprocess.Popen[str]) -> None:
    said, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, said


def events(run: Path) -> list[dict[str, object]]:
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def groups(run: Path, round_: int) -> list[JudgedGroup]:
    files = sorted((run / f"replay/round-{round_:05d}").glob("slice-*.parquet"))
    return [group for file in files for group in read_segment(file)]


def scores(judged: list[JudgedGroup]) -> np.ndarray:
    found = [rollout.judgement.score for group in judged for rollout in group.rollouts]
    return np.array([score for score in found if score is not None])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three runs, one after the other."""
    folder = tmp_path_factory.mktemp("runs")
    for name, roles in (("own", ()), ("texts", TEXTS), ("all", ALL)):
        finish(start(folder, name, roles))
    return folder


@pytest.mark.parametrize("name", ["texts", "all"])
def test_two_rounds_are_those_of_the_own_sampler(runs: Path, name: str) -> None:
    """The first round samples with the same weights. Few answers fall on the other side of an edge
    between two tokens; what is learned and drawn then differs as little."""
    ours, theirs = groups(runs / "own", 1), groups(runs / name, 1)
    assert len(theirs) == len(ours)
    same = [a.prompt == b.prompt for a, b in zip(ours, theirs, strict=True)]
    assert np.mean(same) >= 0.9
    for round_ in (1, 2):
        means = [scores(groups(runs / run, round_)).mean() for run in ("own", name)]
        assert abs(means[0] - means[1]) < 1.0
    assert {group.weight_version for group in groups(runs / name, 2)} == {1}


def test_a_killed_engine_is_a_killed_replica(runs: Path) -> None:
    """The log of the run in peace, to the byte."""
    run = start(runs, "killed", ALL)
    killed: set[object] = set()
    deadline = time.monotonic() + LIMIT_S
    while len(killed) < 2 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.5)
        written = list((runs / "killed/replay").rglob("slice-*.parquet"))
        for event in events(runs / "killed"):
            if (
                event["who"] in ("judge 0", "solver 0")
                and event["who"] not in killed
                and (event["what"] == "started" and (written or event["who"] == "solver 0"))
            ):
                killed.add(event["who"])
                os.kill(int(str(event["pid"])), signal.SIGKILL)
    finish(run)
    assert killed == {"judge 0", "solver 0"}
    assert log_digest(runs / "killed/replay") == log_digest(runs / "all/replay")
