"""What turns patches, latents, places of a picture and times into embeddings.

Invariant: a picture's tokens are its patches row by row, a patch's values are in the order (row in
the patch, column in it, channel), and a place of a grid has the number row * side + column.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256


def patches_of(values: Tensor, patch: int) -> Tensor:
    """[..., channels, height, width] -> [..., tokens, patch * patch * channels]."""
    grid = values.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))  # c, h, p, w, q
    return grid.movedim((-4, -2, -3, -1, -5), (-5, -4, -3, -2, -1)).flatten(-3).flatten(-3, -2)


def picture_of(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of `patches_of` for a grid of rows and columns."""
    parts = tokens.unflatten(-2, grid).unflatten(-1, (patch, patch, -1))  # h, w, p, q, c
    return parts.movedim((-5, -4, -3, -2, -1), (-4, -2, -3, -1, -5)).flatten(-4, -3).flatten(-2)


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


class Connector(nn.Module):
    """Features of the encoder [n, features] -> [n, width] of the language model."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return mapped
