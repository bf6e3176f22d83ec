"""The small files beside the weights: how pictures are prepared, and what transformers needs besides.

Invariant: what would be looked at in another way than the model learned to is refused by its field.
A checkpoint in transformers' layout keeps its small files as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from policies.emu3.tokens import REQUIRED, Special
from policies.errors import describe
from policies.interface import CheckpointError
from policies.small_files import fields_of
from policies.stored_tensors import AGAIN
from policies.tokenizer import TOKENIZER

CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
TOKENIZER_CONFIG, GENERATION = "tokenizer_config.json", "generation_config.json"
NAMES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    PREPROCESSOR,
    PROCESSOR,
    GENERATION,
    "chat_template.json",
    "chat_template.jinja",
)
NESTED = "image_processor"
"""Where transformers since its version 5 keeps the fields of preprocessor_config.json."""
LEAST_AREA, MOST_AREA = 512 * 512, 1024 * 1024
"""The released min_pixels and max_pixels."""
MOST = 2**24
_STEPS = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")


def area(folder: Path, files: Mapping[str, bytes], factor: int) -> int:
    """The least area in pixels that pictures are scaled to, which is that of drawings too; a code
    stands for `factor` pixels each way. Raises CheckpointError where pictures are prepared in
    another way than `policies.emu3.pictures` does."""
    stated, where, within = _preparing(folder, files)
    ours = prepared(stated.get("min_pixels", LEAST_AREA), MOST_AREA, factor)
    for field in ("image_mean", "image_std", "resample", "spatial_factor", *_STEPS):
        known = (ours[field], None) if field in _STEPS else (ours[field],)
        # transformers' own default of both is another one than what was released.
        found = stated.get(field, None if field in ("image_mean", "image_std") else ours[field])
        if found not in known:
            raise CheckpointError(
                f"{where} has {within}{field}={describe(found)}, but this model's pictures are prepared "
                f"with {describe(ours[field])}; {AGAIN}."
            )
    scale = stated.get("rescale_factor", ours["rescale_factor"])
    if not isinstance(scale, float) or abs(scale * 255 - 1) > 1e-6:
        raise CheckpointError(
            f"{where} has {within}rescale_factor={describe(scale)}, but this model's pictures are "
            f"prepared with 1 / 255; {AGAIN}."
        )
    least = ours["min_pixels"]
    if isinstance(least, bool) or not isinstance(least, int) or not factor**2 <= least <= MOST:
        raise CheckpointError(
            f"{where} has {within}min_pixels={describe(least)}, but it must be a whole number from "
            f"{factor**2} to {MOST}; {AGAIN}."
        )
    return least


def _preparing(folder: Path, files: Mapping[str, bytes]) -> tuple[dict[str, Any], Path, str]:
    """The fields that say how pictures are prepared, their file and their place in it."""
    if PROCESSOR in files:
        nested = fields_of(folder / PROCESSOR, files[PROCESSOR]).get(NESTED)
        if isinstance(nested, dict):
            return nested, folder / PROCESSOR, f"{NESTED}."
    if PREPROCESSOR not in files:
        raise CheckpointError(f"{folder / PREPROCESSOR} is missing; {AGAIN}.")
    return fields_of(folder / PREPROCESSOR, files[PREPROCESSOR]), folder / PREPROCESSOR, ""


def prepared(least: int, most: int, factor: int) -> dict[str, Any]:
    """The fields by which transformers' Emu3ImageProcessor prepares pictures as Emu3 learned to see
    them."""
    return {
        "image_processor_type": "Emu3ImageProcessor",
        "processor_class": "Emu3Processor",
        **dict.fromkeys(_STEPS, True),
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "min_pixels": least,
        "max_pixels": most,
        "resample": int(Image.Resampling.BICUBIC),
        "rescale_factor": 1 / 255,
        "spatial_factor": factor,
    }


def made(
    tokenizer: bytes, special: Special, least: int, factor: int, most: int
) -> dict[str, bytes]:
    """The small files of a checkpoint that has none of transformers' layout, by name, with this
    tokenizer.json; a sequence has at most `most` tokens."""
    named = {
        "image_token": REQUIRED["placeholder"],
        "boi_token": REQUIRED["begin_image"],
        "eoi_token": REQUIRED["end_image"],
        "image_wrapper_token": REQUIRED["image"],
        "eof_token": REQUIRED["end_frame"],
    }
    told: dict[str, dict[str, Any]] = {
        TOKENIZER_CONFIG: {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Emu3Processor",
            "model_max_length": most,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
            "bos_token": REQUIRED["bos"],
            "eos_token": REQUIRED["eos"],
            "pad_token": REQUIRED["pad"],
            **named,
            "extra_special_tokens": named,
        },
        PREPROCESSOR: prepared(least, MOST_AREA, factor),
        GENERATION: {
            "bos_token_id": special.bos,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
        },
    }
    whole = {name: json.dumps(told[name], indent=2).encode() + b"\n" for name in told}
    return {TOKENIZER: tokenizer, **whole}
