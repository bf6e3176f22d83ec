"""The sizes of the toy, and a toy that has learned nothing yet.

Invariant: a new toy follows from its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from policies.bagel import checkpoint
from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import AutoencoderConfig, BagelConfig
from policies.bagel.module import BagelModule
from policies.bagel.released import WHOLE
from policies.bagel.samples import Format
from policies.flowing.config import LanguageConfig, VisionConfig
from policies.pretraining import decoders
from policies.pretraining.words import build_tokenizer, twins
from policies.tokenizer import TOKENIZER, parse_tokenizer

AUTOENCODER = AutoencoderConfig(stem=32, widths=(64, 32, 32, 128), blocks=1, latents=16)


def sizes(vocabulary: int) -> BagelConfig:
    """36 patches to see and 36 latents to draw, each of 8 x 8 pixels."""
    return BagelConfig(
        language=LanguageConfig(
            vocab_size=vocabulary, hidden_size=128, intermediate_size=256, layers=4, heads=4,
            kv_heads=2, head_dim=32, norm_eps=1e-6, rope_theta=1e4, max_positions=512,
        ),
        vision=VisionConfig(
            hidden_size=96, intermediate_size=192, layers=4, heads=4, patch=8, side=6, norm_eps=1e-6
        ),
        autoencoder=AUTOENCODER,
        latent_patch=1,
        latent_side=6,
        timestep_shift=3.0,
    )  # fmt: skip


def new(words: Sequence[str], seed: int) -> checkpoint.Loaded:
    tokenizer = build_tokenizer(words, checkpoint.MARKS.values())
    data = tokenizer.to_str().encode()
    config = sizes(max(tokenizer.get_vocab().values()) + 1)
    files = checkpoint.describe_sizes(config) | {TOKENIZER: data}
    tokenizer, _ = parse_tokenizer(Path(TOKENIZER), data, "BAGEL", checkpoint.MARKS.values())
    marks: dict[str, Any] = {
        field: tokenizer.token_to_id(name) for field, name in checkpoint.MARKS.items()
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, autoencoder = BagelModule(config), Autoencoder(config.autoencoder)
        _begin_module(module, twins(tokenizer))
        decoders.begin(autoencoder)
    limits = checkpoint.limits_of(Path(WHOLE), files[WHOLE], config)
    form = Format.of(config, **marks)
    return checkpoint.Loaded(module.eval(), autoencoder.eval(), tokenizer, form, files, limits)


TABLES = ("embed_tokens.weight", "position_embedding.weight")


@torch.no_grad()
def _begin_module(module: BagelModule, same: Sequence[tuple[int, int]]) -> None:
    """Weights that keep unit variance about as it is. A word begins as the same word with a space
    before it."""
    depth = (2 * module.config.language.layers) ** -0.5
    for name, weight in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif weight.ndim == 2:
            adds = name.endswith(("o_proj.weight", "o_proj_moe_gen.weight", "down_proj.weight"))
            scale = 0.5 if name.endswith(TABLES) else 0.7 * weight.shape[1] ** -0.5
            nn.init.normal_(weight, std=scale * (depth if adds else 1.0))
    language = module.language_model
    nn.init.normal_(language.lm_head.weight, std=0.02)
    nn.init.normal_(module.llm2vae.weight, std=0.02)
    for table in (language.model.embed_tokens, language.lm_head):
        for bare, spaced in same:
            table.weight[spaced] = table.weight[bare]
