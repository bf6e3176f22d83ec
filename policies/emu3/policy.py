"""Emu3 as a policy: it writes, draws and learns by one transformer and one head.

Invariant: what is sampled is a prefix of what would be learned, token by token, and drawings are
learned from the codes that were sampled. A loss is that of the whole vocabulary, as released; a
likelihood is that of what can be sampled: words in a text, codes in a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.adapted import Adapted
from policies.checks import require_options
from policies.config import ConfigError
from policies.emu3 import checkpoint
from policies.emu3.layout import Layout, Taught, segments_of, without_texts
from policies.emu3.module import ADAPTED, Emu3Module
from policies.emu3.pictures import ImageTokenizer, Sides
from policies.emu3.sampler import sample_grids
from policies.emu3.wording import Kind, Wording
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
from policies.llama import Layers, prefill
from policies.moving import moved
from policies.sampling import Row, Sampled, sample
from policies.teacher_forcing import chunks, teacher_forced, totals
from policies.writing import Writing

MOST_SIDE = 4096


class Emu3Policy(Writing, Adapted[Emu3Module]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "emu3"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "guidance", "size"})
    adapted = ADAPTED

    def __init__(
        self,
        loaded: checkpoint.Loaded,
        source: Path | None = None,
        wording: Kind = "plain",
        positions: int = 0,
    ) -> None:
        self._loaded, self._source = loaded, source
        small = loaded.small
        self.module = Emu3Module(loaded.net)
        self.vision = ImageTokenizer(loaded.net.model.vqmodel, small.area)
        self.special = small.special
        most = positions or small.config.text_config.max_position_embeddings
        self.wording = Wording(small.tokenizer, small.special, wording)
        self.layout = Layout(self.vision, self.wording, most)
        self.words = slice(0, small.special.words)
        self.codes = slice(small.special.first, small.special.first + small.special.codes)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", wording: Kind = "plain", positions: int = 0
    ) -> Self:
        """Raises CheckpointError."""
        loaded = checkpoint.load(Path(path), getattr(torch, dtype))
        made = cls(loaded, Path(path), wording, positions)
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout of transformers' `Emu3ForConditionalGeneration`."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place = torch.device(device)
        moved(self.module.requires_grad_(False), place, getattr(torch, dtype))
        self.vision.vq.to(place)

    def text_of(self, ids: Sequence[int]) -> str:
        return self.wording.text(ids)

    @torch.inference_mode()
    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        self._require_whole()
        coded, rows = self.layout.coded(contexts), []
        for context, how, seed in zip(contexts, sampling, seeds, strict=True):
            question = self.layout.question(context, coded, drawing=False)
            self.layout.require_room(len(question) + how.max_tokens, context)
            rows.append(Row(question, how.temperature, 1.0, seed, how.max_tokens))
        module, llama = self.module, self.module.model.text_model
        reading = partial(prefill, Layers(llama), llama, module.embed, module.embed)
        head = partial(module.head, kinds=self.words)
        return sample(reading, head, rows, 0, self.special.eos, keep_logits, module.device)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        if not contexts:
            return []
        sampled = self.sample_codes(contexts, sampling, seeds).tokens
        codes = [
            (tokens - self.special.first).reshape(self._grid(how))
            for tokens, how in zip(sampled, sampling, strict=True)
        ]
        return [
            learned(Picture(pixels, own.ravel().astype(np.int32)))
            for pixels, own in zip(self.vision.decode_all(codes), codes, strict=True)
        ]

    @torch.inference_mode()
    def sample_codes(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[PictureSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `draw` draws, as ids of codes, row by row. Raises PromptError, ConfigError."""
        self._require_whole()
        require_options(self.family, self.picture_options, sampling)
        grids = [self._grid(how) for how in sampling]
        coded, rows = self.layout.coded(contexts), []
        for context, how, seed, grid in zip(contexts, sampling, seeds, grids, strict=True):
            header = self.wording.header(grid)
            asked, free = (
                (*self.layout.question(each, coded, drawing=True), *header)
                for each in (context, without_texts(context))
            )
            whole = len(asked) - len(header) + self.layout.drawn_tokens(grid)
            self.layout.require_room(whole, context)
            steps = grid[0] * grid[1]
            rows.append(Row(asked, how.temperature, how.guidance, seed, steps, free))
        end = self.special.end_row
        return sample_grids(self.module, rows, grids, self.codes, end, keep_logits)

    def _grid(self, how: PictureSampling) -> Sides:
        """The rows and columns of a drawing. Raises ConfigError."""
        if how.size == (0, 0):
            return self.vision.own
        each = self.vision.factor
        if any(side % each or not each <= side <= MOST_SIDE for side in how.size):
            raise ConfigError(
                f"size is {how.size}: family emu3 draws sides that are multiples of {each}, up to "
                f"{MOST_SIDE}; choose such a size"
            )
        return how.size[0] // each, how.size[1] // each

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        coded = self.layout.coded(segments_of(examples))
        taught = [self.layout.taught(example, coded) for example in examples]
        counts = [count for each in taught for count in (len(each.text), len(each.codes))]
        summed = totals(self._nats(taught), counts)
        kinds: tuple[LossKind, LossKind] = ("text", "codes")
        return {
            kind: LossTerm(summed[i::2], count)
            for i, kind in enumerate(kinds)
            if (count := sum(counts[i::2]))
        }

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        for example in examples:
            for kind, count in self.layout.counts(example).items():
                if count:
                    counts[kind] = counts.get(kind, 0) + count
        return counts

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return [self.layout.length(example) for example in examples]

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        asked = [Example(c, learned(t), "caption") for c, t in zip(contexts, targets, strict=True)]
        found: dict[int, np.ndarray] = {}
        for kinds, drawing in ((self.words, False), (self.codes, True)):
            rows = [i for i, each in enumerate(targets) if isinstance(each, Picture) == drawing]
            for part in chunks(len(rows)):
                chosen = [asked[i] for i in rows[part]]
                coded = self.layout.coded(segments_of(chosen))
                taught = [self.layout.taught(example, coded) for example in chosen]
                counts = [len(each.text) + len(each.codes) for each in taught]
                nats = self._nats(taught, kinds).split(counts)
                found |= {i: -own.cpu().numpy() for i, own in zip(rows[part], nats, strict=True)}
        return [found[i] for i in range(len(targets))]

    def _nats(self, taught: Sequence[Taught], kinds: slice | None = None) -> Tensor:
        """Cross-entropy of what is learned of each sequence, its texts and then its codes, in one
        row: among the `kinds` of the vocabulary, or all of it."""
        places = [np.concatenate([each.text, each.codes]) for each in taught]
        ids = [each.ids for each in taught]
        forced = teacher_forced(ids, places, self.special.pad, self.device)
        logits = self.module(forced.ids, forced.places, kinds)
        wanted = forced.wanted - (kinds.start if kinds else 0)
        return F.cross_entropy(logits, wanted, reduction="none")

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The rows of words in the head."""
        return {} if self._adapters else {"lm_head.weight": self.words}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return list(self.module.model.text_model.layers)
