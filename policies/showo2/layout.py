"""What a Show-o2 reads and learns, as the splits that `policies.showo2.samples` names.

Invariant: what is sampled is what would be learned. To write, a context is a question of the public
conversation; to draw, it is texts and pictures in turn, and where all is left out nothing but a mark. A
picture is read as the latents that were sampled, at the time of a clean one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies import flow
from policies.checks import require_latents, require_length, require_pixels, require_text
from policies.flowing.latents import patches_of
from policies.flowing.samples import Grid, length
from policies.interface import Condition, Context, Example, Picture, Segment, Unsupported
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.config import Showo2Config
from policies.showo2.pictures import pixels_of
from policies.showo2.samples import Form, Sample, Shown, Split, Words

NOTHING = torch.empty(0)
# The released training shifts times towards the noise by e to this line over the tokens of a drawing.
FROM, TO, LEAST, MOST = 256, 4096, 0.5, 1.15


class Layout:
    """`training_shift` moves the times that are learned towards the noise; None: by a drawing's tokens,
    as released."""

    family = "showo2"

    def __init__(
        self, config: Showo2Config, form: Form, tokenizer: Any, autoencoder: Autoencoder,
        training_shift: float | None,
    ) -> None:  # fmt: skip
        self.config, self.form, self.tokenizer = config, form, tokenizer
        self.autoencoder, self.training_shift = autoencoder, training_shift

    # Contexts

    def context(
        self, context: Context, drawing: bool, without: Collection[Condition] = ()
    ) -> list[Split]:
        """The splits of a context up to where the answer begins: for a text before `form.begin`, for a
        drawing behind the mark of a picture. What is left out is checked all the same. Raises
        PromptError, and ValueError for bad pictures."""
        inside = [
            split
            for segment in context
            for split in self._segment(segment)
            if _condition(segment) not in without
        ]
        form = self.form
        if drawing:
            return [Words((form.start,)), *inside, Words((form.boi,))]
        return [Words(form.before), *inside, Words(form.after)]

    def _segment(self, segment: Segment) -> list[Split]:
        if isinstance(segment, str):
            return [Words(self.ids(segment))]
        shown = Shown(*self.latents(segment))
        return [Words((self.form.boi,)), shown, Words((self.form.eoi,))]

    def ids(self, text: str) -> list[int]:
        require_text(text)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def answer(self, text: str) -> list[Split]:
        """What is learned of a text after its context, and the word that it follows."""
        return [Words((self.form.begin,)), Words([*self.ids(text), self.form.eos], learned=True)]

    def latents(self, picture: Picture) -> tuple[Tensor, Grid]:
        """Tokens float32 [n, latent values] and their grid: of the latents that were sampled, or of the
        mean that the autoencoder gives for the pixels."""
        require_pixels(picture.pixels)
        if picture.latents is None:
            latents = self._encoded(picture)
        else:
            latents = picture.latents
            self._require_latents(picture)
        return patches_of(latents.float(), self.config.latent_patch), self.grid(picture)

    @torch.no_grad()
    def _encoded(self, picture: Picture) -> Tensor:
        side = self.config.own_side * self.config.token_pixels
        weight = next(self.autoencoder.parameters())
        return self.autoencoder.encode(pixels_of(picture, side)[None].to(weight)).float().cpu()[0]

    def grid(self, picture: Picture) -> Grid:
        """Of a picture's tokens, which need not be known."""
        require_pixels(picture.pixels)
        if picture.latents is None:
            return self.config.own_side, self.config.own_side
        rows, columns = picture.latents.shape[-2:]
        return rows // self.config.latent_patch, columns // self.config.latent_patch

    def _require_latents(self, picture: Picture) -> None:
        assert picture.latents is not None
        autoencoder, patch = self.config.autoencoder, self.config.latent_patch
        sides = range(patch, self.config.latent_side * patch + 1, patch)
        require_latents(picture.latents, (autoencoder.latents, sides, sides))
        shown = tuple(side * autoencoder.downsample for side in picture.latents.shape[1:])
        if shown != picture.pixels.shape[:2]:
            raise ValueError(
                f"Picture.latents of shape {tuple(picture.latents.shape)} are not those of pixels "
                f"{picture.pixels.shape}: they show {shown[0]} x {shown[1]}; use latents and pixels "
                "of one drawing, or no latents."
            )

    def require_room(self, sample: Sample, context: Context, answer: int = 0) -> None:
        """Raises PromptError where a sample and an answer of so many tokens are too long."""
        require_length(length(sample) + answer, self.config.language.max_positions, context)

    # Examples

    def lesson(self, example: Example) -> tuple[list[Split], Tensor | None]:
        """The sample that teaches the example, and the velocity of its drawing, float32 [tokens, latent
        values]. Raises PromptError, Unsupported."""
        target = only(example)
        if isinstance(target, str):
            splits, velocity = [*self.context(example.context, False), *self.answer(target)], None
        else:
            shown, velocity = self.noisy(target, example.random("flow"))
            splits = [*self.context(example.context, True, example.dropped), shown]
        self.require_room(splits, example.context)
        return splits, velocity

    def noisy(self, picture: Picture, random: np.random.Generator) -> tuple[Shown, Tensor]:
        """A picture at a time and with noise by chance, and the velocity to learn."""
        tokens, grid = self.latents(picture)
        time = flow.learning_times(_normal(random, ()), self.shift(grid))
        noise = _normal(random, tokens.shape)
        seen = Shown(flow.noisy(tokens, noise, time), grid, float(time), drawn=True)
        return seen, flow.target(tokens, noise)

    def shift(self, grid: Grid) -> float:
        """Of the times of a drawing of this grid: it counts the time among the tokens, as released."""
        if self.training_shift is not None:
            return self.training_shift
        part = (grid[0] * grid[1] + 1 - FROM) / (TO - FROM)
        return math.exp(LEAST + part * (MOST - LEAST))

    def counts(self, example: Example) -> tuple[int, int]:
        """How many tokens of text and how many latent values are learned. Raises PromptError,
        Unsupported."""
        target = only(example)
        if isinstance(target, str):
            return len(self.ids(target)) + 1, 0
        rows, columns = self.grid(target)
        return 0, rows * columns * self.config.latent_values


class Shapes(Layout):
    """The same splits without what is in them: to count tokens, and not to read."""

    def latents(self, picture: Picture) -> tuple[Tensor, Grid]:
        return NOTHING, self.grid(picture)

    def noisy(self, picture: Picture, random: np.random.Generator) -> tuple[Shown, Tensor]:
        return Shown(NOTHING, self.grid(picture)), NOTHING

    def places(self, example: Example) -> int:
        """How many an example takes. Raises PromptError, Unsupported."""
        return length(self.lesson(example)[0])


def only(example: Example) -> Segment:
    """The target, which must be one segment. Raises Unsupported."""
    if len(example.target) != 1 or not example.target[0].learned:
        raise Unsupported(
            f"a target of {len(example.target)} parts: family showo2 learns one text or one picture "
            "at a time, and all of it; give one learned part"
        )
    return example.target[0].segment


def _condition(segment: Segment) -> Condition:
    return "text" if isinstance(segment, str) else "latents"


def _normal(random: np.random.Generator, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.asarray(random.standard_normal(tuple(shape), dtype=np.float32)))
