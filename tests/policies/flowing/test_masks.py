"""A mask says the same in both of its forms, and is left out where there is nothing to hide."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from policies.bagel.sequence import padded
from policies.flowing.masks import Sight, attend, blocks, dense
from tests.policies.bagel.golden import close, form, training_samples

CLOSE = 1e-5


def example(slots: int) -> tuple[Sight, Tensor | None]:
    """Who sees whom, and which of so many slots of a cache each row sees."""
    sight = padded(training_samples("train")[0], form()).sight
    generator = torch.Generator().manual_seed(0)
    seen = torch.rand(len(sight.sample), slots, generator=generator) < 0.5
    return sight, seen if slots else None


@pytest.mark.parametrize("slots", [0, 5])
def test_blocks_say_what_the_dense_mask_says(slots: int) -> None:
    sight, seen = example(slots)
    rows, places = sight.sample.shape
    says = blocks(sight, seen).mask_mod
    row, place = torch.arange(rows)[:, None, None], torch.arange(places)[:, None]
    found = says(row, torch.tensor(0), place, torch.arange(slots + places))
    wanted = dense(sight, seen)
    assert wanted is not None and torch.equal(found, wanted[:, 0])


@pytest.mark.slow  # its first use imports torch's compiler, for half a minute on two cores
@pytest.mark.parametrize("slots", [0, 5])
def test_flexible_attention_equals_dense(slots: int) -> None:
    sight, seen = example(slots)
    rows, places = sight.sample.shape
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(rows, 4, places, 16, generator=generator)
    k, v = torch.randn(2, rows, 2, slots + places, 16, generator=generator)
    wanted = attend(q, k, v, dense(sight, seen))
    close(attend(q, k, v, blocks(sight, seen)), wanted, CLOSE)


def test_a_row_that_is_one_picture_needs_no_mask() -> None:
    same = torch.zeros(2, 3, dtype=torch.int64)
    assert dense(Sight(same, same, same)) is None
    assert dense(Sight(same, same, same), torch.tensor([[True], [False]])) is not None
