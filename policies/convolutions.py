"""The convolutional blocks of public autoencoders of pictures, by their public names.

Invariant: a picture's result depends on that picture alone; pictures of one call have one shape and
are never padded, for padding would be seen by the norms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32
"""Of channels, in every norm."""
EPS = 1e-6


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=EPS)


def conv(given: int, wanted: int) -> nn.Conv2d:
    return nn.Conv2d(given, wanted, 3, padding=1)


class Block(nn.Module):
    idle = False
    """Whether it is known to add nothing, and is passed over."""

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(given), conv(given, wanted)
        self.norm2, self.conv2 = norm(wanted), conv(wanted, wanted)
        if given != wanted:
            self.nin_shortcut = nn.Conv2d(given, wanted, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        if self.idle:
            return kept
        changed = self.conv1(F.silu(self.norm1(x)))
        changed = self.conv2(F.silu(self.norm2(changed)))
        return kept + changed

    def last(self) -> nn.Conv2d:
        """What it adds comes from here."""
        return self.conv2


class Glance(nn.Module):
    """Attention of all places of a picture to one another, with one head."""

    idle = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.v, self.proj_out = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.idle:
            return x
        normed = self.norm(x)
        # Strided views would take the path that holds all scores, 1 GiB for a large picture.
        q, k, v = (
            each(normed).flatten(2).transpose(1, 2).contiguous()[:, None]
            for each in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        mapped: Tensor = self.proj_out(mixed.unflatten(2, x.shape[2:]))
        return x + mapped

    def last(self) -> nn.Conv2d:
        return self.proj_out


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = Block(channels, channels)
        self.attn_1 = Glance(channels)
        self.block_2 = Block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return mapped


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled


class Level(nn.Module):
    """Blocks from `given` to `wanted` channels, then the change of size where there is one."""

    def __init__(self, given: int, wanted: int, blocks: int, scaling: str) -> None:
        super().__init__()
        inputs = [given] + [wanted] * (blocks - 1)
        self.block = nn.ModuleList(Block(channels, wanted) for channels in inputs)
        self.scaling = scaling
        if scaling:
            made = Downsample(wanted) if scaling == "downsample" else Upsample(wanted)
            self.add_module(scaling, made)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        scaled: Tensor = getattr(self, self.scaling)(x) if self.scaling else x
        return scaled


def through(x: Tensor, levels: Iterable[Any]) -> Tensor:
    for level in levels:
        x = level(x)
    return x


def pass_over_idle(whole: nn.Module) -> None:
    """Passes over what adds zeros from now on: a toy leaves most blocks at full resolution so, where
    they would take most of the time. Nothing that is computed changes."""
    for part in whole.modules():
        if isinstance(part, Block | Glance):
            part.idle = not any(bool(weight.any()) for weight in part.last().parameters())
