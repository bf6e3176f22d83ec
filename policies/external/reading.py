"""Reads contexts once for all rows that go on from them, then goes on token by token.

Invariant: weights are read in place and never written. Contexts are padded on the left, so that the
next token of every row has the same slot; the padding is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.external.module import ExternalModule
from policies.sampling import Ids

Positions = Callable[[Ids], np.ndarray]
"""Ids of a context -> its positions, int64 [axes, tokens]."""


class Read:
    """What rows have read: a `policies.sampling.Cache`. `seen` int64 [rows, slots] is 1 but for the
    padding, and `following` int64 [axes, rows] the next token's position."""

    def __init__(
        self, module: ExternalModule, cache: Any, seen: Tensor, following: Tensor, used: int
    ) -> None:
        self.module, self.cache, self.seen, self.following = module, cache, seen, following
        self.used = used

    def step(self, ids: Tensor, slot: int) -> Tensor:
        return self.go_on(self.module.embed(ids[:, None], None)[:, 0])

    def go_on(self, x: Tensor) -> Tensor:
        """Embeddings [rows, hidden] of the next token of every row -> its states [rows, hidden]."""
        self.used += 1
        how = {self.module.cache_name: self.cache, "attention_mask": self.seen[:, : self.used]}
        states = self.module.read(x[:, None], self.following[..., None], use_cache=True, **how)
        self.following = self.following + 1
        return states[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.seen, self.following = self.seen[rows], self.following[:, rows]


def prefill(
    module: ExternalModule, positions: Positions, features: Tensor | None,
    contexts: Sequence[Ids], rows: Tensor, slots: int,
) -> tuple[Tensor, Read]:  # fmt: skip
    """A `policies.sampling.Prefill` but for the first three arguments; `features` are those of the
    contexts' pictures."""
    from transformers import DynamicCache

    longest, device = max(map(len, contexts)), rows.device
    ids = np.zeros((len(contexts), longest), dtype=np.int64)
    seen = np.ones((len(contexts), slots), dtype=np.int64)
    axes = len(positions(contexts[0]))
    at = np.zeros((axes, len(contexts), longest), dtype=np.int64)
    for i, context in enumerate(contexts):
        begin = longest - len(context)
        ids[i, begin:], seen[i, :begin], at[:, i, begin:] = context, 0, positions(context)
    following = torch.from_numpy(at.max((0, 2)) + 1).to(device)[rows].expand(axes, -1)
    mask = torch.from_numpy(seen).to(device)
    cache = DynamicCache(config=module.language_model.config)
    x = module.embed(torch.from_numpy(ids).to(device), features)
    how = {module.cache_name: cache, "attention_mask": mask[:, :longest], "use_cache": True}
    states = module.read(x, torch.from_numpy(at).to(device), **how)[:, -1]
    cache.batch_select_indices(rows)
    return states[rows], Read(module, cache, mask[rows], following, longest)
