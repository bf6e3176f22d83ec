"""What an Emu3 model reads and answers, as ids: its released prompts.

Invariant: text is only ever text: what looks like a mark in it is spelt out, so nobody's prompt can
open a picture or end a text. A picture is its header, its rows of codes, each with its end, and the
ends of the picture (baaivision/Emu3, emu3/mllm/processing_emu3.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from policies.checks import require_text
from policies.emu3.pictures import Sides
from policies.emu3.tokens import Special
from policies.interface import Context, Picture
from policies.sampling import Ids
from policies.tokenizer import ids_of

Kind = Literal["plain", "chat"]
BEFORE, AFTER = "You are a helpful assistant. USER: ", ". ASSISTANT:"
"""Around a question to Emu3-Chat; Emu3-Stage1 is asked without them."""


class Wording:
    """`tokenizer` is a `tokenizers.Tokenizer` that knows no mark in a text."""

    def __init__(self, tokenizer: Any, special: Special, kind: Kind) -> None:
        self.tokenizer, self.special, self.chat = tokenizer, special, kind == "chat"

    def question(self, context: Context, pictures: Mapping[int, np.ndarray], drawing: bool) -> Ids:
        """The ids of `context`, up to where the answer or the header of the drawing begins.
        `pictures` has the codes of every picture, by its id(). Texts that follow each other are
        lines; around a picture there is nothing, as in the released prompts."""
        texts = [segment for segment in context if isinstance(segment, str)]
        require_text(*texts)
        parts: list[str | int] = [BEFORE] if self.chat and not drawing else []
        before: object = None
        for segment in context:
            if isinstance(segment, Picture):
                parts += self.picture(pictures[id(segment)])
            elif said := segment.strip():
                parts += ["\n", said] if isinstance(before, str) else [said]
            before = segment if isinstance(segment, Picture) or segment.strip() else before
        if self.chat and not drawing:
            parts.append(AFTER)
        return (self.special.bos, *ids_of(self.tokenizer, parts))

    def answer(self, text: str) -> Ids:
        """A text and its end."""
        require_text(text)
        return (*ids_of(self.tokenizer, [" " + text if self.chat else text]), self.special.eos)

    def header(self, grid: Sides) -> Ids:
        """What announces a picture of so many rows and columns."""
        height, width = grid
        return (
            self.special.begin_image,
            *ids_of(self.tokenizer, [f"{height}*{width}"]),
            self.special.image,
        )

    def picture(self, codes: np.ndarray) -> Ids:
        """A whole picture of codes int64 [rows, columns]."""
        special = self.special
        rows = np.pad(codes + special.first, ((0, 0), (0, 1)), constant_values=special.end_row)
        grid = (codes.shape[0], codes.shape[1])
        return (*self.header(grid), *rows.ravel().tolist(), special.end_frame, special.end_image)

    def places(self, grid: Sides) -> np.ndarray:
        """Where in `picture` of that grid its codes are, int64 [codes], row by row."""
        height, width = grid
        rows = np.arange(height)[:, None] * (width + 1) + np.arange(width)
        return len(self.header(grid)) + rows.ravel()

    def text(self, ids: Sequence[int]) -> str:
        """What was written."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
