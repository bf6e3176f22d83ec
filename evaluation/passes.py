"""How many held-out prompts a version draws right in one of several tries (pass@k), beside one try.

What a version can draw at all bounds what choosing among its own drawings can teach it; a version that
is only sharper gains at one try, and nothing at k.

Invariant: all tries of all versions have the same names and so the same seeds, and each version draws
at the setting that suits it best among those at which tries differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from actors.pool.pool import Pool
from actors.retry import made_again
from actors.storage.paths import run_folder
from evaluation import best_setting
from evaluation.best_setting import described, right_drawings
from evaluation.config import Settings
from evaluation.kept import Found, kept, read, version_file
from evaluation.measure import Bench
from evaluation.metrics import tell
from evaluation.selection import best_sampled, fixed_sampling, inference_settings
from evaluation.suites import Suite
from policies.interface import PictureSampling

KIND = "passes"
AT_ONE, AT_K = "passes/at_1", "passes/at_k"
FIRST_TASK = 2 * 10**6
"""Tries are numbered from here on, behind what is selected on."""


async def measure_passes(
    version: int, config: Settings, suite: Suite, solvers: Pool, judges: Pool
) -> dict[str, float]:
    """pass@1 (the mean of all tries) and pass@k of `version`, in percent, with k and the setting; kept
    as `measure` keeps its own. It follows `measure_best`. Empty unless tries are asked for, and for
    a suite without categories."""
    tries = config.evaluation.passes
    if not tries or not suite.categories:
        return {}
    folder = run_folder(config)

    async def make() -> Found:
        bench = await asyncio.to_thread(Bench, version, config, suite, solvers, judges)
        how = fixed_sampling(config)
        if config.evaluation.selection_prompts:
            chosen = await asyncio.to_thread(read, version_file(folder, version, best_setting.KIND))
            settings = inference_settings(config)
            how = settings[best_sampled(settings, [each["right"] for each in chosen["tried"]])]
        return found_in(await _draw(bench, how, tries)) | {"k": tries, "setting": described(how)}

    found = await kept(version_file(folder, version, KIND), version, config, make)
    values: dict[str, float] = {**found["values"], "passes/k": found["k"]}
    values |= {f"passes/{name}": value for name, value in found["setting"].items()}
    await tell(config, {"kind": KIND, "version": version}, values)
    return values


async def _draw(bench: Bench, how: PictureSampling, tries: int) -> list[list[bool]]:
    """Which of its tries are right, for each held-out prompt."""
    prompts = [[item.prompt for item in items] for items in bench.items]
    async with asyncio.TaskGroup() as tasks:
        drawn = [
            [
                tasks.create_task(made_again(partial(right_drawings, bench, task, own, how)))
                for task, own in enumerate(prompts, FIRST_TASK + number * len(prompts))
            ]
            for number in range(tries)
        ]
    each = [[right for task in own for right in task.result()] for own in drawn]
    return [list(of_prompt) for of_prompt in zip(*each, strict=True)]


def found_in(right: Sequence[Sequence[bool]]) -> Found:
    """What is kept of the tries of every prompt."""
    outcomes = {
        AT_ONE: [round(sum(own) / len(own), 4) for own in right],
        AT_K: [float(any(own)) for own in right],
    }
    values = {name: 100 * sum(each) / len(each) for name, each in outcomes.items()}
    return {"values": values, "outcomes": outcomes, "samples": []}
