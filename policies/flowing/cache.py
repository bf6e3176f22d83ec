"""Keys and values of what rows have read, in one block of fixed size for each layer.

Invariant: a slot counts only after `keep`; what is written behind the kept ones is scratch, so a
step of a drawing reads the cache and leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Cache:
    """`seen`, bool [rows, used], says which kept slots hold something; the others are padding."""

    def __init__(
        self, layers: int, rows: int, kv_heads: int, slots: int, head_dim: int, like: Tensor
    ) -> None:
        shape = (2, rows, kv_heads, slots, head_dim)
        self.blocks = [like.new_zeros(shape) for _ in range(layers)]
        self.seen = torch.zeros(rows, 0, dtype=torch.bool, device=like.device)

    @property
    def used(self) -> int:
        return self.seen.shape[1]

    def with_own(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Puts k and v [rows, kv_heads, places, head_dim] behind the kept slots, and returns both
        with those before them: [rows, kv_heads, used + places, head_dim]."""
        block, end = self.blocks[layer], self.used + k.shape[2]
        block[0, :, :, self.used : end] = k
        block[1, :, :, self.used : end] = v
        return block[0, :, :, :end], block[1, :, :, :end]

    def keep(self, seen: Tensor) -> None:
        """Keeps what was last read: bool [rows, places], False where it was padding."""
        self.seen = torch.cat([self.seen, seen.to(self.seen.device)], 1)

    def rows(self, index: Tensor, slots: int) -> Cache:
        """A cache of these rows (int64 [n], repeated where they repeat) with room for `slots` more
        places; padding that all of them have at the end is left out."""
        index = index.to(self.seen.device)
        held = self.seen[index]
        used = int(held.any(0).nonzero().max()) + 1 if bool(held.any()) else 0
        made = Cache.__new__(Cache)
        made.seen = held[:, :used]
        made.blocks = []
        for block in self.blocks:
            shape = (2, len(index), block.shape[2], used + slots, block.shape[4])
            made.blocks.append(block.new_zeros(shape))
            made.blocks[-1][:, :, :, :used] = block[:, index, :, :used]
        return made


def joined(caches: Sequence[Cache]) -> Cache:
    """The rows of all caches, which are spent, in one without scratch."""
    if len(caches) == 1:
        return caches[0]
    made = Cache.__new__(Cache)
    most = max(cache.used for cache in caches)
    made.seen = torch.cat([_wider(cache.seen, most, 1) for cache in caches])
    made.blocks = []
    while caches[0].blocks:  # layer by layer: two copies of all would be much
        kept = [(cache.blocks.pop(0), cache.used) for cache in caches]
        made.blocks.append(torch.cat([_wider(b[:, :, :, :used], most, 3) for b, used in kept], 1))
    return made


def _wider(x: Tensor, length: int, dim: int) -> Tensor:
    """`x` with zeros behind it up to that length."""
    missing = list(x.shape)
    missing[dim] = length - x.shape[dim]
    return torch.cat([x, x.new_zeros(missing)], dim)
