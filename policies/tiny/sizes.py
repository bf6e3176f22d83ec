"""How large a tiny policy is, as its config.json says.

Invariant: only the small file is read; the sizes are counted on the very modules that would hold
the weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

from policies.footprint import Footprint, decoder_layer, parameters_of, stored_drawing
from policies.tiny import checkpoint
from policies.tiny.transformer import Transformer
from policies.tiny.vision import ImageTokenizer

INSTRUCTION = 32
# A process that has imported torch and Ray.
WORKSPACE_BYTES = 400 * 2**20


def footprint(folder: Path, dtype: str) -> Footprint:
    """Raises CheckpointError. The tiny policy knows one dtype, whatever is asked."""
    model, vision = checkpoint.read_sizes(folder)
    with torch.device("meta"):
        transformer, tokenizer = Transformer(model), ImageTokenizer(vision)
    trained = parameters_of(transformer)
    keys = model.kv_heads * model.head_dim
    return Footprint(
        parameters=trained + parameters_of(tokenizer),
        trained=trained,
        active=parameters_of(transformer.layers),
        gathered=trained
        - parameters_of(transformer.layers)
        + 2 * parameters_of(transformer.layers[0]),
        layers=model.layers,
        hidden=model.hidden_size,
        layer_elements=decoder_layer(model.hidden_size, keys, model.intermediate_size),
        words=model.vocab_size,
        codes=model.vocab_size,
        drawing=vision.tokens,
        instruction=INSTRUCTION,
        cache_bytes=2 * model.layers * keys * 4,
        drawing_bytes=stored_drawing(vision.size, vision.tokens),
        workspace_bytes=WORKSPACE_BYTES,
        devices=("cpu",),
    )
