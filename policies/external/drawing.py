"""Drawings: what the bridge makes of each distinct context, then the pipeline's steps.

Invariant: a drawing depends on its own context, sampling and seed alone; that others are drawn with it
changes a result only by floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from policies import passed
from policies.checks import require_pixels
from policies.config import ConfigError
from policies.external.decoder import Decoder
from policies.external.layout import Layout
from policies.interface import Condition, Context, Output, Picture, PictureSampling, learned
from policies.vision_language.chat import Read
from policies.vision_language.seeing import FrozenEye
from policies.vision_language.writing import Writer

TEXTS: tuple[Condition, ...] = ("text",)
"""What is left out of the questions that guidance leads away from."""
READ_AT_ONCE = 2**14
"""Places of contexts that pass forward together."""


class Artist:
    """Draws what `layout` reads; `eye` is the frozen encoder of pictures."""

    def __init__(self, layout: Layout, decoder: Decoder, eye: FrozenEye) -> None:
        self.layout, self.decoder, self.eye = layout, decoder, eye
        self.module, self.config = layout.module, layout.config

    @torch.no_grad()
    def draw(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[PictureSampling],
        seeds: Sequence[int],
    ) -> list[Output]:
        """A picture with its latents for each row. Raises PromptError, ConfigError."""
        for how in dict.fromkeys(sampling):
            _require_values(how)
        whole, free = self._read(contexts, ()), self._read(contexts, TEXTS)
        asked = list(zip(contexts, sampling, strict=True))
        needed = [whole[context] for context, how in asked if how.guidance != 0]
        needed += [free[context] for context, how in asked if how.guidance != 1]
        distinct = list(dict.fromkeys(needed))
        made = dict(zip(distinct, self.conditions(distinct), strict=True))
        outputs: dict[int, Output] = {}
        order = sorted(range(len(contexts)), key=lambda i: self._alike(sampling[i]))
        for (guidance, steps), group in groupby(order, lambda i: self._alike(sampling[i])):
            rows = list(group)
            begun = [free if sampling[i].guidance == 0 else whole for i in rows]
            told = torch.stack([made[own[contexts[i]]] for i, own in zip(rows, begun, strict=True)])
            untold = torch.stack([made[free[contexts[i]]] for i in rows]) if guidance else None
            latents = self.decoder.draw(told, untold, guidance, steps, [seeds[i] for i in rows])
            outputs |= zip(rows, self._shown(latents), strict=True)
        return [outputs[i] for i in range(len(contexts))]

    def _read(
        self, contexts: Sequence[Context], without: Collection[Condition]
    ) -> dict[Context, Read]:
        """Each distinct context as a question."""
        read = {
            context: self.layout.question(context, without) for context in dict.fromkeys(contexts)
        }
        for context, question in read.items():
            self.layout.require_room(question, context)
        return read

    def _alike(self, how: PictureSampling) -> tuple[float, int]:
        """What drawings of one call have in common: their guidance, or 0 for none, and their steps."""
        return how.guidance if how.guidance > 1 else 0.0, how.steps or self.config.steps

    def conditions(self, questions: Sequence[Read]) -> list[Tensor]:
        """What conditions the pipeline after each question, [tokens, width]."""
        made: list[Tensor] = []
        longest = max(len(question.ids) for question in questions) + self.layout.drawing
        for start in range(0, len(questions), at_once := max(1, READ_AT_ONCE // longest)):
            begun = [self.layout.begun(q) for q in questions[start : start + at_once]]
            if self.decoder.project is not None:
                made += list(self.decoder.project(self._written([each.read for each in begun])))
            else:
                batch, places = self.layout.speaker.batch(begun)
                made += list(self.module(batch, places, drawing=True))
        return made

    def _written(self, begun: Sequence[Read]) -> Tensor:
        """The embeddings of each row's drawing [rows, slots, hidden], one after the other."""
        count, every = self.layout.drawing, torch.arange(len(begun), device=self.module.device)
        writer = Writer(self.module, self.eye, begun)
        state, read = writer.prefill([(i,) for i in range(len(begun))], every, 0)
        written = [self.module.bridge(state[:, None])[:, 0]]
        while len(written) < count:
            state = read.go_on(self.module.fed_from + every, written[-1])
            written.append(self.module.bridge(state[:, None])[:, 0])
        # One of each context, which `prefill` leaves out, and what was fed.
        passed.add(len(begun) * count)
        return torch.stack(written, 1)

    def embeddings_of(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """Drawings as a bridge of embeddings writes them: [slots, hidden] each."""
        return self.eye.see([_resized(picture, self.config.side) for picture in pictures])

    def _shown(self, latents: Tensor) -> list[Output]:
        pixels, kept = self.decoder.decode(latents), list(latents.cpu())
        if not self.config.denoises:
            seen = self.embeddings_of([Picture(each) for each in pixels])
            kept = [each.cpu() for each in seen]
        drawn = zip(pixels, kept, strict=True)
        return [learned(Picture(shown, None, own.clone())) for shown, own in drawn]


def _require_values(how: PictureSampling) -> None:
    if 0 < how.guidance < 1 or how.guidance < 0:
        raise ConfigError(
            f"guidance is {how.guidance}: diffusers guides above 1 alone; set it to 1 for none, 0 for "
            "drawings without their prompt, or more than 1"
        )
    if how.steps < 0:
        raise ConfigError(f"steps is {how.steps}: it must be above 0, or 0 for the bridge's own")


def _resized(picture: Picture, side: int) -> Picture:
    """A square of it, for an encoder that takes any size."""
    require_pixels(picture.pixels)
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    return Picture(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
