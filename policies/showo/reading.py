"""Reads contexts once, and goes on with each of them: the prefill and the decoding of
`policies.sampling`, and the places that a drawing sees.

Invariant: a row's positions are its own, whatever the padding of its batch, and padding is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from policies.sampling import Ids
from policies.showo.kept import Kept
from policies.showo.masks import blocks_of, visible
from policies.showo.module import ShowoModule

READ_AT_ONCE = 8192
"""Tokens of contexts that pass through a layer together."""


class Read:
    """A `policies.sampling.Cache`: rows with what was read of each, in slots of which the first ones
    are padding where a context is shorter than the longest. `seen` bool [rows, slots] says which are
    not."""

    def __init__(self, module: ShowoModule, kept: Kept, seen: Tensor, padding: Tensor) -> None:
        self.module, self.kept, self.seen, self.padding = module, kept, seen, padding

    def step(self, ids: Tensor, slot: int) -> Tensor:
        return self.places(ids[:, None], slot)[:, 0]

    def places(self, ids: Tensor, slot: int) -> Tensor:
        """The states [rows, places, hidden] of ids int64 [rows, places] that go to the slots from
        `slot` on and all see one another."""
        end = slot + ids.shape[1]
        self.kept.at = slot
        positions = torch.arange(slot, end, device=ids.device) - self.padding[:, None]
        mask = self.seen[:, None, None, :end].expand(-1, -1, ids.shape[1], -1)
        return self.module.states(ids, mask, positions, self.kept)

    def keep(self, rows: Tensor) -> None:
        self.kept.keep(rows)
        self.seen, self.padding = self.seen[rows], self.padding[rows]


def read(
    module: ShowoModule, contexts: Sequence[Ids], rows: Tensor, slots: int
) -> tuple[Tensor, Read]:
    """A `policies.sampling.Prefill` but for the first argument. Contexts are read in batches of
    READ_AT_ONCE tokens, to bound the memory."""
    device, phi = rows.device, module.config.phi
    longest = max(map(len, contexts))
    ids = torch.full((len(contexts), longest), module.config.mark("[PAD]"))
    for own, context in zip(ids, contexts, strict=True):
        own[longest - len(context) :] = torch.tensor(context)
    ids = ids.to(device)
    padding = torch.tensor([longest - len(context) for context in contexts], device=device)
    real = torch.arange(longest, device=device) >= padding[:, None]
    like, last = module.showo.lm_head.weight, list[Tensor]()
    kept = Kept(phi, len(rows), slots, like)
    for part in torch.arange(len(ids), device=device).split(max(1, READ_AT_ONCE // longest)):
        own, mask = Kept(phi, len(part), longest, like), _mask(module, ids[part], real[part])
        positions = (torch.arange(longest, device=device) - padding[part, None]).clamp(min=0)
        last.append(module.states(ids[part], mask, positions, own)[:, -1])
        mine = ((rows >= part[0]) & (rows <= part[-1])).nonzero()[:, 0]
        kept.take(own, mine, rows[mine] - part[0])
    seen = torch.ones(len(rows), slots, dtype=torch.bool, device=device)
    seen[:, :longest] = real[rows]
    return torch.cat(last)[rows], Read(module, kept, seen, padding[rows])


def _mask(module: ShowoModule, ids: Tensor, real: Tensor) -> Tensor:
    return visible(blocks_of(ids, module.config), real)
