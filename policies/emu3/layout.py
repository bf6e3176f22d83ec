"""Examples of every pattern as sequences of one vocabulary, and the places that are learned.

Invariant: what is sampled is a prefix of what would be learned, token by token. The parts of a
target follow its context one after the other, each with its own end, and all of them can be learned:
of a text its ids and its end, of a picture its codes alone, for what frames them is never sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from policies.checks import require_codes, require_length
from policies.emu3.pictures import ImageTokenizer, Sides
from policies.emu3.wording import Wording
from policies.interface import Context, Example, LossKind, Picture, Segment, Unsupported
from policies.sampling import Ids

Coded = Mapping[int, np.ndarray]
"""The codes int64 [rows, columns] of pictures, by their id()."""


class Taught(NamedTuple):
    """A sequence, and the places in it (int64) of the text and of the codes that are learned."""

    ids: Ids
    text: np.ndarray
    codes: np.ndarray


class Layout:
    """A sequence has at most `most` tokens."""

    def __init__(self, vision: ImageTokenizer, wording: Wording, most: int) -> None:
        self.vision, self.wording, self.most = vision, wording, most

    def coded(self, contexts: Iterable[Iterable[Segment]]) -> Coded:
        """Of every picture in `contexts` the codes that were sampled, or those of its pixels. Raises
        ValueError, PromptError."""
        pictures = _pictures(contexts)
        bare = {key: each for key, each in pictures.items() if each.codes is None}
        found = dict(zip(bare, self.vision.encode_all(list(bare.values())), strict=True))
        for key, picture in pictures.items():
            if picture.codes is not None:
                grid = self.vision.grid(picture)
                require_codes(picture.codes, grid[0] * grid[1], self.vision.codes)
                found[key] = picture.codes.astype(np.int64).reshape(grid)
        return found

    def question(self, context: Context, coded: Coded, drawing: bool) -> Ids:
        return self.wording.question(context, coded, drawing)

    def require_room(self, tokens: int, context: Context) -> None:
        """Raises PromptError."""
        require_length(tokens, self.most, context)

    def taught(self, example: Example, coded: Coded) -> Taught:
        """Raises PromptError, Unsupported."""
        require_learned(example)
        drawing = isinstance(example.target[0].segment, Picture)
        whole = self.question(example.context, coded, drawing)
        ids = list(whole)
        if "text" in example.dropped:
            ids = list(self.question(without_texts(example.context), coded, drawing))
        left_out = len(whole) - len(ids)
        text: list[np.ndarray] = []
        codes: list[np.ndarray] = []
        for part in example.target:
            if isinstance(part.segment, str):
                more = self.wording.answer(part.segment)
                places, kind = np.arange(len(more)), text
            else:
                drawn = coded[id(part.segment)]
                more = self.wording.picture(drawn)
                places, kind = self.wording.places((drawn.shape[0], drawn.shape[1])), codes
            if part.learned:
                kind.append(places + len(ids))
            ids += more
        self.require_room(len(ids) + left_out, example.context)
        return Taught(tuple(ids), _joined(text), _joined(codes))

    def length(self, example: Example) -> int:
        """How many tokens the sequence has. Raises PromptError, Unsupported."""
        grids = {
            key: self.vision.grid(picture)
            for key, picture in _pictures(segments_of([example])).items()
        }
        blank = {key: np.zeros(grid, np.int64) for key, grid in grids.items()}
        return len(self.taught(example, blank).ids)

    def counts(self, example: Example) -> dict[LossKind, int]:
        """How many tokens of each kind are learned. Raises PromptError, Unsupported."""
        require_learned(example)
        counts: dict[LossKind, int] = {"text": 0, "codes": 0}
        for part in example.target:
            if not part.learned:
                continue
            if isinstance(part.segment, str):
                counts["text"] += len(self.wording.answer(part.segment))
            else:
                height, width = self.vision.grid(part.segment)
                counts["codes"] += height * width
        return counts

    def drawn_tokens(self, grid: Sides) -> int:
        """Of a whole picture."""
        height, width = grid
        return len(self.wording.header(grid)) + height * (width + 1) + 2


def without_texts(context: Context) -> Context:
    """What is left of a context whose texts are dropped, and what unguided sampling reads: the
    released training script leaves the prompt out in the same way (emu3/train/datasets.py)."""
    return tuple(segment for segment in context if isinstance(segment, Picture))


def segments_of(examples: Iterable[Example]) -> list[tuple[Segment, ...]]:
    """All segments of each example."""
    return [(*e.context, *(part.segment for part in e.target)) for e in examples]


def require_learned(example: Example) -> None:
    """Raises Unsupported where nothing of the target is learned."""
    if not any(part.learned for part in example.target):
        raise Unsupported(
            f"a target of {len(example.target)} parts of which none is learned: family emu3 learns "
            "texts and pictures of a target; give at least one learned part"
        )


def _pictures(contexts: Iterable[Iterable[Segment]]) -> dict[int, Picture]:
    return {id(p): p for context in contexts for p in context if isinstance(p, Picture)}


def _joined(places: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *places])
