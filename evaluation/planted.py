"""Whether the Judge still tells right from wrong: pairs that are right and wrong by construction.

A drawing that was accepted is shown to the Judge of its round with its own prompt, and with the same
prompt but for one word. What is measured is J = TPR - FPR, the shares of both that it accepts.

Invariant: the pairs follow from the round's log and the run's seed; nothing here is learned from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import ray

from actors.config import JudgeConfig
from actors.pool.pool import Pool
from actors.replay.records import JudgedGroup, Task
from actors.replay.segments import read_segment, round_files
from actors.retry import within
from actors.roles.calibration import TRUSTED, Trust
from actors.roles.edits import edited, words_of
from actors.roles.requests import ScoreDrawings
from actors.roles.signals import Shown
from actors.storage.paths import StoragePath, run_folder
from evaluation.config import EvaluationConfig, RunSettings
from evaluation.metrics import kept_row, show, tell

KIND = "planted"


class Settings(RunSettings, Protocol):
    """What the measurement needs of a run's configuration."""

    @property
    def judge(self) -> JudgeConfig: ...
    @property
    def evaluation(self) -> EvaluationConfig: ...


async def planted(
    round_: int, judge_version: int, config: Settings, judges: Pool, trust: Trust = TRUSTED
) -> dict[str, float]:
    """ "judge/tpr", "judge/fpr" and "judge/j" in percent, of a closed round, kept in its run's
    metrics.jsonl; empty where no prompt could be edited, or none shall be. `trust` is what was known
    of the Judge in that round."""
    most, folder = config.evaluation.planted, run_folder(config)
    values = await asyncio.to_thread(kept_row, folder, KIND, round_)
    if values is None:
        files = await asyncio.to_thread(round_files, folder / "replay", round_) if most else []
        pairs: Any = _pairs.remote(files, most, config.judge, config.seed)
        task = Task(round_, "evaluator", 0, judge_version)
        ref = await judges.run(ScoreDrawings(task, trust), pairs)
        scores = await within(ref, config.actors.task_deadline, f"the scores of {task}")
        values = told(scores, config.judge.accept_at)
        await tell(config, {"kind": KIND, "round": round_}, values)
    else:
        show(config.name, values)
    return values


def told(scores: Sequence[float | None], accept_at: float) -> dict[str, float]:
    """Of scores that stand alternately for right and for edited prompts; a pair without both is left
    out."""
    pairs = [
        (right, wrong)
        for right, wrong in zip(scores[::2], scores[1::2], strict=True)
        if right is not None and wrong is not None
    ]
    if not pairs:
        return {}
    tpr, fpr = (100 * sum(score >= accept_at for score in of) / len(pairs) for of in zip(*pairs))
    return {"judge/tpr": tpr, "judge/fpr": fpr, "judge/j": tpr - fpr}


@ray.remote(num_cpus=0)
def _pairs(files: Sequence[StoragePath], most: int, judge: JudgeConfig, seed: int) -> list[Shown]:
    groups: list[JudgedGroup] = []
    for file in files:
        if sum(group.accepted for group in groups) < most:
            groups += read_segment(file)
    return pairs(groups, most, judge, seed)


def pairs(groups: Sequence[JudgedGroup], most: int, judge: JudgeConfig, seed: int) -> list[Shown]:
    """The winners of at most so many accepted groups, each with its prompt and with the edited one."""
    known = words_of([group.prompt for group in groups])
    made: list[Shown] = []
    for group in groups:
        if len(made) < 2 * most:
            made += pair(group, known, judge, seed)
    return made


def pair(group: JudgedGroup, known: Collection[str], judge: JudgeConfig, seed: int) -> list[Shown]:
    """The winner with its prompt and with the edited one; nothing of a group that has no winner, or
    none of whose words can be another of the `known` ones."""
    wrong = edited(group.prompt, known, seed, group.round, group.index)
    if wrong is None or not (group.accepted or group.untrusted):
        return []
    winner = group.rollouts[group.winner(seed, judge.ties)].shown
    return [(group.category, text, winner) for text in (group.prompt, wrong)]
