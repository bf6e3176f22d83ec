"""What draws the pixels of image codes: a VQGAN's decoder (arXiv 2012.09841), which transformers lacks.

Invariant: its weights have the names of the published image tokenizer (`decoder.up.0.block.1.conv1...`
of vqgan.ckpt), and its blocks are those that transformers' encoder is made of.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)


class Decoder(nn.Module):
    """`config` is a `ChameleonVQVAEConfig`. Level 0 of `up` is the last and finest; each level has one
    block more than the encoder's, and all but the last double the sides."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = [config.base_channels * times for times in config.channel_multiplier]
        finest = len(widths) - 1
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = nn.ModuleDict(
            {
                "block_1": ChameleonVQVAEEncoderResnetBlock(config, widths[-1], widths[-1]),
                "attn_1": ChameleonVQVAEEncoderAttnBlock(widths[-1]),
                "block_2": ChameleonVQVAEEncoderResnetBlock(config, widths[-1], widths[-1]),
            }
        )
        self.up = nn.ModuleList(
            _level(config, widths[min(i + 1, finest)], width, config.resolution >> i, first=i == 0)
            for i, width in enumerate(widths)
        )
        self.norm_out = nn.GroupNorm(32, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """float [pictures, latent_channels, h, w] -> [pictures, 3, height, width], about -1 to 1."""
        x = self.conv_in(latents)
        for part in self.mid.values():
            x = part(x)
        for level in reversed(self.up):
            parts: Any = level
            for i, block in enumerate(parts["block"]):
                x = block(x)
                if len(parts["attn"]):
                    x = parts["attn"][i](x)
            if "upsample" in parts:
                x = parts["upsample"]["conv"](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        shown: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return shown


def _level(config: Any, before: int, width: int, side: int, first: bool) -> nn.ModuleDict:
    """The blocks on pictures of `side` x `side`, from `before` channels to `width`."""
    count = config.num_res_blocks + 1
    attends = side in (config.attn_resolutions or ())
    level = nn.ModuleDict(
        {
            "block": nn.ModuleList(
                ChameleonVQVAEEncoderResnetBlock(config, before if i == 0 else width, width)
                for i in range(count)
            ),
            "attn": nn.ModuleList(
                ChameleonVQVAEEncoderAttnBlock(width) for _ in range(count if attends else 0)
            ),
        }
    )
    if not first:
        level["upsample"] = nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, padding=1)})
    return level
