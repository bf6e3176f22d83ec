"""Chameleon and Anole as a policy: one vocabulary, one module, and the next token alone.

Invariant: what is sampled is a prefix of what would be learned, token by token, and pictures are read
and learned by the codes that were sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.adapted import Adapted
from policies.chameleon import checkpoint
from policies.chameleon.config import drawing_tokens
from policies.chameleon.layout import Laid, Layout, pictures_of
from policies.chameleon.module import ADAPTED, ChameleonModule
from policies.chameleon.pictures import ImageTokenizer
from policies.chameleon.sampler import prefill
from policies.checks import require_length, require_options
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
from policies.moving import moved
from policies.sampling import Head, Row, Sampled, sample
from policies.teacher_forcing import chunks, teacher_forced, totals
from policies.writing import Writing

KINDS: tuple[LossKind, LossKind] = ("text", "codes")


class ChameleonPolicy(Writing, Adapted[ChameleonModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "chameleon"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "guidance"})
    adapted = ADAPTED

    def __init__(
        self, loaded: checkpoint.Loaded, source: Path | None = None, decoder: str = ""
    ) -> None:
        self._loaded, self._source, self._decoder = loaded, source, decoder
        config: Any = loaded.net.config
        self.module = ChameleonModule(loaded.net, loaded.special.codes)
        self.vision = ImageTokenizer(loaded.vq, loaded.decoder)
        self.layout = Layout(
            loaded.tokenizer, loaded.special, self.vision, config.vq_config.resolution,
            drawing_tokens(config), loaded.scale, self.module.max_positions,
        )  # fmt: skip

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "float32", decoder: str = "") -> Self:
        """`decoder` is a folder or file with the image decoder, for a checkpoint that has none. Raises
        CheckpointError."""
        loaded = checkpoint.load(Path(path), getattr(torch, dtype), decoder)
        made = cls(loaded, Path(path), decoder)
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout of transformers' `ChameleonForConditionalGeneration`, with the image decoder as
        Anole's checkpoint has it."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        moved(self.module.requires_grad_(False), place, kind)
        self.vision.to(place)

    def text_of(self, ids: Sequence[int]) -> str:
        return self.layout.text(ids)

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as token ids."""
        blocks = self.layout.blocks(pictures_of(contexts))
        rows = [
            Row(
                self.layout.question(context, blocks, False),
                how.temperature,
                1.0,
                seed,
                how.max_tokens,
            )
            for context, how, seed in zip(contexts, sampling, seeds, strict=True)
        ]
        module, stop = self.module, self.layout.special.eos
        embed = module.model.embed_tokens
        return self._sample(contexts, rows, embed, module.word_head, stop, keep_logits)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        if not contexts:
            return []
        require_options(self.family, self.picture_options, sampling)
        codes = np.stack(self.sample_codes(contexts, sampling, seeds).tokens)
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
        """What `draw` draws, as image codes. Guided, the row without the text is the reference's with
        the context's pictures alone: bos, these and begin_image."""
        blocks = self.layout.blocks(pictures_of(contexts))
        question, steps = self.layout.question, self.layout.tokens
        rows = [
            Row(
                question(context, blocks, True), how.temperature, how.guidance, seed, steps,
                question(context, blocks, True, told=False),
            )
            for context, how, seed in zip(contexts, sampling, seeds, strict=True)
        ]  # fmt: skip
        embed, head = self._of_codes()
        return self._sample(contexts, rows, embed, head, None, keep_logits)

    @torch.inference_mode()
    def _of_codes(self) -> tuple[Callable[[Tensor], Tensor], Head]:
        """The rows of the table and of the head that are image codes, picked once for all steps."""
        module = self.module
        table = module.model.embed_tokens.weight[module.codes]
        weight = module.lm_head.weight[module.codes]
        return lambda codes: F.embedding(codes, table), lambda states: F.linear(
            states, weight
        ).float()

    @torch.inference_mode()
    def _sample(
        self,
        contexts: Sequence[Context],
        rows: Sequence[Row],
        embed: Callable[[Tensor], Tensor],
        head: Head,
        stop: int | None,
        keep_logits: bool,
    ) -> Sampled:
        self._require_whole()
        for row, context in zip(rows, contexts, strict=True):
            require_length(len(row.context) + row.max_tokens, self.layout.most, context)
        reading = partial(prefill, self.module, embed)
        return sample(reading, head, rows, 0, stop, keep_logits, self.device)

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError."""
        if not examples:
            return {}
        laid = self.layout.all_laid(examples)
        terms: dict[LossKind, LossTerm] = {}
        for kind, nats, counts in zip(KINDS, self._nats(laid), _counts(laid), strict=True):
            if sum(counts):
                terms[kind] = LossTerm(totals(nats, counts), len(nats))
        return terms

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError."""
        counts = map(sum, _counts(self.layout.all_laid(examples, encode=False)))
        return {kind: count for kind, count in zip(KINDS, counts, strict=True) if count}

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError."""
        return [len(each.ids) for each in self.layout.all_laid(examples, encode=False)]

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        found: list[np.ndarray] = []
        asked = [
            Example(context, learned(target), "caption")
            for context, target in zip(contexts, targets, strict=True)
        ]
        for part in chunks(len(asked)):
            laid = self.layout.all_laid(asked[part])
            each = [
                nats.split(list(counts))
                for nats, counts in zip(self._nats(laid), _counts(laid), strict=True)
            ]
            found += [-torch.cat(own).cpu().numpy() for own in zip(*each, strict=True)]
        return found

    def _nats(self, laid: Sequence[Laid]) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every word that is to be predicted, and of every code."""
        rows, pad, device = [each.ids for each in laid], self.layout.special.pad, self.device
        both = [np.concatenate([each.words, each.codes]) for each in laid]
        forced = teacher_forced(rows, both, pad, device)
        sizes = [size for each in laid for size in (len(each.words), len(each.codes))]
        places, wanted = forced.places.split(sizes), forced.wanted.split(sizes)
        words, codes = (torch.cat(places[kind::2]) for kind in (0, 1))
        of_words, of_codes = self.module(forced.ids, words, codes)
        # Ids of codes are sorted only if the vocabulary is: each is looked up among them.
        order = self.module.codes.argsort()
        found = torch.searchsorted(self.module.codes[order], torch.cat(wanted[1::2]))
        return (
            F.cross_entropy(of_words, torch.cat(wanted[0::2]), reduction="none"),
            F.cross_entropy(of_codes, order[found], reduction="none"),
        )

    def _read_again(self) -> Self:
        assert self._source is not None, "adapters learn beside a checkpoint"
        return type(self).from_pretrained(self._source, decoder=self._decoder)

    # Weights

    def understanding(self) -> dict[str, slice]:
        """None: one table, one stack of layers and one head read, write and draw."""
        return {}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return [*self.module.model.layers]


def _counts(laid: Sequence[Laid]) -> tuple[list[int], list[int]]:
    """Of each row, how many words and how many codes are predicted."""
    return [len(each.words) for each in laid], [len(each.codes) for each in laid]
