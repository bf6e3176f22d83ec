"""What examples teach: nats of texts, and the squared errors of drawings as each bridge learns them.

Invariant: an example's part of a loss follows from the weights and the example alone, and all compute
that needs weights that learn is one forward pass of the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies import passed
from policies.checks import require_latents, require_pixels
from policies.external.drawing import embeddings_of
from policies.external.layout import Layout, Looked
from policies.external.module import ExternalModule, Noisy, arranged
from policies.interface import Example, Picture
from policies.sampling import Ids


class Lessons:
    """Of questions, whose pictures `looked` has, to `module`."""

    def __init__(self, module: ExternalModule, layout: Layout) -> None:
        self.module, self.layout = module, layout
        self.config, self.decoder = layout.config, module.decoder

    def errors(
        self,
        examples: Sequence[Example],
        questions: Sequence[Ids],
        pictures: Sequence[Picture],
        looked: Looked,
    ) -> Tensor:
        """The squared errors [examples, values] of drawings."""
        latents = self.latents(pictures)
        if not self.config.denoises:
            return self._regressed(questions, latents, looked)
        made = [
            self.decoder.schedule.noised(clean.cpu().float(), example.random("noise"))
            for clean, example in zip(latents, examples, strict=True)
        ]
        shown, times, wanted = (
            torch.stack(each).to(self.module.device) for each in zip(*made, strict=True)
        )
        rows = [(*question, *self.layout.slots()) for question in questions]
        places = [np.arange(len(q), len(row)) for q, row in zip(questions, rows, strict=True)]
        told, predicted = self._forward(
            rows, places, looked, self.layout.features(looked), Noisy(shown, times)
        )
        errors = F.mse_loss(predicted, wanted, reduction="none").flatten(1)
        if self.config.kind != "signals":
            return errors
        aims = self.decoder.prompts([_said(example) for example in examples])
        aligned = F.mse_loss(told.float(), aims.to(told.device), reduction="none").flatten(1)
        return torch.cat([errors, aligned], 1)

    def _regressed(
        self, questions: Sequence[Ids], latents: Sequence[Tensor], looked: Looked
    ) -> Tensor:
        """Of a bridge of embeddings: each is predicted from those before it."""
        count, begin = self.layout.drawing, looked.features
        rows, places, fed = list[Ids](), list[np.ndarray](), list[Tensor]()
        for i, (question, own) in enumerate(zip(questions, latents, strict=True)):
            first = -1 - begin - i * (count - 1)
            rows.append((*question, *self.layout.slots(), *range(first, first - (count - 1), -1)))
            places.append(np.arange(len(question), len(rows[-1])))
            fed.append(own[:-1].to(self.module.device).float())
        seen = self.layout.features(looked)
        features = torch.cat([*(() if seen is None else (seen.float(),)), *fed])
        (made,) = self._forward(rows, places, looked, features)
        aims = torch.stack([own.float() for own in latents]).to(made.device)
        return F.mse_loss(made.float(), aims, reduction="none").flatten(1)

    def _forward(
        self, rows: Sequence[Ids], places: Sequence[np.ndarray], looked: Looked, features: Tensor | None,
        noisy: Noisy | None = None, drawing: bool = True,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        passed.add(sum(map(len, rows)))
        positions = [self.layout.positions(row, looked) for row in rows]
        batch = arranged(rows, positions, places, features).to(self.module.device)
        found: tuple[Tensor, ...] = self.module(batch, drawing, noisy)
        return found

    def latents(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """Those that were sampled, or of pixels those that the frozen encoder gives."""
        for picture in pictures:
            require_pixels(picture.pixels)
            if picture.latents is not None:
                require_latents(picture.latents, self.shape)
        bare = [picture for picture in pictures if picture.latents is None]
        encode = (
            self.decoder.encode if self.config.denoises else partial(embeddings_of, self.layout)
        )
        made = iter(encode(bare) if bare else ())
        return [next(made) if p.latents is None else p.latents for p in pictures]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a drawing's latents."""
        if not self.config.denoises:
            return (self.config.slots, self.config.hidden)
        described = self.decoder.described
        return (described.channels, described.side, described.side)

    def nats(
        self, questions: Sequence[Ids], texts: Sequence[str], looked: Looked
    ) -> tuple[Tensor, list[int]]:
        """Cross-entropy of every token of every answer, in one row of them, and how many each has."""
        answers = [self.layout.wording.answer(text) for text in texts]
        # The state before a token predicts it: the last one has nothing to predict.
        rows = [(*q, *a[:-1]) for q, a in zip(questions, answers, strict=True)]
        places = [np.arange(len(q) - 1, len(row)) for q, row in zip(questions, rows, strict=True)]
        features = self.layout.features(looked)
        (logits,) = self._forward(rows, places, looked, features, drawing=False)
        wanted = torch.tensor(
            [token for answer in answers for token in answer], device=logits.device
        )
        return F.cross_entropy(logits, wanted, reduction="none"), [len(a) for a in answers]

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
