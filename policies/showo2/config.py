"""The sizes of a Show-o2, or of a Transfusion.

Invariant: `policies.showo2.released` gives out only such sizes as can be built.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.flowing.config import LanguageConfig, VisionConfig

LEVELS = (1, 2, 4, 4)
"""Widths of the autoencoder's levels, as multiples of the first one."""
LATENTS = 16
MOST_SIDE = 64
"""Tokens of the largest drawings each way: the released models draw up to 1024 x 1024 pixels."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """`width` channels after the first convolution, and `blocks` in each level."""

    width: int
    blocks: int

    @property
    def downsample(self) -> int:
        return int(2 ** (len(LEVELS) - 1))

    @property
    def latents(self) -> int:
        return LATENTS


@dataclass(frozen=True)
class HeadConfig:
    """The flow head: `layers` of these sizes (0 for a Transfusion), which a time of `width` modulates."""

    width: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Showo2Config:
    """A token of a drawing is `latent_patch` x `latent_patch` latents. `own_side` is that of the drawings
    that the model is for. Without `semantic` layers (of `side` x `side` learned places) latents are only
    projected. With `tied` words are read and written by the same table."""

    language: LanguageConfig
    semantic: VisionConfig | None
    head: HeadConfig
    autoencoder: AutoencoderConfig
    latent_patch: int
    own_side: int
    tied: bool

    @property
    def latent_side(self) -> int:
        return max(self.own_side, MOST_SIDE)

    @property
    def latent_values(self) -> int:
        return self.autoencoder.latents * self.latent_patch**2

    @property
    def token_pixels(self) -> int:
        """Height and width of what one token of a drawing shows."""
        return self.autoencoder.downsample * self.latent_patch
