"""Adds marks up to UniCycle's scores (paper, section 3.4), with their uncertainty.

Invariant: Soft(T) is the mean of an instance's marks s_k, Hard(T) is 1 if all s_k are 1, and a final
score is the mean over instances times 100. An instance without questions is refused, since neither
formula is defined for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.seeds import generator

RESAMPLES = 2000
"""Of the bootstrap: enough that the ends of a 95 % interval move by less than a tenth of it."""


def soft(marks: Sequence[float]) -> float:
    """Returns Soft(T), from 0 to 1. Raises ValueError if there are no marks."""
    return sum(_known(marks)) / len(marks)


def hard(marks: Sequence[float]) -> float:
    """Returns Hard(T), 0 or 1. Raises ValueError if there are no marks."""
    return float(all(each == 1 for each in _known(marks)))


def final(values: Sequence[float]) -> float:
    """Returns a final score, 0 to 100: the mean over prompts of Soft(T) or Hard(T)."""
    return 100 * sum(_known(values)) / len(values)


def interval(values: Sequence[float], weights: Sequence[float] = ()) -> tuple[float, float]:
    """Returns the 95 % interval of `final(values)`, or of their mean with `weights`, by a bootstrap over
    instances: questions of one drawing are right and wrong together, and are no sample of their own. The
    same values give the same interval."""
    each = np.asarray(_known(values), dtype=np.float64)
    own = np.asarray(weights or [1.0] * len(each))
    random = generator("bootstrap", len(each))
    drawn = (random.integers(len(each), size=len(each)) for _ in range(RESAMPLES))
    means = [100 * np.average(each[places], weights=own[places]) for places in drawn]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _known(values: Sequence[float]) -> Sequence[float]:
    if not values:
        raise ValueError("There is nothing to average: give one number or more.")
    return values
