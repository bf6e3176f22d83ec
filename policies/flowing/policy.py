"""Policies that draw by a flow, as far as they are alike: they write, score and learn by one module.

Invariant: what is sampled is what would be learned, split by split, and drawings are learned from the
latents that were sampled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies import passed
from policies.adapted import Adapted, Module
from policies.flowing.drawing import Outputs
from policies.flowing.layout import FlowingLayout, Lesson
from policies.flowing.samples import length
from policies.flowing.writing import Writes, written
from policies.interface import (
    Context,
    Example,
    LossKind,
    LossTerm,
    Picture,
    Segment,
    TextSampling,
    Unsupported,
    learned,
)
from policies.moving import moved
from policies.sampling import Sampled
from policies.teacher_forcing import chunks, totals
from policies.writing import Writing

Arrange = Callable[[Sequence[Any]], Any]
"""Makes a batch of samples."""
KINDS: tuple[LossKind, LossKind] = ("text", "latents")


class FlowingPolicy(Writing, Adapted[Module], ABC):
    """That part of `policies.interface.Policy`. A family sets what is declared here; `shapes` is its
    layout without what is in splits, to count tokens."""

    picture_options: ClassVar[frozenset[str]] = frozenset(
        {"guidance", "image_guidance", "interval", "renorm", "steps", "shift", "size"}
    )
    autoencoder: torch.nn.Module
    layout: FlowingLayout
    shapes: FlowingLayout

    @property
    @abstractmethod
    def reader(self) -> Writes:
        """The module as texts are read and written by."""

    @abstractmethod
    def padded(self, samples: Sequence[Any]) -> Any:
        """The batch of samples, a row each."""

    def packed(self, samples: Sequence[Any]) -> Any:
        """The batch that is fastest to learn from."""
        return self.padded(samples)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        moved(self.module.requires_grad_(False), place, kind)
        self.autoencoder.to(place)  # in float32, as it was released

    def text_of(self, ids: Sequence[int]) -> str:
        text: str = self.layout.tokenizer.decode(list(ids))
        return text

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        self._require_whole()
        return written(self.reader, self.layout, contexts, sampling, seeds, keep_logits)

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        lessons = self._lessons(examples)
        batch, read = self._read(lessons, self.packed)
        words, values = zip(*map(self.layout.counts, examples), strict=True)
        # Both sums are in each term, if only as 0: workers that learn other kinds in one step must
        # have gradients of the same parameters.
        none = 0.0 * (read.logits.sum() + read.velocities.sum())
        terms: dict[LossKind, LossTerm] = {}
        if len(batch.labels):
            nats = F.cross_entropy(read.logits, batch.labels, reduction="none")
            terms["text"] = LossTerm(totals(nats, words) + none, len(nats))
        wanted = [velocity for _, velocities in lessons for velocity in velocities]
        if wanted:
            target = torch.cat(wanted).to(read.velocities.device)
            errors = F.mse_loss(read.velocities, target, reduction="none").flatten()
            terms["latents"] = LossTerm(totals(errors, values) + none, len(errors))
        return terms

    def _lessons(self, examples: Sequence[Example]) -> list[Lesson]:
        return [each for example in examples for each in self.layout.lessons(example)]

    def _read(self, lessons: Sequence[Lesson], arrange: Arrange) -> tuple[Any, Outputs]:
        """The batch of these, and what the module makes of it."""
        samples = [splits for splits, _ in lessons]
        passed.add(sum(map(length, samples)))
        batch = arrange(samples).on(self.device)
        read: Outputs = self.module(batch)
        return batch, read

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return [self.shapes.places(example) for example in examples]

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts = [self.layout.counts(example) for example in examples]
        summed = {kind: sum(each[i] for each in counts) for i, kind in enumerate(KINDS)}
        return {kind: count for kind, count in summed.items() if count}

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError, Unsupported."""
        if any(isinstance(target, Picture) for target in targets):
            raise Unsupported(
                f"the likelihood of a picture: family {self.family} draws by a flow, which gives none; "
                "score texts alone"
            )
        asked = [Example(c, learned(t), "caption") for c, t in zip(contexts, targets, strict=True)]
        found: list[np.ndarray] = []
        for part in chunks(len(asked)):
            found += [-own.cpu().numpy() for own in self._nats(asked[part])]
        return found

    def _nats(self, texts: Sequence[Example]) -> Sequence[Tensor]:
        """Cross-entropy of every word of each text and of what ends it, float32 [words]."""
        batch, read = self._read(self._lessons(texts), self.padded)
        nats = F.cross_entropy(read.logits, batch.labels, reduction="none")
        return nats.split([self.layout.counts(text)[0] for text in texts])
