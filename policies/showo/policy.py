"""Show-o as a policy: it writes, draws and learns through one module.

Invariant: what is sampled is read as what would be learned, and drawings are learned from the codes
that were sampled.
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

from policies import passed
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
    Unsupported,
    learned,
)
from policies.moving import moved
from policies.sampling import Row, Sampled, sample
from policies.showo import checkpoint
from policies.showo.drawing import Sketch, drawn
from policies.showo.layout import Layout, Lesson
from policies.showo.masks import blocks_of, visible
from policies.showo.module import ADAPTED, ShowoModule
from policies.showo.pictures import ImageTokenizer
from policies.showo.reading import read
from policies.teacher_forcing import chunks, totals
from policies.writing import Writing

STEPS = 18
"""In which a drawing is filled in where nothing is said: the public code's own number."""
POSITIONS = 4096


class ShowoPolicy(Writing, Adapted[ShowoModule]):
    """Implements `policies.interface.Policy`; see there."""

    family: ClassVar[str] = "showo"
    conditions: ClassVar[frozenset[Condition]] = frozenset({"text"})
    picture_options: ClassVar[frozenset[str]] = frozenset({"temperature", "guidance", "steps"})
    adapted = ADAPTED

    def __init__(
        self, loaded: checkpoint.Loaded, positions: int = POSITIONS, source: Path | None = None
    ) -> None:
        self._loaded, self._source, self._positions = loaded, source, positions
        self.module, self.words = loaded.module, loaded.words
        self.vision = ImageTokenizer(loaded.magvit, self.module.config)
        self.layout = Layout(self.module.config, self.words, self.vision, positions)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", *, positions: int = POSITIONS
    ) -> Self:
        """Raises CheckpointError."""
        loaded = checkpoint.load(Path(path), getattr(torch, dtype))
        made = cls(loaded, positions, Path(path))
        if dtype != "float32":
            made.sample_on("cpu", dtype)
        return made

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout that Show-o was released in."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        place, kind = torch.device(device), getattr(torch, dtype)
        moved(self.module.requires_grad_(False), place, kind)
        self.vision.magvit.to(place)

    def text_of(self, ids: Sequence[int]) -> str:
        return self.words.text(ids)

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        self._require_whole()
        rows = []
        questions = self.layout.questions(contexts, drawing=False)
        for context, question, how, seed in zip(contexts, questions, sampling, seeds, strict=True):
            self.layout.require_room(len(question) + how.max_tokens, context)
            rows.append(Row(question, how.temperature, 1.0, seed, how.max_tokens))
        head, end = self.module.head, self.words.end
        return sample(partial(read, self.module), head, rows, 0, end, keep_logits, self.device)

    def draw(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> list[Output]:
        """Raises PromptError, ConfigError."""
        require_options(self.family, self.picture_options, sampling)
        if not contexts:
            return []
        codes = self.sample_codes(contexts, sampling, seeds)
        pixels = self.vision.decode(codes)
        kept = codes.cpu().numpy().astype(np.int32)
        return [learned(Picture(seen, own)) for seen, own in zip(pixels, kept, strict=True)]

    def sample_codes(
        self, contexts: Sequence[Context], sampling: Sequence[PictureSampling], seeds: Sequence[int]
    ) -> Tensor:
        """What `draw` draws, int64 [drawings, tokens]."""
        self._require_whole()
        tokens = self.module.config.tokens
        codes = torch.empty(len(contexts), tokens, dtype=torch.int64, device=self.device)
        own = self.layout.questions(contexts, drawing=True)
        free = self.layout.questions(contexts, drawing=True, told=[False] * len(contexts))
        for context, question in zip(contexts, own, strict=True):
            self.layout.require_room(len(question) + tokens + 2, context)
        for steps in dict.fromkeys(how.steps or STEPS for how in sampling):
            rows = [i for i, how in enumerate(sampling) if (how.steps or STEPS) == steps]
            sketches = [
                Sketch(own[i], free[i], sampling[i].temperature, sampling[i].guidance, seeds[i])
                for i in rows
            ]
            codes[rows] = drawn(self.module, sketches, steps, self.device)
        return codes

    # Learning

    def loss(self, examples: Sequence[Example]) -> dict[LossKind, LossTerm]:
        """Raises PromptError, Unsupported."""
        if not examples:
            return {}
        lessons = self.layout.lessons(examples)
        each = self.nats(lessons)
        terms: dict[LossKind, LossTerm] = {}
        kinds: tuple[LossKind, LossKind] = ("text", "codes")
        for kind in kinds:
            own = [n if lesson.kind == kind else n[:0] for lesson, n in zip(lessons, each)]
            if count := sum(map(len, own)):
                terms[kind] = LossTerm(totals(torch.cat(own), [len(n) for n in own]), count)
        return terms

    def nats(self, lessons: Sequence[Lesson]) -> list[Tensor]:
        """The cross-entropy of every token that each lesson wants, of all that the model knows."""
        sizes = [len(lesson.ids) for lesson in lessons]
        passed.add(sum(sizes))
        ids = np.full((len(lessons), max(sizes)), self.module.config.mark("[PAD]"), dtype=np.int64)
        for row, lesson in zip(ids, lessons, strict=True):
            row[: len(lesson.ids)] = lesson.ids
        read = torch.from_numpy(ids).to(self.device)
        real = torch.arange(ids.shape[1]) < torch.tensor(sizes)[:, None]
        mask = visible(blocks_of(read, self.module.config), real.to(self.device))
        places = np.concatenate([n * ids.shape[1] + each.places for n, each in enumerate(lessons)])
        logits = self.module(read, mask, torch.from_numpy(places).to(self.device))
        wanted = torch.from_numpy(np.concatenate([each.wanted for each in lessons]))
        nats = F.cross_entropy(logits, wanted.to(self.device), reduction="none")
        return list(nats.split([len(each.wanted) for each in lessons]))

    def target_counts(self, examples: Sequence[Example]) -> dict[LossKind, int]:
        """Raises PromptError, Unsupported."""
        counts: dict[LossKind, int] = {}
        for kind, count in map(self.layout.count, examples):
            counts[kind] = counts.get(kind, 0) + count
        return counts

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Raises PromptError, Unsupported."""
        return [self.layout.length(example) for example in examples]

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError, Unsupported."""
        lessons = []
        for context, target in zip(contexts, targets, strict=True):
            if isinstance(target, Picture):
                raise Unsupported(
                    "the likelihood of a picture: family showo draws by unmasking, the surest token "
                    "first, which gives none; score texts alone"
                )
            lessons.append(self.layout.scored(context, target))
        found: list[np.ndarray] = []
        for part in chunks(len(lessons)):
            if some := lessons[part]:
                found += [-nats.cpu().numpy() for nats in self.nats(some)]
        return found

    # Weights

    def understanding(self) -> dict[str, slice]:
        """The rows of the head for words and marks; all else is shared."""
        rows = slice(0, self.module.config.first_code)
        return {name: rows for name in self.weights() if name.startswith("showo.lm_head.")}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return list(self.module.showo.model.layers)
