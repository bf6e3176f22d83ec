"""Pictures to image codes and back: a convolutional tokenizer with finite scalar quantisation.

Invariant: every code is a point of a fixed grid (`levels`). So every code is valid, there is no
codebook that could collapse, and encode and decode agree on what a number means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.errors import describe

# A larger size is a mistake, and would be allocated before any file is read.
MOST = 2**10


AT_ONCE = 4
"""Pictures that are decoded together: how many are rounds what each of them comes to."""


@dataclass(frozen=True)
class VisionConfig:
    """A picture of `size` pixels a side becomes (size / 8) ** 2 codes, of prod(levels) kinds.

    Raises ValueError that names the field, for sizes that make no tokenizer.
    """

    size: int = 48
    levels: tuple[int, ...] = (8, 8, 6, 5)
    channels: tuple[int, int, int] = (32, 64, 96)
    blocks: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.levels, tuple) or not isinstance(self.channels, tuple):
            raise ValueError("levels and channels must be lists")
        for value in (self.size, *self.levels, *self.channels, self.blocks):
            if type(value) is not int or not 0 <= value <= MOST:
                raise ValueError(f"{describe(value)} must be a whole number from 0 to {MOST}")
        if self.size <= 0 or self.size % 8:
            raise ValueError(f"size={self.size} must be a multiple of 8")
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels={self.levels} must be numbers of at least 2")
        if len(self.channels) != 3 or any(width <= 0 or width % 8 for width in self.channels):
            raise ValueError(f"channels={self.channels} must be three multiples of 8")

    @property
    def tokens(self) -> int:
        return (self.size // 8) ** 2

    @property
    def codes(self) -> int:
        return math.prod(self.levels)


class Block(nn.Module):
    """A residual convolution over float [n, channels, height, width]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.near = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.silu(self.near(F.silu(self.norm(x)))))


class Point(nn.Module):
    """A residual step at each position alone, over float [n, channels, height, width]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(channels, channels, 1)
        self.down = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(x)))


class Quantiser(nn.Module):
    """Rounds each of len(levels) numbers to its grid; gradients pass through unchanged."""

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        steps = torch.tensor(levels)
        self.register_buffer("levels", steps, persistent=False)
        basis = torch.cumprod(torch.tensor((1, *levels[:-1])), dim=0)
        self.register_buffer("basis", basis, persistent=False)

    def grid(self, z: Tensor) -> Tensor:
        """float [..., dims] -> whole numbers (as float) from 0 to levels - 1, with gradient."""
        top = (self.levels - 1).to(z.dtype)
        # A little more than the range, so that the outermost levels are reachable.
        place = (torch.tanh(z) * 1.002 + 1) * top / 2
        return place + (place.round().clamp(min=torch.zeros_like(top), max=top) - place).detach()

    def centred(self, grid: Tensor) -> Tensor:
        return grid * 2 / (self.levels - 1) - 1

    def pack(self, grid: Tensor) -> Tensor:
        """Whole numbers [..., dims] -> codes int64 [...]."""
        return (grid.round().long() * self.basis).sum(-1)

    def unpack(self, codes: Tensor) -> Tensor:
        return (codes.unsqueeze(-1) // self.basis % self.levels).float()


class ImageTokenizer(nn.Module):
    """The image tokenizer. `forward` is for training: pixels float [n, size, size, 3] in 0..1 ->
    the same, rebuilt."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        low, mid, high = config.channels
        dims = len(config.levels)
        self.quantiser = Quantiser(config.levels)
        # Whole 4x4 patches first: convolutions at full resolution would cost most and see least. A
        # code depends on its own patch only: the same thing at the same place has the same code
        # whatever is beside it, which makes codes easy to predict.
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(8),
            nn.Conv2d(192, 256, 1),
            *(Point(256) for _ in range(config.blocks)),
            nn.SiLU(),
            nn.Conv2d(256, dims, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(dims, high, 3, padding=1),
            *(Block(high) for _ in range(config.blocks)),
            nn.Conv2d(high, mid * 4, 1),
            nn.PixelShuffle(2),
            *(Block(mid) for _ in range(config.blocks)),
            nn.Conv2d(mid, low * 4, 1),
            nn.PixelShuffle(2),
            Block(low),
            nn.Conv2d(low, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        return self._rebuild(self._grid(pixels))

    def _grid(self, pixels: Tensor) -> Tensor:
        """pixels float [n, size, size, 3] -> grid [n, tokens, dims]."""
        x = self.encoder((pixels * 2 - 1).permute(0, 3, 1, 2))
        return self.quantiser.grid(x.permute(0, 2, 3, 1).flatten(1, 2))

    def _rebuild(self, grid: Tensor) -> Tensor:
        side = self.config.size // 8
        x = self.quantiser.centred(grid).unflatten(1, (side, side)).permute(0, 3, 1, 2)
        return self.decoder(x).permute(0, 2, 3, 1) * 0.5 + 0.5

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """uint8 [n, size, size, 3] -> codes int64 [n, tokens]."""
        return self.quantiser.pack(self._grid(pixels.float() / 255))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """codes int64 [n, tokens] -> uint8 [n, size, size, 3]: the same of a code whatever is beside it,
        to the bit, for it always passes with AT_ONCE - 1 others."""
        if not len(codes):
            return codes.new_zeros((0, self.config.size, self.config.size, 3), dtype=torch.uint8)
        filled = torch.cat([codes, codes[-1:].expand(-len(codes) % AT_ONCE, -1)])
        parts = (self._rebuild(self.quantiser.unpack(part)) for part in filled.split(AT_ONCE))
        rebuilt = torch.cat(list(parts))[: len(codes)]
        return (rebuilt.clamp(0, 1) * 255).round().to(torch.uint8)
