"""Sequences that are whole already, read in one pass: for losses and for likelihoods.

Invariant: the state at a place predicts the token at the next one, and padding on the right is
never seen by causal attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policies import passed

SCORED_AT_ONCE = 16
"""Sequences whose likelihoods are worked out together: their logits are large."""


class Forced(NamedTuple):
    """`ids` int64 [rows, longest]; the states at the flat `places`, int64 [n] into [rows *
    longest], predict the tokens `wanted`, int64 [n]."""

    ids: Tensor
    places: Tensor
    wanted: Tensor


def teacher_forced(
    rows: Sequence[Sequence[int] | np.ndarray],
    wanted: Sequence[np.ndarray],
    pad: int,
    device: torch.device,
) -> Forced:
    """`wanted` has for each row the places, from 1 on, of the tokens that are to be predicted."""
    passed.add(sum(map(len, rows)))
    longest = max(map(len, rows))
    padded = np.full((len(rows), longest), pad, dtype=np.int64)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    places = [each - 1 + i * longest for i, each in enumerate(wanted)]
    flat = torch.from_numpy(np.concatenate(places)).to(device)
    ids = torch.from_numpy(padded).to(device)
    return Forced(ids, flat, ids.flatten()[flat + 1])


def totals(values: Tensor, counts: Sequence[int]) -> Tensor:
    """The sums [examples] of values [n] that stand example by example, `counts` of each."""
    return torch.stack([own.sum() for own in values.split(list(counts))])


def chunks(count: int) -> Iterator[slice]:
    """All of `count` rows, some at a time."""
    for start in range(0, count, SCORED_AT_ONCE):
        yield slice(start, start + SCORED_AT_ONCE)
