"""A vision-language model with a pipeline of diffusers as a policy: it writes, draws and learns.

Invariant: what is sampled is what would be learned, and drawings are learned from the latents that
were sampled: the pipeline's, or with a bridge of embeddings what the frozen encoder made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies import lora, passed
from policies.checks import require_latents, require_options, require_pixels, take_weights
from policies.external import checkpoint
from policies.external.drawing import drawn, embeddings_of, layout_features
from policies.external.layout import Layout, Looked, targets_of
from policies.external.module import ADAPTED, ExternalModule, Noisy, arranged
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
from policies.sampling import Ids, Row, Sampled, sample
from policies.teacher_forcing import chunks, totals


class ExternalPolicy:
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "external"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text", "features"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"guidance", "steps"})

    def __init__(self, loaded: checkpoint.Loaded) -> None:
        self._loaded, self._adapters = loaded, 0.0
        self.config = loaded.config
        self.decoder, self.vision = loaded.decoder, loaded.vision
        self.module = ExternalModule(loaded.net, loaded.bridge, loaded.decoder)
        self.wording = loaded.wording
        self.layout = Layout(
            self.config, self.wording, self.vision, self.module.words, self.module.max_positions
        )

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
        rotary = self.module.language_model.rotary_emb
        angles = rotary.inv_freq.clone()
        self.module.requires_grad_(False).to(place, kind)
        rotary.inv_freq = angles.to(place)  # in bfloat16 far tokens would be turned by a radian
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
        reading = partial(prefill, self.module, positions, self._features(looked))
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

    def _features(self, looked: Looked) -> Tensor | None:
        return layout_features(self.module, self.layout, looked)

    def _require_whole(self) -> None:
        lora.require_whole(self._adapters, self.family)

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
            nats, counts = self._nats(questions, texts, looked)
            return {"text": LossTerm(totals(nats, counts), len(nats))}
        pictures = [target for target in targets if isinstance(target, Picture)]
        errors = self._errors(examples, questions, pictures, looked)
        return {"latents": LossTerm(errors.sum(1), errors.numel())}

    def _errors(
        self, examples: Sequence[Example], questions: Sequence[Ids], pictures: Sequence[Picture], looked: Looked
    ) -> Tensor:
        """The squared errors [examples, values] of drawings."""
        latents = self._latents(pictures)
        if not self.config.denoises:
            return self._regressed(questions, latents, looked)
        made = [
            self.decoder.schedule.noised(clean.cpu().float(), example.random("noise"))
            for clean, example in zip(latents, examples, strict=True)
        ]
        shown, times, wanted = (torch.stack(each).to(self.module.device) for each in zip(*made, strict=True))
        rows = [(*question, *self.layout.slots()) for question in questions]
        places = [np.arange(len(q), len(row)) for q, row in zip(questions, rows, strict=True)]
        told, predicted = self._forward(rows, places, looked, self._features(looked), Noisy(shown, times))
        errors = F.mse_loss(predicted, wanted, reduction="none").flatten(1)
        if self.config.kind != "signals":
            return errors
        aims = self.decoder.prompts([_said(example) for example in examples])
        aligned = F.mse_loss(told.float(), aims.to(told.device), reduction="none").flatten(1)
        return torch.cat([errors, aligned], 1)

    def _regressed(self, questions: Sequence[Ids], latents: Sequence[Tensor], looked: Looked) -> Tensor:
        """Of a bridge of embeddings: each is predicted from those before it."""
        count, begin = self.layout.drawing, looked.features
        rows, places, fed = list[Ids](), list[np.ndarray](), list[Tensor]()
        for i, (question, own) in enumerate(zip(questions, latents, strict=True)):
            first = -1 - begin - i * (count - 1)
            rows.append((*question, *self.layout.slots(), *range(first, first - (count - 1), -1)))
            places.append(np.arange(len(question), len(rows[-1])))
            fed.append(own[:-1].to(self.module.device).float())
        seen = self._features(looked)
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

    def _latents(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """Those that were sampled, or of pixels those that the frozen encoder gives."""
        for picture in pictures:
            require_pixels(picture.pixels)
            if picture.latents is not None:
                require_latents(picture.latents, self._shape)
        bare = [picture for picture in pictures if picture.latents is None]
        encode = self.decoder.encode if self.config.denoises else partial(embeddings_of, self.layout)
        made = iter(encode(bare) if bare else ())
        return [next(made) if p.latents is None else p.latents for p in pictures]

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of a drawing's latents."""
        if not self.config.denoises:
            return (self.config.slots, self.config.hidden)
        described = self.decoder.described
        return (described.channels, described.side, described.side)

    def _nats(
        self, questions: Sequence[Ids], texts: Sequence[str], looked: Looked
    ) -> tuple[Tensor, list[int]]:
        """Cross-entropy of every token of every answer, in one row of them, and how many each has."""
        answers = [self.wording.answer(text) for text in texts]
        # The state before a token predicts it: the last one has nothing to predict.
        rows = [(*q, *a[:-1]) for q, a in zip(questions, answers, strict=True)]
        places = [np.arange(len(q) - 1, len(row)) for q, row in zip(questions, rows, strict=True)]
        features = self._features(looked)
        (logits,) = self._forward(rows, places, looked, features, drawing=False)
        wanted = torch.tensor([token for answer in answers for token in answer], device=logits.device)
        return F.cross_entropy(logits, wanted, reduction="none"), [len(a) for a in answers]

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        aims = self.config.tokens * self.config.width if self.config.kind == "signals" else 0
        for target in targets_of(examples):
            if isinstance(target, Picture):
                counts["latents"] = counts.get("latents", 0) + int(np.prod(self._shape)) + aims
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
            nats, counts = self._nats(questions, texts[part], looked)
            found += [-own.cpu().numpy() for own in nats.split(counts)]
        return found

    def adapt(self, rank: int, alpha: int) -> None:
        """Raises ConfigError."""
        lora.adapt(self.module, ADAPTED, rank, alpha)
        self._adapters = alpha / rank

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if not self._adapters:
            return trained
        # Read again: by now the base is sharded over the ranks, or on a GPU.
        base = type(self).from_pretrained(self._loaded.folder).weights()
        return lora.merge(base, trained, self._adapters)

    # Weights

    def weights(self) -> dict[str, np.ndarray]:
        """The language model, the bridge, and a denoiser that learns, or the adapters: views where
        they are float32 on a CPU."""
        ends = (lora.DOWN, lora.UP) if self._adapters else ("",)
        return {
            name: weight.detach().to("cpu", torch.float32).numpy()
            for name, weight in self.module.named_parameters()
            if name.endswith(ends)
        }

    def understanding(self) -> dict[str, slice]:
        """The head of words, where it is not the table that words are read by."""
        return {name: slice(None) for name in self.weights() if name.startswith("lm_head.")}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays become the weights, which from now on are not trained; a copy of them where
        `sample_on` chose another type or a GPU. Raises CheckpointError."""
        self._require_whole()
        take_weights(self.module, weights)

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()


def _said(example: Example) -> str:
    """What a pipeline's own text encoder would be given."""
    if "text" in example.dropped:
        return ""
    return " ".join(segment for segment in example.context if isinstance(segment, str))
