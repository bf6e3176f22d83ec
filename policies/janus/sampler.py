"""Reads and steps for `policies.sampling`, through the layers of a Janus-Pro model.

Invariant: weights are read in place and never written. A context is read once, by the very layers
that learn; what follows goes through them token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.attention import KeyValues, block_of, padded_left
from policies.janus.module import JanusModule
from policies.sampling import Ids

Embed = Callable[[Tensor], Tensor]


class Cache:
    """As `policies.sampling.Cache`; `embed` maps new ids int64 [rows] to [rows, hidden]."""

    def __init__(self, module: JanusModule, embed: Embed, read: KeyValues) -> None:
        self.module, self.embed, self.read = module, embed, read

    def keep(self, rows: Tensor) -> None:
        self.read.keep(rows)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        x, llama = self.embed(ids), self.module.model.language_model
        for i, layer in enumerate(llama.layers):
            attention, mlp = layer.self_attn, layer.mlp
            y = _norm(layer.input_layernorm, x)
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            heads = torch.cat([F.linear(y, part.weight) for part in parts], 1)
            mixed = self.read.attend(i, heads.view(len(ids), -1, self.read.width), slot)
            x = torch.addmm(x, mixed, attention.o_proj.weight.t())
            y = _norm(layer.post_attention_layernorm, x)
            inner = F.silu(F.linear(y, mlp.gate_proj.weight)).mul_(F.linear(y, mlp.up_proj.weight))
            x = torch.addmm(x, inner, mlp.down_proj.weight.t())
        return _norm(llama.norm, x)


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def prefill(
    module: JanusModule,
    features: Tensor | None,
    embed: Embed,
    contexts: Sequence[Ids],
    rows: Tensor,
    slots: int,
) -> tuple[Tensor, Cache]:
    """As `policies.sampling.Prefill`; `features` are those of the pictures in the contexts."""
    from transformers import DynamicCache

    ids, bias = padded_left(contexts, slots)
    ids, bias = ids.to(rows.device), bias.to(rows.device, module.dtype)
    longest = ids.shape[1]
    llama = module.model.language_model
    read = DynamicCache(config=llama.config)
    x = module.embed(ids, features)
    places = torch.arange(slots, device=rows.device)[None]
    states = llama(
        inputs_embeds=x, attention_mask=(bias[:, 0, :longest] == 0).long(),
        position_ids=places[:, :longest], past_key_values=read, use_cache=True,
    ).last_hidden_state  # fmt: skip
    blocks = [block_of(layer.keys, layer.values, rows, slots) for layer in read.layers]
    cos, sin = (table[0] for table in llama.rotary_emb(x, places))
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[:, :half], sin[:, half:]], -1)
    kept = bias[rows].repeat(blocks[0].shape[1], 1, 1)
    keys = KeyValues(blocks, kept, cos, signed, llama.config.num_attention_heads)
    return states[rows, -1], Cache(module, embed, keys)
