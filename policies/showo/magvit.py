"""MAGVIT-v2's tokenizer of pictures (arXiv 2310.05737), in which Show-o draws. It is frozen.

Invariant: a code is the signs of a place's latents, the first one its highest bit: there is no
codebook to look up. Parameters have the released names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.convolutions import Level, Middle, conv, norm, through
from policies.showo.config import MagvitSizes


class Encoder(nn.Module):
    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        levels, last = sizes.encoder, len(sizes.encoder) - 1
        given = [sizes.stem, *(width for width, _ in levels)]
        self.conv_in = conv(3, sizes.stem)
        self.down = nn.ModuleList(
            Level(given[i], width, blocks, "downsample" if i < last else "")
            for i, (width, blocks) in enumerate(levels)
        )
        self.mid = Middle(given[-1])
        self.norm_out, self.conv_out = norm(given[-1]), conv(given[-1], sizes.bits)
        self.quant_conv = nn.Conv2d(sizes.bits, sizes.bits, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.mid(through(self.conv_in(pixels), self.down))
        latents: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(x))))
        return latents


class Decoder(nn.Module):
    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        levels = sizes.decoder
        widths = [width for width, _ in levels]
        given = [*widths[1:], widths[-1]]
        self.post_quant_conv = nn.Conv2d(sizes.bits, sizes.bits, 1)
        self.conv_in = conv(sizes.bits, widths[-1])
        self.mid = Middle(widths[-1])
        # Level i of `up` undoes level i of `down`, so they run from the last to the first.
        self.up = nn.ModuleList(
            Level(given[i], width, blocks, "upsample" if i else "")
            for i, (width, blocks) in enumerate(levels)
        )
        self.norm_out, self.conv_out = norm(widths[0]), conv(widths[0], 3)

    def forward(self, signs: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(signs)))
        x = through(x, reversed(list(self.up)))
        pixels: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return pixels


class Magvit(nn.Module):
    """Between pixels float [pictures, 3, height, width] in -1..1 and codes int64 [pictures, rows,
    columns]."""

    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)
        self.bits = sizes.bits

    def encode(self, pixels: Tensor) -> Tensor:
        bits = (self.encoder(pixels) > 0).long().movedim(1, -1)
        return (bits << self._places(bits.device)).sum(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Pixels, which may lie a little outside of -1..1."""
        bits = (codes[..., None] >> self._places(codes.device)) & 1
        pixels: Tensor = self.decoder((bits * 2 - 1).movedim(-1, 1).to(self.dtype))
        return pixels

    def released_tables(self) -> dict[str, Tensor]:
        """What the public class keeps beside its weights, though it follows from the bits alone."""
        codes = torch.arange(2**self.bits)[:, None]
        places = self._places(codes.device)
        embedding = ((codes >> places) & 1).float() * 2 - 1
        return {"quantize.embedding": embedding, "quantize.power_vals": 2**places}

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.conv_in.weight.dtype

    def _places(self, device: torch.device) -> Tensor:
        return torch.arange(self.bits - 1, -1, -1, device=device)
