"""What a config.json says of an Emu3, as transformers' configuration.

Invariant: an Emu3Config that is given out can be built: every size is a number within bounds, the
sizes fit each other, and what would be computed otherwise than Emu3 does is refused. Fields that
change no result are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Emu3Config, Emu3TextConfig, Emu3VQVAEConfig

from policies.emu3.tokens import REQUIRED, Special, code_name
from policies.errors import describe
from policies.interface import CheckpointError
from policies.small_files import PUBLISHED, ConfigFile

CLASSES = {"text_config": Emu3TextConfig, "vq_config": Emu3VQVAEConfig}
# The largest that is read of each: above all that was released, below what would not end.
SIZES = {
    "text_config.vocab_size": 2**20,
    "text_config.hidden_size": 2**16,
    "text_config.intermediate_size": 2**17,
    "text_config.num_hidden_layers": 256,
    "text_config.num_attention_heads": 1024,
    "text_config.num_key_value_heads": 1024,
    "text_config.max_position_embeddings": 2**24,
    "vq_config.codebook_size": 2**19,
    "vq_config.embed_dim": 4096,
    "vq_config.latent_channels": 4096,
    "vq_config.temporal_downsample_factor": 64,
    "vq_config.base_channels": 4096,
    "vq_config.num_res_blocks": 16,
    "vq_config.hidden_size": 2**16,
}
REALS = {"text_config.rms_norm_eps": 1.0, "text_config.rope_theta": 1e9}
DROPOUT = "text_config.attention_dropout"
LEVELS, ATTENDING = "vq_config.channel_multiplier", "vq_config.attn_resolutions"
THETA = Emu3TextConfig.default_theta
FIXED: dict[str, object] = {
    "text_config.hidden_act": "silu",
    "text_config.attention_bias": False,
    "text_config.mlp_bias": False,
    "text_config.tie_word_embeddings": False,
    "text_config.rope_type": "default",
    "vq_config.double_latent": False,
    "vq_config.in_channels": 3,
    "vq_config.out_channels": 3,
    "vq_config.num_attention_heads": 1,
    "vq_config.attention_dropout": 0,
}


def parse_config(file: Path, config: Mapping[str, Any]) -> ConfigFile:
    """What a config.json in transformers' layout states. Raises CheckpointError."""
    fields: dict[str, Any] = {}
    for section in CLASSES:
        if not isinstance(given := config.get(section), dict):
            raise CheckpointError(f"{file} has no section {section}; {PUBLISHED}.")
        fields |= {f"{section}.{name}": value for name, value in given.items()}
    return ConfigFile(file, fields | rope(file, "text_config.", fields))


def rope(file: Path, start: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`text_config.rope_theta` and `rope_type` of the `fields` of which rope's begin with `start`:
    transformers keeps both in rope_parameters since its version 5, and had the theta beside
    rope_scaling before. Raises CheckpointError."""
    theta = fields.get(f"{start}rope_theta")
    given: dict[str, Any] = {"rope_theta": THETA if theta is None else theta}
    for name in ("rope_scaling", "rope_parameters"):
        inner = fields.get(start + name)
        if inner is None:
            continue
        if not isinstance(inner, dict) or inner.keys() - {"rope_theta", "rope_type"}:
            raise CheckpointError(
                f"{file} has {start}{name}={describe(inner)}, but only rope_theta and rope_type are "
                f"read; {PUBLISHED}."
            )
        given |= {name: value for name, value in inner.items() if value is not None}
    return {f"text_config.{name}": value for name, value in given.items()}


def codes_of(described: ConfigFile) -> int:
    """How many codes there are. Raises CheckpointError."""
    return _size(described, "vq_config.codebook_size")


def require_same_ids(file: Path, config: Mapping[str, Any], special: Special) -> None:
    """Raises CheckpointError where transformers would number what a picture is made of otherwise than
    the tokenizer does."""
    stated = config.get("vocabulary_map")
    known = stated if isinstance(stated, dict) else {}
    ids = {REQUIRED["placeholder"]: special.placeholder, REQUIRED["end_row"]: special.end_row}
    ids |= {code_name(code): special.first + code for code in range(special.codes)}
    for name, wanted in ids.items():
        if (found := known.get(name)) != wanted:
            raise CheckpointError(
                f"{file} has {describe(found)} for {name} in vocabulary_map, but tokenizer.json has "
                f"{wanted}; {PUBLISHED}."
            )


def build(described: ConfigFile, special: Special, vocabulary: Mapping[str, int]) -> Emu3Config:
    """The configuration that `described` stands for, with the ids of a tokenizer with this
    `vocabulary`. Raises CheckpointError."""
    values = _checked(described)
    _require_fit(described, values)
    tokens = max(vocabulary.values()) + 1
    if (rows := values["text_config.vocab_size"]) < tokens:
        raise described.wrong("text_config.vocab_size", rows, f"tokenizer.json has {tokens} tokens")
    sections: dict[str, dict[str, Any]] = {section: {} for section in CLASSES}
    for field, value in values.items():
        section, name = field.split(".")
        sections[section][name] = value
    theta = sections["text_config"].pop("rope_theta")
    text = Emu3TextConfig(
        **sections["text_config"],
        rope_parameters={"rope_theta": theta, "rope_type": "default"},
        bos_token_id=special.bos,
        eos_token_id=special.eos,
        pad_token_id=special.pad,
        tie_word_embeddings=False,
    )
    vq = Emu3VQVAEConfig(**sections["vq_config"])
    return Emu3Config(text_config=text, vq_config=vq, vocabulary_map=dict(vocabulary))


def _checked(described: ConfigFile) -> dict[str, Any]:
    """The value of every field that is read, by its name. Raises CheckpointError."""
    for field, wanted in FIXED.items():
        value = described.fields.get(field, wanted)
        described.require(field, value, value == wanted, f"Emu3 has {wanted!r}")
    values: dict[str, Any] = {field: _size(described, field) for field in SIZES}
    for field, limit in REALS.items():
        values[field] = described.real(field, _usual(field), limit)
    chance = described.fields.get(DROPOUT, _usual(DROPOUT))
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance < 1:
        raise described.wrong(DROPOUT, chance, "it must be a number from 0 to below 1")
    levels, attending = (described.fields.get(f, _usual(f)) for f in (LEVELS, ATTENDING))
    if not _whole_numbers(levels, 1, 64) or not 1 <= len(levels) <= 8:
        raise described.wrong(LEVELS, levels, "it must be 1 to 8 whole numbers from 1 to 64")
    if not _whole_numbers(attending, 0, len(levels) - 1):
        raise described.wrong(ATTENDING, attending, f"it must be some of the {len(levels)} levels")
    return values | {DROPOUT: chance, LEVELS: list(levels), ATTENDING: list(attending)}


def _size(described: ConfigFile, field: str) -> int:
    return described.size(field, _usual(field), SIZES[field])


def _usual(field: str) -> Any:
    """What transformers takes where the field is not there."""
    section, name = field.split(".")
    return getattr(CLASSES[section], name, None)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _whole_numbers(values: object, least: int, most: int) -> bool:
    return isinstance(values, list | tuple) and all(_whole(each, least, most) for each in values)


def _require_fit(described: ConfigFile, values: Mapping[str, Any]) -> None:
    heads, groups = (values[f"text_config.num_{kind}_heads"] for kind in ("attention", "key_value"))
    hidden, wide = values["text_config.hidden_size"], values["vq_config.hidden_size"]
    frames, base = (
        values[f"vq_config.{n}"] for n in ("temporal_downsample_factor", "base_channels")
    )
    levels = values[LEVELS]
    attending = [levels[-1], *(levels[level] for level in values[ATTENDING])]
    for field, fits, needed in (
        (
            "text_config.hidden_size",
            hidden % (2 * heads) == 0,
            f"it must be an even multiple of {heads} heads",
        ),
        (
            "text_config.num_key_value_heads",
            heads % groups == 0,
            f"{heads} heads must be a multiple of it",
        ),
        ("vq_config.base_channels", base % 32 == 0, "it must be a multiple of 32"),
        (
            "vq_config.hidden_size",
            all(base * each == wide for each in attending),
            f"the levels that attend are {sorted({base * each for each in attending})} wide",
        ),
        (
            "vq_config.latent_channels",
            values["vq_config.latent_channels"] == values["vq_config.embed_dim"],
            "the decoder reads it beside codes of embed_dim",
        ),
        (
            "vq_config.temporal_downsample_factor",
            frames & (frames - 1) == 0,
            "it must be a power of two",
        ),
    ):
        described.require(field, values[field], fits, needed)
