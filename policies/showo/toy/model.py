"""The sizes of the toy, and a toy that has learned nothing yet.

Invariant: a new toy follows from its seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from policies.pretraining import decoders
from policies.pretraining.words import build_tokenizer, twins
from policies.showo.checkpoint import CONFIG, Loaded
from policies.showo.config import MagvitSizes, PhiSizes, ShowoConfig
from policies.showo.layout import ANSWERED, ASKED
from policies.showo.magvit import Magvit
from policies.showo.module import ShowoModule
from policies.showo.released import PHI
from policies.showo.tokens import END, Words, parse
from policies.tokenizer import TOKENIZER

BITS = 12
MAGVIT = MagvitSizes(
    stem=32,
    encoder=((32, 1), (64, 1), (64, 1), (128, 1)),
    decoder=((64, 1), (32, 1), (64, 1), (128, 1)),
    bits=BITS,
)
SPREAD = 0.5
"""The deviation of what a token begins as."""


def sizes(words: int) -> ShowoConfig:
    """Drawings of 6 x 6 codes, each of 8 x 8 pixels."""
    phi = PhiSizes(
        hidden_size=128, intermediate_size=384, layers=5, heads=4, kv_heads=4, norm_eps=1e-5,
        rope_theta=1e4, rotary=0.5, max_positions=512,
    )  # fmt: skip
    return ShowoConfig(words, 6, phi, MAGVIT)


def new(words: Sequence[str], seed: int) -> Loaded:
    data = build_tokenizer([*words, *ASKED.split(), *ANSWERED.split()], (END,)).to_str().encode()
    known = parse(Path(TOKENIZER), data)
    config = sizes(known.count)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, magvit = ShowoModule(config), Magvit(config.magvit)
        _begin(module, known)
    decoders.begin(magvit)
    files = describe_sizes(config) | {TOKENIZER: data}
    return Loaded(module.eval(), magvit.requires_grad_(False).eval(), known, files)


def describe_sizes(config: ShowoConfig) -> dict[str, bytes]:
    """The small files that say these sizes, as the public code and transformers have them."""
    phi = config.phi
    said: dict[str, Mapping[str, object]] = {
        CONFIG: {
            "_class_name": "Showo",
            "w_clip_vit": False,
            "vocab_size": config.vocabulary,
            "llm_vocab_size": config.words,
            "codebook_size": config.codes,
            "num_vq_tokens": config.tokens,
            "mask_token_id": config.mask,
        },
        PHI: {
            "architectures": ["PhiForCausalLM"],
            "model_type": "phi",
            "vocab_size": config.words,
            "hidden_size": phi.hidden_size,
            "intermediate_size": phi.intermediate_size,
            "num_hidden_layers": phi.layers,
            "num_attention_heads": phi.heads,
            "num_key_value_heads": phi.kv_heads,
            "hidden_act": "gelu_new",
            "layer_norm_eps": phi.norm_eps,
            "max_position_embeddings": phi.max_positions,
            "partial_rotary_factor": phi.rotary,
            "rope_theta": phi.rope_theta,
            "tie_word_embeddings": False,
        },
    }
    return {name: json.dumps(fields, indent=2).encode() + b"\n" for name, fields in said.items()}


@torch.no_grad()
def _begin(module: ShowoModule, words: Words) -> None:
    """Weights that keep unit variance about as it is. A word begins as the same word with a space
    before it, and a code as nothing, for it gets a part for each of its bits."""
    config = module.config
    depth = (2 * config.phi.layers) ** -0.5
    for name, weight in module.named_parameters():
        if weight.ndim == 2:
            adds = name.endswith(("dense.weight", "fc2.weight"))
            nn.init.normal_(weight, std=0.7 * weight.shape[1] ** -0.5 * (depth if adds else 1.0))
    embedding, head = module.showo.model.embed_tokens.weight, module.showo.lm_head.weight
    nn.init.normal_(embedding, std=SPREAD)
    nn.init.normal_(head, std=0.02)
    for table in (embedding, head):
        for bare, spaced in twins(words.tokenizer):
            table[spaced] = table[bare]
        table[config.first_code : config.mask] = 0.0
