"""What a unified multimodal model is, to the rest of the program.

Invariant: everything a model reads or learns from is an interleaved sequence of
segments (paper, equation 1), and nothing outside `policies/` knows one family
of models from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import torch

from policies.errors import UserError

Pattern = Literal["generation", "caption", "judgement", "reflection"]
PATTERNS: tuple[Pattern, ...] = ("generation", "caption", "judgement", "reflection")


class PromptError(UserError, ValueError):
    """A text that the policy cannot read; the message names the word and the fix."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that is missing, damaged or of another model; the message names the file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawing: `pixels` are uint8 [height, width, 3]; `codes` int32 [tokens] are what was sampled.

    A policy that has codes trains on them as they were sampled, never on re-encoded pixels.
    """

    pixels: np.ndarray
    codes: np.ndarray | None = None


Segment = str | Picture
Context = tuple[Segment, ...]


@dataclass(frozen=True)
class Example:
    """One training example: predict `target` after `context` (paper, section 3.3.2), or, where it
    is not `conditioned`, after the policy's context of an unguided drawing."""

    context: Context
    target: Segment
    pattern: Pattern
    conditioned: bool = True


@dataclass(frozen=True)
class Sampling:
    """How one row is sampled. `temperature` 0 is greedy; `guidance` 1 is unguided (drawing only)."""

    temperature: float = 1.0
    guidance: float = 1.0
    max_tokens: int = 64


@dataclass(frozen=True)
class TargetLoss:
    """`total` is the summed cross-entropy in nats (a scalar with gradient) over `tokens` target tokens."""

    total: torch.Tensor
    tokens: int


class Policy(Protocol):
    """One model that writes, draws and learns. Rows are independent: row i depends on its own
    context, sampling and seed, and on the shape of the batch it is in."""

    module: torch.nn.Module
    """The trainable root; all compute of `loss` goes through its `forward` (FSDP2 needs it)."""

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Raises CheckpointError."""
        ...

    def sample_on(self, device: str, dtype: str) -> None:
        """Moves to "cpu" or "cuda", to sample there in "float32" or "bfloat16" from now on; the
        policy does not learn any more. Raises ConfigError where the family cannot."""
        ...

    def save_pretrained(self, path: str | Path) -> None: ...

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError for a text that the model cannot read."""
        ...

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[Picture]:
        """Raises PromptError for a text that the model cannot read."""
        ...

    def target_tokens(self, examples: Sequence[Example]) -> int:
        """How many target tokens `loss` of the same examples counts, without a forward pass.
        Raises PromptError for a text that the model cannot read."""
        ...

    def loss(self, examples: Sequence[Example]) -> dict[str, TargetLoss]:
        """Per kind of target ("text", "image"); examples of one call share their pattern."""
        ...

    def adapt(self, rank: int, alpha: int) -> None:
        """From now on only low-rank adapters learn (LoRA). Raises ConfigError where the family has
        none."""
        ...

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What replicas are to load where `weights()` has become `trained`: the same, unless only
        adapters learn."""
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """What learns, by its name in `module.state_dict()`, without a copy."""
        ...

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Takes the arrays as they are, without a copy; they are never written to."""
        ...

    def fsdp_units(self) -> list[torch.nn.Module]:
        """The submodules to shard, in the order in which `forward` runs them."""
        ...
