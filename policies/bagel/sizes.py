"""How large a BAGEL is: from the small files of its folder and the shapes of its tensors, or from
its name if its folder is not there yet.

Invariant: parameters are counted on the very modules that would hold them, without allocating them.
The sizes of public checkpoints are in `known/`, as fields of `policies.bagel.config`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.checkpoint import SIDES, read_small, sides_within
from policies.bagel.config import AutoencoderConfig, BagelConfig
from policies.bagel.module import ADAPTED, BagelModule
from policies.bagel.pictures import Limits, size_within
from policies.flowing.config import EXPERTS, LanguageConfig, VisionConfig
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

KNOWN = Path(__file__).parent / "known"
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 6 * 2**30


def footprint(
    folder: Path, dtype: str, *, training_shift: float | None = None, think: int = 0,
    adapters: str = "all",
) -> Footprint:  # fmt: skip
    """Raises CheckpointError, or ConfigError if its size is unknown."""
    config, limits = _sizes(folder)
    with torch.device("meta"):
        module, autoencoder = BagelModule(config), Autoencoder(config.autoencoder)
    language, side = config.language, config.latent_side * config.token_pixels
    trained, units = parameters_of(module), module.units()
    keys = language.kv_heads * language.head_dim
    drawing = config.latent_side**2
    layer = decoder_layer(language.hidden_size, keys, language.intermediate_size)
    seen, redrawn = (_patches(side, each, config.vision.patch) for each in limits[:2])
    shapes = ((name, weight.shape) for name, weight in module.named_parameters())
    return Footprint(
        parameters=trained + sum(map(torch.numel, module.buffers())) + parameters_of(autoencoder),
        trained=trained,
        active=_one_expert(module),
        gathered=trained - sum(map(parameters_of, units)) + 2 * parameters_of(units[-1]),
        layers=language.layers,
        hidden=language.hidden_size,
        layer_elements=layer,
        words=language.vocab_size,
        codes=config.latent_values,
        drawing=drawing,
        instruction=INSTRUCTION,
        cache_bytes=2 * language.layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(side, drawing * config.latent_values),
        workspace_bytes=WORKSPACE_BYTES,
        adapter=per_rank(shapes, ADAPTED[adapters]),
        seen=seen,
        redrawn=redrawn,
        token_side=config.token_pixels,
        step_elements=layer,
        plan=think,
    )


def known(file: Path) -> BagelConfig:
    """The sizes of a public checkpoint."""
    fields = json.loads(file.read_bytes())
    autoencoder = fields.pop("autoencoder")
    return BagelConfig(
        language=LanguageConfig(**fields.pop("language")),
        vision=VisionConfig(**fields.pop("vision")),
        autoencoder=AutoencoderConfig(**autoencoder | {"widths": tuple(autoencoder["widths"])}),
        **fields,
    )


def _sizes(folder: Path) -> tuple[BagelConfig, tuple[Limits, Limits, Limits]]:
    if folder.exists():
        small = read_small(folder)
        return small.config, small.limits
    config = known(named(folder, KNOWN))
    return config, sides_within(config, SIDES)


def _patches(side: int, limits: Limits, patch: int) -> int:
    """Tokens of a drawing of the model's own size as features."""
    height, width = size_within(side, side, limits)
    return (height // patch) * (width // patch)


def _one_expert(module: BagelModule) -> int:
    """Parameters of the layers that a word passes through; the experts are alike, so a latent's are as
    many."""
    named = module.language_model.model.layers.named_parameters()
    return sum(weight.numel() for name, weight in named if EXPERTS[1] not in name)
