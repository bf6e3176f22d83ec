"""Compares two versions on the same prompts and seeds: how certain is a gain?

Invariant: both sides are outcomes of the same questions in the same order, so that what is hard for
every version cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Returns the mean of after - before, and half the width of its 95 % interval (normal). Raises
    ValueError unless both have the same number of outcomes, at least one."""
    if len(before) != len(after) or not before:
        raise ValueError(
            f"{len(before)} outcomes before and {len(after)} after cannot be paired: "
            "measure both versions with the same settings."
        )
    differences = [b - a for a, b in zip(before, after, strict=True)]
    mean = sum(differences) / len(differences)
    spread = sum((d - mean) ** 2 for d in differences) / max(1, len(differences) - 1)
    return mean, 1.96 * math.sqrt(spread / len(differences))


def over_seeds(outcomes: Sequence[Sequence[float]]) -> list[float]:
    """The mean outcome of each question over runs that differ in their seed, so that the interval of a
    `gain` between two such lists is that of the questions: how runs differ, it does not say. Raises
    ValueError unless all have as many."""
    return [sum(each) / len(each) for each in zip(*outcomes, strict=True)]


def interval(right: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, `right` of `count` (Wilson's, which holds at 0 and 1 too)."""
    z2 = 1.96**2
    middle = (right + z2 / 2) / (count + z2)
    half = 1.96 * math.sqrt(right * (count - right) / count + z2 / 4) / (count + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
