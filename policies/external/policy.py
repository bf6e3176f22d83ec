"""A vision-language model with a pipeline of diffusers as a policy: it writes, draws and learns.

Invariant: what is sampled is what would be learned, and drawings are learned from the latents that
were sampled: the pipeline's, or with a bridge of embeddings what the frozen encoder made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch

from policies.checks import require_options
from policies.external import checkpoint
from policies.external.drawing import Artist
from policies.external.layout import Layout, targets_of
from policies.external.learning import Lessons
from policies.external.module import ADAPTED, ExternalModule
from policies.interface import (
    Condition,
    Context,
    Example,
    LossKind,
    LossTerm,
    Output,
    Picture,
    PictureSampling,
)
from policies.teacher_forcing import totals
from policies.vision_language.policy import VisionLanguagePolicy
from policies.vision_language.seeing import FrozenEye


class ExternalPolicy(VisionLanguagePolicy):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "external"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "features"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"guidance", "steps"})
    adapted = ADAPTED
    module: ExternalModule

    def __init__(self, loaded: checkpoint.Loaded) -> None:
        self._parts, self.config, self.decoder = loaded, loaded.config, loaded.decoder
        net, small = loaded.language.net, loaded.language.small
        module = ExternalModule(net, loaded.bridge, loaded.decoder)
        self.vision = FrozenEye(small.eye, net.model)
        super().__init__(loaded.language, loaded.folder, module, self.vision)
        self.layout = Layout(self, self.config, module)
        self.artist = Artist(self.layout, self.decoder, self.vision)
        self._lessons = Lessons(self.artist)

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "float32") -> Self:
        """Raises CheckpointError, and ConfigError where diffusers is not installed."""
        made = cls(checkpoint.load(Path(path), getattr(torch, dtype)))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """The language model's public layout, the pipeline's, and the bridge between them."""
        self._require_whole()
        checkpoint.save(Path(path), self._parts)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        super().sample_on(device, dtype)
        place, kind = torch.device(device), getattr(torch, dtype)
        self.vision.to(place, kind)
        self.decoder.follow(place, kind)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        return self.artist.draw(contexts, sampling, seeds) if contexts else []

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        self.vision.to(self.device)
        self.decoder.follow(self.device)
        asked = list(zip(examples, targets_of(examples), strict=True))
        lessons = [self.layout.text(e, target) for e, target in asked if isinstance(target, str)]
        if lessons:
            nats = self.nats(lessons)
            summed = totals(nats, [len(lesson.places) for lesson in lessons])
            return {"text": LossTerm(summed, len(nats))}
        questions = [self.layout.question(e.context, e.dropped) for e in examples]
        for example, question in zip(examples, questions, strict=True):
            self.layout.require_room(question, example.context)
        pictures = [target for _, target in asked if isinstance(target, Picture)]
        errors = self._lessons.errors(examples, questions, pictures)
        return {"latents": LossTerm(errors.sum(1), errors.numel())}

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        for target in targets_of(examples):
            if isinstance(target, Picture):
                counts["latents"] = counts.get("latents", 0) + self._lessons.values
            else:
                counts["text"] = counts.get("text", 0) + len(self.chat.answer(target))
        return counts

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return self.layout.lengths(examples)

    # Weights

    def _read_again(self) -> Self:
        return type(self).from_pretrained(self._parts.folder)

    def understanding(self) -> dict[str, slice]:
        """The head of words, where it is not the table that words are read by."""
        return {name: slice(None) for name in self.weights() if name.startswith("lm_head.")}
