"""How large a Show-o2 is: from the small files of its folder and the shapes of its tensors, or from its
name if its folder is not there yet.

Invariant: parameters are counted on the very modules that would hold them, without allocating them. The
sizes of public checkpoints are in `known/`, as fields of `policies.showo2.config`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from policies.flowing.config import LanguageConfig, VisionConfig
from policies.footprint import (
    ELEMENT_BYTES,
    INSTRUCTION,
    Footprint,
    decoder_layer,
    named,
    parameters_of,
    stored_drawing,
)
from policies.lora import per_rank
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.checkpoint import read_small
from policies.showo2.config import AutoencoderConfig, HeadConfig, Showo2Config
from policies.showo2.module import ADAPTED, Showo2Module

KNOWN = Path(__file__).parent / "known"
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 6 * 2**30


def footprint(folder: Path, dtype: str, *, training_shift: float | None = None) -> Footprint:
    """Raises CheckpointError, or ConfigError if its size is unknown."""
    config = read_small(folder).config if folder.exists() else known(named(folder, KNOWN))
    with torch.device("meta"):
        module, autoencoder = Showo2Module(config), Autoencoder(config.autoencoder)
    language, head, units = config.language, config.head, module.units()
    trained, drawing = parameters_of(module), config.own_side**2
    keys, head_keys = language.kv_heads * language.head_dim, head.kv_heads * head.head_dim
    # Both kinds of layers are counted as the larger of the two.
    layer = max(
        decoder_layer(language.hidden_size, keys, language.intermediate_size),
        decoder_layer(head.width, head_keys, head.intermediate_size),
    )
    cached = 2 * (language.layers * keys + head.layers * head_keys)
    shapes = ((name, weight.shape) for name, weight in module.named_parameters())
    return Footprint(
        parameters=trained + parameters_of(autoencoder),
        trained=trained,
        active=sum(map(parameters_of, [*module.showo.model.stack(), *module.diffusion_head_a])),
        gathered=trained - sum(map(parameters_of, units)) + 2 * max(map(parameters_of, units)),
        layers=language.layers + head.layers,
        hidden=max(language.hidden_size, head.width),
        layer_elements=layer,
        words=language.vocab_size,
        codes=config.latent_values,
        drawing=drawing,
        instruction=INSTRUCTION,
        cache_bytes=cached * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(config.own_side * config.token_pixels, drawing * config.latent_values),
        workspace_bytes=WORKSPACE_BYTES,
        adapter=per_rank(shapes, ADAPTED),
        token_side=config.token_pixels,
        step_elements=layer,
    )  # fmt: skip


def known(file: Path) -> Showo2Config:
    """The sizes of a public checkpoint."""
    fields = json.loads(file.read_bytes())
    return Showo2Config(
        language=LanguageConfig(**fields.pop("language"), experts=("",), qk_norm=False),
        semantic=VisionConfig(**fields.pop("semantic")),
        head=HeadConfig(**fields.pop("head")),
        autoencoder=AutoencoderConfig(**fields.pop("autoencoder")),
        **fields,
    )
