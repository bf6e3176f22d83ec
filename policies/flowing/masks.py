"""Which place of a sequence sees which, as a dense mask or as blocks for flex_attention.

Invariant: a place sees the places of its own sample up to itself, and all of its own picture; a
noisy picture is seen by itself alone. Both forms say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Mask = Tensor | BlockMask | None
"""bool [rows, 1, queries, keys] or blocks; None: every place sees every place."""

# A dense mask of this many entries is still cheaper than flex_attention's compilation.
DENSE = 2**24


@dataclass(frozen=True, eq=False)
class Sight:
    """What tells who sees whom: of every place, int64 [rows, places] each, its `sample` (-1: padding), its
    `picture` (-1: none) by a number of its own in the row, and whether that is `noisy` (0 or 1)."""

    sample: Tensor
    picture: Tensor
    noisy: Tensor

    def to(self, device: torch.device | str) -> Sight:
        return Sight(self.sample.to(device), self.picture.to(device), self.noisy.to(device))

    def free(self) -> bool:
        """Whether every place sees every place: each row is one picture."""
        first = self.picture[:, :1]
        return bool(((self.picture == first) & (first >= 0) & (self.sample >= 0)).all())

    def sees(self, row: Tensor | int, q: Tensor, k: Tensor) -> Tensor:
        """Whether the places q see the places k, all int64 and broadcast: bool. Padding sees
        padding, so that no place sees nothing, which would be NaN."""
        mine, seen = self.picture[row, q], self.picture[row, k]
        same = (mine == seen) & (seen >= 0)
        known = (self.sample[row, q] == self.sample[row, k]) & ((q >= k) | same)
        return known & (same | (self.noisy[row, k] == 0))


def _free(sight: Sight, cached: Tensor | None) -> bool:
    return sight.free() and (cached is None or bool(cached.all()))


def dense(sight: Sight, cached: Tensor | None = None) -> Tensor | None:
    """The mask bool [rows, 1, places, slots + places] of places that also see the slots of a cache
    that are `cached` (bool [rows, slots], on the sight's device)."""
    if _free(sight, cached):
        return None
    rows, places = sight.sample.shape
    row, place = (torch.arange(n, device=sight.sample.device) for n in (rows, places))
    own = sight.sees(row[:, None, None], place[:, None], place)
    if cached is not None:
        own = torch.cat([cached[:, None].expand(-1, places, -1), own], -1)
    return own[:, None]


def blocks(sight: Sight, cached: Tensor | None = None) -> BlockMask:
    """The same for flex_attention, which skips blocks that nobody sees."""
    rows, places = sight.sample.shape
    device = sight.sample.device
    slots = 0 if cached is None else cached.shape[1]
    held = torch.ones(rows, 1, dtype=torch.bool, device=device) if not slots else cached
    assert held is not None

    def sees(row: Tensor, _: Tensor, q: Tensor, k: Tensor) -> Tensor:
        # Both sides are computed for every key, so their indexes must be in range on both.
        own = sight.sees(row, q, (k - slots).clamp(min=0))
        return torch.where(k < slots, held[row, k.clamp(max=max(slots - 1, 0))], own)

    make = _compiled(create_block_mask) if device.type == "cuda" else create_block_mask
    found: BlockMask = make(sees, rows, None, places, slots + places, device=str(device))
    return found


def build(sight: Sight, cached: Tensor | None = None) -> Mask:
    """The form that is faster on the sight's device: dense on a CPU and for short sequences."""
    rows, places = sight.sample.shape
    keys = places + (0 if cached is None else cached.shape[1])
    if sight.sample.device.type == "cpu" or rows * places * keys <= DENSE:
        return dense(sight, cached)
    return None if _free(sight, cached) else blocks(sight, cached)


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    """Where it cannot be compiled it fails: as it stands it would hold every score at once."""
    return torch.compile(function, dynamic=True, fullgraph=True)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """q [rows, heads, queries, head_dim], k and v [rows, kv_heads, keys, head_dim] -> q's shape."""
    if isinstance(mask, BlockMask):
        flex = _compiled(flex_attention) if q.device.type == "cuda" else flex_attention
        mixed: Tensor = flex(q, k, v, block_mask=mask, enable_gqa=True)
        return mixed
    share = q.shape[1] // k.shape[1]
    if mask is not None and q.device.type == "cuda" and share > 1:
        # With a mask the fused kernels want as many heads of keys; on a CPU copies only cost time.
        k, v = (x.repeat_interleave(share, 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=share > 1)
