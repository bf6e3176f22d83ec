"""What a Chameleon reads and answers, as one row of token ids.

Invariant: a row is `bos`, the context, the separator and the answer; a picture is its codes between
`begin_image` and `end_image`, wherever it stands, and those that were sampled where there are some.
Text is only ever text: what looks like a special token in it is spelt out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from policies.chameleon.pictures import ImageTokenizer, pixels_of
from policies.chameleon.tokens import Special
from policies.checks import require_codes, require_length, require_pixels, require_text
from policies.interface import Context, Example, Output, Part, Picture
from policies.sampling import Ids

Blocks = Mapping[int, Ids]
"""By a picture's id(), the token ids of its codes."""


class Laid(NamedTuple):
    """One row of token ids, and the places in it, from 1 on, of the words and of the codes that are to
    be predicted."""

    ids: Ids
    words: np.ndarray
    codes: np.ndarray


class Layout:
    """`tokenizer` is a `tokenizers.Tokenizer` that knows no special token in a text; pictures have
    `size` x `size` pixels, `tokens` tokens, and are read at `scale`."""

    def __init__(
        self, tokenizer: Any, special: Special, vision: ImageTokenizer, size: int, tokens: int,
        scale: float, most: int,
    ) -> None:  # fmt: skip
        self.tokenizer, self.special, self.vision = tokenizer, special, vision
        self.size, self.tokens, self.scale, self.most = size, tokens, scale, most

    def blocks(self, pictures: Iterable[Picture], encode: bool = True) -> Blocks:
        """Each distinct picture is encoded once, and none that has codes. Without `encode` all is
        checked, and a block that would have to be encoded has only the right length. Raises
        ValueError."""
        known = {id(picture): picture for picture in pictures}
        for picture in known.values():
            require_pixels(picture.pixels)
            if picture.codes is not None:
                require_codes(picture.codes, self.tokens, len(self.special.codes))
        bare = [picture for picture in known.values() if picture.codes is None]
        found = {key: p.codes for key, p in known.items() if p.codes is not None}
        if bare and encode:
            encoded = self.vision.encode(pixels_of(bare, self.size, self.scale)).cpu().numpy()
        else:
            encoded = np.zeros((len(bare), self.tokens), dtype=np.int64)
        found |= {id(picture): codes for picture, codes in zip(bare, encoded, strict=True)}
        return {key: tuple(self.special.codes[codes].tolist()) for key, codes in found.items()}

    def question(self, context: Context, blocks: Blocks, drawing: bool, told: bool = True) -> Ids:
        """The ids of `context` up to where the answer or the drawing begins. One that is not `told` has
        its pictures alone, as the reference's rows without the text."""
        special = self.special
        require_text(*(segment for segment in context if isinstance(segment, str)))
        ids = [special.bos]
        for is_picture, run in groupby(context, lambda segment: isinstance(segment, Picture)):
            if is_picture:
                for picture in run:
                    ids += [special.begin_image, *blocks[id(picture)], special.end_image]
            elif told:
                said = (str(text).strip() for text in run)
                ids += self._ids("\n".join(text for text in said if text))
        ids += [special.separator] * told + [special.begin_image] * drawing
        return tuple(ids)

    def laid(self, example: Example, blocks: Blocks) -> Laid:
        """The row that teaches `example`; a text ends where a picture after it begins, or with the end
        token. Raises PromptError."""
        special, target = self.special, example.target
        ids = list(self.question(example.context, blocks, False, "text" not in example.dropped))
        places: dict[bool, list[int]] = {False: [], True: []}
        for number, part in enumerate(target):
            drawn = isinstance(part.segment, Picture)
            if drawn and not (number and isinstance(target[number - 1].segment, str)):
                ids.append(special.begin_image)
            start = len(ids)
            ids += self._part(part, target[number + 1 :], blocks)
            if part.learned:
                places[drawn] += range(start, len(ids))
            if drawn and number + 1 < len(target):
                ids.append(special.end_image)
        require_length(len(ids), self.most, example.context)
        words, codes = (np.array(places[kind], dtype=np.int64) for kind in (False, True))
        return Laid(tuple(ids), words, codes)

    def all_laid(self, examples: Sequence[Example], encode: bool = True) -> list[Laid]:
        """Raises PromptError, ValueError."""
        pictures = pictures_of([s for e in examples for s in (e.context, e.target)])
        blocks = self.blocks(pictures, encode)
        return [self.laid(example, blocks) for example in examples]

    def text(self, ids: Sequence[int]) -> str:
        """What was written, up to where a picture would begin."""
        ends = (self.special.begin_image, self.special.eos)
        written = list(ids)
        cut = next((at for at, token in enumerate(written) if token in ends), len(written))
        found: str = self.tokenizer.decode(written[:cut], skip_special_tokens=True)
        return found.strip()

    def _part(self, part: Part, later: Output, blocks: Blocks) -> list[int]:
        segment, special = part.segment, self.special
        if isinstance(segment, Picture):
            return list(blocks[id(segment)])
        require_text(segment)
        drawn = bool(later) and isinstance(later[0].segment, Picture)
        return [*self._ids(segment), special.begin_image if drawn else special.eos]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found


def pictures_of(sequences: Iterable[Context | Output]) -> list[Picture]:
    """Every picture in them."""
    segments = (s.segment if isinstance(s, Part) else s for each in sequences for s in each)
    return [segment for segment in segments if isinstance(segment, Picture)]
