"""What the released small files and the shapes of the released tensors say of a Show-o's sizes.

Invariant: a ShowoConfig that is given out can be built, and what would be computed otherwise than
Show-o does is refused. Fields that change no result are not looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.convolutions import GROUPS
from policies.errors import describe, one_line
from policies.interface import CheckpointError
from policies.showo.config import MARKS, MagvitSizes, PhiSizes, ShowoConfig

AGAIN = "use the files that were published with these weights"
PHI = "llm_config.json"
"""The config.json of the language model that a Show-o was made from."""
MOST = 2**20
MOST_LEVELS, MOST_BLOCKS, MOST_BITS = 8, 16, 20

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every tensor of a file, by its name."""


@dataclass(frozen=True)
class Fields:
    """Those of a JSON object in a file."""

    file: Path
    given: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path, data: bytes) -> Fields:
        """Raises CheckpointError."""
        try:
            given = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {AGAIN}.") from error
        if not isinstance(given, dict):
            raise CheckpointError(f"{file} holds no JSON object; {AGAIN}.")
        return cls(file, given)

    def wrong(self, field: str, needed: str) -> CheckpointError:
        value = describe(self.given.get(field))
        return CheckpointError(f"{self.file} has {field}={value}, but {needed}; {AGAIN}.")

    def size(self, field: str, default: int | None = None, most: int = MOST) -> int:
        value = self.given.get(field)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(field, f"it must be a whole number from 1 to {most}")
        return value

    def real(self, field: str, default: float, most: float) -> float:
        value = self.given.get(field, default)
        if type(value) not in (int, float) or not 0 < value <= most:
            raise self.wrong(field, f"it must be a number above 0, at most {most:g}")
        return float(value)

    def require(self, field: str, wanted: object) -> None:
        """Where it is there, it must be that."""
        if self.given.get(field, wanted) != wanted:
            raise self.wrong(field, f"Show-o has {describe(wanted)}")


def read_sizes(showo: Fields, phi: Fields, magvit: MagvitSizes) -> ShowoConfig:
    """Of the config.json of Show-o and that of Phi. Raises CheckpointError."""
    showo.require("w_clip_vit", False)
    showo.require("num_new_special_tokens", len(MARKS))
    words, tokens = showo.size("llm_vocab_size"), showo.size("num_vq_tokens", most=2**16)
    if (side := math.isqrt(tokens)) ** 2 != tokens:
        raise showo.wrong("num_vq_tokens", "a drawing is as high as it is wide")
    config = ShowoConfig(words, side, read_phi(phi), magvit)
    for field, value, why in (
        ("codebook_size", config.codes, f"magvitv2 has codes of {magvit.bits} bits"),
        ("vocab_size", config.vocabulary, "it counts words, marks, codes and the mask"),
        ("mask_token_id", config.mask, "the mask is the last of all"),
    ):
        if showo.given.get(field, value) != value:
            raise showo.wrong(field, f"{why}, which makes it {value}")
    return config


def read_phi(phi: Fields) -> PhiSizes:
    """Raises CheckpointError."""
    phi.require("model_type", "phi")
    phi.require("hidden_act", "gelu_new")
    phi.require("rope_scaling", None)
    phi.require("tie_word_embeddings", False)
    rope = phi.given.get("rope_parameters", {})  # where transformers keeps them since its version 5
    if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
        raise phi.wrong("rope_parameters", "only those of the type default are read")
    turned = Fields(phi.file, {**phi.given, **rope})
    heads = phi.size("num_attention_heads", most=1024)
    sizes = PhiSizes(
        hidden_size=phi.size("hidden_size"),
        intermediate_size=phi.size("intermediate_size"),
        layers=phi.size("num_hidden_layers", most=256),
        heads=heads,
        kv_heads=phi.size("num_key_value_heads", heads, most=1024),
        norm_eps=phi.real("layer_norm_eps", 1e-5, 1.0),
        rope_theta=turned.real("rope_theta", 10000.0, 1e9),
        rotary=turned.real("partial_rotary_factor", 0.5, 1.0),
        max_positions=phi.size("max_position_embeddings", 2048, 2**24),
    )
    if sizes.hidden_size % heads:
        raise phi.wrong("hidden_size", f"it must be a multiple of {heads} heads")
    if heads % sizes.kv_heads:
        raise phi.wrong("num_key_value_heads", f"{heads} heads must be a multiple of it")
    if (part := int(sizes.head_dim * sizes.rotary)) < 2 or part % 2:
        raise turned.wrong("partial_rotary_factor", f"it turns {part} of a head, and not pairs")
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
