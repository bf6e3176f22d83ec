"""The layers of SigLIP, over the tokens of pictures of any shape.

Invariant: pictures of one call do not see one another, so features are those of a picture alone.
Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.flowing.config import VisionConfig


class Crowd:
    """Pictures of `counts` patches as padded rows, for attention alone."""

    def __init__(self, counts: Sequence[int], device: torch.device) -> None:
        longest = max(counts, default=0)
        held = torch.arange(longest) < torch.tensor(counts, dtype=torch.int64)[:, None]
        self.shape, self.full = tuple(held.shape), bool(held.all())
        self.places = held.flatten().nonzero().flatten().to(device)
        self.mask = None if self.full else held[:, None, None].to(device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[patches, heads, head_dim] each -> [patches, heads * head_dim]."""
        q, k, v = (self._spread(each) for each in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, self.mask)
        flat = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
        return flat if self.full else flat.index_select(0, self.places)

    def _spread(self, x: Tensor) -> Tensor:
        if not self.full:
            whole = x.new_zeros(self.shape[0] * self.shape[1], *x.shape[1:])
            x = whole.index_copy_(0, self.places, x)
        return x.view(*self.shape, *x.shape[1:]).transpose(1, 2)


class VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width = config.hidden_size
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, crowd: Crowd) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1))
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed: Tensor = self.out_proj(crowd.attend(q, k, v))
        return mixed


class VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return mapped


class VisionLayer(nn.Module):
    """The unit of sharding: patches [n, width] in and out."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor, crowd: Crowd) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), crowd)
        mapped: Tensor = x + self.mlp(self.layer_norm2(x))
        return mapped
