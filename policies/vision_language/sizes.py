"""How large a vision-language model is: from the small files of its folder, or from its name if its folder
is not there yet.

Invariant: parameters are counted on transformers' own classes, without allocating them. The sizes of
public checkpoints are in `known/`, in the format of transformers' config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policies.footprint import (
    ELEMENT_BYTES,
    INSTRUCTION,
    Footprint,
    decoder_layer,
    named,
    parameters_of,
    stored_drawing,
)
from policies.interface import Picture
from policies.lora import per_rank
from policies.vision_language.checkpoint import blank, config_of, read_small
from policies.vision_language.module import ADAPTED, VisionLanguageModule
from policies.vision_language.seeing import Eye, known_eye

KNOWN = Path(__file__).parent / "known"
# An estimate for CUDA itself, logits, and the pictures that are encoded at a time.
WORKSPACE_BYTES = 4 * 2**30


class Sizes(NamedTuple):
    """What `footprint_of` needs to know of a checkpoint."""

    config: Any
    eye: Eye


def sizes_of(folder: Path) -> Sizes:
    """Raises CheckpointError, or ConfigError if the size is unknown."""
    if folder.exists():
        small = read_small(folder)
        return Sizes(small.config, small.eye)
    file = named(folder, KNOWN)
    config = config_of(file, json.loads(file.read_bytes()))
    return Sizes(config, known_eye(config))


def footprint_of(
    sizes: Sizes, dtype: str, side: int, written: int, pictures: int, beside: int = 0
) -> Footprint:
    """Of a family whose drawings take `written` tokens of text and are `pictures` of `side` pixels each way
    that are seen again; `beside` bytes are held beside the model."""
    module = VisionLanguageModule(blank(sizes.config))
    counts, text = parameters_of(module), sizes.config.get_text_config()
    units = module.units()
    reading = [u for u in units if "decoder" in type(u).__name__.lower()] or units
    keys = keys_of(text)
    seen = sizes.eye.count(Picture(np.zeros((side, side, 3), np.uint8)))
    drawing = written + pictures * seen
    return Footprint(
        parameters=counts,
        trained=counts,
        active=sum(map(parameters_of, reading)),
        gathered=counts - sum(map(parameters_of, units)) + 2 * max(map(parameters_of, units)),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        layer_elements=decoder_layer(text.hidden_size, keys, text.intermediate_size),
        words=module.words,
        # So that a drawing's logits are those of what is written for it: the rest of it has none.
        codes=-(-written * module.words // drawing),
        drawing=drawing,
        instruction=INSTRUCTION,
        cache_bytes=2 * text.num_hidden_layers * keys * ELEMENT_BYTES[dtype],
        drawing_bytes=stored_drawing(side, 0) + 4 * written,
        workspace_bytes=WORKSPACE_BYTES + beside,
        adapter=per_rank(((n, w.shape) for n, w in module.named_parameters()), ADAPTED),
        seen=seen,
    )


def keys_of(text: Any) -> int:
    """Elements of a token's keys in a layer, by the configuration of a language model."""
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int((getattr(text, "num_key_value_heads", None) or heads) * width)
