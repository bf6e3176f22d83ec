"""Which inference setting suits a version best, chosen on prompts that do not measure.

Invariant: the selection prompts are held out and none of them is a measured prompt, so choosing
among settings cannot flatter the setting that is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from actors.roles.solver import measured_sampling
from evaluation.config import EvaluationConfig, Settings
from evaluation.suites import Suite
from policies.interface import PictureSampling
from policies.seeds import derive

FIRST_TASK = 10**6
"""Selection tasks are numbered from here on: measured slices and scenes come first."""


def fixed_sampling(config: Settings) -> PictureSampling:
    """How every version is drawn from, to be compared with the others."""
    own = config.evaluation
    return measured_sampling(config.solver, own.temperature, own.guidance)


def inference_settings(config: Settings) -> list[PictureSampling]:
    """Every temperature with every guidance and number of steps, in the order of the recipe."""
    own, fixed = config.evaluation, fixed_sampling(config)
    return [
        replace(fixed, temperature=temperature, guidance=guidance, steps=steps)
        for steps in own.steps or (fixed.steps,)
        for guidance in own.guidances or (fixed.guidance,)
        for temperature in own.temperatures
    ]


def selection_prompts(suite: Suite, config: EvaluationConfig) -> list[str]:
    """`selection_prompts` held-out prompts that are not measured, as evenly over the categories as
    the suite has others. A category whose held-out prompts are all measured has none here."""
    measured = {text for text, _ in suite.prompts(config.prompts, config.seed)}
    offered = suite.prompts(
        config.prompts + 2 * config.selection_prompts, derive(config.seed, "selection")
    )
    others = {text: category for text, category in offered if text not in measured}
    seen: Counter[str] = Counter()
    ranked = []
    for text, category in others.items():
        ranked.append((seen[category], text))
        seen[category] += 1
    ranked.sort(key=lambda each: each[0])
    return [text for _, text in ranked[: config.selection_prompts]]


def best(right: Sequence[int]) -> int:
    """The place of the largest count of right drawings; of equal ones the first."""
    return max(range(len(right)), key=lambda i: right[i])


def best_sampled(settings: Sequence[PictureSampling], right: Sequence[int]) -> int:
    """The same among those that are not greedy: there every drawing of a prompt would be alike."""
    places = [i for i, how in enumerate(settings) if how.temperature > 0]
    return places[best([right[i] for i in places])]
