"""Janus-Pro as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is a prefix of what would be learned, token by token, and drawings are
learned from the codes that were sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.adapted import Adapted
from policies.checks import require_options
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
    learned,
)
from policies.janus import checkpoint
from policies.janus.layout import Layout, targets_of
from policies.janus.module import ADAPTED, JanusModule
from policies.janus.pictures import AT_ONCE, ImageTokenizer, pixels_of
from policies.janus.wording import Wording
from policies.llama import Layers, prefill
from policies.moving import moved
from policies.sampling import Ids, Row, Sampled, sample
from policies.teacher_forcing import chunks, teacher_forced, totals
from policies.writing import Writing


class JanusPolicy(Writing, Adapted[JanusModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "janus"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "guidance"})
    adapted = ADAPTED

    def __init__(self, loaded: checkpoint.Loaded, source: Path | None = None) -> None:
        self._loaded, self._source = loaded, source
        self.module = JanusModule(loaded.net)
        self.vision = ImageTokenizer(loaded.net.model.vqmodel)
        self.wording = Wording(loaded.tokenizer, loaded.special)
        self.layout = Layout(self.module, self.vision, self.wording)
        self.size: int = self.module.image_size

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "float32") -> Self:
        """Raises CheckpointError."""
        made = cls(checkpoint.load(Path(path), getattr(torch, dtype)), Path(path))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout of transformers' `JanusForConditionalGeneration`."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        moved(self.module.requires_grad_(False), place, kind)
        self.vision.vq.to(place, kind)

    def text_of(self, ids: Sequence[int]) -> str:
        return self.wording.text(ids)

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        looked, questions = self.layout.questions(contexts, drawing=False)
        rows = [
            Row(question, how.temperature, 1.0, seed, how.max_tokens)
            for question, how, seed in zip(questions, sampling, seeds, strict=True)
        ]
        embed = self.module.model.language_model.embed_tokens
        return self._sample(contexts, rows, looked, embed, False, keep_logits)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        if not contexts:
            return []
        require_options(self.family, self.picture_options, sampling)
        sampled = self.sample_codes(contexts, sampling, seeds)
        codes = np.stack(sampled.tokens) - self.module.words
        pixels = self.vision.decode(torch.from_numpy(codes).to(self.device))
        return [
            learned(Picture(seen, code))
            for seen, code in zip(pixels, codes.astype(np.int32), strict=True)
        ]

    def sample_codes(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[PictureSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `draw` draws, as ids in the numbering of `policies.janus.module`."""
        looked, questions = self.layout.questions(contexts, drawing=True)
        steps, free = self.module.features, self.wording.unconditional
        rows = [
            Row(question, how.temperature, how.guidance, seed, steps, free(question))
            for question, how, seed in zip(questions, sampling, seeds, strict=True)
        ]
        embed = self._embed_codes(len(rows))
        return self._sample(contexts, rows, looked, embed, True, keep_logits)

    @torch.inference_mode()
    def _embed_codes(self, rows: int) -> Callable[[Tensor], Tensor]:
        """Where more codes will be drawn than there are, each is embedded once for all."""
        module = self.module
        if rows * module.features < module.codes:
            return module.embed_codes
        first = module.words
        kinds = torch.arange(first, first + module.codes, device=self.device)
        table = module.embed_codes(kinds)
        return lambda ids: F.embedding(ids - first, table)

    @torch.inference_mode()
    def _sample(
        self,
        contexts: Sequence[Context],
        rows: Sequence[Row],
        looked: Sequence[Picture],
        embed: Callable[[Tensor], Tensor],
        drawing: bool,
        keep_logits: bool,
    ) -> Sampled:
        self._require_whole()
        for row, context in zip(rows, contexts, strict=True):
            self.layout.require_room(len(row.context) + row.max_tokens, context)
        module = self.module
        head, first = (module.draw_head, module.words) if drawing else (module.word_head, 0)
        stop = None if drawing else self.wording.special.eos
        read = partial(module.embed, features=self._features(looked))
        llama = module.model.language_model
        reading = partial(prefill, Layers(llama), llama, read, embed)
        return sample(reading, head, rows, first, stop, keep_logits, self.device)

    def _features(self, looked: Sequence[Picture]) -> Tensor | None:
        """What the understanding encoder makes of these pictures, if there are any."""
        if not looked:
            return None
        parts = pixels_of(looked, self.size).to(self.device).split(AT_ONCE)
        return torch.cat([self.module.look(part) for part in parts])

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        targets = targets_of(examples)
        drawing = isinstance(targets[0], Picture)
        looked, questions = self.layout.questions(
            [example.context for example in examples], drawing
        )
        made = []
        for example, question, answer in zip(
            examples, questions, self.layout.answers(targets), strict=True
        ):
            self.layout.require_room(len(question) + len(answer), example.context)
            if "text" in example.dropped:
                question = self.wording.unconditional(question)
            made.append((question, answer))
        nats = self._nats(made, looked, drawing)
        summed = totals(nats, [len(answer) for _, answer in made])
        return {"codes" if drawing else "text": LossTerm(summed, len(nats))}

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        for target in targets_of(examples):
            if isinstance(target, Picture):
                counts["codes"] = counts.get("codes", 0) + self.module.features
            else:
                counts["text"] = counts.get("text", 0) + len(self.wording.answer(target))
        return counts

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return self.layout.lengths(examples)

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        found: dict[int, np.ndarray] = {}
        for drawing in (False, True):
            rows = [i for i, each in enumerate(targets) if isinstance(each, Picture) == drawing]
            for part in chunks(len(rows)):
                chosen = rows[part]
                looked, questions = self.layout.questions([contexts[i] for i in chosen], drawing)
                made = list(
                    zip(questions, self.layout.answers([targets[i] for i in chosen]), strict=True)
                )
                for i, (question, answer) in zip(chosen, made, strict=True):
                    self.layout.require_room(len(question) + len(answer), contexts[i])
                nats = self._nats(made, looked, drawing).split([len(answer) for _, answer in made])
                found |= {i: -own.cpu().numpy() for i, own in zip(chosen, nats, strict=True)}
        return [found[i] for i in range(len(targets))]

    def _nats(
        self, made: Sequence[tuple[Ids, Ids]], looked: Sequence[Picture], drawing: bool
    ) -> Tensor:
        """Cross-entropy of every token of every answer after its question, in one row of them."""
        places = [np.arange(len(q), len(q) + len(a)) for q, a in made]
        pad = self.wording.special.pad
        forced = teacher_forced([(*q, *a) for q, a in made], places, pad, self.device)
        pixels = pixels_of(looked, self.size).to(self.device) if looked else None
        logits = self.module(forced.ids, pixels, forced.places, drawing)
        wanted = forced.wanted - (self.module.words if drawing else 0)
        return F.cross_entropy(logits, wanted, reduction="none")

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The encoder of pictures, its aligner and the head of words."""
        parts = ("model.vision_model.", "model.aligner.", "lm_head.")
        return {name: slice(None) for name in self.weights() if name.startswith(parts)}

    def fsdp_units(self) -> list[torch.nn.Module]:
        model = self.module.model
        return [*model.vision_model.encoder.layers, *model.language_model.layers]
