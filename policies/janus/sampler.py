"""Reads and steps for `policies.sampling`, through the layers of a Janus-Pro model.

Invariant: weights are read in place and never written. A context is read once, however many rows
go on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.attention import HIDDEN, KeyValues, block_of, padded_left, rotate, tables
from policies.janus.module import JanusModule
from policies.sampling import Ids

Embed = Callable[[Tensor], Tensor]
Attend = Callable[[int, Tensor], Tensor]
"""Of layer i, q, k and v heads [places, (heads + 2 * kv_heads) * head_dim] -> what attention mixes
of them [places, heads * head_dim]."""


class Layers:
    """The weights of a `LlamaModel`, to go through: a module's attributes cost more to look up, at
    every token, than small matrices to multiply."""

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
        """x [places, hidden] -> the states after the last layer."""
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
    """As `policies.sampling.Cache`; `embed` maps new ids int64 [rows] to [rows, hidden]."""

    def __init__(self, layers: Layers, embed: Embed, read: KeyValues) -> None:
        self.layers, self.embed, self.read = layers, embed, read

    def keep(self, rows: Tensor) -> None:
        self.read.keep(rows)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        def attend(layer: int, heads: Tensor) -> Tensor:
            return self.read.attend(layer, heads.view(len(ids), -1, self.read.width), slot)

        return self.layers.norm(self.layers.through(self.embed(ids), attend), self.layers.last)


def prefill(
    module: JanusModule,
    features: Tensor | None,
    embed: Embed,
    contexts: Sequence[Ids],
    rows: Tensor,
    slots: int,
) -> tuple[Tensor, Cache]:
    """As `policies.sampling.Prefill`; `features` are those of the pictures in the contexts."""
    llama, device = module.model.language_model, rows.device
    layers = Layers(llama)
    ids, bias = (each.to(device) for each in padded_left(contexts, slots))
    x = module.embed(ids, features)
    bias, config, longest = bias.to(x.dtype), llama.config, ids.shape[1]
    kv_heads = config.num_key_value_heads
    cos, sin = _turns(llama, x, slots)
    ahead = bias.new_full((longest, longest), HIDDEN).triu(1)
    mask = (bias[:, :, :longest] + ahead).clamp(min=HIDDEN).unsqueeze(1)
    blocks: list[Tensor] = []

    def attend(_: int, heads: Tensor) -> Tensor:
        parted = heads.view(*ids.shape, -1, cos.shape[-1])
        parted = rotate(parted, cos[:longest], sin[:longest]).transpose(1, 2)
        q, k, v = parted.split([config.num_attention_heads, kv_heads, kv_heads], 1)
        blocks.append(block_of(k, v, rows, slots))
        mixed = F.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=True)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

    last = layers.through(x.flatten(0, 1), attend).view_as(x)[:, -1]
    read = KeyValues(blocks, bias[rows].repeat(kv_heads, 1, 1), cos, sin)
    return layers.norm(last, layers.last)[rows], Cache(layers, embed, read)


def _turns(llama: Any, like: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The rotary tables, from the model's own angles."""
    places = torch.arange(slots, device=like.device)[None]
    cos, sin = (table[0] for table in llama.rotary_emb(like, places))
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[:, :half], sin[:, half:]], -1)
    config = llama.config
    return tables(cos, signed, config.num_attention_heads, config.num_key_value_heads)
