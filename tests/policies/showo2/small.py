"""A very small Show-o2, and a Transfusion, with random weights as folders, to draw and to learn with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from policies.flowing.config import LanguageConfig, VisionConfig
from policies.interface import Picture
from policies.seeds import generator
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.checkpoint import MARKS, Loaded, describe_sizes, form_of, save
from policies.showo2.config import AutoencoderConfig, HeadConfig, Showo2Config
from policies.showo2.module import Showo2Module

torch.set_num_threads(1)
SIZE = 32
CONFIG = Showo2Config(
    language=LanguageConfig(
        vocab_size=264, hidden_size=48, intermediate_size=96, layers=2, heads=4, kv_heads=2,
        head_dim=12, norm_eps=1e-6, rope_theta=1e6, max_positions=512, experts=("",), qk_norm=False,
    ),
    semantic=VisionConfig(
        hidden_size=16, intermediate_size=32, layers=1, heads=2, patch=1, side=2, norm_eps=1e-6
    ),
    head=HeadConfig(width=32, intermediate_size=64, layers=1, heads=4, kv_heads=2, head_dim=8),
    autoencoder=AutoencoderConfig(width=4, blocks=1),
    latent_patch=2,
    own_side=2,
    tied=True,
)  # fmt: skip
TRANSFUSION = replace(CONFIG, semantic=None, head=HeadConfig(48, 0, 0, 0, 0, 0), tied=False)
"""Latents go into the language model as they are, and velocities come from its own last states."""


def tokenizer() -> Tokenizer:
    """All 256 bytes, then the names that the real one has for structure."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in MARKS.values()])
    return made


def write_folder(folder: Path, seed: int) -> None:
    save(folder, loaded(seed))


def write_transfusion(folder: Path, seed: int) -> None:
    save(folder, loaded(seed, TRANSFUSION))


def loaded(seed: int, config: Showo2Config = CONFIG) -> Loaded:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, autoencoder = Showo2Module(config).eval(), Autoencoder(config.autoencoder).eval()
    with torch.no_grad():  # words that are written by the table that they are read by
        module.showo.model.embed_tokens.weight.mul_(config.language.hidden_size**-0.5)
    made = tokenizer()
    files = describe_sizes(config) | {"tokenizer.json": made.to_str().encode()}
    form = form_of(config, made, {name: made.token_to_id(name) for name in MARKS.values()})
    return Loaded(module, autoencoder.requires_grad_(False), made, form, files)


def picture(seed: int, side: int = SIZE) -> Picture:
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype="uint8")
    latents = chance.standard_normal((16, side // 8, side // 8), dtype="float32")
    return Picture(pixels, None, torch.from_numpy(latents))
