"""BAGEL's autoencoder of pictures in the layout of diffusers' AutoencoderKL, by which pipelines draw.

Invariant: latents and pictures are those of the one that it was made of, up to the order of sums.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import AutoencoderConfig
from policies.config import ConfigError

NAMES = (
    (r"(encoder)\.down\.(\d+)\.downsample\.", r"\1.down_blocks.\2.downsamplers.0."),
    (r"(decoder)\.up\.(\d+)\.upsample\.", r"\1.up_blocks.\2.upsamplers.0."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1_blocks.\2.resnets."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0.to_"),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
"""Of FLUX's first code, and of diffusers; the decoder's levels are counted from the other end there."""


def converted(autoencoder: Autoencoder, config: AutoencoderConfig) -> Any:
    """diffusers' AutoencoderKL. Raises ConfigError where its layout has no place for a weight."""
    from diffusers import AutoencoderKL

    widths = config.widths
    made: Any = AutoencoderKL(
        block_out_channels=widths, layers_per_block=config.blocks, latent_channels=config.latents,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths), use_quant_conv=False,
        use_post_quant_conv=False, scaling_factor=config.scale, shift_factor=config.shift,
        sample_size=48, force_upcast=False,
    )  # fmt: skip
    state = autoencoder.state_dict()
    if config.stem != widths[0]:
        _widen(state, config.stem, widths[0])
    last = len(widths) - 1
    named = {_renamed(name, last): weight for name, weight in state.items()}
    # What looks around is a convolution of single places there, and linear here.
    linear = {n: w.flatten(1) for n, w in named.items() if "attentions" in n and w.ndim == 4}
    made.load_state_dict(named | linear)
    return made.requires_grad_(False).eval()


def _widen(state: dict[str, Tensor], stem: int, width: int) -> None:
    """diffusers has the first level's width from the start. What widens it in BAGEL goes into the
    convolution before it; the block that does so must add nothing."""
    block, into = "encoder.down.0.block.0.", "encoder.conv_in."
    if state[block + "conv2.weight"].any() or state[block + "conv2.bias"].any():
        raise ConfigError(
            f"an autoencoder of {stem} channels that become {width} in a block which adds something has no "
            "place in diffusers' AutoencoderKL: use one whose first block adds nothing, as the toy's"
        )
    wide = state.pop(block + "nin_shortcut.weight").flatten(1)
    state[into + "bias"] = wide @ state[into + "bias"] + state.pop(block + "nin_shortcut.bias")
    state[into + "weight"] = torch.einsum("os,scyx->ocyx", wide, state[into + "weight"])
    for name in ("norm1.weight", "norm1.bias"):
        state[block + name] = torch.ones(width) if "weight" in name else torch.zeros(width)
    state[block + "conv1.weight"] = torch.zeros(width, width, 3, 3)


def _renamed(name: str, last: int) -> str:
    for pattern, new in NAMES:
        name = re.sub(pattern, new, name)
    return re.sub(r"up_blocks\.(\d+)", lambda found: f"up_blocks.{last - int(found[1])}", name)
