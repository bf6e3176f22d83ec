"""FLUX's autoencoder of pictures, in which BAGEL draws. It is frozen.

Invariant: a picture's latents depend on that picture alone; pictures of one call have one shape and
are never padded, for padding would be seen by the norms. Parameters have the released names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.bagel.config import AutoencoderConfig
from policies.convolutions import Level, Middle, conv, norm, through


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.conv_in = conv(3, config.stem)
        self.down = nn.ModuleList(
            Level(given, wanted, config.blocks, "downsample" if i < last else "")
            for i, (given, wanted) in enumerate(zip((config.stem, *widths), widths))
        )
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), conv(widths[-1], 2 * config.latents)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(through(self.conv_in(x), self.down))
        moments: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return moments


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = conv(config.latents, widths[-1])
        self.mid = Middle(widths[-1])
        # Level i of `up` undoes level i of `down`, so they run from the last to the first.
        self.up = nn.ModuleList(
            Level(given, wanted, config.blocks + 1, "upsample" if i else "")
            for i, (given, wanted) in enumerate(zip((*widths[1:], widths[-1]), widths))
        )
        self.norm_out, self.conv_out = norm(widths[0]), conv(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = through(self.mid(self.conv_in(x)), reversed(list(self.up)))
        pixels: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return pixels


class Autoencoder(nn.Module):
    """Between pixels [pictures, 3, height, width] in -1..1 and latents [pictures, channels, height
    / downsample, width / downsample], scaled to about unit variance."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.scale, self.shift = config.scale, config.shift

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """A sample of the posterior by standard normal noise of the latents' shape, or without it
        the posterior's mean."""
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        if noise is not None:
            mean = mean + torch.exp(0.5 * log_variance) * noise
        latents: Tensor = self.scale * (mean - self.shift)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels, which may lie a little outside of -1..1."""
        pixels: Tensor = self.decoder(latents / self.scale + self.shift)
        return pixels
