"""What a tiny policy reads, writes and draws, as one sequence of tokens.

Invariant: a sequence is `<s> segments <sep> parts of the target </s>`, the same for learning and
for sampling; a picture in it is `<image> codes </image>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from policies.checks import require_codes, require_length, require_pixels
from policies.interface import (
    LOSS_KINDS,
    Context,
    Example,
    LossKind,
    Part,
    Picture,
    PromptError,
    Segment,
)
from policies.tiny.text import BOS, END_IMAGE, EOS, IMAGE, SEP, Text
from policies.tiny.vision import ImageTokenizer

GIVEN = -1
"""The kind of a token that is not learned."""


@dataclass(frozen=True)
class TokenSequence:
    """Token ids int64 [n], and of each the place of its kind in LOSS_KINDS, or GIVEN: int8 [n]."""

    ids: np.ndarray
    kinds: np.ndarray


class Layout:
    """Turns segments to tokens; a model that reads them holds `max_positions`."""

    def __init__(self, text: Text, vision: ImageTokenizer, max_positions: int) -> None:
        self.text, self.vision, self.max_positions = text, vision, max_positions

    def prompts(self, contexts: Sequence[Context]) -> list[tuple[int, ...]]:
        """The ids of each context, and what begins the answer; each distinct one is read once."""
        codes = self.codes_of(part for context in contexts for part in context)
        known = {each: (*self._read(each, codes), SEP) for each in dict.fromkeys(contexts)}
        return [known[context] for context in contexts]

    def require_room(self, tokens: int, context: Context) -> None:
        require_length(tokens, self.max_positions, context)

    def sequences(self, examples: Sequence[Example]) -> list[TokenSequence]:
        """Each example as tokens. Raises PromptError."""
        targets = (part.segment for e in examples for part in e.target)
        codes = self.codes_of([*(each for e in examples for each in e.context), *targets])
        made = []
        for example in examples:
            ids = [*self._read(() if "text" in example.dropped else example.context, codes), SEP]
            kinds = [GIVEN] * len(ids)
            for part in example.target:
                tokens = self.segment(part.segment, codes)
                ids += tokens
                kinds += [LOSS_KINDS.index(kind_of(part)) if part.learned else GIVEN] * len(tokens)
            ids.append(EOS)
            kinds.append(kinds[-1])
            self.require_room(len(ids), example.context)
            made.append(TokenSequence(np.array(ids, np.int64), np.array(kinds, np.int8)))
        return made

    def _read(self, context: Context, codes: Mapping[int, list[int]]) -> list[int]:
        return [BOS, *(token for part in context for token in self.segment(part, codes))]

    def segment(self, part: Segment, codes: Mapping[int, list[int]]) -> list[int]:
        if isinstance(part, str):
            return self.text.encode(part)
        return [IMAGE, *codes[id(part)], END_IMAGE]

    def codes_of(self, parts: Iterable[Segment]) -> dict[int, list[int]]:
        """The token ids of every picture among `parts`, by its id(); pixels are encoded at once."""
        pictures = {id(part): part for part in parts if isinstance(part, Picture)}
        bare = [picture for picture in pictures.values() if picture.codes is None]
        size = self.vision.config.size
        for picture in bare:
            require_pixels(picture.pixels)
            if picture.pixels.shape[:2] != (size, size):
                raise PromptError(
                    f"Picture.pixels is uint8 {picture.pixels.shape}, but the tiny policy sees "
                    f"({size}, {size}, 3); resize the picture."
                )
        codes = {key: p.codes for key, p in pictures.items() if p.codes is not None}
        if bare:
            encoded = self.vision.encode(torch.from_numpy(np.stack([p.pixels for p in bare])))
            codes |= dict(zip(map(id, bare), encoded.numpy(), strict=True))
        for found in codes.values():
            require_codes(found, self.vision.config.tokens, self.text.codes)
        offset = self.text.code_offset
        return {key: (found.astype(np.int64) + offset).tolist() for key, found in codes.items()}


def kind_of(part: Part) -> LossKind:
    return "text" if isinstance(part.segment, str) else "codes"
