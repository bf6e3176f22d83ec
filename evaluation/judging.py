"""Two signs of a Judge that collapses: how far its scores drift from the base model's on a fixed
set, and how well they correlate with UniCycle.

Invariant: a drawing without a readable score on one side stays out of both numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evaluation.suites import Suite
from policies.interface import Picture

JUDGED = 100
"""How many drawings and scenes each version judges at most; a judgement costs several answers."""

Score = float | None


def fixed_set(
    suite: Suite, scenes: Sequence[tuple[Picture, str]]
) -> list[tuple[str, str, Picture]]:
    """Returns (category, prompt, picture) to judge: alternately scenes with their own prompt and
    scenes with the prompt of the next scene of their category."""
    kinds = len(suite.categories)
    made = []
    for i, (picture, prompt) in enumerate(scenes[:JUDGED]):
        if i // kinds % 2:
            prompt = scenes[(i + kinds) % len(scenes)][1]
        made.append((suite.categories[i % kinds], prompt, picture))
    return made


def drift(base: Sequence[Score], now: Sequence[Score]) -> float | None:
    """Returns the mean distance of two Judges' scores, 0 to 10; None if no drawing has both."""
    both = [abs(a - b) for a, b in zip(base, now, strict=True) if a is not None and b is not None]
    return sum(both) / len(both) if both else None


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Returns Pearson's correlation; None if one side never varies."""
    if len(pairs) < 2:
        return None
    first, other = np.array(pairs, dtype=np.float64).T
    if first.std() == 0 or other.std() == 0:
        return None
    value = float(np.corrcoef(first, other)[0, 1])
    return value if math.isfinite(value) else None
