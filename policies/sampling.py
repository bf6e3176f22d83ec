"""Samples many rows at once, one token a step, whatever the transformer behind it.

Invariant: a row's tokens are those that its own context, temperature, guidance and random
numbers give; the other rows decide only how floating-point sums are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from policies import listening, passed
from policies.seeds import generator

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One sequence to go on with; it ends at the stop token or after `max_tokens` tokens. `free`
    is the context without its condition, for a row whose guidance is not 1."""

    context: Ids
    temperature: float
    guidance: float
    seed: int
    max_tokens: int
    free: Ids = ()


@dataclass(frozen=True)
class Sampled:
    """`tokens` int64, one array a row (the stop token left out). If asked for, `logits` float
    [steps, allowed] a row: after guidance, before temperature, the stop token's step included."""

    tokens: list[np.ndarray]
    logits: list[np.ndarray]


class Cache(Protocol):
    """What was read so far of every row, in a memory of fixed size."""

    def step(self, ids: Tensor, slot: int) -> Tensor:
        """One token a row, ids int64 [rows], goes to `slot` -> their states [rows, hidden]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these (int64)."""
        ...


Prefill = Callable[[Sequence[Ids], Tensor, int], tuple[Tensor, Cache]]
"""Reads each distinct context once, then gives every row (int64, its context's number) a copy:
the last place's state [rows, hidden] and the cache of so many slots, filled up to the longest."""

Head = Callable[[Tensor], Tensor]
"""States [rows, hidden] -> fresh float32 logits [rows, allowed]."""


class Chooser:
    """Turns logits into choices: guidance, temperature, and a uniform number for each step."""

    def __init__(self, rows: Sequence[Row], steps: int, device: torch.device) -> None:
        self.count = len(rows)
        guided = [i for i, row in enumerate(rows) if row.guidance != 1]
        self.guided = torch.tensor(guided, dtype=torch.int64, device=device)
        self.guidance = torch.tensor([[rows[i].guidance] for i in guided], device=device)
        temperature = torch.tensor([[row.temperature] for row in rows], device=device)
        self.greedy = temperature[:, 0] == 0
        self.any_greedy = bool(self.greedy.any())
        self.temperature = torch.where(temperature == 0, 1.0, temperature)
        drawn = [generator(int(row.seed)).random(steps, dtype=np.float32) for row in rows]
        self.uniforms = torch.from_numpy(np.stack(drawn)).to(device)

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these (int64)."""
        self.greedy, self.temperature = self.greedy[rows], self.temperature[rows]
        self.uniforms = self.uniforms[rows]

    def guide(self, logits: Tensor) -> Tensor:
        """logits [rows + guided rows, allowed], the unconditional ones last -> [rows, allowed]."""
        if not len(self.guided):
            return logits
        own, free = logits[: self.count], logits[self.count :]
        if len(self.guided) == self.count:
            return free + self.guidance * (own - free)
        own[self.guided] = free + self.guidance * (own[self.guided] - free)
        return own

    def choose(self, logits: Tensor, at: int) -> Tensor:
        """logits [rows, allowed], spent -> their choices int64 [rows]."""
        best = logits.argmax(-1) if self.any_greedy else None
        drawn = _draw(logits.div_(self.temperature), self.uniforms[:, at : at + 1])
        return drawn if best is None else torch.where(self.greedy, best, drawn)


def choose(logits: Tensor, temperature: Tensor, uniforms: Tensor) -> Tensor:
    """One choice a row, int64 [rows], of guided logits [rows, allowed], which are spent; the other
    two are [rows, 1], and a temperature of 0 is greedy. For who keeps no Chooser's state."""
    best, greedy = logits.argmax(-1), temperature == 0
    drawn = _draw(logits.div_(torch.where(greedy, 1.0, temperature)), uniforms)
    return torch.where(greedy[:, 0], best, drawn)


def _draw(scaled: Tensor, uniforms: Tensor) -> Tensor:
    """The inverse of each row's distribution at its uniform number."""
    heights = torch.softmax(scaled, -1).cumsum_(-1)
    aim = uniforms * heights[:, -1:]
    return torch.searchsorted(heights, aim, right=True)[:, 0].clamp_(max=scaled.shape[1] - 1)


@torch.inference_mode()
def sample(
    prefill: Prefill,
    head: Head,
    rows: Sequence[Row],
    first: int,
    stop: int | None = None,
    keep_logits: bool = False,
    device: torch.device | None = None,
) -> Sampled:
    """Goes on with each row; the tokens that `head` knows are numbered from `first` on.

    With `stop`, one of those, rows may end early, and must be unguided.
    """
    device = device or torch.device("cpu")
    steps = max(1, *(row.max_tokens for row in rows))
    chooser = Chooser(rows, steps, device)
    contexts = [row.context for row in rows] + [rows[i].free for i in chooser.guided.tolist()]
    distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
    places = torch.tensor([distinct[context] for context in contexts], device=device)
    longest = max(map(len, distinct))
    x, cache = prefill(list(distinct), places, longest + steps - 1)
    passed.add(sum(map(len, distinct)))
    tokens = torch.zeros(steps, len(rows), dtype=torch.int64, device=device)
    kept: list[Tensor] = []
    live = torch.arange(len(rows), device=device)
    limits = torch.tensor([row.max_tokens for row in rows], device=device)
    going = limits > 0
    for at in range(steps):
        logits = chooser.guide(head(x))
        if keep_logits:
            kept.append(logits.new_zeros(len(rows), logits.shape[1]).index_copy_(0, live, logits))
        picked = chooser.choose(logits, at) + first
        tokens[at].index_copy_(0, live, picked)
        if stop is not None:
            going &= picked != stop
        listening.tell(live, picked, going)
        if stop is not None:
            going &= limits[live] > at + 1
            left = going.nonzero()[:, 0]
            # Rows that have ended are carried along until half are: leaving one out costs a copy.
            if 0 < len(left) <= len(live) // 2:
                live, picked, going = live[left], picked[left], going[left]
                cache.keep(left)
                chooser.keep(left)
        # Without a stop token all rows are as long as their limits: nothing to ask the device.
        if at + 1 == steps or (stop is not None and not going.any()):
            break
        ids = torch.cat([picked, picked[chooser.guided]])
        x = cache.step(ids, longest + at)
        passed.add(len(ids))
    return _cut(rows, tokens.T.cpu().numpy(), stop, kept)


def _cut(
    rows: Sequence[Row], tokens: np.ndarray, stop: int | None, kept: Sequence[Tensor]
) -> Sampled:
    """Each row up to its stop token or its limit."""
    ends = []
    for row, sampled in zip(rows, tokens, strict=True):
        stops = np.flatnonzero(sampled[: row.max_tokens] == (-1 if stop is None else stop))
        ends.append(int(stops[0]) if len(stops) else row.max_tokens)
    cut = [sampled[:end] for sampled, end in zip(tokens, ends, strict=True)]
    if not kept:
        return Sampled(cut, [])
    logits = torch.stack(list(kept), 1).cpu().numpy()
    spans = [min(end + 1, row.max_tokens) for row, end in zip(rows, ends, strict=True)]
    return Sampled(cut, [each[:n] for each, n in zip(logits, spans, strict=True)])
