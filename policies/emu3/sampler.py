"""Drawing as `policies.sampling` samples: codes alone are chosen, and what ends a row is put in.

Invariant: after each row of a drawing but the last, its end is read, in a place of its own, before
the next code is chosen: every drawing has the grid that its header announced, by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from policies import passed
from policies.emu3.module import Emu3Module
from policies.emu3.pictures import Sides, numbers_by
from policies.llama import Cache, Layers, prefill
from policies.sampling import Ids, Row, Sampled, sample


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


def sample_grids(
    module: Emu3Module,
    rows: Sequence[Row],
    grids: Sequence[Sides],
    codes: slice,
    end: int,
    keep_logits: bool,
) -> Sampled:
    """Goes on with each row to the `codes` of a drawing of its grid, whose rows `end` ends. Drawings
    of one grid are sampled together."""
    tokens: dict[int, np.ndarray] = {}
    logits: dict[int, np.ndarray] = {}
    head = partial(module.head, kinds=codes)
    for grid, alike in numbers_by(grids).items():
        read, some = partial(_prefill, module, grid, end), [rows[i] for i in alike]
        made = sample(read, head, some, codes.start, None, keep_logits, module.device)
        tokens |= dict(zip(alike, made.tokens, strict=True))
        logits |= dict(zip(alike, made.logits, strict=False))  # of which there may be none
    ordered = range(len(rows))
    return Sampled([tokens[i] for i in ordered], [logits[i] for i in ordered if logits])


def _prefill(
    module: Emu3Module, grid: Sides, end: int, contexts: Sequence[Ids], rows: Tensor, slots: int
) -> tuple[Tensor, Grid]:
    """A `policies.sampling.Prefill` but for the first three arguments."""
    height, width = grid
    llama, whole = module.model.text_model, slots + height - 1
    embed = module.embed
    x, cache = prefill(Layers(llama), llama, embed, embed, contexts, rows, whole)
    return x, Grid(cache, max(map(len, contexts)), width, end)
