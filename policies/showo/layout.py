"""What a Show-o reads and learns, as the ids that `policies.showo.config` numbers.

Invariant: a context is read in the same way to sample and to learn. To write, pictures come first, as
in all that the public model was taught, then what is said; to draw, the text comes first, then the
pictures of the context, then the drawing. Padding is left out: the public code never lets it be seen,
and only differences of positions matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from policies.checks import require_length, require_one, require_pixels
from policies.interface import Context, Example, LossKind, Picture
from policies.sampling import Ids
from policies.showo.config import ShowoConfig
from policies.showo.pictures import ImageTokenizer
from policies.showo.tokens import Words
from policies.showo.unmasking import hidden, hidden_count

ASKED, ANSWERED = "USER: \n", " ASSISTANT:"
"""Around what is said to a model that shall write (the public inference_mmu.py)."""


@dataclass(frozen=True)
class Lesson:
    """The states at `places` (int64 [n]) of `ids` (int64 [tokens]) predict `wanted` (int64 [n])."""

    kind: LossKind
    ids: np.ndarray
    places: np.ndarray
    wanted: np.ndarray


class Layout:
    """`positions`: the most tokens of a context with its answer."""

    def __init__(
        self, config: ShowoConfig, words: Words, vision: ImageTokenizer, positions: int
    ) -> None:
        self.config, self.words, self.vision, self.positions = config, words, vision, positions
        mark = config.mark
        self.begin, self.end = mark("<|soi|>"), mark("<|eoi|>")
        self.to_draw, self.to_write = mark("<|t2i|>"), mark("<|mmu|>")

    def questions(
        self, contexts: Sequence[Context], drawing: bool, told: Sequence[bool] = ()
    ) -> list[Ids]:
        """The ids of each context up to where its answer or its drawing begins; where it is not
        `told`, as if nothing was said. Raises PromptError, and ValueError for bad pictures."""
        seen = [part for context in contexts for part in context if isinstance(part, Picture)]
        for picture in seen:
            require_pixels(picture.pixels)
        codes = self.vision.codes_of(seen)
        told = told or [True] * len(contexts)
        return [self._question(c, codes, drawing, t) for c, t in zip(contexts, told, strict=True)]

    def _question(
        self, context: Context, codes: Mapping[int, Ids], drawing: bool, told: bool = True
    ) -> Ids:
        end = self.words.end
        parts = [part for part in context if isinstance(part, str) and part.strip()]
        said = self.words.ids("\n".join(parts))  # refused even where it is not told
        pictures = [
            token
            for part in context
            if isinstance(part, Picture)
            for token in self.picture([code + self.config.first_code for code in codes[id(part)]])
        ]
        if drawing:
            return (self.to_draw, end, *(said if told else ()), end, *pictures)
        if parts:
            said = self.words.ids(ASKED + "\n".join(parts) + ANSWERED)
        task = (self.to_write,) if pictures else ()
        return (*task, *pictures, end, *said)

    def picture(self, tokens: Iterable[int]) -> Ids:
        """The tokens of a picture with the marks around it."""
        return (self.begin, *tokens, self.end)

    def lessons(self, examples: Sequence[Example]) -> list[Lesson]:
        """What each example teaches, with its tokens masked by the example's own chance. Raises
        PromptError, Unsupported, and ValueError for bad pictures."""
        targets = [require_one("showo", example) for example in examples]
        drawn = [target for target in targets if isinstance(target, Picture)]
        for picture in drawn:
            require_pixels(picture.pixels)
        codes = self.vision.codes_of(drawn)
        made = []
        for example, target in zip(examples, targets, strict=True):
            drawing = isinstance(target, Picture)
            told = "text" not in example.dropped or not drawing
            (question,) = self.questions([example.context], drawing, [told])
            if isinstance(target, Picture):
                lesson = self._drawn(question, codes[id(target)], example)
            else:
                lesson = self._written(question, target)
            self.require_room(len(lesson.ids), example.context)
            made.append(lesson)
        return made

    def _written(self, question: Ids, text: str) -> Lesson:
        answer = self.words.answer(text)
        places = np.arange(len(answer)) + len(question) - 1
        ids = np.array((*question, *answer), dtype=np.int64)
        return Lesson("text", ids, places, np.array(answer, dtype=np.int64))

    def _drawn(self, question: Ids, codes: Ids, example: Example) -> Lesson:
        tokens = np.array(codes, dtype=np.int64) + self.config.first_code
        masked = hidden(len(tokens), *_chance(example, len(tokens)))
        shown = np.where(masked, self.config.mask, tokens)
        ids = np.array((*question, *self.picture(shown.tolist())), dtype=np.int64)
        return Lesson("codes", ids, np.flatnonzero(masked) + len(question) + 1, tokens[masked])

    def scored(self, context: Context, text: str) -> Lesson:
        """A text, to be scored after its context. Raises PromptError."""
        (question,) = self.questions([context], drawing=False)
        lesson = self._written(question, text)
        self.require_room(len(lesson.ids), context)
        return lesson

    def count(self, example: Example) -> tuple[LossKind, int]:
        """What an example teaches, and how many tokens of it. Raises PromptError, Unsupported."""
        target = require_one("showo", example)
        if isinstance(target, str):
            return "text", len(self.words.answer(target))
        tokens = self.config.tokens
        return "codes", hidden_count(tokens, _chance(example, tokens)[0])

    def length(self, example: Example) -> int:
        """How many tokens an example takes. Raises PromptError, Unsupported."""
        target, blank = require_one("showo", example), (0,) * self.config.tokens
        codes = {id(part): blank for part in example.context if isinstance(part, Picture)}
        drawing = isinstance(target, Picture)
        told = "text" not in example.dropped or not drawing
        question = self._question(example.context, codes, drawing, told)
        answer = len(blank) + 2 if drawing else len(self.words.answer(str(target)))
        return len(question) + answer

    def require_room(self, tokens: int, context: Context) -> None:
        """Raises PromptError where there are too many."""
        require_length(tokens, self.positions, context)


def _chance(example: Example, tokens: int) -> tuple[float, np.ndarray]:
    """The time at which an example's picture is learned, and the order in which it is hidden."""
    random = example.random("mask")
    return float(random.random()), random.random(tokens)
