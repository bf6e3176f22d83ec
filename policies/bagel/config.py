"""The sizes of a BAGEL.

Invariant: `policies.bagel.released` gives out only such sizes as can be built.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.flowing.config import LanguageConfig, VisionConfig


@dataclass(frozen=True)
class AutoencoderConfig:
    """`stem` channels after the first convolution, then `widths` of its levels of `blocks` each,
    down to `latents` channels; what it gives is shifted and scaled."""

    stem: int
    widths: tuple[int, ...]
    blocks: int
    latents: int
    scale: float = 0.3611
    shift: float = 0.1159

    @property
    def downsample(self) -> int:
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class BagelConfig:
    """A token of a drawing is `latent_patch` x `latent_patch` latents, and a drawing has at most
    `latent_side` x `latent_side` tokens. `timestep_shift` is that of training."""

    language: LanguageConfig
    vision: VisionConfig
    autoencoder: AutoencoderConfig
    latent_patch: int
    latent_side: int
    timestep_shift: float

    @property
    def latent_values(self) -> int:
        return self.autoencoder.latents * self.latent_patch**2

    @property
    def own_side(self) -> int:
        """Tokens of a drawing whose size nobody asks for, each way."""
        return self.latent_side

    @property
    def token_pixels(self) -> int:
        """Height and width of what one token of a drawing shows."""
        return self.autoencoder.downsample * self.latent_patch
