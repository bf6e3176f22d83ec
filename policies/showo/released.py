"""What the released small files and the shapes of the released tensors say of a Show-o's sizes.

Invariant: a ShowoConfig that is given out can be built, and what would be computed otherwise than
Show-o does is refused. Fields that change no result are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from policies.convolutions import GROUPS
from policies.errors import describe
from policies.interface import CheckpointError
from policies.showo.config import MARKS, MagvitSizes, PhiSizes, ShowoConfig
from policies.small_files import MOST, ConfigFile

PHI = "llm_config.json"
"""The config.json of the language model that a Show-o was made from."""
FIXED: tuple[Mapping[str, object], Mapping[str, object]] = (
    {"w_clip_vit": False, "num_new_special_tokens": len(MARKS)},
    {
        "model_type": "phi",
        "hidden_act": "gelu_new",
        "rope_scaling": None,
        "tie_word_embeddings": False,
    },
)
"""What must be so where config.json says it, and the config.json of the language model."""
MOST_LEVELS, MOST_BLOCKS, MOST_BITS = 8, 16, 20

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every tensor of a file, by its name."""


def read_sizes(showo: ConfigFile, phi: ConfigFile, magvit: MagvitSizes) -> ShowoConfig:
    """Of the config.json of Show-o and that of Phi, which are as `FIXED` has them. Raises
    CheckpointError."""
    words, tokens = showo.size("llm_vocab_size"), showo.size("num_vq_tokens", most=2**16)
    side = math.isqrt(tokens)
    showo.require("num_vq_tokens", tokens, side**2 == tokens, "a drawing is as high as it is wide")
    config = ShowoConfig(words, side, read_phi(phi), magvit)
    for field, wanted, why in (
        ("codebook_size", config.codes, f"magvitv2 has codes of {magvit.bits} bits"),
        ("vocab_size", config.vocabulary, "it counts words, marks, codes and the mask"),
        ("mask_token_id", config.mask, "the mask is the last of all"),
    ):
        value = showo.fields.get(field, wanted)
        showo.require(field, value, value == wanted, f"{why}, which makes it {wanted}")
    return config


def read_phi(phi: ConfigFile) -> PhiSizes:
    """Raises CheckpointError."""
    rope = phi.fields.get(
        "rope_parameters", {}
    )  # where transformers keeps them since its version 5
    plain = isinstance(rope, dict) and rope.get("rope_type", "default") == "default"
    phi.require("rope_parameters", rope, plain, "only those of the type default are read")
    turned = replace(phi, fields={**phi.fields, **rope})
    heads = phi.size("num_attention_heads", most=1024)
    alike = phi.fields.get("num_key_value_heads") is None
    sizes = PhiSizes(
        hidden_size=phi.size("hidden_size"),
        intermediate_size=phi.size("intermediate_size"),
        layers=phi.size("num_hidden_layers", most=256),
        heads=heads,
        kv_heads=heads if alike else phi.size("num_key_value_heads", most=1024),
        norm_eps=phi.real("layer_norm_eps", 1e-5, 1.0),
        rope_theta=turned.real("rope_theta", 10000.0, 1e9),
        rotary=turned.real("partial_rotary_factor", 0.5, 1.0),
        max_positions=phi.size("max_position_embeddings", 2048, 2**24),
    )
    hidden, kv_heads, part = sizes.hidden_size, sizes.kv_heads, int(sizes.head_dim * sizes.rotary)
    for field, value, fits, needed in (
        ("hidden_size", hidden, hidden % heads == 0, f"it must be a multiple of {heads} heads"),
        ("num_key_value_heads", kv_heads, heads % kv_heads == 0,
         f"{heads} heads must be a multiple of it"),
        ("partial_rotary_factor", sizes.rotary, part >= 2 and part % 2 == 0,
         f"it turns {part} of a head, and not pairs"),
    ):  # fmt: skip
        phi.require(field, value, fits, needed)
    return sizes


def magvit_sizes(file: Path, shapes: Shapes) -> MagvitSizes:
    """Of a MAGVIT-v2 whose tensors in `file` have these shapes: the public class says none. Raises
    CheckpointError where they are those of no such model; what else is missing is not looked at."""
    encoder, decoder = (_levels(shapes, part) for part in ("encoder.down", "decoder.up"))
    stem, bits = (
        (shapes.get(f"encoder.{name}.weight") or (0,))[0] for name in ("conv_in", "quant_conv")
    )
    widths = [stem, *(width for width, _ in (*encoder, *decoder))]
    fits = len(encoder) == len(decoder) and 1 <= len(encoder) <= MOST_LEVELS
    fits = fits and 1 <= bits <= MOST_BITS
    if not fits or not all(1 <= width <= MOST and width % GROUPS == 0 for width in widths):
        raise CheckpointError(
            f"{file} has tensors of {len(encoder)} levels that encode, {len(decoder)} that decode, "
            f"widths {describe(widths)} and {bits} bits, which are no MAGVIT-v2's; copy it from "
            "showlab/magvitv2 again."
        )
    return MagvitSizes(stem, encoder, decoder, bits)


def _levels(shapes: Shapes, part: str) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for level in range(MOST_LEVELS + 1):
        names = [f"{part}.{level}.block.{i}.conv1.weight" for i in range(MOST_BLOCKS)]
        blocks = [shapes[name][0] for name in names if len(shapes.get(name, ())) == 4]
        if not blocks:
            break
        found.append((blocks[0], len(blocks)))
    return tuple(found)
