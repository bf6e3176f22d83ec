"""What joins the language model to the pipeline: learned slots, and a map of their hidden states.

Invariant: one class for all three kinds, and every weight of it learns; which loss it learns from is
the kind's (`policies.external.policy`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.external.config import BridgeConfig

SPREAD = 0.02
"""The deviation of fresh slots, as of a language model's fresh embeddings."""


class Bridge(nn.Module):
    """`slots` [learned, hidden] are put behind a prompt. With a bridge of embeddings there is one,
    which begins them, and `leave` predicts an embedding; else `leave` gives what conditions the
    pipeline, of signals after the layers."""

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.kind = config.kind
        hidden, inner = config.hidden, config.inner or config.hidden
        out = hidden if config.kind == "embeddings" else config.width
        learned = 1 if config.kind == "embeddings" else config.slots
        self.slots = nn.Parameter(torch.randn(learned, hidden) * SPREAD)
        if config.kind == "signals":
            self.outputs = nn.Parameter(torch.randn(config.tokens, inner))
            self.enter = nn.Linear(hidden, inner)
            self.layers = nn.ModuleList(
                Resampler(inner, config.heads) for _ in range(config.layers)
            )
        self.leave = nn.Linear(inner, out)

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states at the slots [rows, slots, hidden] -> [rows, tokens, out]."""
        if self.kind != "signals":
            left: Tensor = self.leave(states)
            return left
        seen = self.enter(states)
        x = self.outputs.to(seen.dtype).expand(len(states), -1, -1)
        for layer in self.layers:
            x = layer(x, seen)
        left = self.leave(x)
        return left


class Resampler(nn.Module):
    """Learned outputs look at each other and at what is seen, then pass a feed-forward part; norms
    come first, as in the output projection of NExT-GPT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.looking, self.resting = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x [rows, tokens, width] and seen [rows, slots, width] -> as x."""
        y = self.looking(x)
        both = torch.cat([y, seen], 1)
        q, k, v = (self._heads(each) for each in (self.query(y), self.key(both), self.value(both)))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        rested: Tensor = x + self.down(F.gelu(self.up(self.resting(x))))
        return rested

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
