"""What families share whose model is a vision-language model of transformers: all but drawing.

Invariant: what is written is what would be learned: a conversation is read in the same way for both, and
an answer is its text and the token that ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies import passed
from policies.adapted import Adapted
from policies.checks import require_length
from policies.interface import Context, Picture, Segment, TextSampling, Unsupported
from policies.moving import moved
from policies.sampling import Row, Sampled, sample
from policies.teacher_forcing import chunks
from policies.vision_language import checkpoint
from policies.vision_language.chat import Read, Turn, answered, asked
from policies.vision_language.module import ADAPTED, Batch, VisionLanguageModule, batch_of
from policies.vision_language.seeing import FILLER, Eye
from policies.vision_language.writing import Guide, Writer, looked
from policies.writing import Writing


class Lesson(NamedTuple):
    """A conversation, the places of its ids that are learned, and what gives the words bool [places,
    words] that may stand at each of them (None: any)."""

    read: Read
    places: np.ndarray
    allowed: Callable[[], np.ndarray] | None = None


class VisionLanguagePolicy(Writing, Adapted[VisionLanguageModule]):
    """The part of `policies.interface.Policy` that writes, scores texts and holds weights. A family whose
    encoder of pictures is frozen gives a `module` and an `eye` of its own."""

    family: ClassVar[str]
    adapted = ADAPTED

    def __init__(
        self,
        loaded: checkpoint.Loaded,
        source: Path | None = None,
        module: VisionLanguageModule | None = None,
        eye: Eye | None = None,
    ) -> None:
        self._loaded, self._source = loaded, source
        self.chat, self.eye = loaded.small.chat, eye or loaded.small.eye
        self.module = module or VisionLanguageModule(loaded.net)

    def save_pretrained(self, path: str | Path) -> None:
        """In the layout that the model was published in."""
        self._require_whole()
        checkpoint.save(Path(path), self._loaded)

    # Reading

    def read(self, turns: Sequence[Turn], answering: bool) -> Read:
        """Raises PromptError, and ValueError for pictures that are none."""
        counts = [self.eye.count(s) for _, said in turns for s in said if isinstance(s, Picture)]
        return self.chat.read(turns, counts, answering)

    def require_room(self, read: Read, more: int, context: Context) -> None:
        """Raises PromptError where a conversation and so many tokens more are too long."""
        require_length(len(read.ids) + more, self.module.max_positions, context)

    # Sampling

    def sample_on(self, device: str, dtype: str) -> None:
        moved(self.module.requires_grad_(False), torch.device(device), getattr(torch, dtype))

    def text_of(self, ids: Sequence[int]) -> str:
        return self.chat.text_of(ids)

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids."""
        distinct = list(dict.fromkeys(contexts))
        read = {context: self.read([asked(*context)], True) for context in distinct}
        for context, how in zip(contexts, sampling, strict=True):
            self.require_room(read[context], how.max_tokens + 1, context)
        return self.go_on([read[c] for c in contexts], sampling, seeds, None, keep_logits)

    @torch.inference_mode()
    def go_on(
        self, read: Sequence[Read], sampling: Sequence[TextSampling], seeds: Sequence[int],
        guide: Guide | None = None, keep_logits: bool = False,
    ) -> Sampled:  # fmt: skip
        """What follows each conversation, as ids."""
        self._require_whole()
        places = {each: i for i, each in enumerate(dict.fromkeys(read))}
        rows = [
            Row((places[each],), how.temperature, 1.0, seed, how.max_tokens)
            for each, how, seed in zip(read, sampling, seeds, strict=True)
        ]
        writer, end = Writer(self.module, self.eye, list(places), guide), self.chat.end
        return sample(writer.prefill, writer.head, rows, 0, end, keep_logits, self.device)

    # Learning

    def told(self, context: Context, text: str) -> Lesson:
        """The lesson of a text after a context. Raises PromptError."""
        read = self.read([asked(*context), answered(text)], False)
        self.require_room(read, 0, context)
        (answer,) = read.answers
        return Lesson(read, np.asarray(answer))

    def nats(self, lessons: Sequence[Lesson]) -> Tensor:
        """Cross-entropy [places] of everything that is learned, lesson by lesson: among the words that
        may stand at a place."""
        batch, flat = self.batch(lessons)
        logits = self.module(batch, flat - 1)
        if any(lesson.allowed is not None for lesson in lessons):
            may = np.concatenate([self._allowed(lesson) for lesson in lessons])
            logits = logits.masked_fill(~torch.from_numpy(may).to(logits.device), -torch.inf)
        return F.cross_entropy(logits, batch.ids.flatten()[flat], reduction="none")

    def batch(self, lessons: Sequence[Lesson]) -> tuple[Batch, Tensor]:
        """The conversations, and the flat places of the tokens that are learned, int64."""
        rows = [lesson.read.ids for lesson in lessons]
        pictures = [picture for lesson in lessons for picture in lesson.read.pictures]
        passed.add(sum(map(len, rows)))
        if filler := self.module.sees and not pictures:
            pictures, rows = [FILLER], [*rows, (self.module.image,) * self.eye.count(FILLER)]
        ids, mask = batch_of(rows, False, self.device)
        longest = ids.shape[1]
        flat = np.concatenate([each.places + i * longest for i, each in enumerate(lessons)])
        seen = looked(self.eye, pictures, self.module)
        return Batch(ids, mask, seen, filler), torch.from_numpy(flat).to(ids.device)

    def _allowed(self, lesson: Lesson) -> np.ndarray:
        if lesson.allowed is None:
            return np.ones((len(lesson.places), self.module.words), bool)
        return lesson.allowed()

    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError, Unsupported."""
        if any(isinstance(target, Picture) for target in targets):
            raise Unsupported(
                f"the likelihood of a picture: in family {self.family} something else than the model "
                "draws, which gives none; score texts alone"
            )
        asks = zip(contexts, targets, strict=True)
        return self.scored([self.told(context, str(target)) for context, target in asks])

    @torch.inference_mode()
    def scored(self, lessons: Sequence[Lesson]) -> list[np.ndarray]:
        """The log-probability of every token that is learned, float32 [places] of each lesson."""
        found: list[np.ndarray] = []
        for part in chunks(len(lessons)):
            nats = self.nats(lessons[part]).split([len(each.places) for each in lessons[part]])
            found += [-own.cpu().numpy() for own in nats]
        return found

    # Weights

    def _read_again(self) -> VisionLanguagePolicy:
        assert self._source is not None, "adapters learn beside a checkpoint"
        return VisionLanguagePolicy(checkpoint.load(self._source))

    def understanding(self) -> dict[str, slice]:
        """All weights are shared."""
        return {}

    def fsdp_units(self) -> list[torch.nn.Module]:
        return self.module.units()
