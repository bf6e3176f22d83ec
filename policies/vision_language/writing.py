"""Texts word by word, for many rows at once, through transformers' own layers and cache.

Invariant: a conversation is read once for all rows that go on from it. A row's words are at the positions
after its own conversation, whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from policies import passed
from policies.sampling import Ids
from policies.vision_language.chat import Read
from policies.vision_language.module import Batch, VisionLanguageModule, batch_of
from policies.vision_language.seeing import Eye


class Guide(Protocol):
    """Says which words may come next in each row, from its first one on."""

    def masked(self, logits: Tensor) -> Tensor:
        """logits [rows, words] -> the same, -inf where a row must not go on so."""
        ...

    def advance(self, ids: Tensor) -> None:
        """Each row went on with its word, int64 [rows]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these (int64)."""
        ...


class Writer:
    """The parts that `policies.sampling.sample` needs, for contexts `(i,)` of conversations that were
    `read`. A `guide` knows the rows in the order of `sample`'s."""

    def __init__(
        self,
        module: VisionLanguageModule,
        eye: Eye,
        read: Sequence[Read],
        guide: Guide | None = None,
    ) -> None:
        self.module, self.eye, self.read, self.guide = module, eye, read, guide

    def head(self, states: Tensor) -> Tensor:
        logits = self.module.head(states)
        return self.guide.masked(logits) if self.guide else logits

    def prefill(self, contexts: Sequence[Ids], rows: Tensor, slots: int) -> tuple[Tensor, Written]:
        from transformers import DynamicCache

        own = [self.read[i] for (i,) in contexts]
        # `sample` counts each context as one token.
        passed.add(sum(len(each.ids) - 1 for each in own))
        ids, mask = batch_of([each.ids for each in own], True, self.module.device)
        seen = looked(self.eye, [picture for each in own for picture in each.pictures], self.module)
        batch = Batch(ids, mask, seen)
        positions = self.module.positions(batch)
        cache: Any = DynamicCache(config=self.module.described)
        states = self.module.states(batch, positions, cache)[:, -1]
        cache.batch_select_indices(rows)
        following = self.module.following(positions)
        return states[rows], Written(self, cache, mask[rows], following[..., rows, :])


def looked(eye: Eye, pictures: Sequence[Any], module: VisionLanguageModule) -> dict[str, Tensor]:
    """What the model takes of these pictures."""
    seen = eye.tensors(pictures) if pictures else {}
    return {name: each.to(module.device) for name, each in seen.items()}


class Written:
    """What rows have read and written: a `policies.sampling.Cache`."""

    def __init__(self, writer: Writer, cache: Any, mask: Tensor, positions: Tensor) -> None:
        self.writer, self.cache, self.mask, self.positions = writer, cache, mask, positions

    def step(self, ids: Tensor, slot: int) -> Tensor:
        if self.writer.guide:
            self.writer.guide.advance(ids)
        return self.go_on(ids)

    def go_on(self, ids: Tensor, fed: Tensor | None = None) -> Tensor:
        """The next token of every row, int64 [rows] -> their states [rows, hidden]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1)
        batch = Batch(ids[:, None], self.mask, fed=fed)
        states = self.writer.module.states(batch, self.positions, self.cache)[:, -1]
        self.positions = self.positions + 1
        return states

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[..., rows, :]
        if self.writer.guide:
            self.writer.guide.keep(rows)
