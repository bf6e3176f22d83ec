"""What planted pairs of earlier rounds tell of a round's Judge, found before it judges.

A winner is shown to the Judge with its own prompt and with the same prompt but for one word: right and
wrong by construction, as far as the Judge that chose the winner was right.

Invariant: it follows from the closed rounds of the log, the seed and the Judge's weights, and is kept
in the run folder before a drawing of the round is judged, so whoever goes on judges alike.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ray

from actors.config import JudgeConfig
from actors.pool.faults import Poisoned
from actors.replay.records import UNTRUSTED, Judgement, Task
from actors.replay.segments import read_segment, read_texts, round_files
from actors.retry import within
from actors.roles.calibration import TRUSTED, Fit, Trust, fitted, trust_of
from actors.roles.edits import words_of
from actors.roles.requests import ReadSignals
from actors.roles.signals import Shown
from actors.storage import storage
from actors.storage.once import written_once
from actors.storage.paths import StoragePath
from evaluation.planted import pair
from policies.errors import UserError
from trainer.run_actors import RunActors

FOLDER = "trust"
ROUNDS = 3
"""As many rounds before give pairs, the newest first."""
LEAST_TO_FIT = 30
"""With fewer pairs a round is judged without a fit."""
LEAST_OF_CATEGORY = 10
"""With fewer pairs of a category it counts as trusted: J of 10 has a standard error of 16 points at worst."""
AT_ONCE = 64
"""Drawings that a replica is shown in a task."""


class TrustDamaged(UserError, ValueError):
    """A file of what was found that is not what was written; the message names it."""


class Pair(NamedTuple):
    """The Judge's word on a drawing with its own prompt, and with the edited one."""

    category: str
    right: Judgement
    wrong: Judgement


async def trust_before(run: RunActors, round_: int, version: int) -> Trust:
    """What is known of the Judge when `version` begins to sample the round; nothing in the first."""
    if not run.config.judge.plants or round_ == 1:
        return TRUSTED

    async def make() -> bytes:
        return json.dumps((await _find(run, round_, version)).row()).encode()

    await written_once(_file(run, round_), run.config.actors.pause_deadline, make)
    return await kept(run, round_)


async def kept(run: RunActors, round_: int) -> Trust:
    """What was known of the Judge in a round that was sampled."""
    if not run.config.judge.plants or round_ == 1:
        return TRUSTED
    return await asyncio.to_thread(_read, _file(run, round_))


def _file(run: RunActors, round_: int) -> StoragePath:
    return run.folder / FOLDER / f"round-{round_:05d}.json"


def _read(file: StoragePath) -> Trust:
    try:
        return trust_of(json.loads(storage.read(file)))
    except (ValueError, TypeError, KeyError) as error:
        raise TrustDamaged(
            f"{file} does not hold what planted pairs tell of a Judge ({error}): restore it, or "
            "delete it to have them judged again"
        ) from error


async def _find(run: RunActors, round_: int, version: int) -> Trust:
    judge = run.config.judge
    try:
        pairs = await _judged_pairs(run, round_, version)
    except Poisoned as error:
        run.poisoned(error)
        return TRUSTED
    fit = fit_of(pairs, judge) if judge.accept_probability else None
    found = youden(pairs, fit, judge)
    rejected = tuple((c, _reason(j, judge.least_j)) for c, j in found.items() if j < judge.least_j)
    told = {f"trust/j/{category}": 100 * j for category, j in found.items()}
    await run.report.note(
        "trust", round_,
        {"trust/pairs": float(len(pairs)), "trust/untrusted": float(len(rejected)), **told},
    )  # fmt: skip
    for category, reason in rejected:
        run.report.on_event("judge", "teaches nothing", category=category, why=reason)
    return Trust(fit, rejected)


async def _judged_pairs(run: RunActors, round_: int, version: int) -> list[Pair]:
    config, deadline = run.config, run.config.actors.task_deadline
    rounds = range(round_ - 1, max(0, round_ - 1 - ROUNDS), -1)
    planted: Any = _pairs.remote(run.folder / "replay", rounds, config.judge, config.seed)
    kinds, shown = planted
    categories = await within(kinds, deadline, f"the planted pairs before round {round_}")

    async def read(first: int) -> list[Judgement]:
        task = Task(round_, "calibrator", first, run.judge_version(version))
        ref = await run.judges.run(ReadSignals(task, first, AT_ONCE), shown)
        return await within(ref, deadline, f"the signals of {task}")

    parts = await asyncio.gather(*map(read, range(0, len(categories), AT_ONCE)))
    judged = [each for part in parts for each in part]
    return list(map(Pair, categories[::2], judged[::2], judged[1::2]))


@ray.remote(num_cpus=0, num_returns=2)
def _pairs(
    log: StoragePath, rounds: Sequence[int], judge: JudgeConfig, seed: int
) -> tuple[list[str], list[Shown]]:
    """The categories of what is shown, and what is shown: right and wrong in turn."""
    found: dict[str, list[Shown]] = {}
    for round_ in rounds:
        files = round_files(log, round_)
        known = words_of([text for file in files for text in _prompts(file)])
        for file in files:
            for group in read_segment(file):
                own = found.setdefault(group.category, [])
                if len(own) < 2 * judge.planted:
                    own += pair(group, known, judge, seed)
        if found and min(map(len, found.values())) == 2 * judge.planted:
            break
    shown = [each for category in sorted(found) for each in found[category]]
    return [category for category, *_ in shown], shown


def _prompts(file: StoragePath) -> list[str]:
    return read_texts(file).column("prompt").to_pylist()


def fit_of(pairs: Sequence[Pair], judge: JudgeConfig) -> Fit | None:
    """None where there are too few pairs all of whose signals could be read."""
    whole = [
        each
        for each in pairs
        if len(each.right.signals) == len(each.wrong.signals) == len(judge.signals)
    ]
    if len(whole) < LEAST_TO_FIT:
        return None
    sides = [(pair.right, True) for pair in whole] + [(pair.wrong, False) for pair in whole]
    rows = [[dict(side.signals)[name] for name in judge.signals] for side, _ in sides]
    return fitted(judge.signals, rows, [label for _, label in sides])


def youden(pairs: Sequence[Pair], fit: Fit | None, judge: JudgeConfig) -> dict[str, float]:
    """J = TPR - FPR in each category with pairs enough."""
    found: dict[str, list[float]] = {}
    for each in pairs:
        right, wrong = (_accepts(side, fit, judge) for side in (each.right, each.wrong))
        if right is not None and wrong is not None:
            found.setdefault(each.category, []).append(float(right) - float(wrong))
    return {
        category: sum(own) / len(own)
        for category, own in sorted(found.items())
        if len(own) >= LEAST_OF_CATEGORY
    }


def _accepts(said: Judgement, fit: Fit | None, judge: JudgeConfig) -> bool | None:
    """None where it cannot be told."""
    if fit is None:
        return None if said.score is None else said.score >= judge.accept_at
    known: Mapping[str, float] = dict(said.signals)
    if not set(fit.signals) <= set(known):
        return None
    return fit.probability([known[name] for name in fit.signals]) >= judge.accept_probability


def _reason(j: float, least: float) -> str:
    return f"{UNTRUSTED}J of planted pairs is {100 * j:.0f} %, under {100 * least:.0f} %"
