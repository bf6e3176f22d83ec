"""DeepSeek's own layout of a Janus checkpoint, in terms of transformers'.

Invariant: the map of names is exact both ways: every tensor of transformers' net comes from one
stored tensor, and a stored tensor that no name maps to is an error, unless `IGNORED` names it.

A config.json of model_type "multi_modality" names its two towers and leaves their sizes to code.
What `PRESETS` knows of them is what that code has; a size that is stated beside the name, in
`params` and under the name that the code has for it, is taken instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from policies.errors import describe
from policies.interface import CheckpointError
from policies.janus.config import SIZES
from policies.small_files import PUBLISHED, ConfigFile
from policies.stored_tensors import Source

# The pooling that Janus does not use, and a statistic of the training of the image tokens.
IGNORED = re.compile(
    r"vision_model\.vision_tower\.attn_pool\.|gen_vision_model\.quantize\.codebook_used$"
)
PRESETS: dict[str, Any] = {
    "vision_config.params.patch_size": 16,
    "vision_config.params.width": 1024,
    "vision_config.params.layers": 24,
    "vision_config.params.heads": 16,
    "vision_config.params.mlp_ratio": 4,
    "gen_vision_config.params.ch": 128,
    "gen_vision_config.params.ch_mult": [1, 1, 2, 2, 4],
    "gen_vision_config.params.num_res_blocks": 2,
    "gen_vision_config.params.z_channels": 256,
    "aligner_config.params.depth": 1,
    "gen_aligner_config.params.depth": 1,
}
FIXED: dict[str, object] = {
    "vision_config.cls": "CLIPVisionTower",
    "vision_config.params.model_name": "siglip_large_patch16_384",
    "vision_config.params.select_layer": -1,
    "vision_config.params.pixel_mean": None,
    "vision_config.params.pixel_std": None,
    "aligner_config.cls": "MlpProjector",
    "aligner_config.params.projector_type": "mlp_gelu",
    "gen_vision_config.cls": "VQ-16",
    "gen_aligner_config.cls": "MlpProjector",
    "gen_aligner_config.params.projector_type": "mlp_gelu",
    "gen_head_config.cls": "vision_head",
}
# Sizes that are stated twice.
SAME = {
    "aligner_config.params.input_dim": "vision_config.params.width",
    "gen_aligner_config.params.input_dim": "gen_vision_config.params.n_embed",
    "gen_head_config.params.image_token_size": "gen_vision_config.params.image_token_size",
    "gen_head_config.params.n_embed": "gen_head_config.params.image_token_embed",
}
NAMES = {
    **{
        f"text_config.{name}": f"language_config.{name}"
        for name in (
            *(field.split(".")[1] for field in SIZES if field.startswith("text_config.")),
            *("model_type", "rms_norm_eps", "rope_theta", "rope_scaling", "hidden_act"),
            *("attention_bias", "mlp_bias", "attention_dropout", "partial_rotary_factor"),
            *("is_causal", "sliding_window", "attention_chunk_size", "layer_types"),
        )
    },
    "vision_config.image_size": "vision_config.params.image_size",
    "vision_config.patch_size": "vision_config.params.patch_size",
    "vision_config.hidden_size": "vision_config.params.width",
    "vision_config.num_hidden_layers": "vision_config.params.layers",
    "vision_config.num_attention_heads": "vision_config.params.heads",
    "vision_config.mlp_ratio": "vision_config.params.mlp_ratio",
    "vision_config.projection_dim": "aligner_config.params.n_embed",
    "vision_config.depth": "aligner_config.params.depth",
    "vq_config.embed_dim": "gen_vision_config.params.n_embed",
    "vq_config.num_embeddings": "gen_vision_config.params.image_token_size",
    "vq_config.base_channels": "gen_vision_config.params.ch",
    "vq_config.channel_multiplier": "gen_vision_config.params.ch_mult",
    "vq_config.num_res_blocks": "gen_vision_config.params.num_res_blocks",
    "vq_config.latent_channels": "gen_vision_config.params.z_channels",
    "vq_config.projection_dim": "gen_aligner_config.params.n_embed",
    "vq_config.num_hidden_layers": "gen_aligner_config.params.depth",
    "vq_config.image_token_embed_dim": "gen_head_config.params.image_token_embed",
}
_ALIGNER = {
    "fc1.": "layers.0.",
    **{f"hidden_layers.{i}.": f"layers.{2 * i + 2}." for i in range(SIZES["vision_config.depth"])},
}
# By the start of transformers' name: the start of DeepSeek's, and what differs behind it.
TENSORS: dict[str, tuple[str, dict[str, str]]] = {
    "model.vision_model.": (
        "vision_model.vision_tower.",
        {
            "embeddings.position_embedding.weight": "pos_embed",
            "embeddings.patch_embedding.": "patch_embed.proj.",
            "post_layernorm.": "norm.",
            "encoder.layers.": "blocks.",
            "layer_norm1.": "norm1.",
            "layer_norm2.": "norm2.",
            "self_attn.projection_layer.": "attn.proj.",
            "self_attn.q_proj.": "attn.qkv.",
            "self_attn.k_proj.": "attn.qkv.",
            "self_attn.v_proj.": "attn.qkv.",
        },
    ),
    "model.aligner.": ("aligner.", _ALIGNER),
    "model.vqmodel.": (
        "gen_vision_model.",
        {
            "encoder.down.": "encoder.conv_blocks.",
            "decoder.up.": "decoder.conv_blocks.",
            ".block.": ".res.",
            "mid.block_1.": "mid.0.",
            "mid.attn_1.": "mid.1.",
            "mid.block_2.": "mid.2.",
        },
    ),
    "model.generation_aligner.": ("gen_aligner.", _ALIGNER),
    "model.generation_embeddings.": ("gen_embed.", {}),
    "model.generation_head.": ("gen_head.", {"proj_out.": "output_mlp_projector."}),
    "model.language_model.": ("language_model.model.", {}),
    "lm_head.": ("language_model.lm_head.", {}),
}
_THIRDS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def parse_config(file: Path, config: Mapping[str, Any]) -> ConfigFile:
    """What a config.json in DeepSeek's layout states. Raises CheckpointError."""
    for field, wanted in FIXED.items():
        if (value := _at(config, field)) != wanted:
            raise CheckpointError(
                f"{file} has {field}={describe(value)}, but Janus has {wanted!r}; {PUBLISHED}."
            )
    stated = dict(PRESETS)
    for field in (*NAMES.values(), *SAME):
        value = _at(config, field)
        if value is None and field not in PRESETS and not field.startswith("language_config."):
            raise CheckpointError(f"{file} lacks the field {field}; {PUBLISHED}.")
        if value is not None:
            stated[field] = value
    for field, other in SAME.items():
        if stated[field] != stated[other]:
            raise CheckpointError(
                f"{file} has {field}={describe(stated[field])} and {other}={describe(stated[other])}, "
                f"but they are one size; {PUBLISHED}."
            )
    fields = {theirs: stated[own] for theirs, own in NAMES.items() if own in stated}
    return ConfigFile(file, fields, NAMES)


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def sources(blank: Mapping[str, torch.Tensor]) -> dict[str, Source]:
    """Where each tensor of transformers' net comes from, by its name there; `blank` is the state
    dict of that net, for its shapes."""
    return {name: _source(name, tuple(tensor.shape)) for name, tensor in blank.items()}


def _source(name: str, shape: tuple[int, ...]) -> Source:
    start = next(start for start in TENSORS if name.startswith(start))
    own, differing = TENSORS[start]
    rest = name.removeprefix(start)
    for theirs, ours in differing.items():
        rest = rest.replace(theirs, ours)
    if rest == "pos_embed":
        return Source(own + rest, (1, *shape))
    if ".attn.qkv." in rest:
        return Source(own + rest, (3 * shape[0], *shape[1:]), _THIRDS[name.split(".")[-2]])
    return Source(own + rest, shape)
