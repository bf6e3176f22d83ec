"""Reads and steps for `policies.sampling`, from a cache of keys and values of fixed size.

Invariant: weights are read in place and never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.attention import HIDDEN, KeyValues, block_of, padded_left, tables
from policies.sampling import Ids, Row, Sampled, sample
from policies.tiny.transformer import Transformer


def sample_tokens(
    model: Transformer,
    rows: Sequence[Row],
    allowed: slice,
    stop: int | None = None,
    keep_logits: bool = False,
) -> Sampled:
    """Goes on with each row and returns its tokens (see `policies.sampling.sample`); only those in
    `allowed`, a range of the vocabulary, can be chosen."""
    head = model.head.weight[allowed]
    return sample(
        partial(prefill, model), lambda x: F.linear(model.norm(x), head), rows, allowed.start,
        stop, keep_logits,
    )  # fmt: skip


class Cache:
    """What `model` has read of every row: a `policies.sampling.Cache`."""

    def __init__(self, model: Transformer, read: KeyValues) -> None:
        self.model, self.read = model, read

    def keep(self, rows: Tensor) -> None:
        self.read.keep(rows)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        x, width = self.model.embed(ids), self.model.config.head_dim
        for i, layer in enumerate(self.model.stack()):
            heads = layer.qkv(layer.input_norm(x)).view(len(ids), -1, width)
            x = torch.addmm(x, self.read.attend(i, heads, slot), layer.out.weight.t())
            gate, up = layer.gate_up(layer.mlp_norm(x)).chunk(2, dim=-1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down.weight.t())
        return x


def prefill(
    model: Transformer, contexts: Sequence[Ids], rows: Tensor, slots: int
) -> tuple[Tensor, Cache]:
    """Reads each context once and returns the last place's state of every row and the cache to go on
    from: a `policies.sampling.Prefill`."""
    ids, bias = padded_left(contexts, slots)
    longest = ids.shape[1]
    ahead = torch.full((longest, longest), HIDDEN).triu(1)
    mask = (bias[:, :, :longest] + ahead).clamp(min=HIDDEN).unsqueeze(1)
    cos, sin = model.cos[:longest], model.sin[:longest]
    blocks: list[Tensor] = []
    x = model.embed(ids)
    for layer in model.stack():
        q, k, v = layer.project(x, cos, sin)
        if len(blocks) == len(model.layers) - 1:  # of the last layer, only the last place is read
            x, q, mask = x[:, -1:], q[:, :, -1:], mask[:, :, -1:]
        x = layer.finish(x, layer.attend(q, k, v, mask))
        blocks.append(block_of(k, v, rows, slots))
    bias = bias[rows].repeat(model.config.kv_heads, 1, 1)
    heads, kv_heads = model.config.heads, model.config.kv_heads
    turns = tables(model.cos[:slots], model.sin[:slots], heads, kv_heads)
    return x[rows, -1], Cache(model, KeyValues(blocks, bias, *turns))
