"""Wan2.1's causal autoencoder of films (arXiv 2503.20314), of which single frames are used. It is frozen.

Invariant: a picture's latents are those that the whole autoencoder gives for a film of one frame, whose
past is zeros: of a kernel over time only the last slice meets anything, and no change of the number of
frames is computed. All weights are kept, under the released names.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.showo2.config import LEVELS, AutoencoderConfig

# Of latents, by which the released code makes them about standard normal.
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip
FRAMES = (False, True, True)
"""Which of the changes of size, from pixels on, also change the number of frames."""


class Conv(nn.Conv3d):
    """Causal over time: a lone frame meets the last slice of the kernel."""

    def __init__(self, given: int, wanted: int, size: int = 3) -> None:
        super().__init__(given, wanted, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight[:, :, -1]
        return F.conv2d(x, kernel, self.bias, padding=kernel.shape[-1] // 2)


class Norm(nn.Module):
    """Of the channels of a place, by their length; `sides` of 1 follow the channels in its shape."""

    def __init__(self, channels: int, sides: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * sides))

    def forward(self, x: Tensor) -> Tensor:
        scale = len(self.gamma) ** 0.5
        return F.normalize(x, dim=1) * scale * self.gamma.view(-1, 1, 1)


class Block(nn.Module):
    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Norm(given), nn.SiLU(), Conv(given, wanted),
            Norm(wanted), nn.SiLU(), nn.Identity(), Conv(wanted, wanted),
        )  # fmt: skip
        self.shortcut = Conv(given, wanted, 1) if given != wanted else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.shortcut(x) + self.residual(x)
        return changed


class Glance(nn.Module):
    """Attention of all places of a picture to one another, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2)
        q, k, v = (each.contiguous()[:, None] for each in flat.chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        mapped: Tensor = self.proj(mixed.unflatten(2, x.shape[2:]))
        return x + mapped


class Shrink(nn.Module):
    """Halves height and width; `frames` says whether the whole autoencoder halves those too."""

    def __init__(self, channels: int, frames: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2)
        )
        if frames:
            self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.resample(x)
        return halved


class Grow(nn.Module):
    """Doubles height and width, and halves the channels."""

    def __init__(self, channels: int, frames: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest-exact"),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )
        if frames:
            self.time_conv = nn.Conv3d(channels, 2 * channels, (3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.resample(x)
        return doubled


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Block(channels, channels), Glance(channels), Block(channels, channels))


def _last(channels: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(Norm(channels), nn.SiLU(), Conv(channels, wanted))


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, parts = [config.width * by for by in LEVELS], list[nn.Module]()
        self.conv1 = Conv(3, widths[0])
        for level, (given, wanted) in enumerate(zip((widths[0], *widths), widths)):
            parts += [Block(given if not i else wanted, wanted) for i in range(config.blocks)]
            if level < len(FRAMES):
                parts.append(Shrink(wanted, FRAMES[level]))
        self.downsamples = nn.Sequential(*parts)
        self.middle, self.head = _middle(widths[-1]), _last(widths[-1], 2 * config.latents)

    def forward(self, x: Tensor) -> Tensor:
        moments: Tensor = self.head(self.middle(self.downsamples(self.conv1(x))))
        return moments


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, parts = [config.width * by for by in reversed(LEVELS)], list[nn.Module]()
        self.conv1 = Conv(config.latents, widths[0])
        self.middle = _middle(widths[0])
        for level, (given, wanted) in enumerate(zip((widths[0], *widths), widths)):
            first = given // 2 if level else given  # what grew has half of its channels
            parts += [Block(first if not i else wanted, wanted) for i in range(config.blocks + 1)]
            if level < len(FRAMES):
                parts.append(Grow(wanted, FRAMES[-1 - level]))
        self.upsamples = nn.Sequential(*parts)
        self.head = _last(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        pixels: Tensor = self.head(self.upsamples(self.middle(self.conv1(x))))
        return pixels


class Autoencoder(nn.Module):
    """Between pixels [pictures, 3, height, width] in -1..1 and latents [pictures, 16, height / 8, width
    / 8], about standard normal."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.conv1 = Conv(2 * config.latents, 2 * config.latents, 1)
        self.conv2 = Conv(config.latents, config.latents, 1)
        self.decoder = Decoder(config)

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean of the posterior."""
        mean = self.conv1(self.encoder(pixels)).chunk(2, dim=1)[0]
        center, scale = _moments(mean)
        return cast(Tensor, (mean - center) / scale)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels, which may lie a little outside of -1..1."""
        center, scale = _moments(latents)
        pixels: Tensor = self.decoder(self.conv2(latents * scale + center))
        return pixels


def _moments(like: Tensor) -> Any:
    return (like.new_tensor(each).view(-1, 1, 1) for each in (MEAN, STD))
