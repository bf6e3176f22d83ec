"""Drawings by a flow: contexts are read once, then all drawings and branches take every step in one call.

Invariant: a drawing depends on its contexts, noise, times and guidance alone; that others are drawn
with it changes a result only by floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from policies import passed
from policies.flowing.cache import Cache, joined
from policies.flowing.samples import Grid, length

READ_AT_ONCE = 2**14
"""Places of contexts that pass forward together: of more the activations would not fit."""


class Outputs(NamedTuple):
    """`logits` float32 [scored words, vocabulary], and `velocities` float32 [drawn latents, latent
    values]."""

    logits: Tensor
    velocities: Tensor


class Reads(Protocol):
    """A module that reads samples of splits with `places` into a cache and gives `Outputs`. Its
    batches have `positions`, `sight`, `ends`, `latents` and `times`; `form` is whatever it makes them
    with."""

    def __call__(self, batch: Any, cache: Any) -> Any: ...

    def padded(self, samples: Any, form: Any, starts: Sequence[int] = ()) -> Any: ...

    def blank(self, form: Any, grid: Grid) -> Any: ...

    def new_cache(self, rows: int, slots: int) -> Cache: ...


class Contexts:
    """What rows of `samples` have read, without gradients: `cache`, and `ends`, the positions that
    follow. Contexts that several branches or drawings share are given once."""

    def __init__(self, module: Reads, form: Any, samples: Sequence[Any]) -> None:
        caches, ends = list[Cache](), list[int]()
        for part in _parts(samples):
            batch = module.padded(part, form)
            rows, places = batch.positions.shape
            cache = module.new_cache(rows, places)
            if batch.positions.numel():
                module(batch.on(cache.seen.device), cache)
                passed.add(sum(map(length, part)))
            cache.keep(batch.sight.sample >= 0)
            caches.append(cache)
            ends += batch.ends
        self.cache, self.ends = joined(caches), tuple(ends)


def _parts(samples: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """All samples, as many at a time as READ_AT_ONCE allows with their padding, or one."""
    begin = longest = 0
    for at, sample in enumerate(samples):
        longest = max(longest, length(sample))
        if at > begin and (at + 1 - begin) * longest > READ_AT_ONCE:
            yield samples[begin:at]
            begin, longest = at, length(sample)
    yield samples[begin:]


class Drawings:
    """The `flow.Velocities` of drawings of these grids, the context of whose branch b of row r is
    `of[b][r]` (int64 [branches, rows], on the CPU). Velocities of rows of fewer tokens are padded
    with zeros."""

    def __init__(
        self, module: Reads, form: Any, contexts: Contexts, of: Tensor, grids: list[Grid]
    ) -> None:
        self.module, self.form, self.contexts, self.of = module, form, contexts, of
        self.grids, self.tokens = grids, [rows * columns for rows, columns in grids]
        self.most = max(self.tokens, default=0)
        self._asked: tuple[list[int], list[int]] | None = None

    def __call__(self, x: Tensor, t: Tensor, row: Tensor, branch: Tensor) -> Tensor:
        asked = (row.tolist(), branch.tolist())
        if self._asked != asked:  # which is only at the ends of the interval of guidance
            self._prepare(row, branch)
            self._asked = asked
        flat = x[self._row].flatten(0, 1).index_select(0, self._held)
        batch = replace(self._batch, latents=flat, times=t[row].to(x.device))
        found = self.module(batch, self._cache).velocities
        passed.add(len(flat))
        whole = found.new_zeros(len(row) * self.most, found.shape[1])
        return whole.index_copy_(0, self._held, found).view(len(row), self.most, -1)

    def _prepare(self, row: Tensor, branch: Tensor) -> None:
        self._cache: Cache | None = None  # the old one goes before the new one comes
        self._asked = None
        of = self.of[branch, row]
        kept = self.contexts.cache
        self._cache = kept.rows(of, self.most + 2)
        device = kept.seen.device
        samples = [self.module.blank(self.form, self.grids[r]) for r in row.tolist()]
        starts = [self.contexts.ends[i] for i in of.tolist()]
        batch = self.module.padded(samples, self.form, starts)
        self._batch = batch.on(device, self._cache.seen)
        counts = torch.tensor([self.tokens[r] for r in row.tolist()])
        held = torch.arange(self.most) < counts[:, None]
        self._held = held.flatten().nonzero().flatten().to(device)
        self._row = row.to(device)
