"""A tiny Show-o with random weights as a folder, to draw and to learn with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from policies.interface import Picture
from policies.seeds import generator
from policies.showo.checkpoint import Loaded, save
from policies.showo.config import MagvitSizes, PhiSizes, ShowoConfig
from policies.showo.magvit import Magvit
from policies.showo.module import ShowoModule
from policies.showo.tokens import END, parse

SIZE = 32
SPACES = ("   ", "  ")
"""Phi's tokenizer has such runs as tokens, from the longest on."""
LEVELS = ((32, 1),) * 4
CONFIG = ShowoConfig(
    words=256 + 1 + len(SPACES),
    side=4,
    phi=PhiSizes(
        hidden_size=48, intermediate_size=96, layers=2, heads=4, kv_heads=4, norm_eps=1e-5,
        rope_theta=10000.0, rotary=0.5, max_positions=512,
    ),
    magvit=MagvitSizes(stem=32, encoder=LEVELS, decoder=LEVELS, bits=6),
)  # fmt: skip


def tokenizer() -> Tokenizer:
    """All 256 bytes, then what Phi's has beside them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(END, special=True)])
    made.add_tokens([AddedToken(run, normalized=False) for run in SPACES])
    return made


def small_files(config: ShowoConfig) -> dict[str, bytes]:
    """The small files that say these sizes, as the public code and transformers write them."""
    phi = config.phi
    said: dict[str, dict[str, object]] = {
        "config.json": {
            "_class_name": "Showo",
            "w_clip_vit": False,
            "vocab_size": config.vocabulary,
            "llm_vocab_size": config.words,
            "llm_model_path": "microsoft/phi-1_5",
            "codebook_size": config.codes,
            "num_vq_tokens": config.tokens,
            "load_from_showo": True,
            "mask_token_id": config.mask,
        },
        "llm_config.json": {
            "architectures": ["PhiForCausalLM"],
            "model_type": "phi",
            "vocab_size": config.words,
            "hidden_size": phi.hidden_size,
            "intermediate_size": phi.intermediate_size,
            "num_hidden_layers": phi.layers,
            "num_attention_heads": phi.heads,
            "num_key_value_heads": None,
            "hidden_act": "gelu_new",
            "layer_norm_eps": phi.norm_eps,
            "max_position_embeddings": phi.max_positions,
            "partial_rotary_factor": phi.rotary,
            "qk_layernorm": False,
            "rope_theta": phi.rope_theta,
            "tie_word_embeddings": False,
        },
    }
    files = {name: json.dumps(fields, indent=2).encode() + b"\n" for name, fields in said.items()}
    return files | {"tokenizer.json": tokenizer().to_str().encode()}


def write_folder(folder: Path, seed: int = 0) -> Path:
    """Writes the checkpoint, with weights that follow from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, magvit = ShowoModule(CONFIG).eval(), Magvit(CONFIG.magvit).eval()
    files = small_files(CONFIG)
    words = parse(folder / "tokenizer.json", files["tokenizer.json"])
    save(folder, Loaded(module, magvit, words, files))
    return folder


def picture(seed: int, side: int = SIZE) -> Picture:
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Picture(pixels, chance.integers(0, CONFIG.codes, CONFIG.tokens).astype(np.int32))
