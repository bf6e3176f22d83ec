"""How large a BAGEL is: from the small files of its folder and the shapes of its tensors.

Invariant: parameters are counted on the very modules that would hold them, without allocating them.
"""

from __future__ import annotations

from pathlib import Path

import torch

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.checkpoint import read_small
from policies.bagel.config import BagelConfig
from policies.bagel.module import BagelModule
from policies.footprint import ELEMENT_BYTES, Footprint, decoder_layer, stored_drawing

# The longest instruction of the json templates has 1,111 characters.
INSTRUCTION = 384
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 6 * 2**30


def footprint(folder: Path, dtype: str) -> Footprint:
    """Raises CheckpointError."""
    return _footprint(read_small(folder).config, dtype)


def _footprint(config: BagelConfig, dtype: str) -> Footprint:
    with torch.device("meta"):
        module, autoencoder = BagelModule(config), Autoencoder(config.autoencoder)
    language, side = config.language, config.latent_side * config.token_pixels
    trained, units = _count(module), module.units()
    keys = language.kv_heads * language.head_dim
    drawing = config.latent_side**2
    return Footprint(
        parameters=trained + _count(autoencoder),
        trained=trained,
        gathered=trained - sum(map(_count, units)) + 2 * _count(units[-1]),
        layers=language.layers,
        hidden=language.hidden_size,
        layer_elements=decoder_layer(language.hidden_size, keys, language.intermediate_size),
        words=language.vocab_size,
        codes=config.latent_values,
        drawing=drawing,
        instruction=INSTRUCTION,
        cache_bytes=2 * language.layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(side, drawing * config.latent_values),
        workspace_bytes=WORKSPACE_BYTES,
    )


def _count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
