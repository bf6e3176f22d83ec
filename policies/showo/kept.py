"""The keys and values of what was read, in a memory of fixed size.

Invariant: what is put at a slot stays until something else is put there; places that are read again
and again, such as those of a drawing, take the same slots each time.
"""

from __future__ import annotations

from torch import Tensor

from policies.showo.config import PhiSizes


class Kept:
    """Every layer has a block [2, rows, kv_heads, slots, head_dim]: keys, then values. The next ones
    are put from slot `at` on."""

    def __init__(self, phi: PhiSizes, rows: int, slots: int, like: Tensor) -> None:
        shape = (2, rows, phi.kv_heads, slots, phi.head_dim)
        self.blocks = [like.new_empty(shape) for _ in range(phi.layers)]
        self.at = 0

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Takes [rows, kv_heads, places, head_dim] each; returns all up to and with them."""
        block, end = self.blocks[layer], self.at + key.shape[2]
        block[0, :, :, self.at : end] = key
        block[1, :, :, self.at : end] = value
        return block[0, :, :, :end], block[1, :, :, :end]

    def take(self, read: Kept, rows: Tensor, whose: Tensor) -> None:
        """These rows (int64) become what `read` has of its rows `whose`."""
        for own, other in zip(self.blocks, read.blocks, strict=True):
            own[:, rows, :, : other.shape[3]] = other[:, whose]

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these (int64)."""
        for layer, block in enumerate(self.blocks):  # one at a time: a copy of all may not fit
            self.blocks[layer] = block[:, rows]
