"""How large a Chameleon is: from its config.json, or from its name if its folder is not there yet.

Invariant: parameters are counted on the classes that run, without allocating them. The sizes of public
checkpoints are in `known/`, in the format of transformers' config.json. A folder that holds weights
without an image decoder is refused here already, before anything starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from policies.chameleon.config import build, drawing_tokens, parse_config
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
LAYERS = "model.layers."
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 4 * 2**30


def footprint(folder: Path, dtype: str, decoder: str = "") -> Footprint:
    """Returns the model's sizes. Raises CheckpointError, or ConfigError if its size is unknown."""
    from policies.chameleon.checkpoint import parted
    from policies.chameleon.module import ADAPTED

    config = architecture(folder, decoder)
    with torch.device("meta"):
        net, vq, drawing = parted(config)
    shapes = [(name, weight.shape) for name, weight in net.named_parameters()]
    trained, active = _sum(shapes), _sum(shapes, LAYERS)
    frozen = parameters_of(vq) + parameters_of(drawing)
    keys = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    tokens = drawing_tokens(config)
    return Footprint(
        parameters=trained + frozen,
        trained=trained,
        active=active,
        gathered=trained - active + 2 * _sum(shapes, f"{LAYERS}0."),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        layer_elements=decoder_layer(config.hidden_size, keys, config.intermediate_size),
        words=config.vocab_size,
        codes=config.vq_config.num_embeddings,
        drawing=tokens,
        instruction=INSTRUCTION,
        cache_bytes=2 * config.num_hidden_layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(config.vq_config.resolution, tokens),
        # Beside the rest, the image tokenizer is in float32 whatever the dtype.
        workspace_bytes=WORKSPACE_BYTES + (4 - ELEMENT_BYTES[dtype]) * frozen,
        adapter=per_rank(shapes, ADAPTED),
    )


def architecture(folder: Path, decoder: str = "") -> Any:
    """Returns the ChameleonConfig of the checkpoint in `folder` or, if that does not exist, of the
    public checkpoint with that name. Raises CheckpointError or ConfigError."""
    if folder.exists():
        from policies.chameleon.checkpoint import read_small, stored_decoder
        from policies.stored_tensors import NAMES, opened

        config = read_small(folder).config
        if any((folder / name).exists() for name in NAMES):
            stored_decoder(folder, opened(folder), decoder)
        return config
    known = named(folder, KNOWN)
    return build(parse_config(known, json.loads(known.read_bytes())), None, None)


def _sum(shapes: Iterable[tuple[str, torch.Size]], beginning: str = "") -> int:
    return sum(shape.numel() for name, shape in shapes if name.startswith(beginning))
