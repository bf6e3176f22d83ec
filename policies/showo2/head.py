"""The flow head: layers after the language model, which the time of a picture modulates (adaLN).

Invariant: only pictures are modulated; words pass as if their shift and scale were 0 and their gate 1. A
picture is seen by its own row alone, as in the language model. Parameters have the released names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from policies.flowing.config import LanguageConfig
from policies.flowing.transformer import Attention, Seats, SwiGLU, frequencies
from policies.showo2.config import HeadConfig, Showo2Config

# Of Llama 3.2's rotary positions (rope_type "llama3"), which the head has whatever the language model.
THETA, FACTOR, LOW, HIGH, ORIGINAL = 500_000.0, 32.0, 1.0, 4.0, 8192
EPS, INNER_EPS = 1e-5, 1e-6
"""Of the norms of layers, and of all others."""


def stretched(head_dim: int, device: torch.device | None = None) -> Tensor:
    """Radians a position float32 [head_dim / 2]: waves that are longer than ORIGINAL / LOW are FACTOR
    times as long, those shorter than ORIGINAL / HIGH are as they are, and between them it is mixed."""
    plain = frequencies(head_dim, THETA, device)
    turns = ORIGINAL * plain / (2 * math.pi)
    kept = ((turns - LOW) / (HIGH - LOW)).clamp(0, 1)
    return kept * plain + (1 - kept) * plain / FACTOR


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """In float32, and back."""
    return (x.float() * (1 + scale.float()) + shift.float()).to(x.dtype)


def _adaptive(width: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


class ModulatedLayer(nn.Module):
    """The unit of sharding."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        sizes = attention_config(config)
        self.self_attn, self.mlp = Attention(sizes), SwiGLU(sizes)
        self.input_layernorm = nn.RMSNorm(config.width, eps=EPS)
        self.post_attention_layernorm = nn.RMSNorm(config.width, eps=EPS)
        self.adaLN_modulation = _adaptive(config.width, 6)

    def forward(
        self, layer: int, x: Tensor, seats: Seats, times: Tensor, pictures: Tensor
    ) -> Tensor:
        """x [tokens, width] of pictures int64 [tokens] (-1: a word), whose times are [pictures, width];
        `layer` is its number in the cache."""
        plain = times.new_zeros(6, x.shape[1])
        plain[[2, 5]] = 1  # the gates
        table = torch.cat([plain.view(1, -1), self.adaLN_modulation(times)])
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (
            each.index_select(0, pictures + 1) for each in table.chunk(6, 1)
        )
        (mixed,) = self.self_attn(layer, (modulated(self.input_layernorm(x), shift, scale),), seats)
        x = x + gate * mixed
        inner = modulated(self.post_attention_layernorm(x), shift_mlp, scale_mlp)
        mapped: Tensor = x + gate_mlp * self.mlp(inner)
        return mapped


class Last(nn.Module):
    """States of pictures' tokens [n, width] -> velocities [n, values]."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(width, eps=INNER_EPS)
        self.linear = nn.Linear(width, values)
        self.adaLN_modulation = _adaptive(width, 2)

    def forward(self, x: Tensor, times: Tensor, pictures: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(times).index_select(0, pictures).chunk(2, 1)
        velocities: Tensor = self.linear(modulated(self.norm_final(x), shift, scale))
        return velocities


def attention_config(config: HeadConfig) -> LanguageConfig:
    """The sizes of a layer's attention, as those of a language model's."""
    return LanguageConfig(
        vocab_size=0, hidden_size=config.width, intermediate_size=config.intermediate_size,
        layers=config.layers, heads=config.heads, kv_heads=config.kv_heads,
        head_dim=config.head_dim, norm_eps=INNER_EPS, rope_theta=THETA, max_positions=0,
        experts=("",), bias=False,
    )  # fmt: skip


def projection(config: Showo2Config) -> nn.Sequential:
    """From the language model's width to the head's."""
    given, width = config.language.hidden_size, config.head.width
    return nn.Sequential(nn.Linear(given, width), nn.GELU(), nn.Linear(width, width))
