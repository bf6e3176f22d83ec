"""How large an Emu3 model is: from its config.json, or from its name if its folder is not there yet.

Invariant: parameters are counted on transformers' own classes, without allocating them; the sizes of
the public checkpoints are the defaults of these classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Emu3Config, Emu3ForConditionalGeneration

from policies.emu3.checkpoint import PICTURES, factor, read_small
from policies.emu3.files import LEAST_AREA
from policies.emu3.module import ADAPTED
from policies.footprint import (
    ELEMENT_BYTES,
    INSTRUCTION,
    Footprint,
    decoder_layer,
    stored_drawing,
    unsized,
)
from policies.lora import per_rank

KNOWN = ("Emu3-Stage1", "Emu3-Chat", "Emu3-Gen", "Emu3-Chat-hf", "Emu3-Gen-hf")
LAYERS = "model.text_model.layers."
MARKS = 4
"""Around the sizes and the rows of a picture; a digit of a size is a token."""
# An estimate for CUDA itself, logits, and the pictures that are decoded or encoded at a time.
WORKSPACE_BYTES = 6 * 2**30


def footprint(folder: Path, dtype: str, wording: str = "plain", positions: int = 0) -> Footprint:
    """Returns the model's sizes; the options change none. Raises CheckpointError, or ConfigError if
    its size is unknown."""
    config, area = architecture(folder)
    shapes = _shapes(config)
    counts = {name: shape.numel() for name, shape in shapes.items()}
    trained = {name: n for name, n in counts.items() if not name.startswith(PICTURES)}
    layers, text = _sum(trained, LAYERS), config.text_config
    keys = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    each = factor(config)
    side = max(1, math.isqrt(area) // each)
    # The image tokenizer is float32 whatever the dtype is.
    beside = (4 - ELEMENT_BYTES[dtype]) * (_sum(counts, "") - _sum(trained, ""))
    return Footprint(
        parameters=_sum(counts, ""),
        trained=_sum(trained, ""),
        active=layers,
        gathered=_sum(trained, "") - layers + 2 * _sum(trained, f"{LAYERS}0."),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        layer_elements=decoder_layer(text.hidden_size, keys, text.intermediate_size),
        words=text.vocab_size,
        codes=text.vocab_size,  # a code is learned among all of the vocabulary
        drawing=side * (side + 1) + len(f"{side}*{side}") + MARKS,
        instruction=INSTRUCTION,
        cache_bytes=2 * text.num_hidden_layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(side * each, side**2),
        workspace_bytes=WORKSPACE_BYTES + beside,
        adapter=per_rank(shapes.items(), ADAPTED),
        token_side=each,
    )


def architecture(folder: Path) -> tuple[Any, int]:
    """Returns the Emu3Config of the checkpoint in `folder`, and the area of its drawings in pixels,
    or, if that does not exist, of the public checkpoint with that name. Raises CheckpointError or
    ConfigError."""
    if folder.exists():
        small = read_small(folder)
        return small.config, small.area
    if folder.absolute().name not in KNOWN:
        raise unsized(folder, KNOWN)
    return Emu3Config(vocabulary_map={}), LEAST_AREA


def _sum(counts: Mapping[str, int], beginning: str) -> int:
    return sum(n for name, n in counts.items() if name.startswith(beginning))


def _shapes(config: Any) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = Emu3ForConditionalGeneration(config)
    return {name: weight.shape for name, weight in model.named_parameters()}
