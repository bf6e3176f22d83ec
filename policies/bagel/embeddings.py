"""What tells where in a picture a token is, and what leads from the encoder to the language model.

Invariant: a place of a grid has the number row * side + column.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def spots_of(grid: tuple[int, int], side: int) -> Tensor:
    """The numbers of a grid's places in a table of side * side: int64 [rows * columns]."""
    rows, columns = (torch.arange(n) for n in grid)
    return (rows[:, None] * side + columns).flatten()


def waves(at: Tensor, width: int) -> Tensor:
    """[sin | cos] float32 [n, width] of float [n], of wavelengths from 2 pi to 10000 times that."""
    powers = torch.arange(width // 2, dtype=torch.float64) / (width / 2)
    angles = torch.outer(at.double(), 10000.0**-powers)
    return torch.cat([angles.sin(), angles.cos()], -1).float()


class Places(nn.Module):
    """The frozen table of where in a picture a token is, half of it for the column and half for
    the row: float32 [side * side, width]. A buffer, because released files hold it and nothing
    learns it."""

    pos_embed: Tensor

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        halves = [waves(each.flatten(), width // 2) for each in (column, row)]
        self.register_buffer("pos_embed", torch.cat(halves, -1))

    def forward(self, spots: Tensor) -> Tensor:
        return self.pos_embed[spots]


class Connector(nn.Module):
    """Features of the encoder [n, features] -> [n, width] of the language model."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return mapped
