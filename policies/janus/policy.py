"""Janus-Pro as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is a prefix of what would be learned, token by token, and drawings are
learned from the codes that were sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.checks import require_codes, require_length, weight_views
from policies.interface import (
    Context,
    Example,
    Picture,
    Sampling,
    Segment,
    TargetLoss,
)
from policies.janus import checkpoint, lora
from policies.janus.module import JanusModule
from policies.janus.pictures import AT_ONCE, ImageTokenizer, pixels_of
from policies.janus.sampler import prefill
from policies.janus.wording import Wording
from policies.sampling import Ids, Row, Sampled, sample


class JanusPolicy:
    """Implements `policies.interface.Policy`; see there."""

    def __init__(self, loaded: checkpoint.Loaded, source: Path | None = None) -> None:
        self._loaded, self._source = loaded, source
        self._adapters = 0.0
        self._shares = True
        self.module = JanusModule(loaded.net)
        self.vision = ImageTokenizer(loaded.net.model.vqmodel)
        self.wording = Wording(loaded.tokenizer, loaded.special)
        self.size: int = self.module.image_size

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Raises CheckpointError."""
        return cls(checkpoint.load(Path(path)), Path(path))

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout of transformers' `JanusForConditionalGeneration`."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        rotary = self.module.model.language_model.rotary_emb
        angles = rotary.inv_freq.clone()
        self.module.requires_grad_(False).to(place, kind)
        rotary.inv_freq = angles.to(place)  # in bfloat16 far tokens would be turned by a radian
        self.vision.vq.to(place, kind)
        self._shares = (place.type, kind) == ("cpu", torch.float32)

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError."""
        if not contexts:
            return []
        embed = self.module.model.language_model.embed_tokens
        rows, looked = self._rows(contexts, sampling, seeds, drawing=False)
        sampled = self._sample(rows, looked, embed, drawing=False)
        return [self.wording.text(tokens.tolist()) for tokens in sampled.tokens]

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[Picture]:
        """Raises PromptError."""
        if not contexts:
            return []
        sampled = self.sample_codes(contexts, sampling, seeds)
        codes = np.stack(sampled.tokens) - self.module.words
        pixels = self.vision.decode(torch.from_numpy(codes).to(self._device))
        return [
            Picture(seen, code) for seen, code in zip(pixels, codes.astype(np.int32), strict=True)
        ]

    def sample_codes(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[Sampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `draw` draws, as ids in the numbering of `policies.janus.module`."""
        rows, looked = self._rows(contexts, sampling, seeds, drawing=True)
        return self._sample(rows, looked, self._embed_codes(len(rows)), True, keep_logits)

    @torch.inference_mode()
    def _embed_codes(self, rows: int) -> Callable[[Tensor], Tensor]:
        """Where more codes will be drawn than there are, each is embedded once for all."""
        module = self.module
        if rows * module.features < module.codes:
            return module.embed_codes
        first = module.words
        kinds = torch.arange(first, first + module.codes, device=self._device)
        table = module.embed_codes(kinds)
        return lambda ids: F.embedding(ids - first, table)

    def _require_whole(self) -> None:
        if self._adapters:
            raise RuntimeError(
                "a Janus whose adapters learn neither samples nor is saved: load `published` "
                "weights into another one"
            )

    @torch.inference_mode()
    def _sample(
        self,
        rows: Sequence[Row],
        looked: Sequence[Picture],
        embed: Callable[[Tensor], Tensor],
        drawing: bool,
        keep_logits: bool = False,
    ) -> Sampled:
        self._require_whole()
        module = self.module
        features = None
        if looked:
            parts = self._pixels(looked).split(AT_ONCE)
            features = torch.cat([module.look(part) for part in parts])
        head, first = (module.draw_head, module.words) if drawing else (module.word_head, 0)
        stop = None if drawing else self.wording.special.eos
        reading = partial(prefill, module, features, embed)
        return sample(reading, head, rows, first, stop, keep_logits, self._device)

    def _rows(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[Sampling],
        seeds: Sequence[int],
        drawing: bool,
    ) -> tuple[list[Row], list[Picture]]:
        """The rows, and the pictures that their contexts look at, in the order of their features."""
        looked, ids_of = self._looked(contexts)
        known: dict[Context, Ids] = {}
        rows = []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            if context not in known:
                known[context] = self.wording.question(context, ids_of, drawing)
            ids, steps = known[context], self.module.features if drawing else how.max_tokens
            require_length(len(ids) + steps, self.module.max_positions, context)
            guidance = how.guidance if drawing else 1.0
            free = self.wording.unconditional(ids)
            rows.append(Row(ids, how.temperature, guidance, seed, steps, free))
        return rows, looked

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[str, TargetLoss]:
        """Raises PromptError."""
        if not examples:
            return {}
        drawing = isinstance(examples[0].target, Picture)
        looked, ids_of = self._looked([example.context for example in examples])
        answers = self._answers([example.target for example in examples])
        made = []
        for example, answer in zip(examples, answers, strict=True):
            question = self.wording.question(example.context, ids_of, drawing)
            require_length(len(question) + len(answer), self.module.max_positions, example.context)
            if not example.conditioned:
                question = self.wording.unconditional(question)
            made.append((question, answer))
        nats = self._nats(made, looked, drawing)
        return {"image" if drawing else "text": TargetLoss(nats.sum(), len(nats))}

    def target_tokens(self, examples: Sequence[Example]) -> int:
        """How many tokens `loss` counts."""
        return sum(
            self.module.features if isinstance(each.target, Picture)
            else len(self.wording.answer(each.target))
            for each in examples
        )  # fmt: skip

    def _nats(
        self, made: Sequence[tuple[Ids, Ids]], looked: Sequence[Picture], drawing: bool
    ) -> Tensor:
        """Cross-entropy of every token of every answer after its question, in one row of them."""
        longest = max(len(question) + len(answer) for question, answer in made)
        padded = np.full((len(made), longest), self.wording.special.pad, dtype=np.int64)
        places = []
        for row, (question, answer) in enumerate(made):
            whole = (*question, *answer)
            padded[row, : len(whole)] = whole
            # The state at place p predicts the token at p + 1.
            places.append(np.arange(len(question) - 1, len(whole) - 1) + row * longest)
        ids = torch.from_numpy(padded).to(self._device)
        select = torch.from_numpy(np.concatenate(places)).to(self._device)
        pixels = self._pixels(looked) if looked else None
        logits = self.module(ids, pixels, select, drawing)
        wanted = ids.flatten()[select + 1] - (self.module.words if drawing else 0)
        return F.cross_entropy(logits, wanted, reduction="none")

    def _answers(self, targets: Sequence[Segment]) -> list[Ids]:
        bare = [t for t in targets if isinstance(t, Picture) and t.codes is None]
        encoded = iter(self.vision.encode(pixels_of(bare, self.size)).cpu().numpy() if bare else ())
        answers = []
        for target in targets:
            if isinstance(target, str):
                answers.append(self.wording.answer(target))
                continue
            codes = next(encoded) if target.codes is None else target.codes
            require_codes(codes, self.module.features, self.module.codes)
            answers.append(tuple((codes.astype(np.int64) + self.module.words).tolist()))
        return answers

    def adapt(self, rank: int, alpha: int) -> None:
        """Raises ConfigError."""
        lora.adapt(self.module, rank, alpha)
        self._adapters = alpha / rank

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if not self._adapters:
            return trained
        assert self._source is not None, "adapters learn beside a checkpoint"
        # Read again: by now the base is sharded over the ranks, or on a GPU.
        base = type(self).from_pretrained(self._source).weights()
        return lora.merge(base, trained, self._adapters)

    # Pictures

    def _looked(self, contexts: Iterable[Context]) -> tuple[list[Picture], dict[int, range]]:
        """Every picture in `contexts` once, and by its id() the ids of its features."""
        pictures = {id(p): p for context in contexts for p in context if isinstance(p, Picture)}
        count = self.module.features
        starts = range(0, count * len(pictures), count)
        ids = {
            key: range(-1 - at, -1 - at - count, -1)
            for key, at in zip(pictures, starts, strict=True)
        }
        return list(pictures.values()), ids

    def _pixels(self, pictures: Sequence[Picture]) -> Tensor:
        return pixels_of(pictures, self.size).to(self._device)

    # Weights

    def weights(self) -> dict[str, np.ndarray]:
        """What learns, as float32, views where it is that on a CPU: all weights but the image
        tokenizer's, or the adapters."""
        found = {n: w for n, w in self.module.named_parameters() if n.endswith(self._learning)}
        return {name: w.detach().to("cpu", torch.float32).numpy() for name, w in found.items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays become the weights, which from now on are not trained; a copy of them where
        they are to be of another type or on a GPU. Raises CheckpointError."""
        self._require_whole()
        own = dict(self.module.named_parameters())
        views = weight_views(weights, own)
        self.module.requires_grad_(False)
        if self._shares:
            self.module.load_state_dict(views, assign=True)
        else:  # one at a time: two models would not fit
            for name, view in views.items():
                own[name].copy_(view)

    def fsdp_units(self) -> list[torch.nn.Module]:
        model = self.module.model
        return [*model.vision_model.encoder.layers, *model.language_model.layers]

    @property
    def _learning(self) -> tuple[str, ...]:
        """How the names of what learns end."""
        return (lora.DOWN, lora.UP) if self._adapters else ("",)

    @property
    def _device(self) -> torch.device:
        return self.module.lm_head.weight.device
