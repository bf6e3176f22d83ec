"""The released layout of an Emu3 (BAAI/Emu3-Stage1), in terms of transformers'.

Invariant: the map of names is exact both ways: every tensor of transformers' net comes from one
stored tensor, and a stored tensor that no name maps to is an error.

The released weights are two repositories: the language model, with a config.json of model_type
"Emu3", and the image tokenizer (BAAI/Emu3-VisionTokenizer, model_type "Emu3VisionVQ"), which must
lie in the folder `VISION` within the first's. (baaivision/Emu3, emu3/mllm/configuration_emu3.py and
emu3/tokenizer/modeling_emu3visionvq.py.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.emu3.config import rope
from policies.emu3.tokens import REQUIRED, Special
from policies.errors import describe
from policies.interface import CheckpointError
from policies.small_files import PUBLISHED, ConfigFile
from policies.stored_tensors import Source

VISION = "Emu3-VisionTokenizer"
_TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "attention_dropout",
    "tie_word_embeddings",
)  # fmt: skip
_PICTURES = {
    "codebook_size": "codebook_size",
    "embed_dim": "embed_dim",
    "latent_channels": "z_channels",
    "double_latent": "double_z",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "temporal_downsample_factor": "temporal_downsample_factor",
    "base_channels": "ch",
    "channel_multiplier": "ch_mult",
    "num_res_blocks": "num_res_blocks",
    "attn_resolutions": "attn_resolutions",
    "attention_dropout": "dropout",
}
NAMES = {f"text_config.{name}": name for name in _TEXT} | {
    f"vq_config.{theirs}": f"{VISION}/{own}" for theirs, own in _PICTURES.items()
}
"""transformers' names of fields, and the released ones."""
_IDS = {
    "bos_token_id": "bos",
    "eos_token_id": "eos",
    "pad_token_id": "pad",
    "img_token_id": "image",
    "boi_token_id": "begin_image",
    "eoi_token_id": "end_image",
    "eol_token_id": "end_row",
    "eof_token_id": "end_frame",
}
_RENAMED = (
    (r"^(encoder|decoder)\.middle_block\.attn_norm\.", r"\1.mid.attn_1.norm."),
    (r"^(encoder|decoder)\.middle_block\.", r"\1.mid."),
    (r"^encoder\.down_block\.", "encoder."),
    (r"^decoder\.up_block\.", "decoder."),
    (r"\.attn_norms\.(\d+)\.", r".attn.\1.norm."),
    (r"\.out_proj\.", ".proj_out."),
    (r"\.(q|k|v)_proj\.", r".\1."),
)
"""What differs in the names of the image tokenizer's tensors, transformers' first."""
_ATTENDING = re.compile(r"\.attn[._].*(q|k|v|out)_proj\.weight$")


def parse_config(
    file: Path, config: Mapping[str, Any], pictures_file: Path, pictures: Mapping[str, Any]
) -> ConfigFile:
    """What the two config.json state. Raises CheckpointError."""
    if (kind := pictures.get("model_type")) != "Emu3VisionVQ":
        raise CheckpointError(
            f"{pictures_file} is of model_type {describe(kind)}, but the image tokenizer of an Emu3 is "
            "of 'Emu3VisionVQ'; copy BAAI/Emu3-VisionTokenizer there."
        )
    fields = {f"text_config.{name}": config[name] for name in _TEXT if name in config}
    fields |= rope(file, "", config)
    for theirs, own in _PICTURES.items():
        if own in pictures:
            fields[f"vq_config.{theirs}"] = pictures[own]
    width, levels = (fields.get(f"vq_config.{n}") for n in ("base_channels", "channel_multiplier"))
    if (
        isinstance(width, int)
        and isinstance(levels, list)
        and levels
        and isinstance(levels[-1], int)
    ):
        fields["vq_config.hidden_size"] = width * levels[-1]  # which the release does not state
    return ConfigFile(file, fields, NAMES)


def require_same_ids(file: Path, config: Mapping[str, Any], special: Special) -> None:
    """Raises CheckpointError where the config.json has other ids than the vocabulary."""
    for field, name in _IDS.items():
        wanted = getattr(special, name)
        if (found := config.get(field, wanted)) != wanted:
            raise CheckpointError(
                f"{file} has {field}={describe(found)}, but {REQUIRED[name]} is {wanted} in the "
                f"vocabulary; {PUBLISHED}."
            )


def text_source(name: str, shape: tuple[int, ...]) -> Source:
    """Where a tensor of the language model comes from, by its name in transformers' net."""
    return Source(name.replace("model.text_model.", "model."), shape)


def picture_source(name: str, shape: tuple[int, ...]) -> Source:
    """Where a tensor of the image tokenizer comes from. Its attention is of convolutions with a
    kernel of 1 x 1, and transformers' of matrices."""
    own = name.removeprefix("model.vqmodel.")
    for theirs, ours in _RENAMED:
        own = re.sub(theirs, ours, own)
    if _ATTENDING.search(name):
        return Source(own, (*shape, 1, 1))
    return Source(own, shape)
