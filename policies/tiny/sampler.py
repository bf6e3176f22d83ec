"""Samples many rows at once, one token a step, from a cache of keys and values of fixed size.

Invariant: a row's tokens are those that its own context, temperature, guidance and random
numbers give; the other rows decide only how floating-point sums are rounded. Weights are read
in place and never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.seeds import generator
from policies.tiny.transformer import Transformer, rotate

# Low enough to vanish in a softmax, finite so that a row of nothing else is not NaN.
HIDDEN = -1e30


@dataclass(frozen=True)
class Row:
    """One sequence to go on with; it ends at the stop token or after `max_tokens` tokens."""

    context: tuple[int, ...]
    temperature: float
    guidance: float
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class Sampled:
    """`tokens` int64, one array a row (the stop token left out); if asked for, `logits` float
    [steps, allowed] a row: after guidance, before temperature, the stop token's step included."""

    tokens: list[np.ndarray]
    logits: list[np.ndarray]


class Cache:
    """Keys and values of every layer, and what one new token a row needs beside them.

    A layer's block is float [2, kv_heads, rows, slots, head_dim]: keys, then values, so that a
    token's are written at once and each is a plain batch of matrices. Contexts of differing length
    are padded on the left, so that all rows fill the same slot; `bias` [kv_heads * rows, 1, slots],
    added to the scores, hides the padding. Rotary positions are slots: only their differences
    matter to attention.
    """

    def __init__(self, model: Transformer, blocks: list[Tensor], bias: Tensor) -> None:
        self.model, self.blocks, self.bias = model, blocks, bias
        config, slots = model.config, bias.shape[-1]
        self.kv_heads, self.head_dim = config.kv_heads, config.head_dim
        shape = (slots, config.heads + 2 * config.kv_heads, config.head_dim)
        # One table turns q and k, scales q for its scores, and leaves v as it is.
        self.cos, self.sin = torch.ones(shape), torch.zeros(shape)
        turned = config.heads + config.kv_heads
        self.cos[:, :turned] = model.cos[:slots, None]
        self.sin[:, :turned] = model.sin[:slots, None]
        self.cos[:, : config.heads] *= config.head_dim**-0.5
        self.sin[:, : config.heads] *= config.head_dim**-0.5

    def keep(self, rows: Tensor) -> Cache:
        """The cache of these rows (int64) alone."""
        blocks = [block[:, :, rows] for block in self.blocks]
        bias = self.bias.unflatten(0, (self.kv_heads, -1))[:, rows].flatten(0, 1)
        return Cache(self.model, blocks, bias)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        """One token a row, ids int64 [rows], goes to `slot` -> their states [rows, hidden]."""
        cos, sin = self.cos[slot], self.sin[slot]
        x = self.model.embed(ids)
        for layer, block in zip(self.model.stack(), self.blocks, strict=True):
            heads = layer.qkv(layer.input_norm(x)).view(len(ids), -1, self.head_dim)
            mixed = self._attend(rotate(heads, cos, sin), block, slot)
            x = torch.addmm(x, mixed, layer.out.weight.t())
            gate, up = layer.gate_up(layer.mlp_norm(x)).chunk(2, dim=-1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down.weight.t())
        return x

    def _attend(self, heads: Tensor, block: Tensor, slot: int) -> Tensor:
        """heads [rows, q, k and v heads, head_dim] -> mixed values [rows, heads * head_dim]."""
        rows, kv, width = heads.shape[0], self.kv_heads, self.head_dim
        q, new = heads[:, : -2 * kv], heads[:, -2 * kv :]
        block[:, :, :, slot] = new.view(rows, 2, kv, width).permute(1, 2, 0, 3)
        keys, values = block[..., : slot + 1, :].flatten(1, 2)
        # The queries that share a key head form one small matrix: keys are never repeated.
        q = q.view(rows, kv, -1, width).transpose(0, 1).reshape(rows * kv, -1, width)
        scores = torch.baddbmm(self.bias[..., : slot + 1], q, keys.transpose(1, 2))
        mixed = torch.bmm(scores.softmax(-1), values)
        return mixed.view(kv, rows, -1).transpose(0, 1).reshape(rows, -1)


def prefill(
    model: Transformer, contexts: Sequence[tuple[int, ...]], rows: Tensor, slots: int
) -> tuple[Tensor, Cache]:
    """Reads each distinct context once, then gives every row (int64, its context's number) a copy.

    Returns the last place's state [rows, hidden] and the cache, filled up to the longest context.
    """
    longest = max(map(len, contexts))
    ids = torch.zeros(len(contexts), longest, dtype=torch.int64)
    bias = torch.zeros(len(contexts), 1, slots)
    for i, context in enumerate(contexts):
        ids[i, longest - len(context) :] = torch.tensor(context)
        bias[i, :, : longest - len(context)] = HIDDEN
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
        block = k.new_empty(2, k.shape[1], len(rows), slots, k.shape[3])
        block[..., :longest, :] = torch.stack([k, v]).transpose(1, 2)[:, :, rows]
        blocks.append(block)
    return x[rows, -1], Cache(model, blocks, bias[rows].repeat(model.config.kv_heads, 1, 1))


class Chooser:
    """Turns logits into choices: guidance, temperature, and a uniform number for each step."""

    def __init__(self, rows: Sequence[Row], steps: int) -> None:
        self.count = len(rows)
        guided = [i for i, row in enumerate(rows) if row.guidance != 1]
        self.guided = torch.tensor(guided, dtype=torch.int64)
        self.guidance = torch.tensor([[rows[i].guidance] for i in guided])
        heat = torch.tensor([[row.temperature] for row in rows])
        self.greedy = heat[:, 0] == 0
        self.heat = torch.where(heat == 0, 1.0, heat)
        drawn = [generator(int(row.seed)).random(steps, dtype=np.float32) for row in rows]
        self.uniforms = torch.from_numpy(np.stack(drawn))

    def guide(self, logits: Tensor) -> Tensor:
        """logits [rows + guided rows, allowed], the unconditional ones last -> [rows, allowed]."""
        if not len(self.guided):
            return logits
        own, free = logits[: self.count], logits[self.count :]
        own[self.guided] = free + self.guidance * (own[self.guided] - free)
        return own

    def choose(self, logits: Tensor, rows: Tensor, at: int) -> Tensor:
        """logits [rows, allowed] of these rows, spent -> their choices int64 [rows]."""
        greedy = self.greedy[rows]
        best = logits.argmax(-1) if greedy.any() else greedy
        heights = torch.softmax(logits.div_(self.heat[rows]), -1).cumsum_(-1)
        aim = self.uniforms[rows, at : at + 1] * heights[:, -1:]
        drawn = torch.searchsorted(heights, aim, right=True)[:, 0]
        return torch.where(greedy, best, drawn.clamp_(max=logits.shape[1] - 1))


@torch.inference_mode()
def sample(
    model: Transformer,
    rows: Sequence[Row],
    allowed: slice,
    free: tuple[int, ...] = (),
    stop: int | None = None,
    keep_logits: bool = False,
) -> Sampled:
    """Goes on with each row from the tokens in `allowed`, a range of the vocabulary.

    `free` is the context without a prompt, for rows whose guidance is not 1. With `stop`, a token
    in `allowed`, rows may end early, and must be unguided.
    """
    steps = max(1, *(row.max_tokens for row in rows))
    chooser = Chooser(rows, steps)
    contexts = [row.context for row in rows] + [free] * len(chooser.guided)
    distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
    places = torch.tensor([distinct[context] for context in contexts])
    longest = max(map(len, distinct))
    x, cache = prefill(model, list(distinct), places, longest + steps - 1)
    head = model.head.weight[allowed]
    tokens = torch.zeros(len(rows), steps, dtype=torch.int64)
    kept = torch.zeros(len(rows), steps, head.shape[0]) if keep_logits else None
    live = torch.arange(len(rows))
    limits = torch.tensor([row.max_tokens for row in rows])
    going = limits > 0
    for at in range(steps):
        logits = chooser.guide(F.linear(model.norm(x), head))
        if kept is not None:
            kept[live, at] = logits
        picked = chooser.choose(logits, live, at) + allowed.start
        tokens[live, at] = picked
        if stop is not None:
            going &= limits[live] > at + 1
            going &= picked != stop
            left = going.nonzero()[:, 0]
            # Rows that have ended are carried along until half are: leaving one out costs a copy.
            if 0 < len(left) <= len(live) // 2:
                live, picked, going, cache = live[left], picked[left], going[left], cache.keep(left)
        if at + 1 == steps or not going.any():
            break
        x = cache.step(torch.cat([picked, picked[chooser.guided]]), longest + at)
    return _cut(rows, tokens.numpy(), stop, kept)


def _cut(rows: Sequence[Row], tokens: np.ndarray, stop: int | None, kept: Tensor | None) -> Sampled:
    """Each row up to its stop token or its limit."""
    ends = []
    for row, sampled in zip(rows, tokens, strict=True):
        stops = np.flatnonzero(sampled[: row.max_tokens] == (-1 if stop is None else stop))
        ends.append(int(stops[0]) if len(stops) else row.max_tokens)
    cut = [sampled[:end] for sampled, end in zip(tokens, ends, strict=True)]
    if kept is None:
        return Sampled(cut, [])
    spans = [min(end + 1, row.max_tokens) for row, end in zip(rows, ends, strict=True)]
    return Sampled(cut, [k[:n].numpy() for k, n in zip(kept, spans, strict=True)])
