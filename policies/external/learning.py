"""What drawings teach: the squared errors as each bridge learns them.

Invariant: an example's part of a loss follows from the weights and the example alone, and all compute
that needs weights that learn is one forward pass of the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.checks import require_latents, require_pixels
from policies.external.drawing import Artist
from policies.external.module import Noisy
from policies.interface import Example, Picture
from policies.vision_language.chat import Read


class Lessons:
    """Of drawings, as `artist` draws them."""

    def __init__(self, artist: Artist) -> None:
        self.artist, self.layout, self.config = artist, artist.layout, artist.config
        self.module, self.decoder = artist.module, artist.decoder

    def errors(
        self, examples: Sequence[Example], questions: Sequence[Read], pictures: Sequence[Picture]
    ) -> Tensor:
        """The squared errors [examples, values] of drawings after their questions."""
        latents = self.latents(pictures)
        if not self.config.denoises:
            return self._regressed(questions, latents)
        made = [
            self.decoder.schedule.noised(clean.cpu().float(), example.random("noise"))
            for clean, example in zip(latents, examples, strict=True)
        ]
        shown, times, wanted = (
            torch.stack(each).to(self.module.device) for each in zip(*made, strict=True)
        )
        batch, places = self.layout.speaker.batch([self.layout.begun(q) for q in questions])
        told, predicted = self.module(batch, places, True, Noisy(shown, times))
        errors = F.mse_loss(predicted, wanted, reduction="none").flatten(1)
        if self.config.kind != "signals":
            return errors
        aims = self.decoder.prompts([_said(example) for example in examples])
        aligned = F.mse_loss(told.float(), aims.to(told.device), reduction="none").flatten(1)
        return torch.cat([errors, aligned], 1)

    def _regressed(self, questions: Sequence[Read], latents: Sequence[Tensor]) -> Tensor:
        """Of a bridge of embeddings: each is predicted from those before it."""
        each = self.layout.drawing - 1
        begun = [
            self.layout.begun(question, range(i * each, (i + 1) * each))
            for i, question in enumerate(questions)
        ]
        batch, places = self.layout.speaker.batch(begun)
        aims = torch.stack([own.to(batch.ids.device).float() for own in latents])
        made = self.module(replace(batch, fed=aims[:, :-1].flatten(0, 1)), places, True)
        return F.mse_loss(made.float(), aims, reduction="none").flatten(1)

    def latents(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """Those that were sampled, or of pixels those that the frozen encoder gives."""
        for picture in pictures:
            require_pixels(picture.pixels)
            if picture.latents is not None:
                require_latents(picture.latents, self.shape)
        bare = [picture for picture in pictures if picture.latents is None]
        encode = self.decoder.encode if self.config.denoises else self.artist.embeddings_of
        made = iter(encode(bare) if bare else ())
        return [next(made) if p.latents is None else p.latents for p in pictures]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a drawing's latents."""
        if not self.config.denoises:
            return (self.config.slots, self.config.hidden)
        described = self.decoder.described
        return (described.channels, described.side, described.side)

    @property
    def values(self) -> int:
        """How many squared errors a drawing teaches by."""
        aims = self.config.tokens * self.config.width if self.config.kind == "signals" else 0
        return int(np.prod(self.shape)) + aims


def _said(example: Example) -> str:
    """What a pipeline's own text encoder would be given."""
    if "text" in example.dropped:
        return ""
    return " ".join(segment for segment in example.context if isinstance(segment, str))
