"""The tiny unified policy: one transformer that reads and makes words and pictures.

Invariant: what is sampled is a prefix of what would be trained on (`policies.tiny.layout`), and is
scored by `log_probs` as it was sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F

from policies.checks import require_options, take_weights
from policies.config import ConfigError, require
from policies.interface import (
    LOSS_KINDS,
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
from policies.sampling import Row, Sampled
from policies.teacher_forcing import chunks, teacher_forced, totals
from policies.tiny import checkpoint
from policies.tiny.layout import GIVEN, Layout, kind_of
from policies.tiny.sampler import sample_tokens
from policies.tiny.text import BOS, EOS, IMAGE, PAD, SEP, Text, build_tokenizer
from policies.tiny.transformer import Transformer, TransformerConfig
from policies.tiny.vision import ImageTokenizer, VisionConfig
from policies.writing import Writing


class TinyPolicy(Writing):
    """Implements `policies.interface.Policy` on one CPU core; see there."""

    family: ClassVar[str] = "tiny"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "guidance"})

    def __init__(self, module: Transformer, vision: ImageTokenizer, text: Text) -> None:
        self.module = module
        self.vision = vision.requires_grad_(False).eval()
        self.text = text
        self.layout = Layout(text, vision, module.config.max_positions)

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
    def from_pretrained(cls, path: str | Path, dtype: str = "float32") -> Self:
        """Raises CheckpointError, and ConfigError for another dtype."""
        _require_float32(dtype)
        return cls(*checkpoint.load(Path(path)))

    def save_pretrained(self, path: str | Path) -> None:
        checkpoint.save(Path(path), self.module, self.vision, self.text)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        """Raises ConfigError for anything but float32 on the CPU."""
        require(device == "cpu", "device", device, '"cpu": family tiny samples on CPU only')
        _require_float32(dtype)
        self.module.requires_grad_(False)

    def text_of(self, ids: Sequence[int]) -> str:
        return self.text.decode(ids)

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as token ids; the first of its logits are those of EOS."""
        rows = [
            Row(ids, how.temperature, 1.0, seed, how.max_tokens)
            for ids, how, seed in zip(self.layout.prompts(contexts), sampling, seeds, strict=True)
        ]
        for row, context in zip(rows, contexts, strict=True):
            self.layout.require_room(len(row.context) + row.max_tokens, context)
        return self._sample(rows, self._words, EOS, keep_logits)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        if not contexts:
            return []
        require_options(self.family, self.picture_options, sampling)
        sampled = self.sample_codes(contexts, sampling, seeds)
        codes = np.stack(sampled.tokens) - self.text.code_offset
        pixels = self.vision.decode(torch.from_numpy(codes)).numpy()
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
        """What `draw` draws, as token ids."""
        tokens = self.vision.config.tokens
        rows = [
            Row((*ids, IMAGE), how.temperature, how.guidance, seed, tokens, (BOS, SEP, IMAGE))
            for ids, how, seed in zip(self.layout.prompts(contexts), sampling, seeds, strict=True)
        ]
        for row, context in zip(rows, contexts, strict=True):
            self.layout.require_room(len(row.context) + tokens, context)
        return self._sample(rows, self._drawn, None, keep_logits)

    def _sample(
        self, rows: Sequence[Row], allowed: slice, stop: int | None, keep_logits: bool
    ) -> Sampled:
        return sample_tokens(self.module, rows, allowed, stop, keep_logits)

    @property
    def _words(self) -> slice:
        """The tokens that may be written."""
        return slice(EOS, self.text.code_offset)

    @property
    def _drawn(self) -> slice:
        """The tokens that may be drawn."""
        return slice(self.text.code_offset, self.text.size)

    # Learning

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError."""
        counts = dict.fromkeys(LOSS_KINDS, 0)
        drawing = self.vision.config.tokens + 2  # between IMAGE and END_IMAGE
        for example in examples:
            for part in example.target:
                drawn = isinstance(part.segment, Picture)
                counts[kind_of(part)] += part.learned * (
                    drawing if drawn else len(self.text.encode(str(part.segment)))
                )
            counts[kind_of(example.target[-1])] += example.target[-1].learned  # EOS
        return {kind: count for kind, count in counts.items() if count}

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError."""

        def tokens(segments: Iterable[Segment]) -> int:
            return sum(
                self.vision.config.tokens + 2
                if isinstance(s, Picture)
                else len(self.text.encode(s))
                for s in segments
            )

        return [
            3  # BOS, SEP and EOS
            + ("text" not in each.dropped) * tokens(each.context)
            + tokens(part.segment for part in each.target)
            for each in examples
        ]

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError."""
        if not examples:
            return {}
        made = self.layout.sequences(examples)
        nats = self._nats([each.ids for each in made], [each.kinds != GIVEN for each in made])
        kinds = np.concatenate([each.kinds for each in made])
        of = torch.from_numpy(kinds[kinds != GIVEN]).to(nats.device)
        terms: dict[LossKind, LossTerm] = {}
        for number, kind in enumerate(LOSS_KINDS):
            counts = [int((each.kinds == number).sum()) for each in made]
            if any(counts):
                terms[kind] = LossTerm(totals(nats[of == number], counts), sum(counts))
        return terms

    def _nats(self, ids: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> torch.Tensor:
        """Cross-entropy of the `wanted` tokens (bool [n] for each row) after those before them."""
        places = [np.flatnonzero(each) for each in wanted]
        forced = teacher_forced(ids, places, PAD, self.module.embed.weight.device)
        logits = self.module(forced.ids, select=forced.places)
        return F.cross_entropy(logits.float(), forced.wanted, reduction="none")

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        codes, prompts = self.layout.codes_of(targets), self.layout.prompts(contexts)
        found: list[np.ndarray] = []
        for part in chunks(len(targets)):
            rows, places = [], []
            for prompt, target, context in zip(
                prompts[part], targets[part], contexts[part], strict=True
            ):
                drawn = isinstance(target, Picture)
                ids = [*prompt, *self.layout.segment(target, codes), EOS]
                self.layout.require_room(len(ids), context)
                rows.append(ids)
                # Of a drawing only the codes are sampled: its marks are always there.
                places.append(np.arange(len(prompt) + drawn, len(ids) - 2 * drawn))
            forced = teacher_forced(rows, places, PAD, self.module.embed.weight.device)
            logits = self.module(forced.ids, select=forced.places).float()
            counts = [len(each) for each in places]
            for target, own, wanted in zip(
                targets[part], logits.split(counts), forced.wanted.split(counts), strict=True
            ):
                allowed = self._drawn if isinstance(target, Picture) else self._words
                scores = own[:, allowed].log_softmax(-1)
                found.append(scores.gather(1, wanted[:, None] - allowed.start)[:, 0].numpy())
        return found

    # Weights

    def weights(self) -> dict[str, np.ndarray]:
        """Views of the transformer's float32 weights; the image tokenizer never changes."""
        return {name: w.detach().numpy() for name, w in self.module.state_dict().items()}

    def understanding(self) -> dict[str, slice]:
        """The rows of the output head that score words: all else, drawing needs too."""
        return {"head.weight": slice(0, self.text.code_offset)}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays become the weights, which from now on are not trained; a copy of them where
        they are bfloat16. Raises CheckpointError."""
        take_weights(self.module, weights)

    def adapt(self, rank: int, alpha: int) -> None:
        """Raises ConfigError."""
        raise ConfigError(
            f"trainer.lora_rank is {rank}: the tiny family learns all its weights, set it to 0"
        )

    def published(self, trained: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return trained

    def fsdp_units(self) -> list[torch.nn.Module]:
        return [*self.module.layers]


def _require_float32(dtype: str) -> None:
    require(dtype == "float32", "policy.dtype", dtype, '"float32" for family tiny')
