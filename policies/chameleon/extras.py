"""The small files beside the weights, as a checkpoint has them and as transformers needs them.

Invariant: with what `completed` returns, transformers' own AutoProcessor and ChameleonProcessor take a
saved folder as it is. What a checkpoint states is kept; what would show the model its pictures in
another way than it learned to see them is refused by its field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from policies.chameleon.tokens import REQUIRED, Special
from policies.errors import describe
from policies.interface import CheckpointError
from policies.small_files import fields_of, read_files
from policies.stored_tensors import AGAIN
from policies.tokenizer import TOKENIZER

CONFIG = "config.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
GENERATION, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"
NESTED = "image_processor"
"""Where transformers since its version 5 keeps the fields of preprocessor_config.json."""
NAMES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    PREPROCESSOR,
    PROCESSOR,
    GENERATION,
    "chat_template.jinja",
    "chat_template.json",
)
SCALE = 0.0078
"""By which transformers multiplies pixels, before it takes 1 away; Meta's own code has 2 / 255."""


def read(folder: Path) -> dict[str, bytes]:
    """config.json and those files of `NAMES` that are there, by name. Raises CheckpointError where the
    folder lacks its config or its tokenizer."""
    return read_files(folder, (CONFIG, *NAMES), (CONFIG, TOKENIZER), "Chameleon")


def completed(
    folder: Path, files: Mapping[str, bytes], special: Special, config: Any, tokens: int
) -> tuple[dict[str, bytes], float]:
    """Those of `files`, which are of `folder`, that `NAMES` names, with what transformers' classes need
    of a ChameleonConfig whose pictures take `tokens` tokens; and what pixels are multiplied by. Raises
    CheckpointError."""
    made = {name: files[name] for name in NAMES if name in files}
    needed = _needed(special, config, tokens)
    stated = {name: fields_of(folder / name, made[name]) for name in needed if name in made}
    processor = stated.get(PROCESSOR, {})
    nested = processor.get(NESTED) or {}
    if not isinstance(nested, dict):
        raise CheckpointError(
            f"{folder / PROCESSOR} has {NESTED}={describe(nested)}, which is no object; {AGAIN}."
        )
    if (found := processor.get("image_seq_length", tokens)) != tokens:
        raise CheckpointError(
            f"{folder / PROCESSOR} has image_seq_length={describe(found)}, but config.json has {tokens} "
            f"tokens a picture; {AGAIN}."
        )
    side = config.vq_config.resolution
    given = nested or stated.get(PREPROCESSOR, {})
    scale = _require_same(folder / (PROCESSOR if nested else PREPROCESSOR), given, side)
    for name, wanted in needed.items():
        if name == PREPROCESSOR and nested:
            continue  # transformers reads that one
        own = stated.get(name, {})
        if any(own.get(field) is None for field in wanted):
            kept = {field: value for field, value in own.items() if value is not None}
            made[name] = json.dumps(wanted | kept, indent=2).encode() + b"\n"
    return made, scale


def _prepared(side: int) -> dict[str, Any]:
    """The fields by which transformers' ChameleonImageProcessor does what `policies.chameleon.pictures`
    does."""
    steps = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
    return {
        "image_processor_type": "ChameleonImageProcessor",
        **dict.fromkeys(steps, True),
        "image_mean": [1.0] * 3,
        "image_std": [1.0] * 3,
        "resample": int(Image.Resampling.LANCZOS),
        "rescale_factor": SCALE,
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
    }


def _require_same(file: Path, stated: Mapping[str, Any], side: int) -> float:
    """What pixels are multiplied by. Raises CheckpointError where pictures would be prepared in another
    way; a field that is left out is taken as Chameleon has it."""
    for field, wanted in _prepared(side).items():
        value = stated.get(field)
        if field == "image_processor_type" or value is None or value == wanted:
            continue
        near = isinstance(value, float) and abs(value / SCALE - 1) < 0.01
        if field != "rescale_factor" or not near:
            raise CheckpointError(
                f"{file} has {field}={describe(value)}, but this model's pictures are prepared with "
                f"{describe(wanted)}; {AGAIN}."
            )
    return float(stated.get("rescale_factor") or SCALE)


def _needed(special: Special, config: Any, tokens: int) -> dict[str, dict[str, Any]]:
    """By file, the fields without which transformers' classes cannot read a Chameleon."""
    names = {"bos": "bos", "eos": "eos", "pad": "pad", "sep": "separator", "image": "image",
             "boi": "begin_image", "eoi": "end_image"}  # fmt: skip
    return {
        PREPROCESSOR: _prepared(config.vq_config.resolution),
        PROCESSOR: {
            "processor_class": "ChameleonProcessor",
            "image_seq_length": tokens,
            "image_token": REQUIRED["image"],
        },
        TOKENIZER_CONFIG: {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_position_embeddings,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
            **{f"{name}_token": REQUIRED[field] for name, field in names.items()},
        },
        GENERATION: {
            "bos_token_id": special.bos,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
        },
    }
