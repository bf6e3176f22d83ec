"""How large a Janus model is: from its config.json, or from its name if its folder is not there
yet.

Invariant: parameters are counted on transformers' own classes, without allocating them. The sizes
of public checkpoints are in `known/`, in the format of transformers' config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from policies.footprint import (
    ELEMENT_BYTES,
    INSTRUCTION,
    Footprint,
    decoder_layer,
    named,
    stored_drawing,
)
from policies.janus.module import ADAPTED
from policies.lora import per_rank

KNOWN = Path(__file__).parent / "known"
FROZEN = "model.vqmodel."
"""Prefix of the tensors that are never trained: the image tokenizer."""
LAYERS, SEEING = "model.language_model.layers.", "model.vision_model.encoder.layers."
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 4 * 2**30


def footprint(folder: Path, dtype: str) -> Footprint:
    """Returns the model's sizes. Raises CheckpointError, or ConfigError if its size is unknown."""
    config = architecture(folder)
    shapes = _shapes(config)
    counts = {name: shape.numel() for name, shape in shapes.items()}
    trained = {name: n for name, n in counts.items() if not name.startswith(FROZEN)}
    outside = _sum(trained, "") - _sum(trained, LAYERS) - _sum(trained, SEEING)
    text, vision, vq = config.text_config, config.vision_config, config.vq_config
    keys = text.num_key_value_heads * text.head_dim
    return Footprint(
        parameters=_sum(counts, ""),
        trained=_sum(trained, ""),
        active=_sum(trained, LAYERS),
        gathered=outside + 2 * _sum(trained, f"{LAYERS}0."),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        layer_elements=decoder_layer(text.hidden_size, keys, text.intermediate_size),
        words=text.vocab_size,
        codes=vq.num_embeddings,
        drawing=vision.num_image_tokens,
        instruction=INSTRUCTION,
        cache_bytes=2 * text.num_hidden_layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(vision.image_size, vision.num_image_tokens),
        workspace_bytes=WORKSPACE_BYTES,
        adapter=per_rank(shapes.items(), ADAPTED),
    )


def architecture(folder: Path) -> Any:
    """Returns the JanusConfig of the checkpoint in `folder` or, if that does not exist, of the
    public checkpoint with that name. Raises CheckpointError or ConfigError."""
    if folder.exists():
        from policies.janus.checkpoint import read_small

        return read_small(folder).config
    from transformers import JanusConfig

    return JanusConfig.from_dict(json.loads(named(folder, KNOWN).read_bytes()))


def _sum(counts: Mapping[str, int], beginning: str) -> int:
    return sum(n for name, n in counts.items() if name.startswith(beginning))


def _shapes(config: Any) -> dict[str, torch.Size]:
    from transformers import JanusForConditionalGeneration

    # A tied lm_head would be counted once; Janus' is not tied, whatever transformers assumes.
    config.tie_word_embeddings = False
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config)
    return {name: weight.shape for name, weight in model.named_parameters()}
