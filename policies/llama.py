"""Prefill and decoding steps for `policies.sampling`, through the layers of a decoder of Llama's kind.

Invariant: weights are read in place and never written. A context is read once for all rows that
continue it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.attention import HIDDEN, KeyValues, padded_left, rotate, tables
from policies.sampling import Ids

READ_AT_ONCE = 8192
"""Tokens of contexts that pass through a layer together."""
Embed = Callable[[Tensor], Tensor]
Attend = Callable[[int, Tensor], Tensor]
"""For layer i: heads of q, k and v [places, (heads + 2 * kv_heads) * head_dim] -> the attention's
output [places, heads * head_dim]."""


class Layers:
    """References to the weights of a `LlamaModel`, or of one whose parts have its names: looking up a
    module's attributes for every token would take longer than multiplying small matrices."""

    def __init__(self, llama: Any) -> None:
        self.last, self.eps = llama.norm.weight, llama.norm.variance_epsilon
        self.weights = [
            (
                layer.input_layernorm.weight,
                [part.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)],
                attention.o_proj.weight.t(),
                layer.post_attention_layernorm.weight,
                mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.t(),
            )
            for layer in llama.layers
            for attention, mlp in [(layer.self_attn, layer.mlp)]
        ]  # fmt: skip

    def through(self, x: Tensor, attend: Attend) -> Tensor:
        """x [places, hidden] -> hidden states after the last layer, not yet normalised."""
        for i, (before, projections, out, after, gate, up, down) in enumerate(self.weights):
            y = self.norm(x, before)
            heads = torch.cat([F.linear(y, weight) for weight in projections], 1)
            x = torch.addmm(x, attend(i, heads), out)
            y = self.norm(x, after)
            x = torch.addmm(x, F.silu(F.linear(y, gate)).mul_(F.linear(y, up)), down)
        return x

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.eps)


class Cache:
    """A `policies.sampling.Cache`; `embed` maps new ids int64 [rows] to [rows, hidden]."""

    def __init__(self, layers: Layers, embed: Embed, read: KeyValues) -> None:
        self.layers, self.embed, self.read = layers, embed, read

    def keep(self, rows: Tensor) -> None:
        self.read.keep(rows)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        def attend(layer: int, heads: Tensor) -> Tensor:
            return self.read.attend(layer, heads.view(len(ids), -1, self.read.width), slot)

        return self.layers.norm(self.layers.through(self.embed(ids), attend), self.layers.last)


def prefill(
    layers: Layers,
    llama: Any,
    read: Embed,
    embed: Embed,
    contexts: Sequence[Ids],
    rows: Tensor,
    slots: int,
) -> tuple[Tensor, Cache]:
    """A `policies.sampling.Prefill` but for the first four arguments: the `layers` of a `LlamaModel`,
    the model, what `read` makes of contexts' ids (int64 [contexts, tokens] -> [contexts, tokens,
    hidden]), and what `embed` makes of those that are chosen. Contexts are read in batches of
    READ_AT_ONCE tokens, to bound the memory."""
    device, config = rows.device, llama.config
    ids, bias = (each.to(device) for each in padded_left(contexts, slots))
    cos, sin = _turns(llama, slots, layers.last.dtype, device)
    longest, kv_heads, width = ids.shape[1], config.num_key_value_heads, cos.shape[-1]
    bias = bias.to(cos.dtype)
    shape = (2, kv_heads, len(rows), slots, width)
    blocks = [cos.new_empty(shape) for _ in llama.layers]
    last: list[Tensor] = []
    for part in torch.arange(len(ids), device=device).split(max(1, READ_AT_ONCE // longest)):
        x = read(ids[part])
        mask = _causal(bias[part, :, :longest])
        mine = ((rows >= part[0]) & (rows <= part[-1])).nonzero()[:, 0]
        whose = rows[mine] - part[0]

        def attend(layer: int, heads: Tensor, like: Tensor = x, mask: Tensor = mask,
                   mine: Tensor = mine, whose: Tensor = whose) -> Tensor:  # fmt: skip
            parted = heads.view(*like.shape[:2], -1, width)
            parted = rotate(parted, cos[:longest], sin[:longest]).transpose(1, 2)
            q, k, v = parted.split([config.num_attention_heads, kv_heads, kv_heads], 1)
            keys = torch.stack([k, v]).transpose(1, 2)
            blocks[layer][:, :, mine, :longest] = keys[:, :, whose]
            mixed = F.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=True)
            return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

        last.append(layers.through(x.flatten(0, 1), attend).view_as(x)[:, -1])
    states = layers.norm(torch.cat(last), layers.last)[rows]
    held = KeyValues(blocks, bias[rows].repeat(kv_heads, 1, 1), cos, sin)
    return states, Cache(layers, embed, held)


def _causal(bias: Tensor) -> Tensor:
    """Adds the causal mask: [contexts, 1, tokens] -> [contexts, 1, tokens, tokens]."""
    tokens = bias.shape[-1]
    ahead = bias.new_full((tokens, tokens), HIDDEN).triu(1)
    return (bias + ahead).clamp(min=HIDDEN).unsqueeze(1)


def _turns(
    llama: Any, slots: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns the rotary tables from the model's own angles, computed in float32."""
    places = torch.arange(slots, device=device)[None]
    cos, sin = (table[0] for table in llama.rotary_emb(torch.empty(0, device=device), places))
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[:, :half], sin[:, half:]], -1)
    config = llama.config
    made = tables(cos, signed, config.num_attention_heads, config.num_key_value_heads)
    return made[0].to(dtype), made[1].to(dtype)
