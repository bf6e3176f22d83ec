"""Loggers are told what the run folder holds, each row once, whatever ends in between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actors.storage.paths import parse_path
from cluster.watch import loggers
from cluster.watch.loggers import Follower, following
from policies.config import ConfigError


def step(folder: Path, number: int, loss: float) -> None:
    row = {"step": number, "losses": {"generation": loss}, "grad_norm": 1.0, "lr": 0.1}
    with (folder / "train.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def measured(folder: Path, version: int, score: float) -> None:
    row = {"kind": "evaluation", "version": version, "drawing/all_right": score}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


class Remembers:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        pass


def test_each_row_is_told_once_also_after_a_crash_and_a_resume(tmp_path: Path) -> None:
    heard = Remembers()
    follower = Follower(tmp_path, [lambda: heard])
    follower.follow()
    assert heard.rows == []
    for number in (1, 2, 3):
        step(tmp_path, number, number / 10)
    measured(tmp_path, 0, 0.25)
    follower.follow()
    # Training died, dropped the steps after its checkpoint, and did them again.
    lines = (tmp_path / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_text(lines[0])
    follower.follow()
    for number in (2, 3, 4):
        step(tmp_path, number, number / 10)
    (tmp_path / "train.jsonl").open("a").write('{"step": 5, "los')  # being written
    Follower(tmp_path, [lambda: heard]).follow()  # another driver
    assert [row for row, _ in heard.rows] == [1, 2, 3, 0, 4]
    assert heard.rows[3][1] == {"drawing/all_right": 0.25}
    assert heard.rows[4][1]["train/loss/generation"] == 0.4


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    with following(tmp_path, "run", ("tensorboard",)):
        step(tmp_path, 1, 0.5)
        step(tmp_path, 2, 0.25)
        measured(tmp_path, 1, 0.75)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(e.step, e.value) for e in read.Scalars("train/loss/generation")]
    assert losses == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in read.Scalars("drawing/all_right")] == [(1, 0.75)]


def test_weights_and_biases_keeps_a_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra `loggers` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with following(tmp_path, "run", ("wandb",)):
        step(tmp_path, 1, 0.5)
    assert list((tmp_path / "wandb").rglob("run-*.wandb"))


def test_a_logger_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    class Broken(Remembers):
        def log(self, values: Mapping[str, float], step: int) -> None:
            raise OSError("no network")

    follower = Follower(tmp_path, [Broken])
    step(tmp_path, 1, 0.5)
    with pytest.warns(UserWarning, match="a logger failed: no network"):
        follower._guarded(follower.follow)
    heard = Remembers()
    Follower(tmp_path, [lambda: heard]).follow()
    assert [row for row, _ in heard.rows] == [1]


def test_an_unknown_logger_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"loggers has 'mlflow': it must be one of tensorboard"):
        loggers.require(("mlflow",), tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install wandb, or leave it out"):
        loggers.require(("wandb",), tmp_path)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"writes into the run folder, and that is s3://b/runs/x"):
        loggers.require(("tensorboard",), parse_path("s3://b/runs/x"))
