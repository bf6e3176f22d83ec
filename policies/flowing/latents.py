"""Latents of pictures as tokens, and back.

Invariant: a picture's tokens are its patches row by row, a patch's values are in the order (row in
the patch, column in it, channel).
"""

from __future__ import annotations

from torch import Tensor


def patches_of(values: Tensor, patch: int) -> Tensor:
    """[..., channels, height, width] -> [..., tokens, patch * patch * channels]."""
    grid = values.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))  # c, h, p, w, q
    return grid.movedim((-4, -2, -3, -1, -5), (-5, -4, -3, -2, -1)).flatten(-3).flatten(-3, -2)


def picture_of(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of `patches_of` for a grid of rows and columns."""
    parts = tokens.unflatten(-2, grid).unflatten(-1, (patch, patch, -1))  # h, w, p, q, c
    return parts.movedim((-5, -4, -3, -2, -1), (-4, -2, -3, -1, -5)).flatten(-4, -3).flatten(-2)
