"""A vision-language model with a pipeline of diffusers as a policy: it writes, draws and learns.

Invariant: what is sampled is what would be learned, and drawings are learned from the latents that
were sampled: the pipeline's, or with a bridge of embeddings what the frozen encoder made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch

from policies.adapted import Adapted
from policies.checks import require_options
from policies.external import checkpoint
from policies.external.drawing import drawn
from policies.external.layout import Layout, targets_of
from policies.external.learning import Lessons
from policies.external.module import ADAPTED, ExternalModule
from policies.external.reading import prefill
from policies.interface import (
    Condition,
    Context,
    Example,
    LossKind,
    LossTerm,
    Output,
    Picture,
    PictureSampling,
    Segment,
    TextSampling,
    Unsupported,
)
from policies.moving import moved
from policies.sampling import Row, Sampled, sample
from policies.teacher_forcing import chunks, totals


class ExternalPolicy(Adapted[ExternalModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "external"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "features"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"guidance", "steps"})
    adapted = ADAPTED

    def __init__(self, loaded: checkpoint.Loaded) -> None:
        self._loaded = loaded
        self.config = loaded.config
        self.decoder, self.vision = loaded.decoder, loaded.vision
        self.module = ExternalModule(loaded.net, loaded.bridge, loaded.decoder)
        self.wording = loaded.wording
        self.layout = Layout(
            self.config, self.wording, self.vision, self.module.words, self.module.max_positions
        )
        self._lessons = Lessons(self.module, self.layout)

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
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        moved(self.module.requires_grad_(False), place, kind)
        self.vision.to(place, kind)
        self.decoder.follow(place, kind)

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError."""
        if not contexts:
            return []
        written = self.sample_words(contexts, sampling, seeds).tokens
        return [self.text_of(tokens.tolist()) for tokens in written]

    def text_of(self, ids: Sequence[int]) -> str:
        return self.wording.text(ids)

    @torch.no_grad()
    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        self._require_whole()
        looked = self.layout.looked(contexts)
        rows = []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            question = self.layout.question(context, looked)
            self.layout.require_room(len(question) + how.max_tokens, context)
            rows.append(Row(question, how.temperature, 1.0, seed, how.max_tokens))
        positions = partial(self.layout.positions, looked=looked)
        reading = partial(prefill, self.module, positions, self.layout.features(looked))
        head, stop = self.module.word_head, self.wording.end
        return sample(reading, head, rows, 0, stop, keep_logits, self.module.device)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        if not contexts:
            return []
        return drawn(self.module, self.layout, contexts, sampling, seeds)

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        device = self.module.device
        self.vision.to(device)
        self.decoder.follow(device)
        targets = targets_of(examples)
        looked = self.layout.looked([example.context for example in examples])
        questions = [self.layout.question(e.context, looked, e.dropped) for e in examples]
        for example, question, target in zip(examples, questions, targets, strict=True):
            self.layout.require_room(len(question) + self.layout.answered(target), example.context)
        texts = [target for target in targets if isinstance(target, str)]
        if texts:
            nats, counts = self._lessons.nats(questions, texts, looked)
            return {"text": LossTerm(totals(nats, counts), len(nats))}
        pictures = [target for target in targets if isinstance(target, Picture)]
        errors = self._lessons.errors(examples, questions, pictures, looked)
        return {"latents": LossTerm(errors.sum(1), errors.numel())}

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        for target in targets_of(examples):
            if isinstance(target, Picture):
                counts["latents"] = counts.get("latents", 0) + self._lessons.values
            else:
                counts["text"] = counts.get("text", 0) + len(self.wording.answer(target))
        return counts

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return self.layout.lengths(examples)

    @torch.no_grad()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError, Unsupported."""
        texts = [target for target in targets if isinstance(target, str)]
        if len(texts) < len(targets):
            raise Unsupported(
                "the likelihood of a picture: family external draws by a diffusion, which gives none; "
                "score texts alone"
            )
        found: list[np.ndarray] = []
        for part in chunks(len(texts)):
            looked = self.layout.looked(contexts[part])
            questions = [self.layout.question(context, looked) for context in contexts[part]]
            for question, context, text in zip(questions, contexts[part], texts[part], strict=True):
                self.layout.require_room(len(question) + self.layout.answered(text), context)
            nats, counts = self._lessons.nats(questions, texts[part], looked)
            found += [-own.cpu().numpy() for own in nats.split(counts)]
        return found

    def _read_again(self) -> Self:
        return type(self).from_pretrained(self._loaded.folder)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The head of words, where it is not the table that words are read by."""
        return {name: slice(None) for name in self.weights() if name.startswith("lm_head.")}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()
