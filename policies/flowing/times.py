"""Embeddings of the times of a flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FREQUENCIES = 256


class Times(nn.Module):
    """Times in 0..1, float32 [n] -> [n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        half = FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device) / half
        angles = t.float()[:, None] * 10000.0**-steps
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], -1).to(dtype))
        return embedded
