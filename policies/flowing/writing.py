"""Texts word by word, for many rows at once, through the layers of the expert of words alone.

Invariant: a context is read once for all rows that go on from it, and weights are never written. A
word is at the position that follows its own row's context, whatever slots the other rows need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.attention import HIDDEN, KeyValues, tables
from policies.flowing.drawing import Contexts, Reads
from policies.flowing.layout import FlowingLayout
from policies.flowing.transformer import Turn, turns
from policies.interface import Context, TextSampling
from policies.sampling import Ids, Row, Sampled, sample


class Writes(Reads, Protocol):
    """A module whose words pass through a `policies.flowing.transformer.LanguageModel`, of its config."""

    @property
    def language_model(self) -> Any: ...

    config: Any


class Words:
    """References to the weights of the expert of words: looking up a module's attributes for every
    word would take longer than multiplying small matrices."""

    def __init__(self, module: Writes) -> None:
        model: Any = module.language_model.model
        self.config = module.config.language
        self.embed, self.last = model.embed_tokens.weight, model.norm.weight
        self.layers = [
            (
                layer.input_layernorm.weight,
                [(each.weight, each.bias) for each in (own.q_proj, own.k_proj, own.v_proj)],
                *((own.q_norm.weight, own.k_norm.weight) if own.qk_norm else (None, None)),
                own.o_proj.weight.t(),
                layer.post_attention_layernorm.weight,
                mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.t(),
            )
            for layer in model.stack()
            for own, mlp in [(layer.self_attn, layer.mlp)]
        ]  # fmt: skip

    def step(self, ids: Tensor, read: KeyValues, slot: int, turn: Turn) -> Tensor:
        """ids int64 [rows], which go to `slot` -> their last hidden states, normed."""
        x = F.embedding(ids, self.embed)
        for i, (before, projections, q, k, out, after, gate, up, down) in enumerate(self.layers):
            y = self.norm(x, before)
            heads = self._heads([F.linear(y, *each) for each in projections], q, k)
            x = torch.addmm(x, read.attend(i, heads, slot, turn), out)
            y = self.norm(x, after)
            x = torch.addmm(x, F.silu(F.linear(y, gate)).mul_(F.linear(y, up)), down)
        return self.norm(x, self.last)

    def _heads(
        self, projected: Sequence[Tensor], q_norm: Tensor | None, k_norm: Tensor | None
    ) -> Tensor:
        """q, k and v, the first two normed where they are: [rows, heads + 2 * kv_heads, head_dim]."""
        q, k, v = (each.unflatten(1, (-1, self.config.head_dim)) for each in projected)
        if q_norm is not None and k_norm is not None:
            q, k = self.norm(q, q_norm), self.norm(k, k_norm)
        return torch.cat([q, k, v], 1)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.config.norm_eps)

    def turn(self, positions: Tensor, like: Tensor) -> Turn:
        """What `KeyValues.attend` turns the heads of words at these positions by."""
        config = self.config
        cos, sin = (each[:, 0] for each in turns(positions, config.head_dim, config.rope_theta))
        made = tables(cos, sin, config.heads, config.kv_heads)
        return made[0].to(like.dtype), made[1].to(like.dtype)


def written(
    module: Writes,
    layout: FlowingLayout,
    contexts: Sequence[Context],
    sampling: Sequence[TextSampling],
    seeds: Sequence[int],
    keep_logits: bool = False,
    drawing: bool = False,
) -> Sampled:
    """The ids that follow each context, which is read to write or as to draw. Raises PromptError."""
    distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
    samples = [layout.context(context, drawing) for context in distinct]
    rows = []
    for context, how, seed in zip(contexts, sampling, seeds, strict=True):
        i = distinct[context]
        layout.require_room(samples[i], context, how.max_tokens + 2)
        rows.append(Row((i,), how.temperature, 1.0, seed, how.max_tokens))
    writer = Writer(module, layout.form, samples)
    head, stop, device = writer.head, layout.form.eos, module.language_model.lm_head.weight.device
    return sample(writer.prefill, head, rows, 0, stop, keep_logits, device)


class Writer:
    """The parts that `policies.sampling.sample` needs, for contexts `(i,)` of samples. What is written
    follows the word `form.bos`, which comes after each sample."""

    def __init__(self, module: Writes, form: Any, samples: Sequence[Any]) -> None:
        self.module, self.form, self.samples = module, form, samples

    def head(self, states: Tensor) -> Tensor:
        logits: Tensor = self.module.language_model.lm_head(states)
        return logits.float()

    def prefill(self, contexts: Sequence[Ids], rows: Tensor, slots: int) -> tuple[Tensor, Written]:
        read = Contexts(self.module, self.form, [self.samples[i] for (i,) in contexts])
        positions = torch.tensor(read.ends, device=rows.device)[rows]
        # `slots` counts a context as one word, which is the mark that a text begins with.
        written = Written(Words(self.module), read, rows, slots, positions)
        begin = torch.full_like(rows, self.form.bos)
        return written.step(begin, 0), written


class Written:
    """What rows have read and written: a `policies.sampling.Cache`. Words follow the longest of the
    contexts, which are padded on the right; the bias hides that."""

    def __init__(
        self, words: Words, read: Contexts, rows: Tensor, slots: int, positions: Tensor
    ) -> None:
        self.words, self.positions, kept = words, positions, read.cache
        self.first = kept.used
        blocks = []
        for block in kept.blocks:
            made = block.new_empty(2, block.shape[2], len(rows), kept.used + slots, block.shape[4])
            made[..., : kept.used, :] = block[:, rows, :, : kept.used].transpose(1, 2)
            blocks.append(made)
        bias = blocks[0].new_zeros(len(rows), 1, kept.used + slots)
        bias[:, 0, : kept.used].masked_fill_(~kept.seen[rows], HIDDEN)
        none = bias.new_empty(0)
        self.read = KeyValues(blocks, bias.repeat(blocks[0].shape[1], 1, 1), none, none)

    def step(self, ids: Tensor, slot: int) -> Tensor:
        turn = self.words.turn(self.positions, self.words.embed)
        states = self.words.step(ids, self.read, self.first + slot, turn)
        self.positions = self.positions + 1
        return states

    def keep(self, rows: Tensor) -> None:
        self.read.keep(rows)
        self.positions = self.positions[rows]
