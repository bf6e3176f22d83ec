"""What a step of learning did, as the journal has it.

Invariant: every figure is of the whole step, over all ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from policies.interface import LossKind, Pattern


@dataclass(frozen=True)
class Learned:
    """What a step did: for each pattern its mean loss, the means of its kinds added by their
    weights, and how many tokens or latent values it is of; the mean of each `kinds` alone; the norm
    of the gradient before clipping; the learning rate; and the mean loss of winners against losers
    over so many `pairs`. `passed` tokens went forward and back, `referenced` ones only forward
    through what the contrast is told by."""

    losses: dict[Pattern, float]
    kinds: dict[Pattern, dict[LossKind, float]]
    tokens: dict[Pattern, int]
    grad_norm: float
    lr: float
    contrast: float = 0.0
    pairs: int = 0
    passed: int = 0
    referenced: int = 0


NOTHING = Learned({}, {}, {}, 0.0, 0.0)
"""What a step did that was skipped."""


class Accumulated(NamedTuple):
    """What a pattern's part of a step came to: the mean loss of each kind, the count of all tokens or
    latent values, and the mean loss of so many pairs of a winner and a loser."""

    means: dict[LossKind, float]
    tokens: int
    contrast: float
    pairs: int
