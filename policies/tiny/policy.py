"""The tiny unified policy: one transformer that reads and makes words and pictures.

Invariant: a sequence is `<s> segments <sep> target </s>`, the same for learning and for sampling,
so that what is sampled is a prefix of what would be trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F

from policies.checks import require_codes, require_length, weight_views
from policies.config import ConfigError, require
from policies.interface import (
    Context,
    Example,
    Picture,
    Sampling,
    Segment,
    TargetLoss,
)
from policies.sampling import Row
from policies.tiny import checkpoint
from policies.tiny.sampler import sample_tokens
from policies.tiny.text import BOS, END_IMAGE, EOS, IMAGE, PAD, SEP, Text, build_tokenizer
from policies.tiny.transformer import Transformer, TransformerConfig
from policies.tiny.vision import ImageTokenizer, VisionConfig

Sequences = Sequence[tuple[np.ndarray, int]]
"""Token ids int64 [n] and the place of the target's first token."""


class TinyPolicy:
    """Implements `policies.interface.Policy` on one CPU core; see there."""

    def __init__(self, module: Transformer, vision: ImageTokenizer, text: Text) -> None:
        self.module = module
        self.vision = vision.requires_grad_(False).eval()
        self.text = text

    @classmethod
    def create(
        cls,
        words: Iterable[str],
        seed: int,
        vision: VisionConfig | ImageTokenizer | None = None,
        **sizes: float,
    ) -> Self:
        """A new policy that knows `words`, with random weights from `seed`.

        `vision` is a trained image tokenizer or the shape of a new one; `sizes` are fields of
        TransformerConfig.
        """
        if not isinstance(vision, ImageTokenizer):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                vision = ImageTokenizer(vision or VisionConfig())
        text = Text(build_tokenizer(words, vision.config.codes))
        module = Transformer(TransformerConfig(text.size, **sizes))  # type: ignore[arg-type]
        module.initialise(seed)
        return cls(module, vision, text)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Raises CheckpointError."""
        return cls(*checkpoint.load(Path(path)))

    def save_pretrained(self, path: str | Path) -> None:
        checkpoint.save(Path(path), self.module, self.vision, self.text)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        """Raises ConfigError for anything but float32 on the CPU."""
        require(device == "cpu", "device", device, '"cpu": family tiny samples on CPU only')
        require(dtype == "float32", "policy.dtype", dtype, '"float32" for family tiny')
        self.module.requires_grad_(False)

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError."""
        if not contexts:
            return []
        rows = self._rows(contexts, sampling, seeds, drawing=False)
        words = slice(EOS, self.text.code_offset)
        sampled = sample_tokens(self.module, rows, words, stop=EOS)
        return [self.text.decode(tokens.tolist()) for tokens in sampled.tokens]

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[Sampling], seeds: Sequence[int]
    ) -> list[Picture]:
        """Raises PromptError."""
        if not contexts:
            return []
        rows = self._rows(contexts, sampling, seeds, drawing=True)
        first = self.text.code_offset
        sampled = sample_tokens(self.module, rows, slice(first, self.text.size))
        codes = np.stack(sampled.tokens) - first
        pixels = self.vision.decode(torch.from_numpy(codes)).numpy()
        return [
            Picture(seen, code) for seen, code in zip(pixels, codes.astype(np.int32), strict=True)
        ]

    def _rows(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[Sampling],
        seeds: Sequence[int],
        drawing: bool,
    ) -> list[Row]:
        codes = self._codes_of(part for context in contexts for part in context)
        known: dict[Context, tuple[int, ...]] = {}
        rows = []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            if context not in known:
                prompt = [*self._read(context, codes), SEP]
                known[context] = (*prompt, IMAGE) if drawing else tuple(prompt)
            ids, steps = known[context], self.vision.config.tokens if drawing else how.max_tokens
            require_length(len(ids) + steps, self.module.config.max_positions, context)
            guidance = how.guidance if drawing else 1.0
            rows.append(Row(ids, how.temperature, guidance, seed, steps, free=(BOS, SEP, IMAGE)))
        return rows

    # Learning

    def target_tokens(self, examples: Sequence[Example]) -> int:
        """Raises PromptError."""
        drawing = self.vision.config.tokens + 2  # between IMAGE and END_IMAGE
        return sum(
            1 + (len(self.text.encode(e.target)) if isinstance(e.target, str) else drawing)
            for e in examples
        )

    def loss(self, examples: Sequence[Example]) -> dict[str, TargetLoss]:
        """Raises PromptError."""
        if not examples:
            return {}
        return self.sequence_loss(self.sequences(examples))

    def sequences(self, examples: Sequence[Example]) -> list[tuple[np.ndarray, int]]:
        """Token ids int64 of each example and where its target starts. Raises PromptError."""
        codes = self._codes_of(part for e in examples for part in (*e.context, e.target))
        made = []
        for example in examples:
            context = example.context if example.conditioned else ()
            prompt = [*self._read(context, codes), SEP]
            ids = [*prompt, *self._segment(example.target, codes), EOS]
            require_length(len(ids), self.module.config.max_positions, example.context)
            made.append((np.array(ids, dtype=np.int64), len(prompt)))
        return made

    def sequence_loss(self, made: Sequences) -> dict[str, TargetLoss]:
        """`loss` of what `sequences` gave."""
        longest = max(len(tokens) for tokens, _ in made)
        padded = np.full((len(made), longest), PAD, dtype=np.int64)
        for row, (tokens, _) in zip(padded, made, strict=True):
            row[: len(tokens)] = tokens
        # The state at place p predicts the token at p + 1.
        places = [np.arange(s - 1, len(t) - 1) + i * longest for i, (t, s) in enumerate(made)]
        flat = torch.from_numpy(np.concatenate(places))
        device = self.module.embed.weight.device
        inputs, flat = torch.from_numpy(padded).to(device), flat.to(device)
        logits = self.module(inputs, select=flat)
        nats = F.cross_entropy(logits.float(), inputs.flatten()[flat + 1], reduction="none")
        counts = [len(place) for place in places]
        kinds = ["image" if tokens[start] == IMAGE else "text" for tokens, start in made]
        totals: dict[str, TargetLoss] = {}
        for kind in dict.fromkeys(kinds):
            chosen = [part for part, k in zip(nats.split(counts), kinds, strict=True) if k == kind]
            joined = torch.cat(chosen)
            totals[kind] = TargetLoss(joined.sum(), len(joined))
        return totals

    def _read(self, context: Context, codes: Mapping[int, list[int]]) -> list[int]:
        return [BOS, *(token for part in context for token in self._segment(part, codes))]

    def _segment(self, part: Segment, codes: Mapping[int, list[int]]) -> list[int]:
        if isinstance(part, str):
            return self.text.encode(part)
        return [IMAGE, *codes[id(part)], END_IMAGE]

    def _codes_of(self, parts: Iterable[Segment]) -> dict[int, list[int]]:
        """The token ids of every picture among `parts`, by its id(); pixels are encoded at once."""
        pictures = {id(part): part for part in parts if isinstance(part, Picture)}
        bare = [picture for picture in pictures.values() if picture.codes is None]
        size = self.vision.config.size
        for picture in bare:
            if picture.pixels.shape != (size, size, 3) or picture.pixels.dtype != np.uint8:
                raise ValueError(
                    f"Picture.pixels is {picture.pixels.dtype} {picture.pixels.shape}, but the "
                    f"tiny policy sees uint8 ({size}, {size}, 3); resize the picture."
                )
        codes = {key: p.codes for key, p in pictures.items() if p.codes is not None}
        if bare:
            encoded = self.vision.encode(torch.from_numpy(np.stack([p.pixels for p in bare])))
            codes |= dict(zip(map(id, bare), encoded.numpy(), strict=True))
        for found in codes.values():
            require_codes(found, self.vision.config.tokens, self.text.codes)
        offset = self.text.code_offset
        return {key: (found.astype(np.int64) + offset).tolist() for key, found in codes.items()}

    # Weights

    def weights(self) -> dict[str, np.ndarray]:
        """Views of the transformer's float32 weights; the image tokenizer never changes."""
        return {name: w.detach().numpy() for name, w in self.module.state_dict().items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays become the weights, which from now on are not trained. Raises CheckpointError."""
        views = weight_views(weights, self.module.state_dict())
        self.module.load_state_dict(views, assign=True)
        self.module.requires_grad_(False)

    def adapt(self, rank: int, alpha: int) -> None:
        """Raises ConfigError."""
        raise ConfigError(
            f"trainer.lora_rank is {rank}: the tiny family learns all its weights, set it to 0"
        )

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return trained

    def fsdp_units(self) -> list[torch.nn.Module]:
        return [*self.module.layers]
