"""What a config.json says of a Chameleon, as transformers' configuration.

Invariant: a ChameleonConfig that is given out can be built: every size is a number within bounds, the
sizes fit each other, and what would be computed otherwise than Chameleon does is refused. Fields that
change no result are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ChameleonConfig, ChameleonVQVAEConfig

from policies.chameleon.tokens import Special
from policies.errors import describe
from policies.interface import CheckpointError
from policies.small_files import PUBLISHED, ConfigFile

VQ = "vq_config."
# The largest that is read of each: above all that was released, below what would not end.
SIZES = {
    "vocab_size": 2**20,
    "hidden_size": 2**16,
    "intermediate_size": 2**17,
    "num_hidden_layers": 256,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "max_position_embeddings": 2**24,
    f"{VQ}embed_dim": 4096,
    f"{VQ}num_embeddings": 2**20,
    f"{VQ}latent_channels": 4096,
    f"{VQ}resolution": 4096,
    f"{VQ}base_channels": 4096,
    f"{VQ}num_res_blocks": 16,
}
REALS = {"rms_norm_eps": 1.0, "rope_theta": 1e9}
FIXED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "attention_dropout": (0,),
    "tie_word_embeddings": (False,),
    "rope_scaling": (None,),
    "rope_type": ("default",),
    "is_causal": (True,),
    "swin_norm": (False, True),
    f"{VQ}in_channels": (3,),
    f"{VQ}out_channels": (3,),
    f"{VQ}double_latent": (False,),
    f"{VQ}dropout": (0,),
    f"{VQ}attn_type": ("vanilla",),
}
LISTS = {f"{VQ}channel_multiplier": 64, f"{VQ}attn_resolutions": 4096}
_DEFAULTS = {"rope_theta": 10000.0, f"{VQ}attn_resolutions": []}


def parse_config(file: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every field that is read: the one that `config`, of `file`, states, or else
    transformers' default; those of the image tokenizer begin with `vq_config.`. Raises
    CheckpointError."""
    stated = ConfigFile(file, _flat(file, config))
    for field, allowed in FIXED.items():
        value = stated.fields.get(field, allowed[0])
        stated.require(field, value, value in allowed, f"Chameleon has {allowed[0]!r}")
    values: dict[str, Any] = {"swin_norm": bool(stated.fields.get("swin_norm", False))}
    for field, most in SIZES.items():
        values[field] = stated.size(field, _default(field), most)
    for field, limit in REALS.items():
        values[field] = stated.real(field, _default(field), limit)
    for field, most in LISTS.items():
        value = stated.fields.get(field, _default(field))
        value = [] if value is None else value
        fits = isinstance(value, list | tuple) and all(
            type(each) is int and 1 <= each <= most for each in value
        )
        stated.require(field, value, fits, f"it must be a list of whole numbers from 1 to {most}")
        values[field] = list(value)
    _require_fit(stated, values)
    return values


def build(
    values: Mapping[str, Any], vocabulary: Mapping[str, int] | None, special: Special | None
) -> ChameleonConfig:
    """The configuration that `values` of `parse_config` stand for, with the ids of a tokenizer. Without
    them it says sizes alone."""
    own: dict[str, Any] = {n: value for n, value in values.items() if not n.startswith(VQ)}
    seen = {n.removeprefix(VQ): value for n, value in values.items() if n.startswith(VQ)}
    own["rope_parameters"] = {"rope_theta": own.pop("rope_theta"), "rope_type": "default"}
    if special:
        own |= {f"{mark}_token_id": getattr(special, mark) for mark in ("bos", "eos", "pad")}
    return ChameleonConfig(
        **own,
        vq_config=ChameleonVQVAEConfig(**seen),
        vocabulary_map=dict(vocabulary) if vocabulary else {"<image>": 0},
        tie_word_embeddings=False,
    )


def drawing_tokens(config: Any) -> int:
    """How many tokens a picture takes: 1,024 of 512 x 512 pixels."""
    vq = config.vq_config
    side: int = vq.resolution >> (len(vq.channel_multiplier) - 1)
    return side * side


def _flat(file: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config` and of its sections by one name each. Raises CheckpointError."""
    rope, seen = config.get("rope_parameters") or {}, config.get("vq_config")
    if not isinstance(seen, dict):
        raise CheckpointError(f"{file} has no section vq_config; {PUBLISHED}.")
    if not isinstance(rope, dict) or rope.keys() - {"rope_theta", "rope_type"}:
        raise CheckpointError(
            f"{file} has rope_parameters={describe(rope)}, but only rope_theta and rope_type are read; "
            f"{PUBLISHED}."
        )
    return {**config, **rope, **{VQ + name: value for name, value in seen.items()}}


def _default(field: str) -> Any:
    if field in _DEFAULTS:
        return _DEFAULTS[field]
    if field.startswith(VQ):
        return getattr(ChameleonVQVAEConfig, field.removeprefix(VQ))
    return getattr(ChameleonConfig, field)


def _require_fit(stated: ConfigFile, values: Mapping[str, Any]) -> None:
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    levels = f"{VQ}channel_multiplier"
    halvings = 2 ** max(0, len(values[levels]) - 1)
    for field, fits, needed in (
        (
            "hidden_size",
            hidden % (2 * heads) == 0,
            f"each of {heads} heads needs an even part of it",
        ),
        (
            "num_key_value_heads",
            heads % values["num_key_value_heads"] == 0,
            f"{heads} heads must be a multiple of it",
        ),
        (
            f"{VQ}base_channels",
            values[f"{VQ}base_channels"] % 32 == 0,
            "it must be a multiple of 32",
        ),
        (levels, 1 <= len(values[levels]) <= 12, "it must have 1 to 12 levels"),
        (
            f"{VQ}resolution",
            values[f"{VQ}resolution"] % halvings == 0,
            f"the image tokenizer's levels need a multiple of {halvings}",
        ),
    ):
        stated.require(field, values[field], fits, needed)
