"""The sizes of a transformer of words and latents, and of the layers of an encoder of pictures.

Invariant: what `read_language` gives out can be built.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.small_files import ConfigFile

EXPERTS = ("", "_moe_gen")
"""What the names of each expert's weights end in: of words, and of latents."""


@dataclass(frozen=True)
class LanguageConfig:
    """Of a model of Qwen2's kind: as BAGEL's with two experts, or with one of words and latents alike,
    without norms of queries and keys or without biases."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    max_positions: int
    experts: tuple[str, ...] = EXPERTS
    qk_norm: bool = True
    bias: bool = True


@dataclass(frozen=True)
class VisionConfig:
    """Of SigLIP. `side` is how many patches high and wide a picture can be, at most."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    patch: int
    side: int
    norm_eps: float

    @property
    def patch_values(self) -> int:
        return 3 * self.patch**2


def read_language(file: ConfigFile) -> LanguageConfig:
    """The sizes in the configuration of a Qwen2. Raises CheckpointError."""
    hidden, heads = file.size("hidden_size"), file.size("num_attention_heads")
    kv_heads = file.size("num_key_value_heads", heads)
    file.require("hidden_size", hidden, hidden % heads == 0, f"{heads} heads must divide it")
    needed = "the tables of places need a multiple of 4"
    file.require("hidden_size", hidden, hidden % 4 == 0, needed)
    needed = f"it must divide the {heads} heads"
    file.require("num_key_value_heads", kv_heads, heads % kv_heads == 0, needed)
    width = file.size("head_dim", hidden // heads)
    needed = f"it must be {hidden // heads}, as hidden_size says, and even"
    file.require("head_dim", width, width == hidden // heads and width % 2 == 0, needed)
    return LanguageConfig(
        vocab_size=file.size("vocab_size"),
        hidden_size=hidden,
        intermediate_size=file.size("intermediate_size"),
        layers=file.size("num_hidden_layers", most=256),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width,
        norm_eps=file.real("rms_norm_eps", 1e-6, 1.0),
        rope_theta=file.real("rope_theta", 1e4, 1e9),
        max_positions=file.size("max_position_embeddings", 32768, 2**24),
    )
