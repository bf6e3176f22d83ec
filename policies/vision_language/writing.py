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

READ_AT_ONCE = 8192
"""Tokens, padding included."""


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
        """As many conversations at a time as have READ_AT_ONCE tokens, to bound the memory."""
        own = [self.read[i] for (i,) in contexts]
        # `sample` counts each context as one token.
        passed.add(sum(len(each.ids) - 1 for each in own))
        ids, mask = batch_of([each.ids for each in own], True, self.module.device)
        size = max(1, READ_AT_ONCE // ids.shape[1])
        parts = [slice(at, at + size) for at in range(0, len(own), size)]
        states, caches, following = zip(
            *(self._prefilled(own[part], ids[part], mask[part]) for part in parts), strict=True
        )
        cache, positions = _joined(caches), torch.cat(following, -2)
        cache.batch_select_indices(rows)
        return torch.cat(states)[rows], Written(self, cache, mask[rows], positions[..., rows, :])

    def _prefilled(
        self, own: Sequence[Read], ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Any, Tensor]:
        """The last state of each, what was read of them, and their next positions."""
        from transformers import DynamicCache

        seen = looked(self.eye, [picture for each in own for picture in each.pictures], self.module)
        batch = Batch(ids, mask, seen)
        positions = self.module.positions(batch)
        cache: Any = DynamicCache(config=self.module.described)
        states = self.module.states(batch, positions, cache)[:, -1]
        return states, cache, self.module.following(positions)


def _joined(caches: Sequence[Any]) -> Any:
    """One cache of the rows of all, which have read equally many tokens."""
    first = caches[0]
    for place, layer in enumerate(first.layers if len(caches) > 1 else ()):
        layer.keys = torch.cat([cache.layers[place].keys for cache in caches])
        layer.values = torch.cat([cache.layers[place].values for cache in caches])
    return first


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
