"""The public checkpoint folder of a BAGEL, in and out.

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is
guessed, and but for the two tables of places, which are computed, nothing is filled in. Memory for
the weights is asked for once, in the dtype that is wanted, after the files are known to hold them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import BagelConfig
from policies.bagel.module import TABLES, BagelModule, with_tables
from policies.bagel.pictures import Limits
from policies.bagel.released import LANGUAGE, VISION, WHOLE, read_config
from policies.bagel.samples import Format
from policies.convolutions import pass_over_idle
from policies.errors import describe
from policies.interface import CheckpointError
from policies.saving import save_small, save_tensors
from policies.small_files import read_files
from policies.stored_tensors import AGAIN, Stored, opened, shapes_of, weights_for
from policies.tokenizer import TOKENIZER, parse_tokenizer

MODEL, AUTOENCODER = "ema.safetensors", "ae.safetensors"
MARKS = {"bos": "<|im_start|>", "eos": "<|im_end|>", "start": "<|vision_start|>",
         "end": "<|vision_end|>"}  # fmt: skip
SMALL = (
    LANGUAGE,
    VISION,
    WHOLE,
    TOKENIZER,
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "preprocessor_config.json",
)
NEEDED = (LANGUAGE, VISION, WHOLE, TOKENIZER)
SEEING = ("vit_model.", "connector.")
DRAWING = ("vae2llm.", "llm2vae.", "time_embedder.")
SIDES = {"understanding": (980, 378), "redrawing": (518, 224), "drawing": (1024, 512)}
"""The longest and the shortest side of a picture to understand, of one to redraw by its features,
and of one to draw or to redraw by its latents: as the released scripts have them. A model of other
sizes says its own under OURS in config.json."""
OURS, PIXELS = "unicorn_ray", 14 * 14 * 9 * 1024


@dataclass(frozen=True)
class Small:
    """All but the weights; `stored` are those, mapped from their files but not read."""

    config: BagelConfig
    tokenizer: Any
    form: Format
    files: Mapping[str, bytes]
    limits: tuple[Limits, Limits, Limits]
    stored: tuple[Stored, Stored]


@dataclass(frozen=True)
class Loaded:
    """`module` and `autoencoder` are in eval mode; `files` are the small ones, by name."""

    module: BagelModule
    autoencoder: Autoencoder
    tokenizer: Any
    form: Format
    files: Mapping[str, bytes]
    limits: tuple[Limits, Limits, Limits]


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    files = read_files(folder, SMALL, NEEDED, "BAGEL")
    model, autoencoder = opened(folder, (MODEL,)), opened(folder, (AUTOENCODER,))
    for beginnings, what in ((SEEING, "see"), (DRAWING, "draw")):
        _require_part(model, beginnings, what)
    config = read_config(folder, shapes_of(model), shapes_of(autoencoder))
    tokenizer, marks = parse_tokenizer(
        folder / TOKENIZER, files[TOKENIZER], "BAGEL", MARKS.values()
    )
    ids: dict[str, Any] = {field: marks[name] for field, name in MARKS.items()}
    most = max(tokenizer.get_vocab().values())
    if most >= config.language.vocab_size:
        raise CheckpointError(
            f"{folder / TOKENIZER} has a token {most}, but {LANGUAGE} a vocab_size of "
            f"{config.language.vocab_size}; {AGAIN}."
        )
    limits = limits_of(folder / WHOLE, files[WHOLE], config)
    return Small(config, tokenizer, Format.of(config, **ids), files, limits, (model, autoencoder))


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were, but for the
    autoencoder's, which are float32. Raises CheckpointError."""
    small = read_small(folder)
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        module, autoencoder = BagelModule(small.config), Autoencoder(small.config.autoencoder)
    made = weights_for(small.stored[0], module, dtype, TABLES)
    module.load_state_dict(with_tables(small.config, made), assign=True)
    autoencoder.load_state_dict(
        weights_for(small.stored[1], autoencoder, torch.float32), assign=True
    )
    autoencoder.requires_grad_(False)
    pass_over_idle(autoencoder)
    return Loaded(
        module.eval(), autoencoder.eval(), small.tokenizer, small.form, small.files, small.limits
    )


def save(folder: Path, loaded: Loaded) -> None:
    """Writes the released layout; of the files that the folder has already, those of a checkpoint
    are replaced or removed. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in ((MODEL, loaded.module), (AUTOENCODER, loaded.autoencoder)):
        save_tensors(folder / name, module.state_dict())
    save_small(folder, SMALL, loaded.files)


def limits_of(file: Path, data: bytes, config: BagelConfig) -> tuple[Limits, Limits, Limits]:
    own = json.loads(data).get(OURS, {})
    sides = SIDES | own if isinstance(own, dict) else {}
    whole = {n: v for n, v in sides.items() if n in SIDES and _two_sides(v)}
    if whole.keys() != SIDES.keys():
        raise CheckpointError(
            f"{file} has {OURS}={describe(own)}: it must give for some of {', '.join(SIDES)} the "
            "longest and the shortest side in pixels; mend it, or leave it out."
        )
    return sides_within(config, whole)


def sides_within(
    config: BagelConfig, sides: Mapping[str, tuple[int, int]]
) -> tuple[Limits, Limits, Limits]:
    """The limits of these `SIDES`, as far as the model's tables go."""
    patch, token = config.vision.patch, config.token_pixels
    most = (config.vision.side * patch, config.vision.side * patch, config.latent_side * token)
    understanding, redrawing, drawing = (
        Limits(min(long, limit), min(short, limit), stride, PIXELS)
        for (long, short), limit, stride in zip(
            (sides[name] for name in SIDES), most, (patch, patch, token), strict=True
        )
    )
    return understanding, redrawing, drawing


def _two_sides(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(side) is int and side > 0 for side in value)
        and value[0] >= value[1]
    )


def _require_part(stored: Stored, beginnings: Sequence[str], what: str) -> None:
    """Fine-tuning without pictures to see, or to draw, saves a model without these: loaded as they
    are in the released scripts, which do not look, it would answer with random weights."""
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in stored.tensors):
            raise CheckpointError(
                f"{stored.where} has no tensor {beginning}*, so this BAGEL cannot {what}; copy "
                "these tensors into it from the checkpoint that it was trained from."
            )


def describe_sizes(config: BagelConfig) -> dict[str, bytes]:
    """The small files that say these sizes, for a model that is made anew."""
    language, vision = config.language, config.vision
    said: dict[str, dict[str, object]] = {
        LANGUAGE: {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "layer_module": "Qwen2MoTDecoderLayer",
            "qk_norm": True,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "vocab_size": language.vocab_size,
            "hidden_size": language.hidden_size,
            "intermediate_size": language.intermediate_size,
            "num_hidden_layers": language.layers,
            "num_attention_heads": language.heads,
            "num_key_value_heads": language.kv_heads,
            "max_position_embeddings": language.max_positions,
            "rms_norm_eps": language.norm_eps,
            "rope_theta": language.rope_theta,
        },
        VISION: {
            "model_type": "siglip_vision_model",
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "num_channels": 3,
            "patch_size": vision.patch,
            "image_size": vision.patch * vision.side,
            "layer_norm_eps": vision.norm_eps,
        },
        WHOLE: {
            "architectures": ["BagelForConditionalGeneration"],
            "model_type": "bagel",
            "visual_gen": True,
            "visual_und": True,
            "connector_act": "gelu_pytorch_tanh",
            "interpolate_pos": False,
            "latent_patch_size": config.latent_patch,
            "max_latent_size": config.latent_side,
            "vit_max_num_patch_per_side": vision.side,
            "timestep_shift": config.timestep_shift,
        },
    }
    return {name: json.dumps(fields, indent=2).encode() + b"\n" for name, fields in said.items()}
