"""Which place of a sequence sees which (arXiv 2408.12528, section 3.2, omni-attention).

Invariant: a place sees what is before it, and all of its own block; that follows from the ids alone,
for no text holds a mark of structure. A block is a picture with the two marks around it, or, where a
picture is to be understood, all from the beginning to the last picture's end, as in the public code.
Padding is seen by itself alone, so that no place sees nothing, which would be NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policies.showo.config import ShowoConfig


def blocks_of(ids: Tensor, config: ShowoConfig) -> Tensor:
    """ids int64 [rows, places] -> the number of each place's block, int64; 0: it is in none."""
    begins, ends = ids == config.mark("<|soi|>"), ids == config.mark("<|eoi|>")
    begun, ended = begins.cumsum(1), ends.cumsum(1)
    pictures = torch.where((begun > ended) | ends, begun, 0)
    understood = (ids == config.mark("<|mmu|>")).cumsum(1) > 0
    left = ends.flip(1).cumsum(1).flip(1)  # ends of pictures from here on
    return torch.where(understood & (left > 0), 1, pictures)


def visible(blocks: Tensor, real: Tensor) -> Tensor:
    """blocks int64 and real bool (not padding), both [rows, places] -> bool [rows, 1, places, places]:
    whether the place of the third axis sees that of the last."""
    places = torch.arange(blocks.shape[1], device=blocks.device)
    before = places[:, None] >= places
    same = (blocks[:, :, None] == blocks[:, None]) & (blocks[:, None] > 0)
    seen = (before | same) & real[:, None] & real[:, :, None]
    return (seen | torch.eye(len(places), dtype=torch.bool, device=blocks.device))[:, None]
