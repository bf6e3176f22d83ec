"""What a BAGEL reads, as the splits that `policies.bagel.samples` names.

Invariant: what is sampled is what would be learned: a context is read in the same way for both, and
what training drops is what sampling without guidance leaves out. To write, a picture is seen; to
draw, it is also there as clean latents, before the features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from policies.bagel.autoencoder import Autoencoder
from policies.bagel.config import BagelConfig
from policies.bagel.pictures import Limits, pixels_of, size_within
from policies.bagel.planning import instructed, planned
from policies.bagel.samples import Absent, Features, Format, Latents, Noise, Split, Text
from policies.checks import require_pixels, require_text
from policies.flowing.latents import patches_of
from policies.flowing.layout import NOTHING, FlowingLayout, Lesson, grid_of, noised
from policies.flowing.samples import Grid
from policies.interface import Condition, Context, Example, Output, Picture


class Layout(FlowingLayout):
    """`training_shift` moves the times that are learned towards the noise; `limits` are those of
    pictures to understand, to redraw by their features, and to draw."""

    family: ClassVar[str] = "bagel"

    def __init__(
        self, config: BagelConfig, form: Format, tokenizer: Any, autoencoder: Autoencoder,
        limits: tuple[Limits, Limits, Limits], training_shift: float,
    ) -> None:  # fmt: skip
        super().__init__(config, form, tokenizer, autoencoder)
        self.training_shift = training_shift
        self.understanding, self.redrawing, self.drawing = limits

    # Contexts

    def context(
        self, context: Context, drawing: bool, without: Collection[Condition] = (),
        holds_places: bool = False,
    ) -> list[Split]:  # fmt: skip
        """The splits of a context for writing or for drawing. What is left out is checked all the
        same; with `holds_places` pictures that are left out keep their position, as in training.
        Raises PromptError, and ValueError for bad pictures."""
        splits: list[Split] = []
        for segment in context:
            if isinstance(segment, Picture):
                splits += self._seen(segment, drawing, without, holds_places)
            else:
                text = self.text(segment)
                splits += [] if "text" in without else [text]
        return splits

    def text(self, text: str, learned: bool = False) -> Text:
        require_text(text)
        return Text(self.tokenizer.encode(text, add_special_tokens=False).ids, learned)

    def _seen(
        self, picture: Picture, drawing: bool, without: Collection[Condition], holds_places: bool
    ) -> Iterator[Split]:
        made: list[tuple[Condition, Split]] = []
        if drawing:
            made.append(("latents", Latents(*self.latents(picture))))
        made.append(("features", self.features(picture, drawing)))
        for condition, split in made:
            if condition not in without:
                yield split
            elif holds_places:
                yield Absent()

    def features(self, picture: Picture, drawing: bool) -> Features:
        limits = self.redrawing if drawing else self.understanding
        pixels = pixels_of(picture, limits)
        patch = self.config.vision.patch
        return Features(patches_of(pixels, patch), grid_of(pixels, patch))

    def pixels(self, picture: Picture) -> Tensor:
        return pixels_of(picture, self.drawing)

    # Examples

    def lessons(self, example: Example) -> list[Lesson]:
        """The samples that teach the example. It is one, unless texts are dropped and the target has
        some: then the pictures are drawn without any, and the texts are learned as they were
        sampled. Raises PromptError."""
        target, pictures = example.target, _pictures(example.target)
        if planned(target):
            example = replace(example, context=instructed(example.context))
        if "text" not in example.dropped or len(pictures) == len(target):
            return [self._lesson(example, bool(pictures))]
        told = replace(example, dropped=frozenset(), target=_only_texts_learned(target))
        drawn = replace(example, target=pictures)
        return [self._lesson(each, True) for each in (told, drawn) if each.target]

    def _lesson(self, example: Example, drawing: bool) -> Lesson:
        random, velocities = example.random("flow"), list[Tensor]()
        splits = self.context(example.context, drawing, example.dropped, holds_places=True)
        last = len(example.target) - 1
        for place, part in enumerate(example.target):
            if isinstance(part.segment, str):
                splits.append(self.text(part.segment, part.learned))
                continue
            tokens, grid = self.latents(part.segment)
            if part.learned:
                mixed, time, velocity = noised(tokens, self.training_shift, random)
                splits.append(Noise(mixed, grid, time))
                velocities.append(velocity)
            if not (part.learned and place == last):  # what follows sees what it became
                splits += [Latents(tokens, grid), self.features(part.segment, True)]
        self.require_room(splits, example.context)
        return splits, velocities

    def counts(self, example: Example) -> tuple[int, int]:
        """How many tokens of text and how many latent values are learned. Raises PromptError."""
        texts = latents = 0
        for segment in _learned(example.target):
            if isinstance(segment, str):
                texts += len(self.text(segment).ids) + 1
            else:
                latents += self._latent_values(segment)
        return texts, latents

    def _latent_values(self, picture: Picture) -> int:
        if picture.latents is not None:
            return picture.latents.numel()
        rows, columns = self._tokens(picture, self.drawing, self.config.token_pixels)
        return rows * columns * self.form.latent_values

    def _tokens(self, picture: Picture, limits: Limits, side: int) -> Grid:
        require_pixels(picture.pixels)
        shape = picture.pixels.shape
        height, width = size_within(shape[0], shape[1], limits)
        return height // side, width // side


class Shapes(Layout):
    """The same splits without what is in them: to count tokens, and not to read."""

    def features(self, picture: Picture, drawing: bool) -> Features:
        limits = self.redrawing if drawing else self.understanding
        return Features(NOTHING, self._tokens(picture, limits, self.config.vision.patch))

    def latents(self, picture: Picture) -> tuple[Tensor, Grid]:
        if picture.latents is not None:
            return NOTHING, grid_of(picture.latents, self.config.latent_patch)
        return NOTHING, self._tokens(picture, self.drawing, self.config.token_pixels)


def _pictures(target: Output) -> Output:
    return tuple(part for part in target if isinstance(part.segment, Picture))


def _only_texts_learned(target: Output) -> Output:
    """What the texts that are learned are learned after, and they."""
    made = [replace(p, learned=p.learned and isinstance(p.segment, str)) for p in target]
    while made and not made[-1].learned:
        made.pop()
    return tuple(made)


def _learned(target: Output) -> Iterator[str | Picture]:
    return (part.segment for part in target if part.learned)
