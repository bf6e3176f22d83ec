"""A decoder-only transformer with exactly the architecture of `LlamaForCausalLM`.

Invariant: q, k, v and gate, up are each one weight here and separate in public checkpoints;
`to_public` and `from_public` are exact inverses, so nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.attention import rotate
from policies.errors import describe

# A larger size is a mistake: layers are built one by one, and positions have tables.
MOST = {"layers": 2**10, "max_positions": 2**16}
MOST_OTHERWISE = 2**20


@dataclass(frozen=True)
class TransformerConfig:
    """The model's sizes. Raises ValueError that names the field if they do not fit."""

    vocab_size: int
    hidden_size: int = 128
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 384
    max_positions: int = 192
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (int, float) if field.name in ("rope_theta", "norm_eps") else (int,)
            most = MOST.get(field.name, MOST_OTHERWISE)
            if type(value) not in kinds or not 0 < value <= most:
                raise ValueError(
                    f"{field.name}={describe(value)} must be a number above 0, at most {most}"
                )
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} must be a multiple of kv_heads={self.kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even")


def rotary_tables(config: TransformerConfig) -> tuple[Tensor, Tensor]:
    """Returns cos and signed sin, float32 [2 * max_positions, head_dim].

    Twice the positions: the sampler puts a short context behind its batch's longest one.
    """
    powers = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    places = torch.arange(2 * config.max_positions, dtype=torch.float32)
    angles = torch.outer(places, config.rope_theta**-powers)
    return angles.cos().repeat(1, 2), torch.cat([-angles.sin(), angles.sin()], dim=-1)


class Layer(nn.Module):
    """Attention and SwiGLU, each after its norm, over float [rows, tokens, hidden]."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        hidden, wide, inner = config.hidden_size, config.head_dim, config.intermediate_size
        self.input_norm = nn.RMSNorm(hidden, eps=config.norm_eps)
        self.qkv = nn.Linear(hidden, (config.heads + 2 * config.kv_heads) * wide, bias=False)
        self.out = nn.Linear(config.heads * wide, hidden, bias=False)
        self.mlp_norm = nn.RMSNorm(hidden, eps=config.norm_eps)
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rotated q and k, and v: [rows, heads or kv_heads, tokens, head_dim]."""
        heads = self.qkv(self.input_norm(x)).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        turned = rotate(heads[:, : self.heads + self.kv_heads], cos, sin)
        return turned[:, : self.heads], turned[:, self.heads :], heads[:, -self.kv_heads :]

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Computes the rest of the layer from attention's [rows, heads, tokens, head_dim]."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`, if given, is added to the scores; without it attention is causal."""
        q, k, v = self.project(x, cos, sin)
        return self.finish(x, self.attend(q, k, v, mask))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Plain products: at these lengths they train faster on a CPU than fused attention."""
        rows, heads, asked, width = q.shape
        seen, share = k.shape[2], heads // self.kv_heads
        if mask is None:
            mask = q.new_full((asked, seen), -torch.inf).triu(1)
        # The queries that share a key head form one matrix, so keys are never repeated.
        q = q.reshape(rows, self.kv_heads, share * asked, width)
        scores = (q @ k.transpose(-1, -2)).view(rows, self.kv_heads, share, asked, seen)
        scores = (scores * width**-0.5).view(rows, heads, asked, seen) + mask
        shares = scores.softmax(-1).to(v.dtype).view(rows, self.kv_heads, share * asked, seen)
        return (shares @ v).view(rows, heads, asked, width)


class Transformer(nn.Module):
    """ids int64 [rows, tokens] -> logits float [rows, tokens, vocab].

    Rows are padded on the right, where causal attention never sees the padding. With `select`,
    int64 [n] of flat positions into [rows * tokens], the logits are [n, vocab].
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        cos, sin = rotary_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor, select: Tensor | None = None) -> Tensor:
        tokens = ids.shape[1]
        cos, sin = self.cos[:tokens], self.sin[:tokens]
        x = self.embed(ids)
        for layer in self.stack():
            x = layer(x, cos, sin)
        if select is not None:
            x = x.flatten(0, 1)[select]
        return self.head(self.norm(x))

    def stack(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))

    def initialise(self, seed: int) -> None:
        """Draws normal weights of deviation 0.02, smaller for those that add to the residual."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(weight)
                continue
            adds = name.endswith(("out.weight", "down.weight"))
            deviation = 0.02 / (2 * self.config.layers) ** 0.5 if adds else 0.02
            nn.init.normal_(weight, std=deviation, generator=generator)


_TOP = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
_LAYER = {
    "input_norm": "input_layernorm",
    "out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "down": "mlp.down_proj",
}


def public_parts(config: TransformerConfig) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Returns, for each of our names, the public names and shapes whose rows it stacks."""
    hidden, inner = config.hidden_size, config.intermediate_size
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"embed": (config.vocab_size, hidden), "norm": (hidden,)}
    shapes["head"] = shapes["embed"]
    parts = {f"{ours}.weight": [(f"{_TOP[ours]}.weight", shapes[ours])] for ours in _TOP}
    shapes |= {"input_norm": (hidden,), "mlp_norm": (hidden,)}
    shapes |= {"out": (hidden, q), "down": (hidden, inner)}
    for n in range(config.layers):
        ours, theirs = f"layers.{n}", f"model.layers.{n}"
        rows = (("q", q), ("k", kv), ("v", kv))
        parts[f"{ours}.qkv.weight"] = [
            (f"{theirs}.self_attn.{name}_proj.weight", (count, hidden)) for name, count in rows
        ]
        parts[f"{ours}.gate_up.weight"] = [
            (f"{theirs}.mlp.{name}_proj.weight", (inner, hidden)) for name in ("gate", "up")
        ]
        for name, public in _LAYER.items():
            parts[f"{ours}.{name}.weight"] = [(f"{theirs}.{public}.weight", shapes[name])]
    return parts


def to_public(config: TransformerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our state dict under the names of `LlamaForCausalLM`, fused weights split (views)."""
    public: dict[str, Tensor] = {}
    for ours, parts in public_parts(config).items():
        sizes = [shape[0] for _, shape in parts]
        pieces = state[ours].split(sizes)
        public |= {name: piece for (name, _), piece in zip(parts, pieces, strict=True)}
    return public


def from_public(config: TransformerConfig, public: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the inverse of `to_public`: our state dict."""
    return {
        ours: torch.cat([public[name] for name, _ in parts])
        for ours, parts in public_parts(config).items()
    }
