"""Attention of one new token per row to all that the row has read, in a cache of fixed size.

Invariant: a row attends only to its own context and tokens, and padding is hidden. Other rows of
the batch change a result only by floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Low enough to vanish in a softmax, and finite, so that a fully hidden row is not NaN.
HIDDEN = -1e30


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary embedding to [..., head_dim]; `sin` carries the sign of the swapped halves."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def padded_left(contexts: Sequence[Sequence[int]], slots: int) -> tuple[Tensor, Tensor]:
    """Returns ids int64 [contexts, longest], padded on the left with 0 so that every row's next
    token has the same slot; and the bias float32 [contexts, 1, slots] that hides the padding."""
    longest = max(map(len, contexts))
    ids = torch.zeros(len(contexts), longest, dtype=torch.int64)
    bias = torch.zeros(len(contexts), 1, slots)
    for i, context in enumerate(contexts):
        ids[i, longest - len(context) :] = torch.tensor(context)
        bias[i, :, : longest - len(context)] = HIDDEN
    return ids, bias


def block_of(k: Tensor, v: Tensor, rows: Tensor, slots: int) -> Tensor:
    """Returns a layer's block for `rows` (int64, each the index of its context), from the keys and
    values [contexts, kv_heads, tokens, head_dim] that were read."""
    block = k.new_empty(2, k.shape[1], len(rows), slots, k.shape[3])
    block[..., : k.shape[2], :] = torch.stack([k, v]).transpose(1, 2)[:, :, rows]
    return block


def tables(cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor]:
    """Returns tables of cos and signed sin, [slots, heads + 2 * kv_heads, head_dim], from those of
    one head: `rotate` then turns q and k, scales q for its scores and leaves v as it is."""
    shape = (len(cos), heads + 2 * kv_heads, cos.shape[1])
    all_cos, all_sin = cos.new_ones(shape), cos.new_zeros(shape)
    turned = heads + kv_heads
    all_cos[:, :turned], all_sin[:, :turned] = cos[:, None], sin[:, None]
    all_cos[:, :heads] *= cos.shape[1] ** -0.5
    all_sin[:, :heads] *= cos.shape[1] ** -0.5
    return all_cos, all_sin


class KeyValues:
    """Keys and values of every layer, and the rotary `tables` of every slot.

    A layer's block is [2, kv_heads, rows, slots, head_dim]: keys, then values, so that a token's
    are written at once and each is a plain batch of matrices. `bias` [kv_heads * rows, 1, slots] is
    added to the scores. Rotary positions are slots: only their differences matter to attention.
    """

    def __init__(self, blocks: list[Tensor], bias: Tensor, cos: Tensor, sin: Tensor) -> None:
        self.blocks, self.bias, self.cos, self.sin = blocks, bias, cos, sin
        self.kv_heads, self.width = blocks[0].shape[1], blocks[0].shape[-1]

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows (int64 [rows kept])."""
        for layer, block in enumerate(self.blocks):  # one at a time: a copy of all may not fit
            self.blocks[layer] = block[:, :, rows]
        self.bias = self.bias.unflatten(0, (self.kv_heads, -1))[:, rows].flatten(0, 1)

    def attend(
        self, layer: int, projected: Tensor, slot: int, turn: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Adds one token per row at `slot` and attends: heads of q, k and v [rows, heads + 2 *
        kv_heads, head_dim] -> mixed values [rows, heads * head_dim]. Where positions are not slots,
        `turn` has the cos and sin of every row in the place of the slot's."""
        heads = rotate(projected, *(turn or (self.cos[slot], self.sin[slot])))
        rows, kv, width, block = len(heads), self.kv_heads, self.width, self.blocks[layer]
        q, new = heads[:, : -2 * kv], heads[:, -2 * kv :]
        block[:, :, :, slot] = new.view(rows, 2, kv, width).permute(1, 2, 0, 3)
        keys, values = block[..., : slot + 1, :].flatten(1, 2)
        # The queries that share a key head form one small matrix, so keys are never repeated.
        q = q.view(rows, kv, -1, width).transpose(0, 1).reshape(rows * kv, -1, width)
        bias = self.bias[..., : slot + 1]
        if q.dtype is torch.float32:
            mixed = torch.bmm(torch.baddbmm(bias, q, keys.transpose(1, 2)).softmax(-1), values)
        else:  # the fused kernel (4 dimensions) does not round half-precision scores in between
            q, keys, values, bias = (p.unsqueeze(1) for p in (q, keys, values, bias))
            mixed = F.scaled_dot_product_attention(q, keys, values, bias, scale=1.0).squeeze(1)
        return mixed.view(kv, rows, -1).transpose(0, 1).reshape(rows, -1)
