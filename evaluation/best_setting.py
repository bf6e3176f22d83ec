"""Measures a version at its own best inference setting.

Invariant: the setting is chosen on prompts that do not measure, and then measured on the same
prompts and seeds as the fixed setting, so that a gain between two versions' best settings is
learning, and not a temperature that suits one of them better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from actors.pool.pool import Pool
from actors.retry import made_again, within
from actors.roles.requests import DrawEach
from actors.storage.paths import run_folder
from evaluation.config import Settings
from evaluation.kept import Found, kept, version_file
from evaluation.measure import Bench, slices, summary
from evaluation.metrics import tell
from evaluation.selection import FIRST_TASK, best, inference_settings, selection_prompts
from evaluation.suites import Suite
from policies.interface import Picture, PictureSampling

KIND = "best"
SCORES = {
    "best/all_right": "drawing/all_right",
    "best/soft": "drawing/soft",
    "best/unicycle_hard": "unicycle/hard",
    "best/unicycle_soft": "unicycle/soft",
}


async def measure_best(
    version: int, config: Settings, suite: Suite, solvers: Pool, judges: Pool
) -> dict[str, float]:
    """The scores of `version` at its best setting, and that setting; kept as `measure` keeps its
    own. Empty for a suite without categories, and where no selection prompts are asked for."""
    if not suite.categories or not config.evaluation.selection_prompts:
        return {}
    folder = run_folder(config)

    async def make() -> Found:
        bench = await asyncio.to_thread(Bench, version, config, suite, solvers, judges)
        prompts = await asyncio.to_thread(selection_prompts, suite, config.evaluation)
        settings = inference_settings(config)
        right = await _try(bench, prompts, settings)
        found = summary(await bench.draw(settings[best(right)]), [])
        tried = [described(how) | {"right": n} for how, n in zip(settings, right, strict=True)]
        return found | {"prompts": len(prompts), "tried": tried, "best": tried[best(right)]}

    found = await kept(version_file(folder, version, KIND), version, config, make)
    values: dict[str, float] = {name: found["values"][own] for name, own in SCORES.items()}
    values |= {f"best/{name}": value for name, value in found["best"].items() if name != "right"}
    await tell(config, {"kind": KIND, "version": version}, values)
    return values


def described(how: PictureSampling) -> dict[str, float]:
    """The setting as it is kept."""
    steps = {"steps": how.steps} if how.steps else {}
    return {"temperature": how.temperature, "guidance": how.guidance, **steps}


async def _try(bench: Bench, prompts: list[str], settings: Sequence[PictureSampling]) -> list[int]:
    """How many drawings of `prompts` are right at each setting."""
    parts = list(enumerate(slices(prompts, bench.settings.prompts_per_task), FIRST_TASK))
    async with asyncio.TaskGroup() as tasks:
        tried = [
            [
                tasks.create_task(made_again(partial(right_drawings, bench, index, part, how)))
                for index, part in parts
            ]
            for how in settings
        ]
    return [sum(sum(task.result()) for task in own) for own in tried]


async def right_drawings(
    bench: Bench, index: int, prompts: list[str], how: PictureSampling
) -> list[bool]:
    """For each prompt whether its drawing by the task of that number is all right."""
    task = bench.task(index)
    pictures = await bench.solvers.run(DrawEach(task, how), prompts)
    async with bench.oracles:
        verdicts: Any = _verdicts.remote(bench.suite, prompts, pictures)
        found: list[bool] = await within(
            verdicts, bench.deadline, f"the oracle's verdicts for {task}"
        )
    return found


@ray.remote(num_cpus=0)
def _verdicts(suite: Suite, prompts: Sequence[str], pictures: list[Picture]) -> list[bool]:
    shown = zip(prompts, pictures, strict=True)
    return [bool(suite.verdict(picture.pixels, text).right) for text, picture in shown]
