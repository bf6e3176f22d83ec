"""A mixture of two Qwen2 transformers, one of words and one of latents, with one attention; or one alone.

Invariant: the tokens of an expert are kept together in one [tokens, hidden], in any order; only
attention puts them where they are in the sequence. So no expert computes a token of the other or a
place of padding, and an expert without tokens still takes part, with gradients of 0.

Parameters have the released names. The expert of words and features has Qwen2's own, that of
latents the same with `_moe_gen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies import attention
from policies.flowing.cache import Cache
from policies.flowing.config import LanguageConfig
from policies.flowing.masks import Mask, attend

Streams = tuple[Tensor, ...]
"""Something of the tokens of each expert that takes part: of words and features [n, ...], and of
latents [n, ...]."""
Turn = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Seats:
    """Where tokens sit: flat int64 places in a sequence of `shape` [rows, places] for each of the
    `experts`, with the cos and signed sin [n, 1, head_dim] of their positions, and who sees whom."""

    shape: tuple[int, int]
    experts: tuple[str, ...]
    places: Streams
    turns: tuple[Turn, ...]
    mask: Mask
    cache: Cache | None = None

    def spread(self, heads: Streams) -> Tensor:
        """[tokens, heads, head_dim] of each expert -> [rows, heads, places, head_dim]."""
        rows, places = self.shape
        whole = heads[0].new_zeros(rows * places, *heads[0].shape[1:])
        for index, part in zip(self.places, heads):
            whole.index_copy_(0, index, part)
        return whole.view(rows, places, *whole.shape[1:]).transpose(1, 2)

    def gather(self, mixed: Tensor) -> Streams:
        """[rows, heads, places, head_dim] -> [tokens, heads * head_dim] of each expert."""
        flat = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
        return tuple(flat.index_select(0, places) for places in self.places)


def turns(positions: Tensor, head_dim: int, theta: float) -> Turn:
    """cos and signed sin float32 [n, 1, head_dim] of int64 positions [n]."""
    return turned(positions, frequencies(head_dim, theta, positions.device))


def frequencies(head_dim: int, theta: float, device: torch.device | None = None) -> Tensor:
    """Radians a position, float32 [head_dim / 2]."""
    powers = torch.arange(0, head_dim, 2, device=device).float() / head_dim
    return 1.0 / theta**powers


def turned(positions: Tensor, radians: Tensor) -> Turn:
    """Likewise of any frequencies [head_dim / 2]."""
    angles = torch.outer(positions.float(), radians)
    sin = angles.sin()
    return angles.cos().repeat(1, 2)[:, None], torch.cat([-sin, sin], -1)[:, None]


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """x [n, heads, head_dim], its first half against its second."""
    return attention.rotate(x, *(each.to(x.dtype) for each in turn))


class Attention(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        hidden, self.head_dim = config.hidden_size, config.head_dim
        q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.qk_norm = config.qk_norm
        for expert in config.experts:
            self.add_module(f"q_proj{expert}", nn.Linear(hidden, q, bias=config.bias))
            self.add_module(f"k_proj{expert}", nn.Linear(hidden, kv, bias=config.bias))
            self.add_module(f"v_proj{expert}", nn.Linear(hidden, kv, bias=config.bias))
            self.add_module(f"o_proj{expert}", nn.Linear(q, hidden, bias=False))
            for name in ("q_norm", "k_norm") if self.qk_norm else ():
                norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps)
                self.add_module(f"{name}{expert}", norm)

    def project(self, x: Tensor, expert: str, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] -> q, k and v of that expert, [n, heads or kv_heads, head_dim]."""
        q, k, v = (
            getattr(self, f"{name}_proj{expert}")(x).unflatten(-1, (-1, self.head_dim))
            for name in "qkv"
        )
        if self.qk_norm:
            q, k = getattr(self, f"q_norm{expert}")(q), getattr(self, f"k_norm{expert}")(k)
        return rotate(q, turn), rotate(k, turn), v

    def forward(self, layer: int, x: Streams, seats: Seats) -> Streams:
        parts = [self.project(*each) for each in zip(x, seats.experts, seats.turns)]
        q, k, v = (seats.spread(each) for each in zip(*parts))
        if seats.cache is not None:
            k, v = seats.cache.with_own(layer, k, v)
        mixed = seats.gather(attend(q, k, v, seats.mask))
        return doubled(self, "o_proj", mixed, seats)


class SwiGLU(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return mapped


def doubled(parent: nn.Module, name: str, x: Streams, seats: Seats) -> Streams:
    """What the experts' modules of this name in `parent` give for their tokens."""
    return tuple(getattr(parent, f"{name}{e}")(each) for e, each in zip(seats.experts, x))


def _sum(x: Streams, y: Streams) -> Streams:
    return tuple(each + more for each, more in zip(x, y))


class Layer(nn.Module):
    """The unit of sharding: streams [tokens, hidden] of both experts in and out."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        for expert in config.experts:
            self.add_module(f"mlp{expert}", SwiGLU(config))
            for name in ("input_layernorm", "post_attention_layernorm"):
                norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
                self.add_module(f"{name}{expert}", norm)

    def forward(self, layer: int, x: Streams, seats: Seats) -> Streams:
        """`layer` is its number in the cache."""
        normed = doubled(self, "input_layernorm", x, seats)
        x = _sum(x, self.self_attn(layer, normed, seats))
        normed = doubled(self, "post_attention_layernorm", x, seats)
        return _sum(x, doubled(self, "mlp", normed, seats))


class Transformer(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        for expert in config.experts:
            norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
            self.add_module(f"norm{expert}", norm)

    def forward(self, x: Streams, seats: Seats) -> Streams:
        """Embeddings of both experts' tokens -> their last hidden states, normed."""
        for number, layer in enumerate(self.stack()):
            x = layer(number, x, seats)
        return doubled(self, "norm", x, seats)

    def stack(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))


class LanguageModel(nn.Module):
    """The transformer and its head, under the names that they have in Qwen2."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.model = Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
