"""The sizes and the numbering of a Show-o.

Invariant: `policies.showo.released` gives out only such sizes as can be built. One numbering covers
all that a sequence may hold: words from 0, the marks of structure after them, then the codes of
drawings, and last the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MARKS = (
    "[PAD]", "<|soi|>", "<|eoi|>", "<|sov|>", "<|eov|>", "<|t2i|>", "<|mmu|>", "<|t2v|>", "<|v2v|>",
    "<|lvg|>",
)  # fmt: skip
"""What the public code adds to Phi's tokenizer, in its order: their ids follow the words."""


@dataclass(frozen=True)
class PhiSizes:
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    norm_eps: float
    rope_theta: float
    rotary: float
    """Which part of a head is turned by its position."""
    max_positions: int

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads

    def phi_config(self, vocabulary: int) -> Any:
        """transformers' PhiConfig. Show-o norms queries and keys, whatever Phi's own file says."""
        from transformers import PhiConfig

        return PhiConfig(
            vocab_size=vocabulary,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            layer_norm_eps=self.norm_eps,
            max_position_embeddings=self.max_positions,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": self.rope_theta,
                "partial_rotary_factor": self.rotary,
            },
            qk_layernorm=True,
            tie_word_embeddings=False,
            use_cache=False,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )


@dataclass(frozen=True)
class MagvitSizes:
    """Of each level, from the pixels on, its width and how many blocks it has. A code has `bits`."""

    stem: int
    encoder: tuple[tuple[int, int], ...]
    decoder: tuple[tuple[int, int], ...]
    bits: int

    @property
    def token_pixels(self) -> int:
        """Height and width of what one token of a drawing shows."""
        return int(2 ** (len(self.encoder) - 1))


@dataclass(frozen=True)
class ShowoConfig:
    """`words` of the tokenizer, and drawings of `side` x `side` tokens."""

    words: int
    side: int
    phi: PhiSizes
    magvit: MagvitSizes

    @property
    def tokens(self) -> int:
        """Of a drawing."""
        return self.side**2

    @property
    def codes(self) -> int:
        return int(2**self.magvit.bits)

    @property
    def first_code(self) -> int:
        return self.words + len(MARKS)

    @property
    def mask(self) -> int:
        """The id of a token of a drawing that is not known yet."""
        return self.first_code + self.codes

    @property
    def vocabulary(self) -> int:
        return self.mask + 1

    @property
    def pixels(self) -> int:
        """Height and width of a drawing."""
        return self.side * self.magvit.token_pixels

    def mark(self, name: str) -> int:
        return self.words + MARKS.index(name)
