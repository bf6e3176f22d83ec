"""What a Show-o2 reads and learns, as the splits that `policies.showo2.samples` names.

Invariant: what is sampled is what would be learned. To write, a context is a question of the public
conversation; to draw, it is texts and pictures in turn, and where all is left out nothing but a mark. A
picture is read as the latents that were sampled, at the time of a clean one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor

from policies.checks import require_one, require_pixels, require_text
from policies.flowing.layout import NOTHING, FlowingLayout, Lesson, grid_of, noised
from policies.flowing.samples import Grid
from policies.interface import Condition, Context, Example, Picture, Segment
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.config import Showo2Config
from policies.showo2.pictures import pixels_of
from policies.showo2.samples import Form, Shown, Split, Words

# The released training shifts times towards the noise by e to this line over the tokens of a drawing.
FROM, TO, LEAST, MOST = 256, 4096, 0.5, 1.15


class Layout(FlowingLayout):
    """`training_shift` moves the times that are learned towards the noise; None: by a drawing's tokens,
    as released."""

    family: ClassVar[str] = "showo2"

    def __init__(
        self, config: Showo2Config, form: Form, tokenizer: Any, autoencoder: Autoencoder,
        training_shift: float | None,
    ) -> None:  # fmt: skip
        super().__init__(config, form, tokenizer, autoencoder)
        self.training_shift = training_shift

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

    def grid(self, picture: Picture) -> Grid:
        """Of a picture's tokens, which need not be known."""
        require_pixels(picture.pixels)
        if picture.latents is None:
            return self.config.own_side, self.config.own_side
        return grid_of(picture.latents, self.config.latent_patch)

    def pixels(self, picture: Picture) -> Tensor:
        return pixels_of(picture, self.config.own_side * self.config.token_pixels)

    # Examples

    def lessons(self, example: Example) -> list[Lesson]:
        """One. Raises PromptError, Unsupported."""
        target, velocities = require_one(self.family, example), list[Tensor]()
        if isinstance(target, str):
            splits = [*self.context(example.context, False), *self.answer(target)]
        else:
            tokens, grid = self.latents(target)
            mixed, time, velocity = noised(tokens, self.shift(grid), example.random("flow"))
            shown = Shown(mixed, grid, time, drawn=True)
            splits = [*self.context(example.context, True, example.dropped), shown]
            velocities.append(velocity)
        self.require_room(splits, example.context)
        return [(splits, velocities)]

    def shift(self, grid: Grid) -> float:
        """Of the times of a drawing of this grid: it counts the time among the tokens, as released."""
        if self.training_shift is not None:
            return self.training_shift
        part = (grid[0] * grid[1] + 1 - FROM) / (TO - FROM)
        return math.exp(LEAST + part * (MOST - LEAST))

    def counts(self, example: Example) -> tuple[int, int]:
        """How many tokens of text and how many latent values are learned. Raises PromptError,
        Unsupported."""
        target = require_one(self.family, example)
        if isinstance(target, str):
            return len(self.ids(target)) + 1, 0
        rows, columns = self.grid(target)
        return 0, rows * columns * self.config.latent_values


class Shapes(Layout):
    """The same splits without what is in them: to count tokens, and not to read."""

    def latents(self, picture: Picture) -> tuple[Tensor, Grid]:
        return NOTHING, self.grid(picture)


def _condition(segment: Segment) -> Condition:
    return "text" if isinstance(segment, str) else "latents"
