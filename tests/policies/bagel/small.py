"""A very small BAGEL with random weights as a folder, to draw and to learn with."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.checkpoint import (
    MARKS,
    OURS,
    Loaded,
    describe_sizes,
    limits_of,
    save,
)
from policies.bagel.config import AutoencoderConfig, BagelConfig
from policies.bagel.module import BagelModule
from policies.bagel.released import WHOLE
from policies.bagel.samples import Format
from policies.flowing.config import LanguageConfig, VisionConfig
from policies.interface import Picture
from policies.seeds import generator

SIZE = 32
CONFIG = BagelConfig(
    language=LanguageConfig(
        vocab_size=272, hidden_size=48, intermediate_size=96, layers=2, heads=4, kv_heads=2,
        head_dim=12, norm_eps=1e-6, rope_theta=1e6, max_positions=512,
    ),
    vision=VisionConfig(
        hidden_size=24, intermediate_size=48, layers=1, heads=2, patch=8, side=4, norm_eps=1e-6
    ),
    autoencoder=AutoencoderConfig(stem=32, widths=(32, 32, 32, 32), blocks=1, latents=4),
    latent_patch=1,
    latent_side=4,
    timestep_shift=1.0,
)  # fmt: skip


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


def loaded(seed: int) -> Loaded:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, autoencoder = BagelModule(CONFIG).eval(), Autoencoder(CONFIG.autoencoder).eval()
    made = tokenizer()
    files = describe_sizes(CONFIG)
    whole = json.loads(files[WHOLE]) | {OURS: {"understanding": [SIZE, 8], "redrawing": [SIZE, 8]}}
    files |= {"tokenizer.json": made.to_str().encode(), WHOLE: json.dumps(whole).encode()}
    form = Format.of(CONFIG, **{field: made.token_to_id(name) for field, name in MARKS.items()})
    limits = limits_of(Path(WHOLE), files[WHOLE], CONFIG)
    return Loaded(module, autoencoder, made, form, files, limits)


def picture(seed: int, side: int = SIZE) -> Picture:
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype="uint8")
    latents = chance.standard_normal((4, side // 8, side // 8), dtype="float32")
    return Picture(pixels, None, torch.from_numpy(latents))
