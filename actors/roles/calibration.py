"""How probable it is that a drawing is right, from several signals of the Judge, and in which categories
the Judge cannot be trusted.

Invariant: a fit follows from its rows and labels alone, and what is kept of it is read back to the
same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RIDGE = 0.1
"""Holds the weights finite where the signals tell all pairs apart; they are of signals that were
brought to a spread of 1."""
STEPS = 50
ENOUGH = 1e-10
"""A step of Newton's method that is shorter than this is the last."""


@dataclass(frozen=True)
class Fit:
    """P(right) = 1 / (1 + exp(-(bias + weights . signals)))."""

    signals: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float

    def probability(self, row: Sequence[float]) -> float:
        logit = self.bias + math.fsum(w * x for w, x in zip(self.weights, row, strict=True))
        # exp() of a large number overflows; of a very negative one it is 0.
        odds = math.exp(-abs(logit))
        return (1.0 if logit >= 0 else odds) / (1.0 + odds)


@dataclass(frozen=True)
class Trust:
    """What planted pairs of earlier rounds tell of a round's Judge: how to combine its signals, and
    for what reason groups of which categories are rejected."""

    fit: Fit | None = None
    rejected: tuple[tuple[str, str], ...] = ()

    def reason(self, category: str) -> str:
        """Empty for a category in which the Judge is trusted."""
        return dict(self.rejected).get(category, "")

    def row(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        return asdict(self)


TRUSTED = Trust()
"""What holds where nothing was measured."""


def trust_of(row: Mapping[str, Any]) -> Trust:
    """The trust that gave the row. Raises ValueError, KeyError or TypeError for another one."""
    fit = row["fit"]
    rejected = tuple((str(category), str(reason)) for category, reason in row["rejected"])
    if fit is None:
        return Trust(None, rejected)
    weights = tuple(float(weight) for weight in fit["weights"])
    if len(weights) != len(fit["signals"]):
        raise ValueError("the fit has not one weight for each signal")
    return Trust(Fit(tuple(fit["signals"]), weights, float(fit["bias"])), rejected)


def fitted(signals: Sequence[str], rows: Sequence[Sequence[float]], labels: Sequence[bool]) -> Fit:
    """The logistic regression of `labels`, of which there are both, on `rows`: by Newton's method,
    with a ridge, and no step that does not lower the loss."""
    table, wanted = np.array(rows, np.float64), np.array(labels, np.float64)
    middle, spread = table.mean(0), table.std(0)
    spread[spread == 0] = 1.0
    design = np.column_stack([(table - middle) / spread, np.ones(len(table))])
    ridge = np.array([RIDGE] * table.shape[1] + [0.0])

    def loss(at: np.ndarray) -> float:
        logits = design @ at
        return float(
            (np.logaddexp(0.0, logits) - wanted * logits).sum() + (ridge * at * at).sum() / 2
        )

    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (chance - wanted) + ridge * found
        # The clipped chance is never quite 0 or 1, so the curvature can be inverted.
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        while loss(found - step) > loss(found) and np.abs(step).max() >= ENOUGH:
            step /= 2
        if np.abs(step).max() < ENOUGH:
            break
        found -= step
    weights = found[:-1] / spread
    return Fit(tuple(signals), tuple(weights.tolist()), float(found[-1] - weights @ middle))


def score_of(probability: float, least: float, accept_at: float) -> float:
    """The score from 0 to 10 that rises with the probability and is `accept_at` at `least`: so it
    means the same for all that compare scores, whether a round has a fit or not."""
    if probability < least:
        return accept_at * probability / least
    above = (10.0 - accept_at) * (probability - least) / (1.0 - least)
    return min(10.0, accept_at + above)
