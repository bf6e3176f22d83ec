"""What a config.json says of a Janus, as transformers' configuration.

Invariant: a JanusConfig that is given out can be built: every size is a number within bounds, the
sizes fit each other, and what would be computed otherwise than Janus does is refused. Fields that
change no result are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

from policies.errors import describe
from policies.interface import CheckpointError
from policies.janus.tokens import Special
from policies.small_files import PUBLISHED, ConfigFile

CLASSES = {
    "text_config": LlamaConfig,
    "vision_config": JanusVisionConfig,
    "vq_config": JanusVQVAEConfig,
}
# The largest that is read of each: above all that was released, below what would not end.
SIZES = {
    "text_config.vocab_size": 2**20,
    "text_config.hidden_size": 2**16,
    "text_config.intermediate_size": 2**17,
    "text_config.num_hidden_layers": 256,
    "text_config.num_attention_heads": 1024,
    "text_config.num_key_value_heads": 1024,
    "text_config.head_dim": 1024,
    "text_config.max_position_embeddings": 2**24,
    "vision_config.hidden_size": 2**16,
    "vision_config.num_hidden_layers": 256,
    "vision_config.num_attention_heads": 1024,
    "vision_config.image_size": 4096,
    "vision_config.patch_size": 128,
    "vision_config.projection_dim": 2**16,
    "vision_config.depth": 16,
    "vision_config.num_image_tokens": 2**24,
    "vq_config.embed_dim": 4096,
    "vq_config.num_embeddings": 2**20,
    "vq_config.latent_channels": 4096,
    "vq_config.base_channels": 4096,
    "vq_config.num_res_blocks": 16,
    "vq_config.projection_dim": 2**16,
    "vq_config.num_hidden_layers": 16,
    "vq_config.image_token_embed_dim": 2**16,
}
REALS = {
    "text_config.rms_norm_eps": 1.0,
    "text_config.rope_theta": 1e9,
    "vision_config.layer_norm_eps": 1.0,
    "vision_config.mlp_ratio": 16.0,
}
CHANNELS = "vq_config.channel_multiplier"
FIXED: dict[str, object] = {
    "text_config.model_type": "llama",
    "text_config.hidden_act": "silu",
    "text_config.attention_bias": False,
    "text_config.mlp_bias": False,
    "text_config.attention_dropout": 0,
    "text_config.rope_type": "default",
    "text_config.rope_scaling": None,
    "text_config.partial_rotary_factor": None,
    "text_config.is_causal": True,
    "text_config.sliding_window": None,
    "text_config.attention_chunk_size": None,
    "text_config.layer_types": None,
    "vision_config.hidden_act": "gelu",
    "vision_config.num_channels": 3,
    "vision_config.attention_bias": True,
    "vision_config.use_qk_norm": False,
    "vision_config.attention_dropout": 0,
    "vision_config.hidden_dropout_rate": 0,
    "vision_config.projection_dropout": 0,
    "vq_config.hidden_act": "gelu",
    "vq_config.in_channels": 3,
    "vq_config.out_channels": 3,
    "vq_config.double_latent": False,
    "vq_config.dropout": 0,
}
_ROPE_THETA = 10000.0
# What follows from other sizes, which stand before it, where it is not stated.
_DERIVED: dict[str, Callable[[Mapping[str, int]], int]] = {
    "text_config.num_key_value_heads": lambda sizes: sizes["text_config.num_attention_heads"],
    "text_config.head_dim": lambda sizes: (
        sizes["text_config.hidden_size"] // sizes["text_config.num_attention_heads"]
    ),
    "vision_config.num_image_tokens": lambda sizes: (
        (sizes["vision_config.image_size"] // sizes["vision_config.patch_size"]) ** 2
    ),
}


def parse_config(file: Path, config: Mapping[str, Any], special: Special) -> ConfigFile:
    """What a config.json in transformers' layout states. Raises CheckpointError."""
    fields: dict[str, Any] = {}
    for section in CLASSES:
        if not isinstance(given := config.get(section), dict):
            raise CheckpointError(f"{file} has no section {section}; {PUBLISHED}.")
        fields |= {f"{section}.{name}": value for name, value in given.items()}
    fields |= _rope(file, fields.get("text_config.rope_parameters", {}))
    # What follows from other sizes may be null too.
    described = ConfigFile(
        file, {f: v for f, v in fields.items() if v is not None or f not in _DERIVED}
    )
    if (image := config.get("image_token_id", JanusConfig.image_token_id)) != special.image:
        needed = f"<image_placeholder> is {special.image} in tokenizer.json"
        raise described.wrong("image_token_id", image, needed)
    return described


def _rope(file: Path, parameters: object) -> dict[str, Any]:
    """The fields of rope_parameters, where transformers keeps them since its version 5, by the
    names that they had before. Raises CheckpointError."""
    if not isinstance(parameters, dict) or parameters.keys() - {"rope_theta", "rope_type"}:
        raise CheckpointError(
            f"{file} has text_config.rope_parameters={describe(parameters)}, but only rope_theta and "
            f"rope_type are read; {PUBLISHED}."
        )
    return {f"text_config.{name}": value for name, value in parameters.items()}


def build(described: ConfigFile, special: Special, tokens: int) -> JanusConfig:
    """The configuration that `described` stands for, with the ids of a tokenizer that has `tokens`
    tokens. Raises CheckpointError."""
    values = _checked(described)
    _require_fit(described, values)
    if (rows := values["text_config.vocab_size"]) < tokens:
        raise described.wrong("text_config.vocab_size", rows, f"tokenizer.json has {tokens} tokens")
    sections: dict[str, dict[str, Any]] = {section: {} for section in CLASSES}
    for field, value in values.items():
        section, name = field.split(".")
        sections[section][name] = value
    text = sections["text_config"]
    theta = text.pop("rope_theta")
    text["rope_parameters"] = {"rope_theta": theta, "rope_type": "default"}
    return JanusConfig(
        text_config=LlamaConfig(
            **text,
            bos_token_id=special.bos,
            eos_token_id=special.eos,
            pad_token_id=special.pad,
            tie_word_embeddings=False,
        ),
        vision_config=JanusVisionConfig(**sections["vision_config"]),
        vq_config=JanusVQVAEConfig(**sections["vq_config"]),
        image_token_id=special.image,
        tie_word_embeddings=False,
    )


def _checked(described: ConfigFile) -> dict[str, Any]:
    """The value of every field that is read, by its name: the one stated, or else transformers'
    default. Raises CheckpointError."""
    for field, wanted in FIXED.items():
        value = described.fields.get(field, wanted)
        described.require(field, value, value == wanted, f"Janus has {wanted!r}")
    values: dict[str, Any] = {}
    for field, most in SIZES.items():
        usual = _DERIVED[field](values) if field in _DERIVED else _usual(field)
        values[field] = described.size(field, usual, most)
    for field, limit in REALS.items():
        values[field] = described.real(field, _usual(field), limit)
    channels = described.fields.get(CHANNELS, _usual(CHANNELS))
    fits = isinstance(channels, list | tuple) and all(
        type(each) is int and 1 <= each <= 64 for each in channels
    )
    described.require(CHANNELS, channels, fits, "it must be a list of whole numbers from 1 to 64")
    return values | {CHANNELS: list(channels)}


def _usual(field: str) -> Any:
    """What transformers takes where the field is not there."""
    section, name = field.split(".")
    return getattr(CLASSES[section], name, _ROPE_THETA)  # the only one that is no such attribute


def _require_fit(described: ConfigFile, values: Mapping[str, Any]) -> None:
    text, vision, vq = (
        {field.split(".")[1]: value for field, value in values.items() if field.startswith(section)}
        for section in CLASSES
    )
    hidden, heads, patch = text["hidden_size"], text["num_attention_heads"], vision["patch_size"]
    grid = vision["image_size"] // patch
    for field, fits, needed in (
        ("text_config.hidden_size", hidden % heads == 0, f"it must be a multiple of {heads} heads"),
        (
            "text_config.num_key_value_heads",
            heads % text["num_key_value_heads"] == 0,
            f"{heads} heads must be a multiple of it",
        ),
        ("text_config.head_dim", text["head_dim"] % 2 == 0, "it must be even"),
        (
            "vision_config.hidden_size",
            vision["hidden_size"] % vision["num_attention_heads"] == 0,
            f"it must be a multiple of {vision['num_attention_heads']} heads",
        ),
        (
            "vision_config.mlp_ratio",
            vision["hidden_size"] * vision["mlp_ratio"] >= 1,
            "its layers would have no width",
        ),
        (
            "vision_config.image_size",
            grid * patch == vision["image_size"],
            f"it must be a multiple of the patches of {patch}",
        ),
        (
            "vision_config.num_image_tokens",
            vision["num_image_tokens"] == grid**2,
            f"an image has {grid} x {grid} patches",
        ),
        *(
            (field, values[field] == hidden, f"the language model is {hidden} wide")
            for field in (
                "vision_config.projection_dim",
                "vq_config.projection_dim",
                "vq_config.image_token_embed_dim",
            )
        ),
        ("vq_config.base_channels", vq["base_channels"] % 32 == 0, "it must be a multiple of 32"),
        (
            CHANNELS,
            2 ** (len(vq["channel_multiplier"]) - 1) == patch,
            f"as many levels as halve an image to patches of {patch} are needed",
        ),
    ):
        described.require(field, values[field], fits, needed)
