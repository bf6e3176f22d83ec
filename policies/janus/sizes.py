"""How large a Janus is: by its config.json, or by its name where its folder is not there yet.

Invariant: the parameters are counted on transformers' own classes, without memory for them. What a
public checkpoint's name stands for is in `known/`, in the words of transformers' config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from policies.config import ConfigError
from policies.errors import brief, shown
from policies.footprint import ELEMENT_BYTES, Footprint, decoder_layer, stored_drawing
from policies.interface import CheckpointError

KNOWN = Path(__file__).parent / "known"
FROZEN = "model.vqmodel."
"""Begins the names of what never learns, the image tokenizer."""
LAYERS, SEEING = "model.language_model.layers.", "model.vision_model.encoder.layers."
# The longest instruction of the json templates has 1,111 characters.
INSTRUCTION = 384
# CUDA's own, logits, and pictures that are decoded or looked at some at a time: an estimate.
WORKSPACE_BYTES = 4 * 2**30


def footprint(folder: Path, dtype: str) -> Footprint:
    """Raises CheckpointError, or ConfigError where nothing says how large it is."""
    config = architecture(folder)
    counts = _counts(config)
    trained = {name: n for name, n in counts.items() if not name.startswith(FROZEN)}
    outside = _sum(trained, "") - _sum(trained, LAYERS) - _sum(trained, SEEING)
    text, vision, vq = config.text_config, config.vision_config, config.vq_config
    keys = text.num_key_value_heads * text.head_dim
    return Footprint(
        parameters=_sum(counts, ""),
        trained=_sum(trained, ""),
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
    )


def architecture(folder: Path) -> Any:
    """The JanusConfig of the checkpoint in `folder`, or of the public one of its name. Raises
    CheckpointError, ConfigError."""
    try:
        from transformers import JanusConfig
    except ImportError as error:
        raise ConfigError(
            'policy.family is "janus": it needs transformers, which cannot be imported '
            f'({brief(error)}); pip install "transformers>=5,<6"'
        ) from error
    file = _config_file(folder)
    try:
        return JanusConfig.from_dict(json.loads(file.read_bytes()))
    except Exception as error:  # transformers checks each field in its own way
        raise CheckpointError(f"{file} is not a Janus config: {brief(error)}") from error


def _config_file(folder: Path) -> Path:
    own, known = folder / "config.json", KNOWN / f"{folder.absolute().name}.json"
    kind = _kind(own) if own.is_file() else "missing"
    if kind == "janus":
        return own
    if kind not in ("missing", "multi_modality"):
        raise CheckpointError(
            f'{own} is of model_type {shown(kind)}; a Janus has "janus" (transformers\' layout) or '
            '"multi_modality" (the original one)'
        )
    if not known.is_file():
        names = ", ".join(sorted(path.stem for path in KNOWN.glob("*.json")))
        raise ConfigError(
            f"policy.path is {shown(str(folder))}: no config.json in transformers' layout there says "
            f"how large it is, and its name is none of {names}; give the folder of a checkpoint, or "
            "name it so"
        )
    return known


def _kind(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())["model_type"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} names no model_type ({brief(error)})") from error


def _sum(counts: Mapping[str, int], beginning: str) -> int:
    return sum(n for name, n in counts.items() if name.startswith(beginning))


def _counts(config: Any) -> dict[str, int]:
    from transformers import JanusForConditionalGeneration

    # An lm_head that is tied would count once: Janus' own is not, whatever transformers assumes.
    config.tie_word_embeddings = False
    with torch.device("meta"):
        model = JanusForConditionalGeneration(config)
    return {name: weight.numel() for name, weight in model.named_parameters()}
