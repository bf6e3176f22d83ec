"""Drawing as `policies.sampling` samples: codes alone are chosen, and what ends a row is put in.

Invariant: after each row of a drawing but the last, its end is read, in a place of its own, before
the next code is chosen: every drawing has the grid that its header announced, by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from policies import passed
from policies.emu3.module import Emu3Module
from policies.llama import Cache, prefill
from policies.sampling import Ids


class Grid:
    """A `policies.sampling.Cache` of drawings that are `width` codes wide; `first` is the place of
    the first code, and `end` the id of what ends a row."""

    def __init__(self, cache: Cache, first: int, width: int, end: int) -> None:
        self.cache, self.first, self.width, self.end = cache, first, width, end

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        rows, column = divmod(slot - self.first, self.width)
        x = self.cache.step(ids, slot + rows)
        if column + 1 < self.width:
            return x
        passed.add(len(ids))
        return self.cache.step(torch.full_like(ids, self.end), slot + rows + 1)


def prefill_grid(
    module: Emu3Module,
    height: int,
    width: int,
    end: int,
    contexts: Sequence[Ids],
    rows: Tensor,
    slots: int,
) -> tuple[Tensor, Grid]:
    """A `policies.sampling.Prefill` but for the first four arguments, for drawings of `height` x
    `width` codes."""
    ends = height - 1
    x, cache = prefill(
        module.model.text_model, module.embed, module.embed, contexts, rows, slots + ends
    )
    return x, Grid(cache, max(map(len, contexts)), width, end)
