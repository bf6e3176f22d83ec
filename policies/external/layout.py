"""What the model reads and answers, as the ids that `policies.external.module` numbers.

Invariant: what is sampled is a prefix of what would be learned, and what training drops is what
unguided sampling leaves out. An answer is one text and the mark that ends it, or one drawing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.checks import require_length
from policies.external.config import BridgeConfig
from policies.external.vision import Grid, Vision
from policies.external.wording import Wording
from policies.interface import Condition, Context, Example, Picture, Segment, Unsupported
from policies.sampling import Ids


@dataclass(frozen=True)
class Looked:
    """Each of some pictures once, its grid, and by its id() the ids of its features."""

    pictures: tuple[Picture, ...]
    grids: tuple[Grid, ...]
    ids: dict[int, range]

    @property
    def features(self) -> int:
        return sum(rows * columns for rows, columns in self.grids)


class Layout:
    def __init__(
        self, config: BridgeConfig, wording: Wording, vision: Vision, words: int, positions: int
    ) -> None:
        self.config, self.wording, self.vision = config, wording, vision
        self.words, self.max_positions = words, positions
        self.axes = 3 if vision.gridded else 1

    # Questions

    def looked(self, contexts: Iterable[Context]) -> Looked:
        """Raises ValueError for what is no picture."""
        pictures = {id(p): p for context in contexts for p in context if isinstance(p, Picture)}
        grids = tuple(self.vision.grid(picture) for picture in pictures.values())
        ids: dict[int, range] = {}
        begin = 0
        for key, (rows, columns) in zip(pictures, grids, strict=True):
            ids[key] = range(-1 - begin, -1 - begin - rows * columns, -1)
            begin += rows * columns
        return Looked(tuple(pictures.values()), grids, ids)

    def features(self, looked: Looked) -> Tensor | None:
        """Those of all pictures in one row [features, hidden], if there are any."""
        return torch.cat(self.vision.see(looked.pictures)) if looked.pictures else None

    def question(
        self, context: Context, looked: Looked, without: Collection[Condition] = ()
    ) -> Ids:
        """What is left out is read and refused all the same. Raises PromptError."""
        whole = self.wording.question(context, looked.ids)
        kept = tuple(
            segment for segment in context
            if ("features" if isinstance(segment, Picture) else "text") not in without
        )  # fmt: skip
        return whole if len(kept) == len(context) else self.wording.question(kept, looked.ids)

    def positions(self, ids: Ids, looked: Looked) -> np.ndarray:
        """int64 [axes, tokens]: one after the other, but for a picture's features where the model
        knows rows and columns: these count from where the picture begins, and what follows goes on
        behind the larger of both (M-RoPE, arXiv 2409.12191, section 2.1)."""
        if self.axes == 1:
            return np.arange(len(ids), dtype=np.int64)[None]
        begins = {looked.ids[id(p)].start: g for p, g in zip(looked.pictures, looked.grids)}
        found = np.zeros((3, len(ids)), dtype=np.int64)
        at = i = 0
        while i < len(ids):
            rows, columns = begins.get(ids[i], (1, 1)) if ids[i] < 0 else (1, 1)
            row, column = np.divmod(np.arange(rows * columns), columns)
            found[:, i : i + rows * columns] = at + np.stack([0 * row, row, column])
            at, i = at + max(rows, columns), i + rows * columns
        return found

    def require_room(self, tokens: int, context: Context) -> None:
        require_length(tokens, self.max_positions, context)

    # Drawings

    @property
    def drawing(self) -> int:
        """How many places a drawing takes."""
        return self.config.slots

    def slots(self) -> Ids:
        """What follows a question to draw: the learned slots, or the one that embeddings begin with."""
        learned = 1 if self.config.kind == "embeddings" else self.config.slots
        return tuple(range(self.words, self.words + learned))

    # Examples

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """How many tokens each example takes. Raises PromptError, Unsupported."""
        looked = self.looked([example.context for example in examples])
        return [
            len(self.question(example.context, looked, example.dropped)) + self.answered(target)
            for example, target in zip(examples, targets_of(examples), strict=True)
        ]

    def answered(self, target: Segment) -> int:
        """How many places a target takes. Raises PromptError."""
        return len(self.wording.answer(target)) if isinstance(target, str) else self.drawing


def targets_of(examples: Iterable[Example]) -> list[Segment]:
    """Texts alone or pictures alone: one pass uses the head or the bridge. Raises Unsupported."""
    targets = [_only(example) for example in examples]
    if len({isinstance(target, Picture) for target in targets}) > 1:
        raise Unsupported(
            "targets that are a text here and a picture there: family external learns only one of the "
            "two in a step of one pattern; give each pattern one kind of target"
        )
    return targets


def _only(example: Example) -> Segment:
    """The target, which must be one segment: a drawing ends what the bridge is conditioned on."""
    if len(example.target) != 1 or not example.target[0].learned:
        raise Unsupported(
            f"a target of {len(example.target)} parts: family external learns one text or one picture "
            "at a time, and all of it; give one learned part"
        )
    return example.target[0].segment
