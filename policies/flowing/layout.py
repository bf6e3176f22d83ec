"""What a model reads and learns, as far as it is alike in all families that draw by a flow.

Invariant: pictures are read and learned as the latents that were sampled, and encoded only where there
are none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from policies import flow
from policies.checks import require_latents, require_length, require_pixels
from policies.flowing.latents import patches_of
from policies.flowing.samples import Grid, Placed, length
from policies.interface import Condition, Context, Example, Picture

NOTHING = torch.empty(0)

Lesson = tuple[list[Any], list[Tensor]]
"""A sample, which is a context and all of a target that is learned after it; and of every picture in it
that is learned its velocity, float32 [tokens, latent values]."""


class FlowingLayout(ABC):
    """`config` says the `token_pixels`, `own_side`, `latent_side` and `latent_patch` of drawings and the
    sizes of `language` and `autoencoder`, `form` the `latent_values` of a token and the words `bos`, which
    is read last before a text is written, and `eos`, which ends it."""

    family: ClassVar[str]

    def __init__(self, config: Any, form: Any, tokenizer: Any, autoencoder: Any) -> None:
        self.config, self.form = config, form
        self.tokenizer, self.autoencoder = tokenizer, autoencoder

    @abstractmethod
    def context(
        self, context: Context, drawing: bool, without: Collection[Condition] = ()
    ) -> list[Any]:
        """The splits of a context for writing or for drawing. What is left out is checked all the same.
        Raises PromptError, and ValueError for bad pictures."""

    @abstractmethod
    def lessons(self, example: Example) -> list[Lesson]:
        """The samples that teach the example. Raises PromptError, and Unsupported for a target that the
        family has no layout for."""

    @abstractmethod
    def counts(self, example: Example) -> tuple[int, int]:
        """How many tokens of text and how many latent values are learned. Raises as `lessons` does."""

    @abstractmethod
    def pixels(self, picture: Picture) -> Tensor:
        """What the autoencoder encodes of a picture, float32 [3, height, width] from -1 to 1."""

    def places(self, example: Example) -> int:
        """How many an example takes. Raises as `lessons` does."""
        return sum(length(splits) for splits, _ in self.lessons(example))

    def latents(self, picture: Picture) -> tuple[Tensor, Grid]:
        """Tokens float32 [n, latent values] and their grid: of the latents that were sampled, or of
        the mean that the autoencoder gives for the pixels."""
        require_pixels(picture.pixels)
        if picture.latents is None:
            latents = self._encoded(picture)
        else:
            latents = picture.latents
            self._require_latents(latents, picture.pixels)
        patch = self.config.latent_patch
        return patches_of(latents.float(), patch), grid_of(latents, patch)

    @torch.no_grad()
    def _encoded(self, picture: Picture) -> Tensor:
        weight = next(self.autoencoder.parameters())
        found: Tensor = self.autoencoder.encode(self.pixels(picture)[None].to(weight))[0]
        return found.float().cpu()

    def _require_latents(self, latents: Tensor, pixels: np.ndarray) -> None:
        autoencoder, patch = self.config.autoencoder, self.config.latent_patch
        sides = range(patch, self.config.latent_side * patch + 1, patch)
        require_latents(latents, (autoencoder.latents, sides, sides))
        shown = tuple(side * autoencoder.downsample for side in latents.shape[1:])
        if shown != pixels.shape[:2]:
            raise ValueError(
                f"Picture.latents of shape {tuple(latents.shape)} are not those of pixels "
                f"{pixels.shape}: they show {shown[0]} x {shown[1]}; use latents and pixels "
                "of one drawing, or no latents."
            )

    def require_room(self, sample: Sequence[Placed], context: Context, answer: int = 0) -> None:
        """Raises PromptError where a sample and an answer of so many tokens are too long."""
        require_length(length(sample) + answer, self.config.language.max_positions, context)


def grid_of(values: Tensor, patch: int) -> Grid:
    """Of the tokens of values [..., height, width]."""
    return values.shape[-2] // patch, values.shape[-1] // patch


def noised(
    tokens: Tensor, shift: float, random: np.random.Generator
) -> tuple[Tensor, float, Tensor]:
    """A picture's tokens with noise at a time, both by chance, that time, and the velocity to learn."""
    time = flow.learning_times(_normal(random, ()), shift)
    noise = _normal(random, tokens.shape)
    return flow.noisy(tokens, noise, time), float(time), flow.target(tokens, noise)


def _normal(random: np.random.Generator, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.asarray(random.standard_normal(tuple(shape), dtype=np.float32)))
